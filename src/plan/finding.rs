//! What a plan has to tell a person: what is blocked, lost, skipped or odd, with the next action.

use std::fmt;

use serde::Serialize;

use super::Place;
use crate::model::DatasetName;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; silent under cron.
    Note,
    /// Odd, or something was skipped; the run goes on.
    Warning,
    /// A dataset is not backed up until a person acts; exit code 3.
    Blocked,
    /// A host could not be asked, so its datasets are not served; exit code 1.
    Failed,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The source dataset it is about, if one.
    pub dataset: Option<DatasetName>,
    /// The machine it is about.
    pub place: Place,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where nothing needs to be done.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dataset {
            Some(dataset) => write!(f, "{dataset} ({}): {}", self.place, self.what)?,
            None => write!(f, "{}: {}", self.place, self.what)?,
        }
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}
