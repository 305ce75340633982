//! Plans the way back: which snapshots are received under which name, from what is listed. Pure, as a run's plan is.
//!
//! `volumes` finds what can be restored and where it is, `points` what it can go back to, `choice` which point is meant,
//! `chain` which streams bring it here so that the next run continues incrementally on every target.

mod chain;
mod choice;
mod config;
mod error;
mod keep;
mod linked;
mod lost;
mod planned;
mod points;
mod replace;
mod rollback;
mod rolled_back;
mod storages;
mod volumes;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Place, Request};
use crate::model::{
    Dataset, DatasetKind, DatasetName, Guid, INCOMING_MARK, INCOMING_NAME, Inventory, Listing, NameFormat,
    PointName, Proxmox, ProxmoxState, RESTORE_PROPERTY, ResumeToken, SnapshotName, Unlisted, VolumeName,
    VolumeRole, is_template_snapshot,
};
use crate::policy::Policy;
use choice::{Chosen, choose};
use linked::Linked;
use storages::targets;

pub use choice::snapshots_of;
pub use config::{ConfigChanges, is_template, main_lines, restored_config, volume_sizes, volumes_of};
pub use error::RestoreError;
pub use keep::{KeepDisk, aside_place, begun, free_stamp, is_committed, plan_keep, wanted_for_keep};
pub use linked::origin_volume;
pub use planned::{
    At, CloneOrigin, Replaced, RestoreNote, RestorePlan, RestoreRequest, RestoreStream, Stage, VolumeRestore,
    What,
};
pub use points::{Found, GroupPoint, VolumePoint, group_points, points};
pub use rollback::{DiskRollback, NewerPoint, RollbackPlan, guest_of, is_guests_disk, plan_rollback};
pub use rolled_back::{RolledBack, rolled_back_config};
pub use storages::{FormerPlace, FormerPlaces, Storages, former_places};
pub use volumes::{Copy, Volume, Volumes, volumes};

/// What the names of a drill's datasets begin with: no guest's volume is called so.
pub const DRILL_PREFIX: &str = "zhaul-drill-";

/// The datasets of this host that are listed before a restore is planned: those that it makes, and those around them.
pub fn wanted_here(
    volumes: &Volumes<'_>,
    request: &RestoreRequest,
) -> Result<Vec<DatasetName>, RestoreError> {
    let mut wanted = Vec::new();
    for to in future_names(volumes, request)? {
        wanted.push(to.clone());
        wanted.push(incoming(&to)?);
        wanted.extend(to.parent());
        wanted.push(place(&to)?);
        if request.replace.is_some() {
            wanted.extend(aside_place(&to)?);
        }
    }
    Ok(wanted)
}

/// The names that the restored datasets get.
pub fn future_names(
    volumes: &Volumes<'_>,
    request: &RestoreRequest,
) -> Result<Vec<DatasetName>, RestoreError> {
    let targets = targets(volumes, request)?;
    let found = find(volumes, request)?.into_iter();
    Ok(found.filter_map(|volume| targets.get(&volume.name).cloned()).collect())
}

/// Where something that will be called `to` is received.
fn incoming(to: &DatasetName) -> Result<DatasetName, RestoreError> {
    Ok(place(to)?.child(to.last())?)
}

fn place(to: &DatasetName) -> Result<DatasetName, RestoreError> {
    let parent = to.parent().ok_or_else(|| RestoreError::Exists {
        dataset: to.clone(),
        has_point: false,
        point: None,
        missing: Vec::new(),
    })?;
    Ok(parent.child(INCOMING_NAME)?)
}

/// The volumes that are meant.
fn find<'a, 'b>(
    volumes: &'b Volumes<'a>,
    request: &RestoreRequest,
) -> Result<Vec<&'b Volume<'a>>, RestoreError> {
    let what = &request.what;
    let found: Vec<&Volume<'a>> = match what {
        What::Guest(id) => {
            let disks = volumes.volumes.iter().filter(|volume| volume.is_disk_of(*id));
            disks.filter(|volume| !request.without.contains(&volume.name)).collect()
        }
        What::Dataset(name) => {
            let by_name = volumes.volumes.iter().find(|volume| volume.name == *name);
            let is_copy = |volume: &&Volume<'_>| {
                volume.copies.iter().any(|copy| copy.dataset.name == *name && copy.place != Place::Source)
            };
            by_name.or_else(|| volumes.volumes.iter().find(is_copy)).into_iter().collect()
        }
    };
    if found.is_empty() {
        let text = match what {
            What::Guest(id) => format!("guest {id}"),
            What::Dataset(name) => name.to_string(),
        };
        return Err(RestoreError::NothingFound {
            what: text,
            unlisted: volumes.unlisted.clone(),
            known: volumes.volumes.iter().map(|volume| volume.name.clone()).collect(),
        });
    }
    Ok(found)
}

/// Plans a restore. `here` is what this host has of [`wanted_here`].
pub fn plan_restore(
    policy: &Policy,
    inventory: &Inventory,
    volumes: &Volumes<'_>,
    here: &Listing,
    request: &RestoreRequest,
) -> Result<RestorePlan, RestoreError> {
    let Chosen { meant, choice: chosen } = choose(policy, volumes, request)?;
    let meant: Vec<&Volume<'_>> = meant.iter().collect();
    let (format, zone) = (&policy.name_format, &policy.time_zone);
    let mut notes: Vec<RestoreNote> = volumes
        .unlisted
        .iter()
        .map(|(target, why)| RestoreNote::TargetNotListed { target: target.clone(), why: why.clone() })
        .collect();
    let newest = group_points(&meant, format, zone).into_iter().find(|group| !group.places().is_empty());
    if let Some(newest) =
        newest.filter(|newest| newest.name != chosen.point.name && newest.time > chosen.point.time)
    {
        notes.push(RestoreNote::NewerPoint { point: newest.name });
    }
    let ground = Ground {
        proxmox: &inventory.proxmox,
        format,
        linked: Linked::new(inventory, volumes, &chosen.place),
        here,
        request,
    };
    let targets = targets(volumes, request)?;
    let (mut restores, mut missing) = (Vec::new(), Vec::new());
    for (volume, point) in meant.iter().zip(&chosen.point.volumes) {
        let point = point.as_ref().and_then(|point| point.snapshot_at(&chosen.place));
        let to = targets.get(&volume.name).unwrap_or(&volume.name).clone();
        let Some(point) = point else {
            notes.push(RestoreNote::VolumeMissing { volume: volume.name.clone() });
            missing.push(to);
            continue;
        };
        let planned = plan_volume(ground, volume, point, to, &mut notes);
        restores.push(planned.map_err(|error| request.storages.explain(error, targets.keys()))?);
        let children: Vec<DatasetName> = volumes
            .volumes
            .iter()
            .filter(|other| other.name != volume.name && other.name.is_within(&volume.name))
            .map(|other| other.name.clone())
            .collect();
        if !children.is_empty() {
            notes.push(RestoreNote::ChildrenLeft { children });
        }
    }
    lost::check(&volumes.unlisted, (here, request), &chosen, &restores, missing)?;
    let mut taken = BTreeSet::new();
    if let Some(twice) = restores.iter().find(|restore| !taken.insert(&restore.to)) {
        return Err(RestoreError::SameName { dataset: twice.to.clone() });
    }
    let stamp = replace::plan_replaced(here, request, &mut restores)?;
    check_existing(here, &restores, &chosen.point.name, request.is_begun)?;
    Ok(RestorePlan {
        stamp,
        point: chosen.point.name,
        time: chosen.point.time,
        from: chosen.place,
        volumes: restores,
        complete: chosen.complete,
        notes,
    })
}

/// What every volume's plan is made from.
#[derive(Clone, Copy)]
struct Ground<'a> {
    proxmox: &'a Proxmox,
    format: &'a NameFormat,
    linked: Linked<'a>,
    here: &'a Listing,
    request: &'a RestoreRequest,
}

fn plan_volume(
    ground: Ground<'_>,
    volume: &Volume<'_>,
    point: &Found<'_>,
    to: DatasetName,
    notes: &mut Vec<RestoreNote>,
) -> Result<VolumeRestore, RestoreError> {
    let copy = point.copy.dataset;
    let Ground { proxmox, linked, here, request, .. } = ground;
    let incoming = incoming(&to)?;
    // A drill shows what the target alone can give back.
    let origin = if request.is_drill { None } else { linked.origin(volume, point, (&to, here), notes) };
    let wanted = chain::chain(volume, point, ground.format, (&linked.begun_at(copy), origin))?;
    let (streams, stage) = look_here((here, request), &to, &incoming, &wanted)?;
    let continues_in_full = |first: &RestoreStream| first.token.is_some() && first.origin.is_none();
    if wanted.first().is_some_and(|first| first.origin.is_some())
        && streams.first().is_some_and(continues_in_full)
    {
        notes.push(RestoreNote::BegunInFull { volume: volume.name.clone() });
    }
    for target in chain::unrelated_targets(volume, point) {
        notes.push(RestoreNote::NothingInCommon { volume: volume.name.clone(), target });
    }
    let name = wanted.last().map_or(&point.point.name, |last| &last.name).clone();
    for stream in &wanted {
        to.snapshot(&stream.name)?;
        incoming.snapshot(&stream.name)?;
    }
    let storage = proxmox.storage_of(&to);
    let origin = origin_here(here, (&to, &incoming), stage, &streams);
    let is_thick = match (copy.kind, &proxmox.state, storage) {
        // A drill reserves nothing, and Proxmox VE nothing for a linked clone.
        (DatasetKind::Volume, ProxmoxState::Whole, Some(storage)) => {
            !storage.is_sparse && !request.is_drill && origin.is_none()
        }
        _ => false,
    };
    let is_whole = proxmox.state == ProxmoxState::Whole;
    let is_subvol = VolumeName::parse(to.last()).is_some_and(|volume| volume.role == VolumeRole::Disk);
    Ok(VolumeRestore {
        volume_bytes: copy.settings.volume_bytes,
        is_container: is_whole && is_subvol && storage.is_some() && copy.kind == DatasetKind::Filesystem,
        volume: volume.name.clone(),
        copy: copy.name.snapshot(&point.point.name)?,
        point: name,
        guid: point.point.guid,
        kind: copy.kind,
        encryption: copy.encryption,
        is_thick,
        origin,
        is_template: wanted.iter().any(|stream| is_template_snapshot(&to, &stream.name)),
        to,
        incoming,
        replaces: None,
        stage,
        streams,
    })
}

/// The snapshot that a restored dataset is or will be a clone of.
fn origin_here(
    here: &Listing,
    (to, incoming): (&DatasetName, &DatasetName),
    stage: Stage,
    streams: &[RestoreStream],
) -> Option<SnapshotName> {
    let at = match stage {
        Stage::Receive | Stage::Rename => incoming,
        Stage::Finish | Stage::Done => to,
    };
    match here.get(at) {
        Some(there) => there.origin.clone(),
        None => streams.first()?.origin.as_ref().map(|origin| origin.here.clone()),
    }
}

/// The work that is left, by the datasets that exist here.
fn look_here(
    (here, request): (&Listing, &RestoreRequest),
    to: &DatasetName,
    incoming: &DatasetName,
    wanted: &[RestoreStream],
) -> Result<(Vec<RestoreStream>, Stage), RestoreError> {
    let guid = wanted.last().map_or(Guid(0), |last| last.guid);
    let mark = |dataset: &Dataset| dataset.user.local(RESTORE_PROPERTY).map(str::to_owned);
    if let Some(there) = here.get(to) {
        if mark(there).is_some_and(|mark| mark.split(' ').next() == Some(&guid.to_string())) {
            return Ok((Vec::new(), Stage::Finish));
        }
        if !replace::is_replaced(here, request, incoming) {
            // Unless others of the same guest show that this is a restore under way, it exists and that is all.
            return Ok((Vec::new(), Stage::Done));
        }
    }
    check_parent(here, to)?;
    let place = place(to)?;
    if here.get(&place).is_some_and(|there| mark(there).as_deref() != Some(INCOMING_MARK)) {
        return Err(RestoreError::PlaceTaken { place });
    }
    let Some(there) = here.get(incoming) else {
        return Ok((wanted.to_vec(), Stage::Receive));
    };
    let other = |point: Option<PointName>| RestoreError::OtherRestore { incoming: incoming.clone(), point };
    let mut left = wanted.to_vec();
    for received in there.history.snapshots() {
        if left.first().is_none_or(|first| first.guid != received.guid) {
            return Err(other(Some(received.name.clone())));
        }
        left.remove(0);
    }
    if let Some(token) = &there.resume_token {
        let parsed = ResumeToken::parse(token).ok();
        match (parsed, left.first_mut()) {
            (Some(parsed), Some(first)) if parsed.to_guid == first.guid => {
                first.token = Some(token.clone());
                // A full stream of a clone stays one, whatever is here by now.
                if parsed.from_guid.is_none() {
                    (first.base, first.origin) = (None, None);
                }
            }
            (parsed, _) => {
                return Err(other(
                    parsed.and_then(|token| PointName::new(token.to_name.rsplit('@').next()?).ok()),
                ));
            }
        }
    }
    let stage = if left.is_empty() { Stage::Rename } else { Stage::Receive };
    Ok((left, stage))
}

/// A volume that exists is only taken for restored where it has the point, and another volume shows by its mark that the
/// restore of the guest was interrupted when this one was done.
fn check_existing(
    here: &Listing,
    restores: &[VolumeRestore],
    point: &PointName,
    is_begun: bool,
) -> Result<(), RestoreError> {
    let is_under_way = is_begun || restores.iter().any(|restore| restore.stage == Stage::Finish);
    let is_only_finishing =
        restores.iter().all(|restore| matches!(restore.stage, Stage::Finish | Stage::Done));
    for restore in restores.iter().filter(|restore| restore.stage == Stage::Done) {
        let newest = here.get(&restore.to).and_then(|there| there.history.find_snapshot(restore.guid));
        let has_point = newest.is_some();
        if !(has_point && is_under_way && is_only_finishing) {
            let missing = restores.iter().filter(|other| here.get(&other.to).is_none());
            let missing = missing.map(|other| other.volume.clone()).collect();
            let (dataset, point) = (restore.to.clone(), Some(point.clone()));
            return Err(RestoreError::Exists { dataset, has_point, point, missing });
        }
    }
    Ok(())
}

fn no_parent(parent: DatasetName, is_pool_missing: bool) -> RestoreError {
    RestoreError::NoParent { parent, is_pool_missing, former: Vec::new(), storages: Vec::new() }
}

fn check_parent(here: &Listing, to: &DatasetName) -> Result<(), RestoreError> {
    let Some(parent) = to.parent() else {
        return Err(no_parent(to.clone(), true));
    };
    if here.get(&parent).is_some() {
        return Ok(());
    }
    match here.why_unlisted(&parent) {
        Some(Unlisted::Missing) | None => Err(no_parent(parent, false)),
        Some(Unlisted::NoPool) => Err(no_parent(parent, true)),
        Some(why) => Err(RestoreError::NotListed { dataset: parent, why: why.clone() }),
    }
}

/// The request that stands for "what is there now", for what a run would select.
pub fn everything(now: Timestamp) -> Request {
    Request { now, take_snapshot: false, force_archive: false, guests: Vec::new() }
}
