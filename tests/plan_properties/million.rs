//! A million steps: histories of both kinds, of a dataset that leaves its line and of months in which everything breaks, one
//! seed after another until `ZHAUL_STEPS` steps are done. After each run every promise holds; each history of months ends healed.
//!
//! `cargo test --release --test plan_properties -- --ignored --nocapture million`. `ZHAUL_STEPS` is their number (1000000),
//! `ZHAUL_STEPS_SEED` the first seed (0): it says which seeds it has done, so that it can go on there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::acts::{Op, ops};
use crate::lineage::{self, STEPS};
use crate::months;

/// The history of months of a seed.
fn history(seed: u64) -> (Vec<Op>, bool) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = (prop::collection::vec(ops(), 1..60), any::<bool>());
    strategy.new_tree(&mut runner).unwrap().current()
}

/// Plays the history of a seed; gives its steps.
fn play(seed: u64) -> u64 {
    if seed.is_multiple_of(2) {
        let (spoilt, counts) = lineage::play(seed, false);
        assert_eq!(spoilt, None, "seed {seed}");
        return u64::try_from(counts[STEPS]).unwrap();
    }
    let (ops, intermediates) = history(seed);
    months::live(&ops, intermediates);
    // Under each of two policies.
    2 * u64::try_from(ops.len()).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var_os(variable).map_or(default, |value| value.to_str().unwrap().parse().unwrap())
}

#[test]
#[ignore = "minutes on all processors; README.md has the command"]
fn a_million_steps_keep_every_promise() {
    let (goal, first) = (number("ZHAUL_STEPS", 1_000_000), number("ZHAUL_STEPS_SEED", 0));
    let (next, steps, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let started = Instant::now();
    let work = || {
        while steps.load(Ordering::Relaxed) < goal && failed.load(Ordering::Relaxed) == u64::MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            match catch_unwind(AssertUnwindSafe(|| play(seed))) {
                Ok(done) => drop(steps.fetch_add(done, Ordering::Relaxed)),
                Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            for _ in 0..600 {
                if workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
            let (seed, done) = (next.load(Ordering::Relaxed), steps.load(Ordering::Relaxed));
            println!("seeds {first}..{seed}: {done} steps in {} s", started.elapsed().as_secs());
        }
    });
    let failed = failed.into_inner();
    assert_eq!(failed, u64::MAX, "seed {failed} breaks a promise: ZHAUL_STEPS_SEED={failed} begins there");
}
