//! Carries a rollback out: locks the guest, makes way on all disks, rolls each back, writes the configuration, unlocks.
//!
//! Whatever ends it, the same command continues it: a disk that was rolled back is at the point, and a second rollback
//! changes nothing; the lock in the guest's file shows that it is zhaul's.

use std::fmt::Write as _;

use anyhow::anyhow;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::check::named;
use super::config::Configuration;
use crate::host::{Refusal, Restoring};
use crate::model::{DatasetKind, PointKind};
use crate::plan::restore::{DiskRollback, RollbackPlan};

/// Makes way on all disks, then rolls each back. Stops at the first deviation from the plan; the same command continues
/// it. Returns the warnings.
pub(super) fn carry_out(
    plan: &RollbackPlan,
    context: &CommandContext,
    config: Option<&Configuration>,
) -> Result<String, Failure> {
    let here = Restoring::new(&context.cancel);
    if let Some(config) = config {
        config.begin()?;
    }
    for disk in &plan.disks {
        if let Err(error) = here.check(&disk.dataset, disk.dataset_guid, &disk.to, disk.guid) {
            // Nothing was done yet.
            if let Some(config) = config {
                config.give_up()?;
            }
            return Err(error).or_exit(Code::Failed);
        }
    }
    let changed = roll_back(plan, context, &here);
    let warnings = changed.map_err(|failure| half_done(&failure, config))?;
    if let Some(config) = config {
        config.finish()?;
    }
    Ok(warnings)
}

fn roll_back(plan: &RollbackPlan, context: &CommandContext, here: &Restoring) -> Result<String, Failure> {
    for disk in &plan.disks {
        here.check(&disk.dataset, disk.dataset_guid, &disk.to, disk.guid).or_exit(Code::Failed)?;
        let refusals = context.source.destroy_snapshots(&disk.dataset, &named(disk, PointKind::Snapshot));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
        let refusals = context.source.destroy_bookmarks(&disk.dataset, &named(disk, PointKind::Bookmark));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
    }
    let mut warnings = String::new();
    for disk in &plan.disks {
        here.roll_back(&disk.dataset, disk.dataset_guid, &disk.to, disk.guid).or_exit(Code::Failed)?;
        if disk.kind == DatasetKind::Filesystem
            && let Some(problem) = here.remount(&disk.dataset)
        {
            let dataset = escape(disk.dataset.as_str());
            let problem = escape(&problem.to_string());
            let _ = writeln!(
                warnings,
                "warning: {dataset} is rolled back, but could not be mounted again: {problem}\n  \
                 next: zfs unmount {dataset}; zfs mount {dataset}"
            );
        }
    }
    Ok(warnings)
}

/// Says in what state the guest is.
fn half_done(failure: &Failure, config: Option<&Configuration>) -> Failure {
    let lock = config.map_or("", |_| "; the guest stays locked (lock: rollback) until it has ended");
    let error = anyhow!(
        "{:#}\n  some disks may be rolled back already; run the same command again to finish{lock}",
        failure.error
    );
    Failure { code: failure.code, error }
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
