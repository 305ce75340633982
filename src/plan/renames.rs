//! Copies follow datasets that have another name at the source now, also where two have changed their names, and where the old
//! name is a new dataset's.
//!
//! A copy knows its source by the GUID in its writer's mark. It is renamed on a backup; an archive keeps what it has.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::containers::Containers;
use super::names::{CopyName, names};
use super::replication::Replication;
use super::view::{First, Later, View};
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

/// When a copy can get a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Now,
    /// A copy above it has yet to be received.
    Later,
    /// There is a volume above it.
    Never,
}

/// The suffix of a copy on its way to a name that is still taken.
const ON_THE_WAY: &str = ".renaming";

impl View<'_> {
    /// Names the copies, and plans which of them are renamed first.
    pub(super) fn follow_renames(&mut self, target: &Target, known: Known<'_>, sources: &[Source<'_>]) {
        let Known { policy, inventory, listing: source, .. } = known;
        let selected = sources.iter().map(|one| &one.selected.dataset.name).collect();
        let called = |view: &Self| names(policy, inventory, source, &selected, target, &view.listing);
        self.called = called(self);
        let may_rename =
            matches!(target.kind, TargetKind::Backup(_)) && !inventory.append_only.contains(&target.name);
        if !may_rename {
            for (from, copy) in self.moves(target, sources, false, |room| room != Room::Never) {
                self.report(&from, &copy, false);
            }
            return self.report_renamed_here(target, sources);
        }
        // One after the other: datasets below a copy go with it, and may then have to be renamed again.
        let mut made = BTreeSet::new();
        loop {
            let moves = self.moves(target, sources, true, |room| room == Room::Now);
            let Some((from, copy, name)) = self.next(moves, &made) else { break };
            made.insert((copy.dataset.clone(), name.clone()));
            self.follow(&from, &copy, &name);
            self.called = called(self);
        }
        while let Some((from, copy)) = self.next_later(target, sources) {
            self.follow_later(&from, &copy);
            self.called = called(self);
        }
        self.report_renamed_here(target, sources);
    }

    /// Renames by the name that the copy has. Each goes to a name that is free, or that another one of them leaves, and where
    /// there is room as it is wanted.
    fn moves(
        &self,
        target: &Target,
        sources: &[Source<'_>],
        may_rename: bool,
        is_wanted: impl Fn(Room) -> bool,
    ) -> BTreeMap<DatasetName, Move> {
        let misplaced = if may_rename { self.misplaced(sources) } else { Vec::new() };
        let in_the_way: BTreeSet<&DatasetName> = misplaced.iter().map(|copy| &copy.name).collect();
        let copies = by_writer(self.without_source(target).into_iter().chain(misplaced.iter().copied()));
        let mut moves = BTreeMap::new();
        for one in sources.iter().filter(|one| one.selected.caution != Caution::ContinueOnly) {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { continue };
            let Some((from, label)) = copies.get(&dataset.guid) else { continue };
            // One of the same label was renamed on the target, by an admin who had a reason; but not one that is in
            // another one's way, or that a run has left on its way.
            let is_somebodys =
                *label == one.label && !in_the_way.contains(from) && !from.last().ends_with(ON_THE_WAY);
            // Nothing can be renamed to below itself.
            let is_below = name.is_within(from) && self.is_free(name);
            if !is_somebodys && !is_below && from != name && is_wanted(self.room(target, name)) {
                moves.insert(from.clone(), Move { dataset: dataset.name.clone(), to: name.clone() });
            }
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
        let copies = orphans.filter(has_none_below).filter_map(|name| self.listing.get(name));
        // Without a snapshot it is what somebody wrote to a copy, and set aside: it is listed, and stays where it is.
        copies.filter(|copy| copy.has_begun()).collect()
    }

    /// The copies that one selected source has written, and that are under the name of another one which has nothing in
    /// common with them.
    fn misplaced(&self, sources: &[Source<'_>]) -> Vec<&Dataset> {
        let by_guid = sources.iter().map(|one| (one.selected.dataset.guid, one)).collect();
        let under_its_name = |one: &Source<'_>| {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { return None };
            let copy = self.listing.get(name)?;
            let writer = copy.writer()?.guid;
            let shares = |point: &Point| dataset.history.points().any(|here| here.guid == point.guid);
            let is_anothers = writer != dataset.guid && !copy.history.snapshots().any(shares);
            (is_anothers && self.may_go(copy, writer, &by_guid)).then_some(copy)
        };
        sources.iter().filter_map(under_its_name).collect()
    }

    /// Whether a copy is a selected source's, and so are all copies below it, which go with it: of datasets that are
    /// below that source, too, or that were renamed, so that they are followed from there. A dataset of an unknown
    /// owner stays where it is.
    fn may_go(&self, copy: &Dataset, writer: Guid, by_guid: &BTreeMap<Guid, &Source<'_>>) -> bool {
        let Some(moved) = by_guid.get(&writer).map(|one| &one.selected.dataset.name) else { return false };
        self.listing.below(&copy.name).all(|below| {
            let Some(Writer { guid, label }) = below.writer() else { return false };
            let source = by_guid.get(&guid);
            source.is_some_and(|one| one.selected.dataset.name.is_within(moved) || label != one.label)
        })
    }

    /// When a copy can be renamed to `name`.
    fn room(&self, target: &Target, name: &DatasetName) -> Room {
        let taken = self.called.taken();
        let above = std::iter::successors(name.parent(), DatasetName::parent);
        for above in above.take_while(|above| *above != target.root) {
            // A dataset below a receive that was begun would keep the receive from being aborted.
            let there =
                self.listing.get(&above).filter(|there| !there.is_only_begun() || !taken.contains(&above));
            match there {
                Some(there) if there.kind == DatasetKind::Filesystem => return Room::Now,
                Some(_) => return Room::Never,
                None if taken.contains(&above) => return Room::Later,
                None => {}
            }
        }
        Room::Now
    }

    /// The rename that comes next of those that wait for what this run receives. Nothing else may have to do with the name
    /// that the copy has until then.
    fn next_later(&self, target: &Target, sources: &[Source<'_>]) -> Option<(DatasetName, Move)> {
        let taken = self.called.taken();
        let is_wanted = |from: &DatasetName| taken.iter().any(|name| name.is_within(from));
        let has_moved = |from: &DatasetName| {
            self.later.keys().any(|to| from.is_within(to))
                || self.first.iter().filter_map(renamed).any(|(_, to)| from.is_within(to))
        };
        let mut moves = self.moves(target, sources, true, |room| room == Room::Later).into_iter();
        moves.find(|(from, copy)| self.is_free(&copy.to) && !is_wanted(from) && !has_moved(from))
    }

    fn follow_later(&mut self, from: &DatasetName, copy: &Move) {
        let Some(guid) = self.listing.get(from).map(|copy| copy.guid) else { return };
        self.later.insert(copy.to.clone(), Later { from: from.clone(), guid });
        self.rename_below(from, &copy.to, true);
    }

    /// The rename that comes next, and to which name: to one that is free, or, where each waits for another, out of the way.
    /// Those of datasets above come first: a dataset below goes along, and may be where it belongs then.
    fn next(
        &self,
        moves: BTreeMap<DatasetName, Move>,
        made: &BTreeSet<(DatasetName, DatasetName)>,
    ) -> Option<(DatasetName, Move, DatasetName)> {
        let above: Vec<DatasetName> = moves.keys().cloned().collect();
        let is_first = |from: &DatasetName, copy: &Move| {
            !above.iter().any(|above| from.below(above).is_some() || copy.to.below(above).is_some())
        };
        let (first, rest): (Vec<_>, Vec<_>) =
            moves.into_iter().partition(|(from, copy)| is_first(from, copy));
        self.next_of(first, made).or_else(|| self.next_of(rest, made))
    }

    fn next_of(
        &self,
        moves: Vec<(DatasetName, Move)>,
        made: &BTreeSet<(DatasetName, DatasetName)>,
    ) -> Option<(DatasetName, Move, DatasetName)> {
        let is_new = |copy: &Move, name: &DatasetName| !made.contains(&(copy.dataset.clone(), name.clone()));
        let free = |(_, copy): &&(DatasetName, Move)| self.is_free(&copy.to) && is_new(copy, &copy.to);
        if let Some((from, copy)) = moves.iter().find(free) {
            return Some((from.clone(), copy.clone(), copy.to.clone()));
        }
        let waiting = moves.into_iter().filter(|(from, _)| !from.last().ends_with(ON_THE_WAY));
        let mut out_of_the_way = waiting.filter_map(|(from, copy)| {
            let name = self.on_the_way(&from).filter(|name| is_new(&copy, name))?;
            Some((from, copy, name))
        });
        out_of_the_way.next()
    }

    /// A name for a copy that waits for its own one. The first may be taken.
    fn on_the_way(&self, from: &DatasetName) -> Option<DatasetName> {
        let guid = self.listing.get(from)?.guid;
        let names = [from.last().to_owned(), format!("{}.{guid}", from.last()), guid.to_string()];
        let parent = from.parent()?;
        let names = names.iter().filter_map(|name| parent.child(&format!("{name}{ON_THE_WAY}")).ok());
        names.into_iter().find(|name| self.is_free(name))
    }

    /// Renames a copy to `name`, which is where it belongs, or a name on the way there.
    fn follow(&mut self, from: &DatasetName, copy: &Move, name: &DatasetName) {
        let is_there = *name == copy.to;
        if is_there {
            self.report(&self.listed_as(from), copy, true);
        }
        let parent = name.parent().filter(|parent| self.listing.get(parent).is_none());
        if let Some(parent) = parent {
            self.first.push(First {
                dataset: Some(copy.dataset.clone()),
                change: Change::CreateContainer { dataset: parent, is_plain: false },
                reason: Reason::Container,
                below: copy.to.clone(),
                needs: BTreeSet::new(),
            });
        }
        let Some(guid) = self.listing.get(from).map(|copy| copy.guid) else { return };
        self.first.push(First {
            dataset: Some(copy.dataset.clone()),
            change: Change::RenameDataset { from: from.clone(), guid, to: name.clone() },
            reason: Reason::RenamedAtSource { from: from.clone() },
            // Its old name is another source's, which needs that it goes.
            below: if is_there { name.clone() } else { from.clone() },
            needs: self.needed_for(from, name),
        });
        self.rename_below(from, name, true);
    }

    /// Which of the renames so far concern these names, or names above or below them.
    fn needed_for(&self, from: &DatasetName, to: &DatasetName) -> BTreeSet<usize> {
        let are_related = |one: &DatasetName, two: &DatasetName| one.is_within(two) || two.is_within(one);
        let all = self.first.iter().enumerate().filter_map(|(at, first)| Some((at, renamed(first)?)));
        let related = all.filter(|(_, (left, reached))| {
            [left, reached].iter().any(|name| are_related(name, from) || are_related(name, to))
        });
        related.map(|(at, _)| at).collect()
    }

    /// The name of a copy before any of the renames.
    fn listed_as(&self, name: &DatasetName) -> DatasetName {
        self.first.iter().rev().filter_map(renamed).fold(name.clone(), |name, (from, to)| {
            let before = name.below(to).map(|rest| from.child(rest));
            if name == *to { from.clone() } else { before.and_then(Result::ok).unwrap_or(name) }
        })
    }

    fn report(&mut self, from: &DatasetName, copy: &Move, is_followed: bool) {
        let kind = FindingKind::RenamedAtSource { copy: copy.to.clone(), from: from.clone(), is_followed };
        let severity = if is_followed { Severity::Warning } else { Severity::Note };
        self.findings.push((Some(copy.dataset.clone()), severity, kind));
    }

    /// Names copies that an admin has renamed on the target, where a new one begins in their place.
    fn report_renamed_here(&mut self, target: &Target, sources: &[Source<'_>]) {
        let copies = by_writer(self.without_source(target).into_iter());
        let is_backup = matches!(target.kind, TargetKind::Backup(_));
        let severity = if is_backup { Severity::Warning } else { Severity::Note };
        for one in sources {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { continue };
            let old = copies.get(&dataset.guid).filter(|(_, label)| *label == one.label);
            if let Some((old, _)) = old.filter(|_| self.is_free(name)) {
                let kind = FindingKind::RenamedOnTarget { copy: name.clone(), old: old.clone() };
                self.findings.push((Some(dataset.name.clone()), severity, kind));
            }
        }
    }
}

/// Renames the copy of `replication` when what it is to be below has been received. Gives whether that is planned.
pub(super) fn plan_later(
    builder: &mut Builder,
    containers: &mut Containers<'_>,
    replication: &mut Replication<'_>,
    rename: &Later,
) -> bool {
    let parent = match containers.parent_of(builder, &replication.name) {
        Ok(steps) => steps,
        Err(why) => {
            replication.block(builder, *why);
            return false;
        }
    };
    let Later { from, guid } = rename.clone();
    let dataset = &replication.source.selected.dataset.name;
    let kind = FindingKind::RenamedAtSource {
        copy: replication.name.clone(),
        from: from.clone(),
        is_followed: true,
    };
    builder.find(Severity::Warning, Some(dataset), replication.place.clone(), kind);
    let reason = Reason::RenamedAtSource { from: from.clone() };
    let change = Change::RenameDataset { from, guid, to: replication.name.clone() };
    let step = builder.step(Some(dataset), replication.place.clone(), change, reason, Order::needs(parent));
    builder.resolved(&replication.place, &replication.name, step);
    true
}

/// The old name and the new one, if the change is a rename.
fn renamed(first: &First) -> Option<(&DatasetName, &DatasetName)> {
    if let Change::RenameDataset { from, to, .. } = &first.change { Some((from, to)) } else { None }
}

/// Copies with the label of their writer, by its GUID. Of several, the one that still has the name in its label; where that does
/// not decide, none.
fn by_writer<'a>(copies: impl Iterator<Item = &'a Dataset>) -> BTreeMap<Guid, (DatasetName, String)> {
    let mut by_writer: BTreeMap<Guid, Vec<(DatasetName, String)>> = BTreeMap::new();
    for (copy, Writer { guid, label }) in copies.filter_map(|copy| Some((copy, copy.writer()?))) {
        by_writer.entry(guid).or_default().push((copy.name.clone(), label));
    }
    let decided = by_writer.into_iter().filter_map(|(guid, mut copies)| {
        if copies.len() > 1 {
            copies.retain(|(name, label)| label.rsplit('/').next() == Some(name.last()));
        }
        <[_; 1]>::try_from(copies).ok().map(|[copy]| (guid, copy))
    });
    decided.collect()
}
