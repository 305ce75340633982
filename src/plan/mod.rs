//! Decides: `(policy, inventory, request) → Planned`. Pure: no I/O, no clock, no logging.
//!
//! Everything dangerous is decided here and visible in the plan. The order of thought, for each selected dataset:
//!
//! 1. `snapshot`: one snapshot in this run, a bookmark of it, and bookmarks that are missing;
//! 2. `backup`, for each backup: resume what broke off, repair a line that diverged, send what is newer than the base;
//! 3. `archive`, for each archive: which months are due, and which snapshot each one is;
//! 4. `rotate` and `retain`: what may go at the backup and at the source. Expired snapshots go first, those that this run
//!    pushes out go last; `needed` knows what no target may miss, `sending` what one that is down may still need.
//!
//! `status` reports how every dataset stands, `estimate` how much each transfer will move.
//! `writer` makes sure that a copy is this source's, `divergence` sets aside what cannot continue, `superseded` says
//! when that expires, and `view` what comes before everything else on a target. `trust` says which bookmarks can be
//! incremental sources, `comparison` compares two histories, `partial` judges a receive that broke off, `replication`
//! turns what is to be sent into steps, `missing_details` collects the snapshots of which a listing reported too
//! little, `order` puts the steps in order.

mod archive;
mod aside_finding;
mod backup;
mod builder;
pub mod check;
mod comparison;
mod containers;
pub mod content;
pub mod damage;
mod divergence;
mod elsewhere;
mod estimate;
mod finding;
mod ground;
mod judge;
mod left_out;
mod linked;
mod missing_details;
mod months;
mod names;
mod naming;
mod needed;
mod order;
mod origins;
mod orphans;
mod outbound;
mod owner;
mod partial;
mod prune;
mod reason;
mod renames;
mod replication;
pub mod restore;
mod retain;
mod rotate;
mod select;
mod sending;
mod sent;
mod served;
mod snapshot;
pub mod status;
mod step;
mod superseded;
mod trust;
mod unlisted;
pub mod verify;
mod view;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use builder::{Builder, Order};
use containers::Containers;
use ground::{Ground, written_by};
use naming::RunName;
use needed::Replications;
use origins::Origins;
use replication::Replication;
use snapshot::Taken;
use superseded::Expiry;
use trust::Trust;
use view::{First, View};

use crate::model::{
    Answer, DatasetName, Encryption, GuestId, Guid, Inventory, Listing, NameError, NameFormat, PointName,
    ProxmoxState,
};
use crate::policy::{Policy, Target, TargetKind};

pub use aside_finding::{AsideFinding, StaysBecause};
pub use estimate::{estimate, wanted_sizes};
pub use finding::{DiskElsewhere, Finding, FindingKind, KeptBy, Obstacle, Severity};
pub use left_out::{LeftOut, LeftOutReason};
pub use missing_details::{DetailLookups, MissingDetails, Planned};
pub use names::{CopyName, Names, names};
pub use order::needed_first;
pub use prune::prune;
pub use reason::{PartialFault, Reason};
pub use select::{Caution, Selected, Selection, select};
pub use step::{
    Action, Base, Fallback, NewBookmark, NextLineage, Orphan, Place, Plan, Step, StepId, ToDestroy, Transfer,
};
pub use unlisted::unlisted_sources;

/// The request for this one run, beyond the policy.
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

/// The input of a plan.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    /// The source's listing.
    listing: &'a Listing,
    request: &'a Request,
}

/// A source dataset with what this run makes of it.
#[derive(Debug)]
struct Source<'a> {
    selected: Selected<'a>,
    /// Which of its bookmarks can be incremental sources.
    trust: Trust<'a>,
    taken: Taken,
    /// This run's snapshot, not yet taken; `None` where the run takes none.
    pending: Option<PointName>,
    /// The time in `pending`, or the present.
    time: Timestamp,
    /// How own snapshots are called.
    format: &'a NameFormat,
    /// Own snapshots that the rules give up even without this run's.
    expired: BTreeSet<Guid>,
    /// `host:dataset`, for people.
    label: String,
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
    elsewhere::report(&mut builder, policy, inventory, request, &selection);
    let format = &policy.name_format;
    let names = naming::names(format, &selection.selected, request.now).map_err(PlanError::Name)?;
    let selected = selection.selected.into_iter();
    let selected: Vec<_> = selected.map(|one| (one, Trust::new(one.dataset, format))).collect();
    let mut taken = if request.take_snapshot {
        snapshot::plan_snapshots(&mut builder, policy, &selected, &names)
    } else {
        BTreeMap::new()
    };
    let mut sources = Vec::with_capacity(selected.len());
    for ((selected, trust), RunName { time, name }) in selected.into_iter().zip(names) {
        let mut taken = taken.remove(&selected.dataset.name).unwrap_or_default();
        snapshot::plan_void_bookmarks(&mut builder, format, &selected, &trust);
        snapshot::plan_missing_bookmarks(&mut builder, format, &selected, &mut taken);
        let pending = taken.snapshot.map(|_| name);
        let expired = retain::expired(policy, &selected, request.now.max(time));
        let label = format!("{}:{}", inventory.host, selected.dataset.name);
        sources.push(Source { selected, trust, taken, pending, time, format, expired, label });
    }
    let alive = listing.datasets().filter(|one| !one.is_being_restored()).map(|one| one.guid).collect();
    let view = |target: &Target| match inventory.targets.get(&target.name) {
        Some(Answer::Listed(listed)) => Some(View::new(target, listed, known, &sources)),
        Some(Answer::CouldNotAsk(_)) | None => None,
    };
    let views: Vec<Option<View<'_>>> = policy.targets.iter().map(view).collect();
    let written: Vec<_> =
        policy.targets.iter().zip(&views).map(|(target, view)| written_by(target, view.as_ref())).collect();
    let mut replications: Vec<Replications<'_>> = sources.iter().map(|_| Replications::default()).collect();
    for ((target, view), written) in policy.targets.iter().zip(&views).zip(&written) {
        let Some(view) = view else {
            refuse_target(&mut builder, target, inventory, &mut replications);
            continue;
        };
        let ground = Ground {
            target,
            listing: &view.listing,
            written,
            is_append_only: inventory.append_only.contains(&target.name),
            waiting: &view.waiting,
            alive: &alive,
        };
        plan_target(&mut builder, known, ground, view, &sources, &mut replications);
    }
    for (source, replications) in sources.iter().zip(&replications) {
        retain::plan_source(&mut builder, policy, source, replications);
        sent::plan_removal(&mut builder, policy, source, replications);
    }
    Ok(builder.finish())
}

/// Plans everything that one target gets, or says why it gets nothing.
fn plan_target<'a>(
    builder: &mut Builder,
    known: Known<'a>,
    ground: Ground<'a>,
    view: &View<'_>,
    sources: &'a [Source<'a>],
    replications: &mut [Replications<'a>],
) {
    let Known { policy, inventory, request, .. } = known;
    let Ground { target, listing, is_append_only, .. } = ground;
    plan_first(builder, target, view);
    let names = check_names(builder, target, listing, sources, &view.called);
    let targets = view.called.taken();
    let mut copies: BTreeMap<_, _> = targets.iter().map(|name| (*name, Encryption::Off)).collect();
    let raw = sources.iter().zip(&names).filter(|(one, _)| one.selected.dataset.encryption == Encryption::On);
    copies.extend(raw.filter_map(|(_, name)| Some((name.as_ref()?, Encryption::On))));
    let mut containers = Containers::new(target, listing, &copies);
    // Where copies are to come by a rename that is not planned yet: nothing is there before.
    let mut not_renamed: BTreeSet<&DatasetName> = view.later.keys().collect();
    let mut origins = Origins::new((known.listing, listing), sources, &names);
    for at in origins::order(known.listing, sources) {
        let (source, replications) = (&sources[at], &mut replications[at]);
        let Some(name) = &names[at] else { continue };
        if unlisted::refuse_copy(builder, target, listing, &source.selected.dataset.name, name) {
            replications.has_unknown_target = true;
            continue;
        }
        let mut replication = Replication::new(builder, &ground, name, source);
        replication.origin = origins.of((known.listing, listing), source, &target.root);
        replication.wanted_origins = origins.wanted(&source.selected.dataset.name);
        bring_into_place(builder, &mut containers, &mut replication, view, &mut not_renamed);
        if replication.is_blocked {
            replications.add(replication);
            continue;
        }
        if source.selected.caution == Caution::ContinueOnly && !replication.is_continued() {
            let kind = FindingKind::NoNewCopy { copy: name.clone() };
            let dataset = Some(&source.selected.dataset.name);
            builder.find(Severity::Warning, dataset, replication.place.clone(), kind);
            replications.add(replication);
            continue;
        }
        match &target.kind {
            TargetKind::Backup(rules) => {
                backup::plan(builder, policy, rules, &mut replication, &mut containers);
                if !is_append_only {
                    rotate::plan_backup(builder, policy, rules, &mut replication);
                }
            }
            TargetKind::Archive(rules) => {
                archive::plan(builder, policy, rules, request, &mut replication, &mut containers);
            }
        }
        origins.note(&replication);
        if let Some(step) = replication.set_aside_step {
            builder.resolved(&replication.place, name, step);
        }
        replications.add(replication);
    }
    orphans::plan(builder, known, ground, view, &not_renamed);
    let keep = match &target.kind {
        TargetKind::Backup(rules) => rules.keep_superseded.filter(|_| !is_append_only),
        TargetKind::Archive(_) => None,
    };
    let expiry = Expiry {
        policy,
        target,
        listing,
        copies: &targets,
        not_renamed: &not_renamed,
        keep,
        now: request.now,
    };
    expiry.report_unmarked(builder);
    if !matches!(inventory.proxmox.state, ProxmoxState::InDoubt(_)) {
        expiry.plan(builder);
    }
}

/// Renames the copy of `replication`, if it has to wait for its parent; ends the replication where what is above the copy is not in place.
fn bring_into_place<'a>(
    builder: &mut Builder,
    containers: &mut Containers<'_>,
    replication: &mut Replication<'_>,
    view: &'a View<'_>,
    not_renamed: &mut BTreeSet<&'a DatasetName>,
) {
    if let Some(rename) = view.later.get(&replication.name)
        && renames::plan_later(builder, containers, replication, rename)
    {
        not_renamed.remove(&replication.name);
    }
    let mut unfinished = view.waiting.iter().filter(|mark| replication.name.below(&mark.of).is_some());
    if let Some(mark) =
        unfinished.next().filter(|_| !builder.is_resolved_later(&replication.place, &replication.name))
    {
        replication.block(builder, AsideFinding::SetAsideUnfinished { copy: mark.of.clone() });
    } else if let Some(parent) = not_renamed.iter().find(|copy| replication.name.below(copy).is_some()) {
        let parent = (*parent).clone();
        replication.block(builder, FindingKind::ParentMissing { parent });
    }
}

/// Adds the steps that come before everything else on a target.
fn plan_first(builder: &mut Builder, target: &Target, view: &View<'_>) {
    let place = Place::Target(target.name.clone());
    builder.are_in(&place, &view.actual);
    let mut steps: Vec<StepId> = Vec::new();
    for First { dataset, change, reason, below, needs } in &view.first {
        let made = needs.iter().filter_map(|at| steps.get(*at)).copied();
        let order = Order::needs(builder.settling(&place, below).chain(made).collect::<BTreeSet<_>>());
        let step = builder.step(dataset.as_ref(), place.clone(), change.clone(), reason.clone(), order);
        builder.resolved(&place, below, step);
        steps.push(step);
    }
    for (dataset, severity, kind) in &view.findings {
        builder.find(*severity, dataset.as_ref(), place.clone(), kind.clone());
    }
}

fn refuse_target(
    builder: &mut Builder,
    target: &Target,
    inventory: &Inventory,
    replications: &mut [Replications<'_>],
) {
    for replications in replications {
        replications.has_unknown_target = true;
    }
    let cause = match inventory.targets.get(&target.name) {
        Some(Answer::CouldNotAsk(why)) => why.clone(),
        Some(Answer::Listed(_)) | None => "it was not asked".to_owned(),
    };
    let kind = FindingKind::TargetNotListed { cause };
    builder.find(Severity::Failed, None, Place::Target(target.name.clone()), kind);
}

/// The name of each source on the target; `None` where it cannot have one.
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
