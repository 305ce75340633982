//! `zhaul rollback --keep`: a clone of the point takes the place of each disk; what was there is kept, and can be put back.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, anyhow};

use super::super::args::RollbackArgs;
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::guest_state::check_unused;
use super::super::output;
use super::super::render::{count, escape};
use super::super::restore::{list_here, point_failure, stamp};
use super::asked;
use super::config::Configuration;
use super::{check, confirm};
use crate::host::Restoring;
use crate::model::{Answer, DatasetKind, DatasetName, Inventory, PointKind, SnapshotName};
use crate::plan::restore::{
    KeepDisk, RollbackPlan, What, begun, is_committed, is_guests_disk, plan_keep, wanted_for_keep,
};

/// Disks of the guest that an interrupted `--keep` has begun to exchange: nothing else is done before that has ended.
pub(super) fn find_begun(what: &What, inventory: &Inventory) -> Vec<KeepDisk> {
    let Answer::Listed(here) = &inventory.source else { return Vec::new() };
    let disks =
        begun(here).into_iter().filter(|disk| is_guests_disk(what, &disk.mark.of, &inventory.proxmox));
    let disks: Vec<KeepDisk> = disks.collect();
    if is_committed(&disks, here) { disks } else { Vec::new() }
}

/// Refuses a plain rollback between the steps of one that keeps.
pub(super) fn refuse_other(disks: &[KeepDisk], args: &RollbackArgs) -> Result<(), Failure> {
    let Some(disk) = disks.first().filter(|_| !args.keep) else { return Ok(()) };
    let error = anyhow!(
        "`zhaul rollback --keep` to @{0} was interrupted: nothing was done\n  \
         next: `zhaul rollback {1} --to {0} --keep` continues",
        disk.mark.point,
        args.what
    );
    Err(error).or_exit(Code::Blocked)
}

/// Plans, asks, and carries it out.
pub(super) fn keep(
    args: &RollbackArgs,
    context: &CommandContext,
    inventory: &Inventory,
    plan: &RollbackPlan,
) -> Result<Code, Failure> {
    let here = Restoring::new(&context.cancel);
    let fail = |error| point_failure(&error, asked(args));
    let listing = list_here(&here, &wanted_for_keep(plan).map_err(fail)?)?;
    let disks = plan_keep(plan, &listing, &stamp(context.now)?).map_err(fail)?;
    let configuration = Configuration::find(args, context, inventory, &points(&disks)?)?;
    output::print(&plan_text(plan, &disks, configuration.as_ref())).or_exit(Code::Failed)?;
    check::check_kept(plan, args, inventory, configuration.as_ref())?;
    check_unused(disks.iter().map(|disk| (&disk.mark.of, disk.mark.kind)))?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    confirm(args)?;
    let mut made = Vec::new();
    for disk in &disks {
        made.push(clone(&here, disk)?);
    }
    exchange(args, &here, &made, configuration.as_ref())
}

/// Continues an interrupted rollback.
pub(super) fn go_on(
    args: &RollbackArgs,
    context: &CommandContext,
    inventory: &Inventory,
    disks: &[KeepDisk],
) -> Result<Code, Failure> {
    let here = Restoring::new(&context.cancel);
    let configuration = Configuration::find(args, context, inventory, &points(disks)?)?;
    let text = format!("continuing an interrupted rollback of {}\n", count(disks.len(), "dataset"));
    output::print(&text).or_exit(Code::Failed)?;
    check::check_guest(args, inventory, configuration.as_ref())?;
    check_unused(disks.iter().map(|disk| (&disk.mark.of, disk.mark.kind)))?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    exchange(args, &here, disks, configuration.as_ref())
}

/// Takes the lock off that an interrupted command has left last of all. `None` where there is none.
pub(super) fn end(
    args: &RollbackArgs,
    context: &CommandContext,
    inventory: &Inventory,
) -> Result<Option<Code>, Failure> {
    let config = Configuration::find(args, context, inventory, &[])?;
    let Some(config) = config.filter(Configuration::is_exchanged) else { return Ok(None) };
    check::check_guest(args, inventory, Some(&config))?;
    let mut text =
        "an interrupted rollback of the guest has exchanged all disks; only its lock is left\n".to_owned();
    if !args.dry_run {
        config.finish()?;
        text.push_str("the lock is off; nothing else was done\n");
        text.push_str(&config.text_after());
    }
    output::print(&text).or_exit(Code::Failed)?;
    Ok(Some(Code::Done))
}

/// Where the point may lie: in the disk, in the clone, or in what was put aside.
fn points(disks: &[KeepDisk]) -> Result<Vec<SnapshotName>, Failure> {
    let places = disks.iter().flat_map(|disk| {
        [&disk.mark.of, &disk.incoming, &disk.mark.aside].map(|dataset| dataset.snapshot(&disk.mark.point))
    });
    places.collect::<Result<Vec<_>, _>>().or_exit(Code::Failed)
}

fn clone(here: &Restoring, disk: &KeepDisk) -> Result<KeepDisk, Failure> {
    if disk.made.is_none() {
        if let Some(place) = disk.incoming.parent() {
            here.create_place(&place).or_exit(Code::Failed)?;
        }
        let point = disk.mark.of.snapshot(&disk.mark.point).or_exit(Code::Failed)?;
        here.clone_for(&disk.mark, &point, &disk.incoming).or_exit(Code::Failed)?;
    }
    let listing = here.list(std::slice::from_ref(&disk.incoming)).or_exit(Code::Failed)?;
    let guid = listing.get(&disk.incoming).map(|dataset| dataset.guid);
    let guid = guid.ok_or_else(|| anyhow!("{} is gone", disk.incoming)).or_exit(Code::Failed)?;
    Ok(KeepDisk { made: Some((disk.incoming.clone(), guid)), ..disk.clone() })
}

/// Locks the guest, exchanges all disks, writes the configuration. Whatever ends it, the same command continues it.
fn exchange(
    args: &RollbackArgs,
    here: &Restoring,
    disks: &[KeepDisk],
    config: Option<&Configuration>,
) -> Result<Code, Failure> {
    let stamp = disks.first().map(KeepDisk::stamp).unwrap_or_default();
    if let Some(config) = config {
        config.begin()?;
        config.copy_aside(&stamp)?;
    }
    let exchanged = exchange_disks(here, disks).map_err(|failure| half_done(&failure, config));
    output::complain(&exchanged?);
    if let Some(config) = config {
        config.hold()?;
    }
    // The marks go last of all that is done with `zfs`, and the lock after them: a run takes the guest when it is complete.
    finish(here, disks)?;
    if let Some(config) = config {
        config.finish()?;
    }
    output::print(&text_after(args, disks, &stamp, config))
        .context("cannot print the report")
        .or_exit(Code::Failed)?;
    Ok(Code::Done)
}

fn exchange_disks(here: &Restoring, disks: &[KeepDisk]) -> Result<String, Failure> {
    let mut warnings = String::new();
    for disk in disks {
        let Some((at, guid)) = &disk.made else { continue };
        let mark = &disk.mark;
        if let Some(place) = mark.aside.parent() {
            here.create_aside_place(&place).or_exit(Code::Failed)?;
        }
        here.set_aside(&mark.of, mark.old, &mark.aside).or_exit(Code::Failed)?;
        if *at != mark.of {
            here.put_in_place(at, *guid, &mark.of).or_exit(Code::Failed)?;
        }
        here.promote(&mark.of, *guid, &mark.aside).or_exit(Code::Failed)?;
        if let Some(problem) = here.finish_clone(mark, *guid).or_exit(Code::Failed)? {
            let dataset = escape(mark.of.as_str());
            let problem = escape(&problem.to_string());
            let _ = writeln!(
                warnings,
                "warning: {dataset} is in its place, but could not be mounted: {problem}\n  next: zfs mount {dataset}"
            );
        }
    }
    Ok(warnings)
}

fn finish(here: &Restoring, disks: &[KeepDisk]) -> Result<(), Failure> {
    let places: BTreeSet<DatasetName> = disks.iter().filter_map(|disk| disk.incoming.parent()).collect();
    for place in places {
        here.remove_place(&place).or_exit(Code::Failed)?;
    }
    for disk in disks {
        let Some((_, guid)) = &disk.made else { continue };
        here.unmark(&disk.mark.of, *guid).or_exit(Code::Failed)?;
    }
    Ok(())
}

fn half_done(failure: &Failure, config: Option<&Configuration>) -> Failure {
    let lock = config.map_or("", |_| "; the guest stays locked (lock: rollback) until it has ended");
    let error = anyhow!(
        "{:#}\n  some disks may be exchanged already; run the same command again to finish{lock}",
        failure.error
    );
    Failure { code: failure.code, error }
}

fn plan_text(plan: &RollbackPlan, disks: &[KeepDisk], config: Option<&Configuration>) -> String {
    let mut text = format!("roll back to @{}, and keep what is there now\n", plan.point);
    for (disk, kept) in plan.disks.iter().zip(disks) {
        let newer = disk.newer.iter().filter(|newer| newer.kind == PointKind::Snapshot).count();
        let kind = match disk.kind {
            DatasetKind::Filesystem => "file system",
            DatasetKind::Volume => "volume",
        };
        let _ = writeln!(
            text,
            "  {}@{} ({kind})\n    what is there now goes to {}, with {}",
            escape(disk.dataset.as_str()),
            disk.to,
            escape(kept.mark.aside.as_str()),
            count(newer, "newer snapshot"),
        );
    }
    text.push_str(&super::text::left_alone_text(plan));
    if let Some(config) = config {
        text.push_str(&config.plan_text());
    }
    text
}

fn text_after(
    args: &RollbackArgs,
    disks: &[KeepDisk],
    stamp: &str,
    config: Option<&Configuration>,
) -> String {
    let mut text = String::new();
    for disk in disks {
        let _ = writeln!(text, "{} is at @{}", escape(disk.mark.of.as_str()), disk.mark.point);
    }
    text.push_str(&config.map(Configuration::text_after).unwrap_or_default());
    text.push_str(&super::super::restore::kept_text(
        &args.what,
        stamp,
        disks.iter().map(|disk| &disk.mark.aside),
        None,
    ));
    text
}
