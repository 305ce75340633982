//! What lay on the targets before a run, and what snapshots held when they were first seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::look;
use crate::pool::zfs;
use crate::world::World;

/// A snapshot where it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) guid: String,
    createtxg: String,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// On the targets, before the run.
    pub(super) before: BTreeSet<Seen>,
    /// A digest for each GUID.
    contents: BTreeMap<String, (u64, String)>,
    hashed: BTreeSet<Seen>,
}

/// The snapshots at and below `root`.
pub(super) fn snapshots(root: &str) -> BTreeSet<Seen> {
    if !look::exists(root) {
        return BTreeSet::new();
    }
    let rows = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "name,guid,createtxg", root]);
    let seen = rows.lines().map(|row| {
        let columns: Vec<_> = row.split('\t').map(str::to_owned).collect();
        let [name, guid, createtxg] = columns.try_into().unwrap();
        Seen { name, guid, createtxg }
    });
    seen.collect()
}

impl Ledger {
    /// Notes what is on the targets now.
    pub(super) fn look(&mut self, world: &World) {
        self.before = snapshots(&world.backup_root());
        self.before.extend(snapshots(&world.archive_root()));
    }

    /// Two snapshots of one GUID hold the same, wherever they are, and whenever they were seen.
    pub(super) fn compare(&mut self, world: &World) {
        for root in [world.source(), world.backup_root(), world.archive_root()] {
            for seen in snapshots(&root) {
                if self.hashed.contains(&seen) {
                    continue;
                }
                let content = look::content(&seen.name);
                let (first, of) =
                    self.contents.entry(seen.guid.clone()).or_insert_with(|| (content, seen.name.clone()));
                assert_eq!(
                    *first, content,
                    "{} has the GUID of {of}, {}, but not its content",
                    seen.name, seen.guid
                );
                self.hashed.insert(seen);
            }
        }
    }
}
