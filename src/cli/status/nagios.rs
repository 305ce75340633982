//! Status as one line for Nagios and its kin: the worst news first, then performance data.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::table::{complaint_line, number_of, summary};
use super::{Status, level_of};
use crate::cli::exit_code::Code;
use crate::cli::render::{Style, escape, finding_text};
use crate::plan::Finding;
use crate::plan::status::Level;

/// How many complaints the line names; the rest is counted.
const NAMED_MAX: usize = 3;

/// The line.
pub(super) fn line(status: &Status) -> String {
    let word = match status.level {
        Level::Ok => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    };
    let mut line = format!("ZHAUL {word} - {}", summary(status));
    let complaints = status.complaints.iter().map(|one| (one.level, complaint_line(one, Style::default())));
    let findings = status.findings.iter().map(|one| (level_of(one), finding_line(one)));
    let mut all: Vec<(Level, String)> = complaints.chain(findings).collect();
    all.sort_by_key(|(level, _)| Reverse(*level));
    for (_, text) in all.iter().take(NAMED_MAX) {
        let _ = write!(line, "; {text}");
    }
    if all.len() > NAMED_MAX {
        let _ = write!(line, "; and {} more", all.len() - NAMED_MAX);
    }
    // The monitor reads text after the first bar as performance data.
    let line = line.replace('|', "/");
    format!(
        "{line} | datasets={} warnings={} criticals={}\n",
        status.datasets.len(),
        number_of(status, Level::Warning),
        number_of(status, Level::Critical)
    )
}

/// The finding, without the next action.
fn finding_line(finding: &Finding) -> String {
    finding_text(finding, Style::default()).lines().next().unwrap_or_default().to_owned()
}

/// The line for a status that could not be found out.
pub(super) fn failure_line(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(|cause| escape(&cause.to_string())).collect();
    format!("ZHAUL CRITICAL - {}\n", causes.join(": ").replace('|', "/"))
}

/// The code whose number is Nagios's: 0 OK, 1 WARNING, 2 CRITICAL.
pub(super) fn code(level: Level) -> Code {
    match level {
        Level::Ok => Code::Done,
        Level::Warning => Code::Failed,
        Level::Critical => Code::Usage,
    }
}
