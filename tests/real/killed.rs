//! Runs that are killed or stopped at a chosen moment, and what is left of them.

use std::fs;
use std::time::{Duration, Instant};
use std::{process, thread};

use rustix::process::Signal;
use zhaul::model::ResumeToken;

use crate::look::{self, assert_same_newest, guids, snapshots};
use crate::pool::{property, zfs};
use crate::world::{GUEST, World};

const MIB: u64 = 1 << 20;
const OTHER: &str = "subvol-102-disk-0";
/// Longer than anything may stay behind.
const FEW_SECONDS: Duration = Duration::from_secs(4);

fn kill(world: &World, mut run: process::Child) {
    run.kill().unwrap();
    run.wait().unwrap();
    world.wait_for_quiet();
}

#[test]
fn killed_in_the_middle_of_an_archive_the_next_plain_run_continues_with_that_month() {
    let mut world = World::archive_only("killed-archive");
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    world.write(GUEST, "march", 16);
    world.policy.transfer = "rate = \"6MiB\"".to_owned();
    let archive = world.archive(GUEST);
    let used: u64 = property("used", &archive).parse().unwrap();
    let run = world.start("2026-03-01T03:00:00Z", &[]);
    look::wait_for_used(&archive, used + 4 * MIB);
    kill(&world, run);
    world.policy.transfer.clear();
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    let received = ResumeToken::parse(&property("receive_resume_token", &archive)).unwrap().received_bytes;
    let run = world.run_as_planned("2026-03-02T03:00:00Z", &[], 0);
    let moved = run.moved("archive");
    assert!(moved < 18 * MIB - received, "{received} had arrived, {moved} moved");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    assert_eq!(guids(&archive)["2026-Mar"], guids(&files)["2026-03-01-030000"]);
    world.run("2026-03-03T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"], "once a month");
}

#[test]
fn killed_between_an_archives_receive_and_what_follows_the_next_plain_run_does_the_rest() {
    let mut world = World::archive_only("killed-after");
    world.policy.source = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    let other = world.filesystem(OTHER, 1);
    world.run("2026-01-31T03:00:00Z");
    world.write(OTHER, "big", 16);
    world.policy.transfer = "jobs = 1\nrate = \"6MiB\"".to_owned();
    let run = world.start("2026-02-01T03:00:00Z", &[]);
    look::wait_for_used(&world.archive(OTHER), 2 * MIB);
    kill(&world, run);
    world.policy.transfer.clear();
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Feb"], "the first one was there");
    assert_eq!(snapshots(&other).len(), 2, "and nothing was pruned yet");
    let archived = guids(&world.archive(GUEST));
    let run = world.run_as_planned("2026-02-01T04:00:00Z", &[], 0);
    assert_eq!(run.sends("archive").len(), 1, "{run:?}");
    assert_eq!(guids(&world.archive(GUEST)), archived);
    assert_eq!(snapshots(&world.archive(OTHER)), ["2026-Feb"]);
    assert_eq!(snapshots(&files), ["2026-02-01-040000"]);
    assert_eq!(snapshots(&other), ["2026-02-01-040000"], "the one that was sent stayed until it had arrived");
    world.run("2026-02-01T05:00:00Z");
    for dataset in [&files, &other] {
        assert_eq!(snapshots(dataset), ["2026-02-01-050000"]);
    }
}

/// A process's descendants.
fn descendants(of: i32) -> Vec<i32> {
    let parent_of = |pid: i32| -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let all = look::processes(|_| true);
    let mut found = vec![of];
    loop {
        let is_new =
            |pid: &&i32| !found.contains(pid) && parent_of(**pid).is_some_and(|p| found.contains(&p));
        let new: Vec<i32> = all.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            found.remove(0);
            return found;
        }
        found.extend(new);
    }
}

/// Waits until `is_over`, or fails.
fn soon(what: &str, is_over: impl Fn() -> bool) {
    let deadline = Instant::now() + FEW_SECONDS;
    while !is_over() {
        assert!(Instant::now() < deadline, "{what} is left behind");
        thread::sleep(Duration::from_millis(20));
    }
}

fn succeeds(words: &[&str]) -> bool {
    process::Command::new("zfs").args(words).output().unwrap().status.success()
}

/// Starts a run, and stops it by `signal` once `copy` has taken in 3 MiB; nothing of it is left a little later.
fn cancel(world: &World, clock: &str, signal: Signal) {
    let mut run = world.start(clock, &["--no-snapshot"]);
    look::wait_for_used(&world.backup(GUEST), 3 * MIB);
    let pid = i32::try_from(run.id()).unwrap();
    let words = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let children: Vec<_> = descendants(pid).into_iter().map(|pid| (pid, words(&pid))).collect();
    assert!(!children.is_empty(), "ssh is one");
    let asked = Instant::now();
    look::signal(pid, signal);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < FEW_SECONDS, "it took {:?}", asked.elapsed());
    let stderr = fs::read_to_string(world.directory().join("stderr")).unwrap();
    assert!(
        stderr.contains("interrupted") && stderr.contains("the next run continues from here"),
        "{stderr}"
    );
    for (child, words) in children {
        soon(&format!("process {child} ({words})"), || {
            !std::path::Path::new(&format!("/proc/{child}")).exists()
        });
    }
    soon("zfs receive", || world.receivers().is_empty());
}

#[test]
fn a_run_that_is_stopped_in_mid_transfer_leaves_no_process_and_nothing_busy() {
    let mut world = World::new("stopped");
    let files = world.filesystem(GUEST, 24);
    let (snapshot, copy) = (format!("{files}@2026-01-10-030000"), world.backup(GUEST));
    zfs(&["snapshot", &snapshot]);
    world.policy.transfer = "rate = \"6MiB\"".to_owned();
    cancel(&world, "2026-01-10T04:00:00Z", Signal::INT);
    let received = ResumeToken::parse(&property("receive_resume_token", &copy)).unwrap().received_bytes;
    assert!(received > 2 * MIB);
    zfs(&["receive", "-A", &copy]);
    cancel(&world, "2026-01-10T05:00:00Z", Signal::TERM);
    // Neither end is held by anything any more: what was being sent and what was being received can be destroyed.
    soon("a busy snapshot", || succeeds(&["destroy", &snapshot]));
    soon("a busy copy", || succeeds(&["receive", "-A", &copy]));
    world.policy.transfer.clear();
    world.run("2026-01-10T06:00:00Z");
    assert_same_newest(&files, &copy);
}

/// A run that sends, slowly, and has moved 3 MiB.
fn sending(name: &str) -> (World, process::Child) {
    let mut world = World::new(name);
    world.filesystem(GUEST, 24);
    "rate = \"6MiB\"".clone_into(&mut world.policy.transfer);
    let run = world.start("2026-01-10T03:00:00Z", &[]);
    look::wait_for_used(&world.backup(GUEST), 3 * MIB);
    (world, run)
}

/// The run fails with these words and a next action, and the next one resumes its stream.
fn assert_reported_and_resumed(mut world: World, mut run: process::Child, words: &str) {
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let stderr = fs::read_to_string(world.directory().join("stderr")).unwrap();
    assert!(stderr.contains(words) && stderr.contains("next: "), "{stderr}");
    world.wait_for_quiet();
    world.policy.transfer.clear();
    let run = world.run("2026-01-10T04:00:00Z");
    assert!(run.sends("backup")[0].step["action"]["resume"].is_object(), "{run:?}");
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn a_run_that_was_suspended_and_continues_loses_nothing() {
    let (world, mut run) = sending("suspended");
    let pid = i32::try_from(run.id()).unwrap();
    look::signal(pid, Signal::STOP);
    thread::sleep(Duration::from_secs(1));
    look::signal(pid, Signal::CONT);
    assert_eq!(run.wait().unwrap().code(), Some(0), "the call in the kernel is another process's");
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn a_call_that_was_stopped_is_reported_and_its_stream_resumed() {
    let (world, run) = sending("stopped-call");
    for pid in look::callers(run.id()) {
        look::signal(pid, Signal::STOP);
        thread::sleep(Duration::from_millis(500));
        look::signal(pid, Signal::CONT);
    }
    // A stop ends the call in the kernel that sends (openzfs #16132): zhaul cannot block the stop, but must report it.
    assert_reported_and_resumed(world, run, "a signal interrupted the call");
}

#[test]
fn a_receive_that_was_stopped_is_not_begun_again_over_what_it_left() {
    let (world, run) = sending("stopped-receive");
    let receiver = world.wait_for_receive();
    look::signal(receiver, Signal::STOP);
    thread::sleep(Duration::from_millis(500));
    look::signal(receiver, Signal::CONT);
    // Linux begins a call again that a stop interrupted; ZFS takes that for another receive, and says only that the dataset
    // is busy.
    assert_reported_and_resumed(world, run, "zfs receive was stopped or frozen there");
}
