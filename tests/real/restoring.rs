//! The way back: what `zhaul list` shows and what `zhaul restore` brings back, on real pools.

use std::process::{Command, Stdio};

use crate::look::{self, assert_same_newest, bookmarks, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

/// `zhaul list` or `zhaul restore` with the policy of `world`.
pub(crate) fn command(world: &World, clock: &str, words: &[&str]) -> Command {
    let mut command = world.on_node(env!("CARGO_BIN_EXE_zhaul"));
    command.args(words).arg("--config").arg(world.config());
    command.args(["--lab-clock", clock]);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn zhaul(world: &World, clock: &str, words: &[&str]) -> Run {
    Run::of(command(world, clock, words))
}

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";

#[test]
fn a_lost_file_system_and_a_lost_volume_come_back_and_the_next_run_is_incremental_on_every_target() {
    let mut world = World::with_archive("back");
    let files = world.filesystem(GUEST, 6);
    let disk = world.volume(DISK, 6);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.write(GUEST, "second", 1);
    look::write_device(&disk, 6, 1, "second");
    world.run(DAY_2);
    let before = [&files, &disk].map(|dataset| content(&format!("{dataset}@{POINT_2}")));
    for dataset in [&files, &disk] {
        zfs(&["destroy", "-r", dataset]);
    }
    for (dataset, before) in [&files, &disk].into_iter().zip(before) {
        let dry = world.state();
        let plan = zhaul(&world, DAY_3, &["restore", dataset, "--dry-run"]).expect_code(0);
        assert_eq!(dry, world.state(), "a dry run changes nothing");
        assert!(plan.stdout.contains(POINT_2) && plan.stdout.contains("MiB"), "{plan:?}");
        let run = zhaul(&world, DAY_3, &["restore", dataset]).expect_code(0);
        assert!(run.stdout.contains(&format!("restored {dataset}")), "{run:?}");
        assert_eq!(content(&format!("{dataset}@{POINT_2}")), before);
        for (name, value) in [("readonly", "off"), ("receive_resume_token", "-"), ("zhaul:restore", "-")] {
            assert_eq!(property(name, dataset), value, "{name}");
        }
        assert!(bookmarks(dataset).contains(&POINT_2.to_owned()));
        assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())));
    }
    assert_eq!(property("mounted", &files), "yes");
    assert_eq!(property("canmount", &files), "on");
    assert_eq!(property("volmode", &disk), "default");
    world.write(GUEST, "third", 1);
    look::write_device(&disk, 7, 1, "third");
    let run = world.run_with(DAY_3, &["--archive"]).expect_code(0);
    for place in ["backup", "archive"] {
        assert_eq!(run.sends(place).len(), 2, "{run:?}");
        assert!(run.sends(place).iter().all(|send| send.base().is_some()), "{run:?}");
        assert!(run.moved(place) < 3_500_000 * if place == "archive" { 2 } else { 1 }, "{run:?}");
    }
    assert_same_newest(&files, &world.backup(GUEST));
    assert_same_newest(&disk, &world.backup(DISK));
}

#[test]
fn a_point_of_the_past_is_restored_beside_what_exists_and_nothing_is_overwritten() {
    let mut world = World::new("beside");
    let files = world.filesystem(GUEST, 2);
    world.run(DAY_1);
    world.write(GUEST, "broken", 2);
    world.run(DAY_2);
    let state = world.state();
    let run = zhaul(&world, DAY_3, &["restore", &files, "--at", "2026-01-10 12:00"]).expect_code(3);
    assert!(run.stderr.contains("exists") && run.stderr.contains("next:"), "{run:?}");
    assert_eq!(state, world.state());
    let to = world.guest("subvol-101-old");
    for (at, from) in [("2026-01-10 12:00", "backup"), (POINT_1, "here"), (POINT_1, "nfs8")] {
        let words = ["restore", &files, "--at", at, "--from", from, "--to", &to];
        zhaul(&world, DAY_3, &words).expect_code(0);
        assert_eq!(content(&format!("{to}@{POINT_1}")), content(&format!("{files}@{POINT_1}")));
        assert_eq!(snapshots(&to), [POINT_1]);
        assert_eq!(property("mounted", &to), "yes");
        let again = zhaul(&world, DAY_3, &words).expect_code(3);
        assert!(again.stderr.contains("has this snapshot already"), "{again:?}");
        zfs(&["destroy", "-r", &to]);
    }
    assert_eq!(property("guid", &files), property("guid", &files));
}

#[test]
fn with_only_the_archive_left_a_month_is_restored() {
    let mut world = World::with_archive("only-archive");
    world.policy.archive = "on-divergence = \"branch\"".to_owned();
    let files = world.filesystem(GUEST, 2);
    world.run(DAY_1);
    world.run("2026-02-01T03:00:00Z");
    let first = content(&format!("{files}@2026-02-01-030000"));
    world.write(GUEST, "later", 1);
    world.run("2026-03-01T03:00:00Z");
    zfs(&["destroy", "-r", &world.source()]);
    zfs(&["destroy", "-r", &world.backup_root()]);
    zfs(&["create", &world.source()]);
    let list = zhaul(&world, "2026-10-20T00:00:00Z", &["list", "101"]).expect_code(0);
    assert!(list.stdout.contains("@2026-Feb") && list.stdout.contains("@2026-Mar"), "{list:?}");
    zhaul(&world, "2026-10-20T00:00:00Z", &["restore", &files, "--at", "2026-Feb"]).expect_code(0);
    assert_eq!(content(&format!("{files}@2026-Feb")), first);
    world.run("2026-10-20T03:00:00Z");
    assert_same_newest(&files, &world.backup(GUEST));
    let run = world.run("2026-11-01T03:00:00Z");
    assert!(run.sends("archive").iter().all(|send| send.base().is_some()), "{run:?}");
}

#[test]
fn all_disks_of_a_lost_guest_come_back_on_a_host_that_knows_nothing() {
    let mut world = World::with_archive("lost-host");
    let names = ["vm-100-disk-0", "vm-100-disk-1", "vm-100-disk-2"];
    for name in names {
        world.volume(name, 2);
    }
    world.volume("vm-200-disk-0", 1);
    world.run(DAY_1);
    let before = names.map(|name| content(&format!("{}@{POINT_1}", world.guest(name))));
    zfs(&["destroy", "-r", &world.source()]);
    let refused = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(3);
    assert!(refused.stderr.contains("zfs create -p"), "{refused:?}");
    zfs(&["create", "-p", &world.source()]);
    let all = zhaul(&world, DAY_2, &["list"]).expect_code(0);
    assert!(names.iter().all(|name| all.stdout.contains(name)) && all.stdout.contains("vm-200"), "{all:?}");
    let points = zhaul(&world, DAY_2, &["list", "100", "--json"]).expect_code(0);
    assert_eq!(points.json()["points"][0]["places"][0]["complete"], true, "{points:?}");
    let run = zhaul(&world, DAY_2, &["restore", "100", "--json"]).expect_code(0);
    assert_eq!(run.json()["volumes"].as_array().unwrap().len(), 3, "{run:?}");
    for (name, before) in names.iter().zip(before) {
        assert_eq!(content(&format!("{}@{POINT_1}", world.guest(name))), before);
    }
    assert!(!look::exists(&world.guest("vm-200-disk-0")), "only what was asked for");
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}
