//! The receiving end: gathers a stream from its lanes, checks and unpacks it, and writes it in order.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver as QueueEnd, RecvTimeoutError, SendTimeoutError, Sender as Queue, bounded};

use super::LOOK;
use super::arrivals::Arrivals;
use super::spares::Spares;
use super::window::{Found, Window};
use crate::model::printable;
use crate::stream::cancel::Cancel;
use crate::stream::clock::{Doing, StageClock};
use crate::stream::codec::{Unpacker, check};
use crate::stream::departed::Departed;
use crate::stream::endpoint::{Source, Target};
use crate::stream::frame::{Codec, FrameError, Header, Kind};
use crate::stream::meter::Meters;
use crate::stream::outflow::Outflow;
use crate::stream::pump::{IDLE_CHECK, PumpSettings};
use crate::stream::ring::{CHUNK_BYTES, Chunk, chunk_count};
use crate::stream::sample::SampleSender;
use crate::stream::supervise::{PumpError, PumpReport, Stages};

/// The receiving end of one transfer about to run.
#[derive(Debug)]
pub struct Receiver {
    /// How the stream is moved; the rate limit, if any, is for what goes to the target.
    pub settings: PumpSettings,
    /// The number of this transfer in its session: frames of another one are an error.
    pub stream: u32,
    /// What is measured, made with [`workers`](super::workers); as many threads unpack.
    pub meters: Arc<Meters>,
    /// Ends the transfer. Give each transfer a [`Cancel::child`] of its own: the first failure requests it.
    pub stop: Cancel,
    /// Where samples go, five a second.
    pub samples: Option<SampleSender>,
}

impl Receiver {
    /// Receives from all `lanes` into `target`; returns when every lane has brought its End frame and all is written, or
    /// on the first error. All of them must watch [`Receiver::stop`] wherever they block.
    ///
    /// `Ok` means that the stream is complete and is what was sent. After a lane's End frame nothing more is read from
    /// it. If a lane breaks off, or the sending end gives up, what came before is written all the same.
    pub fn run<'l>(
        &self,
        lanes: Vec<Box<dyn Source + 'l>>,
        target: impl Target,
    ) -> Result<PumpReport, PumpError> {
        if lanes.is_empty() {
            return Err(PumpError::Setup(io::Error::other("a transfer needs a connection")));
        }
        let workers = self.meters.workers.len().max(1);
        let first_chunks = lanes.len() + 2 * workers + 2;
        let most_chunks = chunk_count(self.settings.buffer_bytes).max(first_chunks);
        self.meters.set_buffer_bytes(crate::stream::as_u64(most_chunks * CHUNK_BYTES));
        let window = Window::new(lanes.len(), first_chunks, most_chunks, &self.meters, &self.stop);
        let (queue, queue_end) = bounded(workers);
        let receiving = Receiving { receiver: self, window, spares: Spares::new(CHUNK_BYTES) };
        let receiving = &receiving;
        let stages = Stages::new(&self.meters, &self.stop);
        let (running, over) = Stages::running();
        thread::scope(|scope| {
            for (number, lane) in lanes.into_iter().enumerate() {
                let queue = queue.clone();
                stages.start(scope, "lane", running.clone(), move || receiving.lane(number, lane, &queue));
            }
            for worker in 0..workers {
                let queue_end = queue_end.clone();
                stages.start(scope, "unpack", running.clone(), move || {
                    receiving.unpack_all(worker, &queue_end)
                });
            }
            drop((queue, queue_end));
            stages.start(scope, "write", running, move || receiving.write(target));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        stages.finish()
    }
}

/// A chunk that is still packed.
struct Packed {
    header: Header,
    codec: Codec,
    stored: Chunk,
}

/// What all threads of a receiving end share.
struct Receiving<'a> {
    receiver: &'a Receiver,
    window: Window<'a>,
    spares: Spares,
}

impl Receiving<'_> {
    /// Reads one connection, until its End frame.
    fn lane(
        &self,
        lane: usize,
        source: Box<dyn Source + '_>,
        queue: &Queue<Packed>,
    ) -> Result<(), PumpError> {
        let receiver = self.receiver;
        // One lane stands for all of them, as at the sending end.
        let other_clock = StageClock::new(Instant::now());
        let clock = if lane == 0 { &receiver.meters.reader } else { &other_clock };
        let mut arrivals = Arrivals::new(source, &receiver.meters, receiver.stream);
        let mut coming = None;
        let ended = self.take_in(lane, &mut arrivals, queue, clock, &mut coming);
        clock.enter(Doing::Idle);
        match ended {
            // The stream ends here, but what came is what was sent.
            Err(why @ (PumpError::Frame(FrameError::Cut) | PumpError::Peer(_) | PumpError::Source(_))) => {
                self.window.break_off(lane, coming, why);
                Ok(())
            }
            ended => ended,
        }
    }

    fn take_in(
        &self,
        lane: usize,
        arrivals: &mut Arrivals<'_>,
        queue: &Queue<Packed>,
        clock: &StageClock,
        coming: &mut Option<u64>,
    ) -> Result<(), PumpError> {
        loop {
            clock.enter(Doing::WaitInput);
            let header = arrivals.header()?;
            match header.kind {
                Kind::Data(codec) => {
                    arrivals.note_data();
                    clock.enter(Doing::WaitOutput);
                    self.window.admit(lane, &header)?;
                    *coming = Some(header.sequence);
                    clock.enter(Doing::WaitInput);
                    let mut stored = self.spares.take();
                    arrivals.read_all(&mut stored.spare()[..header.stored_len()])?;
                    stored.advance(header.stored_len());
                    if codec == Codec::Raw {
                        clock.enter(Doing::Work);
                        check(&header, stored.filled())?;
                        self.window.put(&header, stored);
                    } else {
                        clock.enter(Doing::WaitOutput);
                        hand_on(queue, Packed { header, codec, stored }, &self.receiver.stop)?;
                    }
                    *coming = None;
                }
                Kind::Heartbeat => arrivals.note_heartbeat()?,
                Kind::End => {
                    let payload = arrivals.payload(&header)?;
                    let totals = payload.try_into().map_err(|_| FrameError::WrongTotals)?;
                    return self.window.end(lane, &header, totals);
                }
                Kind::Failed => return Err(PumpError::Peer(printable(&arrivals.payload(&header)?))),
            }
        }
    }

    /// One of the threads that unpack.
    fn unpack_all(&self, worker: usize, queue: &QueueEnd<Packed>) -> Result<(), PumpError> {
        let spare_clock = StageClock::new(Instant::now());
        let clock = self.receiver.meters.workers.get(worker).unwrap_or(&spare_clock);
        let mut unpacker = Unpacker::default();
        loop {
            clock.enter(Doing::WaitInput);
            self.receiver.stop.check()?;
            let Packed { header, codec, stored } = match queue.recv_timeout(LOOK) {
                Ok(packed) => packed,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            clock.enter(Doing::Work);
            let mut raw = self.spares.take();
            let room = &mut raw.spare()[..header.raw_len()];
            unpacker.unpack(codec, &header, stored.filled(), room)?;
            raw.advance(header.raw_len());
            self.spares.give(stored);
            self.window.put(&header, raw);
        }
        clock.enter(Doing::Idle);
        Ok(())
    }

    /// Writes what has come, in order.
    fn write(&self, mut target: impl Target) -> Result<(), PumpError> {
        let Receiver { settings, meters, stop, .. } = self.receiver;
        let clock = &meters.writer;
        let outflow = Outflow { rate: settings.rate.as_deref(), meters, clock, stop };
        let mut departed = Departed::default();
        loop {
            clock.enter(Doing::WaitInput);
            match self.window.take(IDLE_CHECK) {
                Ok(Found::Chunk(chunk)) => {
                    outflow.write(&mut target, chunk.filled())?;
                    meters.gauge.remove(chunk.filled().len());
                    self.spares.give(chunk);
                }
                Ok(Found::Nothing) => departed.check(target.is_gone())?,
                Ok(Found::End) => break,
                Err(error) => {
                    // What came before the break is to reach the target too; the break is what counts.
                    drop(target.flush_all());
                    return Err(error);
                }
            }
        }
        target.flush_all().map_err(PumpError::target)?;
        clock.enter(Doing::Idle);
        Ok(())
    }
}

/// Waits for room in `queue`.
fn hand_on(queue: &Queue<Packed>, mut packed: Packed, stop: &Cancel) -> Result<(), PumpError> {
    loop {
        stop.check()?;
        packed = match queue.send_timeout(packed, LOOK) {
            Ok(()) => return Ok(()),
            Err(SendTimeoutError::Timeout(packed)) => packed,
            // The threads that unpack have failed and are about to say why; that stops us.
            Err(SendTimeoutError::Disconnected(packed)) => {
                stop.sleep(LOOK)?;
                packed
            }
        };
    }
}
