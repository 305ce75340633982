//! A bench removes exactly the dataset that it received, on a machine in memory.

use std::time::Duration;

use super::receive::{Trial, check_can_destroy};
use super::removal::{Removal, remove};
use super::setup::{BenchError, Limits, Material, Setup, Snapshot, Watcher};
use crate::host::fake::{FakeHost, SharedState};
use crate::host::{SourceHost, TargetHost};
use crate::model::{Compression, DatasetKind, DatasetName, Encryption, Listing, PointName, SnapshotName};
use crate::stream::{ByteSource, Cancel, Sample};

struct NoWatcher;

impl Watcher for NoWatcher {
    fn begins(&self, _: &str) {}
    fn moved(&self, _: &Sample) {}
}

struct World {
    source: FakeHost,
    target: FakeHost,
    snapshot: Snapshot,
    cancel: Cancel,
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

impl World {
    /// `s/a@1` at the source, `t/pve0` at the target.
    fn new() -> Self {
        let shared_state = SharedState::default();
        let (source, target) =
            (FakeHost::new("source", &shared_state), FakeHost::new("target", &shared_state));
        source.create("s", DatasetKind::Filesystem).unwrap();
        source.create("s/a", DatasetKind::Volume).unwrap();
        source.write("s/a", 200).unwrap();
        source.take(&["s/a@1"]).unwrap();
        target.create("t", DatasetKind::Filesystem).unwrap();
        target.create("t/pve0", DatasetKind::Filesystem).unwrap();
        let snapshot = Snapshot {
            name: SnapshotName::parse("s/a@1").unwrap(),
            guid: source.guid("s/a@1").unwrap(),
            kind: DatasetKind::Volume,
            encryption: Encryption::Off,
        };
        Self { source, target, snapshot, cancel: Cancel::new().unwrap() }
    }

    fn listing(&self) -> Listing {
        TargetHost::list(&self.target, &name("t")).unwrap()
    }

    /// How much of the stream was received into a dataset below `root`, and what is left behind.
    fn receive(&self, root: &str, bytes: u64) -> (Result<u64, BenchError>, Option<String>) {
        let mut outgoing = self.source.send(&self.snapshot.send_spec()).unwrap();
        let stream = outgoing.stream(&self.cancel).unwrap();
        self.receive_from(root, bytes, stream)
    }

    fn receive_from(
        &self,
        root: &str,
        bytes: u64,
        stream: impl ByteSource,
    ) -> (Result<u64, BenchError>, Option<String>) {
        let limits = Limits { time: Duration::from_secs(60), bytes };
        let setup = Setup {
            material: Material::Snapshot(&self.source, self.snapshot.clone()),
            destination: None,
            limits,
            receives: true,
            cancel: &self.cancel,
            watcher: &NoWatcher,
        };
        let root = name(root);
        let trial = Trial {
            host: &self.target,
            keeper: &self.target,
            root: &root,
            snapshot: &self.snapshot,
            compression: Compression::Off,
        };
        let (received, left) = setup.receive("the receive", &trial, stream, limits);
        (received.map(|received| received.flow.bytes), left)
    }

    fn remove(&self, dataset: &str) -> Removal {
        remove(&self.target, &name(dataset), self.snapshot.guid, &PointName::new("1").unwrap())
    }

    /// `s/a@1` received as `t/pve0/x@1`, as a bench does.
    fn arrived(&self) {
        let spec = crate::host::ReceiveSpec {
            copy_encryption: crate::model::CopyEncryption::AsSent,
            snapshot: SnapshotName::parse("t/pve0/x@1").unwrap(),
            origin: None,
            heals: false,
            creates_dataset: true,
            kind: DatasetKind::Volume,
            to: None,
            from: None,
            writer: None,
        };
        let mut incoming = self.target.receive(&spec).unwrap();
        let mut outgoing = self.source.send(&self.snapshot.send_spec()).unwrap();
        let meters = crate::stream::meter::Meters::new(crate::stream::meter::Places::LOCAL, 0);
        let crate::host::ReceiveInput::Plain(target) = incoming.inlet(&self.cancel, &meters).unwrap() else {
            panic!("frames");
        };
        let pump = crate::stream::pump::Pump {
            settings: super::compression_run::pump_settings(),
            meters,
            cancel: self.cancel.child().unwrap(),
            samples: None,
        };
        pump.run(outgoing.stream(&self.cancel).unwrap(), target).unwrap();
        incoming.finish().unwrap();
    }
}

#[test]
fn a_whole_stream_is_received_and_nothing_is_left() {
    let world = World::new();
    let before = world.listing();
    let (received, left) = world.receive("t/pve0", u64::MAX);
    assert!(received.unwrap() > 1000);
    assert_eq!((left, world.listing()), (None, before));
}

#[test]
fn of_a_piece_of_a_stream_nothing_is_left_either() {
    let world = World::new();
    let (whole, _) = world.receive("t/pve0", u64::MAX);
    let before = world.listing();
    let half = whole.unwrap() / 2;
    let (received, left) = world.receive("t/pve0", half);
    assert_eq!(received.unwrap(), half);
    assert_eq!((left, world.listing()), (None, before));
}

#[test]
fn a_root_that_does_not_exist_is_not_made() {
    let world = World::new();
    let (received, left) = world.receive("t/pve1", u64::MAX);
    assert!(matches!(&received, Err(BenchError::Refused(why)) if why.contains("t/pve1 does not exist")));
    assert_eq!(left, None);
}

#[test]
fn a_bench_that_was_stopped_receives_nothing() {
    let world = World::new();
    world.cancel.request();
    let before = world.listing();
    let limits = Limits { time: Duration::from_secs(60), bytes: u64::MAX };
    let setup = Setup {
        material: Material::Made,
        destination: None,
        limits,
        receives: false,
        cancel: &world.cancel,
        watcher: &NoWatcher,
    };
    assert!(matches!(super::run(&setup), Err(BenchError::Interrupted)));
    assert_eq!(world.listing(), before);
}

/// Asks the bench to stop in the middle of the stream.
struct Interrupting<'a, S> {
    inner: S,
    reads: u32,
    cancel: &'a Cancel,
}

impl<S: ByteSource> ByteSource for Interrupting<'_, S> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> std::io::Result<Option<usize>> {
        self.reads += 1;
        if self.reads == 3 {
            self.cancel.request();
        }
        let most = buffer.len().min(512);
        self.inner.read_within(&mut buffer[..most], limit)
    }
}

#[test]
fn a_bench_that_is_stopped_in_mid_receive_removes_what_it_made() {
    let world = World::new();
    let before = world.listing();
    let mut outgoing = world.source.send(&world.snapshot.send_spec()).unwrap();
    // The machine's own waits are not those of the bench.
    let inner = outgoing.stream(&Cancel::new().unwrap()).unwrap();
    let source = Interrupting { inner, reads: 0, cancel: &world.cancel };
    let (received, left) = world.receive_from("t/pve0", u64::MAX, source);
    assert!(matches!(received, Err(BenchError::Interrupted)), "{received:?}");
    assert_eq!((left, world.listing()), (None, before));
}

#[test]
fn only_what_was_received_is_removed() {
    let world = World::new();
    assert_eq!(world.remove("t/pve0/x"), Removal::Gone, "nothing is there");
    world.arrived();
    world.target.take(&["t/pve0/x@other"]).unwrap();
    let Removal::Left(why) = world.remove("t/pve0/x") else { panic!("another snapshot was destroyed") };
    assert_eq!(why, "it is not what the bench received");
    assert!(world.target.guid("t/pve0/x@1").is_some());
}

#[test]
fn a_snapshot_of_another_guid_stays() {
    let world = World::new();
    world.target.create("t/pve0/x", DatasetKind::Volume).unwrap();
    world.target.take(&["t/pve0/x@1"]).unwrap();
    let before = world.listing();
    assert!(matches!(world.remove("t/pve0/x"), Removal::Left(_)));
    assert_eq!(world.listing(), before);
}

#[test]
fn a_dataset_below_keeps_it() {
    let world = World::new();
    world.target.create("t/pve0/x", DatasetKind::Filesystem).unwrap();
    world.target.create("t/pve0/x/y", DatasetKind::Filesystem).unwrap();
    assert_eq!(world.remove("t/pve0/x"), Removal::Left("another dataset is below it".to_owned()));
}

#[test]
fn exactly_what_was_received_goes() {
    let world = World::new();
    let before = world.listing();
    world.arrived();
    assert_ne!(world.listing(), before);
    assert_eq!(world.remove("t/pve0/x"), Removal::Gone);
    assert_eq!(world.listing(), before);
}

#[test]
fn an_append_only_agent_is_reported_before_anything_is_sent() {
    assert!(check_can_destroy(Ok(false), "nfs8").is_ok());
    let refused = check_can_destroy(Ok(true), "nfs8");
    assert!(matches!(&refused, Err(BenchError::Refused(why)) if why.contains("append-only")), "{refused:?}");
}
