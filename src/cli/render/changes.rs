//! The changes of a run that remove or move data: every destroy, rollback and rename, with reason and GUIDs.
//!
//! Nightly destroys by the keep rules, and the monthly name of an archived snapshot, are the routine that the admin has
//! asked for. Every other change is always reported, also under cron: it is rare, and the admin may want the old state
//! back.

use std::fmt::Write as _;

use super::change::{change_done, list};
use super::reason::reason_text;
use super::step::dataset_label;
use super::{Style, count, escape};
use crate::execute::{Outcome, Report};
use crate::plan::{Action, Reason, Step};

/// One line for each such step that was done; with `routine`, the routine ones too. Empty where there were none.
pub(in crate::cli) fn changes_text(report: &Report, routine: bool, style: Style) -> String {
    let mut text = String::new();
    for (step, outcome) in report.steps() {
        if !matches!(outcome, Outcome::Done { .. }) || (is_routine(&step.reason) && !routine) {
            continue;
        }
        if let Some(done) = done(step) {
            let label = style.yellow("changed");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{label}: {} ({}): {}", dataset_label(step), step.place, escape(&done));
            let _ = writeln!(text, "  because {}", escape(&reason_text(&step.reason)));
        }
    }
    text
}

fn is_routine(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NotKept { .. }
            | Reason::BookmarksKeep { .. }
            | Reason::NotSending
            | Reason::NotRenamed
            | Reason::Unclaimed
            | Reason::SourceRenamed { .. }
    )
}

/// The change that the step made, if it removed or moved anything.
fn done(step: &Step) -> Option<String> {
    match &step.action {
        Action::Snapshot { .. } | Action::Bookmark { .. } | Action::Send(_) => None,
        Action::DestroyBookmarks { dataset, bookmarks } => Some(format!(
            "destroyed {} of {dataset}: {}",
            count(bookmarks.len(), "bookmark"),
            list('#', bookmarks)
        )),
        Action::Change(change) => change_done(change),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{dataset, done, plan, point, report};
    use super::*;
    use crate::model::{Change, Guid};

    #[test]
    fn the_nightly_routine_is_silent_unless_asked_for() {
        let report = report(plan(), &done(0));
        assert_eq!(changes_text(&report, false, Style::default()), "");
        let all = changes_text(&report, true, Style::default());
        assert!(
            all.contains("renamed tank/archive/pve0/vm-100-disk-0@2026-02-01-030000 (GUID 8) to @2026-Feb"),
            "{all}"
        );
        assert!(
            all.contains(
                "destroyed 2 snapshots of rpool/data/vm-100-disk-0: @2026-01-01-030000 (GUID 1048576), "
            ),
            "{all}"
        );
        assert!(all.contains("\n  because kept by no rule"), "{all}");
    }

    #[test]
    fn what_is_no_routine_is_reported_with_reason_and_guids() {
        let mut report = report(plan(), &done(0));
        let step = &mut report.plan.steps[5];
        step.action = Change::Rollback { dataset: dataset("tank/x"), to: point("a"), guid: Guid(7) }.into();
        step.reason = Reason::RolledBack { base: point("a") };
        let expected = "changed: rpool/data/vm-100-disk-0 (source): rolled tank/x back to @a (GUID 7)\n  because the source \
                        no longer has what followed @a (a rollback, most likely)\n";
        assert_eq!(changes_text(&report, false, Style::default()), expected);
        report.outcomes[5] = Outcome::Skipped { why: "step 4 failed".to_owned() };
        assert_eq!(changes_text(&report, false, Style::default()), "", "a skipped step is not reported");
    }
}
