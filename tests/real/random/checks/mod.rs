//! Checks that hold after every run, whatever happened before it.

mod archived;
mod copies;
mod gone;
mod said;
mod served;

use std::collections::BTreeSet;

use serde_json::Value;

use super::ledger::Ledger;
use super::seen::{Dataset, Point, Seen};
use crate::outcome::Run;
use crate::world::World;

/// Everything that a check may know of a run.
pub(super) struct Night<'a> {
    pub(super) world: &'a World,
    pub(super) before: &'a Seen,
    pub(super) after: &'a Seen,
    pub(super) report: &'a Value,
    pub(super) code: Option<i32>,
    pub(super) known: &'a Known,
}

/// The knowledge of the stage's admin, as far as checks depend on it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The clock of the run.
    pub(super) now: jiff::Timestamp,
    /// `keep-last` of the source and the backup.
    pub(super) keep_at_source: usize,
    pub(super) keep_at_backup: usize,
    /// `keep-superseded`, in days.
    pub(super) keep_set_aside: i64,
    /// Whether the backup does not answer.
    pub(super) is_unreachable: bool,
    /// Guests of which Proxmox VE's configuration may leave something out, or says nothing that can be read.
    pub(super) unsound_guests: BTreeSet<u32>,
    /// Copies of another node: dataset and GUID.
    pub(super) of_another_node: BTreeSet<(String, String)>,
    /// Of a run in which others were at work: what there was before it.
    pub(super) planned_with: Option<Vec<Point>>,
    /// The content of snapshots when they were first seen, and their names at the source.
    pub(super) ledger: Ledger,
}

/// All of it.
pub(super) fn all(world: &World, before: &Seen, known: &mut Known, run: &Run) {
    assert!(matches!(run.code, Some(0 | 1 | 3)), "the exit code is none of a run's");
    assert!(!run.stderr.contains("panicked"), "a panic");
    let after = Seen::of(world);
    known.ledger.note_names(world, before);
    known.ledger.note_names(world, &after);
    let report = run.json();
    let night = Night { world, before, after: &after, report: &report, code: run.code, known };
    gone::check(&night);
    copies::check(&night);
    // Data that was removed in the course of the run cannot be expected to have arrived.
    if night.known.planned_with.is_none() {
        served::check(&night);
        archived::check(&night);
    }
    said::check(&night);
    known.ledger.compare(&after);
}

impl Known {
    /// Whether the dataset is called after a guest of which something may be left out.
    fn may_be_left_out(&self, dataset: &str) -> bool {
        self.unsound_guests.iter().any(|guest| dataset.contains(&format!("-{guest}-")))
    }
}

impl<'a> Night<'a> {
    fn array(&self, key: &str) -> &'a [Value] {
        array(self.report, key)
    }

    fn steps(&self, action: &'static str) -> impl Iterator<Item = &'a Value> {
        self.array("steps").iter().filter(move |step| step["action"]["action"] == action)
    }

    /// The steps of a kind that were carried out.
    fn done(&self, action: &'static str) -> impl Iterator<Item = &'a Value> {
        self.steps(action).filter(|step| step["result"]["outcome"] == "done")
    }

    fn failed(&self) -> impl Iterator<Item = &'a Value> {
        self.array("steps").iter().filter(|step| step["result"]["outcome"] != "done")
    }

    /// Whether anything that the report says of what did not go well names `dataset`.
    fn is_named(&self, dataset: &str) -> bool {
        self.findings(dataset).any(|finding| finding["severity"] != "note")
            || self.array("left_out").iter().chain(self.failed()).any(|one| names(one, dataset))
    }

    fn findings(&self, dataset: &str) -> impl Iterator<Item = &'a Value> {
        self.array("findings").iter().filter(move |finding| names(finding, dataset))
    }
}

/// The copy below `root` that `guest` writes, by its own mark.
fn copy_of<'s>(seen: &'s Seen, root: &str, guest: &Dataset) -> Option<&'s Dataset> {
    seen.below(root).find(|copy| {
        copy.set_aside.is_none() && copy.writer.as_ref().is_some_and(|(guid, _)| *guid == guest.guid)
    })
}

fn array<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn names(value: &Value, dataset: &str) -> bool {
    let text = value.to_string();
    text.match_indices(dataset).any(|(at, _)| {
        let end = text[at + dataset.len()..].chars().next();
        matches!(end, Some('"' | ' ' | '@' | ':' | '\\' | ',' | ';'))
    })
}
