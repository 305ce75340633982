//! Snapshots that may go at the source: own ones that no rule keeps, and never one that anything still needs.
//!
//! Never pruned: what is not ours (by name), what a guest's config lists, what is held or cloned (reported), the newest of
//! all, a base that has no bookmark, and what a partial receive still needs.
//!
//! Two rounds. Snapshots that expire without this run's snapshot go before it is taken, whatever becomes of the rest: a
//! full pool must not keep expired ones. Those that only this run's snapshot pushes out go once that and its bookmark
//! are there. A snapshot that a target gets in this run, or has in common with the source, goes once the target has it.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::judge::{Candidate, Judged, judge};
use super::needed::Replications;
use super::select::Selected;
use super::{Action, Caution, Place, Reason, Source, StepId, ToDestroy, sending};
use crate::model::{Change, Guid, Point};
use crate::policy::Policy;

/// The dataset's own snapshots, newest first.
fn own<'a>(policy: &Policy, selected: &Selected<'a>) -> Vec<Candidate<'a>> {
    let guest = selected.guest;
    let snapshots = selected.dataset.history.snapshots().rev();
    let own = snapshots.filter(|point| guest.is_none_or(|guest| !guest.snapshots.contains(&point.name)));
    own.filter_map(|point| Some((policy.name_format.time(&point.name)?, Some(point)))).collect()
}

/// The snapshots that no rule keeps even without this run's snapshot. They are not sent any more, unless as a month or to
/// complete a partial receive.
pub(super) fn expired(policy: &Policy, selected: &Selected<'_>, now: jiff::Timestamp) -> BTreeSet<Guid> {
    let judged = judge(&policy.keep_at_source, policy, now, own(policy, selected));
    judged.unkept.iter().map(|point| point.guid).collect()
}

/// Adds the pruning of one dataset's own snapshots and bookmarks at the source.
pub(super) fn plan_source(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    replications: &Replications<'_>,
) {
    // Which snapshots are Proxmox VE's is not known.
    if source.selected.caution != Caution::None {
        return;
    }
    let now = builder.at().max(source.time);
    let candidates = own(policy, &source.selected);
    let marked = sending::protected(policy, source, replications.has_unknown_target, now);
    let is_needed = |point: &Point| {
        replications.kept.contains(&point.guid)
            || source.taken.cannot_bookmark.contains(&point.guid)
            || marked.contains(&point.guid)
    };
    let mut early = judge(&policy.keep_at_source, policy, now, candidates.clone());
    early.keep(|point| is_needed(point) || replications.needed_by.contains_key(&point.guid));
    let gone: BTreeSet<Guid> = early.unkept.iter().map(|point| point.guid).collect();
    plan_early(builder, policy, source, early);
    let pending = source.pending.iter().map(|_| (source.time, None));
    let mut late = judge(&policy.keep_at_source, policy, now, pending.chain(candidates).collect());
    late.keep(|point| is_needed(point) || gone.contains(&point.guid));
    plan_late(builder, policy, source, replications, late);
    plan_bookmarks(builder, policy, source, replications);
}

/// The steps before the destruction of anything that this run's points push out. Every own snapshot has a bookmark by
/// then, or the step leaves out those that could get none: a base is safe.
fn points(source: &Source<'_>, sends: &[StepId]) -> Order {
    let taken = &source.taken;
    let after = taken.bookmark.into_iter().chain(taken.missing_bookmarks).chain(sends.iter().copied());
    Order { needs: taken.snapshot.into_iter().collect(), after: after.collect() }
}

/// Plans the destruction of the snapshots that go first. One without a bookmark waits for one: on a full pool none can
/// be made, but only a snapshot that a crash left has none.
fn plan_early(builder: &mut Builder, policy: &Policy, source: &Source<'_>, judged: Judged<'_>) {
    let dataset = source.selected.dataset;
    let bookmarked: BTreeSet<Guid> = dataset.history.bookmarks().map(|point| point.guid).collect();
    let to_destroy =
        judged.resolve(builder, &dataset.name, &Place::Source, &dataset.name, Point::is_held_or_cloned);
    let (ready, waiting): (Vec<ToDestroy>, Vec<ToDestroy>) =
        to_destroy.into_iter().partition(|to_destroy| bookmarked.contains(&to_destroy.guid));
    for (snapshots, needs) in [(ready, None), (waiting, source.taken.missing_bookmarks)] {
        if snapshots.is_empty() {
            continue;
        }
        let step = destroy(builder, policy, source, snapshots, Order::needs(needs));
        builder.first(step);
        if let Some(snapshot) = source.taken.snapshot {
            builder.before(step, snapshot);
        }
    }
}

/// Plans the destruction of the snapshots that go once this run's is there; each as soon as the transfers that need it
/// have succeeded.
fn plan_late(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    replications: &Replications<'_>,
    judged: Judged<'_>,
) {
    let dataset = &source.selected.dataset.name;
    let to_destroy = judged.resolve(builder, dataset, &Place::Source, dataset, Point::is_held_or_cloned);
    let mut by_needs: BTreeMap<Option<&BTreeSet<StepId>>, Vec<ToDestroy>> = BTreeMap::new();
    for one in to_destroy {
        by_needs.entry(replications.needed_by.get(&one.guid)).or_default().push(one);
    }
    for (transfers, snapshots) in by_needs {
        // After all of them: a base that is being sent from cannot be destroyed.
        let mut order = points(source, &replications.sends);
        order.needs.extend(transfers.into_iter().flatten());
        destroy(builder, policy, source, snapshots, order);
    }
}

fn destroy(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    snapshots: Vec<ToDestroy>,
    order: Order,
) -> StepId {
    let dataset = source.selected.dataset.name.clone();
    let reason = Reason::NotKept { rules: policy.keep_at_source };
    let action = Change::DestroySnapshots { dataset: dataset.clone(), snapshots };
    builder.step(Some(&dataset), Place::Source, action, reason, order)
}

/// Adds the pruning of bookmarks without a snapshot, newest kept, never one that a target still needs.
fn plan_bookmarks(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    replications: &Replications<'_>,
) {
    let Some(keep) = policy.keep_bookmarks else { return };
    if replications.has_unknown_target {
        return;
    }
    let history = &source.selected.dataset.history;
    let alive: BTreeSet<Guid> = history.snapshots().map(|point| point.guid).collect();
    let alone = history.bookmarks().rev().filter(|point| !alive.contains(&point.guid));
    let own = alone.filter(|point| policy.name_format.is_own(&point.name)).skip(keep);
    let bookmarks: Vec<ToDestroy> = own
        .filter(|point| {
            !replications.common.contains(&point.guid) && !replications.kept.contains(&point.guid)
        })
        .map(|point| ToDestroy::new(point, Reason::BookmarksKeep { keep }))
        .collect();
    // A base that will vanish by itself is none: the one before it is needed.
    let are_bases_known = bookmarks.is_empty()
        || replications
            .bases
            .iter()
            .fold(true, |all, (place, dataset, base)| builder.knows(place, dataset, [*base]) && all);
    if !bookmarks.is_empty() && are_bases_known {
        let dataset = &source.selected.dataset.name;
        let order = points(source, &replications.sends);
        let action = Action::DestroyBookmarks { dataset: dataset.clone(), bookmarks };
        builder.step(Some(dataset), Place::Source, action, Reason::BookmarksKeep { keep }, order);
    }
}
