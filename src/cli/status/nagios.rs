//! Status as one line for Nagios and its kin: the worst news first, then performance data.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::Status;
use super::table::{complaint_line, number_of, summary};
use crate::cli::exit_code::Code;
use crate::cli::render::{Style, escape};
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
    let mut complaints: Vec<_> = status.complaints.iter().collect();
    complaints.sort_by_key(|one| Reverse(one.level));
    for complaint in complaints.iter().take(NAMED_MAX) {
        let _ = write!(line, "; {}", complaint_line(complaint, Style::default()));
    }
    if complaints.len() > NAMED_MAX {
        let _ = write!(line, "; and {} more", complaints.len() - NAMED_MAX);
    }
    // What follows the first bar is performance data to the monitor.
    let line = line.replace('|', "/");
    format!(
        "{line} | datasets={} warnings={} criticals={}\n",
        status.datasets.len(),
        number_of(status, Level::Warning),
        number_of(status, Level::Critical)
    )
}

/// The line where there is no status to tell.
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
