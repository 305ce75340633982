//! The means to run a step, and its result.

use super::state::State;
use super::{Hosts, MemberFailure, Observer, Settings};
use crate::model::ByteCount;
use crate::stream::Cancel;

/// Everything that running a step takes.
pub(super) struct Work<'a> {
    pub(super) hosts: Hosts<'a>,
    pub(super) settings: &'a Settings,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
    pub(super) state: State,
}

/// The result of a step.
#[derive(Default)]
pub(super) struct StepResult {
    pub(super) moved_bytes: ByteCount,
    pub(super) remarks: Vec<String>,
    /// Datasets of several for which it failed.
    pub(super) failures: Vec<MemberFailure>,
    /// Why there was nothing to do.
    pub(super) skipped: Option<String>,
}
