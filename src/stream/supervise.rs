//! Runs the threads of one transfer together: the first failure stops all, the watchdog stops a stalled one.
//!
//! The calling thread supervises: it takes samples for the screen, watches the time since the last byte, and
//! returns when all stages have ended. The first error counts; those that follow are its echoes (a
//! stage that fails makes its neighbours fail).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use thiserror::Error;

use super::cancel::{Cancel, Cancelled};
use super::clock::StageState;
use super::deadline::{Deadline, GivenUp};
use super::frame::FrameError;
use super::meter::{Bottleneck, Meters};
use super::sample::{SampleSender, Sampler};
use super::threads::beside;
use crate::model::HangingPool;

/// How often meters are read.
const TICK: Duration = Duration::from_millis(100);
/// How often a sample goes to the screen, in ticks.
const TICKS_PER_SAMPLE: u32 = 2;

/// Why a transfer ended before its end. The cause is the `source` of the error.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The reading side failed.
    #[error("cannot read the stream from its source")]
    Source(#[source] io::Error),
    /// The writing side failed; a broken pipe means that its reader has gone (a child that exited, say).
    #[error("cannot write the stream to its target")]
    Target(#[source] io::Error),
    /// The data received over the network is not the stream that was sent.
    #[error("the stream did not arrive whole")]
    Frame(#[from] FrameError),
    /// The sender could not continue, and said so.
    #[error("the sender gave up: {0}")]
    Peer(String),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// No byte moved for longer than allowed.
    #[error("nothing moved for {} s while waiting for: {waited_for}", .limit.as_secs())]
    Stalled {
        /// The stage that was waited for.
        waited_for: Bottleneck,
        /// The limit that was reached.
        limit: Duration,
    },
    /// The pool behind one end: nothing more is expected of it.
    #[error("{0}")]
    PoolHangs(Box<HangingPool>),
    /// A thread could not be started, or a descriptor not be prepared.
    #[error("cannot set up the transfer")]
    Setup(#[source] io::Error),
    /// A bug: a stage panicked. Other transfers go on.
    #[error("stage {0} of the transfer crashed")]
    Crashed(&'static str),
}

impl PumpError {
    /// An error of the reading side, unless it only says that somebody cancelled.
    pub(super) fn source(error: io::Error) -> Self {
        if Cancelled::is_in(&error) { Self::Cancelled } else { Self::Source(error) }
    }

    /// An error of the writing side, unless it only says that somebody cancelled.
    pub(super) fn target(error: io::Error) -> Self {
        if Cancelled::is_in(&error) { Self::Cancelled } else { Self::Target(error) }
    }
}

impl From<Cancelled> for PumpError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// The measurements of a transfer that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PumpReport {
    /// Bytes taken in.
    pub input_bytes: u64,
    /// Bytes handed on.
    pub output_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// How long the reading side waited for its input.
    pub waited_input: Duration,
    /// How long the writing side waited for its output.
    pub waited_output: Duration,
    /// How long the rate limit made it wait.
    pub waited_rate: Duration,
    /// Memory that the buffer came to take.
    pub allocated_bytes: u64,
}

/// The state that all stages of one transfer share.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    meters: &'a Meters,
    cancel: &'a Cancel,
    first_error: Mutex<Option<PumpError>>,
    started: Instant,
}

/// Held by every running stage; when the last one is gone, the transfer is over.
pub(super) type Running = Sender<()>;

impl<'a> Stages<'a> {
    /// `cancel` is requested by the first failure: it must be this transfer's own.
    pub(super) fn new(meters: &'a Meters, cancel: &'a Cancel) -> Self {
        Self { meters, cancel, first_error: Mutex::new(None), started: Instant::now() }
    }

    /// The channel by which [`Stages::watch`] learns that all stages are gone.
    pub(super) fn running() -> (Running, Receiver<()>) {
        bounded(0)
    }

    /// Starts a stage in its own thread.
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        name: &'static str,
        running: Running,
        stage: impl FnOnce() -> Result<(), PumpError> + Send + 'scope,
    ) {
        let body = move || {
            let _running = running;
            // A stage that panics must not take the process with it, nor leave the others waiting.
            match catch_unwind(AssertUnwindSafe(stage)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.fail(error),
                Err(_) => self.fail(PumpError::Crashed(name)),
            }
        };
        if let Err(error) = beside(scope, &format!("zhaul-{name}"), body) {
            self.fail(PumpError::Setup(error));
        }
    }

    /// Notes an error, if it is the first, and stops all stages.
    pub(super) fn fail(&self, error: PumpError) {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.cancel.request();
    }

    /// Takes samples and watches for a stall, until all stages have ended.
    pub(super) fn watch(
        &self,
        over: &Receiver<()>,
        screen: Option<&SampleSender>,
        stall_limit: Option<Duration>,
    ) {
        let mut sampler = Sampler::default();
        let mut ticks = 0_u32;
        let mut deadline = Deadline::new(self.meters, stall_limit);
        self.meters.note_moved();
        while over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TICKS_PER_SAMPLE) {
                offer(screen, &mut sampler, self.meters);
            }
            // The limiter may hold a byte back for longer than any stall limit: that is not a stall.
            let is_throttled = self.meters.writer.doing() == StageState::WaitRate;
            if is_throttled {
                self.meters.note_moved();
            } else if !self.cancel.is_requested()
                && let Err(given_up) = deadline.check()
            {
                self.fail(match given_up {
                    GivenUp::PoolHangs(hanging) => PumpError::PoolHangs(hanging),
                    GivenUp::Stalled { waited_for, limit } => PumpError::Stalled { waited_for, limit },
                });
            }
        }
        offer(screen, &mut sampler, self.meters);
    }

    /// The outcome, once all stages have ended.
    pub(super) fn finish(self) -> Result<PumpReport, PumpError> {
        if let Some(error) = self.first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let (reader, writer) = (self.meters.reader.times(), self.meters.writer.times());
        Ok(PumpReport {
            input_bytes: self.meters.input_bytes(),
            output_bytes: self.meters.output_bytes(),
            elapsed: self.started.elapsed(),
            waited_input: reader.of(StageState::WaitInput),
            waited_output: writer.of(StageState::WaitOutput),
            waited_rate: writer.of(StageState::WaitRate),
            allocated_bytes: self.meters.gauge.allocated_bytes(),
        })
    }
}

fn offer(screen: Option<&SampleSender>, sampler: &mut Sampler, meters: &Meters) {
    if let Some(screen) = screen {
        // Fails only when no screen reads the samples any more.
        let _ = screen.send(sampler.sample(meters));
    }
}
