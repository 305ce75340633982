//! Linked clones stay linked: a clone is sent as an increment from its origin, and received as a clone of the origin's copy.
//!
//! So the origin travels first, under its own name even if zhaul did not make it (`@__base__` of a template). Where a copy of the
//! origin's dataset is newer than the origin already, nothing can be put before it any more: then the clone is sent in full.

use std::collections::{BTreeMap, BTreeSet};

use super::linked::LinkedOrigin;
use super::outbound::Outbound;
use super::replication::Replication;
use super::{Source, StepId};
use crate::model::{Dataset, DatasetName, Guid, Listing, Point, PointKind, SnapshotName};

/// The snapshot of a template of Proxmox VE that all its linked clones begin at (`ZFSPoolPlugin.pm`).
const TEMPLATE_SNAPSHOT: &str = "__base__";

/// The origin of a source dataset that is a clone, if that is listed.
pub(super) fn origin_of<'a>(listing: &'a Listing, dataset: &Dataset) -> Option<(&'a DatasetName, &'a Point)> {
    let origin = dataset.origin.as_ref()?;
    let of = listing.get(origin.dataset())?;
    let point = of.history.named(PointKind::Snapshot, origin.name())?;
    (!point.is_destroy_deferred()).then_some((&of.name, point))
}

/// The order in which the sources are planned: an origin before its clones, else as they are.
pub(super) fn order(listing: &Listing, sources: &[Source<'_>]) -> Vec<usize> {
    let places: BTreeMap<&DatasetName, usize> =
        sources.iter().enumerate().map(|(at, source)| (&source.selected.dataset.name, at)).collect();
    let mut order = Vec::with_capacity(sources.len());
    let mut is_placed = vec![false; sources.len()];
    for first in 0..sources.len() {
        let mut chain = Vec::new();
        let mut next = Some(first);
        // No dataset is its own origin, but a listing may be of several moments.
        while let Some(at) = next.filter(|at| !is_placed[*at] && !chain.contains(at)) {
            chain.push(at);
            let origin = origin_of(listing, sources[at].selected.dataset);
            next = origin.and_then(|(dataset, _)| places.get(dataset).copied());
        }
        for at in chain.into_iter().rev() {
            is_placed[at] = true;
            order.push(at);
        }
    }
    order
}

/// What the clones among the sources need on one target.
#[derive(Debug, Default)]
pub(super) struct Origins<'a> {
    /// The snapshots of each source dataset that a clone without a copy begins at.
    wanted: BTreeMap<&'a DatasetName, BTreeSet<Guid>>,
    /// Source datasets of which the copies were planned, or cannot be.
    planned: BTreeSet<&'a DatasetName>,
    /// Where they are on the target, by GUID.
    there: BTreeMap<Guid, (SnapshotName, Option<StepId>)>,
}

impl<'a> Origins<'a> {
    /// `names` are those of the copies.
    pub(super) fn new(
        (source, target): (&'a Listing, &Listing),
        sources: &'a [Source<'a>],
        names: &[Option<DatasetName>],
    ) -> Self {
        let mut origins = Self::default();
        for (one, name) in sources.iter().zip(names) {
            let Some(name) = name else { continue };
            // A template has it from its first copy on: clones come later, and nothing can be put before what is there.
            let own = one.selected.dataset.history.snapshots();
            if let Some(point) = own.into_iter().find(|point| point.name.as_str() == TEMPLATE_SNAPSHOT) {
                origins.wanted.entry(&one.selected.dataset.name).or_default().insert(point.guid);
            }
            let copy = target.get(name).filter(|copy| copy.history.newest_snapshot().is_some());
            // A copy that has nothing of the source starts over.
            let knows = |copy: &Dataset| {
                copy.history.snapshots().any(|point| one.selected.dataset.history.find(point.guid).is_some())
            };
            if copy.is_some_and(knows) {
                continue;
            }
            if let Some((dataset, point)) = origin_of(source, one.selected.dataset) {
                origins.wanted.entry(dataset).or_default().insert(point.guid);
            }
        }
        origins
    }

    /// The snapshots of this dataset that clones begin at.
    pub(super) fn wanted(&self, dataset: &DatasetName) -> BTreeSet<Guid> {
        self.wanted.get(dataset).cloned().unwrap_or_default()
    }

    /// Notes where the wanted snapshots of a replication's dataset are once it is done.
    pub(super) fn note(&mut self, replication: &Replication<'a>) {
        let dataset = &replication.dataset().name;
        self.planned.insert(dataset);
        let Some(wanted) = self.wanted.get(dataset) else { return };
        let existing = replication.there.into_iter().flat_map(|there| there.history.snapshots());
        let existing = existing.filter(|point| !replication.removed.contains(&point.guid)).map(|point| {
            let name = replication.renamed_to.get(&point.guid).unwrap_or(&point.name);
            (point.guid, name)
        });
        let received = replication.received.iter().filter_map(|(name, what)| match what {
            Outbound::Taken(point) => Some((point.guid, name)),
            Outbound::Pending(_) => None,
        });
        for (guid, name) in existing.chain(received).filter(|(guid, _)| wanted.contains(guid)) {
            if let Ok(there) = replication.name.snapshot(name) {
                self.there.insert(guid, (there, replication.last));
            }
        }
    }

    /// The origin of a source, if it is a clone whose origin the target has or gets.
    pub(super) fn of(
        &self,
        (source, target): (&'a Listing, &Listing),
        dataset: &Dataset,
    ) -> Option<LinkedOrigin<'a>> {
        let (of, point) = origin_of(source, dataset)?;
        let planned = self.there.get(&point.guid).cloned();
        let (there, step) = match planned {
            Some(planned) => planned,
            None if self.planned.contains(of) => return None,
            // Its dataset is not served in this run.
            None => {
                let mut copies = target.datasets().filter(|copy| copy.set_aside_mark().is_none());
                let there = copies.find_map(|copy| {
                    let there = copy.history.find_snapshot(point.guid)?;
                    copy.name.snapshot(&there.name).ok()
                });
                (there?, None)
            }
        };
        Some(LinkedOrigin { dataset: of, point, there, step })
    }
}
