//! A target as it will be after what comes before everything else: lineages of which an interrupted run left the setting
//! aside half done, and copies of datasets that were renamed at the source (`renames`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::{FindingKind, Known, Reason, Severity, Source};
use crate::model::{Change, Dataset, DatasetKind, DatasetName, Guid, History, Listing, Point, SetAsideMark};
use crate::plan::ToDestroy;
use crate::policy::Target;

/// A change that comes first.
#[derive(Debug)]
pub(super) struct First {
    /// The source dataset that it serves, if one.
    pub(super) dataset: Option<DatasetName>,
    pub(super) change: Change<ToDestroy>,
    pub(super) reason: Reason,
    /// Whatever is at or below this name needs the change.
    pub(super) below: DatasetName,
    /// Which changes before it, by their place in the list, must have been made.
    pub(super) needs: BTreeSet<usize>,
}

/// A rename that has to wait for what the copy is to be below.
#[derive(Debug, Clone)]
pub(super) struct Later {
    pub(super) from: DatasetName,
    /// The copy's GUID.
    pub(super) guid: Guid,
}

/// One target's listing, with those changes made.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The listing after the changes.
    pub(super) listing: Cow<'a, Listing>,
    pub(super) first: Vec<First>,
    /// Renames to below copies that this run makes, by the new name.
    pub(super) later: BTreeMap<DatasetName, Later>,
    /// The findings on them.
    pub(super) findings: Vec<(Option<DatasetName>, Severity, FindingKind)>,
    /// Snapshots that have another name in the listing than on the target now: the dataset that they are in now.
    pub(super) actual: BTreeMap<Guid, DatasetName>,
    /// The name of each source there.
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
            later: BTreeMap::new(),
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
                needs: BTreeSet::new(),
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
        // Below a volume that has the name by now nothing can be.
        if self.listing.get(&mark.of).is_none_or(|copy| copy.kind == DatasetKind::Filesystem) {
            self.rename_below(&mark.name, &mark.of, false);
        }
    }

    /// Renames what is below `from`, and `from` itself if `with_it`, in the listing.
    pub(super) fn rename_below(&mut self, from: &DatasetName, to: &DatasetName, with_it: bool) {
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
}
