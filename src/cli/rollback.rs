//! `zhaul rollback`: shows what is in the way of any disk, asks, and rolls all disks of a guest back.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::args::{AtArg, RollbackArgs};
use super::exit_code::{Code, Failure, OrExit};
use super::render::{Style, count, escape};
use super::restore::{place_word, point_failure};
use super::session::Session;
use super::{lock, output};
use crate::host::{Refusal, Restoring};
use crate::model::{GuestId, Guid, Inventory, PointKind, PointName};
use crate::plan::restore::{At, DiskRollback, RollbackPlan, What, everything, plan_rollback, volumes};

pub(super) const EXAMPLES: &str = "\
Examples:
  zhaul rollback 100 --dry-run               what would go, and where else it is
  zhaul rollback 100                         to the newest point; asks before
  zhaul rollback 100 --to 2026-02-01-030000 --yes";

/// Carries out `zhaul rollback`.
pub(super) fn rollback(args: &RollbackArgs) -> Result<Code, Failure> {
    let session = Session::open(&args.policy, args.log, args.lab_clock)?;
    // No run takes, sends or prunes what is rolled back meanwhile.
    let _lock = if args.dry_run {
        None
    } else {
        Some(lock::take(&session.policy, session.policy_file.as_deref(), Duration::ZERO, &session.cancel)?)
    };
    let inventory = session.inventory()?;
    let known = volumes(&session.policy, &inventory, &everything(session.now));
    let to = match &args.to {
        None => None,
        Some(AtArg::Point(name)) => Some(At::Point(name.clone())),
        Some(AtArg::Time(when)) => {
            Some(At::Time(when.in_zone(&session.policy.time_zone).or_exit(Code::Usage)?))
        }
    };
    let planned = plan_rollback(&session.policy, &inventory.proxmox, &known, &args.what, to.as_ref());
    let plan = planned.map_err(|error| point_failure(&error, &args.what))?;
    let text = plan_text(&plan, output::stdout_style());
    output::print(&text).context("cannot print the plan").or_exit(Code::Failed)?;
    check(&plan, args, &inventory)?;
    check_holds(&plan, &session)?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    confirm(args)?;
    carry_out(&plan, &session)?;
    let done = format!("rolled {} back to @{}\n", count(plan.disks.len(), "dataset"), plan.point);
    output::print(&done).context("cannot print the report").or_exit(Code::Failed)?;
    Ok(Code::Done)
}

fn plan_text(plan: &RollbackPlan, style: Style) -> String {
    let mut text = format!("{}\n", style.bold(&escape(&format!("roll back to @{}", plan.point))));
    for disk in &plan.disks {
        let snapshots = disk.newer.iter().filter(|newer| newer.kind == PointKind::Snapshot);
        let _ = writeln!(text, "  {}@{}", escape(disk.dataset.as_str()), disk.to);
        for newer in snapshots {
            let places: Vec<String> = newer.also_on.iter().map(place_word).collect();
            let places = if places.is_empty() {
                "nowhere else".to_owned()
            } else {
                format!("also on {}", places.join(", "))
            };
            let whose = if newer.is_own { "goes" } else { "is not zhaul's" };
            let _ = writeln!(text, "    newer: @{} {whose}; {places}", newer.name);
        }
        let bookmarks = disk.newer.iter().filter(|newer| newer.kind == PointKind::Bookmark).count();
        if bookmarks > 0 {
            let _ = writeln!(text, "    {} of newer snapshots go with them", count(bookmarks, "bookmark"));
        }
    }
    let _ = writeln!(
        text,
        "  what was written since the point is lost; the configuration of a guest stays as it is"
    );
    text
}

/// Refuses what a person has to settle first.
fn check(plan: &RollbackPlan, args: &RollbackArgs, inventory: &Inventory) -> Result<(), Failure> {
    let blockers: Vec<String> = plan
        .blockers()
        .map(|(disk, newer)| {
            let why = if newer.is_cloned { "a clone needs it" } else { "zhaul did not make it" };
            format!("\n  {}{}{}: {why}", disk.dataset, newer.kind.separator(), newer.name)
        })
        .collect();
    if !blockers.is_empty() {
        let error = anyhow!(
            "newer points are in the way, and zhaul does not destroy them: nothing was done{}\n  \
             next: remove them by the program that made them (of Proxmox VE: `qm delsnapshot`, `pct delsnapshot`), or \
             restore the point beside: `zhaul restore DATASET --at {} --to NAME`",
            blockers.concat(),
            plan.point
        );
        return Err(error).or_exit(Code::Blocked);
    }
    let What::Guest(id) = args.what else { return Ok(()) };
    if inventory.proxmox.guest(id).is_some() {
        check_stopped(id)?;
    }
    Ok(())
}

/// A hold on a newer snapshot of one disk would be found only when the others have lost theirs.
fn check_holds(plan: &RollbackPlan, session: &Session) -> Result<(), Failure> {
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
    let error =
        anyhow!("newer snapshots are held: nothing was done{held}\n  next: `zfs holds` names who holds them");
    Err(error).or_exit(Code::Blocked)
}

/// A disk that is rolled back under a running guest is a broken file system.
fn check_stopped(id: GuestId) -> Result<(), Failure> {
    let mut said = Vec::new();
    for program in ["qm", "pct"] {
        let output = Command::new(program).args(["status", &id.to_string()]).output();
        let Ok(output) = output else { continue };
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if text == "status: stopped" {
            return Ok(());
        }
        if text.starts_with("status:") {
            said.push(format!("{program} says {text}"));
        }
    }
    let said = if said.is_empty() {
        "neither qm nor pct says that it is stopped".to_owned()
    } else {
        said.join("; ")
    };
    let error = anyhow!(
        "guest {id} may be running ({}): nothing was done\n  next: `qm shutdown {id}` or `pct shutdown {id}`, then the same command again",
        escape(&said)
    );
    Err(error).or_exit(Code::Blocked)
}

fn confirm(args: &RollbackArgs) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let refuse = |why: &str| {
        let error = anyhow!("{why}: nothing was done\n  next: the same command with --yes");
        Err(error).or_exit(Code::Blocked)
    };
    if !io::stdin().is_terminal() {
        return refuse("a rollback loses what was written since, and nobody is there to be asked");
    }
    output::complain("roll back? [y/N] ");
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).is_err() || !matches!(answer.trim(), "y" | "yes") {
        return refuse("not confirmed");
    }
    Ok(())
}

/// Makes way on all disks, then rolls each back. Stops at the first thing that is not as planned; the same command goes on.
fn carry_out(plan: &RollbackPlan, session: &Session) -> Result<(), Failure> {
    let here = Restoring::new(&session.cancel);
    for disk in &plan.disks {
        here.check(&disk.dataset, disk.dataset_guid, &disk.to, disk.guid).or_exit(Code::Failed)?;
    }
    for disk in &plan.disks {
        let refusals = session.source.destroy_snapshots(&disk.dataset, &named(disk, PointKind::Snapshot));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
        let refusals = session.source.destroy_bookmarks(&disk.dataset, &named(disk, PointKind::Bookmark));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
    }
    for disk in &plan.disks {
        here.roll_back(&disk.dataset, disk.dataset_guid, &disk.to, disk.guid).or_exit(Code::Failed)?;
    }
    Ok(())
}

fn named(disk: &DiskRollback, kind: PointKind) -> Vec<(PointName, Guid)> {
    let newer = disk.newer.iter().filter(|newer| newer.kind == kind);
    newer.map(|newer| (newer.name.clone(), newer.guid)).collect()
}

fn check_refusals(disk: &DiskRollback, mut refusals: Vec<Refusal>) -> Result<(), Failure> {
    let Some(refusal) = refusals.pop() else { return Ok(()) };
    let error = anyhow!(
        "{}@{} stays: {}; no disk was rolled back\n  next: see `zfs holds` and `zfs list -t snapshot -o name,clones`, then the same command again",
        disk.dataset,
        refusal.name,
        refusal.problem
    );
    Err(error).or_exit(Code::Blocked)
}
