//! Reads what exists, on all hosts at once, into one [`Inventory`].
//!
//! A target has three answers: what it has, that it has nothing, and that it could not be asked. The last is never an
//! error of the run, since the other targets are still to be served.
//!
//! Listings leave out properties that ZFS reads slowly; [`complete`] asks for them where a plan turns out to need them.

mod details;
mod pools;
mod proxmox;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use crate::channel::Ssh;
use crate::host::agent::Framing;
use crate::host::{HostError, Local, Machine, Problem, Remote, Sending, Shell, SourceHost, TargetHost};
use crate::model::{
    Answer, Change, DatasetName, HEALING_PROPERTY, Inventory, Link, Listing, Orphan, Proxmox, RunMark,
    TargetName,
};
use crate::policy::{Address, Policy, Target};
use crate::stream::Cancel;
use crate::stream::threads::{Begun, beside_or_here};
use crate::zfs::LoadError;

pub use details::{complete, load_details};
pub use pools::{PoolAnswer, pool_states};
#[cfg(test)]
pub(crate) use proxmox::read as read_proxmox;
pub use proxmox::{guest_configs, proxmox, read_guests};

/// Clones of clones of clones are rare.
const ORIGINS_DEPTH: usize = 8;

/// The hosts that a policy names.
pub type Targets = BTreeMap<TargetName, Box<dyn TargetHost>>;

/// The real hosts of `policy`. No connection is made yet; `cancel` ends every wait of theirs.
pub fn hosts(policy: &Policy, cancel: &Cancel) -> Result<(Local, Targets), LoadError> {
    let targets = policy.targets.iter().map(|target| (target.name.clone(), host(policy, target, cancel)));
    let targets = targets.collect();
    let limit = Duration::try_from(policy.transfer.stall_limit).unwrap_or(Duration::MAX);
    Ok((Local::new(limit, cancel)?, targets))
}

fn host(policy: &Policy, target: &Target, cancel: &Cancel) -> Box<dyn TargetHost> {
    match agent(policy, target, &target.link, cancel) {
        Some(agent) => Box::new(agent),
        None => Box::new(local(target, cancel)),
    }
}

/// A target on another machine, over `link`; `None` for one on this machine.
pub fn agent(policy: &Policy, target: &Target, link: &Link, cancel: &Cancel) -> Option<Remote> {
    let Address::Ssh { host, user, port, config } = &target.address else {
        return None;
    };
    let ssh = Ssh { host: host.clone(), user: user.clone(), port: *port, config: config.clone() };
    let framing = Framing {
        link: link.clone(),
        buffer: policy.transfer.buffer,
        stall_limit: Duration::try_from(policy.transfer.stall_limit).ok(),
    };
    Some(Remote::new(&target.name.0, Machine::Ssh(ssh), framing, cancel))
}

/// Each target, as a machine that copies are read from. Nothing is connected before it is needed.
pub fn senders(policy: &Policy, cancel: &Cancel) -> BTreeMap<TargetName, Sending> {
    let sender = |target: &Target| {
        let machine = match &target.address {
            Address::Ssh { host, user, port, config } => Machine::Ssh(Ssh {
                host: host.clone(),
                user: user.clone(),
                port: *port,
                config: config.clone(),
            }),
            Address::Local => Machine::Local,
        };
        (target.name.clone(), Sending::new(&target.name.0, machine, cancel))
    };
    policy.targets.iter().map(sender).collect()
}

/// A target on another pool of this machine.
pub fn local(target: &Target, cancel: &Cancel) -> Shell {
    Shell::new(&target.name.0, Machine::Local, cancel)
}

/// What `policy` lets be known of Proxmox VE's configuration.
pub fn proxmox_of(policy: &Policy) -> Proxmox {
    policy.guest_config.as_deref().map(proxmox).unwrap_or_default()
}

/// The inventory of the source, the targets and Proxmox VE's configuration. Processes of earlier runs on the targets
/// are ended before, where `run` names the policy: a receive that waits for a dead connection keeps its dataset busy.
pub fn inventory(
    policy: &Policy,
    source: &dyn SourceHost,
    targets: &Targets,
    run: Option<RunMark>,
) -> Inventory {
    let proxmox = proxmox_of(policy);
    // A root inside another one is listed with it.
    let mut roots: Vec<DatasetName> = Vec::new();
    for root in policy.roots.iter().map(|root| &root.dataset).collect::<BTreeSet<_>>() {
        if !roots.iter().any(|above| root.is_within(above)) {
            roots.push(root.clone());
        }
    }
    thread::scope(|scope| {
        let asked: Vec<_> = policy
            .targets
            .iter()
            .map(|target| {
                let asked = targets
                    .get(&target.name)
                    .map(|host| beside_or_here(scope, "list", move || ask(host.as_ref(), target, run)));
                (target.name.clone(), asked)
            })
            .collect();
        if let Some(run) = run {
            source.begin_run(run);
        }
        let source = answer(source.list(&roots).map(|listing| with_origins(source, listing)));
        let mut append_only = BTreeSet::new();
        let targets = asked.into_iter().map(|(name, asked)| {
            let answer = match asked.map(Begun::join) {
                Some(Some((listed, is_append_only))) => {
                    append_only.extend(is_append_only.then(|| name.clone()));
                    answer(listed)
                }
                Some(None) => Answer::CouldNotAsk("the thread that asked it died; this is a bug".to_owned()),
                None => Answer::CouldNotAsk("no such host is set up; this is a bug".to_owned()),
            };
            (name, answer)
        });
        let targets = targets.collect();
        Inventory { source, targets, proxmox, host: own_name(), append_only }
    })
}

/// Adds the datasets outside of the roots that listed ones are clones of: what a clone begins at is looked up there.
fn with_origins(source: &dyn SourceHost, mut listing: Listing) -> Listing {
    // Of a clone of a clone, too.
    for _ in 0..ORIGINS_DEPTH {
        let origins = listing.datasets().filter_map(|dataset| Some(dataset.origin.as_ref()?.dataset()));
        let missing: BTreeSet<DatasetName> = origins
            .filter(|of| listing.get(of).is_none() && listing.why_unlisted(of).is_none())
            .cloned()
            .collect();
        if missing.is_empty() {
            break;
        }
        let missing: Vec<DatasetName> = missing.into_iter().collect();
        // Without them a clone is sent in full, and that is said.
        let Ok(found) = source.list(&missing) else { break };
        let found: Vec<_> = missing.iter().filter_map(|name| found.get(name)).cloned().collect();
        if found.is_empty() {
            break;
        }
        for dataset in found {
            listing.insert(dataset);
        }
    }
    listing
}

/// The host name of this machine.
pub fn own_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The listing of a target, and whether the target destroys nothing.
fn ask(host: &dyn TargetHost, target: &Target, run: Option<RunMark>) -> (Result<Listing, HostError>, bool) {
    match run.map(|run| host.begin_run(run)) {
        Some(Err(error)) if matches!(error.problem, Problem::Unreachable(_)) => {
            let HostError { host, problem, .. } = error;
            return (Err(HostError::new(host, "list", &target.root, problem)), false);
        }
        // The target may still be listed.
        Some(Err(error)) => tracing::warn!("{}", error.chain()),
        Some(Ok(ended)) => report_ended(target, &ended),
        None => {}
    }
    let mut listed = host.list(&target.root);
    if run.is_some() && listed.as_ref().is_ok_and(|listing| end_healings(host, target, listing)) {
        listed = host.list(&target.root);
    }
    // A host that could not be listed is asked nothing more.
    let is_append_only = listed.is_ok() && host.is_append_only().unwrap_or(false);
    (listed, is_append_only)
}

/// Ends what an interrupted `zhaul verify --heal` has left: nothing can be received on top of its scratch snapshot. Gives whether
/// there was any.
fn end_healings(host: &dyn TargetHost, target: &Target, listing: &Listing) -> bool {
    let healed = listing.datasets().filter(|dataset| dataset.user.local(HEALING_PROPERTY).is_some());
    let mut any = false;
    for dataset in healed {
        any = true;
        match host.change(&Change::EndHealing { dataset: dataset.name.clone() }) {
            Ok(_) => tracing::info!("{}: ended the interrupted healing of {}", target.name.0, dataset.name),
            Err(error) => tracing::warn!("{}", error.chain()),
        }
    }
    any
}

/// Warns of processes of earlier runs: the network left them behind, not this run. A shell is left out, because it only
/// runs the others.
fn report_ended(target: &Target, ended: &[Orphan]) {
    let reported = ended.iter().filter(|orphan| !orphan.command.starts_with("sh "));
    let reported: Vec<String> = reported.map(|orphan| ended_text(target, orphan)).collect();
    if !reported.is_empty() {
        tracing::warn!(
            "{}: ended what an earlier run of this policy had left waiting for a dead connection: {}",
            target.name.0,
            reported.join(", ")
        );
    }
}

/// A process, and what it received into. Its options are no news.
fn ended_text(target: &Target, Orphan { pid, command }: &Orphan) -> String {
    let into = command.rfind(&format!(" {}", target.root)).and_then(|at| command.get(at..));
    match into {
        Some(into) if command.contains(" receive ") => format!("process {pid} (zfs receive into{into})"),
        _ => format!("process {pid} ({command:.100})"),
    }
}

fn answer(listed: Result<Listing, HostError>) -> Answer {
    match listed {
        Ok(listing) => Answer::Listed(listing),
        Err(error) => Answer::CouldNotAsk(error.chain()),
    }
}
