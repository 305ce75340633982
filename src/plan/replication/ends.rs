//! What the streams of a replication begin at and end at: clones begin at their origin, and what clones begin at is sent, too.

use super::Replication;
use crate::model::{Point, PointKind, SnapshotName};
use crate::plan::builder::Builder;
use crate::plan::outbound::Outbound;
use crate::plan::{Base, Fallback, FindingKind, Severity};

impl<'a> Replication<'a> {
    /// The base of an increment: a point of the dataset, or the origin of a clone.
    pub(super) fn base(&self, point: &Point) -> Base {
        let origin = self.origin.as_ref().filter(|origin| origin.point.guid == point.guid);
        let origin = origin.filter(|_| !self.knows(point.guid)).map(|origin| origin.dataset.clone());
        let (kind, guid, createtxg) = (point.kind, point.guid, point.createtxg);
        Base { kind, name: point.name.clone(), origin, guid, createtxg }
    }

    /// The snapshots that clones begin at and that the target lacks, oldest first.
    pub(in crate::plan) fn origins_to_send(&self) -> Vec<&'a Point> {
        let snapshots = self.dataset().history.snapshots();
        let wanted = snapshots.filter(|point| self.wanted_origins.contains(&point.guid));
        wanted.filter(|point| self.is_newer_than_head(point)).collect()
    }

    /// Whether the copy is a clone of this snapshot because the source is a clone of the same one.
    pub(in crate::plan) fn is_linked(&self, origin: &SnapshotName) -> bool {
        let there = self.ground.listing.get(origin.dataset());
        let there = there.and_then(|there| there.history.named(PointKind::Snapshot, origin.name()));
        there.is_some_and(|there| self.source.origin == Some(there.guid))
    }

    /// Reports that a clone is sent in full.
    pub(super) fn report_missing_origin(&self, builder: &mut Builder) {
        let dataset = self.dataset();
        if let Some(origin) = &dataset.origin {
            let kind = FindingKind::OriginMissing { copy: self.name.clone(), origin: origin.clone() };
            builder.find(Severity::Note, Some(&dataset.name), self.place.clone(), kind);
        }
    }

    /// Reports that a newer incremental source is not used, since it is not certain to be one.
    pub(super) fn report_doubtful(&self, builder: &mut Builder) {
        let comparison = self.comparison.as_ref().filter(|_| self.received.is_empty());
        let Some((comparison, doubtful)) =
            comparison.and_then(|comparison| Some((comparison, comparison.doubtful?)))
        else {
            return;
        };
        let kind = FindingKind::DoubtfulBookmark {
            bookmark: doubtful.name.clone(),
            base: comparison.common.map(|common| common.source.name.clone()),
        };
        builder.find(Severity::Warning, Some(&self.dataset().name), self.place.clone(), kind);
    }

    /// The transfer of a snapshot that exists, instead of this run's.
    pub(super) fn fallback(&self, point: &'a Point) -> Option<Fallback> {
        let name = self.free_name(Outbound::Taken(point)).ok()?;
        let snapshot = self.dataset().name.snapshot(&point.name).ok()?;
        Some(Fallback { snapshot, guid: point.guid, target: self.name.snapshot(&name).ok()? })
    }
}
