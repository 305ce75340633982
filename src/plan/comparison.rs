//! How one target dataset stands to its source, by GUID alone.
//!
//! Identity is the GUID: a renamed snapshot is the same snapshot, and two snapshots called `@daily` on both sides need
//! not be. The *base* is the newest target snapshot that the source still knows, as a snapshot or as a bookmark that is
//! certain to be on its present line ([`super::trust`]). A target snapshot newer than the base is one that an increment
//! cannot follow: the line has *diverged*.

use std::cmp::Reverse;

use super::builder::Builder;
use super::trust::Trust;
use crate::model::{Dataset, Guid, History, Point, PointKind};

/// Finds points of a history by GUID; a snapshot before a bookmark of the same one.
#[derive(Debug)]
pub(super) struct GuidIndex<'a>(Vec<&'a Point>);

impl<'a> GuidIndex<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        // A deferred-destroy snapshot may vanish while it is being used; its bookmark does not. Of two bookmarks the one with
        // the shorter name comes first: the other may mark a stream (`sending`), and goes when that is over.
        let mut points: Vec<&Point> = history.points().filter(|point| !point.is_destroy_deferred()).collect();
        // Of several bookmarks of one snapshot the newest: an older one is from before the snapshot was received again.
        points.sort_by_key(|point| (point.guid, point.kind, Reverse(point.createtxg), &point.name));
        Self(points)
    }

    /// The source's point with this GUID; whether it can be a base is another question.
    pub(super) fn find(&self, guid: Guid) -> Option<&'a Point> {
        self.all(guid).next()
    }

    fn all(&self, guid: Guid) -> impl Iterator<Item = &'a Point> {
        let start = self.0.partition_point(|point| point.guid < guid);
        let rest = self.0.get(start..).unwrap_or_default().iter().copied();
        rest.take_while(move |point| point.guid == guid)
    }

    /// The point of this GUID that an increment can start from.
    pub(super) fn base(&self, builder: &mut Builder, trust: &Trust<'_>, guid: Guid) -> Option<&'a Point> {
        self.all(guid).find(|point| point.kind == PointKind::Snapshot || trust.is_certain(builder, point))
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

/// The points that the histories have in common, and those that the target has beyond them.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// The base of an increment, if there is one.
    pub(super) common: Option<Common<'a>>,
    /// Target snapshots newer than the base (all of them, if there is no base), oldest first.
    pub(super) unknown: Vec<&'a Point>,
    /// The newest of these that the source knows as a bookmark which is not certain.
    pub(super) doubtful: Option<&'a Point>,
}

impl<'a> Comparison<'a> {
    /// Compares the two histories.
    pub(super) fn new(
        builder: &mut Builder,
        source: &GuidIndex<'a>,
        trust: &Trust<'_>,
        target: &'a History,
    ) -> Self {
        Self::compare(source, target, |guid| source.base(builder, trust, guid))
    }

    /// Compares the two histories as far as their listings go, without the details of the snapshots.
    pub(super) fn as_listed(source: &GuidIndex<'a>, trust: &Trust<'_>, target: &'a History) -> Self {
        Self::compare(source, target, |guid| source.find(guid).filter(|point| !trust.is_void(point)))
    }

    fn compare(
        source: &GuidIndex<'a>,
        target: &'a History,
        mut base: impl FnMut(Guid) -> Option<&'a Point>,
    ) -> Self {
        let mut line = Self { common: None, unknown: Vec::new(), doubtful: None };
        for point in target.snapshots().rev() {
            if let Some(known) = base(point.guid) {
                line.common = Some(Common { source: known, target: point });
                break;
            }
            line.doubtful = line.doubtful.or_else(|| source.find(point.guid));
            line.unknown.push(point);
        }
        line.unknown.reverse();
        line
    }

    /// Whether an increment from the base would be received: nothing was written since (`dsl_dataset_modified_since_snap`),
    /// though there may be newer snapshots. A raw receive insists on the newest (ETXTBSY).
    pub(super) fn is_unchanged_since_base(&self, target: &Dataset, is_raw: bool) -> bool {
        let is_empty = |point: &Point| point.details.is_some_and(|details| details.written_bytes == 0);
        target.written_bytes == 0 && self.unknown.iter().all(|point| is_empty(point) && !is_raw)
    }
}
