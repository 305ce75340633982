//! `zhaul verify --drill`: a guest is restored from its copies, compared, opened and destroyed again, on real pools.

use std::process::{Command, Stdio};

use crate::look;
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const DISK: &str = "vm-100-disk-0";
const SECOND: &str = "vm-100-disk-1";
const FILES: &str = "subvol-101-disk-0";
const POINT_2: &str = "2026-01-11-030000";

fn drill(world: &World, clock: &str, words: &[&str], code: i32) -> Run {
    Run::of(command(world, clock, &[&["verify", "--drill"], words].concat())).expect_code(code)
}

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

/// Everything on the source pool that belongs to the world.
fn here(world: &World) -> String {
    zfs(&["list", "-Hp", "-r", "-t", "all", "-o", "name,guid", &world.source()])
}

/// A world with a machine whose disk has ext4, one with random data, and a container.
fn world(name: &str) -> World {
    let mut world = World::with_archive(name);
    let disk = world.guest(DISK);
    zfs(&["create", "-s", "-V", "64M", &disk]);
    look::write_device(&disk, 0, 1, "appears");
    sh(&format!("mkfs.ext4 -q -F /dev/zvol/{disk}"));
    world.volume(SECOND, 8);
    world.filesystem(FILES, 6);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    look::write_device(&world.guest(SECOND), 2, 3, "again");
    world.run(DAY_2);
    world
}

#[test]
fn a_guest_is_restored_compared_opened_and_destroyed_again_and_its_copies_say_so() {
    let world = world("drill");
    let before = here(&world);
    let run = drill(&world, DAY_3, &["100"], 0).stdout;
    for line in [
        format!("@{POINT_2} from backup: "),
        format!("{}: the same as the copy, ", world.guest(DISK)),
        "whole disk, ext4: opened, and consistent".to_owned(),
        "whole disk, nothing known: not opened".to_owned(),
        "everything was restored, compared and destroyed again".to_owned(),
    ] {
        assert!(run.contains(&line), "{line}: {run}");
    }
    assert_eq!(here(&world), before);
    for name in [DISK, SECOND] {
        let copy = format!("{}@{POINT_2}", world.backup(name));
        assert_eq!(property("zhaul:verified", &copy), "2026-01-12T03:00:00Z drill");
    }
    let listed = Run::of(command(&world, DAY_3, &["list", "100"])).expect_code(0).stdout;
    assert!(listed.contains(&format!("drill from backup: @{POINT_2}, 0.0 s ago")), "{listed}");
    // A container, from the archive.
    let run = drill(&world, DAY_3, &[&world.guest(FILES), "--target", "archive"], 0).stdout;
    assert!(run.contains("ZFS file system: opened, and consistent"), "{run}");
    assert_eq!(
        property("zhaul:verified", &format!("{}@2026-Jan-10", world.archive(FILES))),
        "2026-01-12T03:00:00Z drill"
    );
    assert_eq!(here(&world), before);
}

#[test]
fn a_damaged_file_system_and_a_lost_disk_are_named() {
    let mut world = world("drill-bad");
    // The superblock stays; the group descriptors and inode tables are overwritten in the guest.
    let disk = world.guest(DISK);
    sh(&format!("dd if=/dev/urandom of=/dev/zvol/{disk} bs=64k seek=1 count=60 conv=notrunc status=none"));
    look::sync(&disk);
    world.run(DAY_3);
    let before = here(&world);
    let run = drill(&world, DAY_3, &["100"], 1).stdout;
    assert!(run.contains("file-system") || run.contains("whole disk, ext4: damaged"), "{run}");
    assert!(run.contains("e2fsck"), "{run}");
    assert_eq!(here(&world), before);
    assert_eq!(property("zhaul:verified", &format!("{}@2026-01-12-030000", world.backup(DISK))), "-");
    // A disk that the target has lost.
    zfs(&["destroy", "-r", &world.backup(SECOND)]);
    let run = drill(&world, DAY_3, &["100"], 3);
    assert!(run.stderr.contains(&format!("lacks {}", world.guest(SECOND))), "{run:?}");
    assert!(!run.stderr.contains("zhaul restore"), "a drill's advice is no real restore: {run:?}");
    let disk = world.guest(DISK);
    assert_eq!(run.next_words(), ["verify", "--drill", &disk, "--target", "backup"]);
    let run = drill(&world, DAY_3, &[&disk, "--target", "backup"], 1).stdout;
    assert!(run.contains("whole disk, ext4: damaged"), "{run}");
    let run = drill(&world, DAY_3, &["999"], 2);
    assert!(run.stderr.contains("guest 999"), "{run:?}");
}

#[test]
fn an_interrupted_drill_is_continued_or_begun_again_and_never_stops_a_run() {
    let mut world = world("drill-killed");
    let before = here(&world);
    let mut slow = command(&world, DAY_3, &["verify", "--drill", "100"]);
    let mut child = slow.spawn().unwrap();
    let place = format!("{}/zhaul-incoming", world.source());
    let has_begun = || Command::new("zfs").args(["list", &place]).output().unwrap().status.success();
    while !has_begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.wait_for_quiet();
    // The run leaves it out, and brings a newer point.
    let ran = world.run_with("2026-01-13T03:00:00Z", &[]).expect_code(0);
    assert!(!ran.stderr.contains("zhaul-incoming"), "{ran:?}");
    drill(&world, "2026-01-13T04:00:00Z", &["100"], 0);
    assert!(!has_begun(), "{}", here(&world));
    assert!(here(&world).lines().count() > before.lines().count(), "only snapshots and bookmarks were added");
}

#[test]
fn what_a_killed_drill_has_left_mounted_odd_names_and_thick_storages_stop_no_drill() {
    let mut world = World::new("drill-odd");
    let configs = world.guest_configs(&[("qemu-server/100.conf", "scsi0: z:vm-100-disk-0\n")]);
    world.policy.source = format!("guest-config = \"{}\"\n", configs.display());
    let thick = world.guest(DISK);
    zfs(&["create", "-s", "-V", "200G", &thick]);
    look::write_device(&thick, 0, 1, "thick");
    world.filesystem(FILES, 2);
    zfs(&["create", "-s", "-V", "16M", &world.guest("my disk")]);
    world.run(DAY_1);
    drill(&world, DAY_2, &["100"], 0);
    drill(&world, DAY_2, &[&world.guest("my disk")], 0);
    let incoming = format!("{}/zhaul-incoming/zhaul-drill-{FILES}", world.source());
    zfs(&[
        "create",
        "-o",
        "canmount=off",
        "-o",
        "mountpoint=none",
        "-o",
        "zhaul:restore=incoming",
        &format!("{}/zhaul-incoming", world.source()),
    ]);
    look::replicate("-p", &format!("{}@2026-01-10-030000", world.backup(FILES)), &incoming);
    sh("mkdir -p /run/zhaul-drill-4711");
    sh(&format!("mount -t zfs -o ro {incoming}@2026-01-10-030000 /run/zhaul-drill-4711"));
    drill(&world, DAY_2, &[&world.guest(FILES)], 0);
    assert!(!std::path::Path::new("/run/zhaul-drill-4711").exists());
}

#[test]
fn a_drill_beside_a_drill_is_refused_and_a_restore_continues_beside_it() {
    let mut world = World::new("drill-beside");
    for name in [DISK, SECOND] {
        world.volume(name, 10);
    }
    world.run(DAY_1);
    world.policy.transfer = "rate = \"1MiB\"".to_owned();
    let before = here(&world);
    let place = format!("{}/zhaul-incoming", world.source());
    let mut first = command(&world, DAY_2, &["verify", "--drill", "100"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    look::wait_for_used(&format!("{place}/zhaul-drill-{DISK}"), 1 << 20);
    for what in ["100", &world.guest(DISK)] {
        let refused = drill(&world, DAY_2, &[what], 4);
        let words = ["another drill", &format!("`kill -INT {}`", first.id())];
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
    }
    let to = world.guest("vm-200-disk-0");
    Run::of(command(&world, DAY_2, &["restore", &world.guest(DISK), "--to", &to])).expect_code(0);
    assert!(first.try_wait().unwrap().is_none(), "the first drill continues");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    zfs(&["destroy", "-r", &to]);
    assert_eq!(here(&world), before);
    world.policy.transfer.clear();
    drill(&world, DAY_2, &["100"], 0);
}

#[test]
fn a_point_that_a_run_has_sent_in_part_is_left_out_of_a_drill() {
    let mut world = World::new("drill-part");
    for name in [DISK, SECOND] {
        world.volume(name, 4);
    }
    world.run(DAY_1);
    for name in [DISK, SECOND] {
        look::write_device(&world.guest(name), 1, 2, "two");
    }
    world.run(DAY_2);
    zfs(&["destroy", &format!("{}@{POINT_2}", world.backup(SECOND))]);
    let run = drill(&world, DAY_3, &["100"], 0).stdout;
    let second = world.guest(SECOND);
    for words in ["@2026-01-10-030000 from backup", &format!("newest point @{POINT_2} lacks {second}")] {
        assert!(run.contains(words), "{words}: {run}");
    }
    let copy = format!("{}@2026-01-10-030000", world.backup(SECOND));
    assert_eq!(property("zhaul:verified", &copy), "2026-01-12T03:00:00Z drill");
    assert!(run.contains("note: backup: "), "{run}");
    // A disk that is gone here: no run sends it.
    let aside = world.beside("aside");
    zfs(&["create", &aside]);
    zfs(&["rename", &second, &format!("{aside}/{SECOND}")]);
    let run = drill(&world, DAY_3, &["100"], 0).stdout;
    assert!(run.contains("warning: backup: ") && run.contains("@2026-01-10-030000 from backup"), "{run}");
    zfs(&["rename", &format!("{aside}/{SECOND}"), &second]);
    zfs(&["destroy", &aside]);
    // The next run sends it, and all of it is drilled.
    world.run(DAY_3);
    let run = drill(&world, DAY_3, &["100"], 0).stdout;
    assert!(run.contains("@2026-01-12-030000 from backup") && !run.contains("lacks"), "{run}");
}
