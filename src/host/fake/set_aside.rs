//! The fake sets lineages aside in the same steps as `zfs` does, so that the program can die between any two of them.

use super::FakeHost;
use super::machine::Machine;
use crate::host::{HostError, Problem};
use crate::model::{
    Change, DatasetKind, DatasetName, Guid, NameFormat, PointName, SET_ASIDE_PROPERTY, SetAside,
    SetAsideMark, SnapshotName, WRITER_PROPERTY,
};

impl FakeHost {
    /// Sets a lineage aside, or finishes what an interrupted call began.
    pub(super) fn set_aside(&self, wish: &SetAside) -> Result<SetAsideMark, HostError> {
        let copy = &wish.dataset;
        let mut mark = if self.with(wish, |machine| Ok(machine.node(copy).map(|node| node.guid).ok()))?
            == Some(wish.guid)
        {
            let mark = self.with(wish, |machine| machine.mark_for(wish))?;
            self.step(wish, |machine| machine.set_mark(copy, &mark))?;
            self.step(wish, |machine| machine.rename_dataset(copy, Some(wish.guid), &mark.name))?;
            mark
        } else {
            self.with(wish, |machine| machine.find_mark(wish))?
        };
        if mark.done {
            return Ok(mark);
        }
        if let Some(base) = &mark.base {
            let origin = self.with(wish, |_| named(&mark.name, &base.name))?;
            if self.with(wish, |machine| Ok(!machine.datasets.contains_key(copy)))? {
                self.step(wish, |machine| machine.clone_on(&origin, wish))?;
            }
            if self.with(wish, |machine| machine.is_clone_of(copy, &origin))? {
                self.step(wish, |machine| machine.promote(copy))?;
            }
        }
        let mut children = self.with(wish, |machine| Ok(machine.children(&mark.name)))?;
        match self.with(wish, |machine| Ok(machine.node(copy).ok().map(|copy| copy.kind)))? {
            None if !children.is_empty() => return Ok(mark),
            Some(DatasetKind::Volume) => children.clear(),
            None | Some(DatasetKind::Filesystem) => {}
        }
        for child in children {
            let below = child.below(&mark.name).unwrap_or_default().to_owned();
            self.step(wish, |machine| {
                let to = copy.child(&below).map_err(|error| Problem::Other(error.to_string()))?;
                machine.rename_dataset(&child, None, &to)
            })?;
        }
        mark.done = true;
        self.step(wish, |machine| machine.set_mark(&mark.name, &mark))?;
        Ok(mark)
    }

    /// One step: the program can die before or after it.
    fn step(
        &self,
        wish: &SetAside,
        work: impl FnOnce(&mut Machine) -> Result<(), Problem>,
    ) -> Result<(), HostError> {
        let (operation, object) = Change::<(PointName, Guid)>::SetAside(wish.clone()).words();
        self.alter("change", operation, &object, work)
    }

    fn with<T>(
        &self,
        wish: &SetAside,
        work: impl FnOnce(&Machine) -> Result<T, Problem>,
    ) -> Result<T, HostError> {
        let (operation, object) = Change::<(PointName, Guid)>::SetAside(wish.clone()).words();
        work(&self.machine()).map_err(|problem| HostError::new(self.name(), operation, object, problem))
    }
}

fn named(dataset: &DatasetName, name: &PointName) -> Result<SnapshotName, Problem> {
    dataset.snapshot(name).map_err(|error| Problem::Other(error.to_string()))
}

impl Machine {
    fn mark_for(&self, wish: &SetAside) -> Result<SetAsideMark, Problem> {
        let other = |text: String| Problem::Other(text);
        let at = self.shared_state.now();
        let format = NameFormat::new(NameFormat::DEFAULT).map_err(|error| other(error.to_string()))?;
        let date = format.name(at).map_err(|error| other(error.to_string()))?;
        let mut number = 1;
        loop {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let name = format!("{}{}{date}{suffix}", wish.dataset, wish.cause.infix());
            let name = DatasetName::new(&name).map_err(|error| other(error.to_string()))?;
            if !self.datasets.contains_key(&name) {
                return Ok(SetAsideMark::begun(wish, name, at));
            }
            number += 1;
        }
    }

    fn set_mark(&mut self, dataset: &DatasetName, mark: &SetAsideMark) -> Result<(), Problem> {
        let node = self.node_mut(dataset)?;
        if node.partial.is_some() {
            return Err(Problem::Busy("it holds a partial receive".to_owned()));
        }
        node.user.insert(SET_ASIDE_PROPERTY.to_owned(), mark.to_string());
        Ok(())
    }

    fn find_mark(&self, wish: &SetAside) -> Result<SetAsideMark, Problem> {
        let found = self.datasets.iter().find(|(_, node)| node.guid == wish.guid);
        let mark = found.and_then(|(name, node)| {
            let mark = SetAsideMark::parse(node.user.get(SET_ASIDE_PROPERTY)?)?;
            (mark.of == wish.dataset && mark.name == *name && mark.guid == wish.guid).then_some(mark)
        });
        mark.ok_or_else(|| Problem::Changed("the lineage is gone, or was renamed by hand".to_owned()))
    }

    /// Makes the clone as which the copy continues, with the properties that the copy had.
    fn clone_on(&mut self, origin: &SnapshotName, wish: &SetAside) -> Result<(), Problem> {
        self.clone_snapshot(origin, &wish.dataset)?;
        let mut user = self.node(origin.dataset())?.user.clone();
        user.remove(SET_ASIDE_PROPERTY);
        user.insert(WRITER_PROPERTY.to_owned(), wish.writer.to_string());
        let node = self.node_mut(&wish.dataset)?;
        (node.user, node.is_safe_copy, node.readonly) = (user, true, Some(true));
        Ok(())
    }

    fn is_clone_of(&self, dataset: &DatasetName, origin: &SnapshotName) -> Result<bool, Problem> {
        let object = self.node(dataset)?.origin;
        Ok(object.is_some() && self.snapshot(origin).is_ok_and(|snapshot| Some(snapshot.object) == object))
    }

    fn children(&self, dataset: &DatasetName) -> Vec<DatasetName> {
        let below =
            self.datasets.keys().filter(|name| name.below(dataset).is_some_and(|rest| !rest.contains('/')));
        below.cloned().collect()
    }

    /// `zfs promote`: the snapshots and bookmarks up to the origin become the clone's (`dsl_dataset_promote`).
    pub(super) fn promote(&mut self, dataset: &DatasetName) -> Result<(), Problem> {
        let object =
            self.node(dataset)?.origin.ok_or_else(|| Problem::Other("it is not a clone".to_owned()))?;
        let holder =
            self.datasets.iter().find(|(_, node)| node.snapshots.iter().any(|known| known.object == object));
        let (parent, node) = holder.ok_or(Problem::NotFound)?;
        let parent = parent.clone();
        let count = node.snapshots.iter().position(|known| known.object == object).map_or(0, |at| at + 1);
        let own = self.node(dataset)?;
        if node.snapshots[..count].iter().any(|moving| own.snapshot(&moving.name).is_some()) {
            return Err(Problem::Exists); // EEXIST: conflicting snapshot
        }
        let node = self.node_mut(&parent)?;
        let mut moved: Vec<_> = node.snapshots.drain(..count).collect();
        let origin = moved.last().map(|last| last.createtxg);
        let (older, kept): (Vec<_>, _) =
            node.bookmarks.drain(..).partition(|bookmark| Some(bookmark.createtxg) <= origin);
        node.bookmarks = kept;
        let grandparent = node.origin.replace(object);
        let promoted = self.node_mut(dataset)?;
        promoted.origin = grandparent;
        moved.append(&mut promoted.snapshots);
        promoted.snapshots = moved;
        promoted.bookmarks.splice(0..0, older);
        Ok(())
    }
}
