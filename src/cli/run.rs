//! `zhaul run`: inventory, plan, and, unless it is a dry run, execution and report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::RunArgs;
use super::exit_code::{Code, Failure, OrExit};
use super::lock;
use super::output;
use super::progress::Progress;
use super::render::{
    Estimates, breaches_text, changes_text, failures_text, plan_json, plan_text, report_json, report_text,
};
use super::session::Session;
use crate::discover;
use crate::execute::{self, Report, Settings};
use crate::model::{DatasetName, Inventory};
use crate::plan::check::check;
use crate::plan::{Plan, PlanError, Request, Severity, estimate, plan, wanted_sizes};
use crate::policy::Policy;
use crate::stream::pump::PumpSettings;
use crate::stream::rate::{RateLimit, SystemClock};

/// Carries out `zhaul run`.
pub(super) fn run(args: &RunArgs) -> Result<Code, Failure> {
    if args.at.is_some() && !args.dry_run {
        let error = anyhow::anyhow!("--at plans as of another time and needs --dry-run: a run happens now");
        return Err(error).or_exit(Code::Usage);
    }
    let session = Session::open(&args.policy, args.log, args.at.or(args.lab_clock))?;
    carry_out(args, &session)
}

fn carry_out(args: &RunArgs, session: &Session) -> Result<Code, Failure> {
    // Until the end of the run. A dry run changes nothing, so it may look while another run is active.
    let _lock = if args.dry_run { None } else { Some(take_lock(args, session)?) };
    let mut inventory = session.inventory()?;
    let request = request(args, session);
    let plan =
        session.complete(&mut inventory, |known| plan(&session.policy, known, &request).map_err(explain))?;
    refuse_unsound(&session.policy, &inventory, &plan)?;
    let estimates = estimates(args, session, &plan, &mut inventory);
    if args.dry_run {
        return show_plan(args, &plan, &estimates);
    }
    let started = Instant::now();
    let progress = Progress::new(session.screen.clone(), &plan, &estimates);
    let settings = settings(&session.policy, session.is_watched, configs(session, &inventory));
    let report = execute::run(plan, session.hosts(), &settings, &progress, &session.cancel);
    progress.finish();
    show_report(args, &report, started.elapsed())
}

/// Refuses a plan that would break a promise: whole, since nobody knows what else is wrong with it.
fn refuse_unsound(policy: &Policy, inventory: &Inventory, plan: &Plan) -> Result<(), Failure> {
    let breaches = check(policy, inventory, plan);
    if breaches.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(breaches_text(plan, &breaches))).or_exit(Code::Failed)
}

/// Sizes of transfers, where somebody looks at them: they take a closer look at the source's snapshots.
fn estimates(args: &RunArgs, session: &Session, plan: &Plan, inventory: &mut Inventory) -> Estimates {
    if !args.dry_run && !session.is_watched {
        return Estimates::new();
    }
    session.learn(inventory, &wanted_sizes(plan, inventory));
    estimate(plan, inventory)
}

/// The properties that the snapshots of each guest's volumes get.
type Configs = BTreeMap<DatasetName, BTreeMap<String, String>>;

/// Read as late as possible: it is to be the configuration of the snapshot's moment.
fn configs(session: &Session, inventory: &Inventory) -> Configs {
    let Some(directory) = &session.policy.guest_config else { return Configs::new() };
    let mut configs = Configs::new();
    for config in discover::guest_configs(directory, &inventory.proxmox) {
        let Some(properties) = config.properties() else {
            tracing::warn!(
                "the configuration of guest {} is too long to be stored with its snapshots",
                config.id
            );
            continue;
        };
        let Some(guest) = inventory.proxmox.guest(config.id) else { continue };
        let disks = guest.disks.iter().filter(|disk| disk.is_current);
        for disk in disks.filter_map(|disk| inventory.proxmox.dataset_of(&disk.storage, &disk.volume)) {
            configs.insert(disk, properties.clone());
        }
    }
    configs
}

/// How the plan is carried out. Sizes cost a walk over the source's blocks, so only a person who watches gets them.
fn settings(policy: &Policy, is_watched: bool, configs: Configs) -> Settings {
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
    }
}

fn request(args: &RunArgs, session: &Session) -> Request {
    Request {
        now: session.now,
        take_snapshot: !args.no_snapshot,
        force_archive: args.archive,
        guests: args.guests.clone(),
    }
}

fn take_lock(args: &RunArgs, session: &Session) -> Result<lock::Lock, Failure> {
    let patience =
        args.wait.map_or(Duration::ZERO, |limit| Duration::try_from(limit).unwrap_or(Duration::MAX));
    Ok(lock::take(&session.policy, session.policy_file.as_deref(), patience, &session.cancel)?)
}

/// Which code a policy that cannot be planned leads to.
fn explain(error: PlanError) -> Failure {
    let code = match error {
        PlanError::NoSuchGuest { .. }
        | PlanError::GuestOnOtherNode { .. }
        | PlanError::GuestNotSelected { .. }
        | PlanError::NoSuchDataset { .. }
        | PlanError::DatasetLeftOut { .. }
        | PlanError::Name(_) => Code::Usage,
        PlanError::Source(_) => Code::Failed,
    };
    Failure { code, error: error.into() }
}

fn show_plan(args: &RunArgs, plan: &Plan, estimates: &Estimates) -> Result<Code, Failure> {
    let text = if args.json {
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

fn show_report(args: &RunArgs, report: &Report, took: Duration) -> Result<Code, Failure> {
    let is_watched = output::stdout_is_terminal() && !args.log.quiet;
    let style = output::stderr_style();
    if !args.log.quiet {
        output::complain(&changes_text(report, args.log.level() > 0, style));
    }
    output::complain(&failures_text(report, told_from(is_watched, args.log.quiet), style));
    let text = if args.json {
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
    // What the run did counts, not whether anybody could read of it.
    let code = Code::of_report(report);
    if matches!(code, Code::Done) {
        return printed.or_exit(Code::Failed).map(|()| Code::Done);
    }
    Ok(code)
}

/// Under cron a note would be a mail every night.
fn told_from(is_watched: bool, is_quiet: bool) -> Severity {
    match (is_watched, is_quiet) {
        (true, _) => Severity::Note,
        (false, false) => Severity::Warning,
        (false, true) => Severity::Blocked,
    }
}
