//! The measurements of a transfer, and the bottleneck that follows from them.
//!
//! Bytes are counted where they cross a boundary, and every stage thread has a [`StageClock`]. Whoever waits names
//! whom it waits for: the stage that all others wait for is the bottleneck.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::clock::{StageClock, StageState, StageTimes, nanos_since};
use super::probe::Probe;
use super::ring::Gauge;

/// The stage that all others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bottleneck {
    /// Reading at the source: its pool, or the machine it is on.
    SourceRead,
    /// Compressing (or, at the target, decompressing).
    Compress,
    /// The way between the machines.
    Network,
    /// `zfs receive`: the target's pool.
    TargetReceive,
    /// Nothing but the configured rate.
    RateLimit,
}

const BOTTLENECKS: [Bottleneck; 5] = [
    Bottleneck::SourceRead,
    Bottleneck::Compress,
    Bottleneck::Network,
    Bottleneck::TargetReceive,
    Bottleneck::RateLimit,
];

impl fmt::Display for Bottleneck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SourceRead => "source read",
            Self::Compress => "compress",
            Self::Network => "network",
            Self::TargetReceive => "target receive",
            Self::RateLimit => "rate limit",
        })
    }
}

/// The places in front of and behind a pump: the names of its waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The bottleneck when it waits for input.
    pub input: Bottleneck,
    /// The bottleneck when it waits for output.
    pub output: Bottleneck,
}

impl Places {
    /// Source and target on this machine.
    pub const LOCAL: Self = Self { input: Bottleneck::SourceRead, output: Bottleneck::TargetReceive };
    /// The sending end of a network transfer.
    pub const SENDING: Self = Self { input: Bottleneck::SourceRead, output: Bottleneck::Network };
    /// The receiving end of a network transfer.
    pub const RECEIVING: Self = Self { input: Bottleneck::Network, output: Bottleneck::TargetReceive };
}

/// Everything one transfer measures. Shared by its threads and by whoever watches.
#[derive(Debug)]
pub struct Meters {
    started: Instant,
    places: Places,
    /// The thread that reads the input.
    pub reader: StageClock,
    /// The threads that compress or decompress; empty if none do.
    pub workers: Vec<StageClock>,
    /// The thread that writes the output.
    pub writer: StageClock,
    /// How full the buffer is.
    pub gauge: Arc<Gauge>,
    buffer_bytes: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    /// When the last byte of the stream moved.
    moved_nanos: AtomicU64,
    life_nanos: AtomicU64,
    peer: AtomicUsize,
    probes: OnceLock<[Option<Probe>; 2]>,
}

impl Meters {
    /// Meters for a transfer with `workers` compressing threads.
    pub fn new(places: Places, workers: usize) -> Arc<Self> {
        let started = Instant::now();
        Arc::new(Self {
            started,
            places,
            reader: StageClock::new(started),
            workers: (0..workers).map(|_| StageClock::new(started)).collect(),
            writer: StageClock::new(started),
            gauge: Arc::default(),
            buffer_bytes: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            moved_nanos: AtomicU64::new(0),
            life_nanos: AtomicU64::new(0),
            peer: AtomicUsize::new(usize::MAX),
            probes: OnceLock::new(),
        })
    }

    /// `bytes` came in.
    pub fn count_input(&self, bytes: usize) {
        self.input_bytes.fetch_add(super::as_u64(bytes), Ordering::Relaxed);
        self.note_moved();
    }

    /// `bytes` went out.
    pub fn count_output(&self, bytes: usize) {
        self.output_bytes.fetch_add(super::as_u64(bytes), Ordering::Relaxed);
        self.note_moved();
    }

    /// Starts both clocks: something moved, or nothing was to move until now.
    pub(super) fn note_moved(&self) {
        let now = nanos_since(self.started);
        self.moved_nanos.store(now, Ordering::Relaxed);
        self.life_nanos.store(now, Ordering::Relaxed);
    }

    /// The peer is alive although no byte moved: a heartbeat or a message of it arrived. That is no progress.
    pub fn note_life(&self) {
        self.life_nanos.store(nanos_since(self.started), Ordering::Relaxed);
    }

    /// The peer reports what it waits for: unlike this end, it can distinguish the network from the pool behind it.
    pub fn note_peer(&self, bottleneck: Bottleneck) {
        let index = BOTTLENECKS.iter().position(|known| *known == bottleneck);
        self.peer.store(index.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.note_life();
    }

    /// Time since the last byte of the stream.
    pub fn standstill(&self) -> Duration {
        let still_nanos = nanos_since(self.started).saturating_sub(self.moved_nanos.load(Ordering::Relaxed));
        Duration::from_nanos(still_nanos)
    }

    /// How the pools behind the source and the target can be looked at. Set once, before the transfer runs.
    pub fn set_probes(&self, source: Option<Probe>, target: Option<Probe>) {
        // A second time would be of the same transfer.
        drop(self.probes.set([source, target]));
    }

    pub(super) fn probe(&self, of_target: bool) -> Option<Probe> {
        self.probes.get()?.get(usize::from(of_target))?.clone()
    }

    /// The last bottleneck that the peer reported.
    pub(super) fn peer(&self) -> Option<Bottleneck> {
        BOTTLENECKS.get(self.peer.load(Ordering::Relaxed)).copied()
    }

    /// Whether this end waits for its output, rather than its input. One connection stands for all: it may have nothing to do while
    /// another waits, but then the reader does not wait for input either.
    pub(super) fn waits_for_output(&self) -> bool {
        self.writer.doing() == StageState::WaitOutput || self.reader.doing() != StageState::WaitInput
    }

    /// Time since the last byte or heartbeat.
    pub fn silence(&self) -> Duration {
        let silent_nanos = nanos_since(self.started).saturating_sub(self.life_nanos.load(Ordering::Relaxed));
        Duration::from_nanos(silent_nanos)
    }

    /// Bytes that came in so far.
    pub fn input_bytes(&self) -> u64 {
        self.input_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that went out so far.
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Ordering::Relaxed)
    }

    /// The place that this end waits for right now, if it waits for one.
    pub fn waiting_for(&self) -> Bottleneck {
        if self.waits_for_output() { self.places.output } else { self.places.input }
    }

    pub(super) fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_buffer_bytes(&self, bytes: u64) {
        self.buffer_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn reading(&self) -> Reading {
        let workers = self.workers.iter().fold(StageTimes::default(), |sum, one| sum.plus(&one.times()));
        Reading {
            at: self.started.elapsed(),
            input_bytes: self.input_bytes(),
            output_bytes: self.output_bytes(),
            reader: self.reader.times(),
            workers,
            writer: self.writer.times(),
        }
    }

    pub(super) fn decide_bottleneck(&self, spent: &Reading) -> Bottleneck {
        // The reader waits for input: what is before it is slow. The writer waits for output: what is behind
        // it is slow. The reader waits for room while the writer waits for data: what is between them is.
        let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX).max(1);
        let compress = if self.workers.is_empty() {
            Duration::ZERO
        } else {
            (spent.workers.of(StageState::Work) / workers).min(spent.writer.of(StageState::WaitInput))
        };
        let output = match BOTTLENECKS.get(self.peer.load(Ordering::Relaxed)) {
            Some(known) if self.places.output == Bottleneck::Network => *known,
            _ => self.places.output,
        };
        let found = [
            (spent.writer.of(StageState::WaitRate), Bottleneck::RateLimit),
            (spent.writer.of(StageState::WaitOutput), output),
            (compress, Bottleneck::Compress),
            (spent.reader.of(StageState::WaitInput), self.places.input),
        ];
        // The first of equals wins: far stages before near ones.
        let longest = found.iter().rev().max_by_key(|(time, _)| *time);
        longest.map_or(self.places.input, |(_, bottleneck)| *bottleneck)
    }
}

/// All meters at one moment, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) at: Duration,
    pub(super) input_bytes: u64,
    pub(super) output_bytes: u64,
    reader: StageTimes,
    workers: StageTimes,
    pub(super) writer: StageTimes,
}

impl Reading {
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            at: self.at.saturating_sub(earlier.at),
            input_bytes: self.input_bytes.saturating_sub(earlier.input_bytes),
            output_bytes: self.output_bytes.saturating_sub(earlier.output_bytes),
            reader: self.reader.since(&earlier.reader),
            workers: self.workers.since(&earlier.workers),
            writer: self.writer.since(&earlier.writer),
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn times(parts: &[(StageState, u64)]) -> StageTimes {
        let mut times = StageTimes::default();
        for (doing, millis) in parts {
            times.nanos[doing.slot()] = millis * 1_000_000;
        }
        times
    }

    #[test]
    fn the_stage_that_others_wait_for_is_named() {
        use StageState::{WaitInput, WaitOutput, WaitRate, Work};
        type Times = &'static [(StageState, u64)];
        let cases: [(&str, Times, Times, Times); 5] = [
            // named             reader               two workers added up           writer
            ("source read", &[(WaitInput, 900)], &[(WaitInput, 1800)], &[(WaitInput, 950), (Work, 10)]),
            ("compress", &[(WaitOutput, 800)], &[(Work, 1900)], &[(WaitInput, 900)]),
            ("network", &[(WaitOutput, 800)], &[(WaitOutput, 1500)], &[(WaitOutput, 950)]),
            ("rate limit", &[(WaitOutput, 800)], &[(WaitOutput, 1500)], &[(WaitRate, 950)]),
            ("network", &[(WaitInput, 500)], &[(Work, 700)], &[(WaitOutput, 600)]),
        ];
        for (named, reader, workers, writer) in cases {
            let spent = Reading {
                reader: times(reader),
                workers: times(workers),
                writer: times(writer),
                ..Reading::default()
            };
            assert_eq!(Meters::new(Places::SENDING, 2).decide_bottleneck(&spent).to_string(), named);
        }
    }

    #[test]
    fn the_peer_distinguishes_network_and_target() {
        let meters = Meters::new(Places::SENDING, 0);
        let spent = Reading { writer: times(&[(StageState::WaitOutput, 100)]), ..Reading::default() };
        assert_eq!(meters.decide_bottleneck(&spent), Bottleneck::Network);
        meters.note_peer(Bottleneck::TargetReceive);
        assert_eq!(meters.decide_bottleneck(&spent), Bottleneck::TargetReceive);
    }

    #[test]
    fn a_wait_counts_while_it_lasts() {
        let meters = Meters::new(Places::LOCAL, 0);
        meters.writer.enter(StageState::WaitOutput);
        std::thread::sleep(Duration::from_millis(20));
        assert!(meters.reading().writer.of(StageState::WaitOutput) >= Duration::from_millis(20));
        meters.writer.enter(StageState::Work);
        let waited = meters.reading().writer.of(StageState::WaitOutput);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(meters.reading().writer.of(StageState::WaitOutput), waited);
    }
}
