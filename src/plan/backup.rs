//! A nearline backup: it follows the source. What it has beyond the base is removed if it is ours; what has nothing in
//! common with the source is renamed aside, never destroyed first.

use super::builder::Builder;
use super::containers::Containers;
use super::lane::{How, Lane, Outbound};
use super::superseded;
use super::{Action, Doomed};
use crate::model::{BACKUP_ASIDE, ByteCount, Dataset, Encryption, Point};
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
        let reason = format!("goes on with a receive that broke off after {} bytes", resume.received_bytes);
        send(builder, lane, containers, what, How { resume: Some(resume), origin: None, reason });
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
        let reason = reason(lane);
        send(builder, lane, containers, what, How { reason, ..How::default() });
    }
}

fn send<'a>(
    builder: &mut Builder,
    lane: &mut Lane<'a>,
    containers: &mut Containers<'_>,
    what: Outbound<'a>,
    how: How,
) {
    match lane.free_name(what) {
        Ok(name) => lane.send(builder, containers, what, &name, how),
        Err(error) => lane.block(builder, error.to_string(), "shorten the target's dataset"),
    }
}

fn reason(lane: &Lane<'_>) -> String {
    match (lane.received.last(), lane.target_base()) {
        (Some(_), _) => "the next one".to_owned(),
        (None, Some(base)) => format!("the newest point in common is @{}", base.name),
        (None, None) => "nothing is there yet".to_owned(),
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
                let why = "the source knows none of its snapshots: it was recreated under the same name";
                superseded::plan_aside(builder, lane, there, BACKUP_ASIDE, why);
            }
            OnNoBase::Stop => {
                let what = format!("{} has snapshots, but the source knows none of them", lane.name);
                lane.block(builder, what, "rename it aside, or set on-no-base = \"supersede\"");
            }
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
    let size = ByteCount(written);
    let reason = format!("it is read-only, so {size} beyond @{to} can only be left of destroyed snapshots");
    lane.step(builder, Action::Rollback { dataset, to, guid }, reason);
}

/// A copy that somebody wrote to takes no increment, and is not put back without being asked.
pub(super) fn refuse_written(builder: &mut Builder, lane: &mut Lane<'_>, there: &Dataset) {
    let newest = there.history.newest_snapshot().map(|point| format!("@{}", point.name)).unwrap_or_default();
    let written = ByteCount(there.written_bytes);
    let what = format!("{} was written to after its newest snapshot {newest}: {written}", lane.name);
    let advice = format!(
        "nobody needs it: zfs rollback {}{newest} on {}; somebody does: rename it aside there",
        lane.name, lane.place
    );
    lane.block(builder, what, advice);
}

/// A target dataset without snapshots that no receive of ours left there is never written to.
pub(super) fn refuse_unknown_data(builder: &mut Builder, lane: &mut Lane<'_>) {
    let what = format!("{} exists there without a snapshot, so nothing tells whose data it holds", lane.name);
    let advice =
        format!("rename or destroy {} on {}; the next run then sends everything", lane.name, lane.place);
    lane.block(builder, what, advice);
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
    let list = |points: &mut dyn Iterator<Item = &Point>| {
        points.map(|point| format!("@{}", point.name)).collect::<Vec<_>>().join(", ")
    };
    let all = list(&mut unknown.iter());
    let what = format!(
        "{} has {all} after the newest common snapshot @{}, unknown to the source",
        lane.name, base.name
    );
    if rules.on_divergence == BackupDivergence::Stop {
        return lane.block(builder, what, "remove them by hand, or set on-divergence = \"remove\"");
    }
    let is_ours = |point: &&Point| policy.name_format.is_own(&point.name) && !is_a_guests(lane, point);
    let foreign = list(&mut unknown.iter().filter(|point| !is_ours(point)));
    if !foreign.is_empty() {
        return lane.block(
            builder,
            what,
            format!("{foreign} is not ours to remove: remove or rename it by hand"),
        );
    }
    let pinned = list(&mut unknown.iter().filter(|point| lane.is_pinned(point)));
    if !pinned.is_empty() {
        return lane.block(
            builder,
            what,
            format!("{pinned} is held or cloned: release it (zfs holds, zfs list -o clones)"),
        );
    }
    let why = format!("the source has left this line after @{} (a rollback, most likely)", base.name);
    let snapshots = unknown.iter().map(|point| Doomed::new(point, why.clone())).collect();
    let action = Action::DestroySnapshots { dataset: lane.name.clone(), snapshots };
    let (to, guid) = (base.name.clone(), base.guid);
    lane.removed.extend(unknown.iter().map(|point| point.guid));
    lane.step(builder, action, why.clone());
    let action = Action::Rollback { dataset: lane.name.clone(), to, guid };
    lane.step(builder, action, "an increment is only received onto its base");
}

/// Whether a guest's config lists a snapshot of this name: then it is Proxmox VE's.
pub(super) fn is_a_guests(lane: &Lane<'_>, point: &Point) -> bool {
    lane.source.selected.guest.is_some_and(|guest| guest.snapshots.contains(&point.name))
}

/// What is newer than the target's head: the newest own snapshot, or all of them in their order.
fn outbound<'a>(policy: &Policy, lane: &Lane<'a>) -> Vec<Outbound<'a>> {
    let pending = lane.source.pending.as_ref().map(Outbound::Pending);
    let history = &lane.dataset().history;
    let mut own = history.snapshots().filter(|point| policy.name_format.is_own(&point.name));
    if lane.intermediates {
        let newer = own.filter(|point| lane.is_newer_than_head(point)).map(Outbound::Taken);
        return newer.chain(pending).collect();
    }
    let newest = own.next_back().filter(|point| lane.is_newer_than_head(point)).map(Outbound::Taken);
    pending.or(newest).into_iter().collect()
}
