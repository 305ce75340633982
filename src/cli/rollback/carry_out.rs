//! Carries a rollback out: locks the guest, makes way on all disks, rolls each back, writes the configuration, unlocks.
//!
//! Whatever ends it, the same command continues it: a disk that was rolled back is at the point, and a second rollback
//! changes nothing; the lock in the guest's file shows that it is zhaul's.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::check::named;
use super::config::Configuration;
use crate::host::{ConfirmedGoal, Refusal, Restoring, RollbackGoal};
use crate::model::{DatasetKind, PointKind};
use crate::plan::restore::{DiskRollback, RollbackPlan};

/// How old the answer that all disks are what the plan says may be when one is rolled back.
const CONFIRMED_AGE_MAX: Duration = Duration::from_millis(200);

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
    let goals: Vec<_> = plan.disks.iter().map(goal).collect();
    let confirmed = match here.confirm(&goals) {
        Ok(confirmed) => confirmed,
        Err(error) => {
            // Nothing was done yet.
            if let Some(config) = config {
                config.give_up()?;
            }
            return Err(error).or_exit(Code::Failed);
        }
    };
    let confirmed = (confirmed, Instant::now());
    let changed = make_way(plan, context, &here).and_then(|()| roll_back(plan, &here, confirmed));
    let warnings = changed.map_err(|failure| half_done(&failure, config))?;
    if let Some(config) = config {
        config.finish()?;
    }
    Ok(warnings)
}

fn goal(disk: &DiskRollback) -> RollbackGoal<'_> {
    let DiskRollback { dataset, dataset_guid, to, guid, .. } = disk;
    RollbackGoal { dataset, dataset_guid: *dataset_guid, to, guid: *guid }
}

/// Destroys what is newer than the point.
fn make_way(plan: &RollbackPlan, context: &CommandContext, here: &Restoring) -> Result<(), Failure> {
    for disk in plan.disks.iter().filter(|disk| !disk.newer.is_empty()) {
        here.confirm(&[goal(disk)]).or_exit(Code::Failed)?;
        let refusals = context.source.destroy_snapshots(&disk.dataset, &named(disk, PointKind::Snapshot));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
        let refusals = context.source.destroy_bookmarks(&disk.dataset, &named(disk, PointKind::Bookmark));
        check_refusals(disk, refusals.or_exit(Code::Failed)?)?;
    }
    Ok(())
}

fn roll_back(
    plan: &RollbackPlan,
    here: &Restoring,
    (mut confirmed, mut since): (Vec<ConfirmedGoal>, Instant),
) -> Result<String, Failure> {
    let mut warnings = String::new();
    let goals: Vec<_> = plan.disks.iter().map(goal).collect();
    for (at, disk) in plan.disks.iter().enumerate() {
        if since.elapsed() > CONFIRMED_AGE_MAX {
            confirmed.splice(at.., here.confirm(&goals[at..]).or_exit(Code::Failed)?);
            since = Instant::now();
        }
        here.roll_back(&confirmed[at]).or_exit(Code::Failed)?;
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
