//! Status as a table for people.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::{Status, level_of};
use crate::cli::render::{Style, aligned, count, duration_text, escape, finding_text, write_unserved};
use crate::plan::status::{Complaint, CopyState, CopyStatus, Level};
use crate::policy::{Target, TargetKind};

/// The table, what is not as it should be, and a last line that sums it up.
pub(super) fn text(status: &Status, targets: &[Target], style: Style) -> String {
    let mut rows = vec![heading(targets)];
    for dataset in &status.datasets {
        let mut row = vec![dataset.dataset.to_string(), age(dataset.newest_snapshot, status.at)];
        row.extend(dataset.copies.iter().map(|copy| cell(copy, status.at)));
        rows.push(row);
    }
    let mut text = String::new();
    if !status.datasets.is_empty() {
        text = aligned(&rows, style);
        text.push('\n');
    }
    let left_out: Vec<_> = status.left_out.iter().map(|one| one.left_out.clone()).collect();
    write_unserved(&mut text, &left_out, &status.orphans, style);
    for complaint in &status.complaints {
        let _ = writeln!(text, "{}", complaint_line(complaint, style));
    }
    for finding in &status.findings {
        text.push_str(&finding_text(finding, style));
    }
    if !status.complaints.is_empty() || !status.findings.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{}", summary(status));
    text
}

fn heading(targets: &[Target]) -> Vec<String> {
    let mut row = vec!["dataset".to_owned(), "snapshot".to_owned()];
    row.extend(targets.iter().map(|target| match target.kind {
        TargetKind::Backup(_) => target.name.to_string(),
        TargetKind::Archive(_) => format!("{} (archive)", target.name),
    }));
    row
}

fn cell(copy: &CopyStatus, now: Timestamp) -> String {
    let (mut cell, is_partial) = match &copy.state {
        CopyState::CouldNotAsk { .. } => ("?".to_owned(), false),
        CopyState::Nothing { is_partial } => ("none".to_owned(), *is_partial),
        CopyState::Copied { newest_month, is_partial, .. } if copy.is_archive => {
            (newest_month.map_or_else(|| "no month".to_owned(), |month| month.to_string()), *is_partial)
        }
        CopyState::Copied { newest_common: None, is_partial, .. } => {
            ("nothing in common".to_owned(), *is_partial)
        }
        CopyState::Copied { diverged: 1.., is_partial, .. } => ("diverged".to_owned(), *is_partial),
        CopyState::Copied { newest_common, behind: 0, is_partial, .. } => {
            (age(*newest_common, now), *is_partial)
        }
        CopyState::Copied { newest_common, behind, is_partial, .. } => {
            (format!("{}, {behind} behind", age(*newest_common, now)), *is_partial)
        }
    };
    if is_partial {
        cell.push_str(", partial");
    }
    if let Some(verified) = copy.verified {
        let _ = write!(cell, ", verified {}", age(Some(verified.at), now));
    }
    cell
}

fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else {
        return "none".to_owned();
    };
    // A clock that went back makes no age negative.
    let age = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    format!("{} ago", duration_text(age))
}

/// One thing that is not as it should be.
pub(super) fn complaint_line(complaint: &Complaint, style: Style) -> String {
    let label = match complaint.level {
        Level::Critical => style.red("critical"),
        Level::Warning => style.yellow("warning"),
        Level::Ok => "ok".to_owned(),
    };
    let target = complaint.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
    format!("{label}: {}{target}: {}", complaint.dataset, escape(&complaint.what))
}

/// `12 datasets: 1 critical, 2 warnings`.
pub(super) fn summary(status: &Status) -> String {
    if let Some(why) = &status.source_error {
        return format!("the source cannot be listed: {}", escape(why));
    }
    if let Some(why) = &status.plan_error {
        return format!("no run can be planned: {}", escape(why));
    }
    let [criticals, warnings] = [Level::Critical, Level::Warning].map(|level| number_of(status, level));
    let mut parts = Vec::new();
    if criticals > 0 {
        parts.push(format!("{criticals} critical"));
    }
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    if parts.is_empty() {
        parts.push("all is well".to_owned());
    }
    format!("{}: {}", count(status.datasets.len(), "dataset"), parts.join(", "))
}

/// How many complaints have this level.
pub(super) fn number_of(status: &Status, level: Level) -> usize {
    let findings = status.findings.iter().filter(|finding| level_of(finding) == level);
    status.complaints.iter().filter(|one| one.level == level).count() + findings.count()
}
