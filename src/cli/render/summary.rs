//! The summary of a plan or a run, in numbers.

use serde::Serialize;

use super::step::freed_bytes;
use super::{Estimates, count};
use crate::model::ByteCount;
use crate::plan::{Action, Finding, Severity, Step};

/// Numbers of things, over any set of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Snapshots taken.
    snapshots: usize,
    /// Bookmarks made.
    bookmarks: usize,
    /// Streams sent.
    pub(super) transfers: usize,
    /// Bytes that they have, as far as known: expected in a plan, moved in a report.
    bytes: ByteCount,
    /// Streams whose size is not known.
    transfers_of_unknown_size: usize,
    /// Snapshots destroyed.
    destroyed_snapshots: usize,
    /// Bytes that this frees at least.
    freed_bytes_min: ByteCount,
    /// Bookmarks destroyed.
    destroyed_bookmarks: usize,
    /// Everything else: renames, rollbacks, containers, dropped receives.
    other_steps: usize,
}

impl Summary {
    /// Counts `steps`.
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a Step>, estimates: &Estimates) -> Self {
        let mut sum = Self::default();
        for step in steps {
            sum.add(step, estimates);
        }
        sum
    }

    fn add(&mut self, step: &Step, estimates: &Estimates) {
        if let Some(freed) = freed_bytes(step) {
            self.freed_bytes_min.0 = self.freed_bytes_min.0.saturating_add(freed.0);
        }
        match &step.action {
            Action::Snapshot { snapshots, .. } => self.snapshots += snapshots.len(),
            Action::Bookmark { bookmarks } => self.bookmarks += bookmarks.len(),
            Action::Send(_) => {
                self.transfers += 1;
                match estimates.get(&step.id) {
                    Some(bytes) => self.bytes.0 = self.bytes.0.saturating_add(bytes.0),
                    None => self.transfers_of_unknown_size += 1,
                }
            }
            Action::DestroyBookmarks { bookmarks, .. } => self.destroyed_bookmarks += bookmarks.len(),
            Action::Change(change) if change.destroyed().is_empty() => self.other_steps += 1,
            Action::Change(change) => self.destroyed_snapshots += change.destroyed().len(),
        }
    }

    /// Snapshots and bookmarks, in words: `4 snapshots, 12 snapshots destroyed (at least 3.00 MiB freed)`.
    pub(super) fn local_parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.snapshots > 0 {
            parts.push(count(self.snapshots, "snapshot"));
        }
        if self.bookmarks > self.snapshots {
            parts.push(count(self.bookmarks, "bookmark"));
        }
        parts
    }

    /// Destroyed and moved objects, in words.
    pub(super) fn closing_parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.destroyed_snapshots > 0 {
            parts.push(format!(
                "{} destroyed (at least {} freed)",
                count(self.destroyed_snapshots, "snapshot"),
                self.freed_bytes_min
            ));
        }
        if self.destroyed_bookmarks > 0 {
            parts.push(format!("{} destroyed", count(self.destroyed_bookmarks, "bookmark")));
        }
        if self.other_steps > 0 {
            parts.push(count(self.other_steps, "other step"));
        }
        parts
    }

    /// The planned transfers, in words: `2 transfers of about 1.20 GiB`.
    pub(super) fn expected_transfers(&self) -> Option<String> {
        if self.transfers == 0 {
            return None;
        }
        let transfers = count(self.transfers, "transfer");
        let known = self.transfers - self.transfers_of_unknown_size;
        Some(match (known, self.transfers_of_unknown_size) {
            (0, _) => format!("{transfers} of unknown size"),
            (_, 0) => format!("{transfers} of about {}", self.bytes),
            (_, unknown) => format!("{transfers} of about {} and {unknown} of unknown size", self.bytes),
        })
    }
}

/// `1 failed, 2 blocked, 3 warnings`; empty where there is nothing to worry about.
pub(super) fn findings_summary(findings: &[Finding]) -> String {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let mut parts = Vec::new();
    for (severity, word) in [(Severity::Failed, "failed"), (Severity::Blocked, "blocked")] {
        if number(severity) > 0 {
            parts.push(format!("{} {word}", number(severity)));
        }
    }
    if number(Severity::Warning) > 0 {
        parts.push(count(number(Severity::Warning), "warning"));
    }
    parts.join(", ")
}
