//! `zhaul doctor`: everything that stands in the way of backups and restores, each with the command that mends it.
//!
//! Findings of a dry run and of `status` are reused; `here` checks this host, `machines` the clocks, versions and pools
//! of all machines.

mod here;
mod interrupted;
mod machines;

use anyhow::Context;
use jiff::SignedDuration;

use super::args::DoctorArgs;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use super::render::{finding_next, finding_what};
use super::status::{self, Status};
use super::trouble::{self, Trouble};
use crate::discover;
use crate::plan::Severity;
use crate::plan::status::{Level, Thresholds};

/// The thresholds of `zhaul status` where nothing else is said.
const THRESHOLDS: Thresholds = Thresholds {
    warn_after: SignedDuration::from_hours(26),
    critical_after: SignedDuration::from_hours(50),
    archive_grace_days: 3,
};

/// Carries out `zhaul doctor`.
pub(super) fn doctor(args: &DoctorArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&args.policy, args.log, args.lab_clock)?;
    let (status, inventory) = status::gather(&context, THRESHOLDS)?;
    let mut troubles = of_status(&status);
    troubles.extend(here::check(&context.policy, &inventory));
    troubles.extend(machines::check(&discover::pool_states(
        &context.policy,
        &context.targets,
        &context.cancel,
    )));
    trouble::sort(&mut troubles);
    let text = if args.json {
        let value = serde_json::json!({ "at": context.now, "troubles": troubles });
        format!("{value}\n")
    } else {
        let nothing = "nothing stands in the way of backups and restores";
        trouble::text(&troubles, nothing, output::stdout_style())
    };
    output::print(&text).context("cannot print the troubles").or_exit(Code::Failed)?;
    Ok(trouble::code(&troubles))
}

/// The findings of the next run, and late backups.
fn of_status(status: &Status) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let errors = status.source_error.iter().chain(&status.plan_error);
    troubles.extend(errors.map(|what| Trouble {
        severity: Severity::Failed,
        kind: "cannot-plan",
        about: "this host".to_owned(),
        what: what.clone(),
        next: "`zhaul run --dry-run` says more".to_owned(),
    }));
    troubles.extend(status.findings.iter().map(|finding| Trouble {
        severity: finding.severity,
        kind: "finding",
        about: match &finding.dataset {
            Some(dataset) => format!("{dataset} ({})", finding.place),
            None => finding.place.to_string(),
        },
        what: finding_what(finding),
        next: finding_next(finding).unwrap_or_else(|| "nothing, the next run deals with it".to_owned()),
    }));
    troubles.extend(status.complaints.iter().map(|late| Trouble {
        severity: if late.level == Level::Critical { Severity::Failed } else { Severity::Warning },
        kind: "late",
        about: match &late.target {
            Some(target) => format!("{} ({target})", late.dataset),
            None => late.dataset.to_string(),
        },
        what: late.what.clone(),
        next: format!("`zhaul run --dataset {}`, and see what it reports", late.dataset),
    }));
    troubles
}
