//! Plans a rollback: all disks of a guest to one point here, and what has to go for that. Pure.
//!
//! `zfs rollback` refuses where newer snapshots *or bookmarks* exist, one disk at a time, when others may be rolled back
//! already: so everything that is in the way of any disk is found before anything is done.

use jiff::Timestamp;
use serde::Serialize;

use super::points::group_points;
use super::volumes::{Volume, Volumes};
use super::{At, RestoreError, What};
use crate::model::{
    Dataset, DatasetName, GuestId, Guid, Month, NameFormat, Point, PointKind, PointName, Proxmox, VolumeName,
    VolumeRole,
};
use crate::plan::Place;
use crate::policy::Policy;

/// What a rollback will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackPlan {
    /// The point.
    pub point: PointName,
    /// Each dataset.
    pub disks: Vec<DiskRollback>,
}

/// What a rollback does with one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRollback {
    /// The dataset.
    pub dataset: DatasetName,
    /// What identifies it.
    pub dataset_guid: Guid,
    /// The snapshot that it goes back to.
    pub to: PointName,
    /// What identifies the snapshot.
    pub guid: Guid,
    /// Newer points, which go.
    pub newer: Vec<NewerPoint>,
}

/// A point that is newer than the one to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewerPoint {
    /// Snapshot or bookmark.
    pub kind: PointKind,
    /// Its name.
    pub name: PointName,
    /// What identifies it.
    pub guid: Guid,
    /// Whether zhaul made it; what others made stops the rollback.
    pub is_own: bool,
    /// Whether a clone needs it.
    pub is_cloned: bool,
    /// The places that have it as well, as a snapshot.
    pub also_on: Vec<Place>,
}

impl RollbackPlan {
    /// What stops it: points that zhaul did not make, or that a clone needs.
    pub fn blockers(&self) -> impl Iterator<Item = (&DiskRollback, &NewerPoint)> {
        let all = self.disks.iter().flat_map(|disk| disk.newer.iter().map(move |newer| (disk, newer)));
        all.filter(|(_, newer)| !newer.is_own || newer.is_cloned)
    }

    /// Snapshots that go and are nowhere else.
    pub fn lost(&self) -> impl Iterator<Item = (&DiskRollback, &NewerPoint)> {
        let all = self.disks.iter().flat_map(|disk| disk.newer.iter().map(move |newer| (disk, newer)));
        all.filter(|(_, newer)| newer.kind == PointKind::Snapshot && newer.also_on.is_empty())
    }
}

/// Plans the rollback of a guest's disks, or of one dataset.
pub fn plan_rollback(
    policy: &Policy,
    proxmox: &Proxmox,
    volumes: &Volumes<'_>,
    what: &What,
    to: Option<&At>,
) -> Result<RollbackPlan, RestoreError> {
    let found: Vec<&Volume<'_>> = volumes
        .volumes
        .iter()
        .filter(|volume| here(volume).is_some() && is_meant(volume, what, proxmox))
        .collect();
    let text = match what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(name) => name.to_string(),
    };
    if found.is_empty() {
        let known = volumes.volumes.iter().filter(|volume| here(volume).is_some());
        let known = known.map(|volume| volume.name.clone()).collect();
        return Err(RestoreError::NothingFound { what: text, unlisted: Vec::new(), known });
    }
    let (format, zone) = (&policy.name_format, &policy.time_zone);
    let groups = group_points(&found, format, zone);
    let is_meant = |name: &PointName, time: Option<Timestamp>| match to {
        None => true,
        Some(At::Time(until)) => time <= Some(*until) && time.is_some(),
        Some(At::Point(wanted)) => name == wanted,
    };
    let there = |group: &&super::GroupPoint<'_>| group.count_at(&Place::Source) > 0;
    let mut meant = groups.iter().filter(there).filter(|group| is_meant(&group.name, group.time));
    let none = || RestoreError::NoSuchPoint {
        what: text.clone(),
        at: to.cloned(),
        from: Some(Place::Source),
        oldest: groups.iter().rev().find(there).map(|group| group.name.clone()),
        newest: groups.iter().find(there).map(|group| group.name.clone()),
    };
    let group = meant.next().ok_or_else(none)?;
    let mut disks = Vec::new();
    for (volume, point) in found.iter().zip(&group.volumes) {
        let point = point.as_ref().and_then(|point| point.snapshot_at(&Place::Source));
        let (Some(point), Some(dataset)) = (point, here(volume)) else {
            let missing = vec![volume.name.clone()];
            let is_complete = |group: &&super::GroupPoint<'_>| group.is_complete_at(&Place::Source);
            let complete = groups.iter().find(is_complete).map(|group| group.name.clone());
            let (point, place) = (group.name.clone(), Place::Source);
            return Err(RestoreError::Incomplete { what: text, point, place, missing, complete });
        };
        disks.push(DiskRollback {
            dataset: dataset.name.clone(),
            dataset_guid: dataset.guid,
            to: point.point.name.clone(),
            guid: point.point.guid,
            newer: newer(volume, dataset, point.point, format),
        });
    }
    Ok(RollbackPlan { point: group.name.clone(), disks })
}

/// The dataset itself.
fn here<'a>(volume: &Volume<'a>) -> Option<&'a Dataset> {
    volume.copies.iter().find(|copy| copy.place == Place::Source).map(|copy| copy.dataset)
}

/// The disks that the guest's file names, or, of a guest without one, those that are named after it.
fn is_meant(volume: &Volume<'_>, what: &What, proxmox: &Proxmox) -> bool {
    let id: GuestId = match what {
        What::Dataset(name) => return volume.name == *name,
        What::Guest(id) => *id,
    };
    if let Some(guest) = proxmox.guest(id) {
        let disks = guest.disks.iter().filter(|disk| disk.is_current);
        let mut datasets = disks.filter_map(|disk| proxmox.dataset_of(&disk.storage, &disk.volume));
        return datasets.any(|dataset| dataset == volume.name);
    }
    let parsed = VolumeName::parse(volume.name.last());
    parsed.is_some_and(|parsed| parsed.guest == id && parsed.role == VolumeRole::Disk)
}

/// Whether zhaul made it. Bookmarks also mark streams that broke off, and what a restore brought from an archive.
fn is_own(point: &Point, format: &NameFormat) -> bool {
    let text = point.name.as_str();
    if point.kind == PointKind::Snapshot {
        return format.is_own(&point.name);
    }
    let of = text.rsplit_once("-sending-").map_or(text, |(of, _)| of);
    let is_month = Month::parse(of).is_some() || Month::parse_day(of).is_some();
    is_month || PointName::new(of).is_ok_and(|name| format.is_own(&name))
}

fn newer(volume: &Volume<'_>, dataset: &Dataset, to: &Point, format: &NameFormat) -> Vec<NewerPoint> {
    let newer = dataset.history.points().filter(|point| point.createtxg > to.createtxg);
    let point = |point: &Point| {
        let has_it = |other: &&super::Copy<'_>| {
            other.place != Place::Source && other.dataset.history.find_snapshot(point.guid).is_some()
        };
        NewerPoint {
            kind: point.kind,
            name: point.name.clone(),
            guid: point.guid,
            is_own: is_own(point, format),
            is_cloned: point.clones > 0,
            also_on: volume.copies.iter().filter(has_it).map(|copy| copy.place.clone()).collect(),
        }
    };
    newer.map(point).collect()
}
