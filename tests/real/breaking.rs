//! Runs that are killed, cut, refused or alone.

use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;
use zhaul::model::ResumeToken;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, GUEST, World};

const MIB: u64 = 1 << 20;

fn code(child: &mut std::process::Child) -> Option<i32> {
    child.wait().unwrap().code()
}

#[test]
fn a_stream_that_was_cut_continues_where_it_stopped() {
    let mut world = World::new("resumed");
    let files = world.filesystem(GUEST, 32);
    let received = world.cut(DAY_1, GUEST, 8 * MIB).received_bytes;
    let run = world.run_as_planned("2026-01-10T04:00:00Z", &["--no-snapshot"], 0);
    let moved = run.moved("backup");
    assert!(moved < 34 * MIB - received, "{received} had arrived, {moved} moved");
    assert_same_newest(&files, &world.backup(GUEST));
}

/// So is a volume of the target while the kernel looks at it after it was received, cloned or promoted.
#[test]
fn a_copy_that_is_busy_for_a_moment_is_served_in_the_same_run() {
    let mut world = World::new("busy");
    let disk = world.volume("vm-100-disk-0", 4);
    world.run(DAY_1);
    look::write_device(&disk, 0, 2, "second");
    zfs(&["snapshot", &format!("{disk}@by-hand")]);
    let (base, newer) = ("@2026-01-10-030000", format!("{disk}@by-hand"));
    let copy = world.backup("vm-100-disk-0");
    let mut receive = look::begin_to_receive(base, &newer, &copy, &[]);
    let mut run = world.start("2026-01-11T03:00:00Z", &["-v"]);
    let said = || fs::read_to_string(world.directory().join("stderr")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !said().contains("; trying again in") {
        assert!(Instant::now() < deadline && run.try_wait().unwrap().is_none(), "{}", said());
        thread::sleep(Duration::from_millis(10));
    }
    drop(receive.stdin.take());
    receive.wait().unwrap();
    assert_eq!(code(&mut run), Some(0), "{}", said());
    assert_same_newest(&disk, &copy);
}

#[test]
fn a_copy_that_stays_busy_fails_alone() {
    let mut world = World::new("stays-busy");
    let (disk, other) = (world.volume("vm-100-disk-0", 4), world.filesystem("subvol-103-disk-0", 1));
    world.run(DAY_1);
    look::write_device(&disk, 0, 2, "second");
    zfs(&["snapshot", &format!("{disk}@by-hand")]);
    let copy = world.backup("vm-100-disk-0");
    let newer = format!("{disk}@by-hand");
    let mut receive = look::begin_to_receive("@2026-01-10-030000", &newer, &copy, &[]);
    let run = world.run_with("2026-01-11T03:00:00Z", &[]).expect_code(1);
    assert!(run.stderr.contains("dataset is busy") && run.stderr.contains(&copy), "{run:?}");
    assert_same_newest(&other, &world.backup("subvol-103-disk-0"));
    drop(receive.stdin.take());
    receive.wait().unwrap();
    world.run("2026-01-12T03:00:00Z");
    assert_same_newest(&disk, &copy);
}

#[test]
fn a_stream_that_was_cut_and_has_lost_its_snapshot_is_dropped() {
    let mut world = World::new("stale");
    let (files, copy) = (world.filesystem(GUEST, 1), world.backup(GUEST));
    world.run(DAY_1);
    world.write(GUEST, "second", 24);
    world.cut("2026-01-11T03:00:00Z", GUEST, 4 * MIB);
    zfs(&["destroy", &format!("{files}@2026-01-11-030000")]);
    let run = world.run_as_planned("2026-01-12T03:00:00Z", &[], 0);
    assert!(run.actions().contains(&"abort-receive".to_owned()), "{run:?}");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000", "2026-01-12-030000"]);
    assert_same_newest(&files, &copy);
}

#[test]
fn what_somebody_elses_receive_left_is_not_touched() {
    let mut world = World::new("foreign-receive");
    let theirs = world.beside("theirs");
    zfs(&["create", &theirs]);
    look::write_file(&theirs, "precious", 8);
    zfs(&["snapshot", &format!("{theirs}@1")]);
    world.filesystem(GUEST, 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    let copy = world.backup(GUEST);
    look::send_in_part(None, &format!("{theirs}@1"), &copy);
    let token = property("receive_resume_token", &copy);
    assert!(ResumeToken::parse(&token).unwrap().received_bytes > MIB);
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", "foreign-receive"), "{run:?}");
    assert_eq!(property("receive_resume_token", &copy), token);
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}

#[test]
fn a_signal_ends_a_run_with_130_and_the_next_one_finishes_it() {
    let mut world = World::new("signalled");
    let files = world.filesystem(GUEST, 64);
    for signal in [Signal::INT, Signal::TERM] {
        world.policy.transfer = "rate = \"10MiB\"".to_owned();
        let mut run = world.start(DAY_1, &[]);
        world.wait_for_receive();
        thread::sleep(Duration::from_millis(500));
        look::signal(i32::try_from(run.id()).unwrap(), signal);
        assert_eq!(code(&mut run), Some(130));
        world.wait_for_quiet();
    }
    world.policy.transfer.clear();
    world.run("2026-01-10T05:00:00Z");
    assert_same_newest(&files, &world.backup(GUEST));
}

#[test]
fn a_second_run_is_turned_away_and_the_lock_dies_with_its_holder() {
    let mut world = World::new("locked");
    world.filesystem(GUEST, 64);
    world.policy.transfer = "rate = \"10MiB\"".to_owned();
    let mut first = world.start(DAY_1, &[]);
    world.wait_for_receive();
    let second = world.run_with(DAY_1, &[]).expect_code(4);
    assert!(second.stderr.contains(&first.id().to_string()), "{second:?}");
    first.kill().unwrap();
    first.wait().unwrap();
    world.wait_for_quiet();
    world.policy.transfer.clear();
    world.run("2026-01-10T04:00:00Z");
}

#[test]
fn killed_at_any_moment_the_next_plain_run_heals() {
    let mut world = World::new("killed-anywhere");
    let files = world.filesystem(GUEST, 16);
    let disk = world.volume("vm-100-disk-0", 16);
    world.policy.source = "keep-last = 2".to_owned();
    for round in 0_u32..8 {
        let mut run = world.start(&format!("2026-01-1{round}T03:00:00Z"), &[]);
        thread::sleep(Duration::from_millis(u64::from(60 + round * 110)));
        run.kill().unwrap();
        run.wait().unwrap();
        world.wait_for_quiet();
        world.write(GUEST, &format!("file-{round}"), 2);
    }
    let healed = world.run("2026-01-20T03:00:00Z");
    assert_same_newest(&files, &world.backup(GUEST));
    assert_same_newest(&disk, &world.backup("vm-100-disk-0"));
    // The snapshot from which a broken-off receive was resumed stayed until then, and goes now.
    world.run_with("2026-01-20T04:00:00Z", &["--no-snapshot"]).expect_code(0);
    let run = world.run_with("2026-01-20T05:00:00Z", &["--no-snapshot"]).expect_code(0);
    assert_eq!(run.actions(), Vec::<String>::new(), "{run:?} after {healed:?}");
}

#[test]
fn one_host_down_does_not_keep_the_other_from_being_served() {
    let mut world = World::with_archive("one-down");
    let files = world.filesystem(GUEST, 1);
    world.policy.backup_at = Some(("offline".to_owned(), world.backup_root()));
    let run = world.run_with(DAY_1, &["--archive"]).expect_code(1);
    assert!(run.finds("failed", "target-not-listed"), "{run:?}");
    assert_same_newest(&files, &world.archive(GUEST));
}

#[test]
fn names_go_on_through_the_hour_that_comes_twice_and_a_clock_set_back() {
    let mut world = World::new("clock");
    world.policy.top = "timezone = \"Europe/Berlin\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    for time in ["00:30", "01:30", "00:45"] {
        world.run(&format!("2026-10-25T{time}:00Z"));
    }
    assert_eq!(snapshots(&files), ["2026-10-25-003000", "2026-10-25-013000", "2026-10-25-013001"]);
}

#[test]
fn memory_is_bounded_by_the_buffer() {
    let mut world = World::new("memory");
    world.policy.transfer = "buffer = \"8MiB\"".to_owned();
    world.filesystem(GUEST, 256);
    let mut run = world.start(DAY_1, &[]);
    let mut most_kib = 0_u64;
    while run.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap_or_default();
        // Its allocations; the pages of a debug build's program text are not its to bound.
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        most_kib = most_kib.max(kib.unwrap_or(0));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(code(&mut run), Some(0));
    assert!(most_kib > 0 && most_kib < 96 << 10, "{most_kib} KiB");
}
