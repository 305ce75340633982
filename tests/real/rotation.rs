//! The points that stay at the source and at a backup, run after run.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::look::{bookmarks, snapshots};
use crate::pool::{property, zfs};
use crate::world::{GUEST, World};

#[test]
fn the_source_keeps_exactly_its_newest_fifteen_and_all_bookmarks() {
    let mut world = World::new("keep-local");
    world.policy.backup_at = Some(("offline".to_owned(), world.backup_root()));
    let files = world.filesystem(GUEST, 1);
    let mut names: Vec<String> = (1..=20).map(|day| format!("2026-01-{day:02}-030000")).collect();
    for name in &names {
        zfs(&["snapshot", &format!("{files}@{name}")]);
    }
    world.run_with("2026-01-21T03:00:00Z", &[]).expect_code(1);
    names.push("2026-01-21-030000".to_owned());
    assert_eq!(snapshots(&files), names[6..], "the newest 15, though the backup could not be reached");
    let mut marked = bookmarks(&files);
    marked.sort();
    assert_eq!(marked, names, "each has a bookmark, also those that a run found without one");
    world.policy.source = "keep-last = 4".to_owned();
    world.policy.backup_at = None;
    world.run("2026-01-22T03:00:00Z");
    assert_eq!(snapshots(&files)[..3], names[18..]);
    assert_eq!(snapshots(&files)[3..], ["2026-01-22-030000"]);
    assert_eq!(bookmarks(&files).len(), 22);
}

#[test]
fn without_keep_rules_a_backup_keeps_all() {
    let mut world = World::new("keep-all");
    world.policy.source = "keep-last = 1".to_owned();
    world.filesystem(GUEST, 1);
    for day in 1..=4 {
        world.run(&format!("2026-01-0{day}T03:00:00Z"));
    }
    assert_eq!(snapshots(&world.backup(GUEST)).len(), 4);
}

#[test]
fn old_bookmarks_go_only_where_the_policy_says_so_and_no_target_needs_them() {
    let mut world = World::new("keep-bookmarks");
    world.policy.top = "[bookmarks]\nkeep = 1\n".to_owned();
    world.policy.source = "keep-last = 1".to_owned();
    world.policy.backup = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-01T03:00:00Z");
    world.policy.backup_at = Some(("offline".to_owned(), world.backup_root()));
    for day in 2..=5 {
        world.run_with(&format!("2026-01-0{day}T03:00:00Z"), &[]).expect_code(1);
    }
    assert_eq!(bookmarks(&files).len(), 5, "what an absent backup needs is not known");
    world.policy.backup_at = None;
    let run = world.run("2026-01-06T03:00:00Z");
    assert_eq!(run.send("backup").base(), Some(("bookmark".to_owned(), "2026-01-01-030000".to_owned())));
    world.run("2026-01-07T03:00:00Z");
    let left = bookmarks(&files);
    assert!(left.len() <= 3 && left.contains(&"2026-01-07-030000".to_owned()), "{left:?}");
    world.run("2026-01-08T03:00:00Z");
}

const RULES: &str =
    "keep-last = 2\nkeep-hourly = 3\nkeep-daily = 3\nkeep-weekly = 2\nkeep-monthly = 3\nkeep-yearly = 1";

/// The period of a snapshot under one rule, from its name alone.
type PeriodOf = fn(&str) -> String;

/// The same rules: how many, and which part of the name is the period.
const PERIODS: [(usize, PeriodOf); 6] = [
    (2, str::to_owned),
    (3, |name| name[..13].to_owned()),
    (3, |name| name[..10].to_owned()),
    (2, week),
    (3, |name| name[..7].to_owned()),
    (1, |name| name[..4].to_owned()),
];

fn week(name: &str) -> String {
    let date = DateTime::strptime("%Y-%m-%d-%H%M%S", name).unwrap().date().iso_week_date();
    format!("{} week {}", date.year(), date.week())
}

/// What `vzdump --prune-backups` would keep: each rule takes the newest of each period that no kept one covers, until it
/// has its number; what it passes over in a period it took from is out for good.
fn kept_by_proxmox(names: &BTreeSet<String>) -> BTreeSet<String> {
    let (mut kept, mut out) = (BTreeSet::new(), BTreeSet::new());
    for (count, period) in PERIODS {
        let covered: BTreeSet<String> = kept.iter().map(|name: &String| period(name)).collect();
        let mut taken = BTreeSet::new();
        for name in names.iter().rev() {
            if kept.contains(name) || out.contains(name) || covered.contains(&period(name)) {
                continue;
            }
            if taken.contains(&period(name)) {
                out.insert(name.clone());
                continue;
            }
            if taken.len() == count {
                break;
            }
            taken.insert(period(name));
            kept.insert(name.clone());
        }
    }
    kept
}

#[test]
fn a_year_of_backups_is_kept_as_proxmox_would_keep_it() {
    let mut world = World::new("year");
    world.back_up_locally();
    world.policy.source = "keep-last = 1".to_owned();
    world.policy.backup = RULES.to_owned();
    world.filesystem(GUEST, 1);
    let mut expected = BTreeSet::new();
    let mut at: Timestamp = "2025-12-20T01:00:00Z".parse().unwrap();
    // 36 runs over 13 months: within an hour, a day, a week, a month, and further apart.
    let steps = [20, 55, 9 * 60, 15 * 60, 6 * 24 * 60, 11 * 24 * 60, 60 * 24 * 60];
    for minutes in steps.into_iter().cycle().take(36) {
        world.run(&at.to_string());
        let name = TimeZone::UTC.to_datetime(at).strftime("%Y-%m-%d-%H%M%S").to_string();
        expected.insert(name);
        expected = kept_by_proxmox(&expected);
        let there: BTreeSet<String> = snapshots(&world.backup(GUEST)).into_iter().collect();
        assert_eq!(there, expected, "after the run of {at}");
        at = at.checked_add(SignedDuration::from_mins(minutes)).unwrap();
    }
    assert!(at > "2026-12-20T00:00:00Z".parse().unwrap() && expected.len() > 8, "{at} {expected:?}");
}

#[test]
fn a_backups_rules_go_on_applying_to_the_copy_of_a_guest_that_is_gone() {
    let mut world = World::new("keep-orphan");
    let gone = world.filesystem("gone", 1);
    world.filesystem(GUEST, 1);
    for day in 1..=4 {
        world.run(&format!("2026-01-0{day}T03:00:00Z"));
    }
    let copy = world.backup("gone");
    zfs(&["snapshot", &format!("{copy}@by-hand")]);
    zfs(&["destroy", "-r", &gone]);
    world.run("2026-01-05T03:00:00Z");
    assert_eq!(snapshots(&copy).len(), 5, "no rule, and nothing goes");
    world.policy.backup = "keep-last = 1".to_owned();
    world.run_as_planned("2026-01-06T03:00:00Z", &[], 0);
    let mut left = snapshots(&copy);
    left.sort();
    assert_eq!(left, ["2026-01-04-030000", "by-hand"], "the newest own one stays, and what is foreign");
    // Another policy's copy below the same root is not this one's to prune.
    world.policy.backup.clear();
    let moved = format!("{} pve9:rpool/elsewhere/gone", property("guid", &copy));
    zfs(&["set", &format!("zhaul:writer={moved}"), &copy]);
    zfs(&["snapshot", &format!("{copy}@2026-01-05-030000")]);
    world.policy.backup = "keep-last = 1".to_owned();
    world.run("2026-01-07T03:00:00Z");
    assert_eq!(snapshots(&copy).len(), 3);
}
