//! What a transfer measures about itself, and which stage that makes the slow one.
//!
//! Every stage thread has a [`StageClock`]: it says what it is doing now, and the clock adds up the time per
//! kind of doing, the running one included, so that a thread which has been blocked for a minute shows a
//! minute, not nothing. Bytes are counted where they cross a boundary. A [`Sample`] is taken from both a few
//! times a second; samples travel to the screen through a ring that keeps the latest and drops the rest.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ring_channel::{RingReceiver, RingSender, ring_channel};

use super::ring::Gauge;

/// What a stage thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing yet, or nothing any more.
    Idle,
    /// Waits for the stage before it.
    WaitInput,
    /// Works: compresses, checks, copies.
    Work,
    /// Waits for the stage behind it.
    WaitOutput,
    /// Waits because the rate limit says so.
    WaitRate,
}

const DOINGS: [Doing; 5] = [Doing::Idle, Doing::WaitInput, Doing::Work, Doing::WaitOutput, Doing::WaitRate];

impl Doing {
    fn index(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::WaitInput => 1,
            Self::Work => 2,
            Self::WaitOutput => 3,
            Self::WaitRate => 4,
        }
    }

    fn slot(self) -> usize {
        usize::from(self.index())
    }
}

/// Time by [`Doing`], of one thread or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    nanos: [u64; DOINGS.len()],
}

impl StageTimes {
    /// Time spent on `doing`.
    pub fn of(&self, doing: Doing) -> Duration {
        Duration::from_nanos(self.nanos[doing.slot()])
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut nanos = self.nanos;
        for (now, then) in nanos.iter_mut().zip(earlier.nanos) {
            *now = now.saturating_sub(then);
        }
        Self { nanos }
    }

    fn plus(mut self, other: &Self) -> Self {
        for (sum, more) in self.nanos.iter_mut().zip(other.nanos) {
            *sum += more;
        }
        self
    }
}

/// The clock of one stage thread: that thread writes it, anybody reads it.
#[derive(Debug)]
pub struct StageClock {
    started: Instant,
    doing: AtomicU8,
    since_nanos: AtomicU64,
    nanos: [AtomicU64; DOINGS.len()],
}

impl StageClock {
    fn new(started: Instant) -> Self {
        let nanos = std::array::from_fn(|_| AtomicU64::new(0));
        Self { started, doing: AtomicU8::new(Doing::Idle.index()), since_nanos: AtomicU64::new(0), nanos }
    }

    /// From now on the thread is doing this. Only the thread that owns the stage may say so.
    pub fn enter(&self, doing: Doing) {
        let now_nanos = nanos_since(self.started);
        let before = usize::from(self.doing.load(Ordering::Relaxed));
        let spent_nanos = now_nanos.saturating_sub(self.since_nanos.load(Ordering::Relaxed));
        self.nanos[before].fetch_add(spent_nanos, Ordering::Relaxed);
        self.since_nanos.store(now_nanos, Ordering::Relaxed);
        self.doing.store(doing.index(), Ordering::Relaxed);
    }

    /// What the thread is doing at this moment.
    pub fn doing(&self) -> Doing {
        DOINGS[usize::from(self.doing.load(Ordering::Relaxed))]
    }

    /// All time so far. Read without a lock while the owner writes, so it may be off by one change of state.
    pub fn times(&self) -> StageTimes {
        let mut nanos = std::array::from_fn(|slot| self.nanos[slot].load(Ordering::Relaxed));
        let running_nanos =
            nanos_since(self.started).saturating_sub(self.since_nanos.load(Ordering::Relaxed));
        nanos[self.doing().slot()] += running_nanos;
        StageTimes { nanos }
    }
}

/// The stage that all others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What lies in front of and behind a pump: the names its waits get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// What it means to wait for input.
    pub input: Bottleneck,
    /// What it means to wait for output.
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
    life_nanos: AtomicU64,
    peer: AtomicUsize,
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
            life_nanos: AtomicU64::new(0),
            peer: AtomicUsize::new(usize::MAX),
        })
    }

    /// `bytes` came in.
    pub fn count_input(&self, bytes: usize) {
        self.input_bytes.fetch_add(super::as_u64(bytes), Ordering::Relaxed);
        self.note_life();
    }

    /// `bytes` went out.
    pub fn count_output(&self, bytes: usize) {
        self.output_bytes.fetch_add(super::as_u64(bytes), Ordering::Relaxed);
        self.note_life();
    }

    /// The transfer is alive although no byte moved: a heartbeat came from the other end.
    pub fn note_life(&self) {
        self.life_nanos.store(nanos_since(self.started), Ordering::Relaxed);
    }

    /// What the other end says it waits for: it can tell the network from the pool behind it, this end cannot.
    pub fn note_peer(&self, bottleneck: Bottleneck) {
        let index = BOTTLENECKS.iter().position(|known| *known == bottleneck);
        self.peer.store(index.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.note_life();
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
        if self.writer.doing() == Doing::WaitOutput { self.places.output } else { self.places.input }
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

    fn decide_bottleneck(&self, spent: &Reading) -> Bottleneck {
        // The reader waits for input: what is before it is slow. The writer waits for output: what is behind
        // it is slow. The reader waits for room while the writer waits for data: what is between them is.
        let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX).max(1);
        let compress = if self.workers.is_empty() {
            Duration::ZERO
        } else {
            (spent.workers.of(Doing::Work) / workers).min(spent.writer.of(Doing::WaitInput))
        };
        let output = match BOTTLENECKS.get(self.peer.load(Ordering::Relaxed)) {
            Some(known) if self.places.output == Bottleneck::Network => *known,
            _ => self.places.output,
        };
        let found = [
            (spent.writer.of(Doing::WaitRate), Bottleneck::RateLimit),
            (spent.writer.of(Doing::WaitOutput), output),
            (compress, Bottleneck::Compress),
            (spent.reader.of(Doing::WaitInput), self.places.input),
        ];
        // The first of equals wins: far stages before near ones.
        let longest = found.iter().rev().max_by_key(|(time, _)| *time);
        longest.map_or(self.places.input, |(_, bottleneck)| *bottleneck)
    }
}

/// All meters at one moment, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    at: Duration,
    input_bytes: u64,
    output_bytes: u64,
    reader: StageTimes,
    workers: StageTimes,
    pub(super) writer: StageTimes,
}

impl Reading {
    fn since(&self, earlier: &Self) -> Self {
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

/// What a screen shows of a transfer at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Time since the transfer began.
    pub elapsed: Duration,
    /// Bytes of the stream taken in so far.
    pub input_bytes: u64,
    /// Bytes handed on so far: fewer than `input_bytes` if compressed, or if some are still in the buffer.
    pub output_bytes: u64,
    /// Input, smoothed over a few seconds.
    pub input_bytes_per_second: u64,
    /// Output, smoothed over a few seconds.
    pub output_bytes_per_second: u64,
    /// Bytes in the buffer.
    pub buffer_used_bytes: u64,
    /// Size of the buffer.
    pub buffer_total_bytes: u64,
    /// Who all others waited for since the last sample.
    pub bottleneck: Bottleneck,
}

/// Turns meters into samples; remembers the last reading and the smoothed rates.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Reading,
    input_bytes_per_second: u64,
    output_bytes_per_second: u64,
}

/// Over which time rates are smoothed.
const SMOOTHING: Duration = Duration::from_secs(2);

impl Sampler {
    pub(super) fn sample(&mut self, meters: &Meters) -> Sample {
        let now = meters.reading();
        let spent = now.since(&self.last);
        let is_first = self.last.at.is_zero();
        let smooth = |old, bytes| smooth_rate(old, bytes, spent.at, is_first);
        self.input_bytes_per_second = smooth(self.input_bytes_per_second, spent.input_bytes);
        self.output_bytes_per_second = smooth(self.output_bytes_per_second, spent.output_bytes);
        self.last = now;
        Sample {
            elapsed: now.at,
            input_bytes: now.input_bytes,
            output_bytes: now.output_bytes,
            input_bytes_per_second: self.input_bytes_per_second,
            output_bytes_per_second: self.output_bytes_per_second,
            buffer_used_bytes: meters.gauge.used_bytes(),
            buffer_total_bytes: meters.buffer_bytes.load(Ordering::Relaxed),
            bottleneck: meters.decide_bottleneck(&spent),
        }
    }
}

fn smooth_rate(old_rate: u64, bytes: u64, span: Duration, is_first: bool) -> u64 {
    let span_nanos = span.as_nanos().max(1);
    let rate = u128::from(bytes) * 1_000_000_000 / span_nanos;
    let smoothed = if is_first {
        rate
    } else {
        let memory_nanos = SMOOTHING.as_nanos();
        (u128::from(old_rate) * memory_nanos + rate * span_nanos) / (memory_nanos + span_nanos)
    };
    u64::try_from(smoothed).unwrap_or(u64::MAX)
}

/// Where samples are put; the oldest is overwritten when nobody looks.
pub type SampleSender = RingSender<Sample>;
/// Where the latest sample is taken from.
pub type SampleReceiver = RingReceiver<Sample>;

/// A way for samples from a pump to a screen: holds one, the latest.
pub fn samples() -> (SampleSender, SampleReceiver) {
    ring_channel(NonZeroUsize::MIN)
}

fn nanos_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(parts: &[(Doing, u64)]) -> StageTimes {
        let mut times = StageTimes::default();
        for (doing, millis) in parts {
            times.nanos[doing.slot()] = millis * 1_000_000;
        }
        times
    }

    #[test]
    fn the_stage_that_others_wait_for_is_named() {
        use Doing::{WaitInput, WaitOutput, WaitRate, Work};
        type Times = &'static [(Doing, u64)];
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
    fn the_other_end_tells_network_and_target_apart() {
        let meters = Meters::new(Places::SENDING, 0);
        let spent = Reading { writer: times(&[(Doing::WaitOutput, 100)]), ..Reading::default() };
        assert_eq!(meters.decide_bottleneck(&spent), Bottleneck::Network);
        meters.note_peer(Bottleneck::TargetReceive);
        assert_eq!(meters.decide_bottleneck(&spent), Bottleneck::TargetReceive);
    }

    #[test]
    fn a_wait_counts_while_it_lasts() {
        let meters = Meters::new(Places::LOCAL, 0);
        meters.writer.enter(Doing::WaitOutput);
        std::thread::sleep(Duration::from_millis(20));
        assert!(meters.reading().writer.of(Doing::WaitOutput) >= Duration::from_millis(20));
        meters.writer.enter(Doing::Work);
        let waited = meters.reading().writer.of(Doing::WaitOutput);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(meters.reading().writer.of(Doing::WaitOutput), waited);
    }

    #[test]
    fn rates_are_smooth_and_settle() {
        let tick = Duration::from_millis(200);
        let mut rate = smooth_rate(0, 20_000, tick, true);
        assert_eq!(rate, 100_000);
        rate = smooth_rate(rate, 0, tick, false);
        assert!((90_000..100_000).contains(&rate), "one empty interval is not a stop: {rate}");
        for _ in 0..100 {
            rate = smooth_rate(rate, 0, tick, false);
        }
        assert!(rate < 100, "after 20 s of nothing the rate is nothing: {rate}");
    }

    #[test]
    fn only_the_latest_sample_is_kept() {
        let (sender, receiver) = samples();
        let meters = Meters::new(Places::LOCAL, 0);
        let mut sampler = Sampler::default();
        for bytes in [1, 2, 3] {
            meters.count_input(bytes);
            sender.send(sampler.sample(&meters)).unwrap();
        }
        assert_eq!(receiver.try_recv().unwrap().input_bytes, 6);
        assert!(receiver.try_recv().is_err());
    }
}
