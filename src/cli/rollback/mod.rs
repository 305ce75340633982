//! `zhaul rollback`: shows what is in the way of any disk, asks, and rolls all disks of a guest back, with its configuration.

mod carry_out;
mod check;
mod config;
mod keep;
mod text;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::args::{AtArg, RollbackArgs};
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::guest_state::check_unused;
use super::render::count;
use super::restore::{Asked, place_word, point_failure};
use super::{lock, output};
use crate::model::Inventory;
use crate::plan::restore::{At, everything, plan_rollback, volumes};
use config::Configuration;

/// Carries out `zhaul rollback`.
pub(super) fn rollback(args: &RollbackArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&args.policy, args.log, args.lab_clock)?;
    // No run takes, sends or prunes what is rolled back meanwhile.
    let _lock = if args.dry_run {
        None
    } else {
        Some(lock::take(&context.policy, context.policy_file.as_deref(), Duration::ZERO, &context.cancel)?)
    };
    let to = match &args.to {
        None => None,
        Some(AtArg::Point(name)) => Some(At::Point(name.clone())),
        Some(AtArg::Time(when)) => {
            Some(At::Time(when.in_zone(&context.policy.time_zone).or_exit(Code::Usage)?))
        }
    };
    let inventory = inventory(args, &context, to.as_ref())?;
    check::check_known(args, &inventory)?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    let begun = keep::find_begun(&args.what, &inventory);
    keep::refuse_other(&begun, args)?;
    if !begun.is_empty() {
        return keep::go_on(args, &context, &inventory, &begun);
    }
    if let Some(code) = keep::end(args, &context, &inventory)? {
        return Ok(code);
    }
    let planned = plan_rollback(&context.policy, &inventory.proxmox, &known, &args.what, to.as_ref());
    let plan = planned.map_err(|error| point_failure(&error, asked(args)))?;
    if args.keep {
        return keep::keep(args, &context, &inventory, &plan);
    }
    let points = plan.disks.iter().map(|disk| disk.dataset.snapshot(&disk.to));
    let points: Vec<_> = points.collect::<Result<_, _>>().or_exit(Code::Failed)?;
    let configuration = Configuration::find(args, &context, &inventory, &points)?;
    let shown = text::plan_text(&plan, configuration.as_ref(), output::stdout_style());
    output::print(&shown).context("cannot print the plan").or_exit(Code::Failed)?;
    check::check(&plan, args, &inventory, configuration.as_ref())?;
    check::check_holds(&plan, &context)?;
    check_unused(plan.disks.iter().map(|disk| (&disk.dataset, disk.kind)))?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    confirm(args)?;
    let warnings = carry_out::carry_out(&plan, &context, configuration.as_ref())?;
    output::complain(&warnings);
    let mut done = format!("rolled {} back to @{}\n", count(plan.disks.len(), "dataset"), plan.point);
    done.push_str(&configuration.as_ref().map(Configuration::text_after).unwrap_or_default());
    output::print(&done).context("cannot print the report").or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// What this host has; and what the targets have, where that matters: who else has a point that goes, or which point is meant.
fn inventory(args: &RollbackArgs, context: &CommandContext, to: Option<&At>) -> Result<Inventory, Failure> {
    if !matches!(to, Some(At::Point(_))) {
        return context.inventory();
    }
    let (here, _) = context.source_inventory()?;
    let known = volumes(&context.policy, &here, &everything(context.now));
    let planned = plan_rollback(&context.policy, &here.proxmox, &known, &args.what, to);
    let is_enough = planned.is_ok_and(|plan| plan.disks.iter().all(|disk| disk.newer.is_empty()));
    if is_enough { Ok(here) } else { context.inventory() }
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
        return refuse(
            "a rollback discards what was written since, and there is no terminal on which to confirm it",
        );
    }
    output::complain("roll back? [y/N] ");
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).is_err() || !matches!(answer.trim(), "y" | "yes") {
        return refuse("not confirmed");
    }
    Ok(())
}

fn asked(args: &RollbackArgs) -> Asked<'_> {
    Asked { at: args.to.as_ref(), ..Asked::new(&args.what) }
}
