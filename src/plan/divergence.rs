//! Copies that cannot simply continue: diverged, written to, or with nothing in common with their source.
//!
//! Their lineage is set aside, whole, and the copy continues from the base, or starts over under the free name. Nothing
//! is lost by it. A backup may also remove what is incompatible (`"remove"`), and every target can wait for a person
//! (`"stop"`).

use jiff::{SignedDuration, Timestamp};

use super::builder::Builder;
use super::replication::Replication;
use super::{AsideFinding, FindingKind, Reason, Severity, months};
use crate::model::{
    ByteCount, Change, Dataset, DatasetName, Encryption, NAME_BYTES_MAX, Point, PointName, SET_ASIDE_PAUSE,
    SetAside, SetAsideCause, SetAsideMark, SnapshotId,
};
use crate::policy::Policy;

/// How long a second lineage set aside for the same cause is taken for the work of the same program.
const AGAIN_WITHIN: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Why a copy cannot simply continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The source knows none of its snapshots.
    NothingInCommon,
    /// It has data or snapshots after the base.
    AfterBase(SetAsideCause),
}

/// How the copy of `replication` differs, if it cannot continue. Ends the replication where that cannot be decided.
pub(super) fn judge(
    builder: &mut Builder,
    policy: &Policy,
    replication: &mut Replication<'_>,
) -> Option<Misfit> {
    let there = replication.there?;
    let compared = replication.comparison.as_ref()?;
    if compared.common.is_none() {
        return Some(Misfit::NothingInCommon);
    }
    if compared.unknown.is_empty() {
        return (there.written_bytes > 0).then_some(Misfit::AfterBase(SetAsideCause::Written));
    }
    let is_raw = replication.dataset().encryption == Encryption::On;
    let is_unchanged = compared.is_unchanged_since_base(there, is_raw);
    let is_ours = |point: &&Point| policy.name_format.is_own(&point.name) && !replication.is_a_guests(point);
    let are_ours = compared.unknown.iter().all(|point| is_ours(point) || months::is_archives(&point.name));
    let cause = if are_ours { SetAsideCause::Diverged } else { SetAsideCause::Foreign };
    if !replication.knows_unknown(builder) || is_unchanged {
        return None;
    }
    Some(Misfit::AfterBase(cause))
}

/// The reason that a person reads.
pub(super) fn reason(replication: &Replication<'_>, misfit: Misfit) -> Reason {
    let base = replication.target_base().map(|base| base.name.clone());
    match (misfit, base) {
        (Misfit::AfterBase(SetAsideCause::Written), Some(base)) => Reason::WrittenAfter { base },
        (Misfit::AfterBase(SetAsideCause::Diverged), Some(base)) => Reason::RolledBack { base },
        (Misfit::AfterBase(_), Some(base)) => Reason::UnknownAfter { base },
        (Misfit::NothingInCommon, _) | (_, None) => Reason::NothingInCommon,
    }
}

/// Adds the step that sets the copy's lineage aside; the replication then continues from the base, or starts over.
pub(super) fn set_aside(
    builder: &mut Builder,
    replication: &mut Replication<'_>,
    there: &Dataset,
    misfit: Misfit,
    keep: Option<SignedDuration>,
) {
    let because = reason(replication, misfit);
    if let Some(kind) = obstacle(builder, replication, there, misfit) {
        return replication.block(builder, kind);
    }
    let base = replication.target_base().filter(|_| misfit != Misfit::NothingInCommon);
    let cause = match misfit {
        Misfit::NothingInCommon => SetAsideCause::NothingInCommon,
        Misfit::AfterBase(cause) => cause,
    };
    let wish = SetAside {
        dataset: replication.name.clone(),
        guid: there.guid,
        base: base.map(|base| SnapshotId { name: base.name.clone(), guid: base.guid }),
        cause,
        writer: replication.writer.clone(),
    };
    let unknown: Vec<_> = replication
        .comparison
        .iter()
        .flat_map(|comparison| &comparison.unknown)
        .map(|point| (*point).clone())
        .collect();
    let kind = AsideFinding::SetAside {
        copy: replication.name.clone(),
        base: base.map(|base| base.name.clone()),
        newer: unknown.iter().map(|point| point.name.clone()).collect(),
        written_bytes: ByteCount(there.written_bytes),
        because: because.clone(),
        keep_hours: keep.map(|keep| keep.as_hours()),
    };
    builder.find(Severity::Warning, Some(&replication.dataset().name), replication.place.clone(), kind);
    replication.step(builder, Change::SetAside(wish.clone()), because);
    replication.set_aside_step = replication.last;
    if base.is_some() {
        replication.removed.extend(unknown.iter().map(|point| point.guid));
    } else {
        replication.start_over();
        replication.children_wait = replication.has_children().then_some(wish);
    }
}

/// Why it cannot be set aside.
fn obstacle(
    builder: &Builder,
    replication: &Replication<'_>,
    there: &Dataset,
    misfit: Misfit,
) -> Option<FindingKind> {
    let copy = replication.name.clone();
    if replication.name == replication.ground.target.root {
        return Some(AsideFinding::RootMisfit { copy, because: reason(replication, misfit) }.into());
    }
    if there.guid.0 == 0 {
        return Some(AsideFinding::SetAsideUnfinished { copy }.into());
    }
    let cause = match misfit {
        Misfit::NothingInCommon => SetAsideCause::NothingInCommon,
        Misfit::AfterBase(cause) => cause,
    };
    if let Some((earlier, mark)) = recent(builder, replication, there)
        && let Ok(until) = mark.at.checked_add(SET_ASIDE_PAUSE)
    {
        return Some(AsideFinding::SetAsideTooSoon { copy, earlier, until }.into());
    }
    if matches!(cause, SetAsideCause::Written | SetAsideCause::Foreign)
        && let Some(earlier) = earlier(replication, cause, builder.at())
    {
        let newer = replication
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.unknown)
            .map(|point| point.name.clone())
            .collect();
        return Some(AsideFinding::SetAsideAgain { copy, earlier, newer }.into());
    }
    // The date and a number.
    let added = cause.infix().len() + "2026-01-01-000000-99".len();
    let longest = longest_name(replication);
    (longest + added > NAME_BYTES_MAX).then_some(FindingKind::SetAsideName { copy })
}

/// The lineage for whose sake an append-only target sets no other one aside yet, wherever it is by now.
fn recent(
    builder: &Builder,
    replication: &Replication<'_>,
    there: &Dataset,
) -> Option<(DatasetName, SetAsideMark)> {
    if !replication.ground.is_append_only {
        return None;
    }
    let mut others = replication.ground.listing.datasets().filter(|other| other.guid != there.guid);
    others.find_map(|other| {
        let mark = other.set_aside_of(&replication.name)?;
        mark.is_recent(builder.at()).then(|| (other.name.clone(), mark))
    })
}

/// The longest name of a dataset or snapshot at or below the copy, in bytes.
fn longest_name(replication: &Replication<'_>) -> usize {
    let all = replication.there.into_iter().chain(replication.ground.listing.below(&replication.name));
    let longest = |dataset: &Dataset| {
        let points = dataset.history.points().map(|point| point.name.as_str().len() + 1).max();
        dataset.name.as_str().len() + points.unwrap_or(0)
    };
    all.map(longest).max().unwrap_or(0)
}

/// A lineage of the same copy that was set aside for the same cause not long ago: another program keeps doing it.
fn earlier(replication: &Replication<'_>, cause: SetAsideCause, now: Timestamp) -> Option<DatasetName> {
    let marks = replication.set_asides.iter().filter_map(|aside| aside.set_aside());
    let mut recent = marks.filter(|mark| mark.cause == cause && now.duration_since(mark.at) < AGAIN_WITHIN);
    recent.next().map(|mark| mark.name)
}

/// Reports where the source's newer points are in a set-aside lineage: they are sent again.
pub(super) fn report_known(builder: &mut Builder, replication: &Replication<'_>) {
    for aside in &replication.set_asides {
        let known = aside.history.snapshots().rev().find_map(|point| {
            let known = replication.find_at_source(point.guid)?;
            replication.is_newer_than_head(known).then(|| point.name.clone())
        });
        if let Some(snapshot) = known {
            let kind = AsideFinding::KnownSetAside {
                copy: replication.name.clone(),
                aside: aside.name.clone(),
                snapshot,
            };
            builder.find(
                Severity::Warning,
                Some(&replication.dataset().name),
                replication.place.clone(),
                kind,
            );
        }
    }
}

pub(super) fn names<'a>(points: impl IntoIterator<Item = &'a Point>) -> Vec<PointName> {
    points.into_iter().map(|point| point.name.clone()).collect()
}
