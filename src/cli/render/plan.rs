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
mod tests {
    use super::super::examples::{estimates, plan};
    use super::*;

    #[test]
    fn a_plan_reads_as_it_should() {
        let expected = "\
several datasets
  source  snapshot 2 datasets in one transaction group
            because guest 100: all 2 volumes in one transaction group
            rpool/data/vm-100-disk-0@2026-02-01-030000
            rpool/data/vm-100-disk-1@2026-02-01-030000

rpool/data/vm-100-disk-0
  source  bookmark #2026-02-01-030000
            because the next increment can start from it when the snapshot is gone
  nfs8    send #2026-01-31-030000 -> @2026-02-01-030000 into tank/backup/pve0/vm-100-disk-0, about 1.50 GiB
            because the newest common snapshot is @2026-01-31-030000
  nfs9    send @2026-02-01-030000 in full into tank/archive/pve0/vm-100-disk-0, of unknown size
            because the target has nothing yet
  nfs9    rename tank/archive/pve0/vm-100-disk-0@2026-02-01-030000 to @2026-Feb
            because it was received, but not renamed
  source  destroy 2 snapshots of rpool/data/vm-100-disk-0, frees at least 3.00 MiB
            because kept by no rule (keep-last = 1)
            @2026-01-01-030000  1.00 MiB
            @2026-01-02-030000  2.00 MiB

blocked: rpool/data/vm-101-disk-0 (nfs9): tank/archive/pve0/vm-101-disk-0 has snapshots, but the source knows none of \
them; the copy stays as it is
  next: on nfs9, rename tank/archive/pve0/vm-101-disk-0 (zfs rename), or set on-no-base = \"supersede\"
note: source: 2026-Jan can no longer be archived: the source has no zhaul snapshot left from then

Plan for 2026-02-01T03:00:00Z: 2 snapshots, 2 transfers of about 1.50 GiB and 1 of unknown size, \
2 snapshots destroyed (at least 3.00 MiB freed), 1 other step; 1 blocked
";
        assert_eq!(plan_text(&plan(), &estimates(), Style::default()), expected);
    }

    #[test]
    fn an_empty_plan_says_so() {
        let plan = Plan { steps: Vec::new(), findings: Vec::new(), ..plan() };
        assert_eq!(
            plan_text(&plan, &Estimates::new(), Style::default()),
            "Plan for 2026-02-01T03:00:00Z: nothing to do\n"
        );
    }
}
