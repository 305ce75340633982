//! Every exit code, its meaning, and what leads to it.

use std::process::ExitCode;

use crate::execute::{Outcome, Report};
use crate::plan::{Finding, Severity};

/// The text below every `--help`.
pub(super) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    done
  1    something failed or could not be reached
  2    wrong usage or configuration
  3    blocked, needs a person
  4    another run is active
  130  interrupted";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// All that was asked for is done.
    Done,
    /// Something failed; the rest is done.
    Failed,
    /// Wrong usage or configuration; nothing was done.
    Usage,
    /// Some dataset is not backed up until a person acts.
    Blocked,
    /// Another run is active; nothing was done.
    Busy,
    /// A person or a signal ended it.
    Interrupted,
}

impl Code {
    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Blocked => 3,
            Self::Busy => 4,
            Self::Interrupted => 130,
        }
    }

    /// The code for the findings of a plan, before any step runs.
    pub fn of_findings(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Failed) => Self::Failed,
            Some(Severity::Blocked) => Self::Blocked,
            Some(Severity::Warning | Severity::Note) | None => Self::Done,
        }
    }

    /// The code for a run. Interrupted beats failed, which beats blocked: the run that comes next settles them in
    /// that order.
    pub fn of_report(report: &Report) -> Self {
        if report.was_interrupted {
            return Self::Interrupted;
        }
        let found = Self::of_findings(&report.plan.findings);
        let mut failures = report.failures().map(|(_, outcome)| outcome).peekable();
        if failures.peek().is_none() {
            return found;
        }
        let is_for_a_person =
            |outcome: &Outcome| matches!(outcome, Outcome::Failed { needs_person: true, .. });
        if found != Self::Failed && failures.all(is_for_a_person) { Self::Blocked } else { Self::Failed }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// A command that could not do its work: the error to print, and the code to end with.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code of the process.
    pub(super) code: Code,
    /// The error, with its causes.
    pub(super) error: anyhow::Error,
}

/// Gives an error the code that it ends the process with.
pub(super) trait OrExit<T> {
    /// The value, or a [`Failure`] with `code`.
    fn or_exit(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure { code, error: error.into() })
    }
}

#[cfg(test)]
mod tests;
