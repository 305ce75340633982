//! `zhaul prune`: the keep rules of a backup, applied on the backup's own host.

use super::args::PruneArgs;
use super::carrying_out::{self, Configs, Wish};
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::render::{Estimates, unlisted_what};
use crate::model::{Answer, Inventory, NameFormat, Unlisted};
use crate::plan::prune as plan;
use crate::policy::{BackupRules, KeepRules, Policy};

/// Carries out `zhaul prune`.
pub(super) fn prune(args: &PruneArgs) -> Result<Code, Failure> {
    let keep = KeepRules {
        last: args.keep_last,
        hourly: args.keep_hourly,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        yearly: args.keep_yearly,
    };
    if keep.is_empty() && args.keep_superseded.is_none() {
        let error = anyhow::anyhow!("no rule is given: say what stays, for example --keep-last 30");
        return Err(error).or_exit(Code::Usage);
    }
    let format = match &args.name {
        Some(format) => format.clone(),
        None => NameFormat::new(NameFormat::DEFAULT).or_exit(Code::Failed)?,
    };
    let rules = BackupRules { keep, keep_superseded: args.keep_superseded, ..BackupRules::default() };
    let context = CommandContext::with_policy(
        Policy::of_backup_here(args.root.clone(), rules, format),
        args.log,
        args.lab_clock,
    )?;
    let mut inventory = context.inventory()?;
    check_root(args, &inventory)?;
    let plan = context.complete(&mut inventory, |known| Ok(plan(&context.policy, known, context.now)))?;
    let (estimates, configs) = (Estimates::new(), Configs::new());
    let wish =
        Wish { is_dry: args.dry_run, json: args.json, log: args.log, estimates, configs, freezing: None };
    carrying_out::carry_out(&context, &inventory, plan, wish)
}

fn check_root(args: &PruneArgs, inventory: &Inventory) -> Result<(), Failure> {
    let root = &args.root;
    let why = match inventory.targets.values().next() {
        Some(Answer::Listed(listing)) => match (listing.get(root), listing.why_unlisted(root)) {
            (Some(_), _) => return Ok(()),
            (None, Some(why)) => unlisted_what(root.as_str(), why),
            (None, None) => unlisted_what(root.as_str(), &Unlisted::Missing),
        },
        Some(Answer::CouldNotAsk(why)) => why.clone(),
        None => "it was not asked for; this is a bug".to_owned(),
    };
    Err(anyhow::anyhow!("cannot prune {root}: {why}; nothing was done")).or_exit(Code::Failed)
}
