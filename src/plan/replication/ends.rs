//! What the streams of a replication begin at and end at: clones begin at their origin, and what clones begin at is sent, too.

use super::super::origins::is_same_host;
use super::{Head, Replication};
use crate::model::{Point, SnapshotName};
use crate::plan::builder::Builder;
use crate::plan::linked::LinkedOrigin;
use crate::plan::outbound::{How, Outbound};
use crate::plan::{Base, Fallback, FindingKind, Severity, StepId};

impl<'a> Replication<'a> {
    /// The base of an increment: a point of the dataset, or the origin of a clone.
    pub(super) fn base(&self, point: &Point) -> Base {
        let origin = self.origin.as_ref().filter(|origin| origin.point.guid == point.guid);
        let origin = origin.filter(|_| !self.knows(point.guid)).map(|origin| origin.dataset.clone());
        let (kind, guid, createtxg) = (point.kind, point.guid, point.createtxg);
        Base { kind, name: point.name.clone(), origin, guid, createtxg }
    }

    /// The origin that the copy is made from by this stream, and the steps that bring it where it is. A full stream that was cut
    /// stays one.
    pub(super) fn origin_for(
        &self,
        builder: &Builder,
        how: &How<'_>,
    ) -> (Option<LinkedOrigin<'a>>, Vec<StepId>) {
        let is_first = matches!(self.head, Head::Absent) && how.resume.is_none();
        let origin = self.origin.clone().filter(|_| is_first);
        let mut needs: Vec<StepId> = origin.iter().filter_map(|origin| origin.step).collect();
        if let Some(origin) = &origin {
            needs.extend(builder.settling(&self.place, origin.there.dataset()));
        }
        (origin, needs)
    }

    /// The snapshots that clones begin at and that the target lacks, oldest first.
    pub(in crate::plan) fn origins_to_send(&self) -> Vec<&'a Point> {
        let snapshots = self.dataset().history.snapshots();
        let wanted = snapshots.filter(|point| self.wanted_origins.contains(&point.guid));
        wanted.filter(|point| self.is_newer_than_head(point)).collect()
    }

    /// Whether the copy is a clone of another copy of this host's, as its source is or was one: what a person has promoted is no
    /// copy, and has no mark.
    pub(in crate::plan) fn is_linked(&self, origin: &SnapshotName) -> bool {
        let Some(there) = self.ground.listing.get(origin.dataset()) else { return false };
        there.writer().is_some_and(|writer| is_same_host(&writer.label, &self.source.label))
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
