//! A snapshot or bookmark that cannot be made is left out: it costs its own dataset that one point, and nothing else.

use std::fs::File;
use std::process::Command;

use crate::look::{self, assert_same_newest, bookmarks, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const FIRST: &str = "2026-01-10-030000";
const SECOND: &str = "2026-01-11-030000";
const FULL: &str = "tight/vm-200-disk-0";

/// A guest, and a volume with a reservation in a container that has no room for one more snapshot of it.
fn with_a_full_volume(name: &str) -> World {
    let mut world = World::new(name);
    world.filesystem(GUEST, 1);
    zfs(&["create", &world.guest("tight")]);
    zfs(&["create", "-V", "12M", &world.guest(FULL)]);
    look::write_device(&world.guest(FULL), 0, 8, "first");
    world.run(DAY_1);
    world
}

/// The data written since the newest snapshot is as large as the snapshot, and no room is left to keep both.
fn fill(world: &World) {
    look::write_device(&world.guest(FULL), 0, 8, "second");
    look::sync(&world.guest(FULL));
    let used = property("used", &world.guest("tight"));
    zfs(&["set", &format!("quota={}", used.parse::<u64>().unwrap() + (1 << 20)), &world.guest("tight")]);
}

/// The text that the report has of a dataset for which a step failed.
fn failure(run: &Run, dataset: &str) -> String {
    let json = run.json();
    let steps = json["steps"].as_array().unwrap().iter();
    let failures = steps.filter_map(|step| step["result"]["failures"].as_array()).flatten();
    let mut own = failures.filter(|failure| failure["dataset"] == dataset);
    own.next().unwrap_or_else(|| panic!("{run:?}"))["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_volume_without_room_for_a_snapshot_costs_no_other_dataset_its_own() {
    let mut world = with_a_full_volume("left-out");
    fill(&world);
    let run = world.run_as_planned(DAY_2, &[], 1);
    let failure = failure(&run, &world.guest(FULL));
    let room = format!("are available to {}", world.guest("tight"));
    for words in ["no space", &room, "with its refreservation a snapshot needs up to 8"] {
        assert!(failure.contains(words), "{failure}");
    }
    assert_eq!(snapshots(&world.guest(FULL)), [FIRST]);
    assert_eq!(bookmarks(&world.guest(GUEST)), [FIRST, SECOND]);
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    zfs(&["set", "quota=none", &world.guest("tight")]);
    world.run(DAY_3);
    assert_same_newest(&world.guest(FULL), &world.backup(FULL));
}

#[test]
fn what_exists_is_sent_where_no_new_snapshot_can_be_taken() {
    let mut world = with_a_full_volume("left-out-behind");
    let middle = "2026-01-10-120000";
    look::write_device(&world.guest(FULL), 2, 1, "middle");
    zfs(&["snapshot", &format!("{}@{middle}", world.guest(FULL))]);
    fill(&world);
    let run = world.run_as_planned(DAY_2, &[], 1);
    assert!(run.stdout.contains(&format!("@{middle} instead")), "{run:?}");
    assert_eq!(snapshots(&world.backup(FULL)), [FIRST, middle]);
    assert_same_newest(&world.guest(FULL), &world.backup(FULL));
    assert_eq!(bookmarks(&world.guest(FULL)), [FIRST, middle]);
}

#[test]
fn a_guest_is_of_one_moment_or_of_none() {
    let mut world = with_a_full_volume("left-out-guest");
    world.filesystem("vm-200-disk-1", 1);
    let storage =
        "zfspool: a\n\tpool {ROOT}\n\nzfspool: b\n\tpool {ROOT}/tight\n".replace("{ROOT}", &world.source());
    let text = "scsi0: a:vm-200-disk-1\nscsi1: b:vm-200-disk-0\n";
    let pve = world.guest_configs(&[("qemu-server/200.conf", text), ("storage.cfg", &storage)]);
    world.policy.source = format!("guest-config = {pve:?}");
    world.run("2026-01-10T12:00:00Z");
    fill(&world);
    let run = world.run_as_planned(DAY_2, &[], 1);
    assert!(failure(&run, &world.guest(FULL)).contains("no space"), "{run:?}");
    let other = failure(&run, &world.guest("vm-200-disk-1"));
    assert!(other.contains("or not at all"), "{other}");
    for (volume, expected) in [(FULL, 2), ("vm-200-disk-1", 1)] {
        assert_eq!(snapshots(&world.guest(volume)).len(), expected, "{volume}: no half a guest");
    }
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    assert_eq!(snapshots(&world.guest(GUEST)).last().unwrap(), SECOND);
}

#[test]
fn a_dataset_that_is_not_received_completely_costs_no_other_its_snapshot() {
    let mut world = World::new("left-out-partial");
    world.filesystem(GUEST, 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    let theirs = world.beside("theirs");
    zfs(&["create", &theirs]);
    look::write_file(&theirs, "data", 8);
    zfs(&["snapshot", &format!("{theirs}@1")]);
    let incoming = world.guest("vm-300-disk-0");
    look::send_in_part(None, &format!("{theirs}@1"), &incoming);
    let token = property("receive_resume_token", &incoming);
    let run = world.run_with(DAY_1, &[]);
    assert!(run.code == Some(1) || run.code == Some(3), "{run:?}");
    for guest in [GUEST, "subvol-102-disk-0"] {
        assert_eq!(snapshots(&world.guest(guest)), [FIRST]);
    }
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
    assert_eq!(property("receive_resume_token", &incoming), token);
}

/// A pool of its own, on a file in memory, that is destroyed in the end.
struct Pool(&'static str);

impl Pool {
    fn new(name: &'static str, options: &[&str]) -> Self {
        let file = format!("/dev/shm/{name}");
        File::create(&file).unwrap().set_len(256 << 20).unwrap();
        let mut create = Command::new("zpool");
        create.arg("create").args(options).args(["-O", "mountpoint=none", name, &file]);
        assert!(create.status().unwrap().success());
        Self(name)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        Command::new("zpool").args(["destroy", "-f", self.0]).status().unwrap();
        std::fs::remove_file(format!("/dev/shm/{}", self.0)).unwrap();
    }
}

#[test]
fn where_no_bookmark_can_be_made_snapshots_are_sent_and_none_is_pruned() {
    let mut world = World::new("left-out-feature");
    let pool = Pool::new("nobookmarks", &["-d", "-o", "feature@extensible_dataset=enabled"]);
    let old = format!("{}/subvol-101-disk-0", pool.0);
    zfs(&["create", &old]);
    let other = world.filesystem("subvol-102-disk-0", 1);
    world.policy.datasets = vec![old.clone(), world.source()];
    world.policy.source = "keep-last = 1".to_owned();
    for (day, count) in [(DAY_1, 1), (DAY_2, 2), (DAY_3, 3)] {
        let run = world.run_with(day, &[]).expect_code(1);
        assert!(run.stdout.contains("lacks a feature"), "{run:?}");
        assert_eq!(snapshots(&old).len(), count, "{run:?}");
        assert_eq!(snapshots(&other).len(), 1, "{run:?}");
    }
    assert_same_newest(&old, &world.backup("subvol-101-disk-0"));
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}
