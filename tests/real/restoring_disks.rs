//! Single disks of a guest, half-lost guests, and guests whose restore was begun: nothing of what is there is lost or left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::keeping::{CONF, CONFIG, zhaul};
use crate::look::{self, assert_same_newest, content};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::restoring_attacks::{READS, killed_at};
use crate::rolling_back::DISKS;
use crate::rolling_back_guests::{guest_in, qm};
use crate::world::{DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const STAMP: &str = "2026-01-12-030000";

/// Carries out the command that a message names, from `zhaul` on to the next backtick.
fn follow(world: &World, message: &str, nth: usize) -> Run {
    let commands: Vec<&str> = message.split('`').filter(|text| text.starts_with("zhaul ")).collect();
    let words: Vec<&str> = commands[nth].split_whitespace().skip(1).collect();
    zhaul(world, &words)
}

fn file(pve: &Path) -> String {
    fs::read_to_string(pve.join(CONF)).unwrap()
}

fn guest(name: &str) -> (World, PathBuf) {
    guest_in(World::new(name), CONFIG)
}

fn lose(world: &World, disk: &str) {
    zfs(&["destroy", "-r", &world.guest(disk)]);
}

#[test]
fn a_disk_alone_waits_until_the_begun_restore_of_its_guest_has_ended() {
    for want in [1, 2] {
        let (world, pve) = guest(&format!("disk-begun{want}"));
        let late = CONFIG.replace("1024", "4096");
        fs::write(pve.join(CONF), &late).unwrap();
        let whole = ["restore", "100", "--at", POINT_1, "--from", "backup", "--replace"];
        let aside = format!("{}/zhaul-aside", world.source());
        let count = || if look::exists(&aside) { look::datasets(&aside).len() - 1 } else { 0 };
        qm(&world, "status: stopped");
        let mut nth = 1;
        while count() != want {
            assert!(!killed_at(&world, nth, READS, command(&world, DAY_3, &whole)), "never {want} aside");
            nth += 1;
        }
        let before = world.state();
        let words = ["restore", "100", "--disk", "scsi1", "--at", POINT_1, "--from", "backup", "--replace"];
        let refused = zhaul(&world, &words).expect_code(3);
        assert!(refused.stderr.contains("was begun and not ended"), "{refused:?}");
        assert_eq!(world.state(), before);
        zhaul(&world, &whole).expect_code(0);
        assert!(file(&pve).contains("memory: 1024"));
        zhaul(&world, &["restore", "100", "--put-back", STAMP]).expect_code(0);
        assert_eq!(file(&pve), late, "the guest's own file comes back");
    }
}

#[test]
fn what_is_missing_of_a_guest_comes_back_and_what_is_there_stays_in_its_file() {
    let (mut world, pve) = guest("disk-half");
    let point_2 = |world: &World| content(&format!("{}@2026-01-11-030000", world.guest(DISKS[1])));
    let before = point_2(&world);
    world.write(DISKS[0], "today", 1);
    let guid = property("guid", &world.guest(DISKS[0]));
    let is_back = |world: &World| {
        assert_eq!(point_2(world), before);
        assert_eq!(property("guid", &world.guest(DISKS[0])), guid, "what was there was left as it was");
    };
    // The message of the whole guest names the command of the disk.
    lose(&world, DISKS[1]);
    let refused = zhaul(&world, &["restore", "100"]).expect_code(3);
    let run = follow(&world, &refused.stderr, 0).expect_code(0);
    assert!(run.stdout.contains("100.conf was left as it is"), "{run:?}");
    is_back(&world);
    assert_eq!(file(&pve), CONFIG);
    // The file is lost as well: a disk alone does not write it, and all of it does.
    lose(&world, DISKS[1]);
    fs::remove_file(pve.join(CONF)).unwrap();
    let unknown = zhaul(&world, &["restore", "100", "--disk", "scsi1"]).expect_code(2);
    assert!(unknown.stderr.contains("its file is not here"), "{unknown:?}");
    let alone = zhaul(&world, &["restore", "100", "--disk", DISKS[1]]).expect_code(0);
    assert!(alone.stdout.contains("is not here, and is not written"), "{alone:?}");
    assert!(!pve.join(CONF).exists());
    is_back(&world);
    lose(&world, DISKS[1]);
    let all = zhaul(&world, &["restore", "--all"]).expect_code(0);
    assert!(all.stdout.contains("1 restored, 0 here already, 0 failed"), "{all:?}");
    assert!(all.stdout.contains(&format!("still had {}", world.guest(DISKS[0]))), "{all:?}");
    is_back(&world);
    assert_eq!(file(&pve), CONFIG, "with the lines of the disks that were there");
    world.run("2026-01-13T03:00:00Z");
    for disk in DISKS {
        assert_same_newest(&world.guest(disk), &world.backup(disk));
    }
}

#[test]
fn every_refusal_and_every_remark_of_a_disk_alone_is_of_that_disk() {
    let (world, pve) = guest("disk-words");
    let others = [DISKS[0], DISKS[1]].map(|disk| property("guid", &world.guest(disk)));
    let words = ["restore", "100", "--disk", "scsi1", "--at", POINT_1, "--from", "backup"];
    let refused = zhaul(&world, &words).expect_code(3);
    let rollback = format!("`zhaul rollback {} --to {POINT_1}`", world.guest("vm-100-disk-1"));
    assert!(refused.stderr.contains(&rollback), "{refused:?}");
    // A disk of another name on the same line since, and a snapshot of Proxmox VE.
    let text = CONFIG.replace("scsi1: z:vm-100-disk-1", "scsi1: z:vm-100-disk-1,cache=none")
        + "\n[snap]\nmemory: 1\n";
    fs::write(pve.join(CONF), &text).unwrap();
    let replaced = follow(&world, &refused.stderr, 1).expect_code(0);
    assert!(replaced.stdout.contains("qm set 100 --scsi1 z:vm-100-disk-1"), "{replaced:?}");
    assert!(replaced.stdout.contains("qm delsnapshot 100 NAME --force"), "{replaced:?}");
    assert_eq!([DISKS[0], DISKS[1]].map(|disk| property("guid", &world.guest(disk))), others);
    assert!(look::exists(&format!("{}/zhaul-aside/vm-100-disk-1.{STAMP}", world.source())));
    // As the file writes it; a volume without a copy; what is no disk.
    let volume = zhaul(&world, &["restore", "100", "--disk", "z:vm-100-disk-1", "-n", "--replace"]);
    volume.expect_code(0);
    fs::write(pve.join(CONF), format!("{CONFIG}efidisk0: z:vm-100-disk-4,backup=0\n")).unwrap();
    let excluded = zhaul(&world, &["restore", "100", "--disk", "efidisk0"]).expect_code(2);
    assert!(
        excluded.stderr.contains("no copy of") && excluded.stderr.contains("vm-100-disk-4"),
        "{excluded:?}"
    );
    let state = zhaul(&world, &["restore", "100", "--disk", "vm-100-state-x"]).expect_code(2);
    assert!(!state.stderr.contains("state-x, "), "{state:?}");
}

#[test]
fn a_restored_guest_lets_what_was_set_aside_before_expire() {
    let (mut world, pve) = guest("disk-expiry");
    let disk = world.guest("vm-100-disk-0");
    zfs(&["rollback", "-r", &format!("{disk}@{POINT_1}")]);
    look::write_device(&disk, 0, 1, "three");
    world.run_with(DAY_3, &[]);
    let old = look::set_aside(&world.backup("vm-100-disk-0"));
    for name in DISKS {
        lose(&world, name);
    }
    fs::remove_file(pve.join(CONF)).unwrap();
    zhaul(&world, &["restore", "--all"]).expect_code(0);
    look::write_device(&disk, 0, 1, "four");
    world.run("2026-01-14T03:00:00Z");
    let late = look::days_after(&old, 91);
    look::write_device(&disk, 0, 1, "five");
    world.run(&late);
    assert!(!look::exists(&old), "the copy is continued by the restored disk");
}
