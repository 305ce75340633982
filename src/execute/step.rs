//! Runs one step: hands its action to the host it acts on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::state::Taken;
use super::work::{StepResult, Work};
use super::{Freezing, MemberFailure, Outcome, advice, busy, resuming, transfer};
use crate::host::{
    Changed, Freeze, HostError, NotMade, Problem, Refusal, SnapshotGroup, Snapshots, TargetHost, ToFreeze,
};
use crate::model::{Change, DatasetName, GuestId, Guid, PointName, SnapshotName, Unlisted};
use crate::plan::{Action, NewBookmark, Place, Step, ToDestroy};

impl Work<'_> {
    /// Runs `step` and returns its outcome.
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
        let gone = result.as_ref().err().and_then(|error| self.gone(step, error));
        outcome(result, gone, started.elapsed(), self.cancel.is_requested())
    }

    /// The dataset that a transfer reads, if that is what failed: it was destroyed, or renamed, since the plan.
    fn gone<'a>(&self, step: &'a Step, error: &HostError) -> Option<&'a DatasetName> {
        let Action::Send(transfer) = &step.action else { return None };
        let may_be_gone = matches!(error.problem, Problem::NotFound | Problem::Changed(_));
        let dataset = transfer.snapshot.dataset();
        (may_be_gone && self.is_gone(dataset)).then_some(dataset)
    }

    fn is_gone(&self, dataset: &DatasetName) -> bool {
        let listing = self.hosts.source.list(std::slice::from_ref(dataset));
        listing.is_ok_and(|listing| listing.why_unlisted(dataset) == Some(&Unlisted::Missing))
    }

    /// Why there is no snapshot or bookmark of one dataset.
    fn failure(&self, step: &Step, verb: &'static str, separator: char, left: NotMade) -> MemberFailure {
        let NotMade { dataset, name, problem } = left;
        let is_source_gone = matches!(problem, Problem::NotFound) && self.is_gone(&dataset);
        let advice = if is_source_gone { advice::for_gone(&dataset) } else { advice::for_problem(&problem) };
        let object = format!("{dataset}{separator}{name}");
        let error = HostError::new(&step.place, verb, object, problem).chain();
        MemberFailure { dataset, error, advice, is_source_gone }
    }

    fn at_source(&self, step: &Step) -> Result<StepResult, HostError> {
        let source = self.hosts.source;
        if !matches!(step.action, Action::Send(_)) {
            self.observer.started(step);
        }
        match &step.action {
            Action::Snapshot { snapshots, is_one_moment, freeze, lineage } => {
                let members = snapshots.iter().zip(lineage);
                let to_mark = members.filter(|(_, member)| member.is_first);
                let to_mark = to_mark.map(|(snapshot, _)| snapshot.dataset().clone()).collect();
                let lineage = Some(self.state.lineage(source, lineage));
                let group = SnapshotGroup {
                    snapshots: snapshots.clone(),
                    is_one_moment: *is_one_moment,
                    freeze: freeze.and_then(|guest| self.to_freeze(guest)),
                    lineage,
                    to_mark,
                    // One call takes the snapshots of one guest, and of no other.
                    config: self.config_of(snapshots.first().filter(|_| *is_one_moment)),
                };
                self.snapshot(step, &group)
            }
            Action::Bookmark { bookmarks } => self.bookmark(step, bookmarks),
            Action::Change(Change::DestroySnapshots { dataset, snapshots }) => {
                self.prune(step, dataset, snapshots)
            }
            Action::DestroyBookmarks { dataset, bookmarks } => {
                step_result(step, source.destroy_bookmarks(dataset, &named(bookmarks))?)
            }
            Action::Send(_) | Action::Change(_) => {
                Err(misplaced(step, "the source never does this".to_owned()))
            }
        }
    }

    /// The configuration of the guest whose volume this is a snapshot of.
    fn config_of(&self, snapshot: Option<&SnapshotName>) -> BTreeMap<String, String> {
        let config = snapshot.and_then(|one| self.settings.configs.get(one.dataset()));
        config.cloned().unwrap_or_default()
    }

    fn to_freeze(&self, guest: GuestId) -> Option<ToFreeze> {
        let Freezing { limit, directory } = self.settings.freezing.clone()?;
        Some(ToFreeze { guest, limit, directory })
    }

    fn snapshot(&self, step: &Step, group: &SnapshotGroup) -> Result<StepResult, HostError> {
        let snapshots = &group.snapshots;
        let not_made = match self.hosts.source.snapshot(group) {
            Ok(Snapshots { not_made, freeze }) => {
                if let Some(wanted) = &group.freeze {
                    report_freeze(wanted.guest, &freeze);
                }
                not_made
            }
            Err(error) => {
                for snapshot in snapshots {
                    self.state.note_taken(snapshot.dataset(), Taken::No(error.chain()));
                }
                return Err(error);
            }
        };
        for snapshot in snapshots {
            let failed = not_made.iter().find(|left| left.dataset == *snapshot.dataset());
            let taken = failed.map_or(Taken::Yes(None), |left| Taken::No(left.problem.to_string()));
            self.state.note_taken(snapshot.dataset(), taken);
        }
        let failures = not_made.into_iter().map(|left| self.failure(step, "take", '@', left));
        Ok(StepResult { failures: failures.collect(), ..StepResult::default() })
    }

    /// Makes those bookmarks whose snapshots were taken.
    fn bookmark(&self, step: &Step, bookmarks: &[NewBookmark]) -> Result<StepResult, HostError> {
        let is_taken = |new: &&NewBookmark| {
            new.guid.is_some() || matches!(self.state.taken(new.bookmark.dataset()), Taken::Yes(_))
        };
        let wanted: Vec<&NewBookmark> = bookmarks.iter().filter(is_taken).collect();
        let pairs: Vec<_> = wanted.iter().map(|new| pair(step, new)).collect::<Result<_, _>>()?;
        let note = |new: &NewBookmark| self.state.note_without_bookmark(new.bookmark.dataset(), &new.of);
        let made = match self.hosts.source.bookmark(&pairs) {
            Ok(made) => made,
            Err(error) => {
                wanted.into_iter().for_each(note);
                return Err(error);
            }
        };
        for (new, guid) in wanted.into_iter().zip(made.guids) {
            match (new.guid, guid) {
                (None, guid) => self.state.note_taken(new.bookmark.dataset(), Taken::Yes(guid)),
                (Some(_), None) => note(new),
                (Some(_), Some(_)) => {}
            }
        }
        let failures = made.not_made.into_iter().map(|left| self.failure(step, "make", '#', left));
        Ok(StepResult { failures: failures.collect(), ..StepResult::default() })
    }

    /// Destroys source snapshots, but none whose bookmark could not be made: it may be the base of an increment.
    fn prune(
        &self,
        step: &Step,
        dataset: &DatasetName,
        snapshots: &[ToDestroy],
    ) -> Result<StepResult, HostError> {
        let (kept, to_destroy): (Vec<_>, Vec<_>) = snapshots
            .iter()
            .partition(|to_destroy| self.state.is_without_bookmark(dataset, &to_destroy.name));
        let points: Vec<_> =
            to_destroy.into_iter().map(|to_destroy| (to_destroy.name.clone(), to_destroy.guid)).collect();
        let named = points.iter().filter_map(|(name, guid)| Some((dataset.snapshot(name).ok()?, *guid)));
        self.state.wait_for_release(&named.collect::<Vec<_>>());
        let mut result = step_result(step, self.hosts.source.destroy_snapshots(dataset, &points)?)?;
        let remark = |kept: &ToDestroy| format!("{} stays: it could get no bookmark", kept.name);
        result.remarks.extend(kept.into_iter().map(remark));
        Ok(result)
    }

    fn at_target(&self, step: &Step, target: &dyn TargetHost) -> Result<StepResult, HostError> {
        if !matches!(step.action, Action::Send(_)) {
            self.observer.started(step);
        }
        match &step.action {
            Action::Send(planned) => match transfer::resolve(&self.state, planned) {
                Ok((transfer, remark)) => {
                    transfer::confirm_line(self, planned)?;
                    let mut result =
                        busy::patiently(self.cancel, || resuming::run(self, step, &transfer, target))?;
                    result.remarks.extend(remark);
                    Ok(result)
                }
                Err(why) => Ok(StepResult { skipped: Some(why), ..StepResult::default() }),
            },
            Action::Change(change) => {
                let change = change.clone().map(|to_destroy| (to_destroy.name, to_destroy.guid));
                let Changed { refusals, set_aside, healing: _ } =
                    busy::patiently(self.cancel, || target.change(&change))?;
                let mut result = step_result(step, refusals)?;
                result.remarks.extend(set_aside.map(|mark| format!("set aside as {}", mark.name)));
                Ok(result)
            }
            Action::Snapshot { .. } | Action::Bookmark { .. } | Action::DestroyBookmarks { .. } => {
                Err(misplaced(step, "a target never does this".to_owned()))
            }
        }
    }
}

/// Says why a restore point is only crash-consistent, though the guest's agent was to freeze its file systems.
fn report_freeze(guest: GuestId, freeze: &Freeze) {
    match freeze {
        Freeze::Held => tracing::info!("guest {guest} was frozen while its snapshots were taken"),
        Freeze::NotRunning => tracing::info!("guest {guest} is not running, so nothing was frozen"),
        Freeze::Failed(why) => tracing::warn!(
            "guest {guest} was not frozen, so its restore point is crash-consistent: {why}; next: see that \
             qemu-guest-agent runs in the guest, or do without (`qm set {guest} --agent 1,freeze-fs=0`)"
        ),
        Freeze::Stuck(why) => tracing::warn!(
            "guest {guest} was frozen and cannot be thawed yet: {why}; next: `qm guest cmd {guest} fsfreeze-thaw`"
        ),
        Freeze::Unwanted => {}
    }
}

fn pair(step: &Step, new: &NewBookmark) -> Result<(SnapshotName, crate::model::BookmarkName), HostError> {
    let snapshot = new.bookmark.dataset().snapshot(&new.of);
    let snapshot = snapshot.map_err(|error| misplaced(step, error.to_string()))?;
    Ok((snapshot, new.bookmark.clone()))
}

fn named(to_destroy: &[ToDestroy]) -> Vec<(PointName, Guid)> {
    to_destroy.iter().map(|point| (point.name.clone(), point.guid)).collect()
}

/// Points that stay become remarks; they are a failure only where neither time nor a person will mend ZFS's reason.
fn step_result(step: &Step, refusals: Vec<Refusal>) -> Result<StepResult, HostError> {
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
            | Problem::PoolHangs(_)
            | Problem::Stalled(_)
            | Problem::Protocol(_)
            | Problem::Unsafe(_)
            | Problem::NeverReceivable(_)
            | Problem::Other(_) => return Err(HostError::new(&step.place, "destroy", name, problem)),
        }
    }
    Ok(StepResult { remarks, ..StepResult::default() })
}

fn misplaced(step: &Step, why: String) -> HostError {
    HostError::new(&step.place, "carry out step", step.id.0, Problem::Other(why))
}

fn outcome(
    result: Result<StepResult, HostError>,
    gone: Option<&DatasetName>,
    seconds: Duration,
    was_stopped: bool,
) -> Outcome {
    match result {
        Ok(StepResult { skipped: Some(why), .. }) => Outcome::Skipped { why },
        Ok(StepResult { failures, .. }) if !failures.is_empty() => Outcome::Partly { seconds, failures },
        Ok(StepResult { moved_bytes, remarks, .. }) => Outcome::Done { moved_bytes, seconds, remarks },
        // Whatever else says "cancelled", a peer for example, has failed.
        Err(error) if was_stopped && matches!(error.problem, Problem::Cancelled) => {
            Outcome::Skipped { why: "the run was stopped".to_owned() }
        }
        Err(error) => {
            let advice = gone.map_or_else(|| advice::for_problem(&error.problem), advice::for_gone);
            let needs_person = matches!(error.problem, Problem::NeverReceivable(_));
            Outcome::Failed { error: error.chain(), advice, needs_person, is_source_gone: gone.is_some() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_was_stopped_skips_a_step() {
        let cancelled = || Err(HostError::new("nfs8", "receive into", "tank/x@a", Problem::Cancelled));
        assert!(matches!(outcome(cancelled(), None, Duration::ZERO, true), Outcome::Skipped { .. }));
        assert!(matches!(outcome(cancelled(), None, Duration::ZERO, false), Outcome::Failed { .. }));
    }
}
