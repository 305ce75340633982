//! The order of a plan's steps: each after what it needs and comes after, what makes room first, and otherwise as the
//! planner thought of them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::{Step, StepId};

/// Puts `steps` in order and renumbers them. Those in `first` come as early as what they need allows. Steps that wait
/// for each other, which no planner makes, keep their place at the end, so that `check` sees them.
pub(super) fn sort(steps: Vec<Step>, first: &BTreeSet<StepId>) -> Vec<Step> {
    let mut followers = vec![Vec::new(); steps.len()];
    let mut waits_for = vec![0_usize; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        let before: BTreeSet<StepId> = step.needs.iter().chain(&step.after).copied().collect();
        for StepId(earlier) in before {
            if let (Some(list), Some(count)) = (followers.get_mut(earlier), waits_for.get_mut(at)) {
                list.push(at);
                *count += 1;
            }
        }
    }
    let key = |at: usize| Reverse((!first.contains(&StepId(at)), at));
    let mut ready: BinaryHeap<_> =
        (0..steps.len()).filter(|at| waits_for.get(*at) == Some(&0)).map(key).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse((_, at))) = ready.pop() {
        order.push(at);
        for follower in followers.get(at).into_iter().flatten() {
            let Some(count) = waits_for.get_mut(*follower) else { continue };
            *count -= 1;
            if *count == 0 {
                ready.push(key(*follower));
            }
        }
    }
    if order.len() < steps.len() {
        let placed: BTreeSet<usize> = order.iter().copied().collect();
        order.extend((0..steps.len()).filter(|at| !placed.contains(at)));
    }
    renumber(steps, &order)
}

fn renumber(steps: Vec<Step>, order: &[usize]) -> Vec<Step> {
    let mut number = vec![StepId(0); steps.len()];
    for (new, old) in order.iter().enumerate() {
        if let Some(slot) = number.get_mut(*old) {
            *slot = StepId(new);
        }
    }
    let translate = |ids: &mut Vec<StepId>| {
        for id in ids.iter_mut() {
            *id = number.get(id.0).copied().unwrap_or(*id);
        }
        ids.sort_unstable();
        ids.dedup();
    };
    let mut slots: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let moved = order.iter().filter_map(|old| slots.get_mut(*old)?.take());
    let mut sorted: Vec<Step> = moved.collect();
    for (new, step) in sorted.iter_mut().enumerate() {
        step.id = StepId(new);
        translate(&mut step.needs);
        translate(&mut step.after);
    }
    sorted
}

/// The order in which each comes after all that it needs, and else as they are. `needs` has the places of what each needs; of those
/// that need each other, one is first.
pub fn needed_first(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(needs.len());
    let mut is_asked = vec![false; needs.len()];
    for at in 0..needs.len() {
        place(at, needs, &mut is_asked, &mut order);
    }
    order
}

fn place(at: usize, needs: &[Vec<usize>], is_asked: &mut [bool], order: &mut Vec<usize>) {
    if std::mem::replace(&mut is_asked[at], true) {
        return;
    }
    for needed in &needs[at] {
        place(*needed, needs, is_asked, order);
    }
    order.push(at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, DatasetName};
    use crate::plan::{Place, Reason};

    fn step(id: usize, needs: &[usize], after: &[usize]) -> Step {
        let ids = |list: &[usize]| list.iter().map(|id| StepId(*id)).collect();
        let dataset = DatasetName::new(&format!("tank/{id}")).unwrap();
        let action = Change::CreateContainer { dataset, is_plain: false }.into();
        let (place, reason) = (Place::Source, Reason::Container);
        Step { id: StepId(id), dataset: None, place, action, reason, needs: ids(needs), after: ids(after) }
    }

    fn names(steps: &[Step]) -> Vec<String> {
        let name = |step: &Step| serde_json::to_value(&step.action).unwrap()["dataset"].to_string();
        steps.iter().map(|step| name(step).replace("tank/", "").replace('"', "")).collect()
    }

    #[test]
    fn what_comes_first_comes_as_early_as_its_needs_allow_and_the_rest_stays_in_its_order() {
        let steps = vec![step(0, &[], &[3]), step(1, &[0], &[]), step(2, &[], &[]), step(3, &[2], &[])];
        let sorted = sort(steps, &BTreeSet::from([StepId(3)]));
        assert_eq!(names(&sorted), ["2", "3", "0", "1"]);
        assert_eq!(sorted[1].needs, [StepId(0)]);
        assert_eq!(sorted[2].after, [StepId(1)]);
        assert_eq!(sorted[3].needs, [StepId(2)]);
        assert!(sorted.iter().enumerate().all(|(at, step)| step.id.0 == at));
    }

    #[test]
    fn steps_that_wait_for_each_other_are_not_lost() {
        let sorted = sort(vec![step(0, &[1], &[]), step(1, &[0], &[]), step(2, &[], &[])], &BTreeSet::new());
        assert_eq!(names(&sorted), ["2", "0", "1"]);
    }
}
