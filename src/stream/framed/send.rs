//! The sending end: compresses a stream and spreads it over connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{io, thread};

use super::auto::Chooser;
use super::chunk_pool::ChunkPool;
use super::reorder_queue::{Ending, QueuePoll, Ready, ReorderQueue};
use super::{HEARTBEAT, LOOK};
use crate::model::Compression;
use crate::stream::cancel::Cancel;
use crate::stream::clock::{StageClock, StageState};
use crate::stream::codec::{ChunkCompressor, Method, room_for};
use crate::stream::departed::broken;
use crate::stream::endpoint::{ByteSink, ByteSource};
use crate::stream::frame::{Codec, HEADER_BYTES, Header, Kind, REASON_BYTES_MAX};
use crate::stream::meter::Meters;
use crate::stream::metered_writer::MeteredWriter;
use crate::stream::pump::{PumpSettings, read_stage};
use crate::stream::ring::{CHUNK_BYTES, Chunk, Drainer, Filler, RingPoll, chunk_count, ring_for};
use crate::stream::sample::SampleSender;
use crate::stream::supervise::{PumpError, PumpReport, Stages};

/// The sending end of one transfer about to run.
#[derive(Debug)]
pub struct FramedSender {
    /// How the stream is moved; the rate limit is for what goes over the network.
    pub settings: PumpSettings,
    /// How it is compressed.
    pub compression: Compression,
    /// The number of this transfer in its session; the receiver must have the same number.
    pub stream: u32,
    /// The meters, made with [`workers`](super::workers); as many threads compress.
    pub meters: Arc<Meters>,
    /// Ends the transfer. Give each transfer a [`Cancel::child`] of its own: the first failure requests it.
    pub cancel: Cancel,
    /// Where samples go, five a second.
    pub samples: Option<SampleSender>,
}

impl FramedSender {
    /// Sends everything from `source` over all `connections`; returns when the End frames are written, or on the first error.
    /// All of them must watch [`FramedSender::cancel`] wherever they block.
    ///
    /// If the source fails, or ends and does not [confirm](ByteSource::confirm_end) it, a Failed frame is sent.
    pub fn run<'l>(
        &self,
        source: impl ByteSource,
        connections: Vec<Box<dyn ByteSink + 'l>>,
    ) -> Result<PumpReport, PumpError> {
        if connections.is_empty() {
            return Err(PumpError::Setup(io::Error::other("a transfer needs a connection")));
        }
        let workers = if self.compression == Compression::Off { 0 } else { self.meters.workers.len().max(1) };
        let users = 1 + workers + if workers == 0 { connections.len() } else { 0 };
        let buffer_chunks = chunk_count(self.settings.buffer_bytes).max(users);
        self.meters.set_buffer_bytes(crate::stream::as_u64(buffer_chunks * CHUNK_BYTES));
        let (filler, drainer) = ring_for(users, self.settings.buffer_bytes, &self.meters.gauge);
        let sending = Sending {
            sender: self,
            reorder_queue: ReorderQueue::new(self.stream, connections.len() + 2 * workers.max(1)),
            compressed: ChunkPool::new(HEADER_BYTES + room_for(CHUNK_BYTES)),
            chooser: Chooser::new(workers),
            source_error: Mutex::new(None),
        };
        let sending = &sending;
        let stages = Stages::new(&self.meters, &self.cancel);
        let (running, over) = Stages::running();
        thread::scope(|scope| {
            let reader_running = running.clone();
            stages.start(scope, "read", reader_running, move || sending.read(source, filler));
            for worker in 0..workers {
                let drainer = drainer.clone();
                stages.start(scope, "compress", running.clone(), move || {
                    sending.compress_all(worker, &drainer)
                });
            }
            for (number, connection) in connections.into_iter().enumerate() {
                let feed = Feed { drainer: drainer.clone(), compresses: workers == 0 };
                stages.start(scope, "connection", running.clone(), move || {
                    sending.connection(number, connection, &feed)
                });
            }
            drop((running, drainer));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        let finished = stages.finish();
        let source_error = sending.source_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It came first: a receiving end that has heard of it on one connection may hang up on the others.
        source_error.map_or(finished, Err)
    }
}

/// The state that all threads of a sender share.
struct Sending<'a> {
    sender: &'a FramedSender,
    reorder_queue: ReorderQueue,
    compressed: ChunkPool,
    chooser: Chooser,
    /// Why the source failed; returned after the receiver has got the Failed frame.
    source_error: Mutex<Option<PumpError>>,
}

/// Where a connection gets its frames from: the ring, if nothing is compressed, or else the reorder queue.
struct Feed {
    drainer: Drainer,
    compresses: bool,
}

impl Sending<'_> {
    fn read(&self, mut source: impl ByteSource, mut filler: Filler) -> Result<(), PumpError> {
        let confirmed = match read_stage(&mut source, &mut filler, &self.sender.meters) {
            // The source did not end: a connection broke, and its stage has the reason.
            Ok(false) => return Ok(()),
            Ok(true) => source.confirm_end().map_err(PumpError::source),
            Err(error) => Err(error),
        };
        let ending = match confirmed {
            Ok(()) => Ending::Complete,
            // The data read before is still sent: the receiver can resume behind it.
            Err(PumpError::Source(error)) => {
                let text = reason(&error);
                *self.source_error.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(PumpError::Source(error));
                Ending::Failed(text)
            }
            Err(error) => return Err(error),
        };
        self.reorder_queue.end(ending, filler.passed());
        Ok(())
    }

    /// One of the threads that compress.
    fn compress_all(&self, worker: usize, drainer: &Drainer) -> Result<(), PumpError> {
        let spare_clock = StageClock::new(Instant::now());
        let clock = self.sender.meters.workers.get(worker).unwrap_or(&spare_clock);
        let mut compressor = ChunkCompressor::default();
        loop {
            clock.enter(StageState::WaitInput);
            self.sender.cancel.check()?;
            let chunk = match drainer.next(LOOK) {
                RingPoll::Chunk(chunk) => chunk,
                RingPoll::Nothing => continue,
                RingPoll::End => break,
            };
            clock.enter(StageState::Work);
            let mut header = self.header(&chunk);
            let frame = self.compress(&mut compressor, &mut header, chunk, drainer)?;
            clock.enter(StageState::WaitOutput);
            self.reorder_queue.put(&header, frame, &self.sender.cancel)?;
        }
        clock.enter(StageState::Idle);
        Ok(())
    }

    fn header(&self, chunk: &Chunk) -> Header {
        let length = u32::try_from(chunk.filled().len()).unwrap_or(u32::MAX);
        Header {
            kind: Kind::Data(Codec::Raw),
            stream: self.sender.stream,
            sequence: chunk.number(),
            raw_bytes: length,
            stored_bytes: length,
            checksum: crc32fast::hash(chunk.filled()),
        }
    }

    fn compress(
        &self,
        compressor: &mut ChunkCompressor,
        header: &mut Header,
        chunk: Chunk,
        drainer: &Drainer,
    ) -> Result<Ready, PumpError> {
        let mut frame = self.compressed.take();
        let (head, room) = frame.spare().split_at_mut(HEADER_BYTES);
        let raw = chunk.filled();
        let outcome = match self.sender.compression {
            Compression::Auto => self.compress_auto(compressor, header, raw, room),
            Compression::Off => Ok(None),
            Compression::Lz4 => compressor.compress(Method::Lz4, raw, room),
            Compression::Zstd(level) => compressor.compress(Method::Zstd(level), raw, room),
        };
        let Some((codec, bytes)) = outcome.map_err(PumpError::Setup)? else {
            self.compressed.give(frame);
            return Ok(Ready::Raw(*header, chunk));
        };
        header.kind = Kind::Data(codec);
        header.stored_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        head.copy_from_slice(&header.encode());
        frame.advance(HEADER_BYTES + bytes);
        drainer.recycle(chunk);
        Ok(Ready::Compressed(frame))
    }

    fn compress_auto(
        &self,
        compressor: &mut ChunkCompressor,
        header: &Header,
        raw: &[u8],
        room: &mut [u8],
    ) -> io::Result<Option<(Codec, usize)>> {
        self.chooser.reconsider(&self.sender.meters);
        let choice = self.chooser.choose(compressor, header.sequence, raw, room);
        let asked = Instant::now();
        let outcome = compressor.compress(choice.method, raw, room)?;
        let stored_bytes = outcome.map_or(raw.len(), |(_, bytes)| bytes);
        self.chooser.note(choice, raw.len(), stored_bytes, asked.elapsed());
        Ok(outcome)
    }

    /// Writes frames to one connection, until the stream has ended.
    fn connection(
        &self,
        number: usize,
        mut target: Box<dyn ByteSink + '_>,
        feed: &Feed,
    ) -> Result<(), PumpError> {
        let sender = self.sender;
        // One connection stands for all of them: whichever is free takes the next frame, so all are equally busy.
        let other_clock = StageClock::new(Instant::now());
        let clock = if number == 0 { &sender.meters.writer } else { &other_clock };
        let rate = sender.settings.rate.as_deref();
        let metered_writer = MeteredWriter { rate, meters: &sender.meters, clock, cancel: &sender.cancel };
        let mut last_written = Instant::now();
        loop {
            clock.enter(StageState::WaitInput);
            match self.next(feed)? {
                QueuePoll::Frame(Ready::Raw(header, chunk)) => {
                    metered_writer.write(&mut *target, &header.encode())?;
                    metered_writer.write(&mut *target, chunk.filled())?;
                    feed.drainer.recycle(chunk);
                }
                QueuePoll::Frame(Ready::Compressed(compressed)) => {
                    metered_writer.write(&mut *target, compressed.filled())?;
                    self.compressed.give(compressed);
                }
                QueuePoll::Nothing => {
                    if target.is_gone() {
                        return Err(broken());
                    }
                    target.flush_all().map_err(PumpError::target)?;
                    if last_written.elapsed() < HEARTBEAT {
                        continue;
                    }
                    let beat = Header::plain(Kind::Heartbeat, sender.stream, 0, b"");
                    metered_writer.write_sign(&mut *target, &beat.encode())?;
                    target.flush_all().map_err(PumpError::target)?;
                }
                QueuePoll::Last(header, payload) => {
                    metered_writer.write(&mut *target, &[&header.encode(), &payload[..]].concat())?;
                    target.flush_all().map_err(PumpError::target)?;
                    clock.enter(StageState::Idle);
                    return Ok(());
                }
            }
            last_written = Instant::now();
        }
    }

    fn next(&self, feed: &Feed) -> Result<QueuePoll, PumpError> {
        if !feed.compresses {
            return Ok(self.reorder_queue.next(LOOK, &self.sender.cancel)?);
        }
        self.sender.cancel.check()?;
        Ok(match feed.drainer.next(LOOK) {
            RingPoll::Chunk(chunk) => {
                let header = self.header(&chunk);
                self.reorder_queue.count(&header);
                QueuePoll::Frame(Ready::Raw(header, chunk))
            }
            RingPoll::Nothing => QueuePoll::Nothing,
            RingPoll::End => self.reorder_queue.next(LOOK, &self.sender.cancel)?,
        })
    }
}

/// The text of a Failed frame: the error with its causes, cut to the length that a frame carries.
fn reason(error: &io::Error) -> String {
    let mut text = crate::stream::chain(error);
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
