//! The real hosts against real pools: the source in process, a target behind ssh that has only `zfs`.

use std::process::{Command, Stdio};

use zhaul::channel::Ssh;
use zhaul::host::{
    Changed, Local, Machine, Problem, ReceiveInput, ReceiveSpec, SendBase, SendSpec, Shell, SnapshotGroup,
    SourceHost, TargetHost,
};
use zhaul::model::{
    Change, CopyEncryption, DatasetKind, DatasetName, Encryption, Guid, PointKind, PointName, ResumePoint,
    ResumeToken, SendFlags, SnapshotName, Unlisted,
};
use zhaul::stream::meter::Meters;
use zhaul::stream::{ByteSink as _, ByteSource as _, Cancel};

use crate::look;
use crate::pool::{Scratch, bookmark, property, snapshot, zfs};

/// A source dataset, and an empty container on nfs8 that is destroyed in the end.
struct Pair {
    cancel: Cancel,
    source: Local,
    target: Shell,
    scratch: Scratch,
    root: DatasetName,
}

impl Pair {
    fn take(&self, snapshot: SnapshotName) {
        let group = SnapshotGroup {
            snapshots: vec![snapshot],
            is_one_moment: false,
            freeze: None,
            lineage: None,
            to_mark: Vec::new(),
            config: std::collections::BTreeMap::new(),
        };
        assert!(self.source.snapshot(&group).unwrap().not_made.is_empty());
    }

    fn new(name: &str) -> Self {
        let pool = std::env::var_os("ZHAUL_LAB_POOL_NFS8").expect("run this with `cargo lab test`");
        let root = DatasetName::new(pool.to_str().unwrap()).unwrap().child(name).unwrap();
        destroy(&root);
        let cancel = Cancel::new().unwrap();
        let ssh = Ssh { host: "nfs8".to_owned(), user: None, port: None, config: None };
        let pair = Self {
            source: Local::through(
                env!("CARGO_BIN_EXE_zhaul").into(),
                std::time::Duration::from_secs(600),
                &cancel,
            )
            .unwrap(),
            target: Shell::new("nfs8", Machine::Ssh(ssh), &cancel),
            scratch: Scratch::new(name),
            root,
            cancel,
        };
        pair.target.change(&Change::CreateContainer { dataset: pair.root.clone(), is_plain: false }).unwrap();
        pair
    }

    fn receive(&self, target: &str, creates_dataset: bool, kind: DatasetKind) -> ReceiveSpec {
        let snapshot = SnapshotName::parse(&format!("{}/{target}", self.root)).unwrap();
        ReceiveSpec {
            snapshot,
            origin: None,
            heals: false,
            creates_dataset,
            kind,
            to: None,
            from: None,
            writer: None,
            copy_encryption: CopyEncryption::AsSent,
        }
    }

    /// Moves one stream; after `cut` bytes, where given, it breaks off.
    fn transfer(&self, send: &SendSpec, receive: &ReceiveSpec, cut: Option<usize>) -> Result<usize, String> {
        let mut outgoing = self.source.send(send).unwrap();
        let mut incoming = self.target.receive(receive).unwrap();
        let (mut moved, mut broken) = (0, None);
        {
            let mut from = outgoing.stream(&self.cancel).unwrap();
            let meters = Meters::new(incoming.places(), incoming.compressors());
            let ReceiveInput::Plain(mut to) = incoming.inlet(&self.cancel, &meters).unwrap() else {
                panic!("a shell takes the stream as it is");
            };
            let mut buffer = vec![0; 128 << 10];
            'stream: while cut.is_none_or(|cut| moved < cut) {
                let read = from.read_within(&mut buffer, None).unwrap().unwrap();
                if read == 0 {
                    break;
                }
                let mut rest = &buffer[..read];
                while !rest.is_empty() {
                    match to.write_some(rest) {
                        Ok(wrote) => rest = &rest[wrote..],
                        Err(error) => {
                            broken = Some(error.to_string());
                            break 'stream;
                        }
                    }
                }
                moved += read;
            }
        }
        if let Some(broken) = broken {
            let own = incoming.abort().map(|error| format!("{error}: {}", error.problem));
            return Err(own.unwrap_or(broken));
        }
        if cut.is_some() {
            assert!(incoming.abort().is_none(), "a cut is no failure of the receiver");
            return Ok(moved);
        }
        outgoing.finish().unwrap();
        incoming.finish().map_err(|error| format!("{error}: {}", error.problem))?;
        Ok(moved)
    }

    fn listed(&self, relative: &str) -> zhaul::model::Dataset {
        let listing = self.target.list(&self.root).unwrap();
        listing.get(&self.root.child(relative).unwrap()).unwrap().clone()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        destroy(&self.root);
    }
}

fn destroy(root: &DatasetName) {
    // Fails where it does not exist, which is what is wanted.
    let quiet = Command::new("zfs").args(["destroy", "-R", root.as_str()]).stderr(Stdio::null()).status();
    quiet.expect("zfs can be run");
}

fn send(dataset: &DatasetName, to: &str, base: Option<(PointKind, &str)>) -> SendSpec {
    let encryption = match property("encryption", dataset.as_str()).as_str() {
        "off" => Encryption::Off,
        _ => Encryption::On,
    };
    let base = base.map(|(kind, name)| SendBase {
        kind,
        name: point(name),
        origin: None,
        guid: guid(&format!("{dataset}{}{name}", kind.separator())),
    });
    SendSpec {
        snapshot: snapshot(dataset, to),
        guid: None,
        base,
        resume: None,
        encryption,
        copy_encryption: CopyEncryption::AsSent,
    }
}

fn point(name: &str) -> PointName {
    PointName::new(name).unwrap()
}

fn guid(object: &str) -> Guid {
    Guid(property("guid", object).parse().unwrap())
}

/// Fills a volume with data that does not compress.
fn fill(volume: &DatasetName, mebibytes: u64) {
    look::write_device(volume.as_str(), 0, mebibytes, volume.as_str());
}

#[test]
fn a_volume_goes_over_in_full_by_bookmark_and_resumed() {
    let pair = Pair::new("hosts-volume");
    let volume = pair.scratch.child("vm-1");
    zfs(&["create", "-V", "32m", volume.as_str()]);
    fill(&volume, 2);
    pair.take(snapshot(&volume, "a"));
    let marks = [(snapshot(&volume, "a"), bookmark(&volume, "a"))];
    pair.source.bookmark(&marks).unwrap();
    pair.source.bookmark(&marks).expect("the same bookmark again is fine");
    let full = send(&volume, "a", None);
    assert!(pair.source.estimate(&full, &pair.cancel).unwrap().0 > 2 << 20);
    pair.transfer(&full, &pair.receive("vm 1@a", true, DatasetKind::Volume), None).unwrap();
    let copy = pair.root.child("vm 1").unwrap();
    assert_eq!(property("readonly", copy.as_str()), "on");
    assert_eq!(property("volmode", copy.as_str()), "none");

    let refusals = pair.source.destroy_snapshots(&volume, &[(point("a"), guid(&format!("{volume}@a")))]);
    assert!(refusals.unwrap().is_empty());
    fill(&volume, 12);
    pair.take(snapshot(&volume, "b"));
    let mut spec = send(&volume, "b", Some((PointKind::Bookmark, "a")));
    let receive = pair.receive("vm 1@b", false, DatasetKind::Volume);
    pair.transfer(&spec, &receive, Some(6 << 20)).unwrap();
    let partial = pair.listed("vm 1");
    let token = partial.resume_token.expect("a cut receive can be resumed");
    let token = ResumeToken::parse(&token).unwrap();
    let flags = SendFlags {
        large_block: token.large_block,
        embed: token.embed,
        compress: token.compress,
        raw: token.raw,
    };
    let received_bytes = token.received_bytes;
    spec.resume = Some(ResumePoint { object: token.object, offset: token.offset, received_bytes, flags });
    let moved = pair.transfer(&spec, &receive, None).unwrap();
    assert!(moved < 12 << 20, "{moved} bytes: all of it again");
    let copied = pair.listed("vm 1");
    assert_eq!(copied.history.newest_snapshot().unwrap().guid, guid(&format!("{volume}@b")));
    assert_eq!((copied.kind, copied.resume_token, copied.written_bytes), (DatasetKind::Volume, None, 0));
}

#[test]
fn a_stream_with_other_ends_than_those_planned_is_refused_before_its_first_byte() {
    let pair = Pair::new("hosts-ends");
    let volume = pair.scratch.child("vm-1");
    zfs(&["create", "-s", "-V", "32m", volume.as_str()]);
    for name in ["a", "b"] {
        fill(&volume, 8);
        pair.take(snapshot(&volume, name));
        pair.source.bookmark(&[(snapshot(&volume, name), bookmark(&volume, name))]).unwrap();
    }
    let refused = |spec: &SendSpec, resumes: Option<ResumePoint>| {
        let spec = SendSpec { resume: resumes, ..spec.clone() };
        let mut outgoing = pair.source.send(&spec).unwrap();
        let error = outgoing.stream(&pair.cancel).map(|_| ()).unwrap_err();
        assert!(matches!(error.problem, Problem::Changed(_)), "{error:?}");
    };
    let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
    let later = ResumePoint { object: 1, offset: 1 << 20, received_bytes: 1 << 20, flags };
    let full = send(&volume, "b", None);
    let mut outgoing =
        pair.source.send(&SendSpec { guid: Some(guid(&format!("{volume}@b"))), ..full.clone() });
    outgoing.as_mut().unwrap().stream(&pair.cancel).unwrap();
    drop(outgoing);
    for kind in [None, Some(PointKind::Snapshot), Some(PointKind::Bookmark)] {
        let spec = send(&volume, "b", kind.map(|kind| (kind, "a")));
        for resumes in [None, Some(later.clone())] {
            refused(&SendSpec { guid: Some(Guid(7)), ..spec.clone() }, resumes.clone());
            if let Some(base) = spec.base.clone() {
                let base = Some(SendBase { guid: Guid(8), ..base });
                refused(&SendSpec { base, ..spec.clone() }, resumes);
            }
        }
    }
    // An error of the kernel itself is reported in its own words, not as a stream that is too short.
    let backwards = send(&volume, "a", Some((PointKind::Snapshot, "b")));
    let mut outgoing = pair.source.send(&backwards).unwrap();
    let error = outgoing.stream(&pair.cancel).map(|_| ()).unwrap_err();
    assert!(error.problem.to_string().contains("not an earlier point"), "{error:?}");
}

#[test]
fn several_receives_share_a_session_and_a_refusal_says_why() {
    let pair = Pair::new("hosts-several");
    let dataset = pair.scratch.create("c");
    for name in ["1", "2", "3"] {
        pair.take(snapshot(&dataset, name));
    }
    let of_kind = |target: &str, is_new| pair.receive(target, is_new, DatasetKind::Filesystem);
    pair.transfer(&send(&dataset, "1", None), &of_kind("c@1", true), None).unwrap();
    let step = send(&dataset, "2", Some((PointKind::Snapshot, "1")));
    pair.transfer(&step, &of_kind("c@2", false), None).unwrap();
    let copy = pair.root.child("c").unwrap();
    assert_eq!(property("mounted", copy.as_str()), "no");
    assert_eq!(property("canmount", copy.as_str()), "noauto");
    assert_eq!(property("readonly", copy.as_str()), "on");

    pair.transfer(&step, &of_kind("c@2", false), None).expect("what is there already is no failure");
    let full = send(&dataset, "3", None);
    let refused = pair.transfer(&full, &of_kind("c@3", true), None).unwrap_err();
    assert!(refused.contains("nfs8: cannot receive into") && refused.contains("exists already"), "{refused}");
    let step = send(&dataset, "3", Some((PointKind::Snapshot, "2")));
    pair.transfer(&step, &of_kind("c@3", false), None).expect("a failure does not spoil the next");

    // An own line of the target's: a clone of its snapshot continues with the source's.
    let mut branch = of_kind("branch@3", true);
    branch.origin = Some(snapshot(&copy, "2"));
    pair.transfer(&step, &branch, None).unwrap();
    let origin = pair.listed("branch").origin.unwrap();
    assert_eq!(origin, snapshot(&copy, "2"));
    let snapshots = vec![(point("2"), guid(&format!("{copy}@2")))];
    let changed = pair.target.change(&Change::DestroySnapshots { dataset: copy.clone(), snapshots });
    let refusals = changed.unwrap().refusals;
    assert!(matches!(refusals.first().unwrap().problem, Problem::Cloned));
}

#[test]
fn an_encrypted_dataset_stays_encrypted_without_its_key() {
    let pair = Pair::new("hosts-raw");
    let dataset = pair.scratch.child("secret");
    let key = std::env::temp_dir().join("hosts-raw.key");
    std::fs::write(&key, [7; 32]).unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let options = ["create", "-o", "encryption=on", "-o", "keyformat=raw", "-o", &location];
    zfs(&[&options[..], &[dataset.as_str()]].concat());
    pair.take(snapshot(&dataset, "a"));
    let spec = send(&dataset, "a", None);
    assert_eq!(spec.encryption, Encryption::On);
    pair.transfer(&spec, &pair.receive("secret@a", true, DatasetKind::Filesystem), None).unwrap();
    let copied = pair.listed("secret");
    assert_eq!(copied.encryption, Encryption::On);
    assert_eq!(property("keystatus", copied.name.as_str()), "unavailable");
}

#[test]
fn what_is_held_stays_and_the_others_go() {
    let pair = Pair::new("hosts-held");
    let dataset = pair.root.child("d").unwrap();
    pair.target.change(&Change::CreateContainer { dataset: dataset.clone(), is_plain: false }).unwrap();
    let mut to_destroy = Vec::new();
    for name in ["1", "2", "3", "4"] {
        zfs(&["snapshot", &format!("{dataset}@{name}")]);
        to_destroy.push((point(name), guid(&format!("{dataset}@{name}"))));
    }
    zfs(&["hold", "keep", &format!("{dataset}@2")]);
    to_destroy[2].1 = Guid(1);
    to_destroy.push((point("gone"), Guid(5)));
    let change = Change::DestroySnapshots { dataset: dataset.clone(), snapshots: to_destroy.clone() };
    let refusals = pair.target.change(&change).unwrap().refusals;
    let names: Vec<_> = refusals.iter().map(|refusal| refusal.name.as_str()).collect();
    assert_eq!(names, ["2", "3"]);
    assert!(
        matches!(refusals[0].problem, Problem::Held) && matches!(refusals[1].problem, Problem::Changed(_))
    );
    let listed = pair.listed("d").history;
    let left: Vec<_> =
        listed.points().map(|point| (snapshot(&dataset, point.name.as_str()), point.guid)).collect();
    assert!(
        listed.points().all(|point| point.details.is_none() && point.is_held_or_cloned()),
        "not known is not free"
    );
    let details = pair.target.details(&left).unwrap();
    let holds: Vec<_> = left
        .iter()
        .zip(&details)
        .map(|((name, _), one)| (name.name().as_str(), one.unwrap().holds))
        .collect();
    assert_eq!(holds, [("2", 1), ("3", 0)]);
    zfs(&["release", "keep", &format!("{dataset}@2")]);
}

#[test]
fn both_ends_report_the_details_that_a_listing_leaves_out() {
    let pair = Pair::new("hosts-details");
    let dataset = pair.scratch.child("d");
    zfs(&["create", "-V", "8M", "-s", dataset.as_str()]);
    let asked: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            pair.take(snapshot(&dataset, name));
            (snapshot(&dataset, name), guid(&format!("{dataset}@{name}")))
        })
        .into();
    zfs(&["hold", "keep", &format!("{dataset}@a")]);
    zfs(&["destroy", "-d", &format!("{dataset}@a")]);
    let local = Shell::new("here", Machine::Local, &pair.cancel);
    for details in [pair.source.details(&asked).unwrap(), local.details(&asked).unwrap()] {
        let seen: Vec<_> = details.iter().map(|of| of.map(|of| (of.holds, of.is_destroy_deferred))).collect();
        assert_eq!(seen, [Some((1, true)), Some((0, false)), Some((0, false))]);
        let written = details[1].unwrap().written_bytes.to_string();
        assert_eq!(written, property("written", &format!("{dataset}@b")));
    }
    zfs(&["destroy", &format!("{dataset}@b")]);
    zfs(&["rename", &format!("{dataset}@c"), &format!("{dataset}@b")]);
    for details in [pair.source.details(&asked).unwrap(), local.details(&asked).unwrap()] {
        assert!(details[0].is_some());
        assert_eq!(details[1..], [None, None], "another's name, and gone");
    }
    zfs(&["release", "keep", &format!("{dataset}@a")]);
}

#[test]
fn renames_rollbacks_and_destroys_check_the_guid() {
    let pair = Pair::new("hosts-guid");
    let dataset = pair.root.child("d").unwrap();
    pair.target.change(&Change::CreateContainer { dataset: dataset.clone(), is_plain: false }).unwrap();
    zfs(&["snapshot", &format!("{dataset}@a")]);
    let (own, a) = (guid(dataset.as_str()), guid(&format!("{dataset}@a")));
    let changed = |result: Result<Changed, zhaul::host::HostError>| {
        assert!(matches!(result.unwrap_err().problem, Problem::Changed(_)));
    };
    let (old, new) = (point("a"), point("2026-Jan"));
    let rename_snapshot =
        |guid| Change::RenameSnapshot { dataset: dataset.clone(), from: old.clone(), guid, to: new.clone() };
    let rollback = |guid| Change::Rollback { dataset: dataset.clone(), to: old.clone(), guid };
    changed(pair.target.change(&rename_snapshot(Guid(1))));
    changed(pair.target.change(&rollback(Guid(1))));
    pair.target.change(&rollback(a)).unwrap();
    pair.target.change(&rename_snapshot(a)).unwrap();
    let aside = pair.root.child("d.superseded-2026-01-31").unwrap();
    let rename = |guid| Change::RenameDataset { from: dataset.clone(), guid, to: aside.clone() };
    changed(pair.target.change(&rename(Guid(1))));
    pair.target.change(&rename(own)).unwrap();
    let destroy = |guid, snapshots| Change::DestroyDataset { dataset: aside.clone(), guid, snapshots };
    changed(pair.target.change(&destroy(own, Vec::new())));
    changed(pair.target.change(&destroy(Guid(1), vec![(new.clone(), a)])));
    pair.target.change(&destroy(own, vec![(new.clone(), a)])).unwrap();
    let listing = pair.target.list(&pair.root).unwrap();
    assert!(!listing.has_children(&pair.root));
}

#[test]
fn nothing_there_and_could_not_ask_are_two_answers() {
    let pair = Pair::new("hosts-nothing");
    let nothing = pair.target.list(&pair.root.child("not there").unwrap()).unwrap();
    assert_eq!(nothing.datasets().count(), 0);
    let no_pool = pair.target.list(&DatasetName::new("nopool/x").unwrap()).unwrap_err();
    assert!(no_pool.problem.to_string().contains("no pool nopool"), "{}", no_pool.problem);
    let ssh = Ssh { host: "offline".to_owned(), user: None, port: None, config: None };
    let offline = Shell::new("offline", Machine::Ssh(ssh), &pair.cancel).list(&pair.root).unwrap_err();
    assert!(matches!(offline.problem, Problem::Unreachable(_)), "{}", offline.problem);
    let roots = ["not-there", "not-there-either"].map(|name| pair.scratch.child(name));
    let (known, pool) = (pair.scratch.dataset(), DatasetName::new("nopool/x").unwrap());
    let listing = pair.source.list(&[&roots[..], &[known.clone(), pool.clone()]].concat()).unwrap();
    assert!(listing.get(known).is_some());
    let why = |root| listing.why_unlisted(root);
    assert_eq!((why(&roots[0]), why(&roots[1])), (Some(&Unlisted::Missing), Some(&Unlisted::Missing)));
    assert_eq!((why(&pool), why(known)), (Some(&Unlisted::NoPool), None));
    let local = Shell::new("here", Machine::Local, &pair.cancel);
    assert!(local.list(&pair.root).unwrap().get(&pair.root).is_some());
}
