//! `zhaul rollback --keep` and `zhaul restore --put-back`: nothing is lost, nothing is in the way, and the chain continues.

use std::fs;
use std::path::PathBuf;

use crate::look::{self, assert_same_newest, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::restoring_attacks::{READS, is_looked_at, kill_points, killed_at, stride};
use crate::rolling_back::{DISKS, contents};
use crate::rolling_back_guests::{guest_in, qm};
use crate::stand_in;
use crate::world::{DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";
const DAY_4: &str = "2026-01-13T03:00:00Z";
const DAY_5: &str = "2026-01-14T03:00:00Z";
const STAMP: &str = "2026-01-12-030000";
pub(crate) const CONF: &str = "qemu-server/100.conf";
pub(crate) const CONFIG: &str =
    "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:subvol-100-disk-2\nmemory: 1024\n";

pub(crate) fn zhaul(world: &World, words: &[&str]) -> Run {
    Run::of(stand_in::with(command(world, DAY_3, words), &qm(world, "status: stopped")))
}

const KEEP: [&str; 6] = ["rollback", "100", "--to", POINT_1, "--keep", "--yes"];

pub(crate) fn aside(world: &World, name: &str, stamp: &str) -> String {
    format!("{}/zhaul-aside/{name}.{stamp}", world.source())
}

/// A hash of what a dataset holds now.
fn head(world: &World, name: &str) -> u64 {
    let guest = world.guest(name);
    look::sync(&guest);
    zfs(&["snapshot", &format!("{guest}@look")]);
    let found = content(&format!("{guest}@look"));
    zfs(&["destroy", &format!("{guest}@look")]);
    found
}

pub(crate) fn heads(world: &World) -> Vec<u64> {
    DISKS.iter().map(|name| head(world, name)).collect()
}

/// The guest, with another memory size since the first point.
fn changed(world: World) -> (World, PathBuf, String) {
    let (world, pve) = guest_in(world, CONFIG);
    let late = CONFIG.replace("1024", "4096");
    fs::write(pve.join(CONF), &late).unwrap();
    (world, pve, late)
}

#[test]
fn the_old_state_takes_the_place_and_what_was_there_is_kept_and_can_be_put_back() {
    let (mut world, pve, late) = changed(World::with_archive("keep"));
    world.run_with("2026-01-11T04:00:00Z", &["--archive"]).expect_code(0);
    // A plain rollback refuses all of these.
    let last = world.guest(DISKS[2]);
    zfs(&["snapshot", &format!("{last}@before-upgrade")]);
    zfs(&["hold", "test", &format!("{last}@{POINT_2}")]);
    zfs(&["clone", &format!("{last}@{POINT_2}"), &world.beside("clone")]);
    world.set(DISKS[0], "refquota=64M");
    world.set(DISKS[1], "refreservation=10M");
    world.set(DISKS[1], "org:owner=me and you");
    world.write(DISKS[0], "unsaved", 1);
    let (before, now) = (contents(&world, POINT_1), heads(&world));
    let guids = DISKS.map(|name| property("guid", &world.guest(name)));
    let state = world.state();
    let dry = zhaul(&world, &[&KEEP[..], &["-n"]].concat()).expect_code(0);
    assert!(dry.stdout.contains(&aside(&world, DISKS[0], STAMP)), "{dry:?}");
    assert_eq!(state, world.state());
    let run = zhaul(&world, &KEEP).expect_code(0);
    let back = format!("zhaul restore 100 --put-back {STAMP}");
    assert!(run.stdout.contains(&back), "{run:?}");
    assert_eq!((contents(&world, POINT_1), heads(&world)), (before.clone(), before.clone()));
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    assert_eq!(property("refquota", &world.guest(DISKS[0])), (64 << 20).to_string());
    assert_eq!(property("refreservation", &world.guest(DISKS[1])), (10 << 20).to_string());
    assert_eq!(property("org:owner", &world.guest(DISKS[1])), "me and you");
    assert_eq!(property("mounted", &world.guest(DISKS[0])), "yes");
    for (name, guid) in DISKS.iter().zip(&guids) {
        assert_eq!(property("guid", &aside(&world, name, STAMP)), *guid);
        assert_eq!(property("zhaul:restore", &world.guest(name)), "-");
    }
    assert!(snapshots(&aside(&world, DISKS[2], STAMP)).contains(&"before-upgrade".to_owned()));
    assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())));
    // The next runs are incremental on every target, and take what was put aside for no volume.
    let moved = |run: &Run| {
        for place in ["backup", "archive"] {
            assert_eq!(run.sends(place).len(), 3, "{run:?}");
            assert!(run.sends(place).iter().all(|send| send.base().is_some()), "{run:?}");
        }
    };
    world.write(DISKS[0], "third", 1);
    let run = world.run_with(DAY_4, &["--archive"]).expect_code(0);
    moved(&run);
    assert!(run.json()["left_out"].to_string().contains(&aside(&world, DISKS[0], STAMP)), "{run:?}");
    for name in DISKS {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    // And back again.
    let third = heads(&world);
    let run = zhaul(&world, &["restore", "100", "--put-back", STAMP]).expect_code(0);
    assert!(run.stdout.contains(&format!("{back}-back")), "{run:?}");
    assert_eq!(heads(&world), now);
    assert_eq!(property("refreservation", &world.guest(DISKS[1])), (10 << 20).to_string());
    assert_eq!(property("refreservation", &aside(&world, DISKS[1], &format!("{STAMP}-back"))), "0");
    assert_eq!(DISKS.map(|name| property("guid", &world.guest(name))), guids);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
    assert!(snapshots(&last).contains(&POINT_1.to_owned()), "it has its whole history");
    moved(&world.run_with(DAY_5, &["--archive"]).expect_code(0));
    let again = zhaul(&world, &["restore", "100", "--put-back", "2020-01-01-000000"]).expect_code(2);
    assert!(again.stderr.contains(&format!("{}.{STAMP}-back", DISKS[0])), "{again:?}");
    zhaul(&world, &["restore", "100", "--put-back", &format!("{STAMP}-back")]).expect_code(0);
    assert_eq!(heads(&world), third);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    zfs(&["destroy", &world.beside("clone")]);
    zfs(&["release", "test", &format!("{}@{POINT_2}", aside(&world, DISKS[2], STAMP))]);
}

#[test]
fn what_was_put_back_before_is_not_said_to_be_back_after_another_rollback() {
    let (world, _, _) = changed(World::new("keep-twice"));
    let now = heads(&world);
    zhaul(&world, &KEEP).expect_code(0);
    let back = ["restore", "100", "--put-back", STAMP];
    zhaul(&world, &back).expect_code(0);
    let keep_again = Run::of(stand_in::with(command(&world, DAY_4, &KEEP), &qm(&world, "status: stopped")));
    keep_again.expect_code(0);
    let state = world.state();
    let run = zhaul(&world, &back).expect_code(2);
    assert!(run.stderr.contains("was put back before: nothing was done"), "{run:?}");
    assert_eq!(state, world.state());
    zhaul(&world, &["restore", "100", "--put-back", "2026-01-13-030000"]).expect_code(0);
    assert_eq!(heads(&world), now);
}

#[test]
fn a_disk_with_a_key_of_its_own_is_refused_before_anything_is_done() {
    let mut world = World::new("keep-own-key");
    let pve = world.guest_configs(&[(CONF, "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\n")]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.volume("vm-100-disk-0", 1);
    world.encrypted("vm-100-disk-1", &["-s", "-V", "12M"]);
    world.run("2026-01-10T03:00:00Z");
    let (state, file) = (world.state(), fs::read_to_string(pve.join(CONF)).unwrap());
    let run = zhaul(&world, &KEEP).expect_code(3);
    assert!(run.stderr.contains("vm-100-disk-1 is encrypted with a key of its own"), "{run:?}");
    assert_eq!((state, file), (world.state(), fs::read_to_string(pve.join(CONF)).unwrap()));
    zhaul(&world, &["rollback", "100", "--to", POINT_1, "--yes"]).expect_code(0);
}

#[test]
fn what_is_set_aside_is_not_called_needless_where_nothing_has_its_place() {
    let (world, _, _) = changed(World::new("keep-lost"));
    let now = heads(&world);
    zhaul(&world, &KEEP).expect_code(0);
    for name in DISKS {
        let doctor = zhaul(&world, &["doctor"]);
        assert!(
            doctor.stdout.contains(&format!("zfs destroy -r '{}'", aside(&world, name, STAMP))),
            "{doctor:?}"
        );
        zfs(&["rename", &world.guest(name), &world.beside(name)]);
        let doctor = zhaul(&world, &["doctor"]);
        assert!(!doctor.stdout.contains(&format!("'{}'", aside(&world, name, STAMP))), "{doctor:?}");
        assert!(doctor.stdout.contains("nothing is in its place now"), "{doctor:?}");
    }
    zhaul(&world, &["restore", "100", "--put-back", STAMP]).expect_code(0);
    assert_eq!(heads(&world), now);
}

/// As long as one disk of a guest is not ready for use, a run takes none of them.
fn run_takes_nothing(world: &mut World, nth: usize) {
    let state = world.state();
    let run = world.run_with(DAY_4, &["--no-snapshot"]);
    let after = world.state();
    assert!(run.code == Some(0) && state == after, "{nth}: {run:?}\n{state}\n{after}");
}

#[test]
fn killed_at_any_step_of_keeping_and_of_putting_back_the_same_command_continues() {
    let (mut world, pve, late) = changed(World::new("keep-killed"));
    world.set(DISKS[0], "refquota=64M");
    let (before, now) = (contents(&world, POINT_1), heads(&world));
    let guids = DISKS.map(|name| property("guid", &world.guest(name)));
    qm(&world, "status: stopped");
    let mut kills = 0;
    let (mut is_kept_through, mut is_back_through) = (false, false);
    for nth in kill_points(60) {
        is_kept_through |= killed_at(&world, nth, READS, command(&world, DAY_3, &KEEP));
        if !is_kept_through {
            kills += 1;
            if is_looked_at(kills) {
                let state = world.state();
                run_takes_nothing(&mut world, nth);
                zhaul(&world, &["rollback", "100", "--to", POINT_1, "-n"]);
                assert_eq!(state, world.state());
            }
            zhaul(&world, &KEEP).expect_code(0);
        }
        // Reading all disks takes longer than all the rest.
        let is_read = kills % 5 == 1 || (is_kept_through && is_back_through);
        assert!(!is_read || heads(&world) == before, "{nth}");
        assert!(DISKS.iter().all(|name| snapshots(&world.guest(name)) == [POINT_1]), "{nth}");
        assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG, "{nth}");
        assert_eq!(property("refquota", &world.guest(DISKS[0])), (64 << 20).to_string());
        let put_back = ["restore", "100", "--put-back", STAMP];
        is_back_through |= killed_at(&world, nth, READS, command(&world, DAY_3, &put_back));
        if !is_back_through {
            kills += 1;
            if is_looked_at(kills) {
                run_takes_nothing(&mut world, nth);
            }
            zhaul(&world, &put_back).expect_code(0);
        }
        assert!(!is_read || heads(&world) == now, "{nth}");
        assert_eq!(DISKS.map(|name| property("guid", &world.guest(name))), guids, "{nth}");
        assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late, "{nth}");
        assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())), "{nth}");
        for name in DISKS {
            zfs(&["destroy", "-r", &aside(&world, name, &format!("{STAMP}-back"))]);
        }
        fs::remove_file(pve.join(format!("{CONF}.zhaul-{STAMP}-back"))).unwrap();
        if is_kept_through && is_back_through {
            break;
        }
    }
    assert!(is_kept_through && is_back_through);
    assert!(kills * stride() >= 20, "only {kills} steps were killed");
    // All that is left after the last call of `zfs` is the lock: it goes, and nothing is exchanged again.
    zhaul(&world, &KEEP).expect_code(0);
    let file = fs::read_to_string(pve.join(CONF)).unwrap();
    fs::write(pve.join(CONF), format!("#zhaul rollback, disks exchanged\n{file}lock: rollback\n")).unwrap();
    let state = world.state();
    run_takes_nothing(&mut world, 0);
    zhaul(&world, &KEEP).expect_code(0);
    assert_eq!(state, world.state());
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    let run = world.run(DAY_4);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}
