//! A system that starts no more threads: a run says so, panics nowhere, and the next one does what it left.

use std::process::Command;

use crate::look::assert_same_newest;
use crate::outcome::Run;
use crate::world::{DAY_3, GUEST, World};

/// As much address space as one thread takes, and as the rest of a process does.
const STACK_BYTES: u64 = 1 << 30;
const OTHER_BYTES: u64 = 600 << 20;

/// A run whose every process can start `threads` threads at a time.
fn run_with_threads(world: &World, threads: u64, clock: &str) -> Run {
    let run = world.command(clock, &["--archive"]);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--as={}", OTHER_BYTES + threads * STACK_BYTES));
    limited.arg(run.get_program()).args(run.get_args()).env("RUST_MIN_STACK", STACK_BYTES.to_string());
    Run::of(limited)
}

fn serve_with_few_threads(name: &str, is_local: bool) {
    let mut world = World::with_archive(name);
    if is_local {
        world.back_up_locally();
        world.policy.archive_host = Some("local".to_owned());
    }
    let other = world.filesystem("subvol-102-disk-0", 1);
    let guest = world.filesystem(GUEST, 1);
    let mut refused = 0;
    for threads in 0..12 {
        let run = run_with_threads(&world, threads, &format!("2026-01-11T03:{:02}:00Z", 10 + threads));
        assert!(!run.stderr.contains("panicked") && !run.stdout.contains("a bug"), "{threads}: {run:?}");
        if run.code != Some(0) {
            assert_eq!(run.code, Some(1), "{threads}: {run:?}");
            let output = format!("{}{}", run.stderr, run.stdout);
            assert!(output.contains("no more threads"), "{threads}: {run:?}");
            refused += 1;
        }
    }
    assert!((1..12).contains(&refused), "{refused} of 12 runs were refused a thread that they need");
    world.wait_for_quiet();
    world.run(DAY_3);
    assert_same_newest(&guest, &world.backup(GUEST));
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}

#[test]
fn too_few_threads_are_an_error_and_no_panic_over_ssh() {
    serve_with_few_threads("few-threads", false);
}

#[test]
fn too_few_threads_are_an_error_and_no_panic_here() {
    serve_with_few_threads("few-threads-here", true);
}
