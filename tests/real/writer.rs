//! Who writes a copy, whether a copy is safe, and where it goes when its dataset is renamed.

use std::process::Command;

use crate::look::{self, assert_same_newest, guids, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const DAY_4: &str = "2026-01-13T03:00:00Z";

/// Another world's backup shares this one's root.
fn share_root(world: &World, other: &mut World) {
    other.policy.backup_at = Some(("nfs8".to_owned(), world.backup_root()));
}

#[test]
fn a_copy_is_marked_with_its_writer_and_another_source_of_its_name_is_refused() {
    let mut world = World::new("writer-one");
    let mut other = World::new("writer-two");
    share_root(&world, &mut other);
    let files = world.filesystem(GUEST, 1);
    other.filesystem(GUEST, 1);
    world.run(DAY_1);
    let copy = world.backup(GUEST);
    let writer = property("zhaul:writer", &copy);
    assert!(writer.starts_with(&format!("{} ", property("guid", &files))), "{writer}");
    let before = guids(&copy);
    let run = other.run_with(DAY_2, &[]).expect_code(3);
    assert!(run.finds("blocked", &files), "the other source is named: {run:?}");
    assert_eq!(guids(&copy), before);
    assert_eq!(look::all_set_aside(&copy), Vec::<String>::new());
    world.run(DAY_2);
    assert_same_newest(&files, &copy);
}

#[test]
fn a_replica_that_has_the_newest_snapshot_takes_the_copy_over_and_one_that_lags_does_not() {
    let mut world = World::new("writer-replica");
    let mut other = World::new("writer-failover");
    share_root(&world, &mut other);
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let replica = other.guest(GUEST);
    look::replicate("-p", &format!("{files}@2026-01-10-030000"), &replica);
    world.write(GUEST, "b", 1);
    world.run(DAY_2);
    let copy = world.backup(GUEST);
    let before = guids(&copy);
    let run = other.run_with(DAY_3, &[]).expect_code(3);
    assert!(run.finds("blocked", "other-writer"), "{run:?}");
    assert_eq!(guids(&copy), before, "newer points of another writer are not diverged");
    // Replicated up to date, and now the guest runs there.
    zfs(&["rollback", "-r", &format!("{replica}@2026-01-10-030000")]);
    let (from, to) = (format!("{files}@2026-01-10-030000"), format!("{files}@2026-01-11-030000"));
    let pipe = format!("zfs send -i '{from}' '{to}' | zfs receive -u '{replica}'");
    assert!(Command::new("sh").args(["-c", &pipe]).status().unwrap().success());
    let run = other.run_with(DAY_4, &[]).expect_code(0);
    assert!(run.finds("warning", "taken-over") && run.steps("claim").len() == 1, "{run:?}");
    assert_same_newest(&replica, &copy);
    assert!(property("zhaul:writer", &copy).starts_with(&property("guid", &replica)));
    world.run_with(DAY_4, &[]).expect_code(3);
}

#[test]
fn the_rules_of_one_source_never_prune_the_copy_of_another_one() {
    let mut world = World::new("writer-prune");
    let mut other = World::new("writer-prune-other");
    share_root(&world, &mut other);
    other.policy.backup = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    for day in [DAY_1, DAY_2, DAY_3] {
        world.run(day);
    }
    // The other source knows each of them, the newer ones by their bookmarks alone: it is not the one that continues.
    let replica = other.guest(GUEST);
    look::replicate("-R", &format!("{files}@2026-01-12-030000"), &replica);
    for day in ["2026-01-11-030000", "2026-01-12-030000"] {
        zfs(&["bookmark", &format!("{replica}@{day}"), &format!("{replica}#{day}")]);
        zfs(&["destroy", &format!("{replica}@{day}")]);
    }
    let before = guids(&world.backup(GUEST));
    let run = other.run_as_planned(DAY_4, &["--no-snapshot"], 3);
    assert!(run.finds("blocked", "other-writer"), "{run:?}");
    assert_eq!(guids(&world.backup(GUEST)), before);
}

#[test]
fn a_copy_without_a_mark_that_is_ahead_of_its_source_waits_for_a_person() {
    let mut world = World::new("writer-unclaimed");
    let mut other = World::new("writer-unclaimed-other");
    share_root(&world, &mut other);
    other.policy.backup = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let replica = other.guest(GUEST);
    look::replicate("-p", &format!("{files}@2026-01-10-030000"), &replica);
    world.write(GUEST, "b", 1);
    world.run(DAY_2);
    let copy = world.backup(GUEST);
    zfs(&["inherit", "zhaul:writer", &copy]);
    let before = guids(&copy);
    let run = other.run_as_planned(DAY_3, &[], 3);
    assert!(run.finds("blocked", "unclaimed-copy"), "it may be the copy of the one that is ahead: {run:?}");
    assert_eq!(guids(&copy), before);
    // The advised command makes it the other source's, and loses nothing.
    let mark = format!("zhaul:writer={} pve0:{replica}", property("guid", &replica));
    assert!(run.finds("blocked", &format!("zfs set '{mark}' {copy}")), "{run:?}");
    zfs(&["set", &mark, &copy]);
    other.run_as_planned(DAY_4, &[], 0);
    assert_same_newest(&replica, &copy);
    assert_eq!(guids(&look::set_aside(&copy))["2026-01-11-030000"], before["2026-01-11-030000"]);
}

#[test]
fn a_copy_of_an_earlier_program_is_claimed_and_made_safe() {
    let mut world = World::new("writer-claim");
    world.filesystem(GUEST, 1);
    let disk = world.volume(DISK, 1);
    world.run(DAY_1);
    let (copy, volume) = (world.backup(GUEST), world.backup(DISK));
    for (dataset, setting) in [(&copy, "canmount=on"), (&volume, "volmode=default")] {
        zfs(&["set", setting, dataset]);
        zfs(&["set", "readonly=off", dataset]);
        zfs(&["inherit", "zhaul:writer", dataset]);
    }
    // The volume has a device now, which udev opens for a moment: an earlier program's has had it for long.
    assert!(Command::new("udevadm").arg("settle").status().unwrap().success());
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.steps("claim").len(), 2, "{run:?}");
    assert_eq!((property("readonly", &copy), property("canmount", &copy)), ("on".into(), "noauto".into()));
    assert_eq!((property("readonly", &volume), property("volmode", &volume)), ("on".into(), "none".into()));
    assert!(property("zhaul:writer", &volume).ends_with(&format!(":{disk}")));
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.steps("claim").is_empty(), "{run:?}");
}

#[test]
fn a_copy_that_somebody_made_unsafe_is_named_with_the_line_that_mends_it() {
    let mut world = World::new("writer-unsafe");
    world.filesystem(GUEST, 1);
    world.volume(DISK, 1);
    world.run(DAY_1);
    let (copy, volume) = (world.backup(GUEST), world.backup(DISK));
    zfs(&["set", "readonly=off", &copy]);
    zfs(&["set", "volmode=dev", &volume]);
    for day in [DAY_2, DAY_3] {
        let run = world.run_as_planned(day, &[], 1);
        assert!(run.finds("failed", &format!("zfs set readonly=on {copy}")), "{run:?}");
        assert!(run.finds("failed", &format!("zfs set volmode=none {volume}")), "{run:?}");
        assert_same_newest(&world.guest(GUEST), &copy);
    }
    zfs(&["set", "readonly=on", &copy]);
    zfs(&["set", "volmode=none", &volume]);
    world.run_as_planned(DAY_4, &[], 0);
}

#[test]
fn a_promoted_clone_of_a_copy_is_healed_by_zfs_promote() {
    let mut world = World::with_archive("writer-promoted");
    world.filesystem(GUEST, 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    for copy in [world.backup(GUEST), world.archive(GUEST)] {
        let newest = snapshots(&copy).pop().unwrap();
        let clone = format!("{}-test", copy.rsplit_once('/').unwrap().0);
        zfs(&["clone", &format!("{copy}@{newest}"), &clone]);
        zfs(&["promote", &clone]);
        let run = world.run_with(DAY_2, &["--archive"]).expect_code(3);
        let next = format!("zfs promote {copy}");
        assert!(run.finds("blocked", "promoted-away") && run.finds("blocked", &next), "{run:?}");
        assert_eq!(snapshots(&clone).last(), Some(&newest));
        zfs(&["promote", &copy]);
        zfs(&["destroy", &clone]);
    }
    world.run_with(DAY_3, &["--archive"]).expect_code(0);
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    assert_same_newest(&world.guest(GUEST), &world.archive(GUEST));
}

#[test]
fn a_copy_follows_its_dataset_to_a_new_name() {
    let mut world = World::with_archive("writer-renamed");
    let files = world.filesystem(GUEST, 1);
    world.filesystem("subvol-102-disk-0", 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    let renamed = world.guest("subvol-201-disk-0");
    zfs(&["rename", &files, &renamed]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.finds("warning", "renamed-at-source"), "it is reported: {run:?}");
    assert!(!look::exists(&world.backup(GUEST)));
    assert_eq!(snapshots(&world.backup("subvol-201-disk-0")).len(), 2, "not sent in full");
    assert_same_newest(&renamed, &world.backup("subvol-201-disk-0"));
    assert!(run.finds("note", &world.archive(GUEST)), "and where the archive is: {run:?}");
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Jan-10"]);
    // A new guest of the old name gets a new copy.
    world.filesystem(GUEST, 1);
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&files, &world.backup(GUEST));
    assert_same_newest(&renamed, &world.backup("subvol-201-disk-0"));
}

#[test]
fn a_copy_follows_also_a_dataset_that_was_named_like_a_set_aside_lineage() {
    let mut world = World::new("writer-named-aside");
    let files = world.filesystem("subvol-101-disk-0.superseded-2025-09-01-030000", 1);
    world.run(DAY_1);
    // A mark that is of another dataset counts for nothing.
    for (name, day) in [("subvol-201-disk-0", DAY_2), ("subvol-202-disk-0", DAY_3)] {
        let renamed = world.guest(name);
        let from = look::datasets(&world.source()).pop().unwrap();
        zfs(&["rename", &from, &renamed]);
        let run = world.run_as_planned(day, &[], 0);
        assert!(run.finds("warning", "renamed-at-source"), "it is reported: {run:?}");
        assert!(snapshots(&world.backup(name)).len() > 1, "not sent in full: {run:?}");
        let copy = world.backup(name);
        let mark = format!(
            "{{\"version\":1,\"done\":true,\"of\":\"{copy}\",\"name\":\"{copy}-x\",\"guid\":\"1\",\
             \"at\":\"2020-01-01T00:00:00Z\",\"cause\":\"diverged\",\"base\":null,\"writer\":\"1\"}}"
        );
        zfs(&["set", &format!("zhaul:set-aside={mark}"), &copy]);
    }
    assert!(!look::exists(&files));
}

/// A world with three guests, backed up once, and what each is called.
fn three(name: &str) -> (World, [String; 3]) {
    let mut world = World::with_archive(name);
    let names = ["subvol-101-disk-0", "subvol-102-disk-0", "vm-103-disk-0"].map(str::to_owned);
    world.filesystem(&names[0], 6);
    world.filesystem(&names[1], 6);
    world.volume(&names[2], 6);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    (world, names)
}

/// The guests of these names take each other's, the last one the first's.
fn rotate(world: &World, names: &[&String]) {
    let aside = world.guest("rotated");
    zfs(&["rename", &world.guest(names[0]), &aside]);
    for pair in names.windows(2) {
        zfs(&["rename", &world.guest(pair[1]), &world.guest(pair[0])]);
    }
    zfs(&["rename", &aside, &world.guest(names[names.len() - 1])]);
}

fn assert_increments_only(world: &World, run: &Run, names: &[String]) {
    assert!(run.moved("backup") < 1 << 20, "{run:?}");
    for name in names {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    assert!(look::datasets(&world.backup_root()).iter().all(|copy| !copy.contains(".renaming")), "{run:?}");
}

#[test]
fn copies_follow_datasets_that_have_changed_their_names() {
    let (mut world, names) = three("writer-swapped");
    let [one, two, three] = &names;
    rotate(&world, &[one, two]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(run.steps("rename-dataset").len(), 3, "{run:?}");
    assert_increments_only(&world, &run, &names);
    rotate(&world, &[one, two, three]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(run.steps("rename-dataset").len(), 4, "{run:?}");
    assert_increments_only(&world, &run, &names);
}

#[test]
fn a_copy_that_was_left_between_two_names_is_found_again() {
    let (mut world, names) = three("writer-swap-killed");
    rotate(&world, &[&names[0], &names[1]]);
    // As a run leaves them that was killed after its first rename, and after its second one.
    let copy = world.backup(&names[0]);
    zfs(&["rename", &copy, &format!("{copy}.renaming")]);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_increments_only(&world, &run, &names);
    rotate(&world, &[&names[0], &names[1]]);
    zfs(&["rename", &copy, &format!("{copy}.renaming")]);
    zfs(&["rename", &world.backup(&names[1]), &copy]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_increments_only(&world, &run, &names);
}

#[test]
fn a_copy_follows_also_where_a_new_dataset_has_the_old_name() {
    let (mut world, mut names) = three("writer-reused");
    zfs(&["rename", &world.guest(&names[0]), &world.guest("subvol-201-disk-0")]);
    names[0] = "subvol-201-disk-0".to_owned();
    let new = world.filesystem("subvol-101-disk-0", 0);
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert_increments_only(&world, &run, &names);
    assert_same_newest(&new, &world.backup("subvol-101-disk-0"));
    assert!(run.steps("set-aside").is_empty(), "{run:?}");
}
