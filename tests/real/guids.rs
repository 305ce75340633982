//! A GUID travels to the kernel: a name that has become another point's between the plan and the send is not sent.

use std::fs;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_3, World};

/// Served first, and takes seconds.
const SLOW: &str = "subvol-100-disk-0";
const OTHER: &str = "subvol-101-disk-0";

/// The points of `OTHER` that are not on the backup yet.
const MIDDLE: &str = "2026-01-10-120000";
const NEWEST: &str = "2026-01-11-030000";

/// Two guests with a backup, each with an own snapshot that is not there yet; streams are slow.
fn world(name: &str) -> World {
    let mut world = World::new(name);
    for guest in [SLOW, OTHER] {
        world.filesystem(guest, 1);
    }
    world.run(DAY_1);
    // By zhaul itself, so that each proves its predecessors.
    let reachable = world.policy.backup_at.replace(("offline".to_owned(), world.backup_root()));
    for (clock, file, mib) in [("2026-01-10T12:00:00Z", "middle", 1), ("2026-01-11T03:00:00Z", "second", 12)]
    {
        world.write(SLOW, file, mib);
        world.write(OTHER, file, 1);
        world.run_with(clock, &[]).expect_code(1);
    }
    world.policy.backup_at = reachable;
    "rate = \"4MiB\"\njobs = 1".clone_into(&mut world.policy.transfer);
    world
}

/// A run in whose first stream `meddle` happens: it must fail for `OTHER` alone, with `why`, and send nothing of it.
fn run_meddled(world: &mut World, why: &str, meddle: impl FnOnce(&str)) {
    let mut run = world.start(DAY_3, &["--no-snapshot"]);
    world.wait_for_receive();
    meddle(&world.guest(OTHER));
    let code = run.wait().unwrap().code();
    let stdout = fs::read_to_string(world.directory().join("stdout")).unwrap();
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains(why), "{stdout}");
    assert_eq!(snapshots(&world.backup(OTHER)), ["2026-01-10-030000"]);
    assert_same_newest(&world.guest(SLOW), &world.backup(SLOW));
    world.policy.transfer.clear();
    world.run("2026-01-13T03:00:00Z");
    assert_same_newest(&world.guest(OTHER), &world.backup(OTHER));
}

#[test]
fn a_snapshot_whose_name_was_taken_again_after_the_plan_is_not_sent() {
    let mut world = world("name-again");
    run_meddled(&mut world, "its guid was", |guest| {
        let newest = format!("{guest}@{NEWEST}");
        zfs(&["destroy", &newest]);
        look::write_file(guest, "other", 1);
        zfs(&["snapshot", &newest]);
    });
}

#[test]
fn a_base_whose_name_was_taken_again_after_the_plan_is_not_used() {
    let mut world = world("base-again");
    zfs(&["destroy", &format!("{}@2026-01-10-030000", world.guest(OTHER))]);
    run_meddled(&mut world, "the guid of its incremental source was", |guest| {
        let bookmark = format!("{guest}#2026-01-10-030000");
        zfs(&["destroy", &bookmark]);
        zfs(&["bookmark", &format!("{guest}@{MIDDLE}"), &bookmark]);
    });
}
