//! Hostile input, made at random for as long as asked: `cargo test --test fuzz -- TARGET [SECONDS] [SEED]`.
//!
//! It starts from what a real sender writes and damages it, instead of searching for paths through the program as a
//! coverage-guided fuzzer does: that needs a nightly compiler, which this project does not, and nearly all that such a
//! search finds in a format with checksums is the checksum. Where damage must get past one, it is made good again. Each
//! round prints its seed when it fails, and that seed alone repeats it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it does"
)]

mod begins;
mod frames;
mod policies;
mod random;
mod sessions;
mod tokens;

use std::time::{Duration, Instant};

use random::Random;

/// Without a time, a target only proves that it works.
const SECONDS: u64 = 5;

/// One round with what a seed gives.
type Round = fn(&mut Random);

/// The fuzz targets: one round of each, from a seed.
const TARGETS: [(&str, Round); 5] = [
    ("begins", begins::round),
    ("frames", frames::round),
    ("sessions", sessions::round),
    ("tokens", tokens::round),
    ("policies", policies::round),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let number = |at: usize| words.get(at).map(|word| word.parse::<u64>().unwrap());
    let mut ran = 0;
    for (name, round) in TARGETS {
        if words.first().is_none_or(|wanted| wanted == name) {
            ran += 1;
            run(name, round, Duration::from_secs(number(1).unwrap_or(SECONDS)), number(2));
        }
    }
    assert!(ran > 0, "there is no target {words:?}");
}

fn run(name: &str, round: Round, limit: Duration, seed: Option<u64>) {
    let started = Instant::now();
    if let Some(seed) = seed {
        round(&mut Random::new(seed));
        println!("{name}: seed {seed} is clean");
        return;
    }
    let mut rounds = 0_u64;
    let mut seed = u64::from(std::process::id()) << 32;
    while started.elapsed() < limit {
        let result = std::panic::catch_unwind(|| round(&mut Random::new(seed)));
        assert!(result.is_ok(), "{name}: seed {seed} fails");
        rounds += 1;
        seed += 1;
    }
    println!("{name}: {rounds} rounds in {} s are clean", started.elapsed().as_secs());
}
