//! Targets that go away or fill up, before a run or in the middle of it: the others are served, the failure is reported with
//! cause and next action, and the next plain run sends the rest.

use std::process::Child;
use std::time::Duration;

use zhaul::model::ResumeToken;

use crate::agent;
use crate::look::{self, assert_same_newest, snapshots};
use crate::outcome::{Run, assert_reports};
use crate::pool::{property, zfs};
use crate::spare::{SpareHost, SparePool};
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const MIB: u64 = 1 << 20;
/// A run ends within this, whatever happens.
const LIMIT: Duration = Duration::from_secs(90);

fn token(copy: &str) -> ResumeToken {
    ResumeToken::parse(&property("receive_resume_token", copy)).unwrap()
}

#[test]
fn a_pool_that_is_missing_on_one_host_does_not_keep_the_other_from_being_served() {
    let pool = SparePool::new("tank-missing", 96);
    let mut world = World::with_archive("pool-missing");
    let files = world.filesystem(GUEST, 1);
    let root = format!("{}/pve0", pool.name);
    world.policy.backup_at = Some(("nfs8".to_owned(), root.clone()));
    world.run(DAY_1);
    pool.export();
    world.write(GUEST, "second", 1);
    let run = world.run_for_a_person(DAY_2, &["--archive"]).expect_code(1);
    let cause = format!("no pool {} is imported there", pool.name);
    let next = format!("zpool import {}", pool.name);
    assert_reports(&run, &["backup", &root, &cause, &next, "the next run sends what is missing"]);
    assert_same_newest(&files, &world.archive(GUEST));
    assert!(!look::exists(&pool.name), "nothing was made in its place");
    pool.import();
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.send("backup").base().is_some(), "{run:?}");
    assert_same_newest(&files, &format!("{root}/{GUEST}"));
}

#[test]
fn a_pool_that_fills_up_in_mid_receive_loses_nothing_and_the_stream_continues_when_there_is_room() {
    let pool = SparePool::new("tank-full", 96);
    let mut world = World::with_archive("pool-full");
    let files = world.filesystem(GUEST, 4);
    let root = format!("{}/pve0", pool.name);
    let copy = format!("{root}/{GUEST}");
    world.policy.backup_at = Some(("nfs8".to_owned(), root));
    world.policy.backup = "keep-last = 2".to_owned();
    for day in [DAY_1, DAY_2] {
        world.write(GUEST, "first", 4);
        world.run(day);
    }
    world.write(GUEST, "big", 96);
    let run = world.run_for_a_person(DAY_3, &["--archive"]).expect_code(1);
    let object = format!("{copy}@2026-01-12-030000");
    let copy_has = format!("are available to {}", pool.name);
    let words = [
        "backup",
        &object,
        "there is no space left",
        &copy_has,
        "the stream has about 96",
        "make room there",
    ];
    assert_reports(&run, &words);
    assert!(run.stderr.contains("the next run"), "{run:?}");
    assert_eq!(
        snapshots(&copy),
        ["2026-01-10-030000", "2026-01-11-030000"],
        "no more is pruned than is wanted"
    );
    assert_same_newest(&files, &world.archive(GUEST));
    let received = token(&copy).received_bytes;
    assert!(received > 8 * MIB, "{received}");
    pool.grow(256);
    let run = world.run_as_planned("2026-01-12T04:00:00Z", &["--no-snapshot"], 0);
    let moved = run.moved("backup");
    assert!(moved < 98 * MIB - received, "{received} had arrived, {moved} moved");
    assert_eq!(snapshots(&copy), ["2026-01-11-030000", "2026-01-12-030000"]);
    assert_same_newest(&files, &copy);
}

/// A world whose backup is on a host of its own, with a run under way that has moved 2 MiB there.
fn under_way(name: &'static str, number: u8, mib: u64, transfer: &str) -> (SpareHost, World, Child) {
    let host = SpareHost::new(name, number);
    let mut world = World::with_archive(name);
    world.filesystem(GUEST, mib);
    world.policy.backup_at = Some((name.to_owned(), world.backup_root()));
    world.policy.backup = format!("ssh-config = \"{}\"", host.ssh_config(world.directory()).display());
    transfer.clone_into(&mut world.policy.transfer);
    let run = world.start(DAY_1, &["--archive"]);
    look::wait_for_used(&world.backup(GUEST), 2 * MIB);
    (host, world, run)
}

/// The archive has all, the backup a part with which the next run continues.
fn assert_served_and_resumed(world: &mut World, mib: u64) {
    let copy = world.backup(GUEST);
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Jan-10"]);
    assert_same_newest(&world.guest(GUEST), &world.archive(GUEST));
    world.wait_for_quiet();
    let received = token(&copy).received_bytes;
    world.policy.transfer.clear();
    let run = world.run_as_planned("2026-01-10T05:00:00Z", &["--no-snapshot"], 0);
    let moved = run.moved("backup");
    assert!(moved < (mib + 2) * MIB - received, "{received} had arrived, {moved} moved");
    assert_same_newest(&world.guest(GUEST), &copy);
}

#[test]
fn an_sshd_that_ends_in_the_middle_of_a_run_does_not_keep_the_other_host_from_being_served() {
    let (host, mut world, run) = under_way("dying", 41, 12, "rate = \"6MiB\"");
    host.stop_sshd();
    let run = Run::end(&world, run, LIMIT).0.expect_code(1);
    let object = format!("{}@2026-01-10-030000", world.backup(GUEST));
    assert_reports(
        &run,
        &["dying", &object, "the host cannot be reached", "check that the host is up", "the next run"],
    );
    let run = world.run_for_a_person("2026-01-10T04:00:00Z", &["--no-snapshot"]).expect_code(1);
    assert_reports(&run, &["backup", "dying", "Connection refused", "the next run sends what is missing"]);
    host.start_sshd();
    assert_served_and_resumed(&mut world, 12);
}

#[test]
fn a_cable_that_is_pulled_ends_in_a_stall_and_the_other_host_is_served() {
    let (host, mut world, run) = under_way("cable", 42, 48, "rate = \"12MiB\"\nstall-limit = \"4s\"");
    host.unplug();
    let run = Run::end(&world, run, LIMIT).0.expect_code(1);
    host.plug();
    let object = format!("{}@2026-01-10-030000", world.guest(GUEST));
    assert_reports(&run, &["(backup)", &object, "no data moved for 4 seconds", "the next run"]);
    assert_served_and_resumed(&mut world, 48);
}

#[test]
fn a_host_that_nothing_can_be_sent_to_has_its_guests_snapshots_and_bookmarks_all_the_same() {
    let mut world = World::new("nothing-sent");
    let files = world.filesystem(GUEST, 1);
    world.policy.backup_at = Some(("unheard-of".to_owned(), world.backup_root()));
    let run = world.run_for_a_person(DAY_1, &[]).expect_code(1);
    assert_reports(
        &run,
        &["backup", "unheard-of", "Could not resolve hostname", "the next run sends what is missing"],
    );
    assert_eq!(snapshots(&files), ["2026-01-10-030000"]);
    assert_eq!(look::bookmarks(&files), ["2026-01-10-030000"]);
    zfs(&["destroy", &format!("{files}@2026-01-10-030000")]);
    world.policy.backup_at = None;
    world.run(DAY_2);
    assert_same_newest(&files, &world.backup(GUEST));
}

#[test]
fn a_login_shell_that_reads_what_zhaul_sends_is_named_and_the_other_host_is_served() {
    for (name, swallow) in [("swallowed-line", "read -r line"), ("swallowed-all", "cat >/dev/null")] {
        let mut world = World::with_archive(name);
        let files = world.filesystem(GUEST, 1);
        let command = format!("{swallow}; exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"");
        world.policy.backup = agent::key_that_runs(&world, &command);
        let limit = Duration::from_secs(150);
        let (run, _) = Run::end(&world, world.start(DAY_1, &["--archive"]), limit);
        let run = run.expect_code(1);
        assert_reports(&run, &["backup", "reads standard input", "next: "]);
        assert_same_newest(&files, &world.archive(GUEST));
        world.wait_for_quiet();
    }
}
