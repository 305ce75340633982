//! `zhaul restore --replace`: a guest in the place of the one that exists, which is kept and can be put back.

use std::fs;
use std::path::PathBuf;

use crate::keeping::{aside, heads};
use crate::look::{self, assert_same_newest};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::restoring_attacks::{READS, is_looked_at, kill_points, killed_at, stride};
use crate::rolling_back::{DISKS, contents};
use crate::rolling_back_guests::{guest_in, qm};
use crate::stand_in;
use crate::world::{DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const STAMP: &str = "2026-01-12-030000";
const DAY_4: &str = "2026-01-13T03:00:00Z";
const DAY_5: &str = "2026-01-14T03:00:00Z";
const CONF: &str = "qemu-server/100.conf";
const CONFIG: &str =
    "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:subvol-100-disk-2\nmemory: 1024\n";
const REPLACE: [&str; 7] = ["restore", "100", "--at", POINT_1, "--from", "backup", "--replace"];

/// The guest, with another memory size since the first point.
fn changed(world: World) -> (World, PathBuf, String) {
    let (world, pve) = guest_in(world, CONFIG);
    let late = CONFIG.replace("1024", "4096");
    fs::write(pve.join(CONF), &late).unwrap();
    fs::write(pve.join("firewall/100.fw"), "[OPTIONS]\nenable: 0\n").unwrap();
    (world, pve, late)
}

fn zhaul(world: &World, said: &str, words: &[&str]) -> Run {
    Run::of(stand_in::with(command(world, DAY_3, words), &qm(world, said)))
}

#[test]
fn a_guest_takes_the_place_of_the_one_that_exists_which_is_kept_and_can_be_put_back() {
    let (mut world, pve, late) = changed(World::with_archive("replace"));
    world.write(DISKS[0], "unsaved", 1);
    let (before, now) = (contents(&world, POINT_1), heads(&world));
    let guids = DISKS.map(|name| property("guid", &world.guest(name)));
    let state = world.state();
    let refused = zhaul(&world, "status: stopped", &REPLACE[..6]).expect_code(3);
    let next = format!("`zhaul {}`", REPLACE.join(" "));
    assert!(refused.stderr.contains(&next), "it says how, with the same point: {refused:?}");
    let running = zhaul(&world, "status: running", &REPLACE).expect_code(3);
    assert!(running.stderr.contains("may be running"), "{running:?}");
    fs::write(pve.join(CONF), format!("{late}lock: backup\n")).unwrap();
    zhaul(&world, "status: stopped", &REPLACE).expect_code(3);
    fs::write(pve.join(CONF), &late).unwrap();
    let device = fs::File::open(format!("/dev/zvol/{}", world.guest(DISKS[1]))).unwrap();
    let busy = zhaul(&world, "status: stopped", &REPLACE).expect_code(3);
    assert!(busy.stderr.contains("disks are in use"), "{busy:?}");
    drop(device);
    let dry = zhaul(&world, "status: stopped", &[&REPLACE[..], &["-n"]].concat()).expect_code(0);
    assert!(dry.stdout.contains(&format!("set aside as {}", aside(&world, DISKS[0], STAMP))), "{dry:?}");
    assert_eq!(state, world.state());
    let run = zhaul(&world, "status: stopped", &REPLACE).expect_code(0);
    let back = format!("zhaul restore 100 --put-back {STAMP}");
    assert!(run.stdout.contains(&back), "{run:?}");
    assert_eq!(heads(&world), before);
    let written = fs::read_to_string(pve.join(CONF)).unwrap();
    assert_eq!(written, CONFIG);
    assert_eq!(fs::read_to_string(pve.join("firewall/100.fw")).unwrap(), "[OPTIONS]\nenable: 1\n");
    for (name, guid) in DISKS.iter().zip(&guids) {
        assert_eq!(property("guid", &aside(&world, name, STAMP)), *guid);
        assert_ne!(property("guid", &world.guest(name)), *guid);
        assert_eq!(property("zhaul:restore", &world.guest(name)), "-");
    }
    let incremental = |run: &Run| {
        for place in ["backup", "archive"] {
            assert!(run.sends(place).iter().all(|send| send.base().is_some()), "{run:?}");
        }
        assert_eq!(run.sends("backup").len(), 3, "{run:?}");
    };
    world.write(DISKS[0], "third", 1);
    incremental(&world.run_with(DAY_4, &["--archive"]).expect_code(0));
    for name in DISKS {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    let third = heads(&world);
    zhaul(&world, "status: stopped", &["restore", "100", "--put-back", STAMP]).expect_code(0);
    assert_eq!(heads(&world), now);
    assert_eq!(DISKS.map(|name| property("guid", &world.guest(name))), guids);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
    assert_eq!(fs::read_to_string(pve.join("firewall/100.fw")).unwrap(), "[OPTIONS]\nenable: 0\n");
    incremental(&world.run_with(DAY_5, &["--archive"]).expect_code(0));
    // And forth again, then another one in its place.
    let forth = format!("{STAMP}-back");
    zhaul(&world, "status: stopped", &["restore", "100", "--put-back", &forth]).expect_code(0);
    assert_eq!(heads(&world), third);
    let run = zhaul(&world, "status: stopped", &REPLACE).expect_code(0);
    assert!(run.stdout.contains(&format!("{STAMP}-2")), "{run:?}");
    assert_eq!(heads(&world), before);
}

#[test]
fn killed_at_any_step_the_same_command_replaces_the_rest_and_nothing_is_lost() {
    let (mut world, pve, late) = changed(World::new("replace-killed"));
    let (before, now) = (contents(&world, POINT_1), heads(&world));
    let guids = DISKS.map(|name| property("guid", &world.guest(name)));
    qm(&world, "status: stopped");
    let mut kills = 0;
    for nth in kill_points(80) {
        let is_through = killed_at(&world, nth, READS, command(&world, DAY_3, &REPLACE));
        if !is_through {
            kills += 1;
            if is_looked_at(kills) {
                let state = world.state();
                let run = world.run_with(DAY_4, &["--no-snapshot"]);
                assert!(run.code == Some(0) && state == world.state(), "{nth}: {run:?}");
            }
            zhaul(&world, "status: stopped", &REPLACE).expect_code(0);
        }
        // Reading all disks takes longer than all the rest.
        let is_read = kills % 5 == 1 || is_through;
        assert!(!is_read || heads(&world) == before, "{nth}");
        assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG, "{nth}");
        assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())), "{nth}");
        let all = zfs(&["list", "-Hr", "-d", "1", "-o", "name", &format!("{}/zhaul-aside", world.source())]);
        assert_eq!(all.lines().count(), 4, "{nth}: one for each disk: {all}");
        zhaul(&world, "status: stopped", &["restore", "100", "--put-back", STAMP]).expect_code(0);
        assert!(!is_read || heads(&world) == now, "{nth}");
        assert_eq!(DISKS.map(|name| property("guid", &world.guest(name))), guids, "{nth}");
        assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late, "{nth}");
        for name in DISKS {
            zfs(&["destroy", "-r", &aside(&world, name, &format!("{STAMP}-back"))]);
        }
        if is_through {
            break;
        }
    }
    assert!(kills * stride() >= 20, "only {kills} steps were killed");
    let run = world.run(DAY_4);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}

#[test]
fn one_disk_takes_the_place_of_the_one_that_exists_and_the_guest_stays_as_it_is() {
    let (mut world, pve, late) = changed(World::new("replace-disk"));
    world.write(DISKS[0], "unsaved", 1);
    let before = contents(&world, POINT_1);
    let guids = DISKS.map(|name| property("guid", &world.guest(name)));
    let words = ["restore", "100", "--disk", "scsi1", "--at", POINT_1, "--replace"];
    let running = zhaul(&world, "status: running", &words).expect_code(3);
    assert!(running.stderr.contains("may be running"), "{running:?}");
    let run = zhaul(&world, "status: stopped", &words).expect_code(0);
    assert!(run.stdout.contains(&format!("zhaul restore 100 --put-back {STAMP}")), "{run:?}");
    let now = DISKS.map(|name| property("guid", &world.guest(name)));
    assert!(now[0] == guids[0] && now[1] == guids[1] && now[2] != guids[2]);
    assert_eq!(contents(&world, POINT_1), before);
    assert_eq!(property("guid", &aside(&world, DISKS[2], STAMP)), guids[2]);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
    world.run(DAY_4);
    zhaul(&world, "status: stopped", &["restore", "100", "--put-back", STAMP]).expect_code(0);
    assert_eq!(DISKS.map(|name| property("guid", &world.guest(name))), guids);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
    world.run(DAY_5);
    for name in DISKS {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}

#[test]
fn a_disk_that_takes_the_place_of_another_guests_asks_for_that_guest_and_names_it_in_the_command() {
    let mut world = World::new("replace-to");
    let (source, other) =
        (world.filesystem("subvol-101-disk-0", 1), world.filesystem("subvol-102-disk-0", 1));
    world.run("2026-01-10T03:00:00Z");
    let before = look::content(&format!("{other}@{POINT_1}"));
    let words = ["restore", &source, "--to", &other, "--replace"];
    let refused = zhaul(&world, "", &words).expect_code(3);
    assert!(refused.stderr.contains("guest 102 may be running"), "{refused:?}");
    let run = zhaul(&world, "", &[&words[..], &["--stopped"]].concat()).expect_code(0);
    let words = format!("restore {other} --put-back {STAMP}");
    assert!(run.stdout.contains(&format!("zhaul {words}\n")), "{run:?}");
    let words: Vec<&str> = words.split(' ').chain(["--stopped"]).collect();
    zhaul(&world, "", &words).expect_code(0);
    assert_eq!(look::content(&format!("{other}@{POINT_1}")), before);
}
