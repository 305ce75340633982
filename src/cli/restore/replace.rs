//! `zhaul restore --replace`: what a person has to settle first, and what is said of what was set aside.

use std::time::Duration;

use super::super::context::CommandContext;
use super::super::exit_code::Failure;
use super::super::guest_state;
use super::super::lock;
use super::Wanted;
use super::{guest, guest_file, kept, list_here};
use crate::host::Restoring;
use crate::model::{DatasetName, Inventory, aside_of};
use crate::plan::restore::{RestorePlan, What, guest_of};

/// A run may be under way when everything is received; the exchange itself takes seconds.
const LOCK_WAIT: Duration = Duration::from_secs(3600);

/// Refuses to take the disks of a guest that runs, is locked, a template or managed.
pub(super) fn check(
    args: Wanted<'_>,
    inventory: &Inventory,
    plan: &RestorePlan,
    guest: Option<&guest::Restoration>,
) -> Result<(), Failure> {
    if plan.stamp.is_none() {
        return Ok(());
    }
    if let Some(id) = guest_of(&replaced(args, plan)) {
        guest_state::check_guest(id, inventory, guest.is_some_and(guest::Restoration::is_begun))?;
        guest_state::check_stopped(id, args.options.stopped, inventory)?;
    }
    check_unused(plan)
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
