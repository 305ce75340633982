//! Changes by people, guests and other tools to a machine behind the program's back: `zfs` at a prompt, data written,
//! another node's migration. Names are given as text, for tests that read like a terminal.

use super::FakeHost;
use super::machine::Machine;
use super::wire::Block;
use crate::host::Problem;
use crate::model::{
    BACKUP_PROPERTY, BookmarkName, Dataset, DatasetKind, DatasetName, Encryption, Guid, LINEAGE_PROPERTY,
    LineHistory, NameError, PointName, SnapshotName, UserProperty,
};

fn bad_name(error: &NameError) -> Problem {
    Problem::Other(error.to_string())
}

fn dataset_name(text: &str) -> Result<DatasetName, Problem> {
    DatasetName::new(text).map_err(|error| bad_name(&error))
}

fn snapshot_name(text: &str) -> Result<SnapshotName, Problem> {
    SnapshotName::parse(text).map_err(|error| bad_name(&error))
}

impl FakeHost {
    fn by_hand<T>(&self, work: impl FnOnce(&mut Machine) -> Result<T, Problem>) -> Result<T, Problem> {
        work(&mut self.machine())
    }

    /// `zfs create`, with `-V` for a volume; a name without `/` makes a pool.
    pub fn create(&self, dataset: &str, kind: DatasetKind) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| machine.create(&name, kind, Encryption::Off))
    }

    /// `zfs create -o encryption=on`.
    pub fn create_encrypted(&self, dataset: &str, kind: DatasetKind) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| machine.create(&name, kind, Encryption::On))
    }

    /// Writes `blocks` blocks that were never written before.
    pub fn write(&self, dataset: &str, blocks: usize) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| {
            let new: Vec<Block> = (0..blocks).map(|_| machine.shared_state.next_block()).collect();
            machine.node_mut(&name)?.head.extend(new);
            Ok(())
        })
    }

    /// `zfs snapshot` of all these at once.
    pub fn take(&self, snapshots: &[&str]) -> Result<(), Problem> {
        let names = snapshots.iter().map(|text| snapshot_name(text)).collect::<Result<Vec<_>, _>>()?;
        self.by_hand(|machine| machine.take_snapshots(&names, None))
    }

    /// `zfs bookmark DATASET@SNAPSHOT DATASET#BOOKMARK`; unlike the program's own call, an error where it exists.
    pub fn bookmark_as(&self, snapshot: &str, bookmark: &str) -> Result<(), Problem> {
        let (of, name) =
            (snapshot_name(snapshot)?, BookmarkName::parse(bookmark).map_err(|error| bad_name(&error))?);
        self.by_hand(|machine| {
            let node = machine.node(name.dataset())?;
            if node.bookmark(name.name()).is_some() {
                return Err(Problem::Exists);
            }
            machine.make_bookmarks(&[(of, name)])
        })
    }

    /// `zfs destroy DATASET@SNAPSHOT`, or with `#` of a bookmark.
    pub fn destroy_point(&self, point: &str) -> Result<(), Problem> {
        if let Ok(name) = SnapshotName::parse(point) {
            return self.by_hand(|machine| machine.destroy_snapshot(&name));
        }
        let name = BookmarkName::parse(point).map_err(|error| bad_name(&error))?;
        self.by_hand(|machine| {
            let bookmarks = &mut machine.node_mut(name.dataset())?.bookmarks;
            let before = bookmarks.len();
            bookmarks.retain(|bookmark| bookmark.name != *name.name());
            if bookmarks.len() == before { Err(Problem::NotFound) } else { Ok(()) }
        })
    }

    /// `zfs destroy -r` of a dataset without children.
    pub fn destroy(&self, dataset: &str) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| machine.destroy_with_snapshots(&name))
    }

    /// `zfs rollback DATASET@SNAPSHOT`.
    pub fn roll_back_to(&self, snapshot: &str) -> Result<(), Problem> {
        let name = snapshot_name(snapshot)?;
        self.by_hand(|machine| machine.roll_back(&name, None, false))
    }

    /// `zfs rollback -r DATASET@SNAPSHOT`.
    pub fn roll_back_past_newer(&self, snapshot: &str) -> Result<(), Problem> {
        let name = snapshot_name(snapshot)?;
        self.by_hand(|machine| machine.roll_back(&name, None, true))
    }

    /// `zfs rename` of a dataset, or of a snapshot (`DATASET@OLD`, `DATASET@NEW`).
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Problem> {
        if let Ok(old) = SnapshotName::parse(from) {
            let new = snapshot_name(to)?;
            return self.by_hand(|machine| machine.rename_snapshot(&old, None, new.name()));
        }
        let (old, new) = (dataset_name(from)?, dataset_name(to)?);
        self.by_hand(|machine| machine.rename_dataset(&old, None, &new))
    }

    /// `zfs hold TAG SNAPSHOT`.
    pub fn hold(&self, tag: &str, snapshot: &str) -> Result<(), Problem> {
        let name = snapshot_name(snapshot)?;
        self.by_hand(|machine| {
            let node = machine.node_mut(name.dataset())?;
            let held = node.snapshot_mut(name.name()).ok_or(Problem::NotFound)?;
            if held.holds.insert(tag.to_owned()) { Ok(()) } else { Err(Problem::Exists) }
        })
    }

    /// `zfs release TAG SNAPSHOT`; a snapshot that was to vanish with its last hold does.
    pub fn release(&self, tag: &str, snapshot: &str) -> Result<(), Problem> {
        let name = snapshot_name(snapshot)?;
        self.by_hand(|machine| {
            let node = machine.node_mut(name.dataset())?;
            let held = node.snapshot_mut(name.name()).ok_or(Problem::NotFound)?;
            if !held.holds.remove(tag) {
                return Err(Problem::NotFound);
            }
            machine.reap();
            Ok(())
        })
    }

    /// `zfs destroy -d`: at once, or with the last hold.
    pub fn destroy_deferred(&self, snapshot: &str) -> Result<(), Problem> {
        let name = snapshot_name(snapshot)?;
        self.by_hand(|machine| {
            if machine.destroy_snapshot(&name).is_ok() {
                return Ok(());
            }
            let node = machine.node_mut(name.dataset())?;
            node.snapshot_mut(name.name()).ok_or(Problem::NotFound)?.is_destroy_deferred = true;
            Ok(())
        })
    }

    /// Fills a dataset up so that no snapshot of it can be taken, or makes room again.
    pub fn set_full(&self, dataset: &str, is_full: bool) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| {
            machine.node_mut(&name)?.is_full = is_full;
            Ok(())
        })
    }

    /// `zfs clone SNAPSHOT DATASET`.
    pub fn clone_as(&self, snapshot: &str, dataset: &str) -> Result<(), Problem> {
        let (of, name) = (snapshot_name(snapshot)?, dataset_name(dataset)?);
        self.by_hand(|machine| machine.clone_snapshot(&of, &name))
    }

    /// `zfs set zhaul:backup=off`, or `on`.
    pub fn opt_out(&self, dataset: &str, is_opted_out: bool) -> Result<(), Problem> {
        self.set(dataset, BACKUP_PROPERTY, if is_opted_out { "off" } else { "on" })
    }

    /// `zfs set PROPERTY=VALUE DATASET` of a user property.
    pub fn set(&self, dataset: &str, property: &str, value: &str) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| {
            machine.node_mut(&name)?.user.insert(property.to_owned(), value.to_owned());
            Ok(())
        })
    }

    /// A guest that migrated to another node and back: bookmarks never travel, snapshots keep their GUIDs.
    pub fn migrate(&self, dataset: &str) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| {
            let guid = machine.shared_state.next_guid();
            let count = machine.node(&name)?.snapshots.len();
            let txgs: Vec<_> = (0..=count).map(|_| machine.next_txg(name.pool())).collect();
            let node = machine.node_mut(&name)?;
            node.bookmarks.clear();
            node.guid = guid;
            let mut txgs = txgs.into_iter();
            node.createtxg = txgs.next().unwrap_or_default();
            for (snapshot, createtxg) in node.snapshots.iter_mut().zip(txgs) {
                snapshot.createtxg = createtxg;
                snapshot.lineage = None;
            }
            Ok(())
        })
    }

    /// `zfs promote`.
    pub fn promote(&self, dataset: &str) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| machine.promote(&name))
    }

    /// `zfs send OF | zfs receive INTO` from a dataset of any machine.
    pub fn receive_full(&self, into: &str, from: &Self, of: &str) -> Result<(), Problem> {
        let (into, of) = (dataset_name(into)?, snapshot_name(of)?);
        let (kind, sent) =
            from.by_hand(|machine| Ok((machine.node(of.dataset())?.kind, machine.snapshot(&of)?.clone())))?;
        self.by_hand(|machine| {
            machine.create(&into, kind, Encryption::Off)?;
            machine.adopt(&into, sent)
        })
    }

    /// `zfs send -I BASE OF | zfs receive -F INTO` from a dataset of any machine, from the newest snapshot in common on; with
    /// `zfs send -p` the snapshots bring their user properties.
    pub fn force_receive(
        &self,
        into: &str,
        from: &Self,
        of: &str,
        has_properties: bool,
    ) -> Result<(), Problem> {
        let (into, of) = (dataset_name(into)?, snapshot_name(of)?);
        let sent = from.by_hand(|machine| {
            let node = machine.node(of.dataset())?;
            let until = node.snapshots.iter().position(|snapshot| snapshot.name == *of.name());
            let until = until.ok_or(Problem::NotFound)?;
            Ok(node.snapshots.get(..=until).unwrap_or_default().to_vec())
        })?;
        self.by_hand(|machine| machine.force_receive(&into, sent, has_properties))
    }

    /// The pools' histories begin again: their former records have been overwritten.
    pub fn forget_history(&self) {
        let mut machine = self.machine();
        machine.history_from = machine.newest_txg();
    }

    /// Nothing is marked, as by a zhaul that did not mark its snapshots yet.
    pub fn forget_lineage(&self) {
        let mut machine = self.machine();
        for node in machine.datasets.values_mut() {
            node.user.remove(LINEAGE_PROPERTY);
            for snapshot in &mut node.snapshots {
                snapshot.lineage = None;
            }
        }
    }

    /// `zfs receive -A`.
    pub fn abort_partial(&self, dataset: &str) -> Result<(), Problem> {
        let name = dataset_name(dataset)?;
        self.by_hand(|machine| machine.abort_receive(&name, None))
    }

    /// The datasets at and below `root`, bookmarks included; not counted as a call.
    pub fn datasets(&self, root: &str) -> Vec<Dataset> {
        dataset_name(root).map(|name| self.machine().list(&name, true)).unwrap_or_default()
    }

    /// When a dataset left its line; not counted as a call.
    pub fn line_history_of(&self, dataset: &DatasetName) -> LineHistory {
        self.machine().line_history(dataset)
    }

    /// The lineage property of a snapshot; not counted as a call.
    pub fn lineage_of(&self, snapshot: &SnapshotName, guid: Guid) -> Option<UserProperty> {
        self.machine().lineage(snapshot, guid)
    }

    /// The content of a snapshot.
    pub fn content(&self, snapshot: &str) -> Option<Vec<Block>> {
        let name = snapshot_name(snapshot).ok()?;
        self.machine().snapshot(&name).ok().map(|snapshot| snapshot.content.clone())
    }

    /// The content of the head of a dataset.
    pub fn head(&self, dataset: &str) -> Option<Vec<Block>> {
        let name = dataset_name(dataset).ok()?;
        self.machine().node(&name).ok().map(|node| node.head.clone())
    }

    /// The GUID of a snapshot.
    pub fn guid(&self, snapshot: &str) -> Option<Guid> {
        let name = snapshot_name(snapshot).ok()?;
        self.machine().snapshot(&name).ok().map(|snapshot| snapshot.guid)
    }

    /// Whether a dataset was received with the properties of a safe copy.
    pub fn is_safe_copy(&self, dataset: &str) -> bool {
        dataset_name(dataset).is_ok_and(|name| self.machine().node(&name).is_ok_and(|node| node.is_safe_copy))
    }

    /// Every snapshot at and below `root` with what it holds.
    pub fn contents(&self, root: &str) -> Vec<(DatasetName, PointName, Guid, Vec<Block>)> {
        let Ok(root) = dataset_name(root) else {
            return Vec::new();
        };
        let machine = self.machine();
        let within = machine.datasets.iter().filter(|(name, _)| name.is_within(&root));
        let each = within.flat_map(|(name, node)| {
            node.snapshots
                .iter()
                .map(|known| (name.clone(), known.name.clone(), known.guid, known.content.clone()))
        });
        each.collect()
    }
}
