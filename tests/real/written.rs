//! Copies whose head is not what their newest snapshot holds.

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

/// What a person does who needs a copy in a hurry.
fn work_in(copy: &str) {
    zfs(&["set", "readonly=off", copy]);
    zfs(&["mount", copy]);
    look::write_file(copy, "work", 1);
    zfs(&["unmount", copy]);
}

fn written_bytes(dataset: &str) -> u64 {
    zfs(&["get", "-Hpo", "value", "written", dataset]).parse().unwrap()
}

/// What a run leaves that was killed between a parted backup's destroyed snapshots and its rollback.
#[test]
fn a_copy_left_without_its_rollback_is_put_back() {
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
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.actions().iter().filter(|action| *action == "rollback").count() == 2, "{run:?}");
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));
    assert_same_newest(&disk, &world.backup("vm-100-disk-0"));
}

#[test]
fn what_somebody_wrote_to_a_copy_waits_for_a_person() {
    let mut world = World::new("written");
    world.filesystem("subvol-101-disk-0", 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    world.run(DAY_1);
    let copy = world.backup("subvol-101-disk-0");
    work_in(&copy);
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
    world.filesystem("subvol-101-disk-0", 1);
    world.run("2026-01-01T03:00:00Z");
    let copy = world.archive("subvol-101-disk-0");
    work_in(&copy);
    zfs(&["set", "readonly=on", &copy]);
    let run = world.run_as_planned("2026-02-01T03:00:00Z", &[], 3);
    assert!(run.finds("blocked", "was written to after its newest snapshot @2026-Jan"), "{run:?}");
    assert!(written_bytes(&copy) > 1 << 20, "the work is still there");
    world.policy.archive = "on-divergence = \"branch\"".to_owned();
    world.run_as_planned("2026-02-01T04:00:00Z", &[], 0);
    assert_eq!(snapshots(&copy), ["2026-Feb"]);
    let aside = format!("{copy}.branch-2026-02-01-040000");
    assert!(written_bytes(&aside) > 1 << 20, "the work is kept aside");
}
