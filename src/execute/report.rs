//! The report of a run: each step of its plan with its outcome.

use std::time::Duration;

use serde::Serialize;

use crate::model::{ByteCount, DatasetName};
use crate::plan::{Plan, Severity, Step};

/// The outcome of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done {
        /// Bytes that a transfer moved.
        moved_bytes: ByteCount,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        seconds: Duration,
        /// Parts that were left undone and why, for example a held snapshot that stays.
        remarks: Vec<String>,
    },
    /// It failed for some of its datasets; nothing of theirs that needs it was tried.
    Partly {
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        seconds: Duration,
        /// Each dataset that it failed for.
        failures: Vec<MemberFailure>,
    },
    /// It failed; nothing that needs it was tried.
    Failed {
        /// The error and its causes, outermost first.
        error: String,
        /// The next action.
        advice: String,
        /// Every later run will fail the same way until a person acts.
        needs_person: bool,
        /// The dataset was destroyed or renamed while the run was under way.
        is_source_gone: bool,
    },
    /// It was not tried, since a step that it needs had failed or the run was stopped.
    Skipped {
        /// Why.
        why: String,
    },
}

/// One dataset for which a step on several failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberFailure {
    /// The dataset.
    pub dataset: DatasetName,
    /// The error and its causes, outermost first.
    pub error: String,
    /// The next action.
    pub advice: String,
    /// The dataset was destroyed or renamed while the run was under way.
    pub is_source_gone: bool,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// A plan and its outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plan.
    pub plan: Plan,
    /// One for each step of the plan, in its order.
    pub outcomes: Vec<Outcome>,
    /// Whether a person or a signal stopped the run.
    pub was_interrupted: bool,
}

impl Report {
    /// Each step with its outcome.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &Outcome)> {
        self.plan.steps.iter().zip(&self.outcomes)
    }

    /// The steps that failed, for all of their datasets or for some.
    pub fn failures(&self) -> impl Iterator<Item = (&Step, &Outcome)> {
        let has_failed =
            |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Partly { .. });
        self.steps().filter(move |(_, outcome)| has_failed(outcome))
    }

    /// The worst thing that the plan found.
    pub fn worst_finding(&self) -> Option<Severity> {
        self.plan.findings.iter().map(|finding| finding.severity).max()
    }
}
