//! The report of a bench.

use serde::Serialize;

use super::choice::Choice;
use super::measured::{Measured, Received};

/// All stages together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Together {
    /// Where the stream ended.
    pub end: &'static str,
    /// The result.
    #[serde(flatten)]
    pub received: Received,
}

/// The whole report of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The target's name, or `loopback`.
    pub target: String,
    /// The stream that was sent.
    pub stream: String,
    /// Each stage alone.
    pub measured: Measured,
    /// The settings that follow from the measurements.
    pub choice: Choice,
    /// All together, with the settings chosen.
    pub together: Option<Together>,
    /// Stages that could not be measured, with the cause; other notes for the admin.
    pub remarks: Vec<String>,
    /// Received datasets that still exist, and how to remove them.
    pub left_behind: Vec<String>,
}
