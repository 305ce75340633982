//! ZFS's rules for snapshots and bookmarks, after `dsl_dataset.c`, `dsl_bookmark.c` and `dsl_destroy.c`.

use std::collections::BTreeSet;

use super::machine::{Bookmark, Machine, Node, Snapshot};
use crate::host::{Bookmarked, NotMade, Problem, Refusal, SnapshotGroup};
use crate::model::{
    BookmarkName, DatasetName, Guid, LINEAGE_PROPERTY, PointName, SnapshotName, UserProperty,
};

fn one_pool<'a>(datasets: impl Iterator<Item = &'a DatasetName>) -> Result<String, Problem> {
    let pools: BTreeSet<&str> = datasets.map(DatasetName::pool).collect();
    match pools.iter().next() {
        Some(pool) if pools.len() == 1 => Ok((*pool).to_owned()),
        _ => Err(Problem::Other("they are not in one pool".to_owned())), // EXDEV
    }
}

impl Machine {
    /// `lzc_snapshot`: all in one transaction group, or none.
    pub(super) fn take_snapshots(
        &mut self,
        names: &[SnapshotName],
        lineage: Option<&str>,
    ) -> Result<(), Problem> {
        let pool = one_pool(names.iter().map(SnapshotName::dataset))?;
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name.dataset()) {
                return Err(Problem::Other("one dataset stands twice".to_owned())); // EXDEV
            }
            self.check_snapshot(name)?;
        }
        let createtxg = self.next_txg(&pool);
        for name in names {
            let (object, guid) = (self.next_object(), self.shared_state.next_guid());
            let node = self.node_mut(name.dataset())?;
            node.snapshots.push(Snapshot {
                object,
                name: name.name().clone(),
                guid,
                createtxg,
                content: node.head.clone(),
                holds: BTreeSet::new(),
                is_destroy_deferred: false,
                lineage: lineage.map(|value| UserProperty { value: value.to_owned(), is_local: true }),
            });
        }
        Ok(())
    }

    /// `lzc_snapshot`, again without those that it names, unless they are to be of one moment.
    pub(super) fn take_group(&mut self, group: &SnapshotGroup) -> Result<Vec<NotMade>, Problem> {
        let not_made = |name: &SnapshotName, problem| NotMade {
            dataset: name.dataset().clone(),
            name: name.name().clone(),
            problem,
        };
        let mut left = Vec::new();
        let mut rest = Vec::new();
        for name in &group.snapshots {
            match self.check_snapshot(name) {
                Ok(()) => rest.push(name.clone()),
                Err(problem) => left.push(not_made(name, problem)),
            }
        }
        if group.is_one_moment && !left.is_empty() {
            let others = rest.iter();
            left.extend(others.map(|name| not_made(name, Problem::Other("all or none".to_owned()))));
            return Ok(left);
        }
        if !rest.is_empty() {
            self.take_snapshots(&rest, group.lineage.as_deref())?;
            let to_mark = group.to_mark.iter().filter(|one| rest.iter().any(|taken| taken.dataset() == *one));
            for dataset in to_mark {
                self.node_mut(dataset)?.user.insert(LINEAGE_PROPERTY.to_owned(), "1".to_owned());
            }
        }
        Ok(left)
    }

    fn check_snapshot(&self, name: &SnapshotName) -> Result<(), Problem> {
        let node = self.node(name.dataset())?;
        if node.snapshot(name.name()).is_some() {
            return Err(Problem::Exists);
        }
        let is_incomplete = node.partial.as_ref().is_some_and(|partial| partial.pins.is_none());
        if node.snapshots.is_empty() && is_incomplete {
            return Err(Problem::Busy("it is not received completely".to_owned())); // inconsistent
        }
        if node.is_full {
            return Err(Problem::NoSpace("the fake's dataset is full".to_owned()));
        }
        Ok(())
    }

    /// `lzc_bookmark`, again without those that it names.
    pub(super) fn bookmark_each(
        &mut self,
        bookmarks: &[(SnapshotName, BookmarkName)],
    ) -> Result<Bookmarked, Problem> {
        let mut made = Bookmarked::default();
        one_pool(bookmarks.iter().map(|(snapshot, _)| snapshot.dataset()))?;
        for pair in bookmarks {
            match self.make_bookmarks(std::slice::from_ref(pair)) {
                Ok(()) => made.guids.push(self.snapshot(&pair.0).ok().map(|known| known.guid)),
                Err(problem) => {
                    let (dataset, name) = (pair.1.dataset().clone(), pair.1.name().clone());
                    made.guids.push(None);
                    made.not_made.push(NotMade { dataset, name, problem });
                }
            }
        }
        Ok(made)
    }

    /// `lzc_bookmark`, but one that is there already with the same GUID is fine.
    pub(super) fn make_bookmarks(
        &mut self,
        bookmarks: &[(SnapshotName, BookmarkName)],
    ) -> Result<(), Problem> {
        one_pool(bookmarks.iter().map(|(snapshot, _)| snapshot.dataset()))?;
        let mut new = Vec::new();
        for (of, bookmark) in bookmarks {
            if of.dataset() != bookmark.dataset() {
                return Err(Problem::Other("the snapshot is of another dataset".to_owned()));
            }
            let snapshot = self.snapshot(of)?;
            match self.node(bookmark.dataset())?.bookmark(bookmark.name()) {
                Some(known) if known.guid == snapshot.guid => continue,
                Some(_) => return Err(Problem::Exists),
                None => {}
            }
            if new.iter().any(|(name, _): &(&BookmarkName, Bookmark)| *name == bookmark) {
                return Err(Problem::Exists);
            }
            let made = Bookmark {
                name: bookmark.name().clone(),
                guid: snapshot.guid,
                createtxg: snapshot.createtxg,
                content: snapshot.content.clone(),
            };
            new.push((bookmark, made));
        }
        for (name, made) in new {
            self.node_mut(name.dataset())?.bookmarks.push(made);
        }
        Ok(())
    }

    /// Why ZFS would not destroy this snapshot.
    pub(super) fn held_or_cloned(&self, snapshot: &Snapshot) -> Option<Problem> {
        if !snapshot.holds.is_empty() {
            Some(Problem::Held) // EBUSY
        } else if self.clones_of(snapshot.object) > 0 {
            Some(Problem::Cloned) // EEXIST
        } else {
            None
        }
    }

    /// Removes snapshots that were destroyed with `-d` once their last hold or clone is gone.
    pub(super) fn reap(&mut self) {
        let to_destroy =
            self.datasets.values().flat_map(|node| &node.snapshots).filter(|known| known.is_destroy_deferred);
        let gone: Vec<_> = to_destroy
            .filter(|known| self.held_or_cloned(known).is_none())
            .map(|known| known.object)
            .collect();
        for node in self.datasets.values_mut() {
            node.snapshots.retain(|known| !gone.contains(&known.object));
        }
    }

    /// Destroys those that can be destroyed and still are what they were; one that has gone is fine.
    pub(super) fn destroy_snapshots(
        &mut self,
        dataset: &DatasetName,
        to_destroy: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, Problem> {
        let mut refusals = Vec::new();
        for (name, guid) in to_destroy {
            let problem = match self.datasets.get(dataset).and_then(|node| node.snapshot(name)) {
                None => continue,
                Some(snapshot) if snapshot.guid != *guid => Some(changed(snapshot.guid)),
                Some(snapshot) => self.held_or_cloned(snapshot),
            };
            match problem {
                Some(problem) => refusals.push(Refusal { name: name.clone(), problem }),
                None => self.node_mut(dataset)?.snapshots.retain(|snapshot| snapshot.name != *name),
            }
        }
        Ok(refusals)
    }

    /// Destroys those that still are what they were; one that has gone is fine.
    pub(super) fn destroy_bookmarks(
        &mut self,
        dataset: &DatasetName,
        to_destroy: &[(PointName, Guid)],
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let Some(node) = self.datasets.get_mut(dataset) else {
            return refusals; // and its points with it
        };
        for (name, guid) in to_destroy {
            match node.bookmark(name) {
                Some(bookmark) if bookmark.guid != *guid => {
                    refusals.push(Refusal { name: name.clone(), problem: changed(bookmark.guid) });
                }
                Some(_) | None => node.bookmarks.retain(|bookmark| bookmark.name != *name),
            }
        }
        refusals
    }

    /// `zfs destroy DATASET@NAME`.
    pub(super) fn destroy_snapshot(&mut self, name: &SnapshotName) -> Result<(), Problem> {
        let snapshot = self.snapshot(name)?;
        if let Some(problem) = self.held_or_cloned(snapshot) {
            return Err(problem);
        }
        self.node_mut(name.dataset())?.snapshots.retain(|snapshot| snapshot.name != *name.name());
        Ok(())
    }

    /// `zfs rollback`: only to the newest snapshot, and not past a bookmark; `-r` destroys what is newer first.
    pub(super) fn roll_back(
        &mut self,
        to: &SnapshotName,
        guid: Option<Guid>,
        is_recursive: bool,
    ) -> Result<(), Problem> {
        let snapshot = self.snapshot(to)?;
        if guid.is_some_and(|guid| guid != snapshot.guid) {
            return Err(changed(snapshot.guid));
        }
        let (createtxg, object) = (snapshot.createtxg, snapshot.object);
        let node = self.node(to.dataset())?;
        let newer: Vec<&Snapshot> =
            node.snapshots.iter().skip_while(|known| known.object != object).skip(1).collect();
        let is_newest =
            newer.is_empty() && node.bookmarks.iter().all(|bookmark| bookmark.createtxg <= createtxg);
        if !is_newest && !is_recursive {
            return Err(Problem::Changed("more recent snapshots or bookmarks exist".to_owned())); // EEXIST
        }
        if let Some(problem) = newer.iter().find_map(|snapshot| self.held_or_cloned(snapshot)) {
            return Err(problem);
        }
        let content = snapshot.content.clone();
        let txg = self.next_txg(to.dataset().pool());
        let node = self.node_mut(to.dataset())?;
        node.left.push((createtxg, txg));
        let keep = node.snapshots.iter().position(|known| known.object == object).map_or(0, |at| at + 1);
        node.snapshots.truncate(keep);
        node.bookmarks.retain(|bookmark| bookmark.createtxg <= createtxg);
        node.head = content;
        Ok(())
    }

    /// `zfs rename DATASET@FROM DATASET@TO`.
    pub(super) fn rename_snapshot(
        &mut self,
        from: &SnapshotName,
        guid: Option<Guid>,
        to: &PointName,
    ) -> Result<(), Problem> {
        let snapshot = self.snapshot(from)?;
        if guid.is_some_and(|guid| guid != snapshot.guid) {
            return Err(changed(snapshot.guid));
        }
        from.dataset().snapshot(to).map_err(|error| Problem::Other(error.to_string()))?;
        let node = self.node_mut(from.dataset())?;
        if node.snapshot(to).is_some() {
            return if to == from.name() { Ok(()) } else { Err(Problem::Exists) };
        }
        if let Some(snapshot) = node.snapshot_mut(from.name()) {
            snapshot.name = to.clone();
        }
        Ok(())
    }

    /// The snapshot that a stream starts from, as the target has it.
    pub(super) fn base(node: &Node, guid: Guid) -> Option<&Snapshot> {
        node.snapshots.iter().rev().find(|snapshot| snapshot.guid == guid)
    }
}

pub(super) fn changed(is: Guid) -> Problem {
    Problem::Changed(format!("its GUID is {is} now"))
}
