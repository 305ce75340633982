//! Nights by chance: what admins, other tools, other nodes, clocks and pools do to a host, mixed at random, and a run after each.
//!
//! After every run hold, whatever happened before it: each dataset below the root is backed up or named; contents are equal
//! wherever GUIDs are; nothing is gone from a target that a rule has not expired and the report does not name, and nothing
//! foreign is; the archive has its months; copies are safe and their writer's; the exit code fits. A seed gives one history; what fails once fails again.
//!
//! `ZHAUL_RANDOM_RUNS` is how many runs there are (50), `ZHAUL_RANDOM_SEED` the first seed (1): `cargo lab test -- random`.
//! The histories are dealt to several tests, so that they can be played in several labs. With `ZHAUL_RANDOM_UNTIL_FAILURE` none
//! begins a history after any has failed.

mod at_source;
mod at_target;
mod checks;
mod conditions;
mod guest_files;
mod ledger;
mod meddling;
mod on_host;
mod seen;
mod tools;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::generator::Random;
use crate::outcome::Run;
use crate::world::World;
use checks::Known;
use conditions::Condition;
use seen::Seen;

/// How many runs one history has, the two that end it not counted.
const RUNS_OF_A_HISTORY: u64 = 10;

/// A host with a few guests, what was done to it, and what was seen of it.
pub(super) struct Stage {
    seed: u64,
    /// How many runs there were.
    night: u64,
    world: World,
    random: Random,
    now: Timestamp,
    known: Known,
    /// Lines of the policy that stay as they are.
    backup_lines: String,
    guest_config: Option<PathBuf>,
    /// The events, for the message of a failure.
    story: Vec<String>,
    /// Conditions that the next run undoes.
    until_next: Vec<&'static Condition>,
    /// Conditions that have not had their turn, in the order of their turns.
    turns: Vec<&'static Condition>,
}

/// The first 27th of a month that is not over: marks have the targets' own clock, and must not be from the future.
fn first_day() -> Timestamp {
    let mut day = Timestamp::now().to_zoned(TimeZone::UTC).date();
    while day.day() != 27 {
        day = day.tomorrow().unwrap();
    }
    day.at(23, 59, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut world = World::with_archive(&format!("random-{seed}"));
        let mut backup_lines = String::new();
        if seed.is_multiple_of(2) {
            world.back_up_locally();
            world.policy.archive_host = Some("local".to_owned());
        }
        if seed.is_multiple_of(3) {
            backup_lines.push_str("intermediates = true\n");
        }
        world.filesystem("subvol-101-disk-0", 1);
        world.volume("vm-102-disk-0", 1);
        world.filesystem("subvol-103-disk-0", 1);
        let mut known = Known { keep_set_aside: 20, ..Known::default() };
        if seed % 4 == 3 {
            world.encrypted("subvol-104-disk-0", &[]);
            world.write("subvol-104-disk-0", "first", 1);
            known.ledger.key = Some(world.key());
        }
        let mut stage = Self {
            seed,
            night: 0,
            world,
            random: Random::new(seed),
            now: first_day(),
            known,
            backup_lines,
            guest_config: None,
            story: Vec::new(),
            until_next: Vec::new(),
            turns: Vec::new(),
        };
        stage.keep_as_usual();
        stage
    }

    /// The rules as they are on most days.
    fn keep_as_usual(&mut self) {
        self.known.keep_at_source = 3;
        self.known.keep_at_backup = 5;
    }

    fn write_policy(&mut self) {
        let Known { keep_at_source, keep_at_backup, keep_set_aside, .. } = self.known;
        let policy = &mut self.world.policy;
        let directory = self.guest_config.as_ref();
        let guest_config = directory.map(|directory| format!("guest-config = \"{}\"\n", directory.display()));
        policy.source = format!("keep-last = {keep_at_source}\n{}", guest_config.unwrap_or_default());
        policy.backup = format!(
            "{}keep-last = {keep_at_backup}\nkeep-superseded = \"{keep_set_aside}d\"\n",
            self.backup_lines
        );
    }

    /// One run, and all that must hold after it.
    fn run(&mut self) -> Run {
        self.write_policy();
        let before = Seen::of(&self.world);
        let clock = self.now.to_string();
        self.story.push(format!("zhaul run   # {clock}"));
        let run = self.world.run_with(&clock, &[]);
        self.check(&before, &run);
        run
    }

    /// Everything that must hold after a run.
    fn check(&mut self, before: &Seen, run: &Run) {
        self.known.now = self.now;
        self.night += 1;
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            checks::all(&self.world, before, &mut self.known, run);
        }));
        if let Err(panic) = checked {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            self.fail(why, run);
        }
    }

    fn fail(&self, why: &str, run: &Run) -> ! {
        let Self { seed, night, story, .. } = self;
        panic!("seed {seed}, night {night}: {why}\nwhat happened:\n  {}\n{run:?}", story.join("\n  "));
    }

    fn undo(&mut self) {
        for undo in std::mem::take(&mut self.until_next).iter().filter_map(|condition| condition.undo) {
            undo(self);
        }
    }

    fn a_night(&mut self, fired: &mut BTreeMap<&'static str, u32>) {
        self.undo();
        for _ in 0..=self.random.below(3) {
            if let Some(condition) = self.next_condition() {
                *fired.entry(condition.name).or_default() += 1;
            }
        }
        let hours = 20 + i64::try_from(self.random.below(30)).unwrap();
        self.pass(hours);
        self.run();
    }

    /// Lets the next condition happen. Each has one turn before any has another one, and one that is not possible now keeps its
    /// turn: so those that are rarely possible happen about as often as the others.
    fn next_condition(&mut self) -> Option<&'static Condition> {
        if self.turns.is_empty() {
            self.turns = conditions::ALL.iter().collect();
            for at in 0..self.turns.len() {
                let other = self.random.below(self.turns.len());
                self.turns.swap(at, other);
            }
        }
        for at in 0..self.turns.len() {
            let condition = self.turns[at];
            if let Some(what) = (condition.happen)(self) {
                self.story.push(what);
                self.until_next.push(condition);
                self.turns.remove(at);
                return Some(condition);
            }
        }
        None
    }

    /// Nothing keeps zhaul from anything any more: everything is served, or a message says what to do.
    fn an_end(&mut self) {
        self.undo();
        guest_files::mend(self);
        for _ in 0..2 {
            self.pass(24);
            let run = self.run();
            if !matches!(run.code, Some(0 | 3)) {
                self.fail("nothing is in the way any more, and the run failed", &run);
            }
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
        let started = Instant::now();
        play_history(seed, &mut fired);
        if runs > 50 {
            give_back();
            // Not captured: whoever waits for hours sees where to continue.
            let line = format!("seed {seed} is good, {} s\n", started.elapsed().as_secs());
            io::stderr().write_all(line.as_bytes()).unwrap();
        }
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

/// Gives what the pools have freed back to the lab's memory, where their files are: else a few hundred nights fill it, and the
/// kernel kills a run.
fn give_back() {
    for host in ["PVE0", "NFS8", "NFS9"] {
        let pool = env::var_os(format!("ZHAUL_LAB_POOL_{host}")).unwrap();
        // A pool on disks that cannot trim needs it not.
        Command::new("zpool").args(["trim", "-w"]).arg(pool).stderr(Stdio::null()).status().unwrap();
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
