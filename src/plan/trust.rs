//! Which bookmarks of a source dataset are certain to be earlier points of its present line, and so can be the base of an
//! increment. [`crate::model::LineageMark`] says why others exist, and how a snapshot proves it.
//!
//! A bookmark is certain iff
//! * the snapshot of its GUID still exists; or
//! * a snapshot that exists proves it: the oldest own one after the bookmark says most, then those between; or
//! * the dataset is from before snapshots were marked: neither it nor any snapshot that exists has the mark in any form, and
//!   the next snapshot after the bookmark is an own one that was taken here, since it has a bookmark of its own age. A `zfs
//!   receive -F` would have left the snapshot that it received there, or a record in the history of the pool, which must have
//!   none. So this rule accepts what it accepts once: in the first run, whose snapshot then proves it; or
//! * the history of the pool reaches back to the bookmark, and the dataset has not been rolled back or received into since.
//!   That is asked last, where an increment depends on it: it may be long.
//!
//! A bookmark that is not certain is kept, but no base. It is *void* where it is certain that the line was left: a
//! snapshot was received again, so that its own bookmark is older than it; points between the two were destroyed for
//! it.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::builder::Builder;
use crate::model::{Claim, Dataset, Guid, LineageMark, NameFormat, Point, PointKind, Txg};

/// The facts about the bookmarks of one source dataset, from its listing.
#[derive(Debug)]
pub(super) struct Trust<'a> {
    dataset: &'a Dataset,
    format: &'a NameFormat,
    /// Every snapshot, oldest first.
    snapshots: Vec<&'a Point>,
    /// The own ones of these.
    own: Vec<&'a Point>,
    guids: BTreeSet<Guid>,
    /// GUID and age of every bookmark.
    bookmarked: BTreeSet<(Guid, Txg)>,
    /// From a snapshot's own older bookmark to the snapshot: every bookmark between is void.
    left: Vec<(Txg, Txg)>,
    /// Whether no snapshot has a mark in any form; `None` as long as that is not known.
    is_unmarked: OnceCell<Option<bool>>,
}

/// The proof that the next own snapshot of a dataset can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next<'a> {
    /// The newest own snapshot: the claim holds only if it still exists then.
    pub(super) previous: Option<&'a Point>,
    /// Which bookmarks are certain.
    pub(super) claim: Claim,
    /// From when on there are none, for the case that `previous` is gone.
    pub(super) restart: Txg,
}

impl<'a> Trust<'a> {
    pub(super) fn new(dataset: &'a Dataset, format: &'a NameFormat) -> Self {
        let history = &dataset.history;
        let is_snapshot = |point: &&Point| point.kind == PointKind::Snapshot;
        let snapshots: Vec<&Point> = history.points().filter(is_snapshot).collect();
        let mut by_guid: Vec<(Guid, Txg)> =
            snapshots.iter().map(|point| (point.guid, point.createtxg)).collect();
        by_guid.sort_unstable();
        let received = |bookmark: &Point| {
            let at = by_guid.partition_point(|(guid, _)| *guid < bookmark.guid);
            let (_, txg) = by_guid.get(at).filter(|(guid, _)| *guid == bookmark.guid)?;
            (bookmark.createtxg < *txg).then_some((bookmark.createtxg, *txg))
        };
        let left = history.bookmarks().filter_map(received).collect();
        let own = snapshots.iter().copied().filter(|point| format.is_own(&point.name)).collect();
        let guids = snapshots.iter().map(|point| point.guid).collect();
        let bookmarked = history.bookmarks().map(|point| (point.guid, point.createtxg)).collect();
        Self { dataset, format, snapshots, own, guids, bookmarked, left, is_unmarked: OnceCell::new() }
    }

    /// Whether the snapshot of this bookmark is gone.
    pub(super) fn is_bare(&self, bookmark: &Point) -> bool {
        !self.guids.contains(&bookmark.guid)
    }

    /// Whether it is certain that the dataset has left the line of this bookmark.
    pub(super) fn is_void(&self, bookmark: &Point) -> bool {
        let is_between = |(from, to): &(Txg, Txg)| *from < bookmark.createtxg && bookmark.createtxg < *to;
        self.is_bare(bookmark) && self.left.iter().any(is_between)
    }

    /// Whether this bookmark is an earlier point of the dataset's present line. A missing detail is asked for, and the
    /// bookmark is not certain until then.
    pub(super) fn is_certain(&self, builder: &mut Builder, bookmark: &Point) -> bool {
        if !self.is_bare(bookmark) {
            return true;
        }
        if self.is_void(bookmark) {
            return false;
        }
        match self.find_proof(builder, bookmark) {
            Some(false) => builder.knows_line_history(self.dataset) && self.is_in_history(bookmark),
            proof => proof.unwrap_or(false),
        }
    }

    /// The same by snapshots alone: a run that needs no base from before does not wait for the history of a pool.
    fn is_proven_by_snapshots(&self, builder: &mut Builder, bookmark: &Point) -> bool {
        !self.is_void(bookmark) && self.find_proof(builder, bookmark) == Some(true)
    }

    /// Whether the history of the pool, if it was asked, proves it.
    fn is_in_history(&self, bookmark: &Point) -> bool {
        let history = self.dataset.line_history.as_ref();
        history.is_some_and(|history| history.proves(self.dataset.createtxg, bookmark))
    }

    /// `None` as long as the marks that decide are not known.
    fn find_proof(&self, builder: &mut Builder, bookmark: &Point) -> Option<bool> {
        let own = newer_than(&self.own, bookmark);
        let (oldest, newest) = (own.first().copied(), own.last().copied());
        let newer = newer_than(&self.snapshots, bookmark);
        // Each own snapshot hands its claim on to the next one, so the oldest and the newest know all; before the first there
        // may be one of an earlier name format.
        let is_before = |point: &&Point| oldest.is_none_or(|oldest| point.createtxg < oldest.createtxg);
        let before = newer.iter().copied().take_while(is_before);
        if self.is_proven(builder, oldest.into_iter(), bookmark)?
            || self.is_proven(builder, newest.into_iter().chain(before), bookmark)?
        {
            return Some(true);
        }
        if newest.is_some_and(|newest| self.has_proof(newest)) {
            return Some(false);
        }
        if self.is_proven(builder, own.iter().copied(), bookmark)? {
            return Some(true);
        }
        if !self.is_from_before(builder, bookmark, newer.first().copied())? {
            return Some(false);
        }
        // The snapshot that would prove it may be gone: replication destroys each of its own after the next one.
        let is_known = builder.knows_line_history(self.dataset);
        let history = self.dataset.line_history.as_ref();
        is_known.then(|| history.is_some_and(|history| !history.left(bookmark.createtxg)))
    }

    fn is_proven(
        &self,
        builder: &mut Builder,
        snapshots: impl Iterator<Item = &'a Point> + Clone,
        bookmark: &Point,
    ) -> Option<bool> {
        let is_known = builder.knows_lineage(self.dataset, snapshots.clone());
        is_known.then(|| snapshots.into_iter().any(|point| self.proves(point, bookmark)))
    }

    fn has_proof(&self, snapshot: &Point) -> bool {
        matches!(self.dataset.lineage.get(&snapshot.guid), Some(LineageMark::Proof(_)))
    }

    fn proves(&self, snapshot: &Point, bookmark: &Point) -> bool {
        match self.dataset.lineage.get(&snapshot.guid) {
            Some(LineageMark::Proof(proof)) => proof.covers(self.dataset.createtxg, snapshot, bookmark),
            Some(LineageMark::Absent | LineageMark::Void) | None => false,
        }
    }

    /// Whether the rule for datasets from before the mark accepts a bookmark after which `next` is the next snapshot.
    fn is_from_before(&self, builder: &mut Builder, bookmark: &Point, next: Option<&Point>) -> Option<bool> {
        let is_taken_here = |next: &Point| {
            self.format.is_own(&next.name) && self.bookmarked.contains(&(next.guid, next.createtxg))
        };
        let came_by_promote = bookmark.createtxg < self.dataset.createtxg;
        if self.dataset.has_lineage() || came_by_promote || !next.is_some_and(is_taken_here) {
            return Some(false);
        }
        *self.is_unmarked.get_or_init(|| {
            let is_absent =
                |point: &&Point| matches!(self.dataset.lineage.get(&point.guid), Some(LineageMark::Absent));
            let is_known = builder.knows_lineage(self.dataset, self.snapshots.iter().copied());
            is_known.then(|| self.snapshots.iter().all(is_absent))
        })
    }

    /// The proof that a snapshot that is taken now can give.
    pub(super) fn next(&self, builder: &mut Builder) -> Next<'a> {
        let newest = self.dataset.history.points().next_back();
        let after =
            |point: Option<&Point>| point.map_or(Txg(0), |point| Txg(point.createtxg.0.saturating_add(1)));
        // Those of other programs, too: a bookmark can be a copy of another one, under any name.
        let bare = self.dataset.history.bookmarks().rev().filter(|point| self.is_bare(point));
        let mut claim = Claim::default();
        for doubtful in bare.filter(|point| !self.is_proven_by_snapshots(builder, point)) {
            if claim.except.len() == Claim::EXCEPT_MAX {
                claim.since = after(Some(doubtful));
                break;
            }
            claim.except.push(doubtful.createtxg);
        }
        let (previous, restart) = (self.own.last().copied(), after(newest));
        // Without a snapshot that can be held, nothing says that the line is still the same when the next one is taken.
        let claim = if previous.is_some() { claim } else { Claim { since: restart, except: Vec::new() } };
        Next { previous, claim, restart }
    }
}

/// Those of `snapshots`, which are in their order, that are not older than the bookmark.
fn newer_than<'s, 'a>(snapshots: &'s [&'a Point], bookmark: &Point) -> &'s [&'a Point] {
    let from = snapshots.partition_point(|point| point.createtxg < bookmark.createtxg);
    snapshots.get(from..).unwrap_or_default()
}
