//! A plan as text: what `zhaul run --dry-run` prints.
//!
//! Steps are grouped by the dataset they serve, in the order of the plan; steps that serve several come first. Sizes of
//! transfers are estimates; what a destroyed snapshot frees is at least what is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::finding::{finding_next, finding_what};
use super::left_out::{left_out_lines, orphan_lines};
use super::reason::reason_text;
use super::step::{detail_lines, freed_bytes, step_line};
use super::summary::{Summary, findings_summary};
use super::{Estimates, Style, escape};
use crate::model::DatasetName;
use crate::plan::{Action, Finding, LeftOut, Orphan, Plan, Severity, Step};

/// The whole plan.
pub(in crate::cli) fn plan_text(plan: &Plan, estimates: &Estimates, style: Style) -> String {
    let mut text = String::new();
    let mut groups: BTreeMap<Option<&DatasetName>, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        groups.entry(step.dataset.as_ref()).or_default().push(step);
    }
    let width =
        plan.steps.iter().map(|step| step.place.to_string().chars().count()).max().unwrap_or_default();
    for (dataset, steps) in groups {
        let heading = dataset.map_or_else(|| "several datasets".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{}", style.bold(&heading));
        for step in steps {
            write_step(&mut text, step, estimates, width);
        }
        text.push('\n');
    }
    write_unserved(&mut text, &plan.left_out, &plan.orphans, style);
    write_findings(&mut text, &plan.findings, style);
    let _ = writeln!(text, "{}", summary_line(plan, estimates));
    text
}

fn write_step(text: &mut String, step: &Step, estimates: &Estimates, width: usize) {
    let size = if matches!(step.action, Action::Send(_)) {
        match estimates.get(&step.id) {
            Some(bytes) => format!(", about {bytes}"),
            None => ", of unknown size".to_owned(),
        }
    } else {
        freed_bytes(step).map(|bytes| format!(", frees at least {bytes}")).unwrap_or_default()
    };
    let place = step.place.to_string();
    let _ = writeln!(text, "  {place:<width$}  {}{size}", step_line(step));
    let indent = width + 6;
    let _ = writeln!(text, "{:indent$}because {}", "", escape(&reason_text(&step.reason)));
    for line in detail_lines(step) {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
}

/// Datasets that are not backed up, and copies that nothing is sent to.
pub(in crate::cli) fn write_unserved(
    text: &mut String,
    left_out: &[LeftOut],
    orphans: &[Orphan],
    style: Style,
) {
    let sections =
        [("left out", left_out_lines(left_out)), ("copies that nothing is sent to", orphan_lines(orphans))];
    for (heading, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(text, "{}\n{lines}", style.bold(heading));
    }
}

/// The findings, worst first, each with what to do about it.
pub(super) fn write_findings(text: &mut String, findings: &[Finding], style: Style) {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in &sorted {
        text.push_str(&finding_text(finding, style));
    }
    if !sorted.is_empty() {
        text.push('\n');
    }
}

/// One finding on one line, and the next action on a second.
pub(in crate::cli) fn finding_text(finding: &Finding, style: Style) -> String {
    let label = match finding.severity {
        Severity::Failed => style.red("failed"),
        Severity::Blocked => style.red("blocked"),
        Severity::Warning => style.yellow("warning"),
        Severity::Note => "note".to_owned(),
    };
    let about = match &finding.dataset {
        Some(dataset) => format!("{dataset} ({})", finding.place),
        None => finding.place.to_string(),
    };
    let mut text = format!("{label}: {about}: {}\n", escape(&finding_what(finding)));
    if let Some(next) = finding_next(finding) {
        let _ = writeln!(text, "  next: {}", escape(&next));
    }
    text
}

fn summary_line(plan: &Plan, estimates: &Estimates) -> String {
    let summary = Summary::of(plan.steps.iter(), estimates);
    let mut parts = summary.local_parts();
    parts.extend(summary.expected_transfers());
    parts.extend(summary.closing_parts());
    let planned = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    let findings = findings_summary(&plan.findings);
    let findings = if findings.is_empty() { findings } else { format!("; {findings}") };
    format!("Plan for {:.0}: {planned}{findings}", plan.at)
}

#[cfg(test)]
mod tests;
