//! Decides: `(policy, inventory, request) → Planned`. Pure: no I/O, no clock, no logging.
//!
//! Everything dangerous is decided here and visible in the plan. The order of thought, for each selected dataset:
//!
//! 1. `snapshot`: one snapshot in this run, a bookmark of it, and bookmarks that are missing;
//! 2. `backup`, for each backup: resume what broke off, repair a line that parted, send what is newer than the base;
//! 3. `archive`, for each archive: which months are due, and which snapshot each one is;
//! 4. `rotate` and `retain`: what may go at the backup and at the source. What has expired goes first, what this run
//!    pushes out goes last; `needed` knows what no target may miss, `sending` what one that is down may still need.
//!
//! `status` tells how every dataset stands, `estimate` how much each transfer will move.
//! `line` compares two histories, `partial` judges a receive that broke off, `lane` turns what is to be sent into steps,
//! `wants` collects what a listing told too little of, `order` puts the steps in order.

mod archive;
mod backup;
mod builder;
mod containers;
mod estimate;
mod finding;
mod judge;
mod lane;
mod left_out;
mod line;
mod names;
mod naming;
mod needed;
mod order;
mod owner;
mod partial;
mod reason;
mod retain;
mod rotate;
mod select;
mod sending;
mod served;
mod snapshot;
pub mod status;
mod step;
mod superseded;
mod unlisted;
mod wants;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use builder::Builder;
use containers::Containers;
use lane::Lane;
use naming::RunName;
use needed::Lanes;
use snapshot::Taken;

use crate::model::{
    Answer, DatasetName, GuestId, Guid, Inventory, Listing, NameError, NameFormat, PointName, ProxmoxState,
};
use crate::policy::{Policy, Target, TargetKind};

pub use estimate::{estimate, wanted_sizes};
pub use finding::{Finding, FindingKind, KeptBy, Obstacle, Severity};
pub use left_out::{LeftOut, LeftOutReason};
pub use names::{CopyName, Names, names};
pub use reason::{PartialFault, Reason};
pub use select::{Caution, Selected, Selection, select};
pub use step::{Action, Base, Doomed, Fallback, NewBookmark, Orphan, Place, Plan, Step, StepId, Transfer};
pub use wants::{Lookups, Planned, Wants};

/// What this one run is asked for, beyond the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The moment to plan for.
    pub now: Timestamp,
    /// Take a snapshot first; false sends and prunes what exists.
    pub take_snapshot: bool,
    /// Archive now, due or not, as `YYYY-Mon-DD`.
    pub force_archive: bool,
    /// Only these guests; empty means all.
    pub guests: Vec<GuestId>,
}

/// Why there is no plan at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The source itself could not be listed.
    #[error("the source cannot be listed: {0}")]
    Source(String),
    /// `--guest` names a guest that has no configuration.
    #[error(
        "there is no guest {guest}: nothing was done\n  next: see `qm list` and `pct list` for the guests of this node"
    )]
    NoSuchGuest {
        /// The guest.
        guest: GuestId,
    },
    /// `--guest` names a guest of another node.
    #[error(
        "guest {guest} is on node {node}, not on this one: nothing was done\n  next: run zhaul on {node}"
    )]
    GuestOnOtherNode {
        /// The guest.
        guest: GuestId,
        /// The node.
        node: String,
    },
    /// `--guest` names a guest of this node of which no volume is selected.
    #[error(
        "no volume of guest {guest} is selected: nothing was done\n  next: `zhaul config check --show-datasets` lists what \
         is selected, and what leaves each other dataset out"
    )]
    GuestNotSelected {
        /// The guest.
        guest: GuestId,
    },
    /// `--dataset` names what does not exist.
    #[error(
        "there is no dataset {dataset}: nothing was done\n  next: `zfs list -r` names the datasets of this host"
    )]
    NoSuchDataset {
        /// The dataset.
        dataset: DatasetName,
    },
    /// `--dataset` names a dataset in which everything is left out.
    #[error(
        "everything in {dataset} is left out: nothing was done\n  next: `zhaul config check --show-datasets` lists what \
         leaves each dataset out"
    )]
    DatasetLeftOut {
        /// The dataset.
        dataset: DatasetName,
    },
    /// The present time cannot be written as a name.
    #[error("the snapshots of this run cannot be named")]
    Name(#[source] NameError),
}

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    /// What the source has.
    listing: &'a Listing,
    request: &'a Request,
}

/// A source dataset with what this run makes of it.
#[derive(Debug)]
struct Source<'a> {
    selected: Selected<'a>,
    taken: Taken,
    /// This run's snapshot, not yet taken; `None` where the run takes none.
    pending: Option<PointName>,
    /// The time in `pending`, or the present.
    time: Timestamp,
    /// How own snapshots are called.
    format: &'a NameFormat,
    /// Own snapshots that the rules give up even without this run's.
    expired: BTreeSet<Guid>,
}

/// Plans one run; says of which snapshots it has to know more before that is final.
pub fn plan(policy: &Policy, inventory: &Inventory, request: &Request) -> Result<Planned, PlanError> {
    let listing = match &inventory.source {
        Answer::Listed(listing) => listing,
        Answer::CouldNotAsk(why) => return Err(PlanError::Source(why.clone())),
    };
    let known = Known { policy, inventory, listing, request };
    let selection = select(policy, inventory, listing, request);
    served::check_request(policy, inventory, request, &selection, listing)?;
    let mut builder = Builder::new(request.now);
    unlisted::report_source(&mut builder, policy, listing);
    served::report(&mut builder, inventory, &selection);
    let selected = selection.selected;
    let names = naming::names(&policy.name_format, &selected, request.now).map_err(PlanError::Name)?;
    let mut taken = if request.take_snapshot {
        snapshot::plan_snapshots(&mut builder, &selected, &names)
    } else {
        BTreeMap::new()
    };
    let mut sources = Vec::with_capacity(selected.len());
    for (selected, RunName { time, name }) in selected.into_iter().zip(names) {
        let mut taken = taken.remove(&selected.dataset.name).unwrap_or_default();
        snapshot::plan_missing_bookmarks(&mut builder, &policy.name_format, &selected, &mut taken);
        let pending = taken.snapshot.map(|_| name);
        let expired = retain::expired(policy, &selected, request.now.max(time));
        let format = &policy.name_format;
        sources.push(Source { selected, taken, pending, time, format, expired });
    }
    let mut lanes: Vec<Lanes<'_>> = sources.iter().map(|_| Lanes::default()).collect();
    for target in &policy.targets {
        plan_target(&mut builder, known, target, &sources, &mut lanes);
    }
    for (source, lanes) in sources.iter().zip(&lanes) {
        retain::plan_source(&mut builder, policy, source, lanes);
        sending::plan_removal(&mut builder, policy, source, lanes);
    }
    Ok(builder.finish())
}

/// Plans everything that one target gets, or says why it gets nothing.
fn plan_target<'a>(
    builder: &mut Builder,
    known: Known<'a>,
    target: &Target,
    sources: &'a [Source<'a>],
    lanes: &mut [Lanes<'a>],
) {
    let Known { policy, inventory, listing: source_listing, request } = known;
    let listing = match inventory.targets.get(&target.name) {
        Some(Answer::Listed(listing)) => listing,
        Some(Answer::CouldNotAsk(why)) => return refuse_target(builder, target, why, lanes),
        None => return refuse_target(builder, target, "it was not asked", lanes),
    };
    let selected = sources.iter().map(|source| &source.selected.dataset.name).collect();
    let called = names(policy, inventory, source_listing, &selected, target, listing);
    let names = check_names(builder, target, listing, sources, &called);
    for (copy, source) in called.orphans() {
        let there = listing.get(copy);
        builder.orphan(Orphan {
            target: target.name.clone(),
            copy: copy.clone(),
            source: source.cloned(),
            snapshots: there.map_or(0, |there| there.history.snapshots().count()),
            newest: there.and_then(|there| Some(there.history.newest_snapshot()?.name.clone())),
            is_partial: there.is_some_and(|there| there.resume_token.is_some()),
        });
    }
    let targets = called.taken();
    let mut containers = Containers::new(target, listing, &targets);
    for ((source, name), lanes) in sources.iter().zip(&names).zip(lanes) {
        let Some(name) = name else { continue };
        if unlisted::refuse_copy(builder, target, listing, &source.selected.dataset.name, name) {
            lanes.has_unknown_target = true;
            continue;
        }
        let mut lane = Lane::new(target, name, source, listing);
        if source.selected.caution == Caution::GoOnOnly && !lane.goes_on() {
            let kind = FindingKind::NoNewCopy { copy: name.clone() };
            let dataset = Some(&source.selected.dataset.name);
            builder.find(Severity::Warning, dataset, lane.place.clone(), kind);
            lanes.add(lane);
            continue;
        }
        match &target.kind {
            TargetKind::Backup(rules) => {
                backup::plan(builder, policy, rules, &mut lane, &mut containers);
                rotate::plan_backup(builder, policy, rules, &mut lane);
            }
            TargetKind::Archive(rules) => {
                archive::plan(builder, policy, rules, request, &mut lane, &mut containers);
            }
        }
        lanes.add(lane);
    }
    if let TargetKind::Backup(rules) = &target.kind {
        if matches!(inventory.proxmox.state, ProxmoxState::InDoubt(_)) {
            return;
        }
        superseded::plan_expiry(builder, policy, rules, target, listing, request.now);
    }
}

fn refuse_target(builder: &mut Builder, target: &Target, why: &str, lanes: &mut [Lanes<'_>]) {
    for lanes in lanes {
        lanes.has_unknown_target = true;
    }
    let kind = FindingKind::TargetNotListed { cause: why.to_owned() };
    builder.find(Severity::Failed, None, Place::Target(target.name.clone()), kind);
}

/// What each source is called on the target; `None` where it cannot be called anything.
fn check_names(
    builder: &mut Builder,
    target: &Target,
    listing: &Listing,
    sources: &[Source<'_>],
    called: &Names,
) -> Vec<Option<DatasetName>> {
    let name = |source: &Source<'_>| {
        let dataset = &source.selected.dataset.name;
        let mut find = |severity, kind| {
            builder.find(severity, Some(dataset), Place::Target(target.name.clone()), kind);
        };
        let name = match called.get(dataset)? {
            CopyName::Called { name, taken_by } => {
                // Worth a word where the copy begins.
                if let (Some(by), None) = (taken_by, listing.get(name)) {
                    find(Severity::Note, FindingKind::NameTaken { copy: name.clone(), by: by.clone() });
                }
                Ok(name.clone())
            }
            CopyName::Contested { name, other, is_listed } => {
                let (copy, other) = (name.clone(), other.clone());
                let kind = FindingKind::CopyContested { copy, other, is_listed: *is_listed };
                find(Severity::Blocked, kind);
                return None;
            }
            CopyName::Invalid(error) => Err(error.clone()),
        };
        let longest =
            source.pending.as_ref().or(source.selected.dataset.history.newest_snapshot().map(|p| &p.name));
        let checked = name.and_then(|name| match longest {
            Some(point) => name.snapshot(point).map(|_| name),
            None => Ok(name),
        });
        checked.map_err(|error| find(Severity::Blocked, FindingKind::CopyName { error })).ok()
    };
    sources.iter().map(name).collect()
}
