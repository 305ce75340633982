//! What a person has to settle before a rollback: every refusal comes before anything is done.

use std::fmt::Write as _;

use anyhow::anyhow;

use super::super::args::RollbackArgs;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::super::restore::point_failure;
use super::super::session::Session;
use super::config::Configuration;
use super::running::{self, Running};
use crate::host;
use crate::model::{GuestId, Guid, Inventory, PointKind, PointName, ProxmoxState};
use crate::plan::Place;
use crate::plan::restore::{DiskRollback, RestoreError, RollbackPlan, What, guest_of};

/// Refuses what a person has to settle first.
pub(super) fn check(
    plan: &RollbackPlan,
    args: &RollbackArgs,
    inventory: &Inventory,
    config: Option<&Configuration>,
) -> Result<(), Failure> {
    check_blockers(plan)?;
    check_missing(plan, args, config)?;
    let Some(id) = guest_of(&args.what) else { return Ok(()) };
    check_guest(id, inventory, config)?;
    check_stopped(id, args, inventory)
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
    Err(point_failure(&error, &args.what))
}

/// What Proxmox VE's own rollback refuses, too.
fn check_guest(id: GuestId, inventory: &Inventory, config: Option<&Configuration>) -> Result<(), Failure> {
    let proxmox = &inventory.proxmox;
    if let Some(node) = proxmox.elsewhere.get(&id) {
        return refuse(format!(
            "guest {id} is on node {node}: nothing was done\n  next: roll it back there; what lies here is a replica"
        ));
    }
    if let Some(why) = proxmox.unreadable.get(&id) {
        return refuse(format!(
            "the file of guest {id} cannot be read: {}: nothing was done\n  next: mend it, then the same command again",
            escape(why)
        ));
    }
    let Some(guest) = proxmox.guest(id) else { return Ok(()) };
    if guest.is_template {
        return refuse(format!(
            "guest {id} is a template, whose disks its clones need: nothing was done\n  \
             next: `zhaul restore {id} --as VMID` makes a guest of an earlier point"
        ));
    }
    let is_own = config.is_some_and(Configuration::is_begun);
    if let Some(lock) = guest.lock.as_deref().filter(|_| !is_own) {
        let meaning = if lock == "rollback" {
            "a rollback has not ended, or failed halfway: some disks may be rolled back and others not"
        } else {
            "another operation has not ended"
        };
        return refuse(format!(
            "guest {id} is locked ({}), since {meaning}: nothing was done\n  \
             next: wait for it to end; if no task is active any more (`pvenode task list --vmid {id}`), \
             `qm unlock {id}` or `pct unlock {id}`, then the same command again",
            escape(lock)
        ));
    }
    if let Some(state) = proxmox.managed.get(&id)
        && !["stopped", "ignored", "disabled"].contains(&state.as_str())
    {
        let kind = if config.is_some_and(Configuration::is_container) { "ct" } else { "vm" };
        return refuse(format!(
            "the HA manager starts guest {id} whenever it is stopped (state {}): nothing was done\n  \
             next: `ha-manager set {kind}:{id} --state stopped`, then the same command again; \
             afterwards `ha-manager set {kind}:{id} --state started`",
            escape(state)
        ));
    }
    Ok(())
}

/// A disk that is rolled back under a running guest is a broken file system: a guest is stopped only where that is said.
fn check_stopped(id: GuestId, args: &RollbackArgs, inventory: &Inventory) -> Result<(), Failure> {
    let said = match running::ask(id) {
        Running::Stopped => return Ok(()),
        Running::NoPrograms if inventory.proxmox.state == ProxmoxState::Absent => return Ok(()),
        Running::Says(said) => {
            return refuse(format!(
                "guest {id} may be running ({}): nothing was done\n  \
                 next: `qm shutdown {id}` or `pct shutdown {id}`, then the same command again",
                escape(&said)
            ));
        }
        Running::NoPrograms => "neither qm nor pct is installed".to_owned(),
        Running::Unknown(said) => said,
    };
    if args.stopped {
        return Ok(());
    }
    refuse(format!(
        "guest {id} may be running, since nothing says that it is stopped ({}): nothing was done\n  \
         next: see that no process has the number {id} (`ps ax | grep -w {id}`); if nothing uses the disks, \
         the same command with --stopped",
        escape(&said)
    ))
}

/// Whatever is said: what a process has open is in use.
pub(super) fn check_unused(plan: &RollbackPlan) -> Result<(), Failure> {
    let mut used = String::new();
    for disk in &plan.disks {
        for user in host::users(&disk.dataset, disk.kind) {
            let _ = write!(used, "\n  {} by {}", disk.dataset, escape(&user));
        }
    }
    if used.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "disks are in use: nothing was done{used}\n  next: stop the guest, or end what uses them; then the same command again"
    ))
}

/// A hold on a newer snapshot of one disk would be found only when the others have lost theirs.
pub(super) fn check_holds(plan: &RollbackPlan, session: &Session) -> Result<(), Failure> {
    let mut held = String::new();
    for disk in &plan.disks {
        let newer = named(disk, PointKind::Snapshot);
        let names = newer.iter().map(|(name, guid)| Ok((disk.dataset.snapshot(name)?, *guid)));
        let names = names.collect::<Result<Vec<_>, crate::model::NameError>>().or_exit(Code::Failed)?;
        let details = session.source.details(&names).or_exit(Code::Failed)?;
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
