//! Calls into ZFS that do not return: the run ends, says which pool hangs, serves all others, and leaves nothing behind that
//! keeps the next run from its work.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent;
use crate::failing::FailingPool;
use crate::look::{self, assert_same_newest, snapshots};
use crate::outcome::{Run, assert_reports};
use crate::pool::zfs;
use crate::restoring::zhaul;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

/// Far more than any run takes that does not hang, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A row of the table of hangs.
#[expect(clippy::print_stderr, reason = "shown with --show-output")]
fn note(took: Duration, situation: &str) {
    eprintln!("table: {situation}: {:.1} s", took.as_secs_f64());
}

/// A world with a guest on its own pool and one, with 8 MiB, on a pool that can fail.
fn failing_source(name: &str) -> (FailingPool, World, [String; 2]) {
    let pool = FailingPool::new(&format!("{name}-pool"), 512);
    let mut world = World::new(name);
    let good = world.filesystem(GUEST, 1);
    let root = format!("{}/other", pool.name);
    let bad = format!("{root}/subvol-102-disk-0");
    zfs(&["create", &root]);
    zfs(&["create", &bad]);
    look::write_file(&bad, "first", 8);
    world.policy.datasets = vec![world.source(), root];
    (pool, world, [good, bad])
}

/// The same; both guests were backed up once.
fn with_failing_source(name: &str) -> (FailingPool, World, [String; 2]) {
    let (pool, mut world, guests) = failing_source(name);
    world.run(DAY_1);
    (pool, world, guests)
}

#[test]
fn a_source_pool_that_is_suspended_by_the_snapshot_does_not_hold_up_the_run_or_the_next() {
    let (pool, world, [good, bad]) = with_failing_source("hang-snapshot");
    look::write_file(&bad, "second", 1);
    pool.fail();
    let (run, took) = Run::end(&world, world.start(DAY_2, &[]), LIMIT);
    note(took, "source pool suspended in a snapshot");
    let run = run.expect_code(1);
    let status = format!("zpool status {}", pool.name);
    assert_reports(&run, &[&format!("pool {} hangs", pool.name), &status]);
    assert_same_newest(&good, &world.backup(GUEST));
    assert_eq!(snapshots(&good).last().unwrap(), "2026-01-11-030000");
    let (run, took) = Run::end(&world, world.start("2026-01-11T04:00:00Z", &[]), LIMIT);
    note(took, "next run while it is suspended");
    assert_reports(&run.expect_code(1), &[&pool.name, "suspended"]);
    assert_eq!(snapshots(&good).last().unwrap(), "2026-01-11-040000");
    assert_same_newest(&good, &world.backup(GUEST));
    pool.mend();
    let (run, _) = Run::end(&world, world.start(DAY_3, &[]), LIMIT);
    run.expect_code(0);
    assert_same_newest(&bad, &world.backup("subvol-102-disk-0"));
}

#[test]
fn a_source_pool_that_does_not_answer_is_given_up_at_the_limit_and_term_ends_a_run_that_waits() {
    let (pool, mut world, [good, bad]) = with_failing_source("hang-frozen");
    world.policy.transfer = "stall-limit = \"5s\"".to_owned();
    look::write_file(&bad, "second", 1);
    pool.freeze();
    let (run, took) = Run::end(&world, world.start(DAY_2, &[]), LIMIT);
    note(took, "source pool does not answer in a snapshot");
    assert_reports(
        &run.expect_code(1),
        &[&format!("pool {} hangs", pool.name), "did not return within 30 seconds"],
    );
    assert_same_newest(&good, &world.backup(GUEST));
    let waiting = world.start("2026-01-11T04:00:00Z", &[]);
    thread::sleep(Duration::from_secs(4));
    look::signal(i32::try_from(waiting.id()).unwrap(), rustix::process::Signal::TERM);
    let (run, took) = Run::end(&world, waiting, Duration::from_secs(25));
    note(took, "TERM while a snapshot does not return");
    assert_eq!(run.code, Some(130), "{run:?}");
    let killed = world.start("2026-01-11T05:00:00Z", &[]);
    thread::sleep(Duration::from_secs(4));
    look::signal(i32::try_from(killed.id()).unwrap(), rustix::process::Signal::KILL);
    Run::end(&world, killed, Duration::from_secs(5));
    pool.mend();
    let (run, _) = Run::end(&world, world.start(DAY_3, &[]), LIMIT);
    run.expect_code(0);
    assert_same_newest(&good, &world.backup(GUEST));
    assert_same_newest(&bad, &world.backup("subvol-102-disk-0"));
}

#[test]
fn what_a_killed_run_still_does_in_the_kernel_is_awaited() {
    // Without an own snapshot, since the holds on these would be the first call.
    let (pool, world, [_, bad]) = failing_source("hang-killed");
    pool.freeze();
    let mut killed = world.start(DAY_2, &[]);
    thread::sleep(Duration::from_secs(4));
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Its snapshot is in the kernel, and will be taken.
    let next = world.start("2026-01-11T04:00:00Z", &[]);
    thread::sleep(Duration::from_secs(2));
    pool.mend();
    let (run, took) = Run::end(&world, next, LIMIT);
    note(took, "run after one that was killed in a snapshot");
    run.expect_code(0);
    assert_eq!(snapshots(&bad), ["2026-01-11-030000", "2026-01-11-040000"]);
    assert_eq!(look::bookmarks(&bad), snapshots(&bad));
    assert_same_newest(&bad, &world.backup("subvol-102-disk-0"));
}

#[test]
fn a_guest_configuration_that_does_not_answer_keeps_nothing_from_being_backed_up() {
    let pool = FailingPool::new("hang-pve-pool", 128);
    let mut world = World::new("hang-pve");
    let guest = world.filesystem(GUEST, 1);
    let written = world.guest_configs(&[("lxc/101.conf", &format!("rootfs: z:{GUEST},size=1G\n"))]);
    let directory = PathBuf::from(format!("/mnt/{}/pve", pool.name));
    // So much that compresses so little must be read from the disk.
    let mut storages = fs::read_to_string(written.join("storage.cfg")).unwrap();
    storages.extend((0..20_000_u64).map(|n| format!("# {:016x}\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
    fs::write(written.join("storage.cfg"), storages).unwrap();
    let copied = Command::new("cp").arg("-r").arg(&written).arg(&directory).status().unwrap();
    assert!(copied.success());
    world.policy.source = format!("guest-config = {directory:?}");
    world.run(DAY_1);
    pool.forget();
    pool.freeze();
    for (day, words) in [(DAY_2, "two runs after each other"), (DAY_3, "the next one")] {
        let (run, took) = Run::end(&world, world.start(day, &[]), LIMIT);
        note(took, &format!("the guests' configuration does not answer, {words}"));
        assert_reports(&run.expect_code(1), &["reading /mnt/hang-pve-pool/pve did not end within 20 s"]);
        assert_same_newest(&guest, &world.backup(GUEST));
        assert!(took < Duration::from_secs(35), "{took:?}");
    }
    pool.mend();
    let (run, _) = Run::end(&world, world.start("2026-01-13T03:00:00Z", &[]), LIMIT);
    run.expect_code(0);
    assert_same_newest(&guest, &world.backup(GUEST));
}

/// The ways to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Here,
    Shell,
    Agent,
}

/// A world with an archive whose backup is on a pool that can fail; all was backed up once.
fn with_failing_target(name: &str, kind: Kind) -> (FailingPool, World) {
    let pool = FailingPool::new(&format!("{name}-pool"), 512);
    let mut world = World::with_archive(name);
    let host = if kind == Kind::Here { "local" } else { "nfs8" };
    world.policy.backup_at = Some((host.to_owned(), format!("{}/pve0", pool.name)));
    "stall-limit = \"20s\"".clone_into(&mut world.policy.transfer);
    world.policy.backup = if kind == Kind::Agent { agent::key(&world, "") } else { String::new() };
    world.filesystem(GUEST, 2);
    world.run(DAY_1);
    (pool, world)
}

/// The archive gets the data that the backup cannot take; once the pool is mended, the next run sends that data there, too.
fn assert_served_and_healed(pool: &FailingPool, world: &mut World) {
    assert_same_newest(&world.guest(GUEST), &world.archive(GUEST));
    pool.mend();
    world.wait_for_quiet();
    let (run, _) = Run::end(world, world.start(DAY_3, &[]), LIMIT);
    run.expect_code(0);
    assert_same_newest(&world.guest(GUEST), &format!("{}/pve0/{GUEST}", pool.name));
}

fn suspended_target(name: &str, kind: Kind) {
    let (pool, mut world) = with_failing_target(name, kind);
    world.write(GUEST, "second", 16);
    pool.fail();
    let (run, took) = Run::end(&world, world.start(DAY_2, &["--archive"]), LIMIT);
    note(took, &format!("target pool suspended in a receive ({kind:?})"));
    assert_reports(&run.expect_code(1), &[&format!("pool {} hangs", pool.name), "suspended", "zpool clear"]);
    let (run, took) = Run::end(&world, world.start("2026-01-11T04:00:00Z", &["--archive"]), LIMIT);
    note(took, &format!("next run while it is suspended ({kind:?})"));
    assert_reports(&run.expect_code(1), &[&pool.name, "suspended"]);
    assert_served_and_healed(&pool, &mut world);
}

#[test]
fn a_target_pool_that_is_suspended_in_a_receive_is_named_here() {
    suspended_target("hang-here", Kind::Here);
}

#[test]
fn a_target_pool_that_is_suspended_in_a_receive_is_named_by_a_shell() {
    suspended_target("hang-shell", Kind::Shell);
}

#[test]
fn a_target_pool_that_is_suspended_in_a_receive_is_named_by_its_agent() {
    suspended_target("hang-agent", Kind::Agent);
}

#[test]
fn a_target_pool_that_does_not_answer_is_given_up_at_the_limit() {
    for (name, kind) in [("frozen-shell", Kind::Shell), ("frozen-agent", Kind::Agent)] {
        let (pool, mut world) = with_failing_target(name, kind);
        world.write(GUEST, "second", 16);
        pool.freeze();
        let (run, took) = Run::end(&world, world.start(DAY_2, &["--archive"]), LIMIT * 2);
        note(took, &format!("target pool does not answer in a receive ({kind:?})"));
        assert_reports(&run.expect_code(1), &[&format!("pool {} hangs", pool.name)]);
        assert_served_and_healed(&pool, &mut world);
    }
}

#[test]
fn a_source_that_fails_in_mid_stream_is_named_and_its_part_resumed() {
    for (name, kind) in [("midway-shell", Kind::Shell), ("midway-agent", Kind::Agent)] {
        let (pool, mut world, [good, bad]) = with_failing_source(name);
        // Nothing of it is to come from memory.
        zfs(&["set", "primarycache=none", &bad]);
        look::write_file(&bad, "second", 128);
        pool.forget();
        world.policy.transfer = "rate = \"4MiB\"\nbuffer = \"16MiB\"".to_owned();
        if kind == Kind::Agent {
            world.policy.backup = agent::key(&world, "");
        }
        let run = world.start(DAY_2, &[]);
        let copy = world.backup("subvol-102-disk-0");
        look::wait_for_used(&copy, 12 << 20);
        pool.fail();
        let (run, took) = Run::end(&world, run, LIMIT);
        note(took, &format!("source pool fails in mid-stream ({kind:?})"));
        assert_reports(&run.expect_code(1), &[&format!("pool {} hangs", pool.name), "zpool status"]);
        assert_same_newest(&good, &world.backup(GUEST));
        pool.mend();
        world.wait_for_quiet();
        world.policy.transfer.clear();
        let (run, _) = Run::end(&world, world.start(DAY_3, &[]), LIMIT);
        run.expect_code(0);
        assert_same_newest(&bad, &copy);
    }
}

/// Suspends the pool while nothing of zhaul uses it. What that waits for ends once the pool is mended.
fn suspend(pool: &FailingPool) -> Child {
    pool.fail();
    let waiting = Command::new("zfs").args(["set", "lab:suspend=yes", &pool.name]).spawn().unwrap();
    let until = Instant::now() + LIMIT;
    let health = || Command::new("zpool").args(["list", "-H", "-o", "health", &pool.name]).output().unwrap();
    while health().stdout != b"SUSPENDED\n" {
        assert!(Instant::now() < until, "{} is not suspended", pool.name);
        thread::sleep(Duration::from_millis(200));
    }
    waiting
}

#[test]
fn a_restore_says_which_pool_is_suspended_and_what_resumes_it() {
    // The pool that it is restored to.
    let (pool, world, [_, bad]) = with_failing_source("hang-restore-to");
    zfs(&["destroy", "-r", &bad]);
    let mut waiting = suspend(&pool);
    let refused = zhaul(&world, DAY_2, &["restore", &bad]).expect_code(1);
    let clear = format!("zpool clear {}", pool.name);
    let what = format!("the pool {} has suspended all I/O: nothing was done", pool.name);
    assert!(refused.stderr.contains(&what) && refused.stderr.contains(&clear), "{refused:?}");
    pool.mend();
    waiting.wait().unwrap();
    zhaul(&world, DAY_2, &["restore", &bad]).expect_code(0);
    drop((pool, world));
    // The pool of the only copy.
    let pool = FailingPool::new("hang-restore-from-pool", 512);
    let mut world = World::new("hang-restore-from");
    world.policy.backup_at = Some(("nfs8".to_owned(), format!("{}/pve0", pool.name)));
    let files = world.filesystem(GUEST, 2);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    let mut waiting = suspend(&pool);
    let refused = zhaul(&world, DAY_2, &["restore", &files]).expect_code(1);
    assert!(
        refused.stderr.contains("backup could not be listed")
            && refused.stderr.contains("is suspended after I/O errors")
            && refused.stderr.contains("so that backup can be listed: zpool status there")
            && refused.stderr.contains("zpool clear; then the same command again"),
        "{refused:?}"
    );
    pool.mend();
    waiting.wait().unwrap();
    zhaul(&world, DAY_2, &["restore", &files]).expect_code(0);
    zhaul(&world, DAY_2, &["restore", "12345"]).expect_code(2);
}

#[test]
fn a_listing_that_reads_from_a_failed_disk_is_given_up() {
    let (pool, world, [good, bad]) = with_failing_source("hang-list");
    pool.forget();
    pool.fail();
    let (run, took) = Run::end(&world, world.start(DAY_2, &[]), LIMIT);
    note(took, "source pool fails in a listing");
    assert_reports(&run.expect_code(1), &[&pool.name, "suspended"]);
    assert_same_newest(&good, &world.backup(GUEST));
    pool.mend();
    let (run, _) = Run::end(&world, world.start(DAY_3, &[]), LIMIT);
    run.expect_code(0);
    assert_same_newest(&bad, &world.backup("subvol-102-disk-0"));
}
