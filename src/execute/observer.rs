//! Who watches a run: a terminal, a log, a test. Called from several threads at once.

use super::Outcome;
use crate::model::ByteCount;
use crate::plan::Step;
use crate::stream::Sample;

/// Gets each event when it happens.
pub trait Observer: Sync {
    /// A step begins.
    fn started(&self, step: &Step);

    /// How many bytes a transfer that has begun will move turns out.
    fn sized(&self, step: &Step, expected: ByteCount);

    /// A transfer has moved data; a few times a second.
    fn moved(&self, step: &Step, sample: &Sample);

    /// A step has ended or was skipped.
    fn ended(&self, step: &Step, outcome: &Outcome);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn started(&self, _step: &Step) {}
    fn sized(&self, _step: &Step, _expected: ByteCount) {}
    fn moved(&self, _step: &Step, _sample: &Sample) {}
    fn ended(&self, _step: &Step, _outcome: &Outcome) {}
}
