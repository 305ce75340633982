//! The context of every command that reads ZFS: the policy, the moment, the hosts, the log and the signals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use indicatif::MultiProgress;
use jiff::Timestamp;

use super::args::{LogArgs, PolicyArgs};
use super::exit_code::{Code, Failure, OrExit};
use super::when::TimeArgument;
use super::{logging, output, policy_source, progress, signals};
use crate::discover::{self, Targets};
use crate::execute::Hosts;
use crate::host::SourceHost;
use crate::model::{Answer, Inventory, Listing, RunMark};
use crate::plan::{MissingDetails, Plan, Planned};
use crate::policy::Policy;
use crate::stream::Cancel;

/// Everything that a command works with.
pub(super) struct CommandContext {
    /// The policy of the command.
    pub(super) policy: Policy,
    /// The file that it was read from, if one.
    pub(super) policy_file: Option<PathBuf>,
    /// The moment that counts as now.
    pub(super) now: Timestamp,
    /// Requested by the first INT, TERM or HUP.
    pub(super) cancel: Cancel,
    /// Whether a person sees the progress.
    pub(super) is_watched: bool,
    /// Where progress is drawn, if anywhere.
    pub(super) screen: MultiProgress,
    /// This machine.
    pub(super) source: Box<dyn SourceHost>,
    /// Every backup and archive.
    pub(super) targets: Targets,
}

impl CommandContext {
    /// Starts the log, reads the policy, and makes the hosts ready; nothing is asked of any yet.
    pub(super) fn open(
        policy: &PolicyArgs,
        log: LogArgs,
        clock: Option<TimeArgument>,
    ) -> Result<Self, Failure> {
        let screen = start_log(log);
        let policy_file = policy_source::file(policy);
        let policy = policy_source::load(policy)?;
        Self::of(policy, policy_file, log, screen, clock)
    }

    /// The same for a policy that no file or flags of a policy describe.
    pub(super) fn with_policy(
        policy: Policy,
        log: LogArgs,
        clock: Option<TimeArgument>,
    ) -> Result<Self, Failure> {
        Self::of(policy, None, log, start_log(log), clock)
    }

    fn of(
        policy: Policy,
        policy_file: Option<PathBuf>,
        log: LogArgs,
        screen: MultiProgress,
        clock: Option<TimeArgument>,
    ) -> Result<Self, Failure> {
        let is_watched = is_watched(log);
        let now = match clock {
            Some(when) => when.in_zone(&policy.time_zone).or_exit(Code::Usage)?,
            None => Timestamp::now(),
        };
        let cancel = Cancel::new().or_exit(Code::Failed)?;
        let asked = cancel.clone();
        signals::watch("stopping; what is half done will be resumed by the next run", move || {
            asked.request();
        })
        .or_exit(Code::Failed)?;
        let (source, targets) = discover::hosts(&policy, &cancel).or_exit(Code::Failed)?;
        let source = Box::new(source);
        Ok(Self { policy, policy_file, now, cancel, is_watched, screen, source, targets })
    }

    /// Asks every host what it has.
    pub(super) fn inventory(&self) -> Result<Inventory, Failure> {
        self.inventory_for(None)
    }

    /// The same for the run with this mark: what earlier runs of the policy left on the targets is ended before.
    pub(super) fn inventory_of_run(&self, mark: RunMark) -> Result<Inventory, Failure> {
        self.inventory_for(Some(mark))
    }

    fn inventory_for(&self, run: Option<RunMark>) -> Result<Inventory, Failure> {
        tracing::info!("asking this machine and {} targets what they have", self.targets.len());
        let inventory = discover::inventory(&self.policy, &*self.source, &self.targets, run);
        self.check_interrupted()?;
        Ok(inventory)
    }

    /// Plans, asking the hosts for whatever the plan turns out to depend on.
    pub(super) fn complete(
        &self,
        inventory: &mut Inventory,
        plan: impl FnMut(&Inventory) -> Result<Planned, Failure>,
    ) -> Result<Plan, Failure> {
        let plan = discover::complete(inventory, &*self.source, &self.targets, plan)?;
        self.check_interrupted()?;
        Ok(plan)
    }

    /// Asks the hosts for the details of these snapshots.
    pub(super) fn load_details(&self, inventory: &mut Inventory, wants: &MissingDetails) {
        discover::load_details(inventory, &*self.source, &self.targets, wants);
    }

    fn check_interrupted(&self) -> Result<(), Failure> {
        if self.cancel.is_requested() {
            return Err(anyhow::anyhow!("interrupted; nothing was changed")).or_exit(Code::Interrupted);
        }
        Ok(())
    }

    /// Asks only this machine what it has.
    pub(super) fn source_inventory(&self) -> Result<(Inventory, Listing), Failure> {
        source_inventory(&self.policy, &*self.source)
    }

    /// For the executor.
    pub(super) fn hosts(&self) -> Hosts<'_> {
        Hosts { source: &*self.source, targets: &self.targets }
    }
}

/// Whether a person sees the progress.
fn is_watched(log: LogArgs) -> bool {
    output::stderr_is_terminal() && !log.quiet
}

fn start_log(log: LogArgs) -> MultiProgress {
    let screen = progress::screen(is_watched(log));
    logging::start(log.level(), log.quiet, screen.clone());
    screen
}

/// Asks only this machine what it has.
pub(super) fn source_inventory(
    policy: &Policy,
    source: &dyn SourceHost,
) -> Result<(Inventory, Listing), Failure> {
    let roots: Vec<_> = policy.roots.iter().map(|root| root.dataset.clone()).collect();
    let listing = source.list(&roots).or_exit(Code::Failed)?;
    let inventory = Inventory {
        source: Answer::Listed(listing.clone()),
        targets: BTreeMap::new(),
        proxmox: discover::proxmox_of(policy),
        host: discover::own_name(),
        append_only: BTreeSet::new(),
    };
    Ok((inventory, listing))
}
