//! Collects steps and findings while the planner decides.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Finding, FindingKind, LeftOut, LeftOutReason, MissingDetails, NewBookmark, Orphan, Place, Plan,
    Planned, Reason, Severity, Step, StepId, order,
};
use crate::model::{Dataset, DatasetName, Guid, Point};

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Builder {
    plan: Plan,
    wants: MissingDetails,
    /// Steps that make room, and so come as early as they can.
    first: BTreeSet<StepId>,
    /// The bookmarks that mark a snapshot whose stream continues, by dataset: two targets may get the same one.
    marks: BTreeMap<DatasetName, Vec<(StepId, NewBookmark)>>,
    /// Snapshots that are not in the dataset yet that the plan knows them in: by place and GUID, the dataset now.
    actual: BTreeMap<(Place, Guid), DatasetName>,
    /// Names at and below which a target is as the plan knows it only after a step.
    resolved: Vec<(Place, DatasetName, StepId)>,
}

/// The steps that a step needs before it can start.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    /// Steps that must have succeeded.
    pub(super) needs: Vec<StepId>,
    /// Steps that must have ended, well or not.
    pub(super) after: Vec<StepId>,
}

impl Order {
    /// Needs these steps, as far as there are any.
    pub(super) fn needs(steps: impl IntoIterator<Item = StepId>) -> Self {
        Self { needs: steps.into_iter().collect(), after: Vec::new() }
    }
}

impl Builder {
    pub(super) fn new(at: jiff::Timestamp) -> Self {
        Self {
            plan: Plan {
                at,
                steps: Vec::new(),
                findings: Vec::new(),
                left_out: Vec::new(),
                orphans: Vec::new(),
            },
            wants: MissingDetails::default(),
            first: BTreeSet::new(),
            marks: BTreeMap::new(),
            actual: BTreeMap::new(),
            resolved: Vec::new(),
        }
    }

    /// The moment that the plan is made for.
    pub(super) fn at(&self) -> jiff::Timestamp {
        self.plan.at
    }

    /// Adds a step at the end.
    pub(super) fn step(
        &mut self,
        dataset: Option<&DatasetName>,
        place: Place,
        action: impl Into<Action>,
        reason: Reason,
        order: Order,
    ) -> StepId {
        let id = StepId(self.plan.steps.len());
        let Order { mut needs, after } = order;
        let action = action.into();
        needs.extend(action.target().into_iter().flat_map(|name| self.settling(&place, name)));
        needs.sort_unstable();
        needs.dedup();
        self.plan.steps.push(Step { id, dataset: dataset.cloned(), place, action, reason, needs, after });
        id
    }

    /// Says that only after `step` a target is at and below `name` as the plan knows it: whatever is planned there from now on
    /// needs the step.
    pub(super) fn resolved(&mut self, place: &Place, name: &DatasetName, step: StepId) {
        self.resolved.push((place.clone(), name.clone(), step));
    }

    /// The steps after which the target is at `name` as the plan knows it; none if it is so from the start.
    pub(super) fn settling(&self, place: &Place, name: &DatasetName) -> impl Iterator<Item = StepId> {
        let above =
            self.resolved.iter().filter(move |(there, above, _)| there == place && name.is_within(above));
        above.map(|(_, _, step)| *step)
    }

    /// Whether a target is at `name` as the plan knows it only after a step.
    pub(super) fn is_resolved_later(&self, place: &Place, name: &DatasetName) -> bool {
        self.settling(place, name).next().is_some()
    }

    /// Adds a finding.
    pub(super) fn find(
        &mut self,
        severity: Severity,
        dataset: Option<&DatasetName>,
        place: Place,
        kind: impl Into<FindingKind>,
    ) {
        let kind = kind.into();
        self.plan.findings.push(Finding { severity, dataset: dataset.cloned(), place, kind });
    }

    /// Notes what is not served.
    pub(super) fn leave_out(&mut self, left_out: Vec<LeftOut>) {
        self.plan.left_out = left_out;
    }

    /// Notes a copy that nothing is sent to; not where its source was merely not asked for.
    pub(super) fn orphan(&mut self, orphan: Orphan) {
        let is_asked_for = |source: &DatasetName| {
            let mut left_out = self.plan.left_out.iter();
            !left_out.any(|one| one.dataset == *source && one.reason == LeftOutReason::NotAskedFor)
        };
        if orphan.source.as_ref().is_none_or(is_asked_for) {
            self.plan.orphans.push(orphan);
        }
    }

    /// Says that a decision depends on the details of these snapshots. Gives whether all of them are known; where they are
    /// not, the plan will be made again, and nothing of them may be destroyed until then.
    pub(super) fn knows<'a>(
        &mut self,
        place: &Place,
        dataset: &DatasetName,
        points: impl IntoIterator<Item = &'a Point>,
    ) -> bool {
        let mut are_known = true;
        for point in points {
            let actual =
                if self.actual.is_empty() { None } else { self.actual.get(&(place.clone(), point.guid)) };
            are_known &= self.wants.note(place, actual.unwrap_or(dataset), point);
        }
        are_known
    }

    /// The same of what snapshots of a source dataset say of their lineage.
    pub(super) fn knows_lineage<'a>(
        &mut self,
        dataset: &Dataset,
        snapshots: impl IntoIterator<Item = &'a Point>,
    ) -> bool {
        let mut are_known = true;
        for snapshot in snapshots {
            are_known &= self.wants.note_lineage(dataset, snapshot);
        }
        are_known
    }

    /// The same of when a source dataset left its line.
    pub(super) fn knows_line_history(&mut self, dataset: &Dataset) -> bool {
        self.wants.note_line_history(dataset)
    }

    /// Lets `step` come as early as what it needs allows.
    pub(super) fn first(&mut self, step: StepId) {
        self.first.insert(step);
    }

    /// Lets `later` start only when `earlier` has ended, well or not.
    pub(super) fn before(&mut self, earlier: StepId, later: StepId) {
        if let Some(step) = self.plan.steps.get_mut(later.0) {
            step.after.push(earlier);
        }
    }

    /// Lets a step that makes bookmarks make one more.
    pub(super) fn add_bookmark(&mut self, step: StepId, new: NewBookmark) {
        let action = self.plan.steps.get_mut(step.0).map(|step| &mut step.action);
        if let Some(Action::Bookmark { bookmarks }) = action
            && !bookmarks.contains(&new)
        {
            bookmarks.push(new);
        }
    }

    /// Adds the step that marks a snapshot whose stream begins, once. Gives the step.
    pub(super) fn mark(&mut self, dataset: &DatasetName, new: NewBookmark) -> StepId {
        let made = self.marks.get(dataset).into_iter().flatten();
        if let Some((step, _)) = made.into_iter().find(|(_, made)| *made == new) {
            return *step;
        }
        let action = Action::Bookmark { bookmarks: vec![new.clone()] };
        let step = self.step(Some(dataset), Place::Source, action, Reason::Sending, Order::default());
        self.marks.entry(dataset.clone()).or_default().push((step, new));
        step
    }

    /// The marks that this plan makes on snapshots of `dataset` that exist.
    pub(super) fn new_marks(&self, dataset: &DatasetName) -> Vec<NewBookmark> {
        self.marks.get(dataset).into_iter().flatten().map(|(_, new)| new.clone()).collect()
    }

    /// Notes in which datasets these snapshots are now.
    pub(super) fn are_in(&mut self, place: &Place, actual: &BTreeMap<Guid, DatasetName>) {
        self.actual.extend(actual.iter().map(|(guid, name)| ((place.clone(), *guid), name.clone())));
    }

    pub(super) fn finish(mut self) -> Planned {
        self.plan.steps = order::sort(self.plan.steps, &self.first);
        Planned { plan: self.plan, wants: self.wants }
    }
}
