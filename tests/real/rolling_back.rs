//! `zhaul rollback`: all disks of a guest go back, or none.

use crate::look::{self, assert_same_newest, bookmarks, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";
pub(crate) const DISKS: [&str; 3] = ["subvol-100-disk-2", "vm-100-disk-0", "vm-100-disk-1"];

/// A guest with three disks and two points.
pub(crate) fn guest(name: &str) -> World {
    let mut world = World::new(name);
    make_two_points(&mut world);
    world
}

/// Makes the disks of a guest and two points of them; what the world has of an archive holds the first.
pub(crate) fn make_two_points(world: &mut World) {
    world.filesystem(DISKS[0], 1);
    world.volume(DISKS[1], 1);
    world.volume(DISKS[2], 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.write(DISKS[0], "second", 1);
    look::write_device(&world.guest(DISKS[1]), 0, 1, "second");
    world.run(DAY_2);
}

pub(crate) fn contents(world: &World, point: &str) -> Vec<u64> {
    DISKS.iter().map(|name| content(&format!("{}@{point}", world.guest(name)))).collect()
}

#[test]
fn all_disks_go_back_with_newer_points_and_bookmarks_and_the_next_run_continues() {
    let mut world = guest("rollback-all");
    let before = contents(&world, POINT_1);
    let state = world.state();
    let dry = zhaul(&world, DAY_3, &["rollback", "100", "--to", POINT_1, "-n"]).expect_code(0);
    assert!(dry.stdout.contains(&format!("@{POINT_2} goes; also on backup")), "{dry:?}");
    let asked = zhaul(&world, DAY_3, &["rollback", "100", "--to", POINT_1]).expect_code(3);
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    assert_eq!(state, world.state());
    // An obstacle to Proxmox VE's own rollback: a bookmark whose snapshot is gone.
    zfs(&["destroy", &format!("{}@{POINT_2}", world.guest(DISKS[2]))]);
    zhaul(&world, DAY_3, &["rollback", "100", "--to", POINT_1, "--yes"]).expect_code(0);
    assert_eq!(contents(&world, POINT_1), before);
    for name in DISKS {
        let guest = world.guest(name);
        assert_eq!((snapshots(&guest), bookmarks(&guest)), (vec![POINT_1.into()], vec![POINT_1.into()]));
        // Mounting a file system writes a little.
        let written: u64 = property("written", &guest).parse().unwrap();
        assert!(written < 100_000, "{name}: {written}");
    }
    world.write(DISKS[0], "third", 1);
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
    for name in DISKS {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}

#[test]
fn what_zhaul_did_not_make_a_hold_or_a_clone_on_one_disk_stops_it_for_all() {
    let world = guest("rollback-blocked");
    let last = world.guest(DISKS[2]);
    let rollback = || zhaul(&world, DAY_3, &["rollback", "100", "--to", POINT_1, "--yes"]);
    let foreign = [
        (vec!["snapshot"], format!("{last}@before-upgrade"), "destroy"),
        (vec!["bookmark", &format!("{last}@{POINT_2}").clone()], format!("{last}#syncoid"), "destroy"),
    ]
    .map(|(words, name, undo)| (words.into_iter().map(str::to_owned).collect::<Vec<_>>(), name, undo));
    for (words, name, undo) in foreign {
        let words: Vec<&str> = words.iter().map(String::as_str).chain([name.as_str()]).collect();
        zfs(&words);
        let state = world.state();
        let run = rollback().expect_code(3);
        assert!(run.stderr.contains(&name) && run.stderr.contains("zhaul did not make it"), "{run:?}");
        assert_eq!(state, world.state());
        zfs(&[undo, &name]);
    }
    zfs(&["clone", &format!("{last}@{POINT_2}"), &world.beside("clone")]);
    let state = world.state();
    assert!(rollback().expect_code(3).stderr.contains("a clone needs it"));
    assert_eq!(state, world.state());
    zfs(&["destroy", &world.beside("clone")]);
    zfs(&["hold", "test", &format!("{last}@{POINT_2}")]);
    let state = world.state();
    let run = rollback().expect_code(3);
    assert!(run.stderr.contains("are held: nothing was done"), "{run:?}");
    assert_eq!(state, world.state());
    zfs(&["release", "test", &format!("{last}@{POINT_2}")]);
    rollback().expect_code(0);
    let one = zhaul(&world, DAY_3, &["rollback", "100", "--to", "2020-01-01", "--yes"]).expect_code(2);
    assert!(one.stderr.contains("next:"), "{one:?}");
}

/// Rolls back with a `zfs` that makes a snapshot as soon as the look at what is rolled back has ended.
fn roll_back_beside(world: &World, snapshot: &str) -> Run {
    let bin = world.directory().join("beside");
    let script = format!(
        "$real \"$@\"; status=$?\n\
         case \"$*\" in *,refreservation*) $real snapshot {snapshot} 2>/dev/null ;; esac\nexit $status"
    );
    stand_in::write_around(&bin, "zfs", &script);
    let words = ["rollback", "100", "--to", POINT_1, "--yes"];
    Run::of(stand_in::with(command(world, DAY_3, &words), &bin))
}

#[test]
fn a_snapshot_that_somebody_makes_meanwhile_is_not_destroyed() {
    let world = guest("rollback-meanwhile");
    let theirs = format!("{}@theirs", world.guest(DISKS[1]));
    let run = roll_back_beside(&world, &theirs).expect_code(1);
    assert!(run.stderr.contains(&format!("roll back to {}@{POINT_1}", world.guest(DISKS[1]))), "{run:?}");
    assert!(run.stderr.contains("a snapshot or bookmark is newer"), "{run:?}");
    assert!(run.stderr.contains("run the same command again"), "{run:?}");
    assert!(look::exists(&theirs));
    let again = zhaul(&world, DAY_3, &["rollback", "100", "--to", POINT_1, "--yes"]).expect_code(3);
    assert!(again.stderr.contains(&format!("{theirs}: zhaul did not make it")), "{again:?}");
}

#[test]
fn the_size_of_a_volume_goes_back_and_its_reservation_as_with_zfs_rollback() {
    let world = World::new("rollback-resized");
    let volume = world.volume("vm-100-disk-0", 1);
    let beside = world.volume("vm-200-disk-0", 1);
    let size = property("volsize", &volume);
    // Exactly the size is reserved, more than that (as `refreservation=auto` does), or nothing.
    for (day, reserved) in [size.clone(), "auto".to_owned(), "none".to_owned()].into_iter().enumerate() {
        for volume in [&volume, &beside] {
            zfs(&["set", &format!("refreservation={reserved}"), volume]);
            zfs(&["snapshot", &format!("{volume}@2026-01-1{day}-030000")]);
            zfs(&["set", &format!("volsize={}", 64 << 20), volume]);
        }
        zfs(&["rollback", &format!("{beside}@2026-01-1{day}-030000")]);
        let words = ["rollback", "100", "--to", &format!("2026-01-1{day}-030000"), "--yes"];
        zhaul(&world, DAY_3, &words).expect_code(0);
        assert_eq!(property("volsize", &volume), size);
        let [ours, theirs] = [&volume, &beside].map(|volume| property("refreservation", volume));
        assert_eq!(ours, theirs, "{reserved}");
    }
}

#[test]
fn a_guest_that_may_be_running_is_not_rolled_back() {
    let mut world = guest("rollback-running");
    let pve = world.guest_configs(&[(
        "qemu-server/100.conf",
        "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:subvol-100-disk-2\n",
    )]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    let bin = world.directory().join("bin");
    let words = ["rollback", "100", "--to", POINT_1, "--yes"];
    let run = |said: &str, status: u8| {
        stand_in::write(&bin, "qm", &format!("echo '{said}'\nexit {status}"));
        Run::of(stand_in::with(command(&world, DAY_3, &words), &bin))
    };
    let state = world.state();
    // Its exit status is 0 whatever it says.
    for said in ["status: running", "", "{\"error\":{}}", "status: paused"] {
        let refused = run(said, 0).expect_code(3);
        assert!(refused.stderr.contains("may be running"), "{refused:?}");
        assert_eq!(state, world.state());
    }
    run("status: stopped", 0).expect_code(0);
    assert_eq!(snapshots(&world.guest(DISKS[1])), [POINT_1]);
}

#[test]
fn a_rollback_that_keeps_takes_any_property_along() {
    let mut world = World::new("rollback-values");
    make_two_points(&mut world);
    for disk in DISKS {
        world.set(disk, "admin:note=\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}");
    }
    let words = ["rollback", "100", "--to", "2026-01-10-030000", "--keep", "--yes"];
    let run = zhaul(&world, DAY_3, &words);
    run.expect_code(0);
}
