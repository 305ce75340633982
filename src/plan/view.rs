//! A target as it will be after what comes before everything else: lineages of which an interrupted run left the setting
//! aside half done, and copies of datasets that were renamed at the source.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::names::{CopyName, Names, names};
use super::{Caution, FindingKind, Known, Reason, Severity, Source};
use crate::model::{Change, Dataset, DatasetKind, DatasetName, Guid, History, Listing, Point, SetAsideMark};
use crate::plan::Doomed;
use crate::policy::{Target, TargetKind};

/// A change that comes first.
#[derive(Debug)]
pub(super) struct First {
    /// The source dataset that it serves, if one.
    pub(super) dataset: Option<DatasetName>,
    pub(super) change: Change<Doomed>,
    pub(super) reason: Reason,
    /// Whatever is at or below this name needs the change.
    pub(super) below: DatasetName,
}

/// One target's listing, with those changes made.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The listing after the changes.
    pub(super) listing: Cow<'a, Listing>,
    pub(super) first: Vec<First>,
    /// What is to be told of them.
    pub(super) findings: Vec<(Option<DatasetName>, Severity, FindingKind)>,
    /// Snapshots that have another name in the listing than on the target now: the dataset that they are in now.
    pub(super) actual: BTreeMap<Guid, DatasetName>,
    /// What each source is called there.
    pub(super) called: Names,
    /// Set aside but for their children, which wait for the copy to exist again.
    pub(super) waiting: Vec<SetAsideMark>,
}

impl<'a> View<'a> {
    /// The view of `target`, of which `listed` is known.
    pub(super) fn new(
        target: &Target,
        listed: &'a Listing,
        known: Known<'_>,
        sources: &[Source<'_>],
    ) -> Self {
        let mut view = Self {
            listing: Cow::Borrowed(listed),
            first: Vec::new(),
            findings: Vec::new(),
            actual: BTreeMap::new(),
            waiting: Vec::new(),
            called: Names::default(),
        };
        view.finish_set_asides(sources);
        view.follow_renames(target, known, sources);
        view
    }

    fn finish_set_asides(&mut self, sources: &[Source<'_>]) {
        let marks: Vec<SetAsideMark> =
            self.listing.datasets().filter_map(Dataset::set_aside).filter(|mark| !mark.done).collect();
        for mark in marks {
            let writer = sources.iter().find(|one| one.selected.dataset.guid == mark.writer);
            let has_copy =
                self.listing.get(&mark.of).is_some_and(|copy| copy.history.newest_snapshot().is_some());
            if mark.base.is_none() && !has_copy && self.listing.has_children(&mark.name) {
                self.waiting.push(mark);
                continue;
            }
            let old = self.listing.get(&mark.name).and_then(Dataset::writer);
            let label = writer.map(|one| one.label.clone()).or(old.map(|old| old.label)).unwrap_or_default();
            self.first.push(First {
                dataset: writer.map(|one| one.selected.dataset.name.clone()),
                change: Change::SetAside(mark.wish(&label)),
                reason: Reason::FinishesSetAside,
                below: mark.of.clone(),
            });
            self.apply(&mark);
        }
    }

    /// The listing as it is when the lineage of `mark` has been set aside.
    fn apply(&mut self, mark: &SetAsideMark) {
        let Some(aside) = self.listing.get(&mark.name).cloned() else { return };
        let base = mark.base.as_ref().and_then(|base| aside.history.find_snapshot(base.guid)).cloned();
        if let Some(base) = base {
            let copy = self.listing.get(&mark.of).cloned();
            let (mut before, after): (Vec<Point>, Vec<Point>) =
                aside.history.points().cloned().partition(|point| point.createtxg <= base.createtxg);
            self.actual.extend(before.iter().map(|point| (point.guid, mark.name.clone())));
            // After the promotion the lineage is a clone of the base.
            let is_new = copy.is_none();
            for point in before.iter_mut().filter(|point| is_new && point.guid == base.guid) {
                point.clones += 1;
            }
            let own = copy.iter().flat_map(|copy| copy.history.points().cloned());
            let history = History::new(before.iter().cloned().chain(own).collect());
            let unknown = Dataset { guid: Guid(0), written_bytes: 0, ..aside.clone() };
            let copy = Dataset { name: mark.of.clone(), history, origin: None, ..copy.unwrap_or(unknown) };
            let origin = mark.of.snapshot(&base.name).ok();
            self.listing.to_mut().insert(Dataset { history: History::new(after), origin, ..aside });
            self.listing.to_mut().insert(copy);
        }
        self.rename_below(&mark.name, &mark.of, false);
    }

    /// Renames what is below `from`, and `from` itself if `with_it`, in the listing.
    fn rename_below(&mut self, from: &DatasetName, to: &DatasetName, with_it: bool) {
        let mut moved: Vec<Dataset> = self.listing.below(from).cloned().collect();
        moved.extend(self.listing.get(from).filter(|_| with_it).cloned());
        for dataset in moved {
            let name = dataset.name.below(from).map_or_else(|| Ok(to.clone()), |rest| to.child(rest));
            let Ok(name) = name else { continue };
            if self.listing.get(&name).is_some() {
                continue;
            }
            for point in dataset.history.points() {
                self.actual.entry(point.guid).or_insert_with(|| dataset.name.clone());
            }
            self.listing.to_mut().remove(&dataset.name);
            self.listing.to_mut().insert(Dataset { name, ..dataset });
        }
    }

    /// Copies of datasets that have another name at the source now.
    fn follow_renames(&mut self, target: &Target, known: Known<'_>, sources: &[Source<'_>]) {
        let Known { policy, inventory, listing: source, .. } = known;
        let selected = sources.iter().map(|one| &one.selected.dataset.name).collect();
        self.called = names(policy, inventory, source, &selected, target, &self.listing);
        let copies = self.abandoned(target);
        if copies.is_empty() {
            return;
        }
        let may_rename =
            matches!(target.kind, TargetKind::Backup(_)) && !inventory.append_only.contains(&target.name);
        let mut followed = false;
        for one in sources {
            let dataset = one.selected.dataset;
            let Some(CopyName::Called { name, .. }) = self.called.get(&dataset.name) else { continue };
            let name = name.clone();
            // One of the same label was renamed on the target, by somebody who had a reason.
            let from = copies.get(&dataset.guid).filter(|(_, label)| *label != one.label);
            let Some((from, _)) = from.cloned() else { continue };
            let is_new = self.listing.get(&name).is_none() && self.listing.why_unlisted(&name).is_none();
            let can_follow = is_new && self.has_place(target, &name) && self.listing.get(&from).is_some();
            if can_follow && one.selected.caution == Caution::None {
                self.follow(&dataset.name, &from, &name, may_rename);
                followed = true;
            }
        }
        if followed {
            self.called = names(policy, inventory, source, &selected, target, &self.listing);
        }
    }

    /// The copies that no dataset of the source has by its name, with the label of their writer, by its GUID. What two of
    /// them have in common is neither's.
    fn abandoned(&self, target: &Target) -> BTreeMap<Guid, (DatasetName, String)> {
        let wanted = self.called.taken();
        let orphans = self.called.orphans().filter(|(_, source)| source.is_none()).map(|(copy, _)| copy);
        let has_none_below = |name: &&DatasetName| {
            **name != target.root && !wanted.iter().any(|wanted| wanted.is_within(name))
        };
        let (mut copies, mut twice) = (BTreeMap::new(), BTreeSet::new());
        for name in orphans.filter(has_none_below) {
            if let Some(writer) = self.listing.get(name).and_then(Dataset::writer)
                && copies.insert(writer.guid, (name.clone(), writer.label)).is_some()
            {
                twice.insert(writer.guid);
            }
        }
        copies.retain(|key, _| !twice.contains(key));
        copies
    }

    /// Whether a copy can be renamed to `name` now: below no volume, and below no copy that has yet to be received.
    fn has_place(&self, target: &Target, name: &DatasetName) -> bool {
        let Some(parent) = name.parent().filter(|parent| *parent != target.root) else { return true };
        match self.listing.get(&parent) {
            Some(there) => there.kind == DatasetKind::Filesystem,
            None => !self.called.taken().contains(&parent),
        }
    }

    fn follow(&mut self, dataset: &DatasetName, from: &DatasetName, to: &DatasetName, may_rename: bool) {
        let kind =
            FindingKind::RenamedAtSource { copy: to.clone(), from: from.clone(), is_followed: may_rename };
        let severity = if may_rename { Severity::Warning } else { Severity::Note };
        self.findings.push((Some(dataset.clone()), severity, kind));
        let guid = self.listing.get(from).map(|copy| copy.guid);
        let (true, Some(guid), Some(parent)) = (may_rename, guid, to.parent()) else { return };
        let mut first = |change, reason| {
            self.first.push(First { dataset: Some(dataset.clone()), change, reason, below: to.clone() });
        };
        if self.listing.get(&parent).is_none() {
            first(Change::CreateContainer { dataset: parent, is_plain: false }, Reason::Container);
        }
        let reason = Reason::RenamedAtSource { from: from.clone() };
        first(Change::RenameDataset { from: from.clone(), guid, to: to.clone() }, reason);
        self.rename_below(from, to, true);
    }
}
