//! A source that has left its line: no bookmark from before is an incremental source, and no copy differs from its GUID.

use std::process::Command;

use crate::look::{self, all_points, assert_same_newest, bookmarks, content, guids, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::spare::SparePool;
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const DAY_4: &str = "2026-01-13T03:00:00Z";
const DAY_5: &str = "2026-01-14T03:00:00Z";

/// `zfs send OPTIONS SNAPSHOT | zfs receive OPTIONS INTO`.
fn pipe(send: &[&str], receive: &[&str]) {
    let line = "zfs send $1 | zfs receive $2";
    let status = Command::new("sh").args(["-c", line, "sh", &send.join(" "), &receive.join(" ")]).status();
    assert!(status.unwrap().success(), "zfs send {send:?} | zfs receive {receive:?}");
}

/// The replica that storage replication keeps on the other node, here beside the source root.
fn replica(world: &World) -> String {
    world.beside("replica")
}

/// Writes over 1 MiB, so that nothing but the bytes changes.
fn rewrite(volume: &str) {
    look::write_device(volume, 1, 1, volume);
}

/// A volume that is replicated at `@r1`, then changed and backed up as `@2026-01-10-030000`.
fn world(name: &str) -> World {
    let mut world = World::with_archive(name);
    let disk = world.volume(DISK, 4);
    zfs(&["snapshot", &format!("{disk}@r1")]);
    pipe(&[&format!("{disk}@r1")], &[&replica(&world)]);
    rewrite(&disk);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world
}

/// Every snapshot of the copies that the source has, too, must hold the same.
fn assert_copies_are_true(world: &World) {
    let disk = world.guest(DISK);
    let source = guids(&disk);
    for copy in [world.backup(DISK), world.archive(DISK)] {
        for (name, guid) in
            if look::exists(&copy) { guids(&copy) } else { std::collections::BTreeMap::default() }
        {
            if let Some((there, _)) = source.iter().find(|(_, known)| **known == guid) {
                let (here, there) = (format!("{disk}@{there}"), format!("{copy}@{name}"));
                assert_eq!(content(&here), content(&there), "{here} and {there}");
            }
        }
    }
}

fn doubts(run: &Run) -> bool {
    run.finds("warning", "not certain")
}

#[test]
fn a_bookmark_that_a_forced_receive_has_left_behind_is_no_base() {
    let mut world = world("lineage-forced");
    let (disk, replica) = (world.guest(DISK), replica(&world));
    look::write_device(&replica, 2, 1, "replica");
    zfs(&["snapshot", &format!("{replica}@r2")]);
    pipe(&["-i", "@r1", &format!("{replica}@r2")], &["-F", &disk]);
    assert_eq!(bookmarks(&disk), ["2026-01-10-030000"], "it outlives its snapshot");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.json().to_string().contains("vm-100-disk-0"));
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
    world.run_as_planned(DAY_3, &[], 0);
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
}

/// ZFS would take the snapshot, and the receive would destroy it and leave its bookmark.
#[test]
fn a_dataset_that_is_being_received_into_gets_no_snapshot_until_that_has_ended() {
    let mut world = world("lineage-receiving");
    let (disk, replica) = (world.guest(DISK), replica(&world));
    let other = world.filesystem("subvol-103-disk-0", 1);
    look::write_device(&replica, 2, 1, "replica");
    zfs(&["snapshot", &format!("{replica}@r2")]);
    zfs(&["rollback", &format!("{disk}@r1"), "-r"]);
    for (day, options) in [(DAY_2, &[][..]), (DAY_3, &["-s"])] {
        let before = (snapshots(&disk), bookmarks(&disk));
        let mut receive = look::begin_to_receive("@r1", &format!("{replica}@r2"), &disk, options);
        let run = world.run_with(day, &[]).expect_code(1);
        assert_eq!((snapshots(&disk), bookmarks(&disk)), before, "{run:?}");
        assert!(run.stderr.contains("a zfs receive into it is under way"), "{}", run.stderr);
        assert_same_newest(&other, &world.backup("subvol-103-disk-0"));
        drop(receive.stdin.take());
        assert!(!receive.wait().unwrap().success(), "half a stream");
    }
    // The interrupted receive stays until somebody continues or drops it, and keeps no run from its work.
    assert_ne!(property("receive_resume_token", &disk), "-");
    world.run(DAY_4);
    assert_same_newest(&disk, &world.backup(DISK));
    assert_copies_are_true(&world);
}

/// Storage replication takes zhaul's own snapshots along, with their properties, and brings them back.
#[test]
fn own_snapshots_that_replication_brings_back_prove_nothing() {
    let mut world = world("lineage-replicated");
    let (disk, replica) = (world.guest(DISK), replica(&world));
    zfs(&["destroy", "-r", &replica]);
    pipe(&["-Rp", &format!("{disk}@2026-01-10-030000")], &[&replica]);
    rewrite(&disk);
    world.run(DAY_2);
    let kept = format!("{disk}@2026-01-10-030000");
    assert_eq!(zfs(&["get", "-Ho", "source", "zhaul:lineage", &kept]), "local");
    // The guest runs on the other node, where zhaul takes its snapshots too.
    for day in ["2026-01-11-120000", "2026-01-12-000000"] {
        rewrite(&replica);
        zfs(&["snapshot", "-o", "zhaul:lineage=1 0 -", &format!("{replica}@{day}")]);
    }
    zfs(&["snapshot", &format!("{replica}@__replicate_100-0_2__")]);
    pipe(&["-Rp", "-I", "@2026-01-10-030000", &format!("{replica}@__replicate_100-0_2__")], &["-F", &disk]);
    let back = format!("{disk}@2026-01-12-000000");
    assert_eq!(zfs(&["get", "-Ho", "source", "zhaul:lineage", &back]), "received");
    assert!(bookmarks(&disk).contains(&"2026-01-11-030000".to_owned()));
    for day in [DAY_3, DAY_4] {
        world.run_as_planned(day, &[], 0);
        assert_copies_are_true(&world);
        assert_same_newest(&disk, &world.backup(DISK));
    }
}

#[test]
fn a_restore_from_the_backup_voids_the_bookmarks_of_what_it_undid() {
    let mut world = world("lineage-restored");
    let disk = world.guest(DISK);
    for day in [DAY_2, DAY_3] {
        rewrite(&disk);
        world.run(day);
    }
    let copy = world.backup(DISK);
    for name in ["2026-01-11-030000", "2026-01-12-030000"] {
        zfs(&["destroy", &format!("{disk}@{name}")]);
    }
    pipe(&["-i", "@2026-01-10-030000", &format!("{copy}@2026-01-11-030000")], &["-F", &disk]);
    rewrite(&disk);
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert!(run.actions().contains(&"destroy-bookmarks".to_owned()), "{run:?}");
    assert!(!bookmarks(&disk).contains(&"2026-01-12-030000".to_owned()), "@…12 was undone");
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
    let run = world.run_as_planned(DAY_5, &[], 0);
    assert!(!run.actions().contains(&"destroy-bookmarks".to_owned()), "{run:?}");
    assert_copies_are_true(&world);
}

/// The pool's history shows that nothing else was done to the dataset.
#[test]
fn a_snapshot_that_was_destroyed_by_hand_costs_nothing() {
    let mut world = world("lineage-by-hand");
    let disk = world.guest(DISK);
    rewrite(&disk);
    world.run(DAY_2);
    zfs(&["destroy", &format!("{disk}@2026-01-11-030000")]);
    rewrite(&disk);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(!doubts(&run), "{run:?}");
    let base = run.send("backup").base();
    assert_eq!(base, Some(("bookmark".to_owned(), "2026-01-11-030000".to_owned())));
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
}

/// The received snapshot was destroyed, too: only the pool's history shows that the bookmark is of another line.
#[test]
fn a_bookmark_of_another_line_is_no_base_though_no_newer_snapshot_shows_it() {
    let mut world = world("lineage-alone");
    let (disk, replica) = (world.guest(DISK), replica(&world));
    look::write_device(&replica, 2, 1, "replica");
    zfs(&["snapshot", &format!("{replica}@r2")]);
    pipe(&["-i", "@r1", &format!("{replica}@r2")], &["-F", &disk]);
    let renamed = world.beside("renamed");
    zfs(&["rename", &disk, &renamed]);
    zfs(&["destroy", &format!("{renamed}@r1%r2")]);
    zfs(&["rename", &renamed, &disk]);
    assert_eq!(all_points(&disk).into_keys().collect::<Vec<_>>(), ["#2026-01-10-030000"]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(doubts(&run), "{run:?}");
    assert_eq!(run.send("backup").base(), None, "{run:?}");
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
}

/// Nothing else is left after a clean-up by hand, or an outage.
#[test]
fn a_bookmark_alone_is_a_base_where_the_pools_history_proves_it() {
    let mut world = world("lineage-only");
    let disk = world.guest(DISK);
    zfs(&["destroy", &format!("{disk}@r1%2026-01-10-030000")]);
    rewrite(&disk);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.send("backup").base(), Some(("bookmark".to_owned(), "2026-01-10-030000".to_owned())));
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
}

#[test]
fn a_promoted_clone_in_the_place_of_its_origin_keeps_what_is_certain() {
    let mut world = world("lineage-promoted");
    let (disk, old) = (world.guest(DISK), world.beside("old"));
    rewrite(&disk);
    world.run(DAY_2);
    let clone = world.beside("clone");
    zfs(&["clone", &format!("{disk}@2026-01-10-030000"), &clone]);
    rewrite(&clone);
    zfs(&["promote", &clone]);
    zfs(&["rename", &disk, &old]);
    zfs(&["rename", &clone, &disk]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(run.send("backup").base(), Some(("snapshot".to_owned(), "2026-01-10-030000".to_owned())));
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
    // And back again.
    zfs(&["promote", &old]);
    zfs(&["rename", &disk, &clone]);
    zfs(&["rename", &old, &disk]);
    rewrite(&disk);
    world.run_as_planned(DAY_4, &[], 0);
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.backup(DISK));
}

#[test]
fn a_chain_of_pruned_snapshots_proves_its_bookmarks_for_the_archive() {
    let mut world = world("lineage-chain");
    world.policy.source = "keep-last = 1".to_owned();
    let disk = world.guest(DISK);
    for day in [DAY_2, DAY_3, DAY_4] {
        rewrite(&disk);
        world.run(day);
    }
    assert_eq!(snapshots(&disk), ["r1", "2026-01-13-030000"]);
    assert!(property("zhaul:lineage", &format!("{disk}@2026-01-13-030000")).starts_with("1 0 -"));
    assert_eq!(property("zhaul:lineage", &disk), "1");
    rewrite(&disk);
    let run = world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    let base = Some(("bookmark".to_owned(), "2026-01-10-030000".to_owned()));
    assert_eq!(run.send("archive").base(), base, "{run:?}");
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.archive(DISK));
}

#[test]
fn bookmarks_from_before_proofs_are_accepted_once() {
    let mut world = World::new("lineage-before");
    let disk = world.volume(DISK, 4);
    let by_hand = |name: &str| {
        rewrite(&disk);
        zfs(&["snapshot", &format!("{disk}@{name}")]);
        zfs(&["bookmark", &format!("{disk}@{name}"), &format!("{disk}#{name}")]);
    };
    by_hand("2026-01-08-030000");
    let copy = world.backup(DISK);
    zfs(&["create", "-p", "-u", &world.backup_root()]);
    pipe(
        &["-Lec", &format!("{disk}@2026-01-08-030000")],
        &["-u", "-o", "readonly=on", "-o", "volmode=none", &copy],
    );
    by_hand("2026-01-09-030000");
    zfs(&["destroy", &format!("{disk}@2026-01-08-030000")]);
    let run = world.run_as_planned(DAY_1, &[], 0);
    let base = Some(("bookmark".to_owned(), "2026-01-08-030000".to_owned()));
    assert_eq!(run.send("backup").base(), base, "{run:?}");
    assert_same_newest(&disk, &copy);
    let points = all_points(&disk);
    assert!(points.contains_key("#2026-01-08-030000"));
    world.run(DAY_2);
    assert_same_newest(&disk, &copy);
}

/// Before zhaul marked its snapshots: storage replication brought another line, and has destroyed the snapshot that showed it.
#[test]
fn bookmarks_from_before_proofs_of_a_line_that_replication_has_left_are_not_accepted() {
    let mut world = World::with_archive("lineage-replaced");
    let disk = world.volume(DISK, 4);
    let (replica, archive, backup) = (replica(&world), world.archive(DISK), world.backup(DISK));
    let by_hand = |name: &str| {
        rewrite(&disk);
        zfs(&["snapshot", &format!("{disk}@{name}")]);
        zfs(&["bookmark", &format!("{disk}@{name}"), &format!("{disk}#{name}")]);
    };
    zfs(&["snapshot", &format!("{disk}@__replicate_1__")]);
    pipe(&[&format!("{disk}@__replicate_1__")], &[&replica]);
    by_hand("2026-01-08-030000");
    for (root, copy) in [(world.archive_root(), &archive), (world.backup_root(), &backup)] {
        zfs(&["create", "-p", "-u", &root]);
        pipe(
            &["-Lec", &format!("{disk}@2026-01-08-030000")],
            &["-u", "-o", "readonly=on", "-o", "volmode=none", copy],
        );
    }
    look::write_device(&replica, 2, 1, "replica");
    zfs(&["snapshot", &format!("{replica}@__replicate_2__")]);
    pipe(&["-i", "@__replicate_1__", &format!("{replica}@__replicate_2__")], &["-F", &disk]);
    by_hand("2026-01-15-030000");
    zfs(&["snapshot", &format!("{disk}@__replicate_3__")]);
    zfs(&["destroy", &format!("{disk}@__replicate_1__%__replicate_2__")]);
    let run = world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    assert!(doubts(&run), "{run:?}");
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &backup);
    assert_same_newest(&disk, &archive);
}

/// A bookmark can be copied from another one, under any name.
#[test]
fn a_bookmark_of_another_line_that_comes_back_under_its_name_is_no_base() {
    let mut world = world("lineage-copied");
    let (disk, replica) = (world.guest(DISK), replica(&world));
    let own = format!("{disk}#2026-01-10-030000");
    zfs(&["bookmark", &own, &format!("{disk}#keep")]);
    look::write_device(&replica, 2, 1, "replica");
    zfs(&["snapshot", &format!("{replica}@r2")]);
    pipe(&["-i", "@r1", &format!("{replica}@r2")], &["-F", &disk]);
    zfs(&["destroy", &own]);
    world.run_as_planned(DAY_2, &[], 0);
    zfs(&["bookmark", &format!("{disk}#keep"), &own]);
    rewrite(&disk);
    world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    assert_copies_are_true(&world);
    assert_same_newest(&disk, &world.archive(DISK));
}

/// The pool keeps the beginning of its history for ever, but not the entries after that.
#[test]
fn a_history_that_was_overwritten_proves_nothing() {
    let pool = SparePool::new("lineage-wrapped", 128);
    let mut world = World::new("lineage-wrapped");
    let root = format!("{}/data", pool.name);
    let (files, replica) = (format!("{root}/{GUEST}"), world.beside("replica"));
    world.policy.datasets = vec![root];
    zfs(&["create", "-p", &files]);
    look::write_file(&files, "first", 1);
    zfs(&["snapshot", &format!("{files}@r1")]);
    pipe(&[&format!("{files}@r1")], &[&replica]);
    look::write_file(&files, "second", 1);
    world.run(DAY_1);
    zfs(&["snapshot", &format!("{replica}@r2")]);
    pipe(&["-i", "@r1", &format!("{replica}@r2")], &["-F", &files]);
    zfs(&["destroy", &format!("{files}@r1%r2")]);
    for number in 0..60 {
        zfs(&["set", &format!("x:y={number}{}", "x".repeat(6000)), &pool.name]);
    }
    let history = Command::new("zpool").args(["history", "-i", &pool.name]).output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&history).contains("clone swap"), "it was overwritten");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(doubts(&run), "{run:?}");
    assert_same_newest(&files, &world.backup(GUEST));
}
