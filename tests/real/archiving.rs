//! The archive: one snapshot a month, kept for ever.

use crate::look::{assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{GUEST, World};

#[test]
fn each_month_is_archived_once_and_a_missed_first_is_caught_up() {
    let mut world = World::archive_only("months");
    let files = world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    world.run("2026-01-10T03:00:00Z");
    assert_eq!(snapshots(&archive), Vec::<String>::new(), "a new policy waits for its first 1st");
    world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    world.run("2026-02-02T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    world.run_as_planned("2026-03-03T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    let run = world.run("2026-05-02T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar", "2026-May"]);
    assert!(run.finds("warning", "2026-Apr"), "{run:?}");
    assert_same_newest(&files, &archive);
}

#[test]
fn months_that_the_archive_was_away_are_caught_up_oldest_first() {
    let mut world = World::archive_only("months-away");
    world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.policy.archive_host = Some("offline".to_owned());
    for month in ["02", "03", "04"] {
        world.run_with(&format!("2026-{month}-01T03:00:00Z"), &[]).expect_code(1);
    }
    world.policy.archive_host = None;
    world.run_as_planned("2026-04-20T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Feb", "2026-Mar", "2026-Apr"]);
}

#[test]
fn a_snapshot_that_arrived_under_its_sources_name_is_only_renamed() {
    let mut world = World::archive_only("arrived");
    world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    zfs(&["rename", &format!("{archive}@2026-Feb"), &format!("{archive}@2026-02-01-030000")]);
    let run = world.run_as_planned("2026-02-02T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    assert_eq!(run.moved("archive"), 0);
}

#[test]
fn archive_by_force_has_a_name_of_its_own_each_time_in_every_locale() {
    let world = World::archive_only("forced");
    world.filesystem(GUEST, 1);
    for (clock, locale) in [("2026-01-10T03:00:00Z", "tr_TR.UTF-8"), ("2026-01-10T04:00:00Z", "de_DE.UTF-8")]
    {
        let mut command = world.command(clock, &["--archive"]);
        command.env("LC_ALL", locale).env("LANG", locale);
        crate::outcome::Run::of(command).expect_code(0);
    }
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Jan-10", "2026-Jan-10-2"]);
}

#[test]
fn an_archive_that_has_parted_stops_or_branches_and_keeps_all() {
    let mut world = World::archive_only("archive-parted");
    let files = world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    world.write(GUEST, "march", 1);
    world.run("2026-03-01T03:00:00Z");
    zfs(&["rollback", "-r", &format!("{files}@2026-02-01-030000")]);
    world.write(GUEST, "april", 1);
    let run = world.run_as_planned("2026-04-01T03:00:00Z", &[], 3);
    assert!(run.finds("blocked", "has parted"), "{run:?}");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    world.policy.archive = "on-divergence = \"branch\"".to_owned();
    world.run_as_planned("2026-04-02T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&format!("{archive}.branch-2026-04-02-030000")), ["2026-Feb", "2026-Mar"]);
    assert_eq!(snapshots(&archive).last().unwrap(), "2026-Apr");
    assert_same_newest_month(&files, &archive);
}

/// The archive's April is the source's first snapshot of April.
fn assert_same_newest_month(files: &str, archive: &str) {
    let guid = |name: String| crate::pool::property("guid", &name);
    assert_eq!(guid(format!("{files}@2026-04-01-030000")), guid(format!("{archive}@2026-Apr")));
}
