//! The run's own snapshot, and the bookmarks that make it and its forerunners outlive their pruning.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::naming::RunName;
use super::select::{Caution, Selected};
use super::trust::{Next, Trust};
use super::{Action, FindingKind, NewBookmark, NextLineage, Place, Reason, Severity, StepId, ToDestroy};
use crate::model::{
    Claim, DatasetName, GuestId, Guid, NameFormat, Point, PointKind, PointName, SnapshotName, Txg,
};
use crate::policy::Policy;

/// The steps that give one dataset its points in this run.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    /// The snapshot's step; `None` where this run takes none.
    pub(super) snapshot: Option<StepId>,
    /// The step that bookmarks it.
    pub(super) bookmark: Option<StepId>,
    /// The step that makes the bookmarks which earlier own snapshots lack.
    pub(super) missing_bookmarks: Option<StepId>,
    /// Own snapshots that can get no bookmark: none of them may go.
    pub(super) cannot_bookmark: BTreeSet<Guid>,
}

/// Adds a step for each group of datasets whose snapshots must be of one moment: the volumes of a guest, and the rest of
/// each pool; `names` has a name for each of `selected`. One call takes snapshots of one pool, so that a guest's volumes on two
/// pools are of one moment only where the guest is frozen. Gives what was planned for each dataset.
pub(super) fn plan_snapshots(
    builder: &mut Builder,
    policy: &Policy,
    selected: &[(Selected<'_>, Trust<'_>)],
    names: &[RunName],
) -> BTreeMap<DatasetName, Taken> {
    let mut groups: BTreeMap<(Option<u32>, &str, &PointName), Group> = BTreeMap::new();
    for ((one, trust), RunName { name, .. }) in selected.iter().zip(names) {
        let dataset = &one.dataset.name;
        let is_frozen = policy.freeze.is_some() && one.guest.is_some_and(|guest| guest.is_freezable);
        let pool = if is_frozen { "" } else { dataset.pool() };
        let key = (one.guest_id.map(|id| id.0), pool, name);
        match (dataset.snapshot(name), dataset.bookmark(name)) {
            (Ok(snapshot), Ok(bookmark)) => {
                let group = groups.entry(key).or_default();
                group.freeze = one.guest_id.filter(|_| is_frozen);
                group.snapshots.push(snapshot);
                group.lineage.push(next_lineage(builder, one, trust));
                group.bookmarks.push(NewBookmark { bookmark, of: name.clone(), guid: None });
            }
            (Err(error), _) | (_, Err(error)) => {
                let kind = FindingKind::SnapshotName { error };
                builder.find(Severity::Blocked, Some(dataset), Place::Source, kind);
            }
        }
    }
    let mut taken = BTreeMap::new();
    for ((guest, pool, _), group) in groups {
        let count = group.snapshots.len();
        let reason = match guest {
            Some(id) => Reason::GuestSnapshot { guest: GuestId(id), volumes: count },
            None => Reason::PoolSnapshot { pool: pool.to_owned(), datasets: count },
        };
        plan_group(builder, group, reason, &mut taken);
    }
    taken
}

/// Snapshots that are taken together, and their bookmarks.
#[derive(Default)]
struct Group {
    freeze: Option<GuestId>,
    snapshots: Vec<SnapshotName>,
    bookmarks: Vec<NewBookmark>,
    lineage: Vec<NextLineage>,
}

/// The proof that the next snapshot of a dataset will give.
fn next_lineage(builder: &mut Builder, one: &Selected<'_>, trust: &Trust<'_>) -> NextLineage {
    let Next { previous, claim, restart } = trust.next(builder);
    let previous_txg = previous.map(|point| point.createtxg);
    let previous =
        previous.and_then(|point| Some((one.dataset.name.snapshot(&point.name).ok()?, point.guid)));
    let restart = Claim { since: restart, except: Vec::new() };
    let is_first = !one.dataset.has_lineage();
    NextLineage { dataset: one.dataset.guid, previous, previous_txg, claim, restart, is_first }
}

fn plan_group(builder: &mut Builder, group: Group, reason: Reason, taken: &mut BTreeMap<DatasetName, Taken>) {
    let Group { freeze, snapshots, bookmarks, lineage } = group;
    let dataset = match snapshots.as_slice() {
        [only] => Some(only.dataset().clone()),
        _ => None,
    };
    let is_one_moment = matches!(reason, Reason::GuestSnapshot { .. });
    let action = Action::Snapshot { snapshots, is_one_moment, freeze, lineage };
    let snapshot = builder.step(dataset.as_ref(), Place::Source, action, reason, Order::default());
    let mut by_pool: BTreeMap<String, Vec<NewBookmark>> = BTreeMap::new();
    for bookmark in bookmarks {
        by_pool.entry(bookmark.bookmark.dataset().pool().to_owned()).or_default().push(bookmark);
    }
    for bookmarks in by_pool.into_values() {
        let members: Vec<DatasetName> = bookmarks.iter().map(|new| new.bookmark.dataset().clone()).collect();
        let dataset = match members.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let action = Action::Bookmark { bookmarks };
        let order = Order::needs([snapshot]);
        let bookmark = builder.step(dataset, Place::Source, action, Reason::BookmarkOfSnapshot, order);
        for member in members {
            let of_member = Taken { snapshot: Some(snapshot), bookmark: Some(bookmark), ..Taken::default() };
            taken.insert(member, of_member);
        }
    }
}

/// Adds the bookmarks that own snapshots lack, after a crash or a migration.
pub(super) fn plan_missing_bookmarks(
    builder: &mut Builder,
    format: &NameFormat,
    one: &Selected<'_>,
    taken: &mut Taken,
) {
    let history = &one.dataset.history;
    // One that another program has named says nothing once the snapshot is gone, nor one from before the snapshot was
    // received again.
    let own = history.bookmarks().filter(|point| format.is_own(&point.name));
    let marked: BTreeSet<(Guid, Txg)> = own.map(|point| (point.guid, point.createtxg)).collect();
    let names: BTreeMap<&PointName, Guid> =
        history.bookmarks().map(|point| (&point.name, point.guid)).collect();
    let mut bookmarks = Vec::new();
    // One that will vanish by itself too: its bookmark stays.
    let snapshots = history.points().filter(|point| point.kind == PointKind::Snapshot);
    let is_marked = |point: &Point| marked.contains(&(point.guid, point.createtxg));
    for snapshot in snapshots.filter(|point| format.is_own(&point.name) && !is_marked(point)) {
        let name = match names.get(&snapshot.name) {
            None => Ok(snapshot.name.clone()),
            Some(guid) if *guid == snapshot.guid => {
                NameFormat::name_with_guid(&snapshot.name, Guid(snapshot.createtxg.0))
            }
            Some(_) => NameFormat::name_with_guid(&snapshot.name, snapshot.guid),
        };
        let bookmark = name.and_then(|name| one.dataset.name.bookmark(&name));
        match bookmark {
            Ok(bookmark) => {
                bookmarks.push(NewBookmark {
                    bookmark,
                    of: snapshot.name.clone(),
                    guid: Some(snapshot.guid),
                });
            }
            Err(error) => {
                taken.cannot_bookmark.insert(snapshot.guid);
                let dataset = Some(&one.dataset.name);
                let kind = FindingKind::CannotBookmark { snapshot: snapshot.name.clone(), error };
                builder.find(Severity::Warning, dataset, Place::Source, kind);
            }
        }
    }
    if !bookmarks.is_empty() {
        let reason = Reason::MissingBookmarks { count: bookmarks.len() };
        let action = Action::Bookmark { bookmarks };
        let order = Order::default();
        taken.missing_bookmarks =
            Some(builder.step(Some(&one.dataset.name), Place::Source, action, reason, order));
    }
}

/// Destroys own bookmarks of which it is certain that the dataset has left them: as incremental sources they would spoil a
/// copy, and the next snapshot can prove more without them.
pub(super) fn plan_void_bookmarks(
    builder: &mut Builder,
    format: &NameFormat,
    one: &Selected<'_>,
    trust: &Trust<'_>,
) {
    let own = one.dataset.history.bookmarks().filter(|point| format.is_own(&point.name));
    let void = own.filter(|point| trust.is_void(point));
    let bookmarks: Vec<ToDestroy> = void.map(|point| ToDestroy::new(point, Reason::LineLeft)).collect();
    if !bookmarks.is_empty() && one.caution == Caution::None {
        let dataset = &one.dataset.name;
        let action = Action::DestroyBookmarks { dataset: dataset.clone(), bookmarks };
        builder.step(Some(dataset), Place::Source, action, Reason::LineLeft, Order::default());
    }
}
