//! What a backup gets: full, increment, nothing; by GUID, from a snapshot or a bookmark; and how it lies there.

use crate::look::{self, assert_same_newest, bookmarks, snapshots};
use crate::pool::{property, zfs};
use crate::world::World;

const DAY_1: &str = "2026-01-10T03:00:00Z";
const DAY_2: &str = "2026-01-11T03:00:00Z";
const DAY_3: &str = "2026-01-12T03:00:00Z";

#[test]
fn the_first_run_sends_all_and_the_second_only_what_changed() {
    let mut world = World::new("first-full");
    let disk = world.volume("vm-100-disk-0", 16);
    let files = world.filesystem("subvol-101-disk-0", 16);
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.sends("backup").iter().all(|send| send.base().is_none()), "{run:?}");
    assert_eq!(snapshots(&disk), ["2026-01-10-030000"]);
    assert_eq!(bookmarks(&disk), ["2026-01-10-030000"]);
    assert_same_newest(&disk, &world.backup("vm-100-disk-0"));
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));

    world.write("subvol-101-disk-0", "second", 4);
    look::write_device(&disk, 4, 4, "changed");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.moved("backup") < 10 << 20, "8 MiB have changed: {run:?}");
    assert_same_newest(&disk, &world.backup("vm-100-disk-0"));
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));

    let run = world.run_with(DAY_2, &["--no-snapshot"]).expect_code(0);
    assert_eq!(run.actions(), Vec::<String>::new());
}

#[test]
fn copies_are_read_only_and_never_mounted_or_scanned() {
    let mut world = World::new("safe-copies");
    world.volume("vm-100-disk-0", 1);
    world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    let (disk, files) = (world.backup("vm-100-disk-0"), world.backup("subvol-101-disk-0"));
    for (name, object, wanted) in [
        ("readonly", &disk, "on"),
        ("volmode", &disk, "none"),
        ("readonly", &files, "on"),
        ("canmount", &files, "noauto"),
        ("mounted", &files, "no"),
        ("mounted", &world.backup_root(), "no"),
    ] {
        assert_eq!(property(name, object), wanted, "{name} of {object}");
    }
}

#[test]
fn a_bookmark_is_base_enough_after_thirty_destroyed_snapshots() {
    let mut world = World::new("bookmark-base");
    let files = world.filesystem("subvol-101-disk-0", 8);
    world.run(DAY_1);
    for number in 0..30 {
        world.write("subvol-101-disk-0", &format!("file-{number}"), 1);
        zfs(&["snapshot", &format!("{files}@2026-01-10-1200{number:02}")]);
    }
    zfs(&["destroy", &format!("{files}@2026-01-10-030000%2026-01-10-120029")]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    let base = Some(("bookmark".to_owned(), "2026-01-10-030000".to_owned()));
    assert_eq!(run.send("backup").base(), base);
    let moved = run.moved("backup");
    assert!(moved * 10 < (30 << 20) * 13, "30 MiB changed, {moved} bytes moved");
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));
}

#[test]
fn renamed_snapshots_are_still_the_same_ones() {
    let mut world = World::new("renamed");
    let files = world.filesystem("subvol-101-disk-0", 8);
    let copy = world.backup("subvol-101-disk-0");
    world.run(DAY_1);
    zfs(&["rename", &format!("{files}@2026-01-10-030000"), &format!("{files}@mine")]);
    world.run(DAY_2);
    zfs(&["rename", &format!("{copy}@2026-01-11-030000"), &format!("{copy}@theirs")]);
    let run = world.run(DAY_3);
    assert!(run.send("backup").base().is_some(), "{run:?}");
    assert!(run.moved("backup") < 1 << 20);
    assert_eq!(snapshots(&copy), ["2026-01-10-030000", "theirs", "2026-01-12-030000"]);
}

#[test]
fn one_name_with_two_guids_is_two_snapshots() {
    let mut world = World::new("other-guid");
    let files = world.filesystem("subvol-101-disk-0", 1);
    let copy = world.backup("subvol-101-disk-0");
    world.run(DAY_1);
    zfs(&["snapshot", &format!("{copy}@2026-01-11-030000")]);
    zfs(&["snapshot", &format!("{files}@2026-01-11-030000")]);
    world.run_with(DAY_2, &["--no-snapshot"]).expect_code(0);
    let there = snapshots(&copy);
    assert_eq!(there.len(), 3, "{there:?}");
    assert!(there[2].starts_with("2026-01-11-030000-"), "{there:?}");
    assert_same_newest(&files, &copy);
}

#[test]
fn bookmarks_that_were_lost_are_made_again() {
    let mut world = World::new("migrated");
    let files = world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    zfs(&["destroy", &format!("{files}#2026-01-10-030000")]);
    world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(bookmarks(&files).len(), 2);
}

#[test]
fn encrypted_datasets_go_raw_with_the_key_unloaded() {
    let mut world = World::new("encrypted");
    let key = world.directory().join("key");
    std::fs::write(&key, "correct horse battery").unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let files = world.guest("subvol-101-disk-0");
    zfs(&["create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", &location, &files]);
    world.write("subvol-101-disk-0", "first", 4);
    world.run(DAY_1);
    world.write("subvol-101-disk-0", "second", 4);
    zfs(&["snapshot", &format!("{files}@2026-01-10-120000")]);
    zfs(&["destroy", &format!("{files}@2026-01-10-030000")]);
    zfs(&["unmount", &files]);
    zfs(&["unload-key", &files]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.send("backup").step["action"]["base"]["kind"], "bookmark");
    let copy = world.backup("subvol-101-disk-0");
    assert_eq!(property("keystatus", &copy), "unavailable");
    zfs(&["load-key", &files]);
    zfs(&["load-key", "-L", &format!("file://{}", key.display()), &copy]);
    assert_same_newest(&files, &copy);
}

#[test]
fn the_old_scripts_copy_in_the_root_itself_is_adopted() {
    let mut world = World::new("adopted");
    let files = world.filesystem("vm", 4);
    zfs(&["snapshot", &format!("{files}@2026-01-09-030000")]);
    let root = world.backup_root();
    zfs(&["create", root.rsplit_once('/').unwrap().0]);
    let pipe = "zfs send \"$1\" | zfs receive -u \"$2\"";
    let sent = std::process::Command::new("sh")
        .args(["-c", pipe, "sh", &format!("{files}@2026-01-09-030000"), &root])
        .status()
        .unwrap();
    assert!(sent.success());
    world.policy.datasets = vec![files.clone()];
    let run = world.run(DAY_1);
    assert!(run.send("backup").base().is_some(), "{run:?}");
    assert_same_newest(&files, &root);
    assert_eq!(look::datasets(&root), [root]);
}

#[test]
fn names_with_blanks_and_colons_are_names_like_others() {
    let mut world = World::new("odd names");
    let files = world.filesystem("a b: c", 1);
    world.run(DAY_1);
    assert_same_newest(&files, &world.backup("a b: c"));
}
