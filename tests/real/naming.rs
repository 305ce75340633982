//! The names of copies where two sources want one name, and where a container has it.

use std::fs;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

/// Every snapshot below the roots of both targets, by name and GUID.
fn copies(world: &World) -> Vec<String> {
    let listed = [world.backup_root(), world.archive_root()].map(|root| {
        if look::exists(&root) {
            zfs(&["list", "-rHp", "-t", "snapshot", "-o", "name,guid", &root])
        } else {
            String::new()
        }
    });
    listed.join("\n").lines().map(str::to_owned).collect()
}

fn assert_nothing_is_lost(before: &[String], world: &World) {
    let now = copies(world);
    let lost: Vec<_> = before.iter().filter(|point| !now.contains(point)).collect();
    assert!(lost.is_empty(), "{lost:?} of {now:?}");
}

#[test]
fn a_guest_with_disks_of_one_name_on_two_storages_has_a_copy_of_each() {
    let mut world = World::with_archive("two-names");
    world.filesystem("vm-100-disk-0", 1);
    zfs(&["create", "-p", &world.beside("vms/vm-100-disk-0")]);
    look::write_file(&world.beside("vms/vm-100-disk-0"), "other", 1);
    let storages =
        format!("zfspool: z\n\tpool {}\n\nzfspool: fast\n\tpool {}\n", world.source(), world.beside("vms"));
    let text = "scsi0: z:vm-100-disk-0\nscsi1: fast:vm-100-disk-0\n";
    let pve = world.guest_configs(&[("storage.cfg", &storages), ("qemu-server/100.conf", text)]);
    let source = format!("guest-config = \"{}\"", pve.display());
    world.policy.source.clone_from(&source);
    world.policy.datasets = vec![world.source(), world.beside("vms")];
    let run = world.run_as_planned(DAY_1, &["--archive"], 0);
    assert!(run.finds("note", "name-taken"), "{run:?}");
    let both = |world: &World| {
        for (from, name) in [
            (world.guest("vm-100-disk-0"), "vm-100-disk-0"),
            (world.beside("vms/vm-100-disk-0"), "fast/vm-100-disk-0"),
        ] {
            assert_same_newest(&from, &world.backup(name));
        }
    };
    both(&world);
    assert_eq!(snapshots(&world.archive("fast/vm-100-disk-0")), ["2026-Jan-10"]);
    // Neither the order of the roots, nor that one is served alone, left out, or without its storage changes a name.
    world.policy.datasets.reverse();
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(
        run.sends("backup").iter().all(|send| send.base().is_some()) && !run.finds("note", "name-taken"),
        "{run:?}"
    );
    both(&world);
    let second = world.beside("vms/vm-100-disk-0");
    world.run_with(DAY_3, &["--dataset", &second]).expect_code(0);
    assert_same_newest(&second, &world.backup("fast/vm-100-disk-0"));
    assert_eq!(snapshots(&world.backup("vm-100-disk-0")).len(), 2);
    world.policy.source = format!("{source}\nexclude = [{:?}]", world.guest("vm-*"));
    world.run("2026-01-13T03:00:00Z");
    assert_eq!(
        snapshots(&world.backup("vm-100-disk-0")).len(),
        2,
        "the copy of a left-out dataset goes to no other dataset"
    );
    world.policy.source = source;
    fs::write(pve.join("storage.cfg"), "").unwrap();
    let run = world.run_with("2026-01-14T03:00:00Z", &[]).expect_code(1);
    assert!(run.finds("failed", "config-in-doubt") && run.sends("backup").len() == 2, "{run:?}");
    both(&world);
    assert_eq!(look::datasets(&world.backup_root()).len(), 4, "root, container and two copies");
}

#[test]
fn roots_of_one_name_have_copies_of_their_own() {
    let mut world = World::new("one-name");
    world.filesystem("a", 1);
    zfs(&["create", "-p", &world.beside("more/a")]);
    world.policy.datasets = vec![world.guest("a"), world.beside("more/a")];
    world.run_as_planned(DAY_1, &[], 0);
    world.policy.datasets.reverse();
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&world.guest("a"), &world.backup("a"));
    assert_same_newest(&world.beside("more/a"), &world.backup("more/a"));
}

#[test]
fn a_copy_that_could_be_two_sources_blocks_these_alone() {
    let mut world = World::new("contested");
    let (first, second) = (world.filesystem("vm-100-disk-0", 1), world.beside("vms/vm-100-disk-0"));
    let other = world.filesystem("other", 1);
    world.run(DAY_1);
    // Moved by hand, and the old one still exists; the marks that distinguished them are gone.
    zfs(&["create", &world.beside("vms")]);
    look::replicate("-R", &format!("{first}@2026-01-10-030000"), &second);
    zfs(&["destroy", &format!("{first}#2026-01-10-030000")]);
    zfs(&["inherit", "zhaul:writer", &world.backup("vm-100-disk-0")]);
    world.policy.datasets = vec![world.source(), world.beside("vms")];
    let before = copies(&world);
    let run = world.run_as_planned(DAY_2, &["--no-snapshot"], 3);
    if run.finds("blocked", "copy-contested") {
        assert!(run.finds("blocked", &first) && run.finds("blocked", &second), "both are named: {run:?}");
        assert_eq!(before, copies(&world));
    }
    world.run_with(DAY_2, &[]).expect_code(3);
    assert_same_newest(&other, &world.backup("other"));
    // The advised action helps, and leads to no loss.
    zfs(&["set", "zhaul:backup=off", &second]);
    world.run(DAY_3);
    assert_same_newest(&first, &world.backup("vm-100-disk-0"));
    assert_nothing_is_lost(&before, &world);
}

#[test]
fn a_root_that_is_asked_for_after_its_children_takes_nothing_from_them() {
    let mut world = World::with_archive("root-later");
    let files = world.filesystem("vm-100-disk-0", 1);
    look::write_file(&world.source(), "of the root", 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    let before = copies(&world);
    world.policy.source = "include-root = true".to_owned();
    for clock in [DAY_2, DAY_3] {
        world.run_as_planned(clock, &["--archive"], 0);
        assert_same_newest(&files, &world.backup("vm-100-disk-0"));
        assert_same_newest(&world.source(), &world.backup("data"));
    }
    assert_eq!(snapshots(&world.archive("data")), ["2026-Jan-11", "2026-Jan-12"]);
    assert_nothing_is_lost(&before, &world);
    world.filesystem("later", 1);
    world.run("2026-01-13T03:00:00Z");
    assert_same_newest(&world.guest("later"), &world.backup("later"));
}

#[test]
fn a_root_that_gets_children_keeps_its_copy_by_following_the_advice() {
    let mut world = World::new("root-grows");
    let root = world.filesystem("files", 1);
    world.policy.datasets = vec![root.clone()];
    world.run(DAY_1);
    world.filesystem("files/child", 1);
    let run = world.run(DAY_2);
    assert!(run.finds("warning", "include-root = true"), "{run:?}");
    world.policy.source = "include-root = true".to_owned();
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(!run.finds("warning", "include-root"), "{run:?}");
    assert_same_newest(&root, &world.backup("files"));
    assert_same_newest(&world.guest("files/child"), &world.backup("child"));
    assert_eq!(snapshots(&world.backup("files")).len(), 2, "an increment");
}

#[test]
fn a_parent_that_is_selected_after_its_children_has_a_copy_beside_the_container() {
    let mut world = World::with_archive("parent-later");
    for name in ["ct", "ct/data", "ct/data/db"] {
        world.filesystem(name, 1);
    }
    world.set("ct", "zhaul:backup=off");
    world.set("ct/data", "zhaul:backup=on");
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    let before = copies(&world);
    zfs(&["inherit", "zhaul:backup", &world.guest("ct")]);
    world.filesystem("ct/new", 1);
    for clock in [DAY_2, DAY_3] {
        world.run_as_planned(clock, &["--archive"], 0);
        assert_same_newest(&world.guest("ct"), &world.backup("data/ct"));
        assert_same_newest(&world.guest("ct/new"), &world.backup("data/ct/new"));
        for name in ["ct/data", "ct/data/db"] {
            assert_same_newest(&world.guest(name), &world.backup(name));
        }
    }
    assert_nothing_is_lost(&before, &world);
}

#[test]
fn a_copy_that_may_be_of_what_could_not_be_listed_stays_as_it_is() {
    let mut world = World::new("not-listed");
    zfs(&["create", "-p", &world.beside("vms/vm-100-disk-0")]);
    world.policy.datasets = vec![world.source(), world.beside("vms")];
    let other = world.filesystem("other", 1);
    world.run(DAY_1);
    let before = copies(&world);
    zfs(&["rename", &world.beside("vms"), &world.beside("away")]);
    let new = world.filesystem("vm-100-disk-0", 1);
    let run = world.run_as_planned(DAY_2, &[], 1);
    assert!(run.finds("blocked", "copy-contested") && run.finds("blocked", &new), "{run:?}");
    assert_same_newest(&other, &world.backup("other"));
    assert_nothing_is_lost(&before, &world);
    zfs(&["rename", &world.beside("away"), &world.beside("vms")]);
    world.run(DAY_3);
    assert_same_newest(&world.beside("vms/vm-100-disk-0"), &world.backup("vm-100-disk-0"));
    assert_same_newest(&new, &world.backup("data/vm-100-disk-0"));
    assert_nothing_is_lost(&before, &world);
}

/// Nothing can be renamed or received below a volume, so this is not tried every night.
#[test]
fn a_copy_of_a_child_does_not_follow_its_parents_rename_below_a_volume() {
    let mut world = World::new("naming-volume");
    let files = world.filesystem("files", 1);
    zfs(&["create", &format!("{files}/below")]);
    world.run(DAY_1);
    let in_the_way = world.backup("moved");
    zfs(&["create", "-V", "1M", &in_the_way]);
    let moved = world.guest("moved");
    zfs(&["rename", &files, &moved]);
    let run = world.run_as_planned(DAY_2, &[], 3);
    assert!(run.finds("blocked", "is a volume, and nothing can be received below a volume"), "{run:?}");
    assert!(look::exists(&world.backup("files/below")), "it waits where it is");
    zfs(&["rename", &in_the_way, &world.backup("away")]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(run.steps("rename-dataset").len(), 1, "with what is below it: {run:?}");
    for name in ["moved", "moved/below"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}
