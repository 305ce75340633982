//! Everything below the root is backed up, or named with the reason.

use serde_json::Value;

use super::{Night, text};

pub(super) fn check(night: &Night<'_>) {
    let root = night.world.source();
    let backup = night.world.backup_root();
    for dataset in night.after.below(&root) {
        let is_opted_out = dataset.is_opted_out;
        let dataset = &dataset.name;
        let is_left_out = night.array("left_out").iter().any(|out| text(out, "dataset") == dataset);
        assert!(
            !is_left_out || is_opted_out || night.known.may_be_left_out(dataset),
            "{dataset} is left out, though the admin did not ask for it"
        );
        names_go_up(night, dataset);
        if is_left_out || night.findings(dataset).any(|finding| finding["severity"] != "note") {
            continue;
        }
        have_bookmarks(night, dataset);
        if night.failed().any(|step| super::names(step, dataset)) {
            continue;
        }
        let newest = night.after.snapshots_of(dataset).rfind(|point| point.is_own());
        let newest = newest.unwrap_or_else(|| panic!("{dataset} has no own snapshot, and is not named"));
        let is_there = night.after.snapshots_below(&backup).any(|copy| copy.guid == newest.guid);
        assert!(
            is_there || night.known.is_unreachable,
            "{dataset}@{} is not on the backup, and is not named",
            newest.name
        );
        not_sent_whole_again(night, dataset);
    }
    let is_of_a_host = |finding: &&Value| text(finding, "kind").ends_with("-not-listed");
    let failed = night.array("findings").iter().find(is_of_a_host);
    assert!(failed.is_none() || night.known.is_unreachable, "{failed:?}");
}

/// A dataset that the backup has is not sent whole again, if its copy is certain: the only one with this writer, which no one
/// has renamed.
fn not_sent_whole_again(night: &Night<'_>, dataset: &str) {
    let Some(guest) = night.before.get(dataset) else { return };
    let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
    let backup = night.world.backup_root();
    let mut copies = night.before.below(&backup).filter(|copy| {
        copy.set_aside.is_none() && copy.writer.as_ref().is_some_and(|(guid, _)| *guid == guest.guid)
    });
    let (Some(copy), None) = (copies.next(), copies.next()) else { return };
    if copy.writer.as_ref().is_none_or(|(_, label)| last(label) != last(&copy.name)) {
        return;
    }
    let mut there = night.before.snapshots_of(&copy.name);
    let is_shared = there.any(|there| night.before.snapshots_of(dataset).any(|here| here.guid == there.guid));
    let is_full = |step: &&Value| {
        step["place"]["target"] == "backup"
            && text(&step["action"], "snapshot").starts_with(&format!("{dataset}@"))
            && step["action"]["base"].is_null()
            && step["action"]["resume"].is_null()
    };
    assert!(!is_shared || night.done("send").find(is_full).is_none(), "{dataset} was sent whole again");
}

/// The names of own snapshots go up.
fn names_go_up(night: &Night<'_>, dataset: &str) {
    let ahead = night.known.now.saturating_add(jiff::SignedDuration::from_hours(36)).unwrap();
    let limit = ahead.strftime("%Y-%m-%d-%H%M%S").to_string();
    let was_there = |guid: &str| night.before.points_of(dataset).any(|point| point.guid == guid);
    for new in night.after.snapshots_of(dataset).filter(|point| point.is_own() && !was_there(&point.guid)) {
        let not_before = night.before.points_of(dataset).find(|old| {
            old.is_own() && !old.name.contains("-sending-") && old.name >= new.name && old.name <= limit
        });
        assert!(not_before.is_none(), "{dataset}@{} is not named after {not_before:?}", new.name);
    }
}

/// Each own snapshot has its bookmark.
fn have_bookmarks(night: &Night<'_>, dataset: &str) {
    if night.failed().any(|step| super::names(step, dataset)) {
        return;
    }
    for own in night.after.snapshots_of(dataset).filter(|point| point.is_own()) {
        let mut bookmarks = night.after.points_of(dataset).filter(|point| point.is_bookmark);
        assert!(bookmarks.any(|mark| mark.guid == own.guid), "{dataset}@{} has no bookmark", own.name);
    }
}
