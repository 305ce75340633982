//! The fake's transfers, crashes and tokens.

use std::io::Write;

use super::*;
use crate::host::{
    Incoming, Outgoing, ReceiveInput, ReceiveSpec, SendBase, SendSpec, SnapshotGroup, SourceHost, TargetHost,
};
use crate::model::{
    Change, CopyEncryption, DatasetKind, DatasetName, Encryption, PointKind, PointName, ResumePoint,
    SendFlags, SnapshotName,
};
use crate::stream::Cancel;
use crate::stream::meter::Meters;

struct Pair {
    shared_state: SharedState,
    source: FakeHost,
    target: FakeHost,
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn point(text: &str) -> PointName {
    PointName::new(text).unwrap()
}

/// A source volume `s/a` with `@1` (3 blocks) and `@2` (4 more), and an empty target pool.
fn pair() -> Pair {
    let shared_state = SharedState::new();
    let (source, target) = (FakeHost::new("pve0", &shared_state), FakeHost::new("nfs8", &shared_state));
    source.create("s", DatasetKind::Filesystem).unwrap();
    source.create("s/a", DatasetKind::Volume).unwrap();
    target.create("t", DatasetKind::Filesystem).unwrap();
    for (snapshot, blocks) in [("s/a@1", 3), ("s/a@2", 4)] {
        source.write("s/a", blocks).unwrap();
        source.take(&[snapshot]).unwrap();
    }
    Pair { shared_state, source, target }
}

impl Pair {
    fn abort(&self, dataset: &str, token: &str) -> Result<(), HostError> {
        let abort = Change::AbortReceive { dataset: name(dataset), token: token.to_owned() };
        TargetHost::change(&self.target, &abort).map(|_| ())
    }

    fn spec(&self, snapshot: &str, base: Option<(PointKind, &str)>) -> SendSpec {
        let snapshot = SnapshotName::parse(snapshot).unwrap();
        let datasets = self.source.datasets(snapshot.dataset().as_str());
        let base = base.map(|(kind, name)| {
            let known = datasets[0].history.named(kind, &point(name));
            SendBase {
                kind,
                origin: None,
                name: point(name),
                guid: known.map_or(Guid(0), |known| known.guid),
            }
        });
        SendSpec {
            snapshot,
            guid: None,
            base,
            resume: None,
            encryption: Encryption::Off,
            copy_encryption: CopyEncryption::AsSent,
        }
    }

    fn transfer(&self, spec: &SendSpec, to: &str) -> Result<(), HostError> {
        let cancel = Cancel::new().unwrap();
        let receive = ReceiveSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: SnapshotName::parse(to).unwrap(),
            origin: None,
            heals: false,
            creates_dataset: spec.base.is_none(),
            kind: DatasetKind::Volume,
            to: None,
            from: None,
            writer: None,
        };
        let mut outgoing = self.source.send(spec)?;
        let mut incoming = self.target.receive(&receive)?;
        let moved = copy(&mut *outgoing, &mut *incoming, &cancel);
        if moved.is_err() {
            return incoming.abort().map_or(Ok(()), Err);
        }
        incoming.finish()
    }

    fn points(&self, dataset: &str) -> Vec<String> {
        let listing = TargetHost::list(&self.target, &name("t")).unwrap();
        let listed = listing.get(&name(dataset)).map(|dataset| dataset.history.clone()).unwrap_or_default();
        listed.points().map(|point| format!("{}{}", point.kind.separator(), point.name)).collect()
    }

    fn token(&self, dataset: &str) -> Option<String> {
        TargetHost::list(&self.target, &name("t")).unwrap().get(&name(dataset))?.resume_token.clone()
    }
}

fn copy(outgoing: &mut dyn Outgoing, incoming: &mut dyn Incoming, cancel: &Cancel) -> std::io::Result<()> {
    let mut source = outgoing.stream(cancel).unwrap();
    let meters = Meters::new(incoming.places(), incoming.compressors());
    let ReceiveInput::Plain(mut target) = incoming.inlet(cancel, &meters).unwrap() else {
        panic!("the fake takes the stream as it is");
    };
    let mut buffer = [0; 100];
    while let Some(read @ 1..) = source.read_within(&mut buffer, None)? {
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = target.write_some(rest)?;
            rest = &rest[written..];
        }
    }
    std::io::sink().flush()
}

#[test]
fn what_arrives_is_what_was_sent() {
    let pair = pair();
    pair.source.bookmark_as("s/a@1", "s/a#1").unwrap();
    pair.transfer(&pair.spec("s/a@1", None), "t/a@1").unwrap();
    pair.source.destroy_point("s/a@1").unwrap();
    pair.transfer(&pair.spec("s/a@2", Some((PointKind::Bookmark, "1"))), "t/a@renamed").unwrap();
    assert_eq!(pair.points("t/a"), ["@1", "@renamed"]);
    assert_eq!(pair.target.content("t/a@renamed"), pair.source.content("s/a@2"));
    assert_eq!(pair.target.guid("t/a@renamed"), pair.source.guid("s/a@2"));
    assert!(pair.target.is_safe_copy("t/a"));
}

#[test]
fn a_cut_stream_resumes_where_it_broke_off() {
    let pair = pair();
    pair.target.cut_streams_after(Some(2));
    assert!(pair.transfer(&pair.spec("s/a@2", None), "t/a@2").is_err());
    pair.target.cut_streams_after(None);
    let exists = pair.transfer(&pair.spec("s/a@2", None), "t/a@2").unwrap_err();
    assert!(matches!(exists.problem, Problem::Exists), "{exists:?}");
    let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
    let at = |bytes| Some(ResumePoint { object: 1, offset: bytes, received_bytes: bytes, flags });
    let mut resumed = pair.spec("s/a@2", None);
    resumed.resume = at(64);
    assert!(pair.transfer(&resumed, "t/a@2").is_err(), "the stream resumed at the wrong place");
    resumed.resume = at(128);
    pair.transfer(&resumed, "t/a@2").unwrap();
    assert_eq!(pair.target.content("t/a@2"), pair.source.content("s/a@2"));
    assert_eq!(pair.token("t/a"), None);
}

#[test]
fn an_aborted_receive_leaves_complete_snapshots_alone() {
    let pair = pair();
    pair.target.cut_streams_after(Some(2));
    assert!(pair.transfer(&pair.spec("s/a@2", None), "t/new@2").is_err());
    let token = pair.token("t/new").unwrap();
    pair.target.cut_streams_after(None);
    pair.transfer(&pair.spec("s/a@1", None), "t/a@1").unwrap();
    assert!(pair.abort("t/new", "1-0-0-00").is_err(), "the token is another");
    pair.abort("t/new", &token).unwrap();
    assert!(pair.target.datasets("t/new").is_empty());
    pair.target.cut_streams_after(Some(1));
    assert!(pair.transfer(&pair.spec("s/a@2", Some((PointKind::Snapshot, "1"))), "t/a@2").is_err());
    assert!(matches!(pair.target.destroy_point("t/a@1"), Err(Problem::Cloned)), "%recv depends on it");
    pair.abort("t/a", &pair.token("t/a").unwrap()).unwrap();
    assert_eq!(pair.points("t/a"), ["@1"]);
}

#[test]
fn a_crash_stops_everything_until_the_restart() {
    let pair = pair();
    let snapshot = |text| SnapshotGroup {
        snapshots: vec![SnapshotName::parse(text).unwrap()],
        is_one_moment: false,
        freeze: None,
        lineage: None,
        to_mark: Vec::new(),
        config: BTreeMap::new(),
    };
    pair.shared_state.crash_at(1, Moment::After);
    SourceHost::snapshot(&pair.source, &snapshot("s/a@3")).unwrap();
    assert!(SourceHost::snapshot(&pair.source, &snapshot("s/a@4")).is_err());
    assert!(pair.source.guid("s/a@4").is_some(), "the snapshot exists, but the caller got an error");
    assert!(TargetHost::list(&pair.target, &name("t")).is_err());
    pair.shared_state.restart();
    assert!(TargetHost::list(&pair.target, &name("t")).is_ok());
    let changes: Vec<_> = pair.shared_state.take_calls().into_iter().filter(|call| call.is_change).collect();
    assert_eq!(changes.len(), 2);
}

#[test]
fn a_crash_in_a_stream_keeps_what_had_arrived() {
    let pair = pair();
    pair.shared_state.crash_at(0, Moment::AfterBlocks(3));
    assert!(pair.transfer(&pair.spec("s/a@2", None), "t/a@2").is_err());
    assert!(pair.shared_state.has_crashed());
    pair.shared_state.restart();
    assert!(pair.token("t/a").is_some());
    assert_eq!(pair.target.head("t/a").unwrap().len(), 0, "nothing of it is seen");
}

#[test]
fn a_name_that_is_another_points_by_now_is_not_sent() {
    let pair = pair();
    pair.transfer(&pair.spec("s/a@1", None), "t/a@1").unwrap();
    let planned = SendSpec { guid: Some(Guid(1)), ..pair.spec("s/a@2", Some((PointKind::Snapshot, "1"))) };
    let error = pair.transfer(&planned, "t/a@2").unwrap_err();
    assert!(matches!(&error.problem, Problem::Changed(text) if text.contains("guid was 1 ")), "{error:?}");
    let mut planned = pair.spec("s/a@2", Some((PointKind::Snapshot, "1")));
    planned.base.as_mut().unwrap().guid = Guid(2);
    let error = pair.transfer(&planned, "t/a@2").unwrap_err();
    assert!(matches!(&error.problem, Problem::Changed(text) if text.contains("source was 2 ")), "{error:?}");
    assert_eq!(pair.target.contents("t").len(), 1);
}
