//! The receiving end: gathers a stream from its connections, checks and decompresses it, and writes it in order.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver as QueueEnd, RecvTimeoutError, SendTimeoutError, Sender as Queue, bounded};

use super::LOOK;
use super::chunk_pool::ChunkPool;
use super::frame_reader::FrameReader;
use super::window::{Window, WindowPoll};
use crate::model::printable;
use crate::stream::cancel::Cancel;
use crate::stream::clock::{StageClock, StageState};
use crate::stream::codec::{ChunkDecompressor, check};
use crate::stream::departed::Departed;
use crate::stream::endpoint::{ByteSink, ByteSource};
use crate::stream::frame::{Codec, FrameError, Header, Kind};
use crate::stream::meter::Meters;
use crate::stream::metered_writer::MeteredWriter;
use crate::stream::pump::{IDLE_CHECK, PumpSettings};
use crate::stream::ring::{CHUNK_BYTES, Chunk, chunk_count};
use crate::stream::sample::SampleSender;
use crate::stream::supervise::{PumpError, PumpReport, Stages};

/// The receiving end of one transfer about to run.
#[derive(Debug)]
pub struct FramedReceiver {
    /// How the stream is moved; the rate limit, if any, is for what goes to the target.
    pub settings: PumpSettings,
    /// The number of this transfer in its session: frames of another one are an error.
    pub stream: u32,
    /// The meters, made with [`workers`](super::workers); as many threads decompress.
    pub meters: Arc<Meters>,
    /// Ends the transfer. Give each transfer a [`Cancel::child`] of its own: the first failure requests it.
    pub cancel: Cancel,
    /// Where samples go, five a second.
    pub samples: Option<SampleSender>,
}

impl FramedReceiver {
    /// Receives from all `connections` into `target`; returns when every connection has brought its End frame and all is written, or
    /// on the first error. All of them must watch [`FramedReceiver::cancel`] wherever they block.
    ///
    /// `Ok` means that the stream is complete and is what was sent. After a connection's End frame nothing more is read from
    /// it. If a connection breaks off, or the sender gives up, the data received before is still written.
    pub fn run<'l>(
        &self,
        connections: Vec<Box<dyn ByteSource + 'l>>,
        target: impl ByteSink,
    ) -> Result<PumpReport, PumpError> {
        if connections.is_empty() {
            return Err(PumpError::Setup(io::Error::other("a transfer needs a connection")));
        }
        let workers = self.meters.workers.len().max(1);
        let first_chunks = connections.len() + 2 * workers + 2;
        let most_chunks = chunk_count(self.settings.buffer_bytes).max(first_chunks);
        self.meters.set_buffer_bytes(crate::stream::as_u64(most_chunks * CHUNK_BYTES));
        let window = Window::new(connections.len(), first_chunks, most_chunks, &self.meters, &self.cancel);
        let (queue, queue_end) = bounded(workers);
        let receiving = Receiving { receiver: self, window, chunk_pool: ChunkPool::new(CHUNK_BYTES) };
        let receiving = &receiving;
        let stages = Stages::new(&self.meters, &self.cancel);
        let (running, over) = Stages::running();
        thread::scope(|scope| {
            for (number, connection) in connections.into_iter().enumerate() {
                let queue = queue.clone();
                stages.start(scope, "connection", running.clone(), move || {
                    receiving.connection(number, connection, &queue)
                });
            }
            for worker in 0..workers {
                let queue_end = queue_end.clone();
                stages.start(scope, "decompress", running.clone(), move || {
                    receiving.decompress_all(worker, &queue_end)
                });
            }
            drop((queue, queue_end));
            stages.start(scope, "write", running, move || receiving.write(target));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        stages.finish()
    }
}

/// A chunk that is still compressed.
struct Compressed {
    header: Header,
    codec: Codec,
    stored: Chunk,
}

/// The state that all threads of a receiver share.
struct Receiving<'a> {
    receiver: &'a FramedReceiver,
    window: Window<'a>,
    chunk_pool: ChunkPool,
}

impl Receiving<'_> {
    /// Reads one connection, until its End frame.
    fn connection(
        &self,
        connection: usize,
        source: Box<dyn ByteSource + '_>,
        queue: &Queue<Compressed>,
    ) -> Result<(), PumpError> {
        let receiver = self.receiver;
        // One connection stands for all of them, as at the sending end.
        let other_clock = StageClock::new(Instant::now());
        let clock = if connection == 0 { &receiver.meters.reader } else { &other_clock };
        let mut frame_reader = FrameReader::new(source, &receiver.meters, receiver.stream);
        let mut coming = None;
        let ended = self.take_in(connection, &mut frame_reader, queue, clock, &mut coming);
        clock.enter(StageState::Idle);
        match ended {
            // The stream ends here, but the data received so far is correct.
            Err(why @ (PumpError::Frame(FrameError::Cut) | PumpError::Peer(_) | PumpError::Source(_))) => {
                self.window.break_off(connection, coming, why);
                Ok(())
            }
            ended => ended,
        }
    }

    fn take_in(
        &self,
        connection: usize,
        frame_reader: &mut FrameReader<'_>,
        queue: &Queue<Compressed>,
        clock: &StageClock,
        coming: &mut Option<u64>,
    ) -> Result<(), PumpError> {
        loop {
            clock.enter(StageState::WaitInput);
            let header = frame_reader.header()?;
            match header.kind {
                Kind::Data(codec) => {
                    frame_reader.note_data();
                    clock.enter(StageState::WaitOutput);
                    self.window.admit(connection, &header)?;
                    *coming = Some(header.sequence);
                    clock.enter(StageState::WaitInput);
                    let mut stored = self.chunk_pool.take();
                    frame_reader.read_all(&mut stored.spare()[..header.stored_len()])?;
                    stored.advance(header.stored_len());
                    if codec == Codec::Raw {
                        clock.enter(StageState::Work);
                        check(&header, stored.filled())?;
                        self.window.put(&header, stored);
                    } else {
                        clock.enter(StageState::WaitOutput);
                        hand_on(queue, Compressed { header, codec, stored }, &self.receiver.cancel)?;
                    }
                    *coming = None;
                }
                Kind::Heartbeat => frame_reader.note_heartbeat()?,
                Kind::End => {
                    let payload = frame_reader.payload(&header)?;
                    let totals = payload.try_into().map_err(|_| FrameError::WrongTotals)?;
                    return self.window.end(connection, &header, totals);
                }
                Kind::Failed => return Err(PumpError::Peer(printable(&frame_reader.payload(&header)?))),
            }
        }
    }

    /// One of the threads that decompress.
    fn decompress_all(&self, worker: usize, queue: &QueueEnd<Compressed>) -> Result<(), PumpError> {
        let spare_clock = StageClock::new(Instant::now());
        let clock = self.receiver.meters.workers.get(worker).unwrap_or(&spare_clock);
        let mut decompressor = ChunkDecompressor::default();
        loop {
            clock.enter(StageState::WaitInput);
            self.receiver.cancel.check()?;
            let Compressed { header, codec, stored } = match queue.recv_timeout(LOOK) {
                Ok(compressed) => compressed,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            clock.enter(StageState::Work);
            let mut raw = self.chunk_pool.take();
            let room = &mut raw.spare()[..header.raw_len()];
            decompressor.decompress(codec, &header, stored.filled(), room)?;
            raw.advance(header.raw_len());
            self.chunk_pool.give(stored);
            self.window.put(&header, raw);
        }
        clock.enter(StageState::Idle);
        Ok(())
    }

    /// Writes what has come, in order.
    fn write(&self, mut target: impl ByteSink) -> Result<(), PumpError> {
        let FramedReceiver { settings, meters, cancel, .. } = self.receiver;
        let clock = &meters.writer;
        let metered_writer = MeteredWriter { rate: settings.rate.as_deref(), meters, clock, cancel };
        let mut departed = Departed::default();
        loop {
            clock.enter(StageState::WaitInput);
            match self.window.take(IDLE_CHECK) {
                Ok(WindowPoll::Chunk(chunk)) => {
                    metered_writer.write(&mut target, chunk.filled())?;
                    meters.gauge.remove(chunk.filled().len());
                    self.chunk_pool.give(chunk);
                }
                Ok(WindowPoll::Nothing) => departed.check(target.is_gone())?,
                Ok(WindowPoll::End) => break,
                Err(error) => {
                    // Data received before the break must reach the target too; only the break is reported.
                    drop(target.flush_all());
                    return Err(error);
                }
            }
        }
        target.flush_all().map_err(PumpError::target)?;
        clock.enter(StageState::Idle);
        Ok(())
    }
}

/// Waits for room in `queue`.
fn hand_on(queue: &Queue<Compressed>, mut compressed: Compressed, cancel: &Cancel) -> Result<(), PumpError> {
    loop {
        cancel.check()?;
        compressed = match queue.send_timeout(compressed, LOOK) {
            Ok(()) => return Ok(()),
            Err(SendTimeoutError::Timeout(compressed)) => compressed,
            // The threads that decompress have failed and are about to say why; that stops us.
            Err(SendTimeoutError::Disconnected(compressed)) => {
                cancel.sleep(LOOK)?;
                compressed
            }
        };
    }
}
