//! Moves one stream, unchanged, from a source to a target: through a ring, or without copying where both ends allow it.
//!
//! ```text
//! source ─► reader thread ─► ring of recycled chunks ─► writer thread ─► target
//!                    the caller's thread: samples, stall watchdog
//! ```
//!
//! The ring lets a source that comes in bursts (a pool reading ahead) and a target that does the same (a pool
//! writing a transaction group) each run at their own rhythm. The end of the source is the end of the stream,
//! no more: whether the stream was complete is for the caller to find out (by what `lzc_send` returned).

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::clock::StageState;
use super::departed::Departed;
use super::direct::{Controls, Mover, is_spliceable};
use super::endpoint::{ByteSink, ByteSource};
use super::lead::WithLead;
use super::meter::Meters;
use super::metered_writer::MeteredWriter;
use super::rate::RateLimit;
use super::ring::{CHUNK_BYTES, Chunk, Drainer, Filler, RingPoll, chunk_count, ring};
use super::sample::SampleSender;
use super::splice_pipes::SplicePipes;
use super::supervise::{PumpError, PumpReport, Stages};

/// How long the reader waits for more before it passes on a chunk that is not full to an idle writer.
///
/// A send stream comes in small pieces (312-byte headers between blocks); passing each on by itself would cost
/// two thread switches. Two milliseconds are longer than the pause between pieces of a stream that flows.
const LINGER: Duration = Duration::from_millis(2);
/// How often an idle writer looks whether its target is still there.
pub(super) const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How a stream is moved.
#[derive(Clone, Debug)]
pub struct PumpSettings {
    /// Memory for the ring; taken as it is needed, and at least two chunks.
    pub buffer_bytes: u64,
    /// The limit for what goes out; shared by all transfers of a run.
    pub rate: Option<Arc<RateLimit>>,
    /// The transfer fails when no byte moves for this long; `None` waits for ever.
    pub stall_limit: Option<Duration>,
}

/// One transfer about to run.
#[derive(Debug)]
pub struct Pump {
    /// How the stream is moved.
    pub settings: PumpSettings,
    /// The meters; keep a clone to read them meanwhile.
    pub meters: Arc<Meters>,
    /// Ends the transfer. The pump requests it itself when one side fails, so that the other side stops too:
    /// give each transfer a [`Cancel::child`] of its own.
    pub cancel: Cancel,
    /// Where samples go, five a second.
    pub samples: Option<SampleSender>,
}

impl Pump {
    /// Moves everything from `source` to `target`; returns when the source has ended and all is written, or on
    /// the first error. Both must watch [`Pump::cancel`] wherever they block.
    ///
    /// Without copying where both are bare pipes or sockets, else through the ring.
    pub fn run(&self, mut source: impl ByteSource, target: impl ByteSink) -> Result<PumpReport, PumpError> {
        let is_direct = [source.bare_fd(), target.bare_fd()].iter().all(|fd| fd.is_some_and(is_spliceable));
        if is_direct && let Some(store) = SplicePipes::new(self.settings.buffer_bytes) {
            let lead = source.take_lead();
            return match (source.bare_fd(), target.bare_fd()) {
                (Some(from), Some(to)) => self.run_direct(&lead, from, to, store),
                _ => self.run_ring(WithLead::new(lead, source), target),
            };
        }
        self.run_ring(source, target)
    }

    fn run_direct(
        &self,
        lead: &[u8],
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        store: SplicePipes,
    ) -> Result<PumpReport, PumpError> {
        self.meters.set_buffer_bytes(super::as_u64(store.capacity_bytes()));
        let controls =
            Controls { meters: &self.meters, rate: self.settings.rate.as_deref(), cancel: &self.cancel };
        let mover = Mover::new(controls, source, target, store);
        let stages = Stages::new(&self.meters, &self.cancel);
        let (running, over) = Stages::running();
        std::thread::scope(|scope| {
            stages.start(scope, "move", running, || mover.run(lead));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        stages.finish()
    }

    fn run_ring(&self, source: impl ByteSource, target: impl ByteSink) -> Result<PumpReport, PumpError> {
        let buffer_bytes = self.settings.buffer_bytes;
        self.meters.set_buffer_bytes(super::as_u64(chunk_count(buffer_bytes) * CHUNK_BYTES));
        let (filler, drainer) = ring(buffer_bytes, &self.meters.gauge);
        let stages = Stages::new(&self.meters, &self.cancel);
        let (running, over) = Stages::running();
        std::thread::scope(|scope| {
            // Each stage owns its end of the ring: an end that is dropped is how the other learns of it.
            let reader_running = running.clone();
            stages.start(scope, "read", reader_running, move || {
                let (mut source, mut filler) = (source, filler);
                read_stage(&mut source, &mut filler, &self.meters).map(drop)
            });
            stages.start(scope, "write", running, move || self.write_stage(target, drainer));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        stages.finish()
    }

    #[expect(clippy::needless_pass_by_value, reason = "dropping this end of the ring ends the reading stage")]
    fn write_stage(&self, mut target: impl ByteSink, ring: Drainer) -> Result<(), PumpError> {
        let clock = &self.meters.writer;
        let metered_writer = MeteredWriter {
            rate: self.settings.rate.as_deref(),
            meters: &self.meters,
            clock,
            cancel: &self.cancel,
        };
        let mut departed = Departed::default();
        loop {
            clock.enter(StageState::WaitInput);
            self.cancel.check()?;
            match ring.next(IDLE_CHECK) {
                RingPoll::Chunk(chunk) => {
                    metered_writer.write(&mut target, chunk.filled())?;
                    ring.recycle(chunk);
                }
                RingPoll::Nothing => departed.check(target.is_gone())?,
                RingPoll::End => break,
            }
        }
        target.flush_all().map_err(PumpError::target)?;
        clock.enter(StageState::Idle);
        Ok(())
    }
}

/// Fills chunks from `source` and passes them on, until it ends (`true`) or no stage takes them (`false`): then a
/// later stage has failed, and says why.
pub(super) fn read_stage(
    source: &mut impl ByteSource,
    ring: &mut Filler,
    meters: &Meters,
) -> Result<bool, PumpError> {
    loop {
        meters.reader.enter(StageState::WaitOutput);
        let Some(mut chunk) = ring.take() else {
            return Ok(false);
        };
        meters.reader.enter(StageState::WaitInput);
        let has_ended = fill(&mut chunk, source, ring, meters)?;
        meters.reader.enter(StageState::Idle);
        if !chunk.is_empty() && !ring.pass(chunk) {
            return Ok(false);
        }
        if has_ended {
            return Ok(true);
        }
    }
}

/// Fills `chunk`, or less if the source pauses while the writer has nothing to do. `true`: the source ended.
fn fill(
    chunk: &mut Chunk,
    source: &mut impl ByteSource,
    ring: &mut Filler,
    meters: &Meters,
) -> Result<bool, PumpError> {
    while !chunk.is_full() {
        let limit = if chunk.is_empty() { None } else { Some(LINGER) };
        let asked = Instant::now();
        match source.read_within(chunk.spare(), limit).map_err(PumpError::source)? {
            Some(0) => return Ok(true),
            Some(bytes) => {
                if chunk.is_empty() && ring.is_drained() {
                    ring.note_pause(asked.elapsed());
                }
                chunk.advance(bytes);
                meters.count_input(bytes);
            }
            None if !chunk.is_empty() && ring.is_drained() => return Ok(false),
            None => {}
        }
    }
    Ok(false)
}
