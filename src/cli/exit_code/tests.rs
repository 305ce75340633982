//! Which exit code a plan and a report have.

use super::super::render::examples::{finding, plan, report};
use super::*;

#[test]
fn findings_decide_a_dry_run() {
    let cases: [(&[Severity], Code); 5] = [
        (&[], Code::Done),
        (&[Severity::Note, Severity::Warning], Code::Done),
        (&[Severity::Blocked, Severity::Note], Code::Blocked),
        (&[Severity::Failed, Severity::Blocked], Code::Failed),
        (&[Severity::Failed], Code::Failed),
    ];
    for (severities, expected) in cases {
        let findings: Vec<_> = severities.iter().map(|severity| finding(*severity)).collect();
        assert_eq!(Code::of_findings(&findings), expected, "{severities:?}");
    }
}

#[test]
fn a_failed_step_beats_a_blocked_dataset_and_an_interrupt_beats_both() {
    let mut report = report(plan(), &Outcome::Skipped { why: "not needed".to_owned() });
    report.plan.findings = vec![finding(Severity::Blocked)];
    assert_eq!(Code::of_report(&report), Code::Blocked);
    let failed = |needs_person| Outcome::Failed {
        error: "no".to_owned(),
        advice: String::new(),
        needs_person,
        is_source_gone: false,
    };
    report.outcomes[0] = failed(true);
    assert_eq!(Code::of_report(&report), Code::Blocked);
    report.outcomes[1] = failed(false);
    assert_eq!(Code::of_report(&report), Code::Failed);
    report.was_interrupted = true;
    assert_eq!(Code::of_report(&report), Code::Interrupted);
}

#[test]
fn the_help_lists_every_code() {
    for code in [Code::Done, Code::Failed, Code::Usage, Code::Blocked, Code::Busy, Code::Interrupted] {
        let line = format!("\n  {:<3}  ", code.number());
        assert!(EXIT_CODES_HELP.contains(&line), "{code:?}");
    }
}
