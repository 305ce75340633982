//! What a bench has to tell.

use serde::Serialize;

use super::choice::Choice;
use super::measured::{Measured, Received};

/// All stages together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Together {
    /// What became of the stream at the end.
    pub end: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub received: Received,
}

/// All that a bench has to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Between what.
    pub target: String,
    /// What was sent.
    pub stream: String,
    /// Each stage alone.
    pub measured: Measured,
    /// What follows from it.
    pub choice: Choice,
    /// All together, with the settings chosen.
    pub together: Option<Together>,
    /// What could not be measured, and why; what a person should know.
    pub remarks: Vec<String>,
    /// What is still there of what was received, and how to remove it.
    pub left_behind: Vec<String>,
}
