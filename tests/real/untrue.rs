//! A `zfs receive` at the target that does not do what it says, or that refuses what it had begun to take.

use crate::failing::FailingPool;
use crate::look::{self, assert_same_newest, snapshots};
use crate::outcome::{Run, assert_reports};
use crate::pool::property;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const MIB: u64 = 1 << 20;

/// Reads the whole stream and keeps nothing of it.
const TAKE: &str = "for last; do :; done; $real receive -n \"$last\"";

/// Runs with a `zfs` whose `receive` is this piece of shell; `$real` is the real one.
fn run_with_receive(world: &World, clock: &str, receive: &str, more: &[&str]) -> Run {
    let bin = world.directory().join("bin");
    stand_in::write_around(&bin, "zfs", &format!("case \"$1 $2\" in 'receive -s') {receive} ;; esac"));
    Run::of(stand_in::with(world.command(clock, more), &bin))
}

fn local(name: &str) -> World {
    let mut world = World::new(name);
    world.back_up_locally();
    "keep-last = 1".clone_into(&mut world.policy.source);
    world
}

#[test]
fn what_did_not_arrive_is_a_failure_and_nothing_is_pruned_for_it() {
    let mut world = local("not-arrived");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let copy = world.backup(GUEST);
    let run = run_with_receive(&world, DAY_2, &format!("{TAKE}; exit 0"), &[]).expect_code(1);
    assert!(
        run.stderr.contains("zfs receive ended without an error, but the snapshot is not there"),
        "{run:?}"
    );
    assert_eq!(snapshots(&files), ["2026-01-10-030000", "2026-01-11-030000"]);
    assert_eq!(snapshots(&copy), ["2026-01-10-030000"]);
    // Another snapshot under the name of the one that was sent.
    let other = format!("{TAKE}; $real snapshot \"$last\"; exit 0");
    let run = run_with_receive(&world, "2026-01-12T03:00:00Z", &other, &[]).expect_code(1);
    assert!(run.stderr.contains("the snapshot there has the guid"), "{run:?}");
    assert_eq!(snapshots(&files), ["2026-01-10-030000", "2026-01-12-030000"], "the base and the newest stay");
}

#[test]
fn a_resumed_stream_that_is_refused_twice_at_its_place_is_dropped_and_sent_again() {
    let refuse =
        "head -c 65536 > /dev/null; echo 'cannot receive resume stream: invalid backup stream' >&2; exit 1";
    let mut world = local("refused");
    let (files, copy) = (world.filesystem(GUEST, 24), world.backup(GUEST));
    world.cut(DAY_1, GUEST, 8 * MIB);
    // A stream that is only cut again, and a full pool, keep what had arrived.
    for passing in ["checksum mismatch or incomplete stream", "out of space"] {
        let words = refuse.replace("invalid backup stream", passing);
        run_with_receive(&world, "2026-01-10T04:00:00Z", &words, &["--no-snapshot"]).expect_code(1);
        assert_ne!(property("receive_resume_token", &copy), "-", "{passing}");
    }
    let run = run_with_receive(&world, "2026-01-10T05:00:00Z", refuse, &["--no-snapshot"]).expect_code(1);
    assert!(run.stderr.contains("refused twice at the same place: what had arrived was dropped"), "{run:?}");
    assert!(!look::exists(&copy));
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.moved("backup") > 24 * MIB, "{run:?}");
    assert_same_newest(&files, &copy);
}

#[test]
fn one_refusal_of_a_resumed_stream_drops_nothing() {
    let mut world = local("refused-once");
    let (files, copy) = (world.filesystem(GUEST, 24), world.backup(GUEST));
    let received = world.cut(DAY_1, GUEST, 8 * MIB).received_bytes;
    let once = format!(
        "if ! [ -e {0} ]; then touch {0}; head -c 65536 > /dev/null; \
         echo 'cannot receive resume stream: invalid backup stream' >&2; exit 1; fi",
        world.directory().join("refused").display()
    );
    let run = run_with_receive(&world, "2026-01-10T04:00:00Z", &once, &["--no-snapshot"]).expect_code(0);
    assert!(run.moved("backup") < 26 * MIB - received, "{run:?}");
    assert_same_newest(&files, &copy);
}

/// What `zfs receive` says where it cannot read the copy, since the disk fails; on a busy machine it says so before the pool
/// is suspended.
#[test]
fn a_copy_whose_disk_fails_is_not_said_to_have_been_changed_by_another_program() {
    let pool = FailingPool::new("unread-pool", 512);
    let mut world = local("unread");
    world.policy.backup_at = Some(("local".to_owned(), format!("{}/pve0", pool.name)));
    let source = world.filesystem(GUEST, 2);
    world.run(DAY_1);
    let fail = format!(
        "{}; echo \"cannot receive incremental stream: destination '$4' does not exist\" >&2; exit 1",
        pool.failing_command()
    );
    let run = run_with_receive(&world, DAY_2, &fail, &[]).expect_code(1);
    assert_reports(&run, &["pool unread-pool hangs: it is suspended", "zpool clear unread-pool"]);
    assert!(!run.stderr.contains("another program"), "{run:?}");
    pool.mend();
    // A copy that is really gone is said to be.
    let gone =
        "$real destroy -r unread-pool/pve0; echo \"cannot open '$4': dataset does not exist\" >&2; exit 1";
    let run = run_with_receive(&world, DAY_3, gone, &[]).expect_code(1);
    assert_reports(&run, &["another program changed it meanwhile"]);
    world.run("2026-01-13T03:00:00Z");
    assert_same_newest(&source, &format!("unread-pool/pve0/{GUEST}"));
}
