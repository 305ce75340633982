//! Streams to a backup: full, increment, nothing; by GUID, from a snapshot or a bookmark; and how a copy is stored.

use crate::look::{self, assert_same_newest, bookmarks, guids, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const MIB: u64 = 1 << 20;

#[test]
fn the_first_run_sends_all_the_second_what_changed_and_the_third_nothing() {
    let mut world = World::new("first-full");
    let disk = world.volume(DISK, 8);
    let files = world.filesystem(GUEST, 8);
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.sends("backup").iter().all(|send| send.base().is_none()), "{run:?}");
    for source in [&disk, &files] {
        assert_eq!(snapshots(source), ["2026-01-10-030000"]);
        assert_eq!(bookmarks(source), ["2026-01-10-030000"]);
    }
    assert_same_newest(&disk, &world.backup(DISK));
    assert_same_newest(&files, &world.backup(GUEST));

    world.write(GUEST, "second", 2);
    look::write_device(&disk, 2, 2, "changed");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.moved("backup") < 5 * MIB, "4 MiB have changed: {run:?}");
    assert_same_newest(&disk, &world.backup(DISK));
    assert_same_newest(&files, &world.backup(GUEST));

    let before = world.state();
    let run = world.run_for_a_person(DAY_3, &["--no-snapshot"]).expect_code(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "under cron nothing is said");
    assert_eq!(before, world.state());
}

#[test]
fn copies_are_read_only_and_never_mounted_shared_or_scanned() {
    let mut world = World::new("safe-copies");
    world.volume(DISK, 1);
    world.filesystem(GUEST, 1);
    world.set(DISK, "volmode=full");
    let place = format!("mountpoint={}", world.directory().join("etc").display());
    world.set(GUEST, &place);
    world.set(GUEST, "canmount=on");
    world.run(DAY_1);
    world.write(GUEST, "second", 1);
    world.run(DAY_2);
    let (disk, files, root) = (world.backup(DISK), world.backup(GUEST), world.backup_root());
    for (name, object, wanted) in [
        ("readonly", &disk, "on"),
        ("volmode", &disk, "none"),
        ("readonly", &files, "on"),
        ("canmount", &files, "noauto"),
        ("mounted", &files, "no"),
        ("mounted", &root, "no"),
        ("canmount", &root, "noauto"),
    ] {
        assert_eq!(property(name, object), wanted, "{name} of {object}");
    }
    assert_ne!(property("mountpoint", &files), property("mountpoint", &world.guest(GUEST)));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&format!("{root}/")), "{mounts}");
    assert!(!std::path::Path::new("/dev/zvol").join(&disk).exists());
}

#[test]
fn a_bookmark_is_base_enough_after_thirty_destroyed_snapshots() {
    let mut world = World::new("bookmark-base");
    let (files, disk) = (world.filesystem(GUEST, 4), world.volume(DISK, 8));
    world.run(DAY_1);
    for number in 0..30 {
        world.write(GUEST, &format!("file-{}", number % 10), 1);
        look::write_device(&disk, number % 6, 1, "changed");
        let name = format!("2026-01-10-1200{number:02}");
        zfs(&["snapshot", &format!("{files}@{name}"), &format!("{disk}@{name}")]);
    }
    for dataset in [&files, &disk] {
        zfs(&["destroy", &format!("{dataset}@2026-01-10-030000%2026-01-10-120029")]);
    }
    let run = world.run_as_planned(DAY_2, &[], 0);
    let base = Some(("bookmark".to_owned(), "2026-01-10-030000".to_owned()));
    assert!(run.sends("backup").iter().all(|send| send.base() == base), "{run:?}");
    let (changed, moved) = (16 * MIB, run.moved("backup"));
    assert!(moved * 10 < changed * 13, "{changed} bytes changed, {moved} moved");
    assert_same_newest(&files, &world.backup(GUEST));
    assert_same_newest(&disk, &world.backup(DISK));
}

#[test]
fn renamed_snapshots_are_still_the_same_ones() {
    let mut world = World::new("renamed");
    let files = world.filesystem(GUEST, 4);
    let copy = world.backup(GUEST);
    world.run(DAY_1);
    zfs(&["rename", &format!("{files}@2026-01-10-030000"), &format!("{files}@mine")]);
    let run = world.run(DAY_2);
    let base = Some(("snapshot".to_owned(), "mine".to_owned()));
    assert_eq!(run.send("backup").base(), base);
    zfs(&["rename", &format!("{copy}@2026-01-11-030000"), &format!("{copy}@theirs")]);
    let run = world.run(DAY_3);
    assert!(run.send("backup").base().is_some(), "{run:?}");
    assert!(run.moved("backup") < MIB);
    assert_eq!(snapshots(&copy), ["2026-01-10-030000", "theirs", "2026-01-12-030000"]);
}

#[test]
fn one_name_with_two_guids_is_two_snapshots() {
    let mut world = World::new("other-guid");
    let files = world.filesystem(GUEST, 1);
    let copy = world.backup(GUEST);
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
fn all_lost_bookmarks_are_made_again_for_own_snapshots_alone() {
    let mut world = World::new("no-bookmarks");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["snapshot", &format!("{files}@manual")]);
    world.run(DAY_2);
    for name in bookmarks(&files) {
        zfs(&["destroy", &format!("{files}#{name}")]);
    }
    world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(bookmarks(&files), ["2026-01-10-030000", "2026-01-11-030000", "2026-01-12-030000"]);
}

#[test]
fn a_guest_that_moved_to_another_pool_keeps_its_chain() {
    let mut world = World::new("moved");
    let (files, disk) = (world.filesystem(GUEST, 2), world.volume(DISK, 2));
    world.run(DAY_1);
    world.run(DAY_2);
    // As Proxmox VE migrates: a snapshot of its own, sent with all before it, and no bookmark.
    let other_pool = world.archive_root();
    zfs(&["create", "-p", &other_pool]);
    for dataset in [&files, &disk] {
        zfs(&["snapshot", &format!("{dataset}@__migration__")]);
        let there = format!("{other_pool}/{}", dataset.rsplit('/').next().unwrap());
        look::replicate("-R", &format!("{dataset}@__migration__"), &there);
        zfs(&["destroy", &format!("{there}@__migration__")]);
        zfs(&["destroy", "-r", dataset]);
    }
    world.policy.datasets = vec![other_pool.clone()];
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.moved("backup") < MIB, "nothing has changed: {run:?}");
    for name in [GUEST, DISK] {
        let moved = format!("{other_pool}/{name}");
        assert_eq!(bookmarks(&moved), snapshots(&moved));
        assert_eq!(guids(&world.backup(name)), guids(&moved));
        assert_same_newest(&moved, &world.backup(name));
    }
}

#[test]
fn intermediates_are_sent_one_by_one_from_a_bookmark_on() {
    let mut world = World::new("intermediates");
    world.policy.backup = "intermediates = true".to_owned();
    let (files, copy) = (world.filesystem(GUEST, 2), world.backup(GUEST));
    world.run(DAY_1);
    for hour in 4..7 {
        world.write(GUEST, "hourly", 1);
        zfs(&["snapshot", &format!("{files}@2026-01-10-0{hour}0000")]);
    }
    zfs(&["snapshot", &format!("{files}@manual")]);
    zfs(&["destroy", &format!("{files}@2026-01-10-030000")]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    let kinds: Vec<_> = run.sends("backup").iter().map(|send| send.base().unwrap().0).collect();
    assert_eq!(kinds, ["bookmark", "snapshot", "snapshot", "snapshot"]);
    let own = ["2026-01-10-040000", "2026-01-10-050000", "2026-01-10-060000", "2026-01-11-030000"];
    assert_eq!(snapshots(&copy)[1..], own);
    for name in own {
        assert_eq!(guids(&files)[name], guids(&copy)[name]);
    }
    assert_same_newest(&files, &copy);
}
