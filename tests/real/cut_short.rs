//! A restore whose stream is cut: near its end, or by a sender that reports success.

use zhaul::model::ResumeToken;

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, GUEST, World};

const POINT_1: &str = "2026-01-10-030000";

/// A world whose file system has gone and has a copy on this machine, the name of the one, and what it held.
fn lost(name: &str) -> (World, String, u64) {
    let mut world = World::new(name);
    world.back_up_locally();
    let files = world.filesystem(GUEST, 4);
    world.run(DAY_1);
    let held = content(&format!("{files}@{POINT_1}"));
    (world, files, held)
}

/// Restores with a `zfs send` whose stream passes through this piece of shell.
fn restore_through(world: &World, dataset: &str, filter: &str) -> Run {
    let bin = world.directory().join("cut");
    let script = format!("case \"$1 $2\" in 'send -L' | 'send -t') $real \"$@\" | {filter} ;; esac");
    stand_in::write_around(&bin, "zfs", &script);
    Run::of(stand_in::with(command(world, DAY_2, &["restore", dataset]), &bin))
}

#[test]
fn a_stream_that_is_cut_anywhere_near_its_end_is_continued_by_the_same_command() {
    let (world, files, held) = lost("cut-near-end");
    // ZFS then estimates what is left as less than nothing.
    for cut in [312, 20_000, 200_000] {
        zfs(&["destroy", "-r", &files]);
        let run = restore_through(&world, &files, &format!("head -c -{cut}; exit 1"));
        assert_eq!(run.code, Some(1), "{cut}: {run:?}");
        assert!(run.stdout.contains("MiB received in"), "what was received is kept, and reported: {run:?}");
        let dry = zhaul(&world, DAY_2, &["restore", &files, "-n"]).expect_code(0);
        assert!(!dry.stdout.contains("PiB"), "{cut}: {dry:?}");
        zhaul(&world, DAY_2, &["restore", &files]).expect_code(0);
        assert_eq!(content(&format!("{files}@{POINT_1}")), held, "{cut}");
    }
}

#[test]
fn a_stream_that_ends_early_is_an_error_whatever_its_sender_reports() {
    let (world, files, held) = lost("cut-with-success");
    for (cut, why) in
        [("head -c 1000000", "ended before its end record"), ("head -c 100", "does not begin as one")]
    {
        zfs(&["destroy", "-r", &files]);
        let run = restore_through(&world, &files, &format!("{cut}; exit 0"));
        assert_eq!(run.code, Some(1), "{cut}: {run:?}");
        assert!(run.stderr.contains(why), "{cut}: {run:?}");
        let into =
            |words: &[String]| words.iter().any(|word| word.contains("cut-with-success/data/zhaul-incoming"));
        assert_eq!(look::processes(into), Vec::<i32>::new(), "{cut}");
        zhaul(&world, DAY_2, &["restore", &files]).expect_code(0);
        assert_eq!(content(&format!("{files}@{POINT_1}")), held, "{cut}");
    }
}

/// How far the partial receive into a dataset has come.
fn progress(dataset: &str) -> (u64, u64) {
    let token = ResumeToken::parse(&property("receive_resume_token", dataset)).unwrap();
    (token.offset, token.received_bytes)
}

#[test]
fn a_resumed_stream_that_breaks_before_its_first_block_costs_nothing_that_had_arrived() {
    let mut world = World::new("cut-first-block");
    world.back_up_locally();
    let disk = world.volume("vm-100-disk-0", 24);
    world.run(DAY_1);
    let held = content(&format!("{disk}@{POINT_1}"));
    zfs(&["destroy", "-r", &disk]);
    assert_eq!(restore_through(&world, &disk, "head -c 12000000; exit 1").code, Some(1));
    let incoming = format!("{}/zhaul-incoming/vm-100-disk-0", world.source());
    let before = progress(&incoming);
    assert!(before.0 > 8 << 20, "{before:?}");
    // Behind the record of the object, and within the first block: OpenZFS would begin again at 0.
    for cut in [312, 1100, 2000, 9000] {
        let run = restore_through(&world, &disk, &format!("head -c {cut}; exit 1"));
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(progress(&incoming), before, "{cut}: {run:?}");
    }
    // Also where its sender reports success.
    let run = restore_through(&world, &disk, "head -c 2000; exit 0");
    assert!(run.stderr.contains("ended before its first block"), "{run:?}");
    assert_eq!(progress(&incoming), before, "{run:?}");
    zhaul(&world, DAY_2, &["restore", &disk]).expect_code(0);
    assert_eq!(content(&format!("{disk}@{POINT_1}")), held);
}
