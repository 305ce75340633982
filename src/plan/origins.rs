//! Linked clones stay linked: a clone is sent as an increment from its origin, and received as a clone of the origin's copy.
//!
//! So the origin travels first, under its own name even if zhaul did not make it (`@__base__` of a template). Where a copy of the
//! origin's dataset is newer than the origin already, nothing can be put before it any more: then the clone is sent in full.

use std::collections::{BTreeMap, BTreeSet};

use super::containers;
use super::linked::LinkedOrigin;
use super::order::needed_first;
use super::outbound::Outbound;
use super::replication::Replication;
use super::{Source, StepId};
use crate::model::{
    Dataset, DatasetName, Encryption, Guid, Listing, Point, PointKind, SnapshotName, is_template_snapshot,
};

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
    // No dataset is its own origin, but a listing may be of several moments.
    let origin = |source: &Source<'_>| {
        let (dataset, _) = origin_of(listing, source.selected.dataset)?;
        places.get(dataset).copied()
    };
    needed_first(&sources.iter().map(|source| origin(source).into_iter().collect()).collect::<Vec<_>>())
}

/// What the clones among the sources need on one target.
#[derive(Debug, Default)]
pub(super) struct Origins<'a> {
    /// The snapshots of each source dataset that a clone without a copy begins at.
    wanted: BTreeMap<&'a DatasetName, BTreeSet<Guid>>,
    /// Source datasets of which the copies were planned, or cannot be.
    planned: BTreeSet<&'a DatasetName>,
    /// Those that this run takes away.
    gone: BTreeSet<Guid>,
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
            let dataset = one.selected.dataset;
            let mut own = dataset.history.snapshots();
            if let Some(point) = own.find(|point| is_template_snapshot(&dataset.name, &point.name)) {
                origins.wanted.entry(&dataset.name).or_default().insert(point.guid);
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

    /// Notes where the wanted snapshots of a replication's dataset are once it is done; none of one that is blocked.
    pub(super) fn note(&mut self, replication: &Replication<'a>) {
        let dataset = replication.dataset();
        self.planned.insert(&dataset.name);
        let Some(wanted) = self.wanted.get(&dataset.name) else { return };
        self.gone.extend(wanted.intersection(&replication.removed));
        if replication.is_blocked || replication.is_of_another {
            return;
        }
        let there = replication
            .there
            .filter(|there| fits(dataset.encryption, there, &replication.ground.target.root));
        let existing = there.into_iter().flat_map(|there| there.history.snapshots());
        let existing = existing.filter(|point| !replication.removed.contains(&point.guid)).map(|point| {
            let renamed = replication.renamed_to.get(&point.guid);
            // What is there already does not wait for what is still to come.
            let step = if renamed.is_some() { replication.last } else { replication.set_aside_step };
            (point.guid, renamed.unwrap_or(&point.name), step)
        });
        let received =
            replication.received.iter().zip(&replication.sends).filter_map(|((name, what), send)| {
                let Outbound::Taken(point) = what else { return None };
                Some((point.guid, name, Some(*send)))
            });
        for (guid, name, step) in existing.chain(received).filter(|(guid, ..)| wanted.contains(guid)) {
            if let Ok(there) = replication.name.snapshot(name) {
                self.there.insert(guid, (there, step));
            }
        }
    }

    /// The origin of a source, if it is a clone whose origin the target has or gets. Only copies that this host writes count: a
    /// clone keeps its origin from being destroyed.
    pub(super) fn of(
        &self,
        (source, target): (&'a Listing, &Listing),
        one: &Source<'_>,
        root: &DatasetName,
    ) -> Option<LinkedOrigin<'a>> {
        let dataset = one.selected.dataset;
        let (of, point) = origin_of(source, dataset)?;
        if let Some((there, step)) = self.there.get(&point.guid).cloned() {
            return Some(LinkedOrigin { dataset: of, point, there, step });
        }
        if self.gone.contains(&point.guid) {
            return None;
        }
        // Its dataset is not served in this run, or its copy is another dataset's since one of them was promoted.
        let is_ours =
            |copy: &&Dataset| copy.writer().is_some_and(|writer| is_same_host(&writer.label, &one.label));
        let is_live = |copy: &&Dataset| {
            let mut above = std::iter::successors(Some(copy.name.clone()), DatasetName::parent);
            !above.any(|name| target.get(&name).is_some_and(|there| there.set_aside_mark().is_some()))
        };
        let is_stable = |copy: &&Dataset| !self.planned.contains(of) || copy.origin.is_none();
        let copies = target.below(root).filter(is_ours).filter(is_live).filter(is_stable);
        let there = copies.filter(|copy| fits(dataset.encryption, copy, root)).find_map(|copy| {
            let there = copy.history.find_snapshot(point.guid)?;
            copy.name.snapshot(&there.name).ok()
        })?;
        Some(LinkedOrigin { dataset: of, point, there, step: None })
    }
}

/// Whether a clone can be received as one of this copy: raw onto raw, else not.
fn fits(source: Encryption, copy: &Dataset, root: &DatasetName) -> bool {
    match (source, copy.encryption) {
        (Encryption::On, encryption) => encryption == Encryption::On,
        (Encryption::Off, Encryption::Off) => true,
        (Encryption::Off, Encryption::On) => !containers::is_raw_copy(copy, root),
    }
}

/// Whether two labels, `host:dataset`, are of one host.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    one.split(':').next() == other.split(':').next()
}
