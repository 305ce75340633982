//! The activity of each stage thread, and how long it lasts.
//!
//! A thread says what it does now, and its clock adds up the time per kind of doing, the running one included: a
//! thread that has been blocked for a minute shows a minute, not nothing.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The activity of a stage thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
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

const DOINGS: [StageState; 5] =
    [StageState::Idle, StageState::WaitInput, StageState::Work, StageState::WaitOutput, StageState::WaitRate];

impl StageState {
    fn index(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::WaitInput => 1,
            Self::Work => 2,
            Self::WaitOutput => 3,
            Self::WaitRate => 4,
        }
    }

    pub(super) fn slot(self) -> usize {
        usize::from(self.index())
    }
}

/// Time by [`StageState`], of one thread or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    pub(super) nanos: [u64; DOINGS.len()],
}

impl StageTimes {
    /// Time spent on `doing`.
    pub fn of(&self, doing: StageState) -> Duration {
        Duration::from_nanos(self.nanos[doing.slot()])
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut nanos = self.nanos;
        for (now, then) in nanos.iter_mut().zip(earlier.nanos) {
            *now = now.saturating_sub(then);
        }
        Self { nanos }
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
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
    pub(super) fn new(started: Instant) -> Self {
        let nanos = std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            started,
            doing: AtomicU8::new(StageState::Idle.index()),
            since_nanos: AtomicU64::new(0),
            nanos,
        }
    }

    /// From now on the thread is doing this. Only the thread that owns the stage may say so.
    pub fn enter(&self, doing: StageState) {
        let now_nanos = nanos_since(self.started);
        let before = usize::from(self.doing.load(Ordering::Relaxed));
        let spent_nanos = now_nanos.saturating_sub(self.since_nanos.load(Ordering::Relaxed));
        self.nanos[before].fetch_add(spent_nanos, Ordering::Relaxed);
        self.since_nanos.store(now_nanos, Ordering::Relaxed);
        self.doing.store(doing.index(), Ordering::Relaxed);
    }

    /// The thread's activity at this moment.
    pub fn doing(&self) -> StageState {
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

pub(super) fn nanos_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
