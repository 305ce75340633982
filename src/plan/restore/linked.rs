//! Linked clones are restored as clones where this host has the snapshot that they began at, and templates with the snapshots
//! that clones begin at: without its `@__base__` Proxmox VE makes none.

use std::collections::BTreeSet;

use super::planned::{CloneOrigin, RestoreNote};
use super::points::Found;
use super::volumes::{Volume, Volumes};
use crate::model::{
    Answer, Dataset, DatasetName, Encryption, Guid, Inventory, Listing, Point, PointKind, SnapshotName,
    TEMPLATE_SNAPSHOT,
};
use crate::plan::Place;

/// What is listed in the place that a volume is restored from, and here.
#[derive(Clone, Copy)]
pub(super) struct Linked<'a> {
    there: Option<&'a Listing>,
    here: Option<&'a Listing>,
    volumes: &'a Volumes<'a>,
}

impl<'a> Linked<'a> {
    pub(super) fn new(inventory: &'a Inventory, volumes: &'a Volumes<'a>, place: &Place) -> Self {
        let listed = |answer: &'a Answer| match answer {
            Answer::Listed(listing) => Some(listing),
            Answer::CouldNotAsk(_) => None,
        };
        let there = match place {
            Place::Source => Some(&inventory.source),
            Place::Target(name) => inventory.targets.get(name),
        };
        Self { there: there.and_then(listed), here: listed(&inventory.source), volumes }
    }

    /// The snapshots of a copy that clones begin at.
    pub(super) fn begun_at(self, copy: &Dataset) -> BTreeSet<Guid> {
        let clones = self.there.into_iter().flat_map(Listing::datasets);
        let clones = clones.filter(|one| one.set_aside_mark().is_none() && !one.is_being_restored());
        let origins = clones.filter_map(|one| one.origin.as_ref());
        let of_clones = origins.filter(|origin| *origin.dataset() == copy.name).map(SnapshotName::name);
        let names: BTreeSet<_> = of_clones.collect();
        let is_wanted =
            |point: &&Point| point.name.as_str() == TEMPLATE_SNAPSHOT || names.contains(&point.name);
        copy.history.snapshots().filter(is_wanted).map(|point| point.guid).collect()
    }

    /// The snapshot that `to` can be made a clone of; `place` has what is around that. Where the copy is a clone and this host lacks it, a note says so.
    pub(super) fn origin(
        self,
        volume: &Volume<'_>,
        point: &Found<'_>,
        (to, place): (&DatasetName, &Listing),
        notes: &mut Vec<RestoreNote>,
    ) -> Option<CloneOrigin> {
        let copy = point.copy.dataset;
        // What was set aside is a clone of what took its place, and no linked one.
        let there = copy.origin.as_ref().filter(|_| !point.copy.is_set_aside)?;
        let guid = self
            .there?
            .get(there.dataset())?
            .history
            .named(PointKind::Snapshot, there.name())
            .filter(|origin| origin.createtxg < point.point.createtxg)?
            .guid;
        // The parent is listed with the place; ZFS would make a clone as its origin is, whatever is above it.
        let parent = to.parent().and_then(|parent| place.get(&parent));
        let encrypted =
            [Some(copy), parent].into_iter().flatten().find(|one| one.encryption == Encryption::On);
        if let Some(encrypted) = encrypted {
            notes.push(RestoreNote::EncryptedClone {
                volume: volume.name.clone(),
                encrypted: encrypted.name.clone(),
            });
            return None;
        }
        let copy_of = |dataset: &DatasetName| {
            let is_it =
                |one: &&super::Copy<'_>| one.place == point.copy.place && one.dataset.name == *dataset;
            self.volumes.volumes.iter().find_map(|other| Some((other, other.copies.iter().find(is_it)?)))
        };
        let of = copy_of(there.dataset());
        let Some(here) = self.here_of(guid, to, of.map(|(volume, _)| &volume.name)) else {
            notes.push(RestoreNote::OriginMissing {
                volume: volume.name.clone(),
                of: of.map_or_else(|| there.dataset().clone(), |(of, _)| of.name.clone()),
                point: there.name().clone(),
                set_aside: of
                    .filter(|(_, copy)| copy.is_set_aside)
                    .map(|(_, copy)| copy.dataset.name.clone()),
            });
            return None;
        };
        if self.here?.get(here.dataset())?.encryption == Encryption::On {
            notes.push(RestoreNote::EncryptedClone {
                volume: volume.name.clone(),
                encrypted: here.dataset().clone(),
            });
            return None;
        }
        Some(CloneOrigin { there: there.clone(), guid, here })
    }

    /// The snapshot of this GUID in the pool of `to`: rather that of the volume that the copy was a clone of, rather one beside
    /// `to`, which Proxmox VE can name in the guest's file. A template may have been restored under another number as well.
    fn here_of(self, guid: Guid, to: &DatasetName, of: Option<&DatasetName>) -> Option<SnapshotName> {
        let fitting = self.here.into_iter().flat_map(Listing::datasets);
        let fitting =
            fitting.filter(|one| one.name.pool() == to.pool() && one.name != *to && !one.is_being_restored());
        let found = fitting.filter_map(|one| {
            let point = one.history.find_snapshot(guid).filter(|point| !point.is_destroy_deferred())?;
            Some((one, one.name.snapshot(&point.name).ok()?))
        });
        let rank = |one: &Dataset| {
            (one.encryption == Encryption::On, Some(&one.name) != of, one.name.parent() != to.parent())
        };
        found.min_by_key(|(one, _)| rank(one)).map(|(_, snapshot)| snapshot)
    }
}

/// The volume that a volume is a clone of on a target: what is restored first is there for its clones.
pub fn origin_volume<'a, 'b>(volume: &Volume<'_>, volumes: &'b Volumes<'a>) -> Option<&'b Volume<'a>> {
    let copies = volume.copies.iter().filter(|copy| !copy.is_set_aside);
    let mut origins = copies.filter_map(|copy| Some((copy.place.clone(), copy.dataset.origin.clone()?)));
    origins.find_map(|(place, origin)| {
        volumes.volumes.iter().find(|other| {
            let mut copies = other.copies.iter();
            copies.any(|one| one.place == place && one.dataset.name == *origin.dataset())
        })
    })
}
