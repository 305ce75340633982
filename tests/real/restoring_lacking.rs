//! Points that lack a disk of the guest, or lose one in mid-restore: no guest is put together of two moments, and none ends without a
//! disk that its restore was begun with.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::keeping::zhaul;
use crate::look::{self, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::rolling_back_guests::qm;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";
const DAY_4: &str = "2026-01-13T03:00:00Z";
const DISKS: [&str; 2] = ["vm-100-disk-0", "vm-100-disk-1"];
const FILE: &str = "qemu-server/100.conf";
const TEXT: &str = "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nmemory: 1024\n";
const REPLACE: [&str; 6] = ["restore", "100", "--at", POINT_1, "--replace", "--stopped"];

/// Makes these disks and two points of them.
fn two_points(world: &mut World, mib: u64) {
    for disk in DISKS {
        world.volume(disk, mib);
    }
    world.run(DAY_1);
    for disk in DISKS {
        look::write_device(&world.guest(disk), 0, 1, "second");
    }
    world.run(DAY_2);
}

/// A world whose guest has a file, of this text.
fn with_file(name: &str, text: &str) -> (World, PathBuf) {
    let mut world = World::new(name);
    let storages = format!("zfspool: z\n\tpool {}\n\tcontent images\n\tsparse 1\n", world.source());
    let pve = world.guest_configs(&[("storage.cfg", &storages), (FILE, text)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    (world, pve)
}

fn lose(world: &World) {
    for disk in DISKS {
        zfs(&["destroy", "-r", &world.guest(disk)]);
    }
}

fn incoming(world: &World, disk: &str) -> String {
    format!("{}/zhaul-incoming/{disk}", world.source())
}

/// The commands that a message names, in their order.
fn commands(run: &Run) -> Vec<Vec<String>> {
    let named = run.stderr.split('`').filter_map(|text| text.strip_prefix("zhaul "));
    named.map(|command| command.split_whitespace().map(str::to_owned).collect()).collect()
}

fn follow(world: &World, clock: &str, words: &[String]) -> Run {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Run::of(stand_in::with(command(world, clock, &words), &qm(world, "status: stopped")))
}

/// Restores the first point while the backup's own host prunes it, before the stream of the second disk begins.
fn pruned_meanwhile(world: &World) -> Run {
    let begun = command(world, DAY_3, &["restore", "100", "--at", POINT_1, "--rate", "3MiB"]);
    let begun = std::thread::spawn(move || Run::of(begun));
    look::wait_for_used(&incoming(world, DISKS[0]), 2 << 20);
    let mut prune = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    prune.args(["prune", &world.backup_root(), "--lab-clock", DAY_3, "--keep-last", "1"]);
    Run::of(prune).expect_code(0);
    assert_eq!(snapshots(&world.backup(DISKS[1])), [POINT_2]);
    begun.join().unwrap()
}

/// What the failure says of the snapshot that is gone.
fn says_gone(run: &Run) {
    assert!(run.stderr.contains(&format!("{}@{POINT_1}", DISKS[1])), "{run:?}");
    assert!(run.stderr.contains("the snapshot was destroyed there since the restore began"), "{run:?}");
    assert!(!run.stderr.contains("the same command again"), "{run:?}");
    assert_eq!(commands(run), [vec!["restore", "100", "--abandon"], vec!["list", "100"]]);
}

#[test]
fn no_guest_is_replaced_by_disks_of_two_moments_and_each_way_on_works() {
    let (mut world, pve) = with_file("lacking-replace", TEXT);
    two_points(&mut world, 2);
    for of in [world.backup(DISKS[1]), world.guest(DISKS[1])] {
        zfs(&["destroy", &format!("{of}@{POINT_1}")]);
    }
    let guids = |world: &World| DISKS.map(|disk| property("guid", &world.guest(disk)));
    let (state, before) = (world.state(), guids(&world));
    zhaul(&world, &[&REPLACE[..], &["-n"]].concat()).expect_code(3);
    let refused = zhaul(&world, &REPLACE).expect_code(3);
    let lacks = format!("@{POINT_1} here has no snapshot of {}", world.guest(DISKS[1]));
    assert!(refused.stderr.contains(&lacks) && refused.stderr.contains("nothing was done"), "{refused:?}");
    assert_eq!(state, world.state());
    let mut ways = commands(&refused);
    assert_eq!(ways.len(), 3, "{refused:?}");
    // Beside, as another guest: what the point lacks is said although no one watches.
    *ways[2].iter_mut().find(|word| *word == "VMID").unwrap() = "200".to_owned();
    let beside = follow(&world, DAY_3, &ways[2]).expect_code(0);
    let note = format!("this point has no snapshot of {}", world.guest(DISKS[1]));
    assert!(beside.stderr.contains(&note), "{beside:?}");
    assert_eq!(snapshots(&world.guest("vm-200-disk-0")), [POINT_1]);
    assert!(fs::read_to_string(pve.join("qemu-server/200.conf")).unwrap().contains("#scsi1:"));
    assert_eq!(guids(&world), before);
    // Only what the point has, by the name of the disk.
    follow(&world, DAY_3, &ways[1]).expect_code(0);
    let now = guids(&world);
    assert!(now[0] != before[0] && now[1] == before[1]);
    assert_eq!(snapshots(&world.guest(DISKS[0])), [POINT_1]);
    // The newest point that has all.
    follow(&world, DAY_4, &ways[0]).expect_code(0);
    assert!(DISKS.iter().all(|disk| snapshots(&world.guest(disk)).last().unwrap() == POINT_2));
    let now = guids(&world);
    assert!(DISKS.iter().enumerate().all(|(at, _)| now[at] != before[at]));
    assert!(fs::read_to_string(pve.join(FILE)).unwrap().contains("\nscsi1: z:vm-100-disk-1\n"));
}

#[test]
fn a_disk_that_the_guest_did_not_have_at_the_point_is_no_part_of_it_and_that_is_said() {
    let early = TEXT.replace("scsi1: z:vm-100-disk-1\n", "");
    let (mut world, pve) = with_file("lacking-later", &early);
    world.volume(DISKS[0], 2);
    world.run(DAY_1);
    world.volume(DISKS[1], 2);
    fs::write(pve.join(FILE), TEXT).unwrap();
    world.run(DAY_2);
    let later = property("guid", &world.guest(DISKS[1]));
    let run = zhaul(&world, &REPLACE).expect_code(0);
    assert!(run.stderr.contains(&format!("no snapshot of {}", world.guest(DISKS[1]))), "{run:?}");
    assert_eq!(snapshots(&world.guest(DISKS[0])), [POINT_1]);
    assert_eq!(property("guid", &world.guest(DISKS[1])), later);
    assert_eq!(fs::read_to_string(pve.join(FILE)).unwrap(), early);
}

#[test]
fn a_guest_whose_point_is_pruned_in_mid_restore_never_ends_without_a_disk() {
    let (mut world, pve) = with_file("lacking-pruned", TEXT);
    two_points(&mut world, 12);
    lose(&world);
    fs::remove_file(pve.join(FILE)).unwrap();
    world.policy.transfer = "jobs = 1".to_owned();
    says_gone(&pruned_meanwhile(&world).expect_code(1));
    let begun = (world.state(), fs::read_to_string(pve.join(FILE)).unwrap());
    assert!(begun.1.contains("lock: create"), "{begun:?}");
    let refused = zhaul(&world, &["restore", "100", "--at", POINT_1]).expect_code(3);
    let lost = format!("begun with {}, and @{POINT_1} on backup has lost", world.guest(DISKS[1]));
    assert!(refused.stderr.contains(&lost), "{refused:?}");
    assert_eq!(begun, (world.state(), fs::read_to_string(pve.join(FILE)).unwrap()));
    let ways = commands(&refused);
    assert_eq!(
        ways,
        [vec!["restore", "100", "--abandon"], vec!["restore", "100", "--at", POINT_2]],
        "{refused:?}"
    );
    follow(&world, DAY_3, &ways[0]).expect_code(0);
    follow(&world, DAY_3, &ways[1]).expect_code(0);
    assert!(DISKS.iter().all(|disk| snapshots(&world.guest(disk)) == [POINT_2]));
    assert_eq!(fs::read_to_string(pve.join(FILE)).unwrap(), TEXT);
}

#[test]
fn without_proxmox_what_was_received_of_a_disk_counts_and_what_the_point_lacks_is_said() {
    let mut world = World::new("lacking-plain");
    two_points(&mut world, 12);
    lose(&world);
    world.policy.transfer = "jobs = 1".to_owned();
    // Interrupted in the second disk, whose point is destroyed then.
    let words = ["restore", "100", "--at", POINT_1];
    let mut cut = command(&world, DAY_3, &[&words[..], &["--rate", "3MiB"]].concat());
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    look::wait_for_used(&incoming(&world, DISKS[1]), 2 << 20);
    cut.kill().unwrap();
    cut.wait().unwrap();
    world.wait_for_quiet();
    let copy = format!("{}@{POINT_1}", world.backup(DISKS[1]));
    zfs(&["destroy", &copy]);
    let state = world.state();
    let refused = zhaul(&world, &words).expect_code(3);
    assert!(refused.stderr.contains("has lost its snapshot of that since"), "{refused:?}");
    assert_eq!(state, world.state());
    follow(&world, DAY_3, &commands(&refused)[0]).expect_code(0);
    assert!(DISKS.iter().all(|disk| !look::exists(&incoming(&world, disk))));
}

#[test]
fn without_proxmox_the_disk_that_a_pruned_point_lacks_is_named_and_so_is_the_other_moment() {
    let mut world = World::new("lacking-named");
    two_points(&mut world, 12);
    lose(&world);
    world.policy.transfer = "jobs = 1".to_owned();
    says_gone(&pruned_meanwhile(&world).expect_code(1));
    let run = zhaul(&world, &["restore", "100", "--at", POINT_1]).expect_code(0);
    assert!(run.stderr.contains(&format!("no snapshot of {}", world.guest(DISKS[1]))), "{run:?}");
    let refused = zhaul(&world, &["restore", "100"]).expect_code(3);
    let other = format!("(@{POINT_2}, which {} does not have)", world.guest(DISKS[0]));
    assert!(refused.stderr.contains(&other), "{refused:?}");
    let ways = commands(&refused);
    assert_eq!(ways[0], ["restore", "100", "--at", POINT_2, "--disk", DISKS[1]]);
    follow(&world, DAY_3, &ways[0]).expect_code(0);
    assert_eq!(snapshots(&world.guest(DISKS[1])), [POINT_2]);
}
