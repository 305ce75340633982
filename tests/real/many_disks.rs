//! A guest with twelve disks, half of them on a second pool: lost and restored, and rolled back.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::zfs;
use crate::restoring::{command, zhaul};
use crate::restoring_attacks::{READS, killed_at};
use crate::rolling_back_guests::qm;
use crate::spare::SparePool;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, World};

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";
/// In the next month, so that the archive gets something, too.
const NEXT_MONTH: &str = "2026-02-10T03:00:00Z";

/// The guest, its disks on both pools, and its file.
struct Guest {
    world: World,
    pool: SparePool,
    disks: Vec<String>,
    file: PathBuf,
}

impl Guest {
    /// Backed up and archived on the first day; then some disks of each pool changed, and it was backed up once more.
    fn new(name: &str, pool: &str) -> Self {
        let (mut world, pool) = (World::with_archive(name), SparePool::new(pool, 320));
        let root = format!("{}/data", pool.name);
        zfs(&["create", &root]);
        let storage = |id, root| format!("zfspool: {id}\n\tpool {root}\n\tcontent images\n\tsparse 1\n\n");
        let storages = storage("z", &world.source()) + &storage("y", &root);
        let mut text = String::from("memory: 1024\n");
        let mut disks = Vec::new();
        for number in 0..12 {
            let (storage, above) = if number < 6 { ("z", world.source()) } else { ("y", root.clone()) };
            // Proxmox VE numbers the disks of each storage.
            let volume = format!("vm-100-disk-{}", number % 6);
            text.extend([format!("scsi{number}: {storage}:{volume},size=4M\n")]);
            let disk = format!("{above}/{volume}");
            zfs(&["create", "-s", "-V", "4M", &disk]);
            look::write_device(&disk, 0, 1, &format!("{number} first"));
            disks.push(disk);
        }
        let pve = world.guest_configs(&[("storage.cfg", &storages), ("qemu-server/100.conf", &text)]);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        world.policy.datasets = vec![world.source(), root];
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        let mut guest = Self { world, pool, disks, file: pve.join("qemu-server/100.conf") };
        guest.change(&[1, 4, 7, 11], "second");
        guest.world.run(DAY_2);
        guest
    }

    fn change(&self, numbers: &[usize], text: &str) {
        for number in numbers {
            look::write_device(&self.disks[*number], 0, 1, &format!("{number} {text}"));
        }
    }

    fn contents(&self, point: &str) -> Vec<u64> {
        self.disks.iter().map(|disk| content(&format!("{disk}@{point}"))).collect()
    }

    /// Everything on both pools, and the guest's file.
    fn state(&self) -> String {
        let file = fs::read_to_string(&self.file).unwrap_or_default();
        format!("{}\n{}\n{file}", self.world.state(), self.second_pool())
    }

    fn second_pool(&self) -> String {
        look::sync(&self.pool.name);
        let columns = "name,guid,userrefs,referenced,readonly,receive_resume_token";
        let kinds = "filesystem,volume,snapshot,bookmark";
        zfs(&["list", "-rHp", "-t", kinds, "-o", columns, &format!("{}/data", self.pool.name)])
    }

    fn restore(&self) -> Run {
        zhaul(&self.world, NEXT_MONTH, &["restore", "100"])
    }

    fn rollback(&self, more: &[&str]) -> Run {
        let words = [&["rollback", "100", "--to", POINT_1, "--yes"], more].concat();
        let bin = qm(&self.world, "status: stopped");
        Run::of(stand_in::with(command(&self.world, NEXT_MONTH, &words), &bin))
    }

    /// It is not rolled back, for this reason, and nothing is changed on either pool.
    fn expect_refused(&self, words: &[&str]) {
        let state = self.state();
        let refused = self.rollback(&[]).expect_code(3);
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
        assert_eq!(state, self.state());
    }

    /// The second pool is named, with what brings it back.
    fn expect_away(&self, run: &Run) {
        assert_eq!(run.code, Some(3), "{run:?}");
        let import = format!("`zpool import {}`", self.pool.name);
        assert!(run.stderr.contains("nothing was done") && run.stderr.contains(&import), "{run:?}");
    }

    /// A run in the next month sends an increment of each disk to each target.
    fn expect_increments(&mut self) {
        self.change(&(0..12).collect::<Vec<_>>(), "third");
        let run = self.world.run_with(NEXT_MONTH, &["--archive"]).expect_code(0);
        for target in ["backup", "archive"] {
            let sends = run.sends(target);
            assert_eq!(sends.len(), 12, "{target}: {run:?}");
            assert!(sends.iter().all(|send| send.base().is_some()), "{target}: {run:?}");
        }
    }
}

/// A restore that is killed while the stream of a disk is on its way.
fn cut(guest: &Guest) {
    let mut cut = command(&guest.world, NEXT_MONTH, &["restore", "100", "--rate", "1MiB"]);
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let incoming = guest.disks[3].replace("/data/", "/data/zhaul-incoming/");
    look::wait_for_used(&incoming, 1 << 18);
    cut.kill().unwrap();
    cut.wait().unwrap();
    guest.world.wait_for_quiet();
    assert!(look::exists(&incoming) && !look::exists(&guest.disks[3]), "else this shows nothing");
}

#[test]
fn twelve_disks_of_two_pools_come_back_though_the_restore_was_killed_twice() {
    let mut guest = Guest::new("many-lost", "manylost");
    let list = zhaul(&guest.world, DAY_2, &["list", "100"]).expect_code(0);
    let line = list.stdout.lines().find(|line| line.starts_with(&format!("@{POINT_2}"))).unwrap();
    // Without an agent the disks of the two pools are not of one moment.
    assert!(line.contains("crash, each pool") && !line.contains("without"), "{}", list.stdout);
    let (before, text) = (guest.contents(POINT_2), fs::read_to_string(&guest.file).unwrap());
    for disk in &guest.disks {
        zfs(&["destroy", "-r", disk]);
    }
    fs::remove_file(&guest.file).unwrap();
    guest.pool.export();
    let state = guest.world.state();
    guest.expect_away(&guest.restore());
    assert_eq!(state, guest.world.state());
    assert!(!guest.file.exists());
    guest.pool.import();
    let command = command(&guest.world, NEXT_MONTH, &["restore", "100"]);
    assert!(!killed_at(&guest.world, 12, READS, command));
    cut(&guest);
    guest.restore().expect_code(0);
    assert_eq!(guest.contents(POINT_2), before);
    assert_eq!(fs::read_to_string(&guest.file).unwrap(), text);
    guest.expect_increments();
}

#[test]
fn twelve_disks_of_two_pools_are_rolled_back_or_none() {
    let mut guest = Guest::new("many-back", "manyback");
    let before = guest.contents(POINT_1);
    let held = format!("{}@{POINT_2}", guest.disks[11]);
    zfs(&["hold", "test", &held]);
    guest.expect_refused(&["are held: nothing was done", &held]);
    zfs(&["release", "test", &held]);
    let foreign = format!("{}@before-upgrade", guest.disks[11]);
    zfs(&["snapshot", &foreign]);
    guest.expect_refused(&["zhaul did not make it", &foreign]);
    zfs(&["destroy", &foreign]);
    guest.pool.export();
    let (state, file) = (guest.world.state(), fs::read_to_string(&guest.file).unwrap());
    guest.expect_away(&guest.restore());
    guest.expect_away(&guest.rollback(&[]));
    guest.expect_away(&guest.rollback(&["--keep"]));
    assert_eq!(state, guest.world.state());
    assert_eq!(file, fs::read_to_string(&guest.file).unwrap());
    guest.pool.import();
    guest.rollback(&[]).expect_code(0);
    assert_eq!(guest.contents(POINT_1), before);
    for disk in &guest.disks {
        assert_eq!(look::snapshots(disk), [POINT_1]);
    }
    guest.expect_increments();
}
