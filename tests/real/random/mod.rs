//! Nights by chance: what admins, other tools, other nodes, clocks and pools do to a host, mixed at random, and a run after each.
//!
//! After every run hold, whatever happened before it: each dataset below the root is backed up or named; contents are equal
//! wherever GUIDs are; nothing is gone from a target that the report does not say it destroyed, and nothing foreign is; the
//! exit code fits. A seed gives one history; what fails once fails again.
//!
//! `ZHAUL_RANDOM_RUNS` is how many runs there are (50), `ZHAUL_RANDOM_SEED` the first seed (1): `cargo lab test -- random`.
//! The histories are dealt to several tests, so that they can be played in several labs. With `ZHAUL_RANDOM_UNTIL_FAILURE` none
//! begins a history after any has failed.

mod at_source;
mod at_target;
mod checks;
mod conditions;
mod ledger;
mod on_host;

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::generator::Random;
use crate::outcome::Run;
use crate::world::World;
use conditions::Condition;
use ledger::Ledger;

/// How many runs one history has, the two that end it not counted.
const RUNS_OF_A_HISTORY: u64 = 5;

/// A host with three guests, what was done to it, and what was seen of it.
pub(super) struct Stage {
    world: World,
    random: Random,
    now: Timestamp,
    ledger: Ledger,
    /// What happened, for the message of a failure.
    story: Vec<String>,
    /// Conditions that the next run undoes.
    until_next: Vec<&'static Condition>,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut world = World::with_archive(&format!("random-{seed}"));
        world.policy.source = format!("keep-last = {}", 2 + seed % 3);
        world.policy.backup.push_str("keep-last = 6");
        if seed.is_multiple_of(2) {
            world.back_up_locally();
            world.policy.archive_host = Some("local".to_owned());
        }
        if seed.is_multiple_of(3) {
            world.policy.backup.push_str("\nintermediates = true");
        }
        world.filesystem("subvol-101-disk-0", 1);
        world.volume("vm-102-disk-0", 1);
        world.filesystem("subvol-103-disk-0", 1);
        let now = "2026-01-27T01:00:00Z".parse().unwrap();
        let (random, ledger) = (Random::new(seed), Ledger::default());
        Self { world, random, now, ledger, story: vec![format!("seed {seed}")], until_next: Vec::new() }
    }

    /// One run, and all that must hold after it.
    fn run(&mut self) -> Run {
        self.ledger.look(&self.world);
        let clock = self.now.to_string();
        self.story.push(format!("zhaul run   # {clock}"));
        let run = self.world.run_with(&clock, &[]);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            checks::all(&self.world, &mut self.ledger, &run);
        }));
        if let Err(panic) = checked {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            panic!("{why}\nwhat happened:\n  {}\n{run:?}", self.story.join("\n  "));
        }
        run
    }

    fn undo(&mut self) {
        for undo in std::mem::take(&mut self.until_next).iter().filter_map(|condition| condition.undo) {
            undo(self);
        }
    }

    fn a_night(&mut self, fired: &mut BTreeMap<&'static str, u32>) {
        self.undo();
        for _ in 0..=self.random.below(2) {
            // What is not possible now leaves its turn to another.
            for _ in 0..20 {
                let condition = &conditions::ALL[self.random.below(conditions::ALL.len())];
                if let Some(what) = (condition.happen)(self) {
                    self.story.push(what);
                    self.until_next.push(condition);
                    *fired.entry(condition.name).or_default() += 1;
                    break;
                }
            }
        }
        let hours = 20 + i64::try_from(self.random.below(30)).unwrap();
        self.pass(hours);
        self.run();
    }

    /// Nothing keeps zhaul from anything any more: everything is served, or a person is told what to do.
    fn an_end(&mut self) {
        self.undo();
        on_host::mend_guest_files(self);
        for _ in 0..2 {
            self.pass(24);
            let run = self.run();
            assert!(matches!(run.code, Some(0 | 3)), "{}\n{run:?}", self.story.join("\n  "));
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var_os(variable).map_or(default, |value| value.to_str().unwrap().parse().unwrap())
}

/// How often everything happened in the parts that have ended well, and how many these are.
static TALLY: Mutex<(u64, BTreeMap<&str, u32>)> = Mutex::new((0, BTreeMap::new()));
/// Whether a history has failed.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Plays every history of which the seed falls to this part.
#[expect(clippy::print_stdout, reason = "what happened how often, for whoever asked for many runs")]
fn play(part: u64) {
    let (first, runs) = (number("ZHAUL_RANDOM_SEED", 1), number("ZHAUL_RANDOM_RUNS", 50));
    let mut fired = BTreeMap::new();
    for seed in (first..first + runs.div_ceil(RUNS_OF_A_HISTORY)).filter(|seed| seed % PARTS == part) {
        if HAS_FAILED.load(Ordering::Relaxed) && env::var_os("ZHAUL_RANDOM_UNTIL_FAILURE").is_some() {
            return;
        }
        play_history(seed, &mut fired);
    }
    let (parts, counts) = &mut *TALLY.lock().unwrap();
    *parts += 1;
    for (what, times) in fired {
        *counts.entry(what).or_default() += times;
    }
    if *parts == PARTS {
        println!("{runs} runs; what happened how often: {counts:?}");
        let is_rare = |name: &&str| counts.get(name).is_none_or(|times| *times < 10);
        let rare: Vec<_> = conditions::ALL.iter().map(|one| one.name).filter(is_rare).collect();
        assert!(runs < 500 || rare.is_empty(), "{rare:?} happened fewer than 10 times in {runs} runs");
    }
}

fn play_history(seed: u64, fired: &mut BTreeMap<&'static str, u32>) {
    let failed = Failed;
    let mut stage = Stage::new(seed);
    for _ in 0..RUNS_OF_A_HISTORY {
        stage.a_night(fired);
    }
    stage.an_end();
    std::mem::forget(failed);
}

/// Notes a panic.
struct Failed;

impl Drop for Failed {
    fn drop(&mut self) {
        HAS_FAILED.store(true, Ordering::Relaxed);
    }
}

/// How many tests there are.
const PARTS: u64 = 5;

#[test]
fn nights_by_chance_1() {
    play(1);
}

#[test]
fn nights_by_chance_2() {
    play(2);
}

#[test]
fn nights_by_chance_3() {
    play(3);
}

#[test]
fn nights_by_chance_4() {
    play(4);
}

#[test]
fn nights_by_chance_5() {
    play(0);
}
