//! The run's own snapshot, and the bookmarks that make it and its forerunners outlive their pruning.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::naming::RunName;
use super::select::Selected;
use super::{Action, FindingKind, NewBookmark, Place, Reason, Severity, StepId};
use crate::model::{DatasetName, GuestId, Guid, NameFormat, PointKind, PointName, SnapshotName};

/// The steps that give one dataset its points in this run.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    /// The snapshot's step; `None` where this run takes none.
    pub(super) snapshot: Option<StepId>,
    /// The step that bookmarks it.
    pub(super) bookmark: Option<StepId>,
    /// The step that makes the bookmarks which earlier own snapshots lack.
    pub(super) healed: Option<StepId>,
    /// Own snapshots that can get no bookmark: none of them may go.
    pub(super) unmarkable: BTreeSet<Guid>,
}

/// Adds a step for each group of datasets whose snapshots must be of one moment: the volumes of a guest, and the rest of
/// each pool; `names` has a name for each of `selected`. Gives what was planned for each dataset.
pub(super) fn plan_snapshots(
    builder: &mut Builder,
    selected: &[Selected<'_>],
    names: &[RunName],
) -> BTreeMap<DatasetName, Taken> {
    let mut groups: BTreeMap<(Option<u32>, &str, &PointName), Group> = BTreeMap::new();
    for (one, RunName { name, .. }) in selected.iter().zip(names) {
        let dataset = &one.dataset.name;
        let key = (one.guest_id.map(|id| id.0), dataset.pool(), name);
        match (dataset.snapshot(name), dataset.bookmark(name)) {
            (Ok(snapshot), Ok(bookmark)) => {
                let group = groups.entry(key).or_default();
                group.snapshots.push(snapshot);
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
    snapshots: Vec<SnapshotName>,
    bookmarks: Vec<NewBookmark>,
}

fn plan_group(builder: &mut Builder, group: Group, reason: Reason, taken: &mut BTreeMap<DatasetName, Taken>) {
    let Group { snapshots, bookmarks } = group;
    let members: Vec<DatasetName> = snapshots.iter().map(|snapshot| snapshot.dataset().clone()).collect();
    let dataset = match members.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let is_one_moment = matches!(reason, Reason::GuestSnapshot { .. });
    let action = Action::Snapshot { snapshots, is_one_moment };
    let snapshot = builder.step(dataset, Place::Source, action, reason, Order::default());
    let action = Action::Bookmark { bookmarks };
    let order = Order::needs([snapshot]);
    let bookmark = builder.step(dataset, Place::Source, action, Reason::BookmarkOfSnapshot, order);
    for member in members {
        let of_member = Taken { snapshot: Some(snapshot), bookmark: Some(bookmark), ..Taken::default() };
        taken.insert(member, of_member);
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
    let marked: BTreeSet<Guid> = history.bookmarks().map(|point| point.guid).collect();
    let mut taken_names: Option<BTreeSet<&PointName>> = None;
    let mut bookmarks = Vec::new();
    // One that will vanish by itself too: its bookmark stays.
    let snapshots = history.points().filter(|point| point.kind == PointKind::Snapshot);
    for snapshot in snapshots.filter(|point| !marked.contains(&point.guid) && format.is_own(&point.name)) {
        let names = taken_names.get_or_insert_with(|| history.bookmarks().map(|point| &point.name).collect());
        let name = if names.contains(&snapshot.name) {
            NameFormat::name_with_guid(&snapshot.name, snapshot.guid)
        } else {
            Ok(snapshot.name.clone())
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
                taken.unmarkable.insert(snapshot.guid);
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
        taken.healed = Some(builder.step(Some(&one.dataset.name), Place::Source, action, reason, order));
    }
}
