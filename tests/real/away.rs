//! A pool of this host that is exported or suspended: what is on it is not taken for absent.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::spare::SparePool;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DISK, World};

const SECOND: &str = "vm-100-disk-1";
const POINT_1: &str = "2026-01-10-030000";
const TEXT: &str = "memory: 64\nscsi0: z:vm-100-disk-0,size=12M\nscsi1: w:vm-100-disk-1,size=12M\n";

/// A guest with a disk on the pool of the tests and one on `pool`, backed up and lost; its file, and its disks.
fn guest(world: &mut World, pool: &SparePool) -> (PathBuf, [String; 2]) {
    let root = format!("{}/data", pool.name);
    zfs(&["create", &root]);
    let storage = |id, pool| format!("zfspool: {id}\n\tpool {pool}\n\tcontent images\n\tsparse 1\n\n");
    let storages = storage("z", &world.source()) + &storage("w", &root);
    let pve = world.guest_configs(&[("storage.cfg", &storages), ("qemu-server/100.conf", TEXT)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.policy.datasets = vec![world.source(), root.clone()];
    let disks = [world.volume(DISK, 12), format!("{root}/{SECOND}")];
    zfs(&["create", "-s", "-V", "12M", &disks[1]]);
    look::write_device(&disks[1], 0, 12, "there");
    world.run(DAY_1);
    (pve.join("qemu-server/100.conf"), disks)
}

fn incoming(dataset: &str) -> String {
    let (parent, name) = dataset.rsplit_once('/').unwrap();
    format!("{parent}/zhaul-incoming/{name}")
}

/// Begins a restore, and kills it once something of each has come.
fn cut(world: &World, words: &[&str], datasets: &[&String]) {
    let mut begun = command(world, DAY_2, &[words, &["--rate", "2MiB"]].concat());
    let mut begun = begun.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for dataset in datasets {
        look::wait_for_used(&incoming(dataset), 1 << 20);
    }
    begun.kill().unwrap();
    begun.wait().unwrap();
    world.wait_for_quiet();
}

#[test]
fn with_a_pool_exported_no_restore_is_given_up_and_list_names_the_pool() {
    let pool = SparePool::new("away-exported", 160);
    let mut world = World::new("away-exp");
    let (conf, disks) = guest(&mut world, &pool);
    let before = disks.each_ref().map(|disk| content(&format!("{disk}@{POINT_1}")));
    for disk in &disks {
        zfs(&["destroy", "-r", disk]);
    }
    fs::remove_file(&conf).unwrap();
    cut(&world, &["restore", "100"], &disks.each_ref());
    pool.export();
    let advice = format!("`zpool import {}`", pool.name);
    let refused = zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(1);
    assert!(refused.stderr.contains("is not imported") && refused.stderr.contains(&advice), "{refused:?}");
    assert!(conf.exists() && look::exists(&incoming(&disks[0])) && refused.stdout.is_empty(), "{refused:?}");
    for words in [&["list"][..], &["list", "100"], &["list", &disks[1]]] {
        let listed = zhaul(&world, DAY_2, words).expect_code(1);
        assert!(listed.stdout.contains(&advice), "{listed:?}");
    }
    let all = zhaul(&world, DAY_2, &["list"]).expect_code(1).stdout;
    let cell = |disk: &str| {
        let line = all.lines().find(|line| line.contains(disk)).unwrap_or_else(|| panic!("{disk}: {all}"));
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!([cell(&disks[0]), cell(&disks[1])], ["-", "?"], "{all}");
    let nothing = zhaul(&world, DAY_2, &["list", "4711"]).expect_code(1);
    assert!(nothing.stderr.contains(&advice), "{nothing:?}");
    let json = zhaul(&world, DAY_2, &["list", "--json"]).expect_code(1).json();
    let unlisted = &json["unlisted"][0];
    assert_eq!((&unlisted["place"], &unlisted["next"]), (&"here".into(), &advice.into()), "{json}");
    pool.import();
    zhaul(&world, DAY_2, &["list"]).expect_code(0);
    let done = zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(0);
    assert!(disks.iter().all(|disk| done.stdout.contains(&incoming(disk))), "{done:?}");
    assert!(!conf.exists() && !disks.iter().any(|disk| look::exists(&incoming(disk))));
    // What has its place on the pool that is away still stops it.
    let bin = world.directory().join("stuck");
    let script = format!("[ \"$*\" = 'inherit readonly {}' ] && exit 1", disks[1]);
    stand_in::write_around(&bin, "zfs", &script);
    Run::of(stand_in::with(command(&world, DAY_2, &["restore", "100"]), &bin)).expect_code(1);
    assert_ne!(property("zhaul:restore", &disks[1]), "-");
    zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(3);
    pool.export();
    let state = world.state();
    zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(1);
    assert!(conf.exists() && world.state() == state);
    pool.import();
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert_eq!(disks.map(|disk| content(&format!("{disk}@{POINT_1}"))), before);
}

#[test]
fn with_a_pool_suspended_no_restore_is_given_up_and_list_names_the_pool() {
    let pool = SparePool::with_bad_disk("away-suspended", 200, 110);
    let mut world = World::new("away-susp");
    let (_, disks) = guest(&mut world, &pool);
    let disk = &disks[1];
    zfs(&["destroy", "-r", disk]);
    cut(&world, &["restore", disk], &[disk]);
    pool.suspend(&format!("{}/data", pool.name));
    let advice = format!("`zpool clear {}`", pool.name);
    for words in [&["restore", disk, "--abandon"][..], &["restore", "100", "--abandon"]] {
        let refused = zhaul(&world, DAY_2, words).expect_code(1);
        assert!(refused.stderr.contains(&advice) && refused.stdout.is_empty(), "{refused:?}");
    }
    let listed = zhaul(&world, DAY_2, &["list"]).expect_code(1);
    assert!(listed.stdout.contains(&advice), "{listed:?}");
    pool.mend();
    look::sync(&pool.name);
    zhaul(&world, DAY_2, &["restore", disk, "--abandon"]).expect_code(0);
    assert!(!look::exists(&incoming(disk)));
}
