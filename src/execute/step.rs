//! Runs one step: hands its action to the host it acts on.

use std::time::{Duration, Instant};

use super::{Hosts, Observer, Outcome, Settings, advice, transfer};
use crate::host::{HostError, Problem, Refusal, TargetHost};
use crate::model::{ByteCount, Change, Guid, PointName, SnapshotName};
use crate::plan::{Action, Doomed, NewBookmark, Place, Step};
use crate::stream::Cancel;

/// Everything that running a step takes.
pub(super) struct Work<'a> {
    pub(super) hosts: Hosts<'a>,
    pub(super) settings: &'a Settings,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
}

/// What a step that was done has to tell.
#[derive(Default)]
pub(super) struct Told {
    pub(super) moved_bytes: ByteCount,
    pub(super) remarks: Vec<String>,
}

impl Work<'_> {
    /// Runs `step` and tells what became of it.
    pub(super) fn run(&self, step: &Step) -> Outcome {
        if self.cancel.is_requested() {
            return Outcome::Skipped { why: "the run was stopped".to_owned() };
        }
        let started = Instant::now();
        let result = match &step.place {
            Place::Source => self.at_source(step),
            Place::Target(name) => match self.hosts.targets.get(name) {
                Some(target) => self.at_target(step, target.as_ref()),
                None => Err(misplaced(step, format!("no host is called {name}"))),
            },
        };
        outcome(result, started.elapsed(), self.cancel.is_requested())
    }

    fn at_source(&self, step: &Step) -> Result<Told, HostError> {
        let source = self.hosts.source;
        if !matches!(step.action, Action::Send(_)) {
            self.observer.started(step, None);
        }
        match &step.action {
            Action::Snapshot { snapshots } => source.snapshot(snapshots).map(|()| Told::default()),
            Action::Bookmark { bookmarks } => {
                let pairs: Result<Vec<_>, HostError> = bookmarks.iter().map(|new| pair(step, new)).collect();
                source.bookmark(&pairs?).map(|()| Told::default())
            }
            Action::Change(Change::DestroySnapshots { dataset, snapshots }) => {
                told(step, source.destroy_snapshots(dataset, &named(snapshots))?)
            }
            Action::DestroyBookmarks { dataset, bookmarks } => {
                told(step, source.destroy_bookmarks(dataset, &named(bookmarks))?)
            }
            Action::Send(_) | Action::Change(_) => {
                Err(misplaced(step, "the source never does this".to_owned()))
            }
        }
    }

    fn at_target(&self, step: &Step, target: &dyn TargetHost) -> Result<Told, HostError> {
        if !matches!(step.action, Action::Send(_)) {
            self.observer.started(step, None);
        }
        match &step.action {
            Action::Send(transfer) => transfer::run(self, step, transfer, target),
            Action::Change(change) => {
                let change = change.clone().map(|doomed| (doomed.name, doomed.guid));
                told(step, target.change(&change)?.refusals)
            }
            Action::Snapshot { .. } | Action::Bookmark { .. } | Action::DestroyBookmarks { .. } => {
                Err(misplaced(step, "a target never does this".to_owned()))
            }
        }
    }
}

fn pair(step: &Step, new: &NewBookmark) -> Result<(SnapshotName, crate::model::BookmarkName), HostError> {
    let snapshot = new.bookmark.dataset().snapshot(&new.of);
    let snapshot = snapshot.map_err(|error| misplaced(step, error.to_string()))?;
    Ok((snapshot, new.bookmark.clone()))
}

fn named(doomed: &[Doomed]) -> Vec<(PointName, Guid)> {
    doomed.iter().map(|point| (point.name.clone(), point.guid)).collect()
}

/// What was left standing is told; it is a failure only where ZFS gave no reason that time or a person will mend.
fn told(step: &Step, refusals: Vec<Refusal>) -> Result<Told, HostError> {
    let mut remarks = Vec::new();
    for Refusal { name, problem } in refusals {
        match problem {
            Problem::Held | Problem::Cloned | Problem::Busy(_) | Problem::Changed(_) | Problem::NotFound => {
                remarks.push(format!("{name} stays: {problem}"));
            }
            Problem::Unreachable(_)
            | Problem::Exists
            | Problem::NoSpace(_)
            | Problem::Denied(_)
            | Problem::Locked
            | Problem::Modified
            | Problem::Cancelled
            | Problem::Stalled(_)
            | Problem::Protocol(_)
            | Problem::Other(_) => return Err(HostError::new(&step.place, "destroy", name, problem)),
        }
    }
    Ok(Told { moved_bytes: ByteCount(0), remarks })
}

fn misplaced(step: &Step, why: String) -> HostError {
    HostError::new(&step.place, "carry out step", step.id.0, Problem::Other(why))
}

fn outcome(result: Result<Told, HostError>, seconds: Duration, was_stopped: bool) -> Outcome {
    match result {
        Ok(Told { moved_bytes, remarks }) => Outcome::Done { moved_bytes, seconds, remarks },
        // Whatever else says "cancelled", a peer for example, has failed.
        Err(error) if was_stopped && matches!(error.problem, Problem::Cancelled) => {
            Outcome::Skipped { why: "the run was stopped".to_owned() }
        }
        Err(error) => {
            let advice = advice::for_problem(&error.problem).to_owned();
            Outcome::Failed { error: error.chain(), advice }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_was_stopped_skips_a_step() {
        let cancelled = || Err(HostError::new("nfs8", "receive into", "tank/x@a", Problem::Cancelled));
        assert!(matches!(outcome(cancelled(), Duration::ZERO, true), Outcome::Skipped { .. }));
        assert!(matches!(outcome(cancelled(), Duration::ZERO, false), Outcome::Failed { .. }));
    }
}
