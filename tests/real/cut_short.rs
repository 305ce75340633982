//! A restore whose stream is cut: near its end, or by a sender that reports success.

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::zfs;
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
    let script = format!("case \"$1 $2\" in 'send -L') $real \"$@\" | {filter} ;; esac");
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
