//! `zhaul restore GUEST --disk DISK`: some disks of a guest, and which are therefore left out.

use anyhow::anyhow;

use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::Wanted;
use crate::model::{DatasetName, GuestId, Proxmox};
use crate::plan::restore::{Volume, Volumes, What};

/// The disks of the guest that are not asked for; none where `--disk` was not given.
pub(super) fn left_out(
    args: Wanted<'_>,
    known: &Volumes<'_>,
    proxmox: &Proxmox,
) -> Result<Vec<DatasetName>, Failure> {
    let asked = &args.options.disks;
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let What::Guest(id) = args.what else {
        let error = anyhow!(
            "--disk is for a guest, and a dataset was named: nothing was done\n  next: leave --disk out"
        );
        return Err(error).or_exit(Code::Usage);
    };
    let disks: Vec<&Volume<'_>> = known.volumes.iter().filter(|volume| volume.is_disk_of(*id)).collect();
    let mut wanted = Vec::new();
    for text in asked {
        let by_key = by_key(*id, proxmox, text);
        let is_meant = |disk: &&&Volume<'_>| match &by_key {
            Some(dataset) => disk.name == *dataset,
            None => disk.name.last() == text || disk.name.as_str() == text,
        };
        let found: Vec<&DatasetName> = disks.iter().filter(is_meant).map(|disk| &disk.name).collect();
        match found.as_slice() {
            [one] => wanted.push((*one).clone()),
            [] => {
                let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
                let error = anyhow!(
                    "guest {id} has no disk {} that can be restored{}: nothing was done\n  next: --disk with one of: {}",
                    escape(text),
                    why_not(*id, proxmox, by_key.as_ref()),
                    names.join(", ")
                );
                return Err(error).or_exit(Code::Usage);
            }
            several => {
                let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                let error = anyhow!(
                    "guest {id} has several disks {}: nothing was done\n  next: --disk with one of: {}",
                    escape(text),
                    names.join(", ")
                );
                return Err(error).or_exit(Code::Usage);
            }
        }
    }
    Ok(disks.into_iter().map(|disk| disk.name.clone()).filter(|name| !wanted.contains(name)).collect())
}

/// What is known of a word that is no disk with a copy.
fn why_not(id: GuestId, proxmox: &Proxmox, named: Option<&DatasetName>) -> String {
    match (named, proxmox.guest(id)) {
        (Some(dataset), _) => format!(" (no copy of {dataset} is known here or on any target)"),
        (None, None) => " (its file is not here, which says what it calls its disks)".to_owned(),
        (None, Some(_)) => String::new(),
    }
}

/// The dataset of the guest's line `scsi1`, where its file is here, or of a volume as it is written there, `STORAGE:VOLUME`.
fn by_key(id: GuestId, proxmox: &Proxmox, key: &str) -> Option<DatasetName> {
    if let Some((storage, volume)) = key.split_once(':') {
        return proxmox.dataset_of(storage, volume.rsplit('/').next()?);
    }
    let word = format!("({key})");
    let guest = proxmox.guest(id)?;
    let line = guest.disks.iter().find(|line| line.is_current && line.place.ends_with(&word))?;
    proxmox.dataset_of(&line.storage, &line.volume)
}
