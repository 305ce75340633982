//! What `zfs` says on standard error, as a [`Problem`].
//!
//! With `LC_ALL=C` its sentences are the same from `OpenZFS` 2.1 to 2.4 (`libzfs_util.c`, `libzfs_sendrecv.c`). Only whole
//! phrases count, the first that matches; what is not known is passed on as it was said.

use super::{CompletedCommand, Problem};
use crate::model::{Hang, HangingPool};

/// The kind of problem that a phrase stands for.
#[derive(Clone, Copy)]
enum Kind {
    Held,
    Cloned,
    Modified,
    Changed,
    NoSpace,
    Exists,
    NotFound,
    Denied,
    Locked,
    Busy,
    NeverReceivable,
    Suspended,
}

/// Said where the dataset had a partial receive before `zfs receive` began (`zfs_receive_one`).
pub(super) const PARTIAL_RECEIVE: &str = "contains partially-complete state";

/// More specific phrases first: a held snapshot is also said to be busy.
const PHRASES: [(&str, Kind); 36] = [
    ("pool I/O is currently suspended", Kind::Suspended),
    ("it's being held", Kind::Held),
    ("snapshot has dependent clones", Kind::Cloned),
    ("snapshot is cloned", Kind::Cloned),
    ("has children", Kind::Busy),
    ("has been modified", Kind::Modified),
    ("does not; match incremental source", Kind::Changed),
    ("more recent snapshots or bookmarks exist", Kind::Changed),
    ("more recent snapshots exist", Kind::Changed),
    ("no such pool", Kind::NotFound),
    ("out of space", Kind::NoSpace),
    ("quota exceeded", Kind::NoSpace),
    ("size is greater than available space", Kind::NoSpace),
    ("No space left on device", Kind::NoSpace),
    ("Disk quota exceeded", Kind::NoSpace),
    ("dataset already exists", Kind::Exists),
    ("must specify -F to overwrite it", Kind::Exists),
    ("destination already exists", Kind::Exists),
    ("destination snapshot already exists", Kind::Exists),
    ("dataset does not exist", Kind::NotFound),
    ("could not find any snapshots to destroy", Kind::NotFound),
    ("no such parent", Kind::NotFound),
    ("parent does not exist", Kind::NotFound),
    ("' does not exist", Kind::NotFound),
    (") does not exist", Kind::NotFound),
    ("permission denied", Kind::Denied),
    ("Permission denied", Kind::Denied),
    ("Operation not permitted", Kind::Denied),
    ("key must be loaded", Kind::Locked),
    ("encryption root's key is not loaded", Kind::Locked),
    ("pool must be upgraded to receive this stream", Kind::NeverReceivable),
    ("kernel modules must be upgraded to receive this stream", Kind::NeverReceivable),
    ("stream has unsupported feature", Kind::NeverReceivable),
    ("to match previous receive", Kind::NeverReceivable),
    ("is busy", Kind::Busy),
    (PARTIAL_RECEIVE, Kind::Busy),
];

/// Why a `zfs` that did not succeed failed.
pub(super) fn problem(answer: CompletedCommand) -> Problem {
    let CompletedCommand { status, errors } = answer;
    // The advice that follows is for people who work with `zfs send -t`; zhaul resumes by itself.
    let hint = "; A resuming stream can be generated";
    let text = errors.split(hint).next().unwrap_or_default().to_owned();
    if status == 127 {
        return Problem::Other(format!("there is no zfs in the PATH of that host: {text}"));
    }
    if let Some(signal) = signal_of(status) {
        let said = if text.is_empty() { text } else { format!(" ({text})") };
        return Problem::Other(format!("a signal ended zfs there: {signal}{said}"));
    }
    if text.is_empty() {
        return Problem::Other(format!("zfs ended with exit status {status} without a word"));
    }
    let found = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
    match found.map(|(_, kind)| *kind) {
        Some(Kind::Held) => Problem::Held,
        Some(Kind::Cloned) => Problem::Cloned,
        Some(Kind::Modified) => Problem::Modified,
        Some(Kind::Changed) => Problem::Changed(text),
        Some(Kind::NoSpace) => Problem::NoSpace(text),
        Some(Kind::Exists) => Problem::Exists,
        Some(Kind::NotFound) => Problem::NotFound,
        Some(Kind::Denied) => Problem::Denied(text),
        Some(Kind::Locked) => Problem::Locked,
        Some(Kind::Busy) => Problem::Busy(text),
        Some(Kind::Suspended) => match text.split('\'').nth(1) {
            Some(name) => Problem::PoolHangs(HangingPool::of(name, Hang::Suspended)),
            None => Problem::Other(text),
        },
        Some(Kind::NeverReceivable) => Problem::NeverReceivable(text),
        None => Problem::Other(text),
    }
}

/// The signal that ended a program to which a shell gives this exit status (sh(1), "Exit Status").
fn signal_of(status: i32) -> Option<String> {
    let number = status.checked_sub(128).filter(|number| (1..=64).contains(number))?;
    let known =
        [(1, "SIGHUP"), (2, "SIGINT"), (9, "SIGKILL"), (11, "SIGSEGV"), (13, "SIGPIPE"), (15, "SIGTERM")];
    let name = known.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
    Some(name.unwrap_or_else(|| format!("signal {number}")))
}

#[cfg(test)]
mod tests;
