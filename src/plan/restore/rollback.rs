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
    Dataset, DatasetKind, DatasetName, DiskLine, GuestId, Guid, Month, NameFormat, Point, PointKind,
    PointName, Proxmox, VolumeName, VolumeRole,
};
use crate::plan::Place;
use crate::policy::Policy;

/// The plan of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackPlan {
    /// The point.
    pub point: PointName,
    /// Each dataset.
    pub disks: Vec<DiskRollback>,
    /// Disks of the guest that have no snapshot of the point.
    pub missing: Vec<DatasetName>,
    /// The newest point that all disks have, if `missing` is not empty.
    pub complete: Option<PointName>,
    /// Disks in the guest's file that are not backed up, or are no datasets that zhaul knows: they stay as they are.
    pub left_alone: Vec<String>,
}

/// The rollback of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRollback {
    /// The dataset.
    pub dataset: DatasetName,
    /// The dataset's GUID.
    pub dataset_guid: Guid,
    /// File system or volume.
    pub kind: DatasetKind,
    /// The snapshot that it goes back to.
    pub to: PointName,
    /// The snapshot's GUID.
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
    /// The point's GUID.
    pub guid: Guid,
    /// Whether zhaul made it; what others made stops the rollback.
    pub is_own: bool,
    /// Whether it is a snapshot of Proxmox VE's storage replication, and the guest has a replication job: it goes, as in
    /// Proxmox VE's own rollback, and the replica is sent again.
    pub is_replication: bool,
    /// Whether a clone needs it.
    pub is_cloned: bool,
    /// The places that have it as well, as a snapshot.
    pub also_on: Vec<Place>,
}

impl RollbackPlan {
    /// The points that stop it: those that zhaul did not make, or that a clone needs.
    pub fn blockers(&self) -> impl Iterator<Item = (&DiskRollback, &NewerPoint)> {
        let all = self.disks.iter().flat_map(|disk| disk.newer.iter().map(move |newer| (disk, newer)));
        all.filter(|(_, newer)| !(newer.is_own || newer.is_replication) || newer.is_cloned)
    }

    /// Whether snapshots of storage replication go.
    pub fn ends_replication(&self) -> bool {
        self.disks.iter().flat_map(|disk| &disk.newer).any(|newer| newer.is_replication)
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
    let all = volumes.volumes.iter().filter(|volume| here(volume).is_some());
    let meant = all.filter_map(|volume| Some((volume, meaning(&volume.name, what, proxmox)?)));
    let found: Vec<&Volume<'_>> =
        meant.filter(|(_, is_backed_up)| *is_backed_up).map(|(volume, _)| volume).collect();
    let text = match what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(name) => name.to_string(),
    };
    if found.is_empty() {
        let known = volumes.volumes.iter().filter(|volume| here(volume).is_some());
        let known = known.map(|volume| volume.name.clone()).collect();
        return Err(RestoreError::NotHere { what: text, known });
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
    let (mut disks, mut missing) = (Vec::new(), Vec::new());
    for (volume, point) in found.iter().zip(&group.volumes) {
        let point = point.as_ref().and_then(|point| point.snapshot_at(&Place::Source));
        let (Some(point), Some(dataset)) = (point, here(volume)) else {
            missing.push(volume.name.clone());
            continue;
        };
        disks.push(DiskRollback {
            dataset: dataset.name.clone(),
            dataset_guid: dataset.guid,
            kind: dataset.kind,
            to: point.point.name.clone(),
            guid: point.point.guid,
            newer: newer(volume, dataset, point.point, format, is_replicated(what, proxmox)),
        });
    }
    let is_complete = |group: &&super::GroupPoint<'_>| group.is_complete_at(&Place::Source);
    let complete = groups.iter().find(is_complete).map(|group| group.name.clone());
    Ok(RollbackPlan {
        point: group.name.clone(),
        disks,
        complete: complete.filter(|_| !missing.is_empty()),
        missing,
        left_alone: left_alone(what, proxmox, &found),
    })
}

/// The guest that a name means: the one that is asked for, or the one after which a dataset is named.
pub fn guest_of(what: &What) -> Option<GuestId> {
    match what {
        What::Guest(id) => Some(*id),
        What::Dataset(name) => VolumeName::parse(name.last()).map(|volume| volume.guest),
    }
}

/// Whether a dataset is what is meant, or a disk of the guest that is meant, by the guest's file or by its own name.
pub fn is_guests_disk(what: &What, dataset: &DatasetName, proxmox: &Proxmox) -> bool {
    let is_named = || match what {
        What::Dataset(_) => false,
        What::Guest(id) => VolumeName::parse(dataset.last()).is_some_and(|volume| volume.guest == *id),
    };
    meaning(dataset, what, proxmox).is_some() || is_named()
}

/// The disks of the guest's file that are not among `found`.
fn left_alone(what: &What, proxmox: &Proxmox, found: &[&Volume<'_>]) -> Vec<String> {
    let What::Guest(id) = what else { return Vec::new() };
    let lines = proxmox.guest(*id).into_iter().flat_map(|guest| &guest.disks).filter(|line| line.is_current);
    let is_found = |line: &&DiskLine| {
        let dataset = proxmox.dataset_of(&line.storage, &line.volume);
        dataset.is_some_and(|dataset| found.iter().any(|volume| volume.name == dataset))
    };
    lines
        .filter(|line| !is_found(line))
        .map(|line| format!("{}:{} ({})", line.storage, line.volume, line.place))
        .collect()
}

fn is_replicated(what: &What, proxmox: &Proxmox) -> bool {
    guest_of(what).is_some_and(|id| proxmox.replicated.contains(&id))
}

/// The dataset itself.
fn here<'a>(volume: &Volume<'a>) -> Option<&'a Dataset> {
    volume.copies.iter().find(|copy| copy.place == Place::Source).map(|copy| copy.dataset)
}

/// Whether a dataset is meant: a disk that the guest's file names, or, of a guest without one, one that is named after it.
/// If so, gives whether it is backed up: what the file leaves out has no points.
fn meaning(dataset: &DatasetName, what: &What, proxmox: &Proxmox) -> Option<bool> {
    let id: GuestId = match what {
        What::Dataset(name) => return (dataset == name).then_some(true),
        What::Guest(id) => *id,
    };
    if let Some(guest) = proxmox.guest(id) {
        let disks = guest.disks.iter().filter(|disk| disk.is_current);
        let is_it =
            |disk: &&DiskLine| proxmox.dataset_of(&disk.storage, &disk.volume).as_ref() == Some(dataset);
        let lines: Vec<&DiskLine> = disks.filter(is_it).collect();
        return (!lines.is_empty()).then(|| lines.iter().any(|line| line.is_backed_up));
    }
    let parsed = VolumeName::parse(dataset.last());
    parsed.is_some_and(|parsed| parsed.guest == id && parsed.role == VolumeRole::Disk).then_some(true)
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

fn newer(
    volume: &Volume<'_>,
    dataset: &Dataset,
    to: &Point,
    format: &NameFormat,
    is_replicated: bool,
) -> Vec<NewerPoint> {
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
            is_replication: is_replicated
                && point.kind == PointKind::Snapshot
                && point.name.as_str().starts_with("__replicate_"),
            is_cloned: point.clones > 0,
            also_on: volume.copies.iter().filter(has_it).map(|copy| copy.place.clone()).collect(),
        }
    };
    newer.map(point).collect()
}
