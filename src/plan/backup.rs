//! A nearline backup: it follows the source. Where it cannot simply continue, its lineage is set aside, whole, or what
//! is incompatible is removed, or it waits for a person: as the policy says.

use super::builder::Builder;
use super::containers::Containers;
use super::divergence::{self, Misfit, names};
use super::outbound::{How, Outbound};
use super::replication::Replication;
use super::{FindingKind, Obstacle, Reason, ToDestroy, writer};
use crate::model::{ByteCount, Change, Dataset, Point, SetAsideCause};
use crate::policy::{BackupDivergence, BackupRules, OnNoBase, Policy};

/// Plans what one dataset's backup needs to catch up.
pub(super) fn plan(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    replication: &mut Replication<'_>,
    containers: &mut Containers<'_>,
) {
    writer::resolve(builder, policy, replication);
    if replication.is_blocked {
        return;
    }
    let misfit = divergence::judge(builder, policy, replication);
    if replication.is_blocked {
        return;
    }
    if let Some((to, resume)) = replication.resolve_partial(builder, misfit.is_some()) {
        let what = Outbound::Taken(to);
        let reason = Reason::Resumes { received_bytes: ByteCount(resume.received_bytes) };
        send(builder, replication, containers, what, How { resume: Some(resume), ..How::new(reason) });
    }
    if replication.is_blocked {
        return;
    }
    match (replication.there, misfit) {
        (Some(there), Some(misfit)) => resolve_misfit(builder, policy, rules, replication, there, misfit),
        (Some(there), None) if replication.comparison.is_none() && there.resume_token.is_none() => {
            refuse_unknown_data(builder, replication);
        }
        _ => {}
    }
    divergence::report_known(builder, replication);
    replication.check_encryption(builder);
    for what in outbound(policy, replication) {
        if replication.is_blocked {
            return;
        }
        let fallback =
            matches!(what, Outbound::Pending(_)).then(|| newest_own(policy, replication)).flatten();
        let is_origin = what.guid().is_some_and(|guid| replication.wanted_origins.contains(&guid));
        let reason = if is_origin { Reason::OriginOfClones } else { reason(replication) };
        let how = How { fallback, ..How::new(reason) };
        send(builder, replication, containers, what, how);
    }
}

fn send<'a>(
    builder: &mut Builder,
    replication: &mut Replication<'a>,
    containers: &mut Containers<'_>,
    what: Outbound<'a>,
    how: How<'a>,
) {
    match replication.free_name(what) {
        Ok(name) => replication.send(builder, containers, what, &name, how),
        Err(error) => replication.block(builder, FindingKind::CopyName { error }),
    }
}

fn reason(replication: &Replication<'_>) -> Reason {
    match (replication.received.last(), replication.target_base()) {
        (Some(_), _) => Reason::NextSnapshot,
        (None, Some(base)) => Reason::CommonBase { base: base.name.clone() },
        (None, None) => match &replication.origin {
            Some(origin) => Reason::CloneOf { origin: origin.there.clone() },
            None => Reason::NothingThere,
        },
    }
}

/// A target dataset without snapshots that no receive of ours left there is never written to.
pub(super) fn refuse_unknown_data(builder: &mut Builder, replication: &mut Replication<'_>) {
    replication.block(builder, FindingKind::UnknownData { copy: replication.name.clone() });
}

/// Makes the target's line one that an increment, or a full stream, can follow.
fn resolve_misfit(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    replication: &mut Replication<'_>,
    there: &Dataset,
    misfit: Misfit,
) {
    let keep = rules.keep_superseded;
    match misfit {
        Misfit::NothingInCommon => match rules.on_no_base {
            OnNoBase::Supersede => divergence::set_aside(builder, replication, there, misfit, keep),
            OnNoBase::Stop => {
                replication.block(builder, FindingKind::NoBase { copy: replication.name.clone() });
            }
        },
        Misfit::AfterBase(cause) => match rules.on_divergence {
            BackupDivergence::Stop => refuse(builder, replication, there, cause, Obstacle::Policy),
            // Data written after the newest snapshot is in no snapshot, and on an append-only target nothing goes.
            BackupDivergence::Remove if there.written_bytes == 0 && !replication.ground.is_append_only => {
                remove(builder, policy, replication, there);
            }
            BackupDivergence::Keep | BackupDivergence::Remove => {
                divergence::set_aside(builder, replication, there, misfit, keep);
            }
        },
    }
}

/// Ends the replication: a person has to decide about what the copy has after the base.
pub(super) fn refuse(
    builder: &mut Builder,
    replication: &mut Replication<'_>,
    there: &Dataset,
    cause: SetAsideCause,
    obstacle: Obstacle,
) {
    let copy = replication.name.clone();
    if cause == SetAsideCause::Written {
        let newest = there.history.newest_snapshot().map(|point| point.name.clone());
        let written_bytes = ByteCount(there.written_bytes);
        return replication.block(builder, FindingKind::WrittenTo { copy, newest, written_bytes });
    }
    let Some(base) = replication.target_base().map(|base| base.name.clone()) else { return };
    let newer = names(replication.comparison.iter().flat_map(|comparison| &comparison.unknown).copied());
    replication.block(builder, FindingKind::Diverged { copy, base, newer, obstacle });
}

/// Removes exactly the target's own snapshots that are newer than the base; anything else ends the replication.
fn remove(builder: &mut Builder, policy: &Policy, replication: &mut Replication<'_>, there: &Dataset) {
    let Some(base) = replication.target_base() else { return };
    let unknown: Vec<Point> = replication
        .comparison
        .iter()
        .flat_map(|comparison| &comparison.unknown)
        .map(|point| (*point).clone())
        .collect();
    let is_ours = |point: &&Point| policy.name_format.is_own(&point.name) && !replication.is_a_guests(point);
    let foreign = names(unknown.iter().filter(|point| !is_ours(point)));
    let in_use = names(unknown.iter().filter(|point| replication.is_held_or_cloned(point)));
    let obstacle = match (foreign.is_empty(), in_use.is_empty()) {
        (false, _) => Some(Obstacle::Foreign(foreign)),
        (true, false) => Some(Obstacle::InUse(in_use)),
        (true, true) => None,
    };
    if let Some(obstacle) = obstacle {
        return refuse(builder, replication, there, SetAsideCause::Diverged, obstacle);
    }
    let why = Reason::RolledBack { base: base.name.clone() };
    let snapshots = unknown.iter().map(|point| ToDestroy::new(point, why.clone())).collect();
    let action = Change::DestroySnapshots { dataset: replication.name.clone(), snapshots };
    let (to, guid) = (base.name.clone(), base.guid);
    replication.removed.extend(unknown.iter().map(|point| point.guid));
    replication.step(builder, action, why);
    let action = Change::Rollback { dataset: replication.name.clone(), to, guid };
    replication.step(builder, action, Reason::OntoBase);
}

/// The snapshots newer than the target's head: the newest own one, or all of them in their order.
fn outbound<'a>(policy: &Policy, replication: &Replication<'a>) -> Vec<Outbound<'a>> {
    let pending = replication.source.pending.as_ref().map(Outbound::Pending);
    if replication.ground.target.intermediates {
        let own = replication.dataset().history.snapshots();
        let is_sent = |point: &&Point| {
            policy.name_format.is_own(&point.name) || replication.wanted_origins.contains(&point.guid)
        };
        let own = own.filter(is_sent);
        // Expired snapshots go before anything is sent.
        let stays = |point: &&Point| !replication.source.expired.contains(&point.guid);
        let newer =
            own.filter(|point| replication.is_newer_than_head(point)).filter(stays).map(Outbound::Taken);
        return newer.chain(pending).collect();
    }
    let newest = pending.or(newest_own(policy, replication).map(Outbound::Taken));
    // What clones begin at comes with it.
    let origins = replication.origins_to_send().into_iter().map(Outbound::Taken);
    origins
        .filter(|origin| newest.is_some_and(|newest| newest.guid() != origin.guid()))
        .chain(newest)
        .collect()
}

/// The newest own snapshot that exists, if the target lacks it.
fn newest_own<'a>(policy: &Policy, replication: &Replication<'a>) -> Option<&'a Point> {
    let mut own = replication.dataset().history.snapshots().rev();
    let newest = own.find(|point| policy.name_format.is_own(&point.name));
    newest.filter(|point| replication.is_newer_than_head(point))
}
