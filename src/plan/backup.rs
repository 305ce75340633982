//! A nearline backup: it follows the source. What it has beyond the base is removed if it is ours; what has nothing in
//! common with the source is renamed aside, never destroyed first.

use super::builder::Builder;
use super::containers::Containers;
use super::lane::{How, Lane, Outbound};
use super::superseded;
use super::{Doomed, FindingKind, Obstacle, Reason};
use crate::model::{BACKUP_ASIDE, ByteCount, Change, Dataset, Encryption, Point, PointName};
use crate::policy::{BackupDivergence, BackupRules, OnNoBase, Policy};

/// Plans what one dataset's backup needs to catch up.
pub(super) fn plan(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    lane: &mut Lane<'_>,
    containers: &mut Containers<'_>,
) {
    // Before a receive is resumed too: its end needs an untouched head like any other.
    settle_written(builder, rules, lane);
    if lane.is_blocked {
        return;
    }
    if let Some((to, resume)) = lane.settle_partial(builder) {
        let what = Outbound::Taken(to);
        let reason = Reason::Resumes { received_bytes: ByteCount(resume.received_bytes) };
        send(builder, lane, containers, what, How { resume: Some(resume), ..How::new(reason) });
    }
    if lane.is_blocked {
        return;
    }
    if let Some(there) = lane.there {
        settle_line(builder, policy, rules, lane, there);
    }
    lane.check_encryption(builder);
    for what in outbound(policy, lane) {
        if lane.is_blocked {
            return;
        }
        let fallback = matches!(what, Outbound::Pending(_)).then(|| newest_own(policy, lane)).flatten();
        let how = How { fallback, ..How::new(reason(lane)) };
        send(builder, lane, containers, what, how);
    }
}

fn send<'a>(
    builder: &mut Builder,
    lane: &mut Lane<'a>,
    containers: &mut Containers<'_>,
    what: Outbound<'a>,
    how: How<'a>,
) {
    match lane.free_name(what) {
        Ok(name) => lane.send(builder, containers, what, &name, how),
        Err(error) => lane.block(builder, FindingKind::CopyName { error }),
    }
}

fn reason(lane: &Lane<'_>) -> Reason {
    match (lane.received.last(), lane.target_base()) {
        (Some(_), _) => Reason::NextSnapshot,
        (None, Some(base)) => Reason::CommonBase { base: base.name.clone() },
        (None, None) => Reason::NothingThere,
    }
}

/// Makes the target's line one that an increment, or a full stream, can follow.
fn settle_line(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    lane: &mut Lane<'_>,
    there: &Dataset,
) {
    let Some(history) = &lane.line else {
        if there.resume_token.is_none() {
            refuse_unknown_data(builder, lane);
        }
        return;
    };
    if history.common.is_none() {
        return match rules.on_no_base {
            OnNoBase::Supersede => {
                superseded::plan_aside(builder, lane, there, BACKUP_ASIDE, Reason::NothingInCommon);
            }
            OnNoBase::Stop => lane.block(builder, FindingKind::NoBase { copy: lane.name.clone() }),
        };
    }
    if history.unknown.is_empty() {
        return;
    }
    let unknown: Vec<Point> = history.unknown.iter().map(|point| (*point).clone()).collect();
    let is_raw = lane.dataset().encryption == Encryption::On;
    let is_unchanged = history.is_unchanged_since_base(there, is_raw);
    if !lane.knows_unknown(builder) || is_unchanged {
        return;
    }
    settle_divergence(builder, policy, rules, lane, &unknown);
}

/// Deals with a head that is not what the newest snapshot holds, so that ZFS would refuse an increment. In a read-only
/// copy nobody wrote: what is there is left of newer snapshots that were destroyed, by hand or by a run that was killed
/// before its rollback. In a writable one it may be somebody's work.
fn settle_written(builder: &mut Builder, rules: &BackupRules, lane: &mut Lane<'_>) {
    let Some((there, parted)) = lane.there.zip(lane.line.as_ref()) else { return };
    let (Some(common), written) = (parted.common, there.written_bytes) else { return };
    if written == 0 || (there.is_readonly && !parted.unknown.is_empty()) {
        return;
    }
    if !there.is_readonly || rules.on_divergence == BackupDivergence::Stop {
        return refuse_written(builder, lane, there);
    }
    builder.knows(&lane.place, &lane.name, [common.target]);
    let (dataset, to, guid) = (lane.name.clone(), common.target.name.clone(), common.target.guid);
    let reason = Reason::RemainsOfDestroyed { snapshot: to.clone(), written_bytes: ByteCount(written) };
    lane.step(builder, Change::Rollback { dataset, to, guid }, reason);
}

/// A copy that somebody wrote to takes no increment, and is not put back without being asked.
pub(super) fn refuse_written(builder: &mut Builder, lane: &mut Lane<'_>, there: &Dataset) {
    let newest = there.history.newest_snapshot().map(|point| point.name.clone());
    let written_bytes = ByteCount(there.written_bytes);
    lane.block(builder, FindingKind::WrittenTo { copy: lane.name.clone(), newest, written_bytes });
}

/// A target dataset without snapshots that no receive of ours left there is never written to.
pub(super) fn refuse_unknown_data(builder: &mut Builder, lane: &mut Lane<'_>) {
    lane.block(builder, FindingKind::UnknownData { copy: lane.name.clone() });
}

/// Removes exactly the target's own snapshots that are newer than the base; anything else stops the lane.
fn settle_divergence(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    lane: &mut Lane<'_>,
    unknown: &[Point],
) {
    let Some(base) = lane.target_base() else { return };
    let is_ours = |point: &&Point| policy.name_format.is_own(&point.name) && !is_a_guests(lane, point);
    let foreign = names(unknown.iter().filter(|point| !is_ours(point)));
    let in_use = names(unknown.iter().filter(|point| lane.is_pinned(point)));
    let obstacle = if rules.on_divergence == BackupDivergence::Stop {
        Some(Obstacle::Policy)
    } else if !foreign.is_empty() {
        Some(Obstacle::Foreign(foreign))
    } else {
        (!in_use.is_empty()).then_some(Obstacle::InUse(in_use))
    };
    if let Some(obstacle) = obstacle {
        let (copy, base, newer) = (lane.name.clone(), base.name.clone(), names(unknown));
        return lane.block(builder, FindingKind::Diverged { copy, base, newer, obstacle });
    }
    let why = Reason::RolledBack { base: base.name.clone() };
    let snapshots = unknown.iter().map(|point| Doomed::new(point, why.clone())).collect();
    let action = Change::DestroySnapshots { dataset: lane.name.clone(), snapshots };
    let (to, guid) = (base.name.clone(), base.guid);
    lane.removed.extend(unknown.iter().map(|point| point.guid));
    lane.step(builder, action, why);
    let action = Change::Rollback { dataset: lane.name.clone(), to, guid };
    lane.step(builder, action, Reason::OntoBase);
}

fn names<'a>(points: impl IntoIterator<Item = &'a Point>) -> Vec<PointName> {
    points.into_iter().map(|point| point.name.clone()).collect()
}

/// Whether a guest's config lists a snapshot of this name: then it is Proxmox VE's.
pub(super) fn is_a_guests(lane: &Lane<'_>, point: &Point) -> bool {
    lane.source.selected.guest.is_some_and(|guest| guest.snapshots.contains(&point.name))
}

/// What is newer than the target's head: the newest own snapshot, or all of them in their order.
fn outbound<'a>(policy: &Policy, lane: &Lane<'a>) -> Vec<Outbound<'a>> {
    let pending = lane.source.pending.as_ref().map(Outbound::Pending);
    if lane.intermediates {
        let own = lane.dataset().history.snapshots();
        let own = own.filter(|point| policy.name_format.is_own(&point.name));
        // What has expired goes before anything is sent.
        let stays = |point: &&Point| !lane.source.expired.contains(&point.guid);
        let newer = own.filter(|point| lane.is_newer_than_head(point)).filter(stays).map(Outbound::Taken);
        return newer.chain(pending).collect();
    }
    pending.or(newest_own(policy, lane).map(Outbound::Taken)).into_iter().collect()
}

/// The newest own snapshot that exists, if the target lacks it.
fn newest_own<'a>(policy: &Policy, lane: &Lane<'a>) -> Option<&'a Point> {
    let mut own = lane.dataset().history.snapshots().rev();
    let newest = own.find(|point| policy.name_format.is_own(&point.name));
    newest.filter(|point| lane.is_newer_than_head(point))
}
