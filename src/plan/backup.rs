//! A nearline backup: it follows the source. Where it cannot simply go on, its lineage is set aside, whole, or what is
//! incompatible is removed, or it waits for a person: as the policy says.

use super::builder::Builder;
use super::containers::Containers;
use super::divergence::{self, Misfit, names};
use super::lane::Lane;
use super::outbound::{How, Outbound};
use super::{Doomed, FindingKind, Obstacle, Reason, writer};
use crate::model::{ByteCount, Change, Dataset, Point, SetAsideCause};
use crate::policy::{BackupDivergence, BackupRules, OnNoBase, Policy};

/// Plans what one dataset's backup needs to catch up.
pub(super) fn plan(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    lane: &mut Lane<'_>,
    containers: &mut Containers<'_>,
) {
    writer::settle(builder, policy, lane);
    if lane.is_blocked {
        return;
    }
    let misfit = divergence::judge(builder, policy, lane);
    if lane.is_blocked {
        return;
    }
    if let Some((to, resume)) = lane.settle_partial(builder, misfit.is_some()) {
        let what = Outbound::Taken(to);
        let reason = Reason::Resumes { received_bytes: ByteCount(resume.received_bytes) };
        send(builder, lane, containers, what, How { resume: Some(resume), ..How::new(reason) });
    }
    if lane.is_blocked {
        return;
    }
    match (lane.there, misfit) {
        (Some(there), Some(misfit)) => settle_misfit(builder, policy, rules, lane, there, misfit),
        (Some(there), None) if lane.line.is_none() && there.resume_token.is_none() => {
            refuse_unknown_data(builder, lane);
        }
        _ => {}
    }
    divergence::report_known(builder, lane);
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

/// A target dataset without snapshots that no receive of ours left there is never written to.
pub(super) fn refuse_unknown_data(builder: &mut Builder, lane: &mut Lane<'_>) {
    lane.block(builder, FindingKind::UnknownData { copy: lane.name.clone() });
}

/// Makes the target's line one that an increment, or a full stream, can follow.
fn settle_misfit(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    lane: &mut Lane<'_>,
    there: &Dataset,
    misfit: Misfit,
) {
    let keep = rules.keep_superseded;
    match misfit {
        Misfit::NothingInCommon => match rules.on_no_base {
            OnNoBase::Supersede => divergence::set_aside(builder, lane, there, misfit, keep),
            OnNoBase::Stop => lane.block(builder, FindingKind::NoBase { copy: lane.name.clone() }),
        },
        Misfit::AfterBase(cause) => match rules.on_divergence {
            BackupDivergence::Stop => refuse(builder, lane, there, cause, Obstacle::Policy),
            // What was written after the newest snapshot is in no snapshot, and on an append-only target nothing goes.
            BackupDivergence::Remove if there.written_bytes == 0 && !lane.ground.is_append_only => {
                remove(builder, policy, lane, there);
            }
            BackupDivergence::Keep | BackupDivergence::Remove => {
                divergence::set_aside(builder, lane, there, misfit, keep);
            }
        },
    }
}

/// Ends the lane: a person has to decide about what the copy has after the base.
pub(super) fn refuse(
    builder: &mut Builder,
    lane: &mut Lane<'_>,
    there: &Dataset,
    cause: SetAsideCause,
    obstacle: Obstacle,
) {
    let copy = lane.name.clone();
    if cause == SetAsideCause::Written {
        let newest = there.history.newest_snapshot().map(|point| point.name.clone());
        let written_bytes = ByteCount(there.written_bytes);
        return lane.block(builder, FindingKind::WrittenTo { copy, newest, written_bytes });
    }
    let Some(base) = lane.target_base().map(|base| base.name.clone()) else { return };
    let newer = names(lane.line.iter().flat_map(|line| &line.unknown).copied());
    lane.block(builder, FindingKind::Diverged { copy, base, newer, obstacle });
}

/// Removes exactly the target's own snapshots that are newer than the base; anything else ends the lane.
fn remove(builder: &mut Builder, policy: &Policy, lane: &mut Lane<'_>, there: &Dataset) {
    let Some(base) = lane.target_base() else { return };
    let unknown: Vec<Point> =
        lane.line.iter().flat_map(|line| &line.unknown).map(|point| (*point).clone()).collect();
    let is_ours = |point: &&Point| policy.name_format.is_own(&point.name) && !lane.is_a_guests(point);
    let foreign = names(unknown.iter().filter(|point| !is_ours(point)));
    let in_use = names(unknown.iter().filter(|point| lane.is_pinned(point)));
    let obstacle = match (foreign.is_empty(), in_use.is_empty()) {
        (false, _) => Some(Obstacle::Foreign(foreign)),
        (true, false) => Some(Obstacle::InUse(in_use)),
        (true, true) => None,
    };
    if let Some(obstacle) = obstacle {
        return refuse(builder, lane, there, SetAsideCause::Diverged, obstacle);
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

/// What is newer than the target's head: the newest own snapshot, or all of them in their order.
fn outbound<'a>(policy: &Policy, lane: &Lane<'a>) -> Vec<Outbound<'a>> {
    let pending = lane.source.pending.as_ref().map(Outbound::Pending);
    if lane.ground.target.intermediates {
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
