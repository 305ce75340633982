//! `zhaul restore --replace`: what a person has to settle first, and what is said of what was set aside.

use std::time::Duration;

use anyhow::anyhow;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::guest_state;
use super::super::lock;
use super::Wanted;
use super::{asked, guest, guest_file, kept, lacking, list_here};
use crate::host::Restoring;
use crate::model::{Answer, DatasetName, Inventory, aside_of};
use crate::plan::restore::{RestoreNote, RestorePlan, What, guest_of};

/// A run may be under way when everything is received; the exchange itself takes seconds.
const LOCK_WAIT: Duration = Duration::from_secs(3600);

/// Refuses to take some disks of a guest to another moment than the rest, and those of one that runs, is locked, a template or managed.
pub(super) fn check(
    args: Wanted<'_>,
    inventory: &Inventory,
    plan: &RestorePlan,
    guest: Option<&guest::Restoration>,
) -> Result<(), Failure> {
    check_whole(args, inventory, plan, guest)?;
    if plan.stamp.is_none() {
        return Ok(());
    }
    if let Some(id) = guest_of(&replaced(args, plan)) {
        guest_state::check_guest(id, inventory, guest.is_some_and(guest::Restoration::is_begun))?;
        guest_state::check_stopped(id, args.options.stopped, inventory)?;
    }
    check_unused(plan)
}

/// Refuses `--replace` where the guest would keep a disk as it is now beside disks of the point. One that it did not have then is
/// in no file of that point, and no part of the restored guest.
fn check_whole(
    args: Wanted<'_>,
    inventory: &Inventory,
    plan: &RestorePlan,
    guest: Option<&guest::Restoration>,
) -> Result<(), Failure> {
    if !args.options.replace || args.options.new_id.is_some() {
        return Ok(());
    }
    let Answer::Listed(here) = &inventory.source else { return Ok(()) };
    let lacking = plan.notes.iter().filter_map(|note| {
        if let RestoreNote::VolumeMissing { volume } = note { Some(volume) } else { None }
    });
    let would_stay =
        |volume: &&DatasetName| here.get(volume).is_some() && guest.is_none_or(|guest| guest.had(volume));
    let stays: Vec<DatasetName> = lacking.filter(would_stay).cloned().collect();
    if stays.is_empty() {
        return Ok(());
    }
    Err(anyhow!(lacking::two_moments(plan, &stays, args.options.stopped, asked(args)))).or_exit(Code::Blocked)
}

/// What is replaced, by the name that it has here: it may be restored under another one.
fn replaced(args: Wanted<'_>, plan: &RestorePlan) -> What {
    match (guest_file::number(args), plan.volumes.as_slice()) {
        (Some(id), _) => What::Guest(id),
        (None, [one]) => What::Dataset(one.to.clone()),
        (None, _) => args.what.clone(),
    }
}

fn check_unused(plan: &RestorePlan) -> Result<(), Failure> {
    let replaced = plan.volumes.iter().filter(|volume| volume.replaces.is_some());
    guest_state::check_unused(replaced.map(|volume| (&volume.to, volume.kind)))
}

/// Everything is received: looks again, and takes the number of the guest.
pub(super) fn begin(
    args: Wanted<'_>,
    context: &CommandContext,
    plan: &RestorePlan,
    guest: Option<&guest::Restoration>,
) -> Result<lock::Lock, Failure> {
    let lock = lock::take(&context.policy, context.policy_file.as_deref(), LOCK_WAIT, &context.cancel)?;
    let (inventory, _) = context.source_inventory()?;
    check(args, &inventory, plan, guest)?;
    if let Some(guest) = guest {
        guest.begin(plan.stamp.as_deref())?;
    }
    Ok(lock)
}

/// The text about the set-aside datasets, and about the guest's file where that alone was there.
pub(super) fn text_after(
    args: Wanted<'_>,
    context: &CommandContext,
    plan: &RestorePlan,
    here: &Restoring,
) -> Result<String, Failure> {
    let Some(stamp) = &plan.stamp else { return Ok(String::new()) };
    let set_asides = plan.volumes.iter().filter_map(|volume| aside_of(&volume.to, stamp).ok()?);
    let mut set_asides: Vec<DatasetName> = set_asides.collect();
    let listing = list_here(here, &set_asides)?;
    set_asides.retain(|aside| listing.get(aside).is_some());
    let file = guest_file::aside_file(args, context, stamp);
    Ok(kept::kept_text(&replaced(args, plan), stamp, set_asides.iter(), file.as_deref()))
}
