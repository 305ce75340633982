//! Copies follow datasets of which the parents, the children, or both have changed their names; what a run left behind between
//! two names; and what somebody renamed on the target.

use crate::look::{self, assert_same_newest, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const DAY_4: &str = "2026-01-13T03:00:00Z";
const MIB: u64 = 1 << 20;

/// A world with these guests, each with some MiB, and a backup of them.
fn backed_up(name: &str, guests: &[&str]) -> World {
    let mut world = World::new(name);
    for guest in guests {
        world.filesystem(guest, 4);
    }
    world.run(DAY_1);
    world
}

fn rename(world: &World, from: &str, to: &str) {
    zfs(&["rename", &world.guest(from), &world.guest(to)]);
}

fn swap(world: &World, one: &str, two: &str) {
    rename(world, one, "swapped");
    rename(world, two, one);
    rename(world, "swapped", two);
}

/// Lets a guest that was backed up once diverge from its copy on the second day; gives what the third run has set aside.
fn diverged(world: &mut World, guest: &str) -> String {
    world.write(guest, "b", 1);
    world.run(DAY_2);
    zfs(&["rollback", "-r", &format!("{}@2026-01-10-030000", world.guest(guest))]);
    world.write(guest, "c", 1);
    world.run(DAY_3);
    look::set_aside(&world.backup(guest))
}

/// Exactly `names` are there, each with both nights, so that no copy began again.
fn assert_followed(world: &World, run: &Run, names: &[&str]) {
    assert!(run.moved("backup") < MIB, "{run:?}");
    assert!(run.steps("set-aside").is_empty(), "{run:?}");
    for name in names {
        assert_same_newest(&world.guest(name), &world.backup(name));
        assert!(snapshots(&world.backup(name)).len() > 1, "{name}: {run:?}");
    }
    let below: Vec<String> = look::datasets(&world.backup_root());
    assert_eq!(below.iter().filter(|copy| copy.contains(".renaming")).count(), 0, "{below:?}");
}

#[test]
fn a_copy_follows_also_where_its_name_is_that_of_a_guest_of_another_node() {
    let mut world = backed_up("renaming-elsewhere", &["subvol-201-disk-0"]);
    let rootfs = "rootfs: z:subvol-201-disk-0,size=8G\n";
    let pve = world.guest_configs(&[("lxc/300.conf", "memory: 512\n"), ("nodes/pve7/lxc/201.conf", rootfs)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    rename(&world, "subvol-201-disk-0", "kept");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_followed(&world, &run, &["kept"]);
}

#[test]
fn datasets_change_their_names_with_all_datasets_below_them() {
    let names = ["a", "a/x", "b", "b/x", "c", "c/y"];
    let mut world = backed_up("renaming-trees", &names);
    swap(&world, "a", "b");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.steps("rename-dataset").len(), 3, "datasets below go along: {run:?}");
    assert_followed(&world, &run, &names);
    // Three in a circle, and then the children of two.
    swap(&world, "a", "b");
    swap(&world, "b", "c");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_followed(&world, &run, &["a", "a/x", "b", "b/y", "c", "c/x"]);
    swap(&world, "a/x", "b/y");
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert_followed(&world, &run, &["a", "a/x", "b", "b/y", "c", "c/x"]);
}

#[test]
fn a_parent_and_its_child_go_to_different_names() {
    let mut world = backed_up("renaming-apart", &["a", "a/x", "a/x/deep", "b"]);
    rename(&world, "a/x/deep", "deep");
    rename(&world, "a/x", "b/y");
    rename(&world, "a", "c");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.finds("warning", "its copy"), "{run:?}");
    assert_followed(&world, &run, &["b", "b/y", "c", "deep"]);
    assert_eq!(run.steps("rename-dataset").len(), 3, "{run:?}");
    // The child takes its parent's name, and then they change places.
    rename(&world, "b/y", "y");
    rename(&world, "b", "d");
    rename(&world, "y", "b");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_followed(&world, &run, &["b", "c", "d", "deep"]);
    rename(&world, "d", "b/z");
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert_followed(&world, &run, &["b", "b/z", "c", "deep"]);
    rename(&world, "b/z", "z");
    rename(&world, "b", "z/b");
    rename(&world, "z", "t");
    rename(&world, "t/b", "t/z");
    rename(&world, "t", "b");
    let run = world.run_as_planned("2026-01-14T03:00:00Z", &[], 0);
    assert_followed(&world, &run, &["b", "b/z", "c", "deep"]);
}

#[test]
fn a_dataset_that_went_below_a_new_one_of_its_name_is_backed_up() {
    let mut world = backed_up("renaming-below", &["a"]);
    rename(&world, "a", "t");
    world.filesystem("a", 1);
    rename(&world, "t", "a/old");
    world.run_as_planned(DAY_2, &[], 0);
    for name in ["a", "a/old"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.steps("set-aside").is_empty() && run.steps("rename-dataset").is_empty(), "{run:?}");
}

#[test]
fn a_name_on_the_way_that_somebody_has_taken_blocks_no_rename() {
    let mut world = backed_up("renaming-stray", &["a", "b", "c", "d"]);
    let copy = world.backup("a");
    zfs(&["create", &format!("{copy}.renaming")]);
    swap(&world, "a", "b");
    swap(&world, "c", "d");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(look::exists(&format!("{copy}.renaming")), "it is somebody's");
    zfs(&["destroy", &format!("{copy}.renaming")]);
    assert_followed(&world, &run, &["a", "b", "c", "d"]);
}

#[test]
fn a_swap_that_was_undone_after_a_killed_run_is_undone_in_the_backup() {
    let names = ["a", "b", "c"];
    let mut world = backed_up("renaming-undone", &names);
    let [a, b, c] = names.map(|name| world.backup(name));
    // As a run leaves them that followed a circle and was killed after its first, second and third rename.
    zfs(&["rename", &a, &format!("{a}.renaming")]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_followed(&world, &run, &names);
    for day in [DAY_3, DAY_4] {
        zfs(&["rename", &a, &format!("{a}.renaming")]);
        zfs(&["rename", &b, &a]);
        if day == DAY_4 {
            zfs(&["rename", &c, &b]);
        }
        let run = world.run_as_planned(day, &[], 0);
        assert_followed(&world, &run, &names);
    }
}

#[test]
fn copies_that_somebody_swapped_on_the_target_are_swapped_back() {
    let mut world = backed_up("renaming-swapped-there", &["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| world.backup(name));
    zfs(&["rename", &a, &format!("{a}-old")]);
    zfs(&["rename", &b, &a]);
    zfs(&["rename", &format!("{a}-old"), &b]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_followed(&world, &run, &["a", "b"]);
}

#[test]
fn a_copy_that_somebody_renamed_is_named_and_the_advised_command_continues_with_it() {
    let mut world = backed_up("renaming-there", &["a"]);
    let (copy, old) = (world.backup("a"), world.backup("kept"));
    zfs(&["rename", &copy, &old]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.finds("warning", "renamed-on-target") && run.finds("warning", &old), "{run:?}");
    let next = format!("zfs rename {copy} {copy}.new (if it exists), then zfs rename {old} {copy}");
    assert!(run.finds("warning", &next), "{run:?}");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(!run.finds("warning", "renamed-on-target"), "it is reported once: {run:?}");
    zfs(&["rename", &copy, &format!("{copy}.new")]);
    zfs(&["rename", &old, &copy]);
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert_followed(&world, &run, &["a"]);
    assert_eq!(snapshots(&format!("{copy}.new")).len(), 2, "nothing is lost");
}

#[test]
fn of_two_copies_the_one_that_still_has_its_name_follows_its_source() {
    let mut world = backed_up("renaming-two", &["a"]);
    zfs(&["rename", &world.backup("a"), &world.backup("a-by-hand")]);
    world.run(DAY_2);
    rename(&world, "a", "b");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_followed(&world, &run, &["b"]);
    assert_eq!(snapshots(&world.backup("a-by-hand")), ["2026-01-10-030000"]);
    assert!(!look::exists(&world.backup("a")));
}

#[test]
fn what_was_set_aside_goes_with_its_parent_and_expires_there() {
    let mut world = backed_up("renaming-aside", &["p", "p/x"]);
    diverged(&mut world, "p/x");
    rename(&world, "p", "q");
    world.run(DAY_4);
    let aside = look::set_aside(&world.backup("q/x"));
    assert!(
        property("zhaul:set-aside", &aside).contains("renaming-aside/pve0/p/x"),
        "marked under its old name"
    );
    world.policy.backup = "keep-superseded = \"30d\"".to_owned();
    world.run(&look::days_after(&aside, 29));
    assert!(look::exists(&aside));
    world.run(&look::days_after(&aside, 31));
    assert!(!look::exists(&aside));
    assert_same_newest(&world.guest("q/x"), &world.backup("q/x"));
}

#[test]
fn a_child_follows_a_parent_of_which_the_copy_begins_again() {
    let mut world = backed_up("renaming-parent-again", &["a", "a/x", "a/x/deep", "a/y"]);
    zfs(&["destroy", &format!("{}@%", world.backup("a"))]);
    rename(&world, "a", "c");
    rename(&world, "c/y", "c/z");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.steps("rename-dataset").len(), 2, "{run:?}");
    for name in ["c/x", "c/x/deep", "c/z"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
        assert!(snapshots(&world.backup(name)).len() > 1, "{name} was sent whole: {run:?}");
    }
    assert_same_newest(&world.guest("c"), &world.backup("c"));
    assert!(look::exists(&world.backup("a")), "nothing is destroyed");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_followed(&world, &run, &["c", "c/x", "c/x/deep", "c/z"]);
}

#[test]
fn what_expires_in_the_night_of_a_rename_goes_under_its_new_name() {
    let mut world = backed_up("renaming-expires", &["p", "p/x", "p/gone"]);
    let aside = diverged(&mut world, "p/x");
    let late = look::days_after(&aside, 31);
    zfs(&["destroy", "-r", &world.guest("p/gone")]);
    rename(&world, "p", "q");
    world.policy.backup = "keep-last = 1\nkeep-superseded = \"30d\"".to_owned();
    let run = world.run_as_planned(&late, &[], 0);
    assert!(!look::exists(&aside.replace("/p/", "/q/")) && !look::exists(&aside), "{run:?}");
    for (name, left) in [("q", 1), ("q/x", 2)] {
        assert_same_newest(&world.guest(name), &world.backup(name));
        assert_eq!(snapshots(&world.backup(name)).len(), left, "{name}: {run:?}");
    }
    assert!(run.finds("note", "but a clone keeps it"), "what was set aside had kept it: {run:?}");
    assert_eq!(
        snapshots(&world.backup("q/gone")).len(),
        1,
        "its source is gone, the rules go on applying: {run:?}"
    );
}

#[test]
fn nothing_goes_below_a_receive_that_may_have_to_be_given_up() {
    let mut world = backed_up("renaming-begun", &["a", "a/x"]);
    world.filesystem("c", 24);
    zfs(&["snapshot", &format!("{}@2026-01-11-030000", world.guest("c"))]);
    world.policy.transfer = "rate = \"4MiB\"".to_owned();
    let mut cut = world.start(DAY_2, &["--no-snapshot"]);
    let receiver = world.wait_for_receive();
    look::wait_for_used(&world.backup("c"), 4 * MIB);
    look::signal(receiver, rustix::process::Signal::KILL);
    cut.wait().unwrap();
    world.wait_for_quiet();
    world.policy.transfer.clear();
    // The receive that was begun cannot be resumed.
    zfs(&["destroy", &format!("{}@2026-01-11-030000", world.guest("c"))]);
    rename(&world, "a/x", "c/x");
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!((run.steps("abort-receive").len(), run.steps("rename-dataset").len()), (1, 1), "{run:?}");
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert_followed(&world, &run, &["a", "c", "c/x"]);
}

#[test]
fn where_a_rename_cannot_be_made_yet_nothing_is_planned_below_its_name() {
    let mut world = backed_up("renaming-not-yet", &["a", "a/x", "a/x/deep", "a/x/gone"]);
    let aside = diverged(&mut world, "a/x/deep");
    let day = |days| look::days_after(&aside, days);
    zfs(&["destroy", "-r", &world.guest("a/x/gone")]);
    world.policy.backup = "keep-last = 1\nkeep-superseded = \"30d\"".to_owned();
    world.filesystem("c", 1);
    rename(&world, "a/x", "c/x");
    // The new parent has no snapshot that could be sent.
    let run = world.run_as_planned(&day(31), &["--no-snapshot"], 3);
    assert!(run.steps("rename-dataset").is_empty() && !run.finds("warning", "is renamed to"), "{run:?}");
    assert!(look::exists(&aside) && snapshots(&world.backup("a/x/gone")).len() == 3, "{run:?}");
    let run = world.run_as_planned(&day(32), &[], 0);
    assert!(run.finds("warning", "is renamed to"), "{run:?}");
    assert_eq!(snapshots(&world.backup("c/x/gone")).len(), 1, "{run:?}");
    assert!(!look::exists(&aside.replace("/a/x/", "/c/x/")), "{run:?}");
    for name in ["c", "c/x", "c/x/deep"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}
