//! Which dataset goes to which name, and names that are odd or too long.

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, GUEST, World};

#[test]
fn the_old_scripts_copy_in_the_root_itself_is_adopted() {
    let mut world = World::new("adopted");
    let files = world.filesystem("vm", 2);
    zfs(&["snapshot", &format!("{files}@2026-01-09-030000")]);
    let root = world.backup_root();
    zfs(&["create", root.rsplit_once('/').unwrap().0]);
    look::replicate("", &format!("{files}@2026-01-09-030000"), &root);
    world.policy.datasets = vec![files.clone()];
    for clock in [DAY_1, DAY_2] {
        let run = world.run_as_planned(clock, &[], 0);
        assert!(run.send("backup").base().is_some(), "{run:?}");
    }
    assert_same_newest(&files, &root);
    assert_eq!(look::datasets(&root), [root]);
}

#[test]
fn a_root_without_children_goes_below_the_targets_root() {
    let mut world = World::new("lone-root");
    let files = world.filesystem("vm", 1);
    world.policy.datasets = vec![files.clone()];
    world.run_as_planned(DAY_1, &[], 0);
    assert_same_newest(&files, &world.backup("vm"));
    assert_eq!(snapshots(&world.backup_root()), Vec::<String>::new());
}

#[test]
fn a_root_with_children_is_itself_sent_only_when_asked_for() {
    let mut world = World::new("include-root");
    let files = world.filesystem(GUEST, 1);
    look::write_file(&world.source(), "of the root", 1);
    world.policy.source = "include-root = true".to_owned();
    world.run_as_planned(DAY_1, &[], 0);
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&world.source(), &world.backup_root());
    assert_same_newest(&files, &world.backup(GUEST));

    world.policy.source.clear();
    world.policy.backup_at = Some(("nfs8".to_owned(), format!("{}-without", world.backup_root())));
    world.run_as_planned("2026-01-12T03:00:00Z", &[], 0);
    let without = format!("{}-without", world.backup_root());
    assert_eq!(snapshots(&without), Vec::<String>::new());
    assert_same_newest(&files, &format!("{without}/{GUEST}"));
    assert_eq!(snapshots(&world.source()).len(), 2, "what is not sent is not snapshotted");
}

#[test]
fn file_systems_keep_their_children_below_them() {
    let mut world = World::new("nested");
    let tree = ["ct", "ct/data", "ct/data/db", "group/left-out/vm"];
    zfs(&["create", &world.guest("group")]);
    zfs(&["create", &world.guest("group/left-out")]);
    world.set("group", "zhaul:backup=off");
    for name in tree {
        world.filesystem(name, 1);
    }
    world.set("group/left-out/vm", "zhaul:backup=on");
    world.run_as_planned(DAY_1, &[], 0);
    world.filesystem("ct/data/db/later", 1);
    world.run_as_planned(DAY_2, &[], 0);
    for name in tree.iter().chain(&["ct/data/db/later"]) {
        assert_same_newest(&world.guest(name), &world.backup(name));
        assert_eq!(property("mounted", &world.backup(name)), "no");
    }
    for container in ["group", "group/left-out"] {
        assert_eq!(snapshots(&world.backup(container)), Vec::<String>::new());
        assert_eq!(property("mounted", &world.backup(container)), "no");
    }
}

#[test]
fn odd_names_are_names_like_others() {
    let mut world = World::new("odd names");
    let names = ["a b: c", "-rf", "--help", "x.y", "_", "a  b", " a", "1:2 -o readonly"];
    for name in names {
        world.filesystem(name, 1);
    }
    zfs(&["snapshot", &format!("{}@--help", world.guest("-rf"))]);
    world.run_as_planned(DAY_1, &[], 0);
    world.write("-rf", "second", 1);
    world.run_as_planned(DAY_2, &[], 0);
    for name in names {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}

#[test]
fn a_name_too_long_for_the_target_blocks_only_its_dataset() {
    let mut world = World::new("too-long");
    // A snapshot's name has at most 255 bytes; "/" and "@2026-01-10-030000" are 19 of them.
    let root = format!("{}/{}", world.backup_root(), "y".repeat(90));
    let longest = "x".repeat(255 - 19 - root.len());
    let one_more = format!("{longest}x");
    let fits = world.filesystem(&longest, 1);
    world.filesystem(&one_more, 1);
    world.policy.backup_at = Some(("nfs8".to_owned(), root.clone()));
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", &one_more), "{run:?}");
    assert!(run.finds("blocked", "give the target a shorter `dataset`"), "{run:?}");
    assert_same_newest(&fits, &format!("{root}/{longest}"));
    assert_eq!(look::datasets(&root).len(), 2);
}

#[test]
fn a_name_too_long_for_a_snapshot_blocks_only_its_dataset() {
    let mut world = World::new("no-room");
    let other = world.filesystem(GUEST, 1);
    let long = "x".repeat(250 - world.source().len());
    world.filesystem(&long, 1);
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", "give the dataset a shorter name"), "{run:?}");
    assert_same_newest(&other, &world.backup(GUEST));
}
