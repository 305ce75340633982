//! The program's changes of points and datasets, with the listings that it knows.

use zhaul::host::SnapshotGroup;
use zhaul::model::{BookmarkName, Change, PointKind, PointName};

use super::deed::Side;
use super::stage::Stage;
use super::view::Outcome;

/// A token that no receive has.
const NO_TOKEN: &str = "1-0-0-00";

impl Stage {
    /// A change to the target that has nothing to refuse in part.
    pub(super) fn change(&self, change: &Change) -> Outcome {
        Outcome::of(self.target.change(change).map(|_| ()))
    }

    pub(super) fn take(&self, names: &[&str]) -> Outcome {
        let snapshots = names.iter().map(|name| self.snapshot(Side::Source, name)).collect();
        let (lineage, to_mark, config) = Default::default();
        let group = SnapshotGroup { snapshots, is_one_moment: false, freeze: None, lineage, to_mark, config };
        Outcome::of_not_made(self.source.snapshot(&group).map(|taken| taken.not_made))
    }

    pub(super) fn bookmark(&self, snapshot: &str, bookmark: &str) -> Outcome {
        let bookmark = BookmarkName::parse(&self.full(Side::Source, bookmark)).unwrap();
        let made = self.source.bookmark(&[(self.snapshot(Side::Source, snapshot), bookmark)]);
        Outcome::of_not_made(made.map(|made| made.not_made))
    }

    pub(super) fn destroy_snapshots(&self, side: Side, dataset: &str, names: &[&str]) -> Outcome {
        let dataset = self.dataset(side, dataset);
        let points = self.points(side, PointKind::Snapshot, &dataset, names);
        Outcome::of_refusals(match side {
            Side::Source => self.source.destroy_snapshots(&dataset, &points),
            Side::Target => {
                let change = Change::DestroySnapshots { dataset, snapshots: points };
                self.target.change(&change).map(|changed| changed.refusals)
            }
        })
    }

    pub(super) fn destroy_bookmarks(&self, dataset: &str, names: &[&str]) -> Outcome {
        let dataset = self.dataset(Side::Source, dataset);
        let points = self.points(Side::Source, PointKind::Bookmark, &dataset, names);
        Outcome::of_refusals(self.source.destroy_bookmarks(&dataset, &points))
    }

    pub(super) fn rename_dataset(&self, from: &str, to: &str) -> Outcome {
        let (from, to) = (self.dataset(Side::Target, from), self.dataset(Side::Target, to));
        let guid = self.dataset_guid(&from);
        self.change(&Change::RenameDataset { from, guid, to })
    }

    pub(super) fn rename_snapshot(&self, from: &str, to: &str) -> Outcome {
        let (from, to) = (self.snapshot(Side::Target, from), PointName::new(to).unwrap());
        let guid = self.point(&from);
        self.change(&Change::RenameSnapshot {
            dataset: from.dataset().clone(),
            from: from.name().clone(),
            guid,
            to,
        })
    }

    pub(super) fn abort_receive(&self, name: &str) -> Outcome {
        let dataset = self.dataset(Side::Target, name);
        let known = self.known(Side::Target);
        let token = known.get(&dataset).and_then(|dataset| dataset.resume_token.as_deref());
        let token = token.unwrap_or(NO_TOKEN).to_owned();
        self.change(&Change::AbortReceive { dataset, token })
    }

    pub(super) fn destroy_dataset(&self, name: &str) -> Outcome {
        let dataset = self.dataset(Side::Target, name);
        let known = self.known(Side::Target);
        let points = known.get(&dataset).into_iter().flat_map(|dataset| dataset.history.points());
        let points: Vec<_> = points.map(|point| (point.name.clone(), point.guid)).collect();
        let guid = self.dataset_guid(&dataset);
        self.change(&Change::DestroyDataset { dataset, guid, snapshots: points })
    }
}
