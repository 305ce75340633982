//! What may go: own snapshots that no rule keeps, and never one that anything still needs.
//!
//! Never pruned: what is not ours (by name), what a guest's config lists, what is held or cloned (reported), the newest of
//! all, a base that has no bookmark, and what a broken-off receive still needs.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::backup::is_a_guests;
use super::builder::{Builder, Order};
use super::lane::{Lane, Lanes};
use super::{Action, Caution, Doomed, FindingKind, KeptBy, Place, Reason, Severity, Source};
use crate::model::{Change, DatasetName, Guid, Point};
use crate::policy::{BackupRules, KeepRules, Policy};

/// An own snapshot that a keep rule may judge; `None` is one that this plan makes.
type Candidate<'a> = (Timestamp, Option<&'a Point>);

/// Adds the pruning of one dataset's own snapshots and bookmarks at the source: after everything was sent or has failed.
pub(super) fn plan_source(builder: &mut Builder, policy: &Policy, source: &Source<'_>, lanes: &Lanes<'_>) {
    // Which snapshots are Proxmox VE's is not known.
    if source.selected.caution != Caution::None {
        return;
    }
    let history = &source.selected.dataset.history;
    let guest = source.selected.guest;
    let mut candidates: Vec<Candidate<'_>> = source.pending.iter().map(|_| (source.time, None)).collect();
    let own =
        history.snapshots().rev().filter(|point| guest.is_none_or(|g| !g.snapshots.contains(&point.name)));
    candidates.extend(own.filter_map(|point| Some((policy.name_format.time(&point.name)?, Some(point)))));
    // Every own snapshot has a bookmark by then, or the step leaves out those that could get none: a base is safe.
    let mut judged = judge(&policy.keep_local, policy, builder.at().max(source.time), candidates);
    let taken = &source.taken;
    let after = taken.bookmark.into_iter().chain(taken.healed).chain(lanes.sends.iter().copied());
    let order = Order { needs: taken.snapshot.into_iter().collect(), after: after.collect() };
    judged.spare(|point| lanes.resumable.contains(&point.guid) || taken.unmarkable.contains(&point.guid));
    let dataset = &source.selected.dataset.name;
    let doomed = judged.settle(builder, dataset, &Place::Source, dataset, Point::is_pinned);
    if !doomed.is_empty() {
        let action = Change::DestroySnapshots { dataset: dataset.clone(), snapshots: doomed };
        builder.step(
            Some(dataset),
            Place::Source,
            action,
            Reason::NotKept { rules: policy.keep_local },
            order.clone(),
        );
    }
    plan_bookmarks(builder, policy, source, lanes, order);
}

/// Adds the pruning of bookmarks without a snapshot, newest kept, never one that a target still needs.
fn plan_bookmarks(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    lanes: &Lanes<'_>,
    order: Order,
) {
    let Some(keep) = policy.keep_bookmarks else { return };
    if lanes.has_unknown_target {
        return;
    }
    let history = &source.selected.dataset.history;
    let alive: BTreeSet<Guid> = history.snapshots().map(|point| point.guid).collect();
    let alone = history.bookmarks().rev().filter(|point| !alive.contains(&point.guid));
    let own = alone.filter(|point| policy.name_format.is_own(&point.name)).skip(keep);
    let bookmarks: Vec<Doomed> = own
        .filter(|point| !lanes.common.contains(&point.guid) && !lanes.resumable.contains(&point.guid))
        .map(|point| Doomed::new(point, Reason::BookmarksKeep { keep }))
        .collect();
    // A base that will vanish by itself is none: the one before it is needed.
    let are_bases_known = bookmarks.is_empty()
        || lanes
            .bases
            .iter()
            .fold(true, |all, (place, dataset, base)| builder.knows(place, dataset, [*base]) && all);
    if !bookmarks.is_empty() && are_bases_known {
        let dataset = &source.selected.dataset.name;
        let reason = Reason::BookmarksKeep { keep };
        let action = Action::DestroyBookmarks { dataset: dataset.clone(), bookmarks };
        builder.step(Some(dataset), Place::Source, action, reason, order);
    }
}

/// Adds the pruning of one dataset's backup: only after all that was to be sent has arrived.
pub(super) fn plan_backup(builder: &mut Builder, policy: &Policy, rules: &BackupRules, lane: &mut Lane<'_>) {
    let Some(there) =
        lane.there.filter(|_| !lane.is_blocked && lane.source.selected.caution == Caution::None)
    else {
        return;
    };
    let format = &policy.name_format;
    let received = lane.received.iter().rev();
    let mut candidates: Vec<Candidate<'_>> =
        received.filter_map(|(name, _)| Some((format.time(name)?, None))).collect();
    let own = there.history.snapshots().rev().filter(|point| !lane.removed.contains(&point.guid));
    let own = own.filter(|point| !is_a_guests(lane, point));
    candidates.extend(own.filter_map(|point| Some((format.time(&point.name)?, Some(point)))));
    let mut judged = judge(&rules.keep, policy, builder.at().max(lane.source.time), candidates);
    let base = lane.target_base().filter(|_| lane.received.is_empty());
    judged.counted.extend(base);
    judged.spare(|point| base.is_some_and(|base| base.guid == point.guid));
    let is_pinned = |point: &Point| lane.is_pinned(point);
    let doomed = judged.settle(builder, &lane.dataset().name, &lane.place, &lane.name, is_pinned);
    if !doomed.is_empty() {
        let action = Change::DestroySnapshots { dataset: lane.name.clone(), snapshots: doomed };
        lane.step(builder, action, Reason::NotKept { rules: rules.keep });
    }
}

/// What the keep rules made of a dataset's own snapshots.
struct Judged<'a> {
    rules: KeepRules,
    /// Those that no rule keeps, newest first.
    unkept: Vec<&'a Point>,
    /// All that the rules were shown, and whatever else the verdict rests on.
    counted: Vec<&'a Point>,
}

/// Shows the candidates (newest first) to the rules; the newest is always kept.
fn judge<'a>(
    rules: &KeepRules,
    policy: &Policy,
    now: Timestamp,
    mut candidates: Vec<Candidate<'a>>,
) -> Judged<'a> {
    if rules.is_empty() {
        return Judged { rules: *rules, unkept: Vec::new(), counted: Vec::new() };
    }
    // Names may have stepped back with the clock; the rules want the newest first by time.
    let newest = candidates.first().copied();
    candidates.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let times: Vec<Timestamp> = candidates.iter().map(|(time, _)| *time).collect();
    let kept = rules.select(&times, &policy.time_zone, now);
    let unkept =
        candidates.iter().zip(kept).filter(|(_, keep)| keep.is_none()).map(|(candidate, _)| *candidate);
    let unkept =
        unkept.filter(|candidate| Some(*candidate) != newest).filter_map(|(_, point)| point).collect();
    Judged { rules: *rules, unkept, counted: candidates.into_iter().filter_map(|(_, point)| point).collect() }
}

impl Judged<'_> {
    /// Keeps what somebody needs, whatever the rules say.
    fn spare(&mut self, is_needed: impl Fn(&Point) -> bool) {
        self.unkept.retain(|point| !is_needed(point));
    }

    /// What may go of what no rule keeps; reports what ZFS would not let go. Nothing goes before all that
    /// was counted is known: a snapshot that will vanish by itself must not push another one out.
    fn settle(
        self,
        builder: &mut Builder,
        source: &DatasetName,
        place: &Place,
        dataset: &DatasetName,
        is_pinned: impl Fn(&Point) -> bool,
    ) -> Vec<Doomed> {
        let (unkept, rules) = (self.unkept, self.rules);
        if unkept.is_empty() {
            return Vec::new();
        }
        if !builder.knows(place, dataset, self.counted) {
            let kind = FindingKind::NotPruned { copy: dataset.clone() };
            builder.find(Severity::Warning, Some(source), place.clone(), kind);
            return Vec::new();
        }
        let (pinned, free): (Vec<&Point>, Vec<&Point>) =
            unkept.into_iter().partition(|point| is_pinned(point));
        report_pinned(builder, Some(source), place, &pinned);
        free.into_iter().rev().map(|point| Doomed::new(point, Reason::NotKept { rules })).collect()
    }
}

fn report_pinned(builder: &mut Builder, dataset: Option<&DatasetName>, place: &Place, pinned: &[&Point]) {
    for point in pinned {
        let is_held = point.details.is_some_and(|details| details.holds > 0);
        let by = if is_held { KeptBy::Hold } else { KeptBy::Clone };
        let kind = FindingKind::StaysInUse { snapshot: point.name.clone(), by };
        builder.find(Severity::Note, dataset, place.clone(), kind);
    }
}
