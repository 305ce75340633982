//! Copies are safe, are what the report says was sent, and are their writer's.

use std::collections::BTreeSet;

use super::super::seen::{Dataset, Seen};
use super::{Night, text};

pub(super) fn check(night: &Night<'_>) {
    let sources: Vec<_> = night.after.below(&night.world.source()).collect();
    for root in [night.world.backup_root(), night.world.archive_root()] {
        for copy in night.after.below(&root).filter(|copy| copy.set_aside.is_none()) {
            let Some((writer, _)) = &copy.writer else { continue };
            let Some(guest) = sources.iter().find(|guest| guest.guid == *writer) else { continue };
            // A copy that somebody has renamed is listed as an orphan.
            let is_orphan = night.array("orphans").iter().any(|orphan| orphan["copy"] == *copy.name);
            let is_excused = is_orphan || night.is_named(&copy.name) || night.is_named(&guest.name);
            assert!(
                copy.unsafe_properties.is_empty() || is_excused || night.known.is_unreachable,
                "{} has {:?}, and is not named",
                copy.name,
                copy.unsafe_properties
            );
        }
    }
    what_is_below_moves_back(night, &sources);
    what_was_sent_is_there(night);
    what_arrived_was_planned(night);
    interrupted_receives_continue(night);
    for (copy, guid) in &night.known.of_another_node {
        let now = night.after.get(copy);
        assert!(
            now.is_some_and(|now| now.guid == *guid),
            "{copy}, another node's, is not in its place any more"
        );
        let before: BTreeSet<_> = night.before.snapshots_of(copy).collect();
        let after: BTreeSet<_> = night.after.snapshots_of(copy).collect();
        assert_eq!(before, after, "{copy} is another node's");
    }
}

/// A copy whose parent was set aside is below the name again where its parent continues, unless that is a volume now.
fn what_is_below_moves_back(night: &Night<'_>, sources: &[&Dataset]) {
    let is_set_aside =
        |dataset: &&Dataset| dataset.set_aside.as_ref().is_some_and(|mark| mark["done"] == true);
    for aside in night.after.datasets.iter().filter(is_set_aside) {
        let of = text(aside.set_aside.as_ref().unwrap(), "of");
        if night.after.get(of).is_none_or(|copy| copy.is_volume) {
            continue;
        }
        for copy in night.after.below(&aside.name).filter(|copy| copy.set_aside.is_none()) {
            let writes =
                |source: &&&Dataset| copy.writer.as_ref().is_some_and(|(guid, _)| *guid == source.guid);
            let place = copy.name.replacen(&aside.name, of, 1);
            assert!(
                sources.iter().find(writes).is_none() || night.after.get(&place).is_some(),
                "{} was left below what was set aside, and {place} does not exist",
                copy.name
            );
        }
    }
}

fn what_was_sent_is_there(night: &Night<'_>) {
    for step in night.done("send") {
        let action = &step["action"];
        let planned = text(action, "guid");
        let (dataset, name) = text(action, "snapshot").split_once('@').unwrap();
        // A snapshot of the run itself is known by the bookmark that it got at once.
        let mut marks = night.after.points_of(dataset).filter(|point| point.is_bookmark);
        let of_run = marks.find(|mark| mark.name == name).map(|mark| mark.guid.clone());
        let guid = if planned.is_empty() { of_run } else { Some(planned.to_owned()) };
        // A stream may be of the newest earlier snapshot instead, which its remarks report.
        let has_remarks = step["result"]["remarks"].as_array().is_some_and(|remarks| !remarks.is_empty());
        let Some(guid) = guid.filter(|_| !has_remarks) else { continue };
        let is_there = night.after.points.iter().any(|point| {
            point.guid == guid && !point.is_bookmark && !point.dataset.starts_with(&night.world.source())
        });
        assert!(is_there, "{dataset}@{name} is said to have been sent, and its GUID is nowhere");
    }
}

/// However a step ended, its stream was of the snapshot that was planned, and of no other that has its name by now.
fn what_arrived_was_planned(night: &Night<'_>) {
    for action in night.steps("send").map(|step| &step["action"]) {
        let (Some(planned), target) = (action["guid"].as_str(), text(action, "target")) else { continue };
        let (copy, name) = target.split_once('@').unwrap();
        let find = |seen: &Seen| seen.snapshots_of(copy).find(|point| point.name == name).cloned();
        if let (None, Some(arrived)) = (find(night.before), find(night.after)) {
            assert_eq!(arrived.guid, planned, "{target} has arrived, and is not what was planned");
        }
    }
}

/// A receive that broke off and can continue is not dropped.
fn interrupted_receives_continue(night: &Night<'_>) {
    for step in night.steps("abort-receive") {
        let copy = night.before.get(text(&step["action"], "dataset"));
        let Some((to, from)) = copy.and_then(|copy| copy.partial.as_ref()) else { continue };
        let copy = copy.unwrap();
        let source = text(step, "dataset");
        let has =
            |dataset: &str, guid: &str| night.before.snapshots_of(dataset).any(|point| point.guid == guid);
        let newest = night.before.snapshots_of(&copy.name).next_back().map(|point| &point.guid);
        // Anything newer or written makes way first, with what it was to follow.
        let fits = has(source, to)
            && from.as_ref() == newest
            && from.as_ref().is_none_or(|from| has(source, from))
            && night.steps("set-aside").all(|aside| aside["action"]["dataset"] != *copy.name);
        assert!(!fits, "the partial receive into {} could have continued", copy.name);
    }
}
