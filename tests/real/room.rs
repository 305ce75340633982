//! Pools without room: what has expired goes first, on both sides, whatever becomes of the rest.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::spare::SparePool;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

/// Takes all room of a pool.
fn fill(pool: &str) {
    let dataset = format!("{pool}/junk");
    zfs(&["create", "-o", "compression=off", &dataset]);
    let path = format!("{}/junk", property("mountpoint", &dataset));
    let mut file = fs::File::create(path).unwrap();
    let mut kib = 4096;
    // In large steps first, and then in small ones.
    while kib > 8 {
        let is_written = file.write_all(&vec![0xa5; kib << 10]).and_then(|()| file.sync_all()).is_ok();
        kib = if is_written { kib } else { kib / 2 };
    }
    let available: u64 = property("available", pool).parse().unwrap();
    assert!(available < 1 << 20, "{available}");
}

#[test]
fn a_full_source_gives_up_what_has_expired_before_it_takes_a_snapshot() {
    let pool = SparePool::new("source-full", 96);
    let mut world = World::new("source-full");
    let root = format!("{}/data", pool.name);
    let files = format!("{root}/{GUEST}");
    zfs(&["create", "-p", &files]);
    world.policy.datasets = vec![root];
    for day in [DAY_1, DAY_2, DAY_3] {
        look::write_file(&files, "first", 8);
        world.run(day);
    }
    fill(&pool.name);
    let run = world.run_with("2026-01-13T03:00:00Z", &[]).expect_code(1);
    assert_eq!(snapshots(&files).len(), 3, "nothing has expired: {run:?}");
    world.policy.source = "keep-last = 1".to_owned();
    let run = world.run_with("2026-01-14T03:00:00Z", &[]);
    assert_eq!(run.actions()[..2], ["destroy-snapshots", "snapshot"], "{run:?}");
    let left = snapshots(&files);
    assert!(!left.contains(&"2026-01-11-030000".to_owned()), "{left:?} {run:?}");
    run.expect_code(0);
    assert_eq!(snapshots(&files), ["2026-01-14-030000"]);
    assert_same_newest(&files, &world.backup(GUEST));
}

#[test]
fn a_full_backup_gives_up_what_has_expired_though_nothing_can_be_sent() {
    let pool = SparePool::new("backup-full", 128);
    let mut world = World::new("backup-full");
    let files = world.filesystem(GUEST, 1);
    let root = format!("{}/pve0", pool.name);
    let copy = format!("{root}/{GUEST}");
    world.policy.backup_at = Some(("nfs8".to_owned(), root));
    for day in 1..=5 {
        world.write(GUEST, "first", 8);
        world.run(&format!("2026-01-0{day}T03:00:00Z"));
    }
    fill(&pool.name);
    world.write(GUEST, "first", 12);
    let run = world.run_with("2026-01-06T03:00:00Z", &[]).expect_code(1);
    assert_eq!(snapshots(&copy).len(), 5, "{run:?}");
    world.policy.backup = "keep-last = 2".to_owned();
    let run = world.run_with("2026-01-07T03:00:00Z", &[]);
    assert_eq!(run.did()[0].place, "backup", "room is made first: {run:?}");
    assert!(snapshots(&copy).contains(&"2026-01-05-030000".to_owned()), "the base stays: {run:?}");
    assert!(snapshots(&copy).len() <= 3, "{run:?}");
    // ZFS gives room back a few transaction groups later, so that the stream may not have found it yet.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut hour = 0;
    while world.run_with(&format!("2026-01-08T{hour:02}:00:00Z"), &[]).code != Some(0) {
        assert!(Instant::now() < deadline, "there is no room after what had expired went");
        thread::sleep(Duration::from_secs(3));
        hour += 1;
    }
    assert_same_newest(&files, &copy);
}

#[test]
fn a_backup_that_takes_nothing_is_still_pruned_by_its_rules() {
    let mut world = World::new("blocked-pruned");
    let files = world.filesystem(GUEST, 1);
    for day in 1..=4 {
        world.run(&format!("2026-01-0{day}T03:00:00Z"));
    }
    let copy = world.backup(GUEST);
    look::sync(&copy);
    zfs(&["set", &format!("quota={}", property("used", &copy)), &copy]);
    world.write(GUEST, "big", 4);
    world.policy.backup = "keep-last = 2".to_owned();
    let run = world.run_with("2026-01-05T03:00:00Z", &[]).expect_code(1);
    assert_eq!(snapshots(&copy), ["2026-01-03-030000", "2026-01-04-030000"], "{run:?}");
    zfs(&["set", "quota=none", &copy]);
    world.run("2026-01-06T03:00:00Z");
    assert_same_newest(&files, &copy);
}
