//! How one target dataset stands to its source, by GUID alone.
//!
//! Identity is the GUID: a renamed snapshot is the same snapshot, and two snapshots called `@daily` on both sides need
//! not be. The *base* is the newest target snapshot that the source still knows, as snapshot or bookmark. A target
//! snapshot newer than the base is one that the source does not know: the line has *parted*.

use crate::model::{Dataset, Guid, History, Point};

/// Finds points of a history by GUID; a snapshot before a bookmark of the same one.
#[derive(Debug)]
pub(super) struct GuidIndex<'a>(Vec<&'a Point>);

impl<'a> GuidIndex<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        // A deferred-destroy snapshot may vanish while it is being used; its bookmark does not. Of two bookmarks the one with
        // the shorter name comes first: the other may mark a stream (`sending`), and goes when that is over.
        let mut points: Vec<&Point> = history.points().filter(|point| !point.is_doomed()).collect();
        points.sort_by_key(|point| (point.guid, point.kind, &point.name));
        Self(points)
    }

    pub(super) fn find(&self, guid: Guid) -> Option<&'a Point> {
        let start = self.0.partition_point(|point| point.guid < guid);
        self.0.get(start).copied().filter(|point| point.guid == guid)
    }
}

/// The newest common point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    /// As the source knows it, snapshot or bookmark.
    pub(super) source: &'a Point,
    /// The target's snapshot.
    pub(super) target: &'a Point,
}

/// What the histories have in common, and what the target has beyond it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The base of an increment, if there is one.
    pub(super) common: Option<Common<'a>>,
    /// Target snapshots newer than the base (all of them, if there is no base), oldest first.
    pub(super) unknown: Vec<&'a Point>,
}

impl<'a> Line<'a> {
    /// Compares the two histories.
    pub(super) fn new(source: &GuidIndex<'a>, target: &'a History) -> Self {
        let mut unknown = Vec::new();
        for point in target.snapshots().rev() {
            if let Some(known) = source.find(point.guid) {
                unknown.reverse();
                return Self { common: Some(Common { source: known, target: point }), unknown };
            }
            unknown.push(point);
        }
        unknown.reverse();
        Self { common: None, unknown }
    }

    /// Whether an increment from the base would be received: nothing was written since (`dsl_dataset_modified_since_snap`),
    /// though there may be newer snapshots. A raw receive insists on the newest (ETXTBSY).
    pub(super) fn is_unchanged_since_base(&self, target: &Dataset, is_raw: bool) -> bool {
        let is_empty = |point: &Point| point.details.is_some_and(|details| details.written_bytes == 0);
        target.written_bytes == 0 && self.unknown.iter().all(|point| is_empty(point) && !is_raw)
    }
}
