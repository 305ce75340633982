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
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use super::session::Session;
use crate::plan::status::{Complaint, DatasetStatus, Level, Thresholds, assess, judge};

/// What is known at one moment: the input of every way to show it, and the very object that `--json` prints.
#[derive(Debug, Serialize)]
struct Status {
    /// The moment.
    at: Timestamp,
    /// The worst level.
    level: Level,
    /// Each selected dataset.
    datasets: Vec<DatasetStatus>,
    /// What is not as it should be.
    complaints: Vec<Complaint>,
    /// Why the source could not be asked, if so; then there are no datasets.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_error: Option<String>,
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
    let session = Session::open(&args.policy, args.log, args.lab_clock)?;
    let thresholds = Thresholds {
        warn_after: args.warn_after,
        critical_after: args.critical_after,
        archive_grace_days: args.archive_grace,
    };
    let inventory = session.inventory()?;
    let assessed = assess(&session.policy, &inventory, session.now);
    let status = status_of(assessed, session.now, &session.policy.time_zone, thresholds);
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
        table::text(&status, &session.policy.targets, output::stdout_style())
    };
    output::print(&text).or_exit(Code::Failed)?;
    Ok(if args.check { nagios::code(status.level) } else { code(&status) })
}

/// A target that could not be asked is a failed host, as in a run.
fn code(status: &Status) -> Code {
    let has_unknown =
        status.datasets.iter().flat_map(|dataset| &dataset.copies).any(|copy| copy.state.is_unknown());
    if status.source_error.is_some() || has_unknown { Code::Failed } else { Code::Done }
}

fn status_of(
    assessed: Result<Vec<DatasetStatus>, String>,
    at: Timestamp,
    zone: &TimeZone,
    thresholds: Thresholds,
) -> Status {
    match assessed {
        Ok(datasets) => {
            let complaints = judge(&datasets, at, zone, thresholds);
            let level = complaints.iter().map(|one| one.level).max().unwrap_or(Level::Ok);
            Status { at, level, datasets, complaints, source_error: None }
        }
        Err(why) => Status {
            at,
            level: Level::Critical,
            datasets: Vec::new(),
            complaints: Vec::new(),
            source_error: Some(why),
        },
    }
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
