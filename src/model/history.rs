//! The points of one dataset in the order in which they came to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Details, Guid, Point, PointKind, PointName, Txg};

/// All points of one dataset, oldest first by `createtxg`; where a snapshot and its bookmark share one, the snapshot
/// stands first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct History(Vec<Point>);

/// Sorted again: the order is ours, whatever the other machine says.
impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::new)
    }
}

impl History {
    /// Sorts `points` into a history. The kernel lists in hash order, so this is never redundant.
    pub fn new(mut points: Vec<Point>) -> Self {
        points.sort_by(|a, b| {
            (a.createtxg, a.kind, a.guid, &a.name).cmp(&(b.createtxg, b.kind, b.guid, &b.name))
        });
        points.shrink_to_fit();
        Self(points)
    }

    /// Every point, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.0.iter()
    }

    /// The snapshots that can be built on, as far as is known, oldest first.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.0.iter().filter(|point| point.is_snapshot())
    }

    /// The bookmarks, oldest first.
    pub fn bookmarks(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.0.iter().filter(|point| point.kind == PointKind::Bookmark)
    }

    /// The newest snapshot that can be built on.
    pub fn newest_snapshot(&self) -> Option<&Point> {
        self.snapshots().next_back()
    }

    /// The snapshot that `guid` identifies. Looks at every point: a loop over a history wants an index instead.
    pub fn find_snapshot(&self, guid: Guid) -> Option<&Point> {
        self.snapshots().find(|point| point.guid == guid)
    }

    /// The point that `guid` identifies, a snapshot rather than a bookmark where both exist. Looks at every point.
    pub fn find(&self, guid: Guid) -> Option<&Point> {
        self.find_snapshot(guid).or_else(|| self.bookmarks().find(|point| point.guid == guid))
    }

    /// The point of this kind and name. Looks at every point.
    pub fn named(&self, kind: PointKind, name: &PointName) -> Option<&Point> {
        self.0.iter().find(|point| point.kind == kind && point.name == *name)
    }

    /// The snapshots that were made after the transaction group `after` and up to `until`, as far as is known.
    pub fn snapshots_between(&self, after: Txg, until: Option<Txg>) -> impl Iterator<Item = &Point> {
        let start = self.0.partition_point(|point| point.createtxg <= after);
        let points = self.0.get(start..).unwrap_or_default().iter();
        let points = points.take_while(move |point| until.is_none_or(|until| point.createtxg <= until));
        points.filter(|point| point.is_snapshot())
    }

    /// Notes what was learnt of snapshots, by GUID; `None` is one that is gone.
    pub fn add_details(&mut self, learnt: impl IntoIterator<Item = (Guid, Option<Details>)>) {
        let learnt: BTreeMap<Guid, Option<Details>> = learnt.into_iter().collect();
        self.0.retain_mut(|point| {
            match learnt.get(&point.guid).filter(|_| point.kind == PointKind::Snapshot) {
                None => true,
                Some(None) => false,
                Some(details) => {
                    point.details = *details;
                    true
                }
            }
        });
    }

    /// Whether the dataset has neither snapshots nor bookmarks.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
