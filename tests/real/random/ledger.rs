//! The content of snapshots when they were first seen, and their names at the source.

use std::collections::{BTreeMap, BTreeSet};

use super::seen::{Dataset, Point, Seen};
use crate::look;
use crate::pool::property;
use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// A digest for each GUID, and the snapshot it was taken of.
    contents: BTreeMap<String, (u64, String)>,
    hashed: BTreeSet<Point>,
    /// The own names of the source's snapshots, by GUID.
    names: BTreeMap<String, String>,
    /// Where the key of encrypted copies is.
    pub(super) key: Option<String>,
}

impl Ledger {
    /// Notes what the source's own snapshots are called.
    pub(super) fn note_names(&mut self, world: &World, seen: &Seen) {
        for point in seen.snapshots_below(&world.source()).filter(|point| point.is_own()) {
            self.names.entry(point.guid.clone()).or_insert_with(|| point.name.clone());
        }
    }

    /// The name of the snapshot of this GUID when it was first seen at the source.
    pub(super) fn own_name(&self, guid: &str) -> Option<&str> {
        self.names.get(guid).map(String::as_str)
    }

    /// Two snapshots of one GUID hold the same, wherever they are, and whenever they were seen.
    pub(super) fn compare(&mut self, seen: &Seen) {
        for point in seen.points.iter().filter(|point| !point.is_bookmark) {
            let looked = Point { is_held_or_cloned: false, ..point.clone() };
            if !self.hashed.insert(looked) {
                continue;
            }
            let name = format!("{}@{}", point.dataset, point.name);
            let content = self.content(seen.get(&point.dataset).unwrap(), &name);
            let (first, of) =
                self.contents.entry(point.guid.clone()).or_insert_with(|| (content, name.clone()));
            assert_eq!(*first, content, "{name} has the GUID of {of}, {}, but not its content", point.guid);
        }
    }

    /// A raw copy is read with the key of its source, which is put away again.
    fn content(&self, dataset: &Dataset, snapshot: &str) -> u64 {
        let root = dataset.is_encrypted.then(|| property("encryptionroot", &dataset.name));
        let locked = root.filter(|root| property("keystatus", root) != "available");
        if let (Some(root), Some(key)) = (&locked, &self.key) {
            crate::pool::zfs(&["load-key", "-L", key, root]);
        }
        let content = look::content_of(snapshot, dataset.is_volume);
        if let Some(root) = locked {
            crate::pool::zfs(&["unload-key", &root]);
        }
        content
    }
}
