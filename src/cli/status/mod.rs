//! `zhaul status`: how old the newest snapshot, backup and archive of each dataset are.
//!
//! Reads everything from ZFS, as a run does, and changes nothing, so it needs no lock.

mod metrics;
mod nagios;
mod table;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::args::StatusArgs;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use super::render::{left_out_text, serialize_findings};
use crate::model::Inventory;
use crate::plan::status::{Complaint, DatasetStatus, Level, Thresholds, assess, judge};
use crate::plan::{Finding, LeftOut, Orphan, Plan, Request, Severity, plan};

/// The status at one moment: the input of every output format, and the very object that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// The moment.
    at: Timestamp,
    /// The worst level.
    level: Level,
    /// Each selected dataset.
    datasets: Vec<DatasetStatus>,
    /// Deviations from the policy.
    pub(super) complaints: Vec<Complaint>,
    /// Findings of the next run that are more than notes.
    #[serde(serialize_with = "serialize_findings")]
    pub(super) findings: Vec<Finding>,
    /// Each dataset below a root that is not backed up, and what leaves it out.
    left_out: Vec<LeftOutStatus>,
    /// Copies that nothing is sent to.
    orphans: Vec<Orphan>,
    /// Why no run can be planned, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan_error: Option<String>,
    /// Why the source could not be asked, if so; then there are no datasets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_error: Option<String>,
}

/// A dataset that is left out, with the words for it.
#[derive(Debug, Clone, Serialize)]
struct LeftOutStatus {
    #[serde(flatten)]
    left_out: LeftOut,
    text: String,
}

/// Carries out `zhaul status`.
pub(super) fn status(args: &StatusArgs) -> Result<Code, Failure> {
    let shown = show(args);
    match shown {
        // To a monitor every other code would say less than it is: nothing is known.
        Err(failure) if args.check => {
            output::print(&nagios::failure_line(&failure.error)).or_exit(Code::Failed)?;
            Ok(nagios::code(Level::Critical))
        }
        shown => shown,
    }
}

fn show(args: &StatusArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&args.policy, args.log, args.lab_clock)?;
    let thresholds = Thresholds {
        warn_after: args.warn_after,
        critical_after: args.critical_after,
        archive_grace_days: args.archive_grace,
    };
    let (status, _) = gather(&context, thresholds)?;
    if let Some(path) = &args.metrics {
        write_atomically(path, &metrics::text(&status)).or_exit(Code::Failed)?;
    }
    let text = if args.check {
        nagios::line(&status)
    } else if args.json {
        let json = serde_json::to_string(&status).context("cannot write the status as JSON");
        format!("{}\n", json.or_exit(Code::Failed)?)
    } else if args.metrics.is_some() {
        String::new()
    } else {
        table::text(&status, &context.policy.targets, output::stdout_style())
    };
    output::print(&text).or_exit(Code::Failed)?;
    Ok(if args.check { nagios::code(status.level) } else { code(&status) })
}

/// How everything stands, and what it was read from.
pub(super) fn gather(
    context: &CommandContext,
    thresholds: Thresholds,
) -> Result<(Status, Inventory), Failure> {
    let mut inventory = context.inventory()?;
    let found = next_plan(context, &mut inventory)?;
    let assessed = assess(&context.policy, &inventory, context.now);
    let status = status_of(assessed, found, context.now, &context.policy.time_zone, thresholds);
    Ok((status, inventory))
}

/// The plan of a run that began now; `Ok(Err)` says why none can be made.
fn next_plan(context: &CommandContext, inventory: &mut Inventory) -> Result<Result<Plan, String>, Failure> {
    let request = Request { now: context.now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let mut error = None;
    let planned = context.complete(inventory, |known| {
        plan(&context.policy, known, &request).map_err(|why| {
            error = Some(why.to_string());
            Failure { code: Code::Failed, error: why.into() }
        })
    });
    match (planned, error) {
        (Ok(plan), _) => Ok(Ok(plan)),
        (Err(_), Some(why)) => Ok(Err(why)),
        (Err(failure), None) => Err(failure),
    }
}

/// A target or dataset that could not be listed has failed, as in a run.
fn code(status: &Status) -> Code {
    let has_unknown =
        status.datasets.iter().flat_map(|dataset| &dataset.copies).any(|copy| copy.state.is_unknown());
    let has_failed = status.findings.iter().any(|finding| finding.severity == Severity::Failed);
    let is_known = status.source_error.is_none() && status.plan_error.is_none();
    if is_known && !has_unknown && !has_failed { Code::Done } else { Code::Failed }
}

/// How bad a finding is to a monitor.
fn level_of(finding: &Finding) -> Level {
    match finding.severity {
        Severity::Failed | Severity::Blocked => Level::Critical,
        Severity::Warning => Level::Warning,
        Severity::Note => Level::Ok,
    }
}

fn status_of(
    assessed: Result<Vec<DatasetStatus>, String>,
    found: Result<Plan, String>,
    at: Timestamp,
    zone: &TimeZone,
    thresholds: Thresholds,
) -> Status {
    let (datasets, source_error) = match assessed {
        Ok(datasets) => (datasets, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let (mut findings, left_out, orphans, plan_error) = match found {
        Ok(plan) => (plan.findings, plan.left_out, plan.orphans, None),
        Err(why) => (Vec::new(), Vec::new(), Vec::new(), Some(why)),
    };
    let words = |left_out: LeftOut| LeftOutStatus { text: left_out_text(&left_out.reason), left_out };
    let left_out = left_out.into_iter().map(words).collect();
    findings.retain(|finding| level_of(finding) > Level::Ok);
    let complaints = judge(&datasets, at, zone, thresholds);
    let errors = source_error.iter().chain(&plan_error).map(|_| Level::Critical);
    let levels = complaints.iter().map(|one| one.level).chain(findings.iter().map(level_of)).chain(errors);
    let level = levels.max().unwrap_or(Level::Ok);
    Status { at, level, datasets, complaints, findings, left_out, orphans, plan_error, source_error }
}

/// Replaces the file in one go: a collector never reads half of it.
fn write_atomically(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = Path::new(&beside);
    let written = std::fs::write(beside, text).and_then(|()| std::fs::rename(beside, path));
    if written.is_err() {
        // Nothing of ours is to lie about; it may not even be there.
        drop(std::fs::remove_file(beside));
    }
    written.with_context(|| format!("cannot write metrics to {}", path.display()))
}
