//! Snapshots that may go at a backup: own ones that its rules do not keep, and never the base, the last one, or what a
//! partial receive needs.
//!
//! Two rounds, as at the source. Snapshots that expire without this run's points go before anything is sent, also where
//! nothing can be sent: a full pool must not keep expired ones. Those that only the arrivals push out go after them.

use std::collections::BTreeSet;

use super::builder::{Builder, Order};
use super::judge::{Candidate, judge};
use super::replication::Replication;
use super::{Caution, Reason};
use crate::model::{Change, Guid, Point};
use crate::policy::{BackupRules, Policy};

/// Adds the pruning of one dataset's backup.
pub(super) fn plan_backup(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    replication: &mut Replication<'_>,
) {
    let Some(there) = replication.there.filter(|_| may_be_pruned(replication)) else { return };
    let format = &policy.name_format;
    let now = builder.at().max(replication.source.time);
    let own = there.history.snapshots().rev().filter(|point| !replication.removed.contains(&point.guid));
    let own = own.filter(|point| !replication.is_a_guests(point));
    let own: Vec<Candidate<'_>> =
        own.filter_map(|point| Some((format.time(&point.name)?, Some(point)))).collect();
    let base = replication.target_base();
    let partial_base = replication.resumable.and_then(|partial| partial.base);
    let is_needed = |point: &Point| base.is_some_and(|base| base.guid == point.guid);

    let mut expired = judge(&rules.keep, policy, now, own.clone());
    expired.counted.extend(base);
    expired.keep(|point| is_needed(point) || partial_base == Some(point.guid));
    let gone: BTreeSet<Guid> = expired.unkept.iter().map(|point| point.guid).collect();
    let source = &replication.dataset().name;
    let to_destroy =
        expired.resolve(builder, source, &replication.place, &replication.name, Point::is_held_or_cloned);
    if !to_destroy.is_empty() {
        let action = Change::DestroySnapshots { dataset: replication.name.clone(), snapshots: to_destroy };
        let reason = Reason::NotKept { rules: rules.keep };
        let step = builder.step(Some(source), replication.place.clone(), action, reason, Order::default());
        builder.first(step);
        replication.begin_after(builder, step);
    }
    if replication.is_blocked || replication.received.is_empty() {
        return;
    }
    let received = replication.received.iter().rev();
    let received = received.filter_map(|(name, _)| Some((format.time(name)?, None)));
    let mut pushed_out = judge(&rules.keep, policy, now, received.chain(own).collect());
    pushed_out.keep(|point| gone.contains(&point.guid));
    let is_held_or_cloned = |point: &Point| replication.is_held_or_cloned(point);
    let to_destroy = pushed_out.resolve(
        builder,
        &replication.dataset().name,
        &replication.place,
        &replication.name,
        is_held_or_cloned,
    );
    if !to_destroy.is_empty() {
        let action = Change::DestroySnapshots { dataset: replication.name.clone(), snapshots: to_destroy };
        replication.step(builder, action, Reason::NotKept { rules: rules.keep });
    }
}

/// Whether the rules apply to what is there: not to another source's copy, nor to a lineage that has nothing in common with
/// the source, nor to one whose newer snapshots wait for a person.
fn may_be_pruned(replication: &Replication<'_>) -> bool {
    // In doubt, which snapshots are Proxmox VE's is not known.
    if replication.is_of_another || replication.source.selected.caution != Caution::None {
        return false;
    }
    replication.comparison.as_ref().is_some_and(|comparison| {
        comparison.common.is_some() && (comparison.unknown.is_empty() || !replication.is_blocked)
    })
}
