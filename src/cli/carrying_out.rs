//! The end of every command that changes something by a plan: checks the plan, then shows it, or carries it out and
//! reports the outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::LogArgs;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use super::progress::Progress;
use super::render::{
    Estimates, breaches_text, changes_text, failures_text, plan_json, plan_text, report_json, report_text,
};
use crate::execute::{self, Freezing, Report, Settings};
use crate::model::{DatasetName, Inventory};
use crate::plan::check::check;
use crate::plan::{Plan, Severity};
use crate::policy::Policy;
use crate::stream::pump::PumpSettings;
use crate::stream::rate::{RateLimit, SystemClock};

/// The properties that the snapshots of each guest's volumes get.
pub(super) type Configs = BTreeMap<DatasetName, BTreeMap<String, String>>;

/// How a plan is to be carried out.
pub(super) struct Wish {
    /// Only show it.
    pub(super) is_dry: bool,
    /// As one JSON object.
    pub(super) json: bool,
    /// The log options.
    pub(super) log: LogArgs,
    /// Sizes of its transfers, as far as they are known.
    pub(super) estimates: Estimates,
    /// For the snapshots that it takes.
    pub(super) configs: Configs,
    /// How guests are frozen meanwhile.
    pub(super) freezing: Option<Freezing>,
}

/// Shows `plan`, which was made from `inventory`, or carries it out.
pub(super) fn carry_out(
    context: &CommandContext,
    inventory: &Inventory,
    plan: Plan,
    wish: Wish,
) -> Result<Code, Failure> {
    refuse_unsound(&context.policy, inventory, &plan)?;
    let Wish { is_dry, json, log, estimates, configs, freezing } = wish;
    if is_dry {
        return show_plan(json, &plan, &estimates);
    }
    let started = Instant::now();
    let progress = Progress::new(context.screen.clone(), &plan, &estimates);
    let settings = settings(&context.policy, context.is_watched, configs, freezing);
    let report = execute::run(plan, context.hosts(), &settings, &progress, &context.cancel);
    progress.finish();
    show_report(json, log, &report, started.elapsed())
}

/// Refuses a plan that would break a promise: all of it, since other faults of such a plan are unknown.
fn refuse_unsound(policy: &Policy, inventory: &Inventory, plan: &Plan) -> Result<(), Failure> {
    let breaches = check(policy, inventory, plan);
    if breaches.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(breaches_text(plan, &breaches))).or_exit(Code::Failed)
}

/// How the plan is carried out. Sizes cost a walk over the source's blocks, so only a person who watches gets them.
pub(super) fn settings(
    policy: &Policy,
    is_watched: bool,
    configs: Configs,
    freezing: Option<Freezing>,
) -> Settings {
    let transfer = &policy.transfer;
    // One limit for all transfers of a run.
    let rate = (!transfer.rate.is_unlimited()).then(|| {
        let clock = SystemClock::new(policy.time_zone.clone());
        Arc::new(RateLimit::new(transfer.rate.clone(), clock))
    });
    Settings {
        jobs: transfer.jobs,
        pump: PumpSettings {
            buffer_bytes: transfer.buffer.0,
            rate,
            stall_limit: Duration::try_from(transfer.stall_limit).ok(),
        },
        expects_sizes: is_watched,
        configs,
        freezing,
    }
}

fn show_plan(json: bool, plan: &Plan, estimates: &Estimates) -> Result<Code, Failure> {
    let text = if json {
        format!(
            "{}\n",
            plan_json(plan, estimates).context("cannot write the plan as JSON").or_exit(Code::Failed)?
        )
    } else {
        plan_text(plan, estimates, output::stdout_style())
    };
    output::print(&text).context("cannot print the plan").or_exit(Code::Failed)?;
    Ok(Code::of_findings(&plan.findings))
}

fn show_report(json: bool, log: LogArgs, report: &Report, took: Duration) -> Result<Code, Failure> {
    let is_watched = output::stdout_is_terminal() && !log.quiet;
    let style = output::stderr_style();
    if !log.quiet {
        output::complain(&changes_text(report, log.level() > 0, style));
    }
    output::complain(&failures_text(report, reported_from(is_watched, log.quiet), style));
    let text = if json {
        format!(
            "{}\n",
            report_json(report, took).context("cannot write the report as JSON").or_exit(Code::Failed)?
        )
    } else if is_watched {
        report_text(report, took)
    } else {
        String::new()
    };
    let printed = output::print(&text).context("cannot print the report");
    // The outcome of the run counts, not whether its report could be printed.
    let code = Code::of_report(report);
    if matches!(code, Code::Done) {
        return printed.or_exit(Code::Failed).map(|()| Code::Done);
    }
    Ok(code)
}

/// Under cron a note would be a mail every night.
fn reported_from(is_watched: bool, is_quiet: bool) -> Severity {
    match (is_watched, is_quiet) {
        (true, _) => Severity::Note,
        (false, false) => Severity::Warning,
        (false, true) => Severity::Blocked,
    }
}
