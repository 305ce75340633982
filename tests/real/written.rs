//! Copies whose head is not what their newest snapshot holds: what was written is never lost.

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

fn written_bytes(dataset: &str) -> u64 {
    zfs(&["get", "-Hpo", "value", "written", dataset]).parse().unwrap()
}

/// The state left by a person who destroys a backup's newest snapshots, or by a run that was killed before its rollback.
#[test]
fn a_copy_left_without_its_rollback_continues() {
    let mut world = World::new("no-rollback");
    let files = world.filesystem("subvol-101-disk-0", 2);
    let disk = world.volume("vm-100-disk-0", 1);
    world.run(DAY_1);
    for name in ["subvol-101-disk-0", "vm-100-disk-0"] {
        zfs(&["snapshot", &format!("{}@2026-01-10-040000", world.guest(name))]);
    }
    world.write("subvol-101-disk-0", "bad", 2);
    look::write_device(&disk, 0, 1, "bad");
    world.run(DAY_2);
    for name in ["subvol-101-disk-0", "vm-100-disk-0"] {
        zfs(&["destroy", &format!("{}@2026-01-11-030000", world.backup(name))]);
        zfs(&["rollback", "-r", &format!("{}@2026-01-10-030000", world.guest(name))]);
    }
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));
    assert_same_newest(&disk, &world.backup("vm-100-disk-0"));
    for name in ["subvol-101-disk-0", "vm-100-disk-0"] {
        assert_eq!(look::mark(&look::set_aside(&world.backup(name)))["cause"], "written");
    }
}

#[test]
fn what_somebody_wrote_to_a_copy_is_set_aside_and_once_more_waits_for_a_person() {
    let mut world = World::new("written");
    world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    let copy = world.backup("subvol-101-disk-0");
    look::write_copy(&copy, "work");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.finds("warning", "set-aside") && run.finds("warning", "MiB written"), "{run:?}");
    let aside = look::set_aside(&copy);
    assert!(written_bytes(&aside) > 1 << 20, "the work is kept");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000", "2026-01-11-030000"]);
    assert_same_newest(&world.guest("subvol-101-disk-0"), &copy);
    // Another program does it every night: that is not healed for ever.
    look::write_copy(&copy, "again");
    let before = look::guids(&copy);
    let run = world.run_as_planned(DAY_3, &[], 3);
    assert!(run.finds("blocked", "set-aside-again"), "{run:?}");
    assert_eq!(look::guids(&copy), before);
    // The action that the report advises heals the copy, and loses nothing.
    zfs(&["rename", &copy, &format!("{copy}.old")]);
    world.run("2026-01-13T03:00:00Z");
    assert_same_newest(&world.guest("subvol-101-disk-0"), &copy);
    assert!(written_bytes(&format!("{copy}.old")) > 1 << 20);
}

/// It has no snapshot, and its mark is for another name: no rule applies to it any more.
#[test]
fn what_was_set_aside_of_a_copy_and_renamed_by_a_person_is_listed() {
    let mut world = World::new("written-renamed");
    world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    let copy = world.backup("subvol-101-disk-0");
    look::write_copy(&copy, "work");
    world.run(DAY_2);
    let renamed = format!("{copy}.mine");
    zfs(&["rename", &look::set_aside(&copy), &renamed]);
    assert!(snapshots(&renamed).is_empty());
    let run = world.run_as_planned(DAY_3, &[], 0);
    let report = run.json();
    let listed: Vec<_> = report["orphans"].as_array().unwrap().iter().map(|one| &one["copy"]).collect();
    assert_eq!(listed, [renamed.as_str()], "{run:?}");
    assert!(look::exists(&renamed));
}

#[test]
fn a_backup_that_is_to_stop_leaves_what_was_written_to_a_person() {
    let mut world = World::new("written-stop");
    world.policy.backup = "on-divergence = \"stop\"".to_owned();
    world.filesystem("subvol-101-disk-0", 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    world.run(DAY_1);
    let copy = world.backup("subvol-101-disk-0");
    look::write_copy(&copy, "work");
    let run = world.run_as_planned(DAY_2, &[], 3);
    assert!(run.finds("blocked", "was written to after its newest snapshot @2026-01-10-030000"), "{run:?}");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000"]);
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
    zfs(&["rollback", &format!("{copy}@2026-01-10-030000")]);
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&world.guest("subvol-101-disk-0"), &copy);
}

#[test]
fn an_archive_that_was_written_to_is_never_rolled_back() {
    let mut world = World::archive_only("written-archive");
    world.policy.archive = "on-divergence = \"stop\"".to_owned();
    world.filesystem("subvol-101-disk-0", 1);
    world.run("2026-01-01T03:00:00Z");
    let copy = world.archive("subvol-101-disk-0");
    look::write_copy(&copy, "work");
    let run = world.run_as_planned("2026-02-01T03:00:00Z", &[], 3);
    assert!(run.finds("blocked", "was written to after its newest snapshot @2026-Jan"), "{run:?}");
    assert!(written_bytes(&copy) > 1 << 20, "the work is still there");
    world.policy.archive = String::new();
    world.run_as_planned("2026-02-01T04:00:00Z", &[], 0);
    assert_eq!(snapshots(&copy), ["2026-Jan", "2026-Feb"]);
    assert!(written_bytes(&look::set_aside(&copy)) > 1 << 20, "the work is kept");
}
