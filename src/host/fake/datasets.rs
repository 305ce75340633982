//! ZFS's rules for creating, cloning, renaming and destroying datasets, after `dsl_dir.c` and `dsl_destroy.c`.

use super::machine::{Machine, ObjectId, Snapshot};
use super::points::changed;
use crate::host::Problem;
use crate::model::{
    DatasetKind, DatasetName, Encryption, Guid, PointName, SnapshotName, WRITER_PROPERTY, Writer,
};

fn unnameable(error: &crate::model::NameError) -> Problem {
    Problem::Other(error.to_string()) // ENAMETOOLONG
}

/// The error of a target for a pool that does not exist.
pub(super) fn no_pool(dataset: &DatasetName) -> Problem {
    Problem::Other(format!("there is no pool {}", dataset.pool()))
}

impl Machine {
    /// Whether `dataset` can come to be: it does not exist, and its parent does and can have children.
    pub(super) fn check_new(&self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.datasets.contains_key(dataset) {
            return Err(Problem::Exists);
        }
        let Some(parent) = dataset.parent() else {
            return Ok(());
        };
        match self.node(&parent)?.kind {
            DatasetKind::Filesystem => Ok(()),
            DatasetKind::Volume => Err(Problem::Other("its parent is a volume".to_owned())), // ZFS_ERR_WRONG_PARENT
        }
    }

    /// `zfs create`; a name without `/` makes a pool.
    pub(super) fn create(
        &mut self,
        dataset: &DatasetName,
        kind: DatasetKind,
        encryption: Encryption,
    ) -> Result<(), Problem> {
        self.check_new(dataset)?;
        let mut node = self.new_node(kind, encryption);
        node.createtxg = self.next_txg(dataset.pool());
        self.datasets.insert(dataset.clone(), node);
        Ok(())
    }

    /// `zfs create -o readonly=on` of each level that is missing; existing ones are left alone.
    pub(super) fn create_with_parents(&mut self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.datasets.contains_key(dataset) {
            return Ok(());
        }
        match dataset.parent() {
            Some(parent) => self.create_with_parents(&parent)?,
            None => return Err(no_pool(dataset)),
        }
        self.create(dataset, DatasetKind::Filesystem, Encryption::Off)?;
        self.node_mut(dataset)?.readonly = Some(true);
        Ok(())
    }

    /// `zfs clone`.
    pub(super) fn clone_snapshot(&mut self, of: &SnapshotName, dataset: &DatasetName) -> Result<(), Problem> {
        self.check_new(dataset)?;
        let origin = self.node(of.dataset())?;
        let snapshot = self.snapshot(of)?;
        let mut node = self.new_node(origin.kind, origin.encryption);
        node.head.clone_from(&snapshot.content);
        node.origin = Some(snapshot.object);
        node.createtxg = self.next_txg(dataset.pool());
        self.datasets.insert(dataset.clone(), node);
        Ok(())
    }

    /// `zfs set` of the writer and of what makes a copy safe.
    pub(super) fn claim(
        &mut self,
        dataset: &DatasetName,
        guid: Guid,
        writer: &Writer,
    ) -> Result<(), Problem> {
        let node = self.node_mut(dataset)?;
        if node.guid != guid {
            return Err(changed(node.guid));
        }
        node.user.insert(WRITER_PROPERTY.to_owned(), writer.to_string());
        (node.is_safe_copy, node.readonly) = (true, Some(true));
        Ok(())
    }

    /// `zfs rename`: takes children along; the new parent must exist, the new name must not.
    pub(super) fn rename_dataset(
        &mut self,
        from: &DatasetName,
        guid: Option<Guid>,
        to: &DatasetName,
    ) -> Result<(), Problem> {
        let node = self.node(from)?;
        if guid.is_some_and(|guid| guid != node.guid) {
            return Err(changed(node.guid));
        }
        if to == from {
            return Ok(());
        }
        if to.pool() != from.pool() || to.below(from).is_some() || from.parent().is_none() {
            return Err(Problem::Other("it cannot be moved there".to_owned())); // EXDEV, EINVAL
        }
        self.check_new(to)?;
        let mut moved = Vec::new();
        for (name, node) in self.datasets.iter().filter(|(name, _)| name.is_within(from)) {
            let renamed = match name.below(from) {
                Some(relative) => to.child(relative).map_err(|error| unnameable(&error))?,
                None => to.clone(),
            };
            for snapshot in &node.snapshots {
                renamed.snapshot(&snapshot.name).map_err(|error| unnameable(&error))?;
            }
            moved.push((name.clone(), renamed));
        }
        for (old, new) in moved {
            if let Some(node) = self.datasets.remove(&old) {
                self.datasets.insert(new, node);
            }
        }
        Ok(())
    }

    /// Destroys a dataset that has no other points than these snapshots, some of which an interrupted attempt may have
    /// destroyed already.
    pub(super) fn destroy_dataset(
        &mut self,
        dataset: &DatasetName,
        guid: Guid,
        snapshots: &[(PointName, Guid)],
    ) -> Result<(), Problem> {
        let node = self.node(dataset)?;
        if node.guid != guid {
            return Err(changed(node.guid));
        }
        let is_known =
            |found: &Snapshot| snapshots.iter().any(|known| *known == (found.name.clone(), found.guid));
        if !node.bookmarks.is_empty() || !node.snapshots.iter().all(is_known) {
            return Err(Problem::Changed("it has points that the plan does not know".to_owned()));
        }
        if self.has_children(dataset) {
            return Err(Problem::Changed("it has children".to_owned()));
        }
        // One that the hidden clone of a receive needs counts as cloned here, unlike for `zfs destroy -r`.
        if let Some(problem) = node.snapshots.iter().find_map(|snapshot| self.held_or_cloned(snapshot)) {
            return Err(problem);
        }
        self.destroy_with_snapshots(dataset)
    }

    /// `zfs destroy -r` of a dataset without children.
    pub(super) fn destroy_with_snapshots(&mut self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.has_children(dataset) {
            return Err(Problem::Busy("it has children".to_owned()));
        }
        let node = self.node(dataset)?;
        // The hidden clone of a receive goes with its dataset (zfs_ioc_destroy).
        let own: Option<ObjectId> = node.partial.as_ref().and_then(|partial| partial.pins);
        for snapshot in &node.snapshots {
            if !snapshot.holds.is_empty() {
                return Err(Problem::Held);
            }
            let hidden = u32::from(own == Some(snapshot.object));
            if self.clones_of(snapshot.object) > hidden {
                return Err(Problem::Cloned);
            }
        }
        self.datasets.remove(dataset);
        self.reap();
        Ok(())
    }
}
