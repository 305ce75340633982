//! Single sentences of the policy that no other test shows: see `tests/policy_table.md`.

use std::fs;
use std::process::Command;

use crate::look::{self, assert_same_newest, bookmarks, guids, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const OTHER: &str = "subvol-102-disk-0";

#[test]
fn with_no_guests_known_all_datasets_of_a_pool_are_of_one_moment() {
    let mut world = World::new("one-moment");
    for name in [GUEST, OTHER, "vm-100-disk-0"] {
        world.filesystem(name, 1);
    }
    let run = world.run(DAY_1);
    assert_eq!(run.steps("snapshot").len(), 1, "{run:?}");
    let name = "2026-01-10-030000";
    assert_eq!(world.txg(GUEST, name), world.txg(OTHER, name));
    assert_eq!(world.txg(GUEST, name), world.txg("vm-100-disk-0", name));
}

#[test]
fn a_backup_that_is_to_stop_removes_nothing_where_it_has_diverged_and_its_base_outlives_the_rules() {
    let mut world = World::new("stop");
    world.policy.backup = "on-divergence = \"stop\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    let other = world.filesystem(OTHER, 1);
    world.run(DAY_1);
    world.write(GUEST, "bad", 1);
    world.run(DAY_2);
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    let before = guids(&world.backup(GUEST));
    // One snapshot would be enough for the rule, and the newer one is not the base.
    world.policy.backup.push_str("\nkeep-last = 1");
    let run = world.run_as_planned(DAY_3, &[], 3);
    assert!(run.finds("blocked", "after the newest common snapshot @2026-01-10-030000"), "{run:?}");
    assert!(run.finds("blocked", "or set on-divergence = \"keep\""), "{run:?}");
    assert_eq!(guids(&world.backup(GUEST)), before);
    assert_same_newest(&other, &world.backup(OTHER));
    zfs(&["destroy", &format!("{}@2026-01-11-030000", world.backup(GUEST))]);
    zfs(&["rollback", &format!("{}@2026-01-10-030000", world.backup(GUEST))]);
    world.run_as_planned("2026-01-13T03:00:00Z", &[], 0);
    assert_same_newest(&files, &world.backup(GUEST));
    assert_eq!(snapshots(&world.backup(GUEST)), ["2026-01-13-030000"]);
}

#[test]
fn a_backup_that_is_to_stop_leaves_a_recreated_guest_to_a_person() {
    let mut world = World::new("stop-recreated");
    world.policy.backup = "on-no-base = \"stop\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    world.filesystem(GUEST, 1);
    let before = guids(&world.backup(GUEST));
    let run = world.run_as_planned(DAY_2, &[], 3);
    assert!(run.finds("blocked", "no-base"), "{run:?}");
    assert!(run.finds("blocked", "or set on-no-base = \"supersede\""), "{run:?}");
    assert_eq!(guids(&world.backup(GUEST)), before);
}

#[test]
fn what_was_superseded_stays_ninety_days_unless_the_policy_says_otherwise() {
    let mut world = World::new("ninety-days");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    world.filesystem(GUEST, 1);
    world.run("2026-01-11T03:00:00Z");
    let aside = look::set_aside(&world.backup(GUEST));
    world.run(&look::days_after(&aside, 89));
    assert_eq!(snapshots(&aside), ["2026-01-10-030000"], "89 days");
    world.run(&look::days_after(&aside, 91));
    assert!(!look::exists(&aside), "91 days");
}

#[test]
fn an_older_month_on_the_archive_shows_that_a_first_was_missed() {
    let mut world = World::archive_only("older-month");
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    // All own points are lost but for a foreign bookmark: only the archive shows that the policy was alive before March.
    zfs(&["bookmark", &format!("{files}@2026-02-01-030000"), &format!("{files}#mine")]);
    for name in ["2026-01-10-030000", "2026-02-01-030000"] {
        zfs(&["destroy", &format!("{files}@{name}")]);
        zfs(&["destroy", &format!("{files}#{name}")]);
    }
    let run = world.run_as_planned("2026-03-05T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Feb", "2026-Mar"]);
    assert_eq!(run.send("archive").base(), Some(("bookmark".to_owned(), "mine".to_owned())));
    assert_same_newest(&files, &world.archive(GUEST));
}

#[test]
fn without_catching_up_a_month_is_archived_on_its_first_or_not_at_all() {
    let mut world = World::archive_only("strictly");
    world.policy.archive = "catch-up = false".to_owned();
    world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    world.run("2026-01-10T03:00:00Z");
    world.run_as_planned("2026-02-02T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), Vec::<String>::new());
    world.run_as_planned("2026-03-01T03:00:00Z", &[], 0);
    world.run("2026-03-01T23:59:00Z");
    world.run("2026-03-31T03:00:00Z");
    world.run("2026-04-02T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Mar"]);
}

#[test]
fn a_recreated_guest_gets_a_new_line_on_an_archive_only_where_it_may_branch_and_the_old_one_stays() {
    let mut world = World::archive_only("archive-recreated");
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    let archive = world.archive(GUEST);
    let old = guids(&archive);
    zfs(&["destroy", "-r", &files]);
    world.filesystem(GUEST, 2);
    world.policy.archive = "on-divergence = \"stop\"".to_owned();
    let run = world.run_as_planned("2026-03-01T03:00:00Z", &[], 3);
    assert!(
        run.finds("blocked", "has diverged from the source: the source knows none of its snapshots"),
        "{run:?}"
    );
    assert!(run.finds("blocked", "set on-divergence = \"keep\""), "{run:?}");
    assert_eq!(guids(&archive), old);
    world.policy.archive = "on-divergence = \"branch\"".to_owned();
    let run = world.run_as_planned("2026-03-02T03:00:00Z", &[], 0);
    assert_eq!(run.send("archive").base(), None, "a full line");
    assert_eq!(guids(&look::set_aside(&archive)), old);
    assert_eq!(snapshots(&archive), ["2026-Mar"]);
    assert_eq!(guids(&archive)["2026-Mar"], guids(&files)["2026-03-01-030000"]);
}

#[test]
fn the_last_complete_snapshot_stays_on_both_sides_however_old_it_is() {
    let mut world = World::new("last-one");
    world.policy.source = "keep-hourly = 1".to_owned();
    world.policy.backup = "keep-daily = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let run = world.run_with("2029-01-10T03:00:00Z", &["--no-snapshot"]).expect_code(0);
    assert_eq!(run.actions(), Vec::<String>::new());
    assert_eq!(snapshots(&files), ["2026-01-10-030000"]);
    assert_eq!(snapshots(&world.backup(GUEST)), ["2026-01-10-030000"]);
}

#[test]
fn a_container_on_the_way_that_has_data_is_neither_refused_nor_touched() {
    let mut world = World::new("full-container");
    zfs(&["create", &world.guest("group")]);
    let files = world.filesystem("group/ct", 1);
    world.set("group", "zhaul:backup=off");
    world.set("group/ct", "zhaul:backup=on");
    let (root, group) = (world.backup_root(), world.backup("group"));
    zfs(&["create", "-p", &group]);
    for container in [&root, &group] {
        look::write_file(container, "precious", 1);
    }
    let shown = |dataset: &str| zfs(&["get", "-Hp", "guid,createtxg,mounted,readonly,canmount", dataset]);
    let before = (shown(&root), shown(&group));
    world.run_as_planned(DAY_1, &[], 0);
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&files, &world.backup("group/ct"));
    assert_eq!((shown(&root), shown(&group)), before);
    for container in [&root, &group] {
        let file = format!("{}/precious", property("mountpoint", container));
        assert_eq!(fs::metadata(file).unwrap().len(), 1 << 20);
        assert_eq!(snapshots(container), Vec::<String>::new());
    }
}

/// `-L -c`, run after run: large blocks arrive large, and compressed blocks are sent and stored compressed.
#[test]
fn large_and_compressed_blocks_are_sent_as_stored_also_from_a_bookmark_on() {
    let mut world = World::new("held-flags");
    let files = world.filesystem(GUEST, 1);
    world.set(GUEST, "recordsize=1M");
    world.set(GUEST, "compression=lz4");
    let copy = world.backup(GUEST);
    for (day, name) in [(DAY_1, "first-text"), (DAY_2, "second-text")] {
        // Each block begins with noise and is otherwise text: lz4 makes some 4 KiB of 1 MiB.
        let mut block = vec![b'x'; 1 << 20];
        for (place, byte) in block.iter_mut().take(256).enumerate() {
            *byte = u8::try_from(place).unwrap();
        }
        let mountpoint = property("mountpoint", &files);
        fs::write(format!("{mountpoint}/{name}"), block.repeat(16)).unwrap();
        let run = world.run(day);
        assert!(run.moved("backup") < 3 << 20, "16 MiB of text: {run:?}");
        zfs(&["destroy", &format!("{files}@{}", snapshots(&files)[0])]);
    }
    assert!(property("referenced", &copy).parse::<u64>().unwrap() < 4 << 20);
    let (place, newest) = (tempfile::tempdir().unwrap(), format!("{copy}@2026-01-11-030000"));
    let look = "mount -t zfs -o ro \"$1\" \"$2\" && stat -c %o \"$2\"/*-text; umount \"$2\"";
    let seen = Command::new("sh").args(["-c", look, "sh", &newest]).arg(place.path()).output().unwrap();
    assert_eq!(String::from_utf8(seen.stdout).unwrap(), "1048576\n1048576\n", "blocks of 1 MiB");
    assert_eq!(bookmarks(&files).len(), 2);
}

/// A bookmark comes before anything else: also where nothing that follows can be done.
#[test]
fn each_snapshot_has_its_bookmark_though_all_that_follows_fails() {
    let mut world = World::with_archive("bookmark-first");
    let files = world.filesystem(GUEST, 1);
    world.policy.backup_at = Some(("offline".to_owned(), world.backup_root()));
    world.policy.archive_host = Some("offline".to_owned());
    for (count, day) in [DAY_1, DAY_2].iter().enumerate() {
        let run = world.run_with(day, &[]).expect_code(1);
        assert_eq!(run.actions(), ["snapshot", "bookmark"], "{run:?}");
        assert_eq!(bookmarks(&files).len(), count + 1);
        assert_eq!(bookmarks(&files), snapshots(&files));
    }
}
