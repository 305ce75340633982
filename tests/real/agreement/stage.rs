//! Two machines, source and target, on which a scenario is played: fakes or real ones. The same code acts on
//! both; only a person's hands and the place of a cut differ.

use zhaul::host::fake::{FakeHost, SharedState};
use zhaul::host::{HostError, Local, Machine, Shell, SourceHost, TargetHost};
use zhaul::model::{
    Change, DatasetKind, DatasetName, Guid, Listing, Point, PointKind, PointName, SnapshotName,
};
use zhaul::stream::Cancel;

use super::deed::{Act, Deed, Side};
use super::person::{AtFakes, AtPrompt, Person};
use super::view::{Guids, Outcome};

/// A pool that no machine has.
const NO_POOL: &str = "nopool/x";

/// The length of a record of a real stream without its payload (`dmu_replay_record_t`).
const RECORD_BYTES: usize = 312;

pub(crate) struct Stage {
    pub(super) source: Box<dyn SourceHost>,
    pub(super) target: Box<dyn TargetHost>,
    person: Box<dyn Person>,
    roots: [DatasetName; 2],
    /// Where a stream's content begins.
    pub(super) content_at: fn(&[u8]) -> usize,
    /// The listings of source and target that the program knows.
    known: Option<[Listing; 2]>,
    guids: Guids,
    pub(super) cancel: Cancel,
}

impl Stage {
    /// Fakes whose pools have the names of the real ones.
    pub(crate) fn fake(roots: [DatasetName; 2]) -> Self {
        let shared_state = SharedState::new();
        let (source, target) =
            (FakeHost::new("source", &shared_state), FakeHost::new("target", &shared_state));
        for (host, root) in [(&source, &roots[0]), (&target, &roots[1])] {
            host.create(root.pool(), DatasetKind::Filesystem).unwrap();
        }
        let person = AtFakes { source: source.clone(), target: target.clone() };
        let content_at = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Self::new(Box::new(source), Box::new(target), Box::new(person), roots, content_at)
    }

    /// Real pools: the source in process, the target through a worker shell.
    pub(crate) fn real(roots: [DatasetName; 2]) -> Self {
        let cancel = Cancel::new().unwrap();
        let source =
            Local::through(env!("CARGO_BIN_EXE_zhaul").into(), std::time::Duration::from_secs(600), &cancel)
                .unwrap();
        let target = Shell::new("target", Machine::Local, &cancel);
        let content_at = |bytes: &[u8]| {
            let payload = bytes.get(4..8).map_or([0; 4], |word| word.try_into().unwrap());
            RECORD_BYTES + usize::try_from(u32::from_ne_bytes(payload)).unwrap()
        };
        Self::new(Box::new(source), Box::new(target), Box::new(AtPrompt), roots, content_at)
    }

    fn new(
        source: Box<dyn SourceHost>,
        target: Box<dyn TargetHost>,
        person: Box<dyn Person>,
        roots: [DatasetName; 2],
        content_at: fn(&[u8]) -> usize,
    ) -> Self {
        let cancel = Cancel::new().unwrap();
        let stage =
            Self { source, target, person, roots, content_at, known: None, guids: Guids::default(), cancel };
        stage.act(Side::Source, Act::Create("")).unwrap();
        stage
            .target
            .change(&Change::CreateContainer { dataset: stage.roots[1].clone(), is_plain: false })
            .unwrap();
        stage
    }

    /// The state of both sides now.
    pub(crate) fn show(&mut self) -> Vec<String> {
        let (source, target) = (self.list(Side::Source, ""), self.list(Side::Target, ""));
        let mut lines = self.guids.show(Side::Source, &source);
        lines.extend(self.guids.show(Side::Target, &target));
        lines
    }

    pub(super) fn list(&self, side: Side, relative: &str) -> Result<Listing, HostError> {
        let at = self.dataset(side, relative);
        let mut listing = match side {
            Side::Source => self.source.list(&[at])?,
            Side::Target => self.target.list(&at)?,
        };
        let mut snapshots = Vec::new();
        for dataset in listing.datasets() {
            let of = |point: &Point| (dataset.name.snapshot(&point.name).unwrap(), point.guid);
            snapshots.extend(dataset.history.snapshots().map(of));
        }
        let details = match side {
            Side::Source => self.source.details(&snapshots)?,
            Side::Target => self.target.details(&snapshots)?,
        };
        for ((snapshot, guid), details) in snapshots.into_iter().zip(details) {
            listing.get_mut(snapshot.dataset()).unwrap().history.add_details([(guid, details)]);
        }
        Ok(listing)
    }

    /// The listing of one side that the program knows.
    pub(super) fn known(&self, side: Side) -> Listing {
        let at = usize::from(side == Side::Target);
        match &self.known {
            Some(known) => known[at].clone(),
            None => self.list(side, "").unwrap_or_default(),
        }
    }

    pub(super) fn full(&self, side: Side, relative: &str) -> String {
        let root = &self.roots[usize::from(side == Side::Target)];
        if relative.is_empty() { root.to_string() } else { format!("{root}/{relative}") }
    }

    pub(super) fn dataset(&self, side: Side, relative: &str) -> DatasetName {
        DatasetName::new(&self.full(side, relative)).unwrap()
    }

    pub(super) fn snapshot(&self, side: Side, relative: &str) -> SnapshotName {
        SnapshotName::parse(&self.full(side, relative)).unwrap()
    }

    fn act(&self, side: Side, act: Act) -> Result<(), String> {
        self.person.act(side, act, &|relative| self.full(side, relative))
    }

    /// The points of these names as the program knows them; one that it does not know has a GUID that nothing has.
    pub(super) fn points(
        &self,
        side: Side,
        kind: PointKind,
        dataset: &DatasetName,
        names: &[&str],
    ) -> Vec<(PointName, Guid)> {
        let known = self.known(side);
        let history = known.get(dataset).map(|dataset| &dataset.history);
        let points = names.iter().map(|name| {
            let name = PointName::new(name).unwrap();
            let point = history.and_then(|history| history.named(kind, &name));
            let guid = point.map_or(Guid(1), |point| point.guid);
            (name, guid)
        });
        points.collect()
    }

    pub(super) fn point(&self, snapshot: &SnapshotName) -> Guid {
        let names = [snapshot.name().as_str()];
        self.points(Side::Target, PointKind::Snapshot, snapshot.dataset(), &names)[0].1
    }

    pub(super) fn dataset_guid(&self, dataset: &DatasetName) -> Guid {
        self.known(Side::Target).get(dataset).map_or(Guid(1), |dataset| dataset.guid)
    }

    /// Does it.
    pub(crate) fn play(&mut self, deed: Deed) -> Outcome {
        match deed {
            Deed::Plan => {
                self.known = None;
                self.known = Some([self.known(Side::Source), self.known(Side::Target)]);
                Outcome::new("ok")
            }
            Deed::List(side, relative) => {
                let listed = self.list(side, relative);
                let compared = self.guids.show(side, &listed).join("; ");
                Outcome { compared, words: Outcome::of(listed.map(|_| ())).words }
            }
            Deed::Snapshot(names) => self.take(names),
            Deed::Bookmark(snapshot, bookmark) => self.bookmark(snapshot, bookmark),
            Deed::Estimate(transfer) => {
                Outcome::of(self.source.estimate(&self.send_spec(transfer, None), &self.cancel).map(|_| ()))
            }
            Deed::Send(transfer) => self.transfer(transfer, None, None),
            Deed::Cut(transfer, cut) => self.transfer(transfer, Some(cut), None),
            Deed::Resume(transfer) => self.resume(transfer),
            Deed::DestroySnapshots(side, dataset, names) => self.destroy_snapshots(side, dataset, names),
            Deed::DestroyBookmarks(dataset, names) => self.destroy_bookmarks(dataset, names),
            Deed::RenameDataset(from, to) => self.rename_dataset(from, to),
            Deed::RenameSnapshot(from, to) => self.rename_snapshot(from, to),
            Deed::Rollback(to) => {
                let to = self.snapshot(Side::Target, to);
                let guid = self.point(&to);
                self.change(&Change::Rollback { dataset: to.dataset().clone(), to: to.name().clone(), guid })
            }
            Deed::CreateContainer(name) => self.change(&Change::CreateContainer {
                dataset: self.dataset(Side::Target, name),
                is_plain: false,
            }),
            Deed::CreateElsewhere => self.change(&Change::CreateContainer {
                dataset: DatasetName::new(NO_POOL).unwrap(),
                is_plain: false,
            }),
            Deed::ListElsewhere => {
                Outcome::of(self.target.list(&DatasetName::new(NO_POOL).unwrap()).map(|_| ()))
            }
            Deed::AbortReceive(name) => self.abort_receive(name),
            Deed::DestroyDataset(name) => self.destroy_dataset(name),
            Deed::Person(side, act) => match self.act(side, act) {
                Ok(()) => Outcome::new("done"),
                Err(words) => Outcome { compared: "refused".to_owned(), words },
            },
        }
    }
}
