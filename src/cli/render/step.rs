//! One step in one line, the same in a plan, a report and the log.

use std::fmt::Write as _;

use super::change::change_line;
use super::reason::reason_text;
use super::{count, escape};
use crate::model::{ByteCount, GuestId, PointName};
use crate::plan::{Action, Base, NewBookmark, Reason, Step, ToDestroy, Transfer};

/// The step without its place and reason, for example `send #a -> @b`.
pub(in crate::cli) fn step_line(step: &Step) -> String {
    match &step.action {
        Action::Snapshot { snapshots, freeze, .. } => match snapshots.as_slice() {
            [one] => format!("snapshot @{}{}", one.name(), frozen_text(*freeze)),
            several => {
                let mut pools: Vec<&str> = several.iter().map(|one| one.dataset().pool()).collect();
                pools.dedup();
                let (datasets, frozen) = (count(several.len(), "dataset"), frozen_text(*freeze));
                match pools.as_slice() {
                    [_] => format!("snapshot {datasets} in one transaction group{frozen}"),
                    pools => format!("snapshot {datasets} of {}{frozen}", count(pools.len(), "pool")),
                }
            }
        },
        Action::Bookmark { bookmarks } => match bookmarks.as_slice() {
            [one] => format!("bookmark {}", bookmark_text(one)),
            several => format!("bookmark {}", count(several.len(), "snapshot")),
        },
        Action::Send(transfer) => transfer_text(transfer),
        Action::DestroyBookmarks { dataset, bookmarks } => match bookmarks.as_slice() {
            [one] => format!("destroy {dataset}#{}", one.name),
            several => format!("destroy {} of {dataset}", count(several.len(), "bookmark")),
        },
        Action::Change(change) => change_line(change),
    }
}

fn frozen_text(freeze: Option<GuestId>) -> &'static str {
    if freeze.is_some() { ", file systems frozen if the guest is running" } else { "" }
}

/// Whom the step serves: its dataset, or what its several datasets are.
pub(in crate::cli) fn dataset_label(step: &Step) -> String {
    step.dataset.as_ref().map_or_else(|| "several datasets".to_owned(), ToString::to_string)
}

fn transfer_text(transfer: &Transfer) -> String {
    let snapshot = transfer.snapshot.name();
    let verb = if transfer.resume.is_some() { "resume" } else { "send" };
    let mut text = match &transfer.base {
        Some(Base { kind, name, origin, .. }) => {
            let of = origin.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{verb} {of}{}{name} -> @{snapshot}", kind.separator())
        }
        None => format!("{verb} @{snapshot} in full"),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, " into {}", transfer.target.dataset());
    if transfer.target.name() != snapshot {
        let _ = write!(text, "@{}", transfer.target.name());
    }
    if let Some(origin) = &transfer.origin {
        let _ = write!(text, ", a clone of {origin}");
    }
    text
}

fn bookmark_text(new: &NewBookmark) -> String {
    if new.bookmark.name() == &new.of {
        format!("#{}", new.bookmark.name())
    } else {
        format!("#{} of @{}", new.bookmark.name(), new.of)
    }
}

/// The lines below a step's own: the things it acts on where they are several, with the reason of each.
pub(super) fn detail_lines(step: &Step) -> Vec<String> {
    match &step.action {
        Action::Snapshot { snapshots, .. } if snapshots.len() > 1 => {
            snapshots.iter().map(ToString::to_string).collect()
        }
        Action::Bookmark { bookmarks } if bookmarks.len() > 1 => {
            bookmarks.iter().map(|new| format!("{}{}", new.bookmark.dataset(), bookmark_text(new))).collect()
        }
        Action::DestroyBookmarks { bookmarks, .. } => to_destroy_lines('#', bookmarks, &step.reason),
        Action::Change(change) => to_destroy_lines('@', change.destroyed(), &step.reason),
        Action::Snapshot { .. } | Action::Bookmark { .. } | Action::Send(_) => Vec::new(),
    }
}

/// Each with its own reason where that is not the step's.
fn to_destroy_lines(separator: char, to_destroy: &[ToDestroy], reason: &Reason) -> Vec<String> {
    let width = |name: &PointName| name.as_str().chars().count();
    let widest = to_destroy.iter().map(|one| width(&one.name)).max().unwrap_or_default();
    let line = |one: &ToDestroy| {
        let name = format!("{separator}{:<widest$}", one.name.as_str());
        let size = if separator == '@' {
            format!("  {:>8}", ByteCount(one.used_bytes).to_string())
        } else {
            String::new()
        };
        let why = if one.why == *reason { String::new() } else { reason_text(&one.why) };
        format!("{name}{size}  {}", escape(&why)).trim_end().to_owned()
    };
    to_destroy.iter().map(line).collect()
}

/// The least that the step frees, if it destroys snapshots.
pub(super) fn freed_bytes(step: &Step) -> Option<ByteCount> {
    let Action::Change(change) = &step.action else { return None };
    let destroyed = change.destroyed();
    let sum = destroyed.iter().fold(0_u64, |sum, one| sum.saturating_add(one.used_bytes));
    (!destroyed.is_empty()).then_some(ByteCount(sum))
}
