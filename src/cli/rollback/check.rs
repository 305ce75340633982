//! The obstacles that an admin must remove before a rollback: every refusal comes before anything is done.

use std::fmt::Write as _;

use anyhow::anyhow;

use super::super::args::RollbackArgs;
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::guest_state;
use super::super::render::{escape, unlisted_here_next, unlisted_what};
use super::super::restore::point_failure;
use super::asked;
use super::config::Configuration;
use crate::model::{Answer, DatasetName, Guid, Inventory, PointKind, PointName, Unlisted};
use crate::plan::Place;
use crate::plan::restore::{DiskRollback, RestoreError, RollbackPlan, What, guest_of};

/// Refuses where nothing is known of a disk, as on a pool that is exported: the others would go back without it.
pub(super) fn check_known(args: &RollbackArgs, inventory: &Inventory) -> Result<(), Failure> {
    let Answer::Listed(listing) = &inventory.source else { return Ok(()) };
    let proxmox = &inventory.proxmox;
    let disks: Vec<DatasetName> = match &args.what {
        What::Dataset(name) => vec![name.clone()],
        What::Guest(id) => {
            let lines = proxmox.guest(*id).into_iter().flat_map(|guest| &guest.disks);
            let lines = lines.filter(|line| line.is_current && line.is_backed_up);
            lines.filter_map(|line| proxmox.dataset_of(&line.storage, &line.volume)).collect()
        }
    };
    let unknown = disks.iter().find_map(|disk| {
        let why = listing.why_unlisted(disk).filter(|why| **why != Unlisted::Missing)?;
        Some((disk, why))
    });
    let Some((disk, why)) = unknown else { return Ok(()) };
    refuse(format!(
        "nothing is known of {disk}: {}: nothing was done\n  next: {}; then the same command again",
        escape(&unlisted_what(disk.as_str(), why)),
        escape(&unlisted_here_next(disk.as_str(), why)),
    ))
}

/// Refuses if an admin must act first.
pub(super) fn check(
    plan: &RollbackPlan,
    args: &RollbackArgs,
    inventory: &Inventory,
    config: Option<&Configuration>,
) -> Result<(), Failure> {
    check_blockers(plan)?;
    check_kept(plan, args, inventory, config)
}

/// The same for a rollback that keeps what is newer: no point is in its way.
pub(super) fn check_kept(
    plan: &RollbackPlan,
    args: &RollbackArgs,
    inventory: &Inventory,
    config: Option<&Configuration>,
) -> Result<(), Failure> {
    check_missing(plan, args, config)?;
    check_guest(args, inventory, config)
}

/// Checks the guest itself.
pub(super) fn check_guest(
    args: &RollbackArgs,
    inventory: &Inventory,
    config: Option<&Configuration>,
) -> Result<(), Failure> {
    let Some(id) = guest_of(&args.what) else { return Ok(()) };
    guest_state::check_guest(id, inventory, config.is_some_and(Configuration::is_begun))?;
    guest_state::check_stopped(id, args.stopped, inventory)
}

fn refuse<T>(text: String) -> Result<T, Failure> {
    Err(anyhow!(text)).or_exit(Code::Blocked)
}

fn check_blockers(plan: &RollbackPlan) -> Result<(), Failure> {
    let blockers: Vec<String> = plan
        .blockers()
        .map(|(disk, newer)| {
            let why = if newer.is_cloned { "a clone needs it" } else { "zhaul did not make it" };
            let name = newer.name.as_str();
            format!("\n  {}{}{}: {why}", disk.dataset, newer.kind.separator(), escape(name))
        })
        .collect();
    if blockers.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "newer points are in the way, and zhaul does not destroy them: nothing was done{}\n  \
         next: remove them by the program that made them (of Proxmox VE: `qm delsnapshot`, `pct delsnapshot`), or \
         restore the point beside: `zhaul restore DATASET --at {} --to NAME`",
        blockers.concat(),
        plan.point
    ))
}

/// A disk without the point is fine only where the configuration of the point shows that the guest did not have it yet.
fn check_missing(
    plan: &RollbackPlan,
    args: &RollbackArgs,
    config: Option<&Configuration>,
) -> Result<(), Failure> {
    let was_there = |dataset: &_| config.is_none_or(|config| !config.had_no(dataset));
    let missing: Vec<_> = plan.missing.iter().filter(|dataset| was_there(*dataset)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = match &args.what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(name) => name.to_string(),
    };
    let (point, complete, place) = (plan.point.clone(), plan.complete.clone(), Place::Source);
    let error = RestoreError::Incomplete { what, point, place, missing, complete };
    Err(point_failure(&error, asked(args)))
}

/// A hold on a newer snapshot of one disk would be found only when the others have lost theirs.
pub(super) fn check_holds(plan: &RollbackPlan, context: &CommandContext) -> Result<(), Failure> {
    let mut held = String::new();
    for disk in &plan.disks {
        let newer = named(disk, PointKind::Snapshot);
        let names = newer.iter().map(|(name, guid)| Ok((disk.dataset.snapshot(name)?, *guid)));
        let names = names.collect::<Result<Vec<_>, crate::model::NameError>>().or_exit(Code::Failed)?;
        let details = context.source.details(&names).or_exit(Code::Failed)?;
        for ((name, _), details) in names.iter().zip(details) {
            if details.is_some_and(|details| details.holds > 0) {
                let _ = write!(held, "\n  {name}");
            }
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "newer snapshots are held: nothing was done{held}\n  next: `zfs holds` names who holds them"
    ))
}

/// The newer points of one kind.
pub(super) fn named(disk: &DiskRollback, kind: PointKind) -> Vec<(PointName, Guid)> {
    let newer = disk.newer.iter().filter(|newer| newer.kind == kind);
    newer.map(|newer| (newer.name.clone(), newer.guid)).collect()
}
