//! Nothing is gone but what the rules have expired, and the report says so; and what has expired is gone.

use std::collections::BTreeSet;

use super::super::seen::{Point, Seen};
use super::{Night, array, text};

pub(super) fn check(night: &Night<'_>) {
    let actions = ["destroy-snapshots", "destroy-dataset"];
    let done = actions.iter().flat_map(|action| night.done(action));
    let destroyed: BTreeSet<&str> =
        done.flat_map(|step| array(&step["action"], "snapshots")).map(|point| text(point, "guid")).collect();
    let roots = [night.world.backup_root(), night.world.archive_root()];
    let now: BTreeSet<&str> = roots
        .iter()
        .flat_map(|root| night.after.snapshots_below(root))
        .map(|point| point.guid.as_str())
        .collect();
    for point in roots.iter().flat_map(|root| night.before.snapshots_below(root)) {
        if now.contains(point.guid.as_str()) {
            continue;
        }
        let name = format!("{}@{}", point.dataset, point.name);
        assert!(name.starts_with(&roots[0]), "{name} is gone from the archive");
        check_one(night, point, &name, &destroyed);
        assert!(
            is_expired(night, point) || is_past(night, point, night.known.keep_at_backup),
            "{name} is gone, and no rule gave it up"
        );
    }
    source(night, &destroyed);
    expired_is_gone(night);
}

fn check_one(_night: &Night<'_>, point: &Point, name: &str, destroyed: &BTreeSet<&str>) {
    assert!(destroyed.contains(point.guid.as_str()), "{name} is gone, and no step says that it destroyed it");
    assert!(point.is_own(), "{name} was not made by zhaul, and is gone");
    assert!(!point.is_held_or_cloned, "{name} had a hold or a clone, and is gone");
}

/// Whether it lay in a lineage that was set aside by its own mark, and whose time is over.
fn is_expired(night: &Night<'_>, point: &Point) -> bool {
    let dataset = night.before.get(&point.dataset).unwrap();
    let Some(mark) = &dataset.set_aside else { return false };
    let Ok(at) = text(mark, "at").parse::<jiff::Timestamp>() else { return false };
    let keep = jiff::SignedDuration::from_hours(24 * night.known.keep_set_aside);
    mark["done"] == true && night.known.now.duration_since(at) >= keep
}

/// Whether as many own snapshots of the dataset are newer as the rule keeps.
fn is_past(night: &Night<'_>, point: &Point, keep: usize) -> bool {
    let dataset = &point.dataset;
    let guid = night.before.get(dataset).map(|dataset| &dataset.guid);
    // The run may have renamed it, or set it aside.
    let now = night.after.datasets.iter().find(|other| Some(&other.guid) == guid);
    let is_of_it = |other: &&Point| {
        other.dataset == *dataset
            || other.dataset.starts_with(&format!("{dataset}."))
            || now.is_some_and(|now| other.dataset == now.name)
    };
    let all = night
        .before
        .points
        .iter()
        .chain(&night.after.points)
        .chain(night.known.planned_with.iter().flatten());
    let newer: BTreeSet<&str> = all
        // A snapshot that others destroyed in the course of the run has left its bookmark.
        .filter(|other| !other.is_bookmark || night.known.planned_with.is_some())
        .filter(|other| is_of_it(other) && other.is_own())
        .filter(|other| other.name > point.name || other.createtxg > point.createtxg)
        .map(|other| other.guid.as_str())
        .collect();
    newer.len() >= keep
}

/// At the source own snapshots go by the rule, each with a bookmark that stays, and nothing else goes.
fn source(night: &Night<'_>, destroyed: &BTreeSet<&str>) {
    let root = night.world.source();
    for dataset in night.before.below(&root) {
        assert!(
            night.after.get(&dataset.name).is_some_and(|now| now.guid == dataset.guid),
            "{} is gone",
            dataset.name
        );
    }
    for point in night.before.snapshots_below(&root) {
        let has = |is_bookmark: bool| {
            let mut now = night.after.points_of(&point.dataset);
            now.any(|other| other.guid == point.guid && other.is_bookmark == is_bookmark)
        };
        if has(false) {
            continue;
        }
        let name = format!("{}@{}", point.dataset, point.name);
        check_one(night, point, &name, destroyed);
        assert!(is_past(night, point, night.known.keep_at_source), "{name} is gone, and no rule gave it up");
        assert!(has(true), "{name} is gone, and has left no bookmark");
    }
}

/// On a backup that answers, what its rule gave up before the run has gone, whatever became of the run.
fn expired_is_gone(night: &Night<'_>) {
    if night.known.is_unreachable || night.known.planned_with.is_some() {
        return;
    }
    let backup = night.world.backup_root();
    for guest in night.before.below(&night.world.source()) {
        let Some(copy) = super::copy_of(night.before, &backup, guest) else { continue };
        // Who else has a say in it: a person who has to act, or who must be asked first.
        let is_of_a_person = |finding: &&serde_json::Value| {
            finding["severity"] == "blocked"
                || finding["severity"] == "failed"
                || text(finding, "kind").starts_with("not-")
        };
        let is_excused =
            [&guest.name, &copy.name].iter().any(|name| night.findings(name).any(|one| is_of_a_person(&one)));
        let is_left_out = night.array("left_out").iter().any(|out| text(out, "dataset") == guest.name);
        // A copy that somebody has renamed is left alone; the guest gets a new one.
        let is_renamed = night.array("orphans").iter().any(|orphan| text(orphan, "copy") == copy.name);
        // Nothing is pruned of a guest whose file cannot be read.
        let is_unread = night.known.may_be_left_out(&guest.name);
        if is_excused
            || is_left_out
            || is_renamed
            || is_unread
            || night.after.get(&copy.name).is_none_or(|now| now.guid != copy.guid)
        {
            continue;
        }
        let own: Vec<&Point> = night.before.snapshots_of(&copy.name).filter(|point| point.is_own()).collect();
        let is_common =
            |seen: &Seen, point: &Point| seen.points_of(&guest.name).any(|here| here.guid == point.guid);
        let base = night.before.snapshots_of(&copy.name).rfind(|point| is_common(night.before, point));
        let newest = own.last().map(|point| &point.guid);
        for point in &own {
            let newer = own.iter().filter(|other| other.name > point.name).count();
            let stays = night.after.snapshots_of(&copy.name).any(|now| now.guid == point.guid);
            let is_needed = point.is_held_or_cloned
                || copy.partial.is_some()
                || base.is_none_or(|base| base.guid == point.guid)
                || newest == Some(&point.guid);
            assert!(
                !stays || is_needed || newer < night.known.keep_at_backup,
                "{}@{} has expired, and stays",
                copy.name,
                point.name
            );
        }
    }
}
