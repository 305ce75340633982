//! A run's report as text: a short summary for a person who watches, and what went wrong for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::plan::finding_text;
use super::step::{dataset_label, step_line};
use super::summary::{Summary, findings_summary};
use super::{Estimates, Style, count, duration_text, escape};
use crate::execute::{MemberFailure, Outcome, Report};
use crate::model::{ByteCount, DatasetName};
use crate::plan::{Action, Place, Severity, Step};

/// The text for stderr: failed steps and findings from `from` on, worst first; empty when all is well.
pub(in crate::cli) fn failures_text(report: &Report, from: Severity, style: Style) -> String {
    let mut text = gone_text(report, style);
    for (step, outcome) in report.steps() {
        match outcome {
            Outcome::Failed { error, advice, is_source_gone: false, .. } => {
                failure_text(&mut text, style, step, &dataset_label(step), (error, advice));
            }
            Outcome::Partly { failures, .. } => {
                let others = failures.iter().filter(|failure| !failure.is_source_gone);
                for MemberFailure { dataset, error, advice, .. } in others {
                    failure_text(&mut text, style, step, dataset.as_str(), (error, advice));
                }
            }
            Outcome::Failed { .. } | Outcome::Done { .. } | Outcome::Skipped { .. } => {}
        }
    }
    let mut findings: Vec<_> =
        report.plan.findings.iter().filter(|finding| finding.severity >= from).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in findings {
        text.push_str(&finding_text(finding, style));
    }
    let skipped = report.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Skipped { .. })).count();
    if report.was_interrupted {
        let _ = writeln!(
            text,
            "{}: {} not done; the next run continues from here",
            style.yellow("interrupted"),
            count(skipped, "step")
        );
    } else if skipped > 0 {
        let (was, they) = if skipped == 1 { ("was", "it depends") } else { ("were", "they depend") };
        let _ =
            writeln!(text, "{} {was} skipped because a step that {they} on failed", count(skipped, "step"));
    }
    text
}

/// What was destroyed or renamed while the run was under way: once for each guest, however many of its steps failed.
fn gone_text(report: &Report, style: Style) -> String {
    let mut gone: BTreeMap<&str, BTreeSet<&DatasetName>> = BTreeMap::new();
    for (step, outcome) in report.steps() {
        match outcome {
            Outcome::Failed { is_source_gone: true, advice, .. } => {
                gone.entry(advice).or_default().extend(&step.dataset);
            }
            Outcome::Partly { failures, .. } => {
                for failure in failures.iter().filter(|failure| failure.is_source_gone) {
                    gone.entry(&failure.advice).or_default().insert(&failure.dataset);
                }
            }
            Outcome::Failed { .. } | Outcome::Done { .. } | Outcome::Skipped { .. } => {}
        }
    }
    let mut text = String::new();
    for (advice, datasets) in gone {
        let datasets: Vec<&str> = datasets.into_iter().map(DatasetName::as_str).collect();
        let was = if datasets.len() == 1 { "was" } else { "were" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {} {was} destroyed or renamed while the run was under way, and could not be backed up completely\n  \
             next: {}",
            style.red("failed"),
            datasets.join(", "),
            escape(advice)
        );
    }
    text
}

fn failure_text(text: &mut String, style: Style, step: &Step, dataset: &str, (error, advice): (&str, &str)) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {dataset} ({}): {}", style.red("failed"), step.place, step_line(step));
    for line in error.lines() {
        let _ = writeln!(text, "  {}", escape(line));
    }
    if !advice.is_empty() {
        let _ = writeln!(text, "  next: {}", escape(advice));
    }
}

/// The text for stdout on a terminal.
pub(in crate::cli) fn report_text(report: &Report, took: Duration) -> String {
    let done = |(step, outcome)| matches!(outcome, &Outcome::Done { .. }).then_some(step);
    let summary = Summary::of(report.steps().filter_map(done), &Estimates::new());
    let mut parts = summary.local_parts();
    let targets = moved_by_target(report);
    if !targets.is_empty() {
        let each = |(place, (number, bytes)): (&&Place, &(usize, ByteCount))| {
            format!("{} to {place} ({bytes})", count(*number, "transfer"))
        };
        parts.push(targets.iter().map(each).collect::<Vec<_>>().join(", "));
    }
    parts.extend(summary.closing_parts());
    let mut text = String::new();
    for remark in remarks(report) {
        let _ = writeln!(text, "note: {remark}");
    }
    let failed = report.failures().count();
    let ending = if report.was_interrupted {
        "Interrupted"
    } else if failed > 0 {
        "Ended with failures"
    } else {
        "Done"
    };
    let what = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    let findings = findings_summary(&report.plan.findings);
    let findings = if findings.is_empty() { findings } else { format!("; {findings}") };
    let steps = if failed > 0 { format!("; {} failed", count(failed, "step")) } else { String::new() };
    let _ = writeln!(text, "{ending} in {}: {what}{steps}{findings}", duration_text(took));
    text
}

fn moved_by_target(report: &Report) -> BTreeMap<&Place, (usize, ByteCount)> {
    let mut targets: BTreeMap<&Place, (usize, ByteCount)> = BTreeMap::new();
    for (step, outcome) in report.steps() {
        if let (Action::Send(_), Outcome::Done { moved_bytes, .. }) = (&step.action, outcome) {
            let (number, bytes) = targets.entry(&step.place).or_default();
            *number += 1;
            bytes.0 = bytes.0.saturating_add(moved_bytes.0);
        }
    }
    targets
}

fn remarks(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (step, outcome) in report.steps() {
        if let Outcome::Done { remarks, .. } = outcome {
            let label = dataset_label(step);
            lines
                .extend(remarks.iter().map(|remark| format!("{label} ({}): {}", step.place, escape(remark))));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::examples::{done, finding, plan, report};
    use super::*;

    const LOST: &str = "2026-Jan can no longer be archived: the source has no zhaul snapshot left from then";

    fn clean() -> Report {
        let mut report = report(plan(), &done(0));
        report.outcomes[2] = done(3 << 29);
        report.outcomes[3] = done(1 << 20);
        report.plan.findings.clear();
        report
    }

    #[test]
    fn a_run_in_which_all_is_well_is_one_line() {
        assert_eq!(
            report_text(&clean(), Duration::from_secs(123)),
            "Done in 2 min 3 s: 2 snapshots, 1 transfer to nfs8 (1.50 GiB), 1 transfer to nfs9 (1.00 MiB), \
             2 snapshots destroyed (at least 3.00 MiB freed), 1 other step\n"
        );
        assert_eq!(failures_text(&clean(), Severity::Warning, Style::default()), "");
    }

    #[test]
    fn notes_do_not_break_the_silence_but_warnings_do() {
        let mut report = clean();
        report.plan.findings = vec![finding(Severity::Note)];
        assert_eq!(failures_text(&report, Severity::Warning, Style::default()), "");
        assert_eq!(failures_text(&report, Severity::Note, Style::default()), format!("note: nfs9: {LOST}\n"));
        report.plan.findings.push(finding(Severity::Warning));
        assert_eq!(
            failures_text(&report, Severity::Warning, Style::default()),
            format!("warning: nfs9: {LOST}\n")
        );
    }

    #[test]
    fn a_failure_names_dataset_step_causes_and_next_action() {
        let mut report = clean();
        report.outcomes[3] = Outcome::Failed {
            error:
                "nfs9: cannot receive into tank/archive/pve0/vm-100-disk-0\nthere is no space left: \x07full"
                    .to_owned(),
            advice: "free space on nfs9".to_owned(),
            needs_person: false,
            is_source_gone: false,
        };
        report.outcomes[4] = Outcome::Skipped { why: "step 3 failed".to_owned() };
        let expected = "\
failed: rpool/data/vm-100-disk-0 (nfs9): send @2026-02-01-030000 in full into tank/archive/pve0/vm-100-disk-0
  nfs9: cannot receive into tank/archive/pve0/vm-100-disk-0
  there is no space left: \\u{7}full
  next: free space on nfs9
1 step was skipped because a step that it depends on failed
";
        assert_eq!(failures_text(&report, Severity::Warning, Style::default()), expected);
        assert_eq!(
            report_text(&report, Duration::from_millis(1_200)),
            "Ended with failures in 1.2 s: 2 snapshots, 1 transfer to nfs8 (1.50 GiB), \
             2 snapshots destroyed (at least 3.00 MiB freed); 1 step failed\n"
        );
    }

    #[test]
    fn an_interrupted_run_says_that_the_next_one_continues() {
        let mut report = report(plan(), &Outcome::Skipped { why: "stopped".to_owned() });
        report.was_interrupted = true;
        report.plan.findings.clear();
        assert_eq!(
            failures_text(&report, Severity::Warning, Style::default()),
            "interrupted: 6 steps not done; the next run continues from here\n"
        );
        assert_eq!(report_text(&report, Duration::ZERO), "Interrupted in 0.0 s: nothing to do\n");
    }

    #[test]
    fn a_remark_is_shown() {
        let mut report = clean();
        report.outcomes[5] = Outcome::Done {
            moved_bytes: ByteCount(0),
            seconds: Duration::ZERO,
            remarks: vec!["@2026-01-01-030000 stays: it is held".to_owned()],
        };
        let text = report_text(&report, Duration::ZERO);
        assert!(
            text.starts_with(
                "note: rpool/data/vm-100-disk-0 (source): @2026-01-01-030000 stays: it is held\nDone"
            ),
            "{text}"
        );
    }
}
