//! The file of the guest that is restored: whether there is one, whose it is, and where an earlier one was set aside.

use std::path::PathBuf;

use anyhow::Context as _;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::Wanted;
use crate::host::{GuestFile, GuestFiles};
use crate::model::{DatasetName, GuestId, Listing, Proxmox, VolumeName, VolumeRole};
use crate::plan::restore::{What, volumes_of};

/// The number of the guest that is restored, if a guest is.
pub(super) fn number(args: Wanted<'_>) -> Option<GuestId> {
    let What::Guest(id) = args.what else { return None };
    Some(args.options.new_id.unwrap_or(*id))
}

/// The number of the guest, and the files of all.
fn files(args: Wanted<'_>, context: &CommandContext) -> Option<(GuestId, GuestFiles)> {
    Some((number(args)?, GuestFiles::new(context.policy.guest_config.as_deref()?)))
}

/// Whether a restore of the guest was begun and not ended.
pub(super) fn is_begun(args: Wanted<'_>, context: &CommandContext) -> bool {
    files(args, context).is_some_and(|(id, files)| files.find(id) == GuestFile::OfRestore)
}

/// The disks that the file of a begun restore names, by their datasets. Disks alone are refused beside one.
pub(super) fn begun_with(args: Wanted<'_>, context: &CommandContext, proxmox: &Proxmox) -> Vec<DatasetName> {
    let is_whole = args.options.disks.is_empty();
    let Some((id, files)) = files(args, context).filter(|_| is_whole && is_begun(args, context)) else {
        return Vec::new();
    };
    let Ok(Some(current)) = files.current(id) else { return Vec::new() };
    // Proxmox VE makes an image for cloud-init again: it is in no point.
    let is_disk = |volume: &str| VolumeName::parse(volume).is_some_and(|one| one.role == VolumeRole::Disk);
    let named = volumes_of(&current.text).into_iter().filter(|(_, volume)| is_disk(volume));
    named.filter_map(|(storage, volume)| proxmox.dataset_of(storage, volume)).collect()
}

/// Whether every disk that the guest's file names is in its place.
pub(super) fn has_all_disks(
    args: Wanted<'_>,
    context: &CommandContext,
    here: &Listing,
    proxmox: &Proxmox,
) -> bool {
    let Some((id, files)) = files(args, context) else { return false };
    let Ok(Some(current)) = files.current(id) else { return false };
    let named = volumes_of(&current.text).into_iter();
    let mut disks = named.filter_map(|(storage, volume)| proxmox.dataset_of(storage, volume)).peekable();
    disks.peek().is_some() && disks.all(|disk| here.get(&disk).is_some())
}

/// Whether the guest's file is set aside, as its disks are.
pub(super) fn is_taken(args: Wanted<'_>, context: &CommandContext) -> bool {
    let options = args.options;
    let is_meant = options.replace && options.disks.is_empty() && options.new_id.is_none();
    is_meant && files(args, context).is_some_and(|(id, files)| matches!(files.find(id), GuestFile::Taken(_)))
}

/// The file of the guest that was set aside under this stamp.
pub(super) fn aside_file(args: Wanted<'_>, context: &CommandContext, stamp: &str) -> Option<PathBuf> {
    let (id, files) = files(args, context)?;
    files.aside_file(id, stamp)
}

/// Gives up the file of a restore that was begun.
pub(super) fn give_up(args: Wanted<'_>, context: &CommandContext) -> Result<bool, Failure> {
    let Some((id, files)) = files(args, context) else { return Ok(false) };
    let removed = files.give_up(id);
    let what = || {
        format!(
            "cannot remove the file of guest {id}\n  next: see that the node is quorate (`pvecm status`); then the same command again"
        )
    };
    removed.with_context(what).or_exit(Code::Failed)
}
