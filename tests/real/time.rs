//! Time zones, the hours that come twice or never, and clocks that are wrong.

use crate::look::{assert_same_newest, bookmarks, snapshots};
use crate::pool::zfs;
use crate::world::{GUEST, World};

fn in_berlin(mut world: World) -> World {
    "timezone = \"Europe/Berlin\"".clone_into(&mut world.policy.top);
    world
}

#[test]
fn the_hour_that_comes_twice_is_one_hour_and_names_go_up_in_utc() {
    let mut world = in_berlin(World::new("autumn"));
    world.back_up_locally();
    world.policy.backup = "keep-hourly = 4\nkeep-daily = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    // Local: 23:30 and 00:30, then 02:10 and 02:40 summer time, 02:20 and 02:50 winter time, then 23:30 and 00:30.
    let runs = [
        "2026-10-24T21:30:00Z",
        "2026-10-24T22:30:00Z",
        "2026-10-25T00:10:00Z",
        "2026-10-25T00:40:00Z",
        "2026-10-25T01:20:00Z",
        "2026-10-25T01:50:00Z",
        "2026-10-25T22:30:00Z",
        "2026-10-25T23:30:00Z",
    ];
    for at in runs {
        world.run(at);
    }
    let names: Vec<String> =
        runs.iter().map(|at| at.replace(':', "").replace('T', "-").replace('Z', "")).collect();
    assert_eq!(snapshots(&files), names, "one name for each run, in UTC, going up");
    assert_eq!(bookmarks(&files).len(), runs.len());
    let kept = [&names[0], &names[1], &names[5], &names[6], &names[7]];
    let there = snapshots(&world.backup(GUEST));
    assert_eq!(
        there.iter().collect::<Vec<_>>(),
        kept,
        "4 hours, one of them twice as long, and the day before"
    );
}

#[test]
fn days_begin_at_local_midnight_also_when_an_hour_is_left_out() {
    let mut world = in_berlin(World::new("spring"));
    world.back_up_locally();
    world.policy.backup = "keep-daily = 9".to_owned();
    world.filesystem(GUEST, 1);
    // Local: the 28th 23:59, the 29th 00:01, 01:30, 03:30 (an hour later by the clock, but none has passed), 23:59, the 30th.
    for at in [
        "2026-03-28T22:59:00Z",
        "2026-03-28T23:01:00Z",
        "2026-03-29T00:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-29T21:59:00Z",
        "2026-03-29T22:01:00Z",
    ] {
        world.run(at);
    }
    let there = snapshots(&world.backup(GUEST));
    assert_eq!(there, ["2026-03-28-225900", "2026-03-29-215900", "2026-03-29-220100"]);
}

#[test]
fn the_first_of_a_month_begins_at_local_midnight() {
    let mut world = in_berlin(World::archive_only("local-first"));
    world.filesystem(GUEST, 1);
    world.run("2026-03-15T03:00:00Z");
    world.run("2026-03-31T21:30:00Z");
    assert_eq!(snapshots(&world.archive(GUEST)), Vec::<String>::new(), "23:30 of the 31st");
    world.run("2026-03-31T22:30:00Z");
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Apr"], "00:30 of the 1st");
}

#[test]
fn a_clock_that_was_weeks_ahead_harms_nothing() {
    let mut world = World::with_archive("clock-back");
    world.policy.source = "keep-last = 2".to_owned();
    world.policy.backup = "keep-last = 2".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-03-20T03:00:00Z");
    for _ in 0..2 {
        world.write(GUEST, "changed", 1);
        world.run("2026-01-11T03:00:00Z");
    }
    world.run("2026-01-12T03:00:00Z");
    let kept = ["2026-03-20-030000", "2026-01-11-030001", "2026-01-12-030000"];
    assert_eq!(snapshots(&files), kept, "what is dated ahead stays and pushes nothing out");
    assert_eq!(snapshots(&world.backup(GUEST)), kept);
    assert_same_newest(&files, &world.backup(GUEST));
}

#[test]
fn the_clock_of_another_node_or_of_an_excluded_dataset_moves_no_name() {
    let mut world = World::new("clocks-of-others");
    let (files, other) = (world.filesystem(GUEST, 1), world.filesystem("subvol-102-disk-0", 1));
    let excluded = world.filesystem("subvol-103-disk-0", 1);
    world.policy.source = format!("exclude = [{excluded:?}]");
    zfs(&["snapshot", &format!("{excluded}@2026-02-01-110000")]);
    let elsewhere = world.backup("vm-900-disk-0");
    zfs(&["create", "-p", &elsewhere]);
    zfs(&["snapshot", &format!("{elsewhere}@2026-02-01-120000")]);
    // A guest that came from a node whose clock is ahead continues from its own name, alone.
    zfs(&["snapshot", &format!("{other}@2026-02-01-050000")]);
    world.run("2026-01-31T20:00:00Z");
    assert_eq!(snapshots(&files), ["2026-01-31-200000"], "31 January is not in February");
    assert_eq!(snapshots(&other), ["2026-02-01-050000", "2026-02-01-050001"]);
    assert_same_newest(&files, &world.backup(GUEST));
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}

#[test]
fn a_clock_set_back_by_days_meets_its_own_names_and_two_runs_of_one_second_have_two() {
    let mut world = World::new("own-names-again");
    let (files, other) = (world.filesystem(GUEST, 1), world.filesystem("subvol-102-disk-0", 1));
    for at in ["2026-01-10T03:00:00Z", "2026-01-20T03:00:00Z", "2026-01-10T03:00:00Z", "2026-01-10T03:00:00Z"]
    {
        world.write(GUEST, "file", 1);
        world.run(at);
        assert_same_newest(&files, &world.backup(GUEST));
        assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
    }
    let names = ["2026-01-10-030000", "2026-01-20-030000", "2026-01-10-030001", "2026-01-10-030002"];
    assert_eq!(snapshots(&files), names);
}
