//! What may go at a backup: own snapshots that its rules do not keep, and never the base, the last one, or what a partial
//! receive needs.
//!
//! Two rounds, as at the source. What the rules give up without this run's points goes before anything is sent, also
//! where nothing can be sent: a full pool must not keep what has expired. What only the arrivals push out goes after them.

use std::collections::BTreeSet;

use super::builder::{Builder, Order};
use super::judge::{Candidate, judge};
use super::lane::Lane;
use super::{Caution, Reason};
use crate::model::{Change, Guid, Point};
use crate::policy::{BackupRules, Policy};

/// Adds the pruning of one dataset's backup.
pub(super) fn plan_backup(builder: &mut Builder, policy: &Policy, rules: &BackupRules, lane: &mut Lane<'_>) {
    let Some(there) = lane.there.filter(|_| may_be_pruned(lane)) else { return };
    let format = &policy.name_format;
    let now = builder.at().max(lane.source.time);
    let own = there.history.snapshots().rev().filter(|point| !lane.removed.contains(&point.guid));
    let own = own.filter(|point| !lane.is_a_guests(point));
    let own: Vec<Candidate<'_>> =
        own.filter_map(|point| Some((format.time(&point.name)?, Some(point)))).collect();
    let base = lane.target_base();
    let partial_base = lane.resumable.and_then(|partial| partial.base);
    let is_needed = |point: &Point| base.is_some_and(|base| base.guid == point.guid);

    let mut expired = judge(&rules.keep, policy, now, own.clone());
    expired.counted.extend(base);
    expired.keep(|point| is_needed(point) || partial_base == Some(point.guid));
    let gone: BTreeSet<Guid> = expired.unkept.iter().map(|point| point.guid).collect();
    let source = &lane.dataset().name;
    let doomed = expired.settle(builder, source, &lane.place, &lane.name, Point::is_pinned);
    if !doomed.is_empty() {
        let action = Change::DestroySnapshots { dataset: lane.name.clone(), snapshots: doomed };
        let reason = Reason::NotKept { rules: rules.keep };
        let step = builder.step(Some(source), lane.place.clone(), action, reason, Order::default());
        builder.first(step);
        lane.begin_after(builder, step);
    }
    if lane.is_blocked || lane.received.is_empty() {
        return;
    }
    let received = lane.received.iter().rev();
    let received = received.filter_map(|(name, _)| Some((format.time(name)?, None)));
    let mut pushed_out = judge(&rules.keep, policy, now, received.chain(own).collect());
    pushed_out.keep(|point| gone.contains(&point.guid));
    let is_pinned = |point: &Point| lane.is_pinned(point);
    let doomed = pushed_out.settle(builder, &lane.dataset().name, &lane.place, &lane.name, is_pinned);
    if !doomed.is_empty() {
        let action = Change::DestroySnapshots { dataset: lane.name.clone(), snapshots: doomed };
        lane.step(builder, action, Reason::NotKept { rules: rules.keep });
    }
}

/// Whether the rules apply to what is there: not to another source's copy, nor to a lineage that has nothing in common with
/// the source, nor to one whose newer snapshots wait for a person.
fn may_be_pruned(lane: &Lane<'_>) -> bool {
    // In doubt, which snapshots are Proxmox VE's is not known.
    if lane.is_of_another || lane.source.selected.caution != Caution::None {
        return false;
    }
    lane.line
        .as_ref()
        .is_some_and(|line| line.common.is_some() && (line.unknown.is_empty() || !lane.is_blocked))
}
