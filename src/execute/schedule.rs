//! When each step runs: as soon as what it needs has succeeded and what it comes after has ended; of those that could run
//! the first in the plan does.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

use super::Outcome;
use crate::plan::{Step, StepId};
use crate::stream::threads::beside_or_here;

/// The state of the steps while they run.
struct State {
    outcomes: Vec<Option<Outcome>>,
    /// For each step, how many of those it waits for have not ended.
    waits_for: Vec<usize>,
    ready: BTreeSet<usize>,
    open: usize,
}

/// Runs all `steps` on `jobs` threads. Gives the outcome of each.
pub(super) fn run(
    steps: &[Step],
    jobs: usize,
    work: impl Fn(&Step) -> Outcome + Sync,
    ended: impl Fn(&Step, &Outcome) + Sync,
) -> Vec<Outcome> {
    let mut followers = vec![Vec::new(); steps.len()];
    let mut waits_for = vec![0; steps.len()];
    for (index, step) in steps.iter().enumerate() {
        let before: BTreeSet<StepId> = step.needs.iter().chain(&step.after).copied().collect();
        for StepId(earlier) in before {
            if let (Some(list), Some(count)) = (followers.get_mut(earlier), waits_for.get_mut(index)) {
                list.push(index);
                *count += 1;
            }
        }
    }
    let ready = (0..steps.len()).filter(|index| waits_for.get(*index) == Some(&0)).collect();
    let state = Mutex::new(State { outcomes: vec![None; steps.len()], waits_for, ready, open: steps.len() });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1).min(steps.len()) {
            beside_or_here(scope, "step", || {
                while let Some((index, verdict)) = next(&state, &changed, steps) {
                    let Some(step) = steps.get(index) else { return };
                    let outcome = verdict.unwrap_or_else(|| guarded(&work, step));
                    ended(step, &outcome);
                    finish_step(&state, &changed, &followers, index, outcome);
                }
            });
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let skipped = || Outcome::Skipped { why: "the plan is not in order".to_owned() };
    state.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(skipped)).collect()
}

/// Waits for a step that can run. Gives it with its outcome, if that is clear without trying; `None` when all have ended.
fn next(state: &Mutex<State>, changed: &Condvar, steps: &[Step]) -> Option<(usize, Option<Outcome>)> {
    let mut locked = state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(index) = locked.ready.pop_first() {
            let verdict = steps.get(index).and_then(|step| refuse(step, &locked.outcomes));
            return Some((index, verdict));
        }
        if locked.open == 0 {
            return None;
        }
        locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The outcome of a step that needs one which was not done, or not for its dataset.
fn refuse(step: &Step, outcomes: &[Option<Outcome>]) -> Option<Outcome> {
    let why = step.needs.iter().find_map(|id| why_not(step, *id, outcomes.get(id.0)?.as_ref()))?;
    Some(Outcome::Skipped { why })
}

fn why_not(step: &Step, id: StepId, needed: Option<&Outcome>) -> Option<String> {
    match needed {
        Some(Outcome::Done { .. }) => None,
        Some(Outcome::Partly { failures, .. }) => {
            let dataset = step.dataset.as_ref()?;
            failures
                .iter()
                .any(|failure| failure.dataset == *dataset)
                .then(|| format!("step {} failed", id.0))
        }
        Some(Outcome::Skipped { why }) => Some(why.clone()),
        Some(Outcome::Failed { .. }) | None => Some(format!("step {} failed", id.0)),
    }
}

/// A panic is a bug, but only this step's: every other dataset is still served.
fn guarded(work: &(impl Fn(&Step) -> Outcome + Sync), step: &Step) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| work(step))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Outcome::Failed {
            error: format!("internal error: {text}"),
            advice: "this is a bug in zhaul: please report it with this message".to_owned(),
            needs_person: false,
            is_source_gone: false,
        }
    })
}

fn finish_step(
    state: &Mutex<State>,
    changed: &Condvar,
    followers: &[Vec<usize>],
    index: usize,
    outcome: Outcome,
) {
    let mut locked = state.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = locked.outcomes.get_mut(index) {
        *slot = Some(outcome);
    }
    locked.open -= 1;
    for follower in followers.get(index).into_iter().flatten() {
        let Some(count) = locked.waits_for.get_mut(*follower) else {
            continue;
        };
        *count -= 1;
        if *count == 0 {
            locked.ready.insert(*follower);
        }
    }
    changed.notify_all();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::MemberFailure;
    use super::*;
    use crate::model::{ByteCount, Change, DatasetName};
    use crate::plan::{Place, Reason};

    fn step(id: usize, needs: &[usize], after: &[usize]) -> Step {
        let ids = |list: &[usize]| list.iter().map(|id| StepId(*id)).collect();
        let dataset = DatasetName::new("tank").unwrap();
        Step {
            id: StepId(id),
            dataset: None,
            place: Place::Source,
            action: Change::CreateContainer { dataset, is_plain: false }.into(),
            reason: Reason::Container,
            needs: ids(needs),
            after: ids(after),
        }
    }

    fn done() -> Outcome {
        Outcome::Done { moved_bytes: ByteCount(0), seconds: Duration::ZERO, remarks: Vec::new() }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            error: "no".to_owned(),
            advice: String::new(),
            needs_person: false,
            is_source_gone: false,
        }
    }

    #[test]
    fn a_failure_stops_only_what_needs_it() {
        let steps = [
            step(0, &[], &[]),
            step(1, &[0], &[]),
            step(2, &[1], &[]),
            step(3, &[], &[0]),
            step(4, &[], &[]),
        ];
        for jobs in [1, 3, 100] {
            let ran = Mutex::new(Vec::new());
            let outcomes = run(
                &steps,
                jobs,
                |step| {
                    ran.lock().unwrap().push(step.id.0);
                    if step.id.0 == 0 { failed() } else { done() }
                },
                |_, _| {},
            );
            assert_eq!(outcomes[0], failed());
            assert!(matches!(&outcomes[1], Outcome::Skipped { why } if why == "step 0 failed"));
            assert!(matches!(&outcomes[2], Outcome::Skipped { why } if why == "step 0 failed"));
            assert_eq!((&outcomes[3], &outcomes[4]), (&done(), &done()));
            let mut ran = ran.into_inner().unwrap();
            assert!(ran.iter().position(|id| *id == 0) < ran.iter().position(|id| *id == 3));
            ran.sort_unstable();
            assert_eq!(ran, [0, 3, 4]);
        }
    }

    #[test]
    fn what_failed_for_one_dataset_stops_only_what_that_one_needs() {
        let (bad, good) = (DatasetName::new("tank/bad").unwrap(), DatasetName::new("tank/good").unwrap());
        let of = |id, dataset: &DatasetName| Step { dataset: Some(dataset.clone()), ..step(id, &[0], &[]) };
        let steps = [step(0, &[], &[]), of(1, &bad), of(2, &good), step(3, &[0], &[])];
        let failure = MemberFailure {
            dataset: bad.clone(),
            error: "no".to_owned(),
            advice: String::new(),
            is_source_gone: false,
        };
        let partly = Outcome::Partly { seconds: Duration::ZERO, failures: vec![failure] };
        let work = |step: &Step| if step.id.0 == 0 { partly.clone() } else { done() };
        let outcomes = run(&steps, 2, work, |_, _| {});
        assert!(matches!(&outcomes[1], Outcome::Skipped { why } if why == "step 0 failed"));
        assert_eq!((&outcomes[2], &outcomes[3]), (&done(), &done()));
    }

    #[test]
    fn a_panic_fails_its_own_step_only() {
        let steps = [step(0, &[], &[]), step(1, &[], &[])];
        let work = |step: &Step| {
            if step.id.0 == 0 { panic!("boom {}", step.id.0) } else { done() }
        };
        let outcomes = run(&steps, 2, work, |_, _| {});
        assert!(matches!(&outcomes[0], Outcome::Failed { error, .. } if error.contains("boom 0")));
        assert_eq!(outcomes[1], done());
    }
}
