//! Collects steps and findings while the planner decides.

use super::{
    Action, Finding, FindingKind, LeftOut, LeftOutReason, Orphan, Place, Plan, Planned, Reason, Severity,
    Step, StepId, Wants,
};
use crate::model::{DatasetName, Point};

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Builder {
    plan: Plan,
    wants: Wants,
}

/// What a step needs before it can start.
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
            wants: Wants::default(),
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
        needs.sort_unstable();
        needs.dedup();
        let action = action.into();
        self.plan.steps.push(Step { id, dataset: dataset.cloned(), place, action, reason, needs, after });
        id
    }

    /// Adds a finding.
    pub(super) fn find(
        &mut self,
        severity: Severity,
        dataset: Option<&DatasetName>,
        place: Place,
        kind: FindingKind,
    ) {
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
            are_known &= self.wants.note(place, dataset, point);
        }
        are_known
    }

    pub(super) fn finish(self) -> Planned {
        Planned { plan: self.plan, wants: self.wants }
    }
}
