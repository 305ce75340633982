//! `zhaul run`: inventory, plan, and, unless it is a dry run, execution and report.

use std::time::Duration;

use super::args::RunArgs;
use super::carrying_out::{self, Configs, Wish};
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::freezing;
use super::lock;
use super::render::Estimates;
use crate::discover;
use crate::model::Inventory;
use crate::plan::{Plan, PlanError, Request, estimate, plan, wanted_sizes};

/// Carries out `zhaul run`.
pub(super) fn run(args: &RunArgs) -> Result<Code, Failure> {
    if args.at.is_some() && !args.dry_run {
        let error = anyhow::anyhow!("--at plans as of another time and needs --dry-run: a run happens now");
        return Err(error).or_exit(Code::Usage);
    }
    let context = CommandContext::open(&args.policy, args.log, args.at.or(args.lab_clock))?;
    carry_out(args, &context)
}

fn carry_out(args: &RunArgs, context: &CommandContext) -> Result<Code, Failure> {
    // Until the end of the run. A dry run changes nothing, so it may look while another run is active.
    let lock = if args.dry_run { None } else { Some(take_lock(args, context)?) };
    let is_all_thawed = args.dry_run || freezing::thaw_left_frozen(&context.policy);
    let mut inventory = match lock.as_ref().map(lock::Lock::run_mark) {
        Some(Ok(mark)) => context.inventory_of_run(mark)?,
        Some(Err(error)) => {
            tracing::warn!("what earlier runs left on the targets is not looked for: {error}");
            context.inventory()?
        }
        None => context.inventory()?,
    };
    let request = request(args, context);
    let plan =
        context.complete(&mut inventory, |known| plan(&context.policy, known, &request).map_err(explain))?;
    let estimates = estimates(args, context, &plan, &mut inventory);
    let configs = if args.dry_run { Configs::new() } else { configs(context, &inventory) };
    let frozen = if args.dry_run { Vec::new() } else { freezing::guests(&plan) };
    let freezing = freezing::settings(&context.policy, &frozen);
    let wish = Wish { is_dry: args.dry_run, json: args.json, log: args.log, estimates, configs, freezing };
    let code = carrying_out::carry_out(context, &inventory, plan, wish)?;
    let code = freezing::check_thawed(&context.policy, &frozen, code);
    Ok(if is_all_thawed { code } else { freezing::at_least_failed(code) })
}

/// Sizes of transfers, where somebody looks at them: they take a closer look at the source's snapshots.
fn estimates(args: &RunArgs, context: &CommandContext, plan: &Plan, inventory: &mut Inventory) -> Estimates {
    if !args.dry_run && !context.is_watched {
        return Estimates::new();
    }
    context.load_details(inventory, &wanted_sizes(plan, inventory));
    estimate(plan, inventory)
}

/// Read as late as possible: it is to be the configuration of the snapshot's moment.
fn configs(context: &CommandContext, inventory: &Inventory) -> Configs {
    let Some(directory) = &context.policy.guest_config else { return Configs::new() };
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

fn request(args: &RunArgs, context: &CommandContext) -> Request {
    Request {
        now: context.now,
        take_snapshot: !args.no_snapshot,
        force_archive: args.archive,
        guests: args.guests.clone(),
    }
}

fn take_lock(args: &RunArgs, context: &CommandContext) -> Result<lock::Lock, Failure> {
    let deadline =
        args.wait.map_or(Duration::ZERO, |limit| Duration::try_from(limit).unwrap_or(Duration::MAX));
    Ok(lock::take(&context.policy, context.policy_file.as_deref(), deadline, &context.cancel)?)
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
