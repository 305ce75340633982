//! Which months an archive has.
//!
//! A month counts by a snapshot of its name on the copy, where the source knows the snapshot's GUID, or the snapshot is
//! not after the base and of no later month than it, or on a marked lineage of the copy that was set aside. A snapshot that was made by hand
//! counts for nothing, whatever its name: a month too many costs room, a month that is missing cannot be archived any more. Where the copy
//! or the lineage is that of another dataset, which the source still has, its months are that dataset's: then the copies count
//! that this dataset has written.

use std::collections::BTreeSet;

use super::replication::Replication;
use crate::model::{Dataset, Month, NameError, Point, PointKind, PointName};
use crate::policy::Policy;

/// The month of a snapshot that is a month's: `2026-Apr`, or `2026-Apr.2` where the name was taken.
pub(super) fn archived_month(name: &PointName) -> Option<Month> {
    let (month, number) = name.as_str().split_once('.').unwrap_or((name.as_str(), "0"));
    number.parse::<u32>().ok()?;
    Month::parse(month)
}

/// Whether it is called like a forced archive: `2026-Apr-15`, `2026-Apr-15-2`.
fn is_forced(name: &PointName) -> bool {
    let name = name.as_str();
    let (month, rest) = (name.get(..8), name.get(8..));
    month.is_some_and(|month| Month::parse(month).is_some())
        && rest.is_some_and(|rest| {
            rest.starts_with('-') && rest[1..].chars().all(|c| c.is_ascii_digit() || c == '-')
        })
}

/// Whether an archive gives its snapshots such a name.
pub(super) fn is_archives(name: &PointName) -> bool {
    archived_month(name).is_some() || is_forced(name)
}

/// The name for `month` that nothing on the copy has.
pub(super) fn free_month_name(replication: &Replication<'_>, month: Month) -> Result<PointName, NameError> {
    let mut name = PointName::new(&month.to_string())?;
    let mut number = 2_u32;
    while replication.is_taken(&name) {
        name = PointName::new(&format!("{month}.{number}"))?;
        number += 1;
    }
    Ok(name)
}

/// The newest month in the name of any snapshot of the copy that is not to come, whoever made it: months are archived in their
/// order on an append-only target. Where the copy `is_to_be_set_aside`, what the source does not know goes with it.
pub(super) fn newest_name(
    replication: &Replication<'_>,
    current: Month,
    is_to_be_set_aside: bool,
) -> Option<Month> {
    let goes = |point: &Point| is_to_be_set_aside && unknown(replication).any(|one| one.guid == point.guid);
    let stays =
        replication.there.into_iter().flat_map(|there| there.history.snapshots()).filter(|one| !goes(one));
    stays.filter_map(|point| Month::in_name(point.name.as_str())).filter(|month| *month <= current).max()
}

/// What the copy has beyond the base.
fn unknown<'a>(replication: &Replication<'a>) -> impl Iterator<Item = &'a Point> {
    replication.comparison.iter().flat_map(|comparison| comparison.unknown.iter().copied())
}

/// The months that have arrived: those that the copy has itself, or, where it is another dataset's, those of the copies that this
/// dataset has written; and what the source knows by GUID, on whichever of these copies.
pub(super) fn on_copy(replication: &Replication<'_>, policy: &Policy, current: Month) -> BTreeSet<Month> {
    let Some(there) = replication.there else { return BTreeSet::new() };
    let arrived = |copy: &Dataset, base: Option<&Point>| arrived(replication, policy, current, copy, base);
    let known = |copy: &'_ Dataset| {
        let known = copy.history.snapshots().filter(|point| replication.knows(point.guid));
        months(known).collect::<BTreeSet<_>>()
    };
    let mut found = known(there);
    found.extend(written(replication).flat_map(known));
    if is_anothers(replication, there) {
        found.extend(written(replication).flat_map(|copy| {
            arrived(copy, copy.history.snapshots().rev().find(|point| replication.knows(point.guid)))
        }));
        return found;
    }
    found.extend(arrived(there, replication.target_base()));
    // The past of a clone is in another dataset.
    let origin = there.origin.as_ref();
    let parent = origin.and_then(|origin| {
        let parent = replication.ground.listing.get(origin.dataset())?;
        Some((parent, parent.history.named(PointKind::Snapshot, origin.name())?))
    });
    found.extend(parent.into_iter().flat_map(|(parent, upto)| arrived(parent, Some(upto))));
    found
}

/// The copies on the target that this dataset has written, whatever they are called now.
fn written<'a>(replication: &Replication<'a>) -> impl Iterator<Item = &'a Dataset> {
    replication.ground.written.get(&replication.writer.guid).into_iter().flatten().copied()
}

/// The months of a copy up to `base`, and of no later month than it. Without a base the copy is about to be set aside, and a base
/// whose name says no month proves none: then months count as far as they are over.
fn arrived(
    replication: &Replication<'_>,
    policy: &Policy,
    current: Month,
    copy: &Dataset,
    base: Option<&Point>,
) -> BTreeSet<Month> {
    let month = |name: &PointName| {
        let time = policy.name_format.time(name).map(|time| Month::of(time, &policy.time_zone));
        time.or_else(|| Month::in_name(name.as_str()))
    };
    // Its name at the source is one that no person on the target can change.
    let newest = base.and_then(|base| {
        let at_source = replication.find_at_source(base.guid);
        at_source.and_then(|point| month(&point.name)).or_else(|| month(&base.name))
    });
    let is_up_to_base = |point: &Point| base.is_none_or(|base| point.createtxg <= base.createtxg);
    let is_no_later = |month: Month| newest.map_or(month < current, |newest| month <= newest);
    months(copy.history.snapshots().filter(|point| is_up_to_base(point)))
        .filter(|month| is_no_later(*month))
        .collect()
}

/// The months in the names of these snapshots.
fn months<'a>(points: impl Iterator<Item = &'a Point>) -> impl Iterator<Item = Month> {
    points.filter_map(|point| archived_month(&point.name))
}

/// Whether a month on a lineage that was set aside is over and done with. The present one can still get its snapshot: the
/// lineage may have got the name by hand. Once the copy has it too, it is enough, however often the source is rolled back.
pub(super) fn is_over(replication: &Replication<'_>, month: Month, current: Month) -> bool {
    let snapshots = replication.there.into_iter().flat_map(|there| there.history.snapshots());
    month < current || months(snapshots).any(|one| one == month)
}

/// Whether a snapshot with the name of this month is kept, though it does not count for the copy: on a copy that this dataset has
/// written and that has another name now, or among what the source does not know, where that is about to be set aside.
pub(super) fn is_kept(replication: &Replication<'_>, month: Month, is_to_be_set_aside: bool) -> bool {
    let others = written(replication).filter(|copy| copy.name != replication.name);
    let others = others.flat_map(|copy| copy.history.snapshots());
    let goes = unknown(replication).filter(|_| is_to_be_set_aside);
    months(goes.chain(others)).any(|one| one == month)
}

/// The months of lineages of the copy that were set aside.
pub(super) fn set_aside(replication: &Replication<'_>) -> BTreeSet<Month> {
    months(set_asides(replication).flat_map(|aside| aside.history.snapshots())).collect()
}

/// The lineages of the copy that were set aside, without those that another dataset has written.
pub(super) fn set_asides<'a>(replication: &Replication<'a>) -> impl Iterator<Item = &'a Dataset> {
    replication.set_asides.iter().copied().filter(|aside| !is_anothers(replication, aside))
}

/// Whether it is the copy of another dataset that the source still has, served or not: the two have changed their names.
fn is_anothers(replication: &Replication<'_>, copy: &Dataset) -> bool {
    let writer = copy.writer().map(|writer| writer.guid);
    writer.is_some_and(|guid| guid != replication.writer.guid && replication.ground.alive.contains(&guid))
}
