//! Which snapshots of copies have lost data, and who still has that data. Pure, from an inventory and the names that
//! `zpool status -v` gives.
//!
//! They are healed through a scratch snapshot ([`crate::model::HEALING_SNAPSHOT`]): `zfs receive -c` into the damaged snapshot itself
//! mends its blocks, but leaves it inconsistent for ever.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::status::{copy_of, selected_and_named};
use super::{Place, Selected};
use crate::model::{
    CopyEncryption, Dataset, DatasetKind, DatasetName, Encryption, Guid, Inventory, Point, SnapshotName,
    TargetName,
};
use crate::policy::{Policy, Target};

/// What each target names as damaged.
pub type Damaged = BTreeMap<TargetName, Vec<String>>;

/// A copy that has lost data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedCopy {
    /// The dataset whose copy it is.
    pub dataset: DatasetName,
    /// The target with the damaged copy.
    pub target: TargetName,
    /// The damaged copy.
    pub copy: DatasetName,
    /// File system or volume.
    #[serde(skip)]
    pub kind: DatasetKind,
    /// Whether streams of it are raw.
    #[serde(skip)]
    pub encryption_of_streams: Encryption,
    /// Whether the target encrypts it.
    #[serde(skip)]
    pub copy_encryption: CopyEncryption,
    /// Its newest snapshot, damaged or not.
    #[serde(skip)]
    pub newest: Option<DamagedSnapshot>,
    /// Its damaged snapshots, oldest first.
    pub snapshots: Vec<DamagedSnapshot>,
    /// Whether what was received last is damaged, too: the next increment builds on it.
    pub is_head_damaged: bool,
}

/// A damaged snapshot of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedSnapshot {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// Its GUID.
    pub guid: Guid,
    /// The machines with a snapshot of the same GUID that do not name theirs as damaged.
    pub whole: Vec<Whole>,
}

/// The same snapshot on another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whole {
    /// The machine.
    pub place: Place,
    /// Its name there.
    pub snapshot: SnapshotName,
}

/// The copies of what the policy selects that `damaged` names. `Err` says why the source could not be asked.
pub fn damaged_copies(
    policy: &Policy,
    inventory: &Inventory,
    now: Timestamp,
    damaged: &Damaged,
) -> Result<Vec<DamagedCopy>, String> {
    let (selected, names) = selected_and_named(policy, inventory, now)?;
    let copy = |target: &Target, one: &Selected<'_>| {
        copy_of(inventory, target, names.get(&target.name), one).ok().flatten()
    };
    let mut found = Vec::new();
    for target in &policy.targets {
        for one in &selected {
            let Some(there) = copy(target, one) else { continue };
            let parts = parts_of(damaged, &target.name, &there.name);
            if parts.is_empty() {
                continue;
            }
            let others = policy.targets.iter().filter(|other| other.name != target.name);
            let others = others.filter_map(|other| {
                let parts = |copy: &Dataset| parts_of(damaged, &other.name, &copy.name);
                copy(other, one).map(|copy| (Place::Target(other.name.clone()), copy, parts(copy)))
            });
            let machines: Vec<_> =
                std::iter::once((Place::Source, one.dataset, Vec::new())).chain(others).collect();
            let is_raw = one.dataset.encryption == Encryption::On && there.encryption == Encryption::On;
            let encryption_of_streams = if is_raw { Encryption::On } else { Encryption::Off };
            let is_by_target = !is_raw && there.encryption == Encryption::On;
            let copy_encryption =
                if is_by_target { CopyEncryption::ByTarget } else { CopyEncryption::AsSent };
            found.push(DamagedCopy {
                dataset: one.dataset.name.clone(),
                target: target.name.clone(),
                copy: there.name.clone(),
                kind: there.kind,
                encryption_of_streams,
                copy_encryption,
                newest: there
                    .history
                    .newest_snapshot()
                    .and_then(|newest| with_whole(there, newest, &machines)),
                snapshots: snapshots(there, &parts, &machines),
                is_head_damaged: is_head_named(&parts),
            });
        }
    }
    Ok(found)
}

/// The damaged snapshots of `there`, and which of `machines` has them whole.
fn snapshots(
    there: &Dataset,
    parts: &[&str],
    machines: &[(Place, &Dataset, Vec<&str>)],
) -> Vec<DamagedSnapshot> {
    let damaged = there.history.snapshots().filter(|point| is_damaged(there, parts, point));
    damaged.filter_map(|point| with_whole(there, point, machines)).collect()
}

/// A snapshot of `there`, and which of `machines` has it whole.
fn with_whole(
    there: &Dataset,
    point: &Point,
    machines: &[(Place, &Dataset, Vec<&str>)],
) -> Option<DamagedSnapshot> {
    let whole = machines.iter().filter_map(|(place, dataset, parts)| {
        let same = dataset.history.find_snapshot(point.guid)?;
        let is_whole = !is_damaged(dataset, parts, same);
        let snapshot = dataset.name.snapshot(&same.name).ok().filter(|_| is_whole)?;
        Some(Whole { place: place.clone(), snapshot })
    });
    let snapshot = there.name.snapshot(&point.name).ok()?;
    Some(DamagedSnapshot { snapshot, guid: point.guid, whole: whole.collect() })
}

/// The parts of the names of damaged objects that follow the name of `dataset`: `@SNAPSHOT:OBJECT`, or `:OBJECT` for its present
/// state.
fn parts_of<'a>(damaged: &'a Damaged, target: &TargetName, dataset: &DatasetName) -> Vec<&'a str> {
    let names = damaged.get(target).into_iter().flatten();
    let parts = names.filter_map(|name| name.strip_prefix(dataset.as_str()));
    parts.filter(|part| part.starts_with(['@', ':'])).collect()
}

/// Whether an object of what the dataset has now is among them.
fn is_head_named(parts: &[&str]) -> bool {
    parts.iter().any(|part| part.starts_with(':'))
}

/// Whether a snapshot is damaged. A pool may name only what the dataset has now: that is what its newest snapshot has, unless it
/// was written to since.
fn is_damaged(dataset: &Dataset, parts: &[&str], point: &Point) -> bool {
    let is_newest = || dataset.history.newest_snapshot().is_some_and(|newest| newest.guid == point.guid);
    is_named(parts, point.name.as_str())
        || (is_head_named(parts) && dataset.written_bytes == 0 && is_newest())
}

/// Whether an object of this snapshot is among them. A snapshot's name may have a `:` itself.
fn is_named(parts: &[&str], snapshot: &str) -> bool {
    let objects = parts.iter().filter_map(|part| part.strip_prefix('@')?.strip_prefix(snapshot));
    objects.into_iter().any(|rest| rest.starts_with(':'))
}
