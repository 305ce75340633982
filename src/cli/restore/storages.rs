//! `zhaul restore GUEST --storage [OLD=]STORAGE`: the storages that a guest's disks were on, and go to.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::super::args::StorageArg;
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::Wanted;
use crate::host::Sending;
use crate::model::{DatasetName, GuestConfig, GuestId, Proxmox, ProxmoxState, SnapshotName, TargetName};
use crate::plan::Place;
use crate::plan::restore::{RestoreRequest, Storages, Volume, Volumes, What, former_places, snapshots_of};

/// The storages that `--storage` names, by what it says.
pub(super) fn wanted(args: Wanted<'_>, proxmox: &Proxmox) -> Result<Storages, Failure> {
    let mut storages = Storages::new(proxmox);
    let What::Guest(_) = args.what else { return Ok(storages) };
    for StorageArg { of, to } in &args.options.storage {
        let dataset = dataset_of(&storages.here, to)?;
        let is_twice = match of {
            Some(of) => storages.of.insert(of.clone(), dataset).is_some(),
            None => storages.every.replace(dataset).is_some(),
        };
        if is_twice {
            let of = of.as_ref().map(|of| format!(" for the disks that were on {}", escape(of)));
            let error = anyhow!(
                "--storage names two storages{}: nothing was done\n  next: name one, or say which disks go where with --storage OLD=STORAGE",
                of.unwrap_or_default()
            );
            return Err(error).or_exit(Code::Usage);
        }
    }
    Ok(storages)
}

/// The dataset of a storage of this host.
fn dataset_of(here: &BTreeMap<String, DatasetName>, id: &str) -> Result<DatasetName, Failure> {
    let error = || {
        let known: Vec<&str> = here.keys().map(String::as_str).collect();
        let next = if known.is_empty() {
            "`pvesm status` shows which are set up and enabled; or leave --storage out".to_owned()
        } else {
            format!("one of: {}", known.join(", "))
        };
        anyhow!(
            "this node has no ZFS storage {} that is enabled: nothing was done\n  next: {next}",
            escape(id)
        )
    };
    here.get(id).cloned().ok_or_else(error).or_exit(Code::Usage)
}

/// The point of a guest: its place, and its snapshots there by their volumes.
pub(super) type PointDisks = Option<(Place, BTreeMap<DatasetName, SnapshotName>)>;

/// The disks of `point`.
pub(super) fn disks_of<'a, 'b>(known: &'b Volumes<'a>, point: &PointDisks) -> Vec<&'b Volume<'a>> {
    let is_of_point = |volume: &&Volume<'_>| {
        point.as_ref().is_some_and(|(_, snapshots)| snapshots.contains_key(&volume.name))
    };
    known.volumes.iter().filter(is_of_point).collect()
}

/// Finds out which storages the disks of the guest were on, where this host has none with their datasets: the configuration that the
/// point of `request` carries says it. Gives that point.
pub(super) fn find_former(
    args: Wanted<'_>,
    context: &CommandContext,
    known: &Volumes<'_>,
    (request, proxmox): (&mut RestoreRequest, &Proxmox),
    targets: &BTreeMap<TargetName, Sending>,
) -> Result<PointDisks, Failure> {
    let What::Guest(id) = args.what else { return Ok(None) };
    if proxmox.state == ProxmoxState::Absent {
        return Ok(None);
    }
    // What is wrong with the request is said by its plan.
    let point = snapshots_of(&context.policy, known, request).ok();
    let disks: Vec<&Volume<'_>> = known.volumes.iter().filter(|volume| volume.is_disk_of(*id)).collect();
    let is_unknown = |disk: &&Volume<'_>| !request.storages.is_known(&disk.name);
    if proxmox.storages.is_some()
        && disks.iter().any(is_unknown)
        && let Some((place, snapshots)) = &point
        && let Some(config) = config(*id, context, (place, snapshots.values()), targets)?
    {
        let former = former_places(&config.config, &disks_of(known, &point)).into_iter();
        let unknown = former.filter(|(name, _)| !request.storages.is_known(name));
        request.storages.former = unknown.map(|(name, place)| (name, place.storage)).collect();
    }
    let is_of_none = |of: &&String| !disks.iter().any(|disk| request.storages.is_on(&disk.name, of));
    match request.storages.of.keys().find(is_of_none) {
        Some(of) if !args.options.all => {
            Err(no_disk_on(*id, of, &disks, &request.storages)).or_exit(Code::Usage)
        }
        _ => Ok(point),
    }
}

/// The first configuration of the guest that these snapshots carry.
fn config<'a>(
    id: GuestId,
    context: &CommandContext,
    (place, snapshots): (&Place, impl Iterator<Item = &'a SnapshotName>),
    targets: &BTreeMap<TargetName, Sending>,
) -> Result<Option<GuestConfig>, Failure> {
    for snapshot in snapshots {
        let properties = match place {
            Place::Source => context.source.config(snapshot),
            Place::Target(name) => match targets.get(name) {
                Some(target) => target.config(snapshot),
                None => return Ok(None),
            },
        };
        let properties = properties.or_exit(Code::Failed)?;
        // One that cannot be used is named where the guest's file is to be written.
        if let Ok(Some(config)) = GuestConfig::parse(&properties)
            && config.id == id
        {
            return Ok(Some(config));
        }
    }
    Ok(None)
}

fn no_disk_on(id: GuestId, of: &str, disks: &[&Volume<'_>], storages: &Storages) -> anyhow::Error {
    let disks = disks.iter().map(|disk| {
        let storage = storages.former.get(&disk.name).map(|id| format!(" on {}", escape(id)));
        format!("\n  {}{}", disk.name, storage.unwrap_or_default())
    });
    anyhow!(
        "guest {id} has no disk that was on {}: nothing was done\n  \
         next: --storage OLD=STORAGE with the storage, or the dataset, that a disk was on:{}",
        escape(of),
        disks.collect::<String>()
    )
}
