//! Copies follow datasets that have another name at the source now, also where two have changed their names, and where the old
//! name is a new dataset's.
//!
//! A copy knows its source by the GUID in its writer's mark. It is renamed on a backup; an archive keeps what it has.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{CopyName, names};
use super::view::{First, View};
use super::{Caution, FindingKind, Known, Reason, Severity, Source};
use crate::model::{Change, Dataset, DatasetKind, DatasetName, Guid, Point, Writer};
use crate::policy::{Target, TargetKind};

/// A copy that is to have another name.
#[derive(Debug, Clone)]
struct Move {
    /// The source dataset.
    dataset: DatasetName,
    to: DatasetName,
}

impl View<'_> {
    /// Names the copies, and plans which of them are renamed first.
    pub(super) fn follow_renames(&mut self, target: &Target, known: Known<'_>, sources: &[Source<'_>]) {
        let Known { policy, inventory, listing: source, .. } = known;
        let selected = sources.iter().map(|one| &one.selected.dataset.name).collect();
        self.called = names(policy, inventory, source, &selected, target, &self.listing);
        let may_rename =
            matches!(target.kind, TargetKind::Backup(_)) && !inventory.append_only.contains(&target.name);
        let mut moves = self.moves(target, sources, may_rename);
        if moves.is_empty() {
            return;
        }
        while let Some(from) = self.next(&moves) {
            self.follow_chain(&from, &mut moves, may_rename);
        }
        self.called = names(policy, inventory, source, &selected, target, &self.listing);
    }

    /// Renames by the name that the copy has. Each goes to a name that is free, or that another one of them leaves.
    fn moves(
        &self,
        target: &Target,
        sources: &[Source<'_>],
        may_rename: bool,
    ) -> BTreeMap<DatasetName, Move> {
        let misplaced = if may_rename { self.misplaced(sources) } else { Vec::new() };
        let copies = by_writer(self.without_source(target).into_iter().chain(misplaced));
        let mut moves = BTreeMap::new();
        for one in sources.iter().filter(|one| one.selected.caution == Caution::None) {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { continue };
            // One of the same label was renamed on the target, by somebody who had a reason.
            let from =
                copies.get(&dataset.guid).and_then(|(from, label)| (*label != one.label).then_some(from));
            let Some(from) = from.filter(|from| *from != name && self.has_place(target, name)) else {
                continue;
            };
            moves.insert(from.clone(), Move { dataset: dataset.name.clone(), to: name.clone() });
        }
        loop {
            let count = moves.len();
            let leaves: BTreeSet<DatasetName> = moves.keys().cloned().collect();
            moves.retain(|_, to| self.is_free(&to.to) || leaves.contains(&to.to));
            if moves.len() == count {
                return moves;
            }
        }
    }

    fn is_free(&self, name: &DatasetName) -> bool {
        self.listing.get(name).is_none() && self.listing.why_unlisted(name).is_none()
    }

    /// The copies that no dataset of the source has by its name.
    fn without_source(&self, target: &Target) -> Vec<&Dataset> {
        let wanted = self.called.taken();
        let orphans = self.called.orphans().filter(|(_, source)| source.is_none()).map(|(copy, _)| copy);
        let has_none_below = |name: &&DatasetName| {
            **name != target.root && !wanted.iter().any(|wanted| wanted.is_within(name))
        };
        orphans.filter(has_none_below).filter_map(|name| self.listing.get(name)).collect()
    }

    /// The copies that one selected source has written, and that lie under the name of another one which has nothing in common
    /// with them. Of those that have datasets below them, which may be anybody's, none.
    fn misplaced(&self, sources: &[Source<'_>]) -> Vec<&Dataset> {
        let guids: BTreeSet<Guid> = sources.iter().map(|one| one.selected.dataset.guid).collect();
        let under_its_name = |one: &Source<'_>| {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { return None };
            let copy = self.listing.get(name).filter(|copy| !self.listing.has_children(&copy.name))?;
            let writer = copy.writer()?.guid;
            let shares = |point: &Point| dataset.history.points().any(|here| here.guid == point.guid);
            let is_anothers = writer != dataset.guid && guids.contains(&writer);
            (is_anothers && !copy.history.snapshots().any(shares)).then_some(copy)
        };
        sources.iter().filter_map(under_its_name).collect()
    }

    /// Whether a copy can be renamed to `name` now: below no volume, and below no copy that has yet to be received.
    fn has_place(&self, target: &Target, name: &DatasetName) -> bool {
        let Some(parent) = name.parent().filter(|parent| *parent != target.root) else { return true };
        match self.listing.get(&parent) {
            Some(there) => there.kind == DatasetKind::Filesystem,
            None => !self.called.taken().contains(&parent),
        }
    }

    /// The rename that comes next: one to a name that is free, or any one where each waits for another.
    fn next(&self, moves: &BTreeMap<DatasetName, Move>) -> Option<DatasetName> {
        let free = moves.iter().find(|(_, to)| self.is_free(&to.to));
        free.or_else(|| moves.iter().next()).map(|(from, _)| from.clone())
    }

    /// Makes the rename of `from`, and then those to the names that become free by it. Where `from` goes to a name that is taken,
    /// and so is part of a circle, it goes by way of a name of its own.
    fn follow_chain(
        &mut self,
        from: &DatasetName,
        moves: &mut BTreeMap<DatasetName, Move>,
        may_rename: bool,
    ) {
        let Some(first) = moves.remove(from) else { return };
        let mut waits = None;
        if self.is_free(&first.to) {
            self.follow(from, &first, may_rename, false);
        } else {
            let aside = DatasetName::new(&format!("{from}.renaming")).ok().filter(|name| self.is_free(name));
            let Some(aside) = aside else { return moves.clear() };
            self.rename(from, &aside, &first.dataset, from, false);
            waits = Some((aside, first));
        }
        let mut freed = from.clone();
        loop {
            let next = moves.iter().find(|(_, next)| next.to == freed);
            let Some((from, next)) = next.map(|(from, next)| (from.clone(), next.clone())) else { break };
            moves.remove(&from);
            self.follow(&from, &next, may_rename, true);
            freed = from;
        }
        if let Some((aside, first)) = waits {
            self.tell(from, &first, may_rename);
            self.rename(&aside, &first.to, &first.dataset, &first.to, true);
        }
    }

    fn follow(&mut self, from: &DatasetName, copy: &Move, may_rename: bool, needs_previous: bool) {
        self.tell(from, copy, may_rename);
        let (true, Some(parent)) = (may_rename, copy.to.parent()) else { return };
        if self.listing.get(&parent).is_none() {
            self.first.push(First {
                dataset: Some(copy.dataset.clone()),
                change: Change::CreateContainer { dataset: parent, is_plain: false },
                reason: Reason::Container,
                below: copy.to.clone(),
                needs_previous: false,
            });
        }
        self.rename(from, &copy.to, &copy.dataset, &copy.to, needs_previous);
    }

    fn tell(&mut self, from: &DatasetName, copy: &Move, is_followed: bool) {
        let kind = FindingKind::RenamedAtSource { copy: copy.to.clone(), from: from.clone(), is_followed };
        let severity = if is_followed { Severity::Warning } else { Severity::Note };
        self.findings.push((Some(copy.dataset.clone()), severity, kind));
    }

    /// Renames a copy, for `dataset`; what is at or below `below` needs that.
    fn rename(
        &mut self,
        from: &DatasetName,
        to: &DatasetName,
        dataset: &DatasetName,
        below: &DatasetName,
        needs_previous: bool,
    ) {
        let Some(guid) = self.listing.get(from).map(|copy| copy.guid) else { return };
        self.first.push(First {
            dataset: Some(dataset.clone()),
            change: Change::RenameDataset { from: from.clone(), guid, to: to.clone() },
            reason: Reason::RenamedAtSource { from: from.clone() },
            below: below.clone(),
            needs_previous,
        });
        self.rename_below(from, to, true);
    }
}

/// Copies with the label of their writer, by its GUID. What two of them have in common is neither's.
fn by_writer<'a>(copies: impl Iterator<Item = &'a Dataset>) -> BTreeMap<Guid, (DatasetName, String)> {
    let (mut by_writer, mut twice) = (BTreeMap::new(), BTreeSet::new());
    for (copy, Writer { guid, label }) in copies.filter_map(|copy| Some((copy, copy.writer()?))) {
        if by_writer.insert(guid, (copy.name.clone(), label)).is_some() {
            twice.insert(guid);
        }
    }
    by_writer.retain(|guid, _| !twice.contains(guid));
    by_writer
}
