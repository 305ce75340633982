//! The sending end: packs a stream and spreads it over lanes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{io, thread};

use super::auto::Chooser;
use super::outbox::{Ending, Next, Outbox, Ready};
use super::spares::Spares;
use super::{HEARTBEAT, LOOK};
use crate::model::Compression;
use crate::stream::cancel::Cancel;
use crate::stream::clock::{Doing, StageClock};
use crate::stream::codec::{Method, Packer, room_for};
use crate::stream::endpoint::{Source, Target};
use crate::stream::frame::{Codec, HEADER_BYTES, Header, Kind, REASON_BYTES_MAX};
use crate::stream::meter::Meters;
use crate::stream::outflow::Outflow;
use crate::stream::pump::{PumpSettings, read_stage};
use crate::stream::ring::{CHUNK_BYTES, Chunk, Drained, Drainer, Filler, chunk_count, ring_for};
use crate::stream::sample::SampleSender;
use crate::stream::supervise::{PumpError, PumpReport, Stages};

/// The sending end of one transfer about to run.
#[derive(Debug)]
pub struct Sender {
    /// How the stream is moved; the rate limit is for what goes over the network.
    pub settings: PumpSettings,
    /// How it is packed.
    pub compression: Compression,
    /// The number of this transfer in its session; the receiving end must be told the same.
    pub stream: u32,
    /// What is measured, made with [`workers`](super::workers); as many threads pack.
    pub meters: Arc<Meters>,
    /// Ends the transfer. Give each transfer a [`Cancel::child`] of its own: the first failure requests it.
    pub stop: Cancel,
    /// Where samples go, five a second.
    pub samples: Option<SampleSender>,
}

impl Sender {
    /// Sends everything from `source` over all `lanes`; returns when the End frames are written, or on the first error.
    /// All of them must watch [`Sender::stop`] wherever they block.
    ///
    /// If the source fails, or ends and does not [confirm](Source::confirm_end) it, the receiving end is told so.
    pub fn run<'l>(
        &self,
        source: impl Source,
        lanes: Vec<Box<dyn Target + 'l>>,
    ) -> Result<PumpReport, PumpError> {
        if lanes.is_empty() {
            return Err(PumpError::Setup(io::Error::other("a transfer needs a connection")));
        }
        let workers = if self.compression == Compression::Off { 0 } else { self.meters.workers.len().max(1) };
        let users = 1 + workers + if workers == 0 { lanes.len() } else { 0 };
        let buffer_chunks = chunk_count(self.settings.buffer_bytes).max(users);
        self.meters.set_buffer_bytes(crate::stream::as_u64(buffer_chunks * CHUNK_BYTES));
        let (filler, drainer) = ring_for(users, self.settings.buffer_bytes, &self.meters.gauge);
        let sending = Sending {
            sender: self,
            outbox: Outbox::new(self.stream, lanes.len() + 2 * workers.max(1)),
            packed: Spares::new(HEADER_BYTES + room_for(CHUNK_BYTES)),
            chooser: Chooser::new(workers),
            source_error: Mutex::new(None),
        };
        let sending = &sending;
        let stages = Stages::new(&self.meters, &self.stop);
        let (running, over) = Stages::running();
        thread::scope(|scope| {
            let reader_running = running.clone();
            stages.start(scope, "read", reader_running, move || sending.read(source, filler));
            for worker in 0..workers {
                let drainer = drainer.clone();
                stages.start(scope, "pack", running.clone(), move || sending.pack_all(worker, &drainer));
            }
            for (number, lane) in lanes.into_iter().enumerate() {
                let feed = Feed { drainer: drainer.clone(), packs: workers == 0 };
                stages.start(scope, "lane", running.clone(), move || sending.lane(number, lane, &feed));
            }
            drop((running, drainer));
            stages.watch(&over, self.samples.as_ref(), self.settings.stall_limit);
        });
        let finished = stages.finish();
        let source_error = sending.source_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It came first: a receiving end that has heard of it on one lane may hang up on the others.
        source_error.map_or(finished, Err)
    }
}

/// What all threads of a sending end share.
struct Sending<'a> {
    sender: &'a Sender,
    outbox: Outbox,
    packed: Spares,
    chooser: Chooser,
    /// Why the source failed; told when the receiving end has been told.
    source_error: Mutex<Option<PumpError>>,
}

/// Where a lane gets its frames from: the ring, if nothing is packed, or else the outbox.
struct Feed {
    drainer: Drainer,
    packs: bool,
}

impl Sending<'_> {
    fn read(&self, mut source: impl Source, mut filler: Filler) -> Result<(), PumpError> {
        let confirmed = match read_stage(&mut source, &mut filler, &self.sender.meters) {
            // The source did not end: a connection broke, and its stage has the reason.
            Ok(false) => return Ok(()),
            Ok(true) => source.confirm_end().map_err(PumpError::source),
            Err(error) => Err(error),
        };
        let ending = match confirmed {
            Ok(()) => Ending::Complete,
            // What was read before is sent all the same: the receiver can resume behind it.
            Err(PumpError::Source(error)) => {
                let text = reason(&error);
                *self.source_error.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(PumpError::Source(error));
                Ending::Failed(text)
            }
            Err(error) => return Err(error),
        };
        self.outbox.end(ending, filler.passed());
        Ok(())
    }

    /// One of the threads that pack.
    fn pack_all(&self, worker: usize, drainer: &Drainer) -> Result<(), PumpError> {
        let spare_clock = StageClock::new(Instant::now());
        let clock = self.sender.meters.workers.get(worker).unwrap_or(&spare_clock);
        let mut packer = Packer::default();
        loop {
            clock.enter(Doing::WaitInput);
            self.sender.stop.check()?;
            let chunk = match drainer.next(LOOK) {
                Drained::Chunk(chunk) => chunk,
                Drained::Nothing => continue,
                Drained::End => break,
            };
            clock.enter(Doing::Work);
            let mut header = self.header(&chunk);
            let frame = self.pack(&mut packer, &mut header, chunk, drainer)?;
            clock.enter(Doing::WaitOutput);
            self.outbox.put(&header, frame, &self.sender.stop)?;
        }
        clock.enter(Doing::Idle);
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

    fn pack(
        &self,
        packer: &mut Packer,
        header: &mut Header,
        chunk: Chunk,
        drainer: &Drainer,
    ) -> Result<Ready, PumpError> {
        let mut frame = self.packed.take();
        let (head, room) = frame.spare().split_at_mut(HEADER_BYTES);
        let raw = chunk.filled();
        let outcome = match self.sender.compression {
            Compression::Auto => self.pack_auto(packer, header, raw, room),
            Compression::Off => Ok(None),
            Compression::Lz4 => packer.pack(Method::Lz4, raw, room),
            Compression::Zstd(level) => packer.pack(Method::Zstd(level), raw, room),
        };
        let Some((codec, bytes)) = outcome.map_err(PumpError::Setup)? else {
            self.packed.give(frame);
            return Ok(Ready::Raw(*header, chunk));
        };
        header.kind = Kind::Data(codec);
        header.stored_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        head.copy_from_slice(&header.encode());
        frame.advance(HEADER_BYTES + bytes);
        drainer.recycle(chunk);
        Ok(Ready::Packed(frame))
    }

    fn pack_auto(
        &self,
        packer: &mut Packer,
        header: &Header,
        raw: &[u8],
        room: &mut [u8],
    ) -> io::Result<Option<(Codec, usize)>> {
        self.chooser.reconsider(&self.sender.meters);
        let choice = self.chooser.choose(packer, header.sequence, raw, room);
        let asked = Instant::now();
        let outcome = packer.pack(choice.method, raw, room)?;
        let stored_bytes = outcome.map_or(raw.len(), |(_, bytes)| bytes);
        self.chooser.note(choice, raw.len(), stored_bytes, asked.elapsed());
        Ok(outcome)
    }

    /// Writes frames to one connection, until the stream has ended.
    fn lane(&self, number: usize, mut target: Box<dyn Target + '_>, feed: &Feed) -> Result<(), PumpError> {
        let sender = self.sender;
        // One lane stands for all of them: whichever is free takes the next frame, so all are equally busy.
        let other_clock = StageClock::new(Instant::now());
        let clock = if number == 0 { &sender.meters.writer } else { &other_clock };
        let rate = sender.settings.rate.as_deref();
        let outflow = Outflow { rate, meters: &sender.meters, clock, stop: &sender.stop };
        let mut last_written = Instant::now();
        loop {
            clock.enter(Doing::WaitInput);
            match self.next(feed)? {
                Next::Frame(Ready::Raw(header, chunk)) => {
                    outflow.write(&mut *target, &header.encode())?;
                    outflow.write(&mut *target, chunk.filled())?;
                    feed.drainer.recycle(chunk);
                }
                Next::Frame(Ready::Packed(packed)) => {
                    outflow.write(&mut *target, packed.filled())?;
                    self.packed.give(packed);
                }
                Next::Nothing => {
                    if target.is_gone() {
                        return Err(PumpError::Target(io::ErrorKind::BrokenPipe.into()));
                    }
                    target.flush_all().map_err(PumpError::target)?;
                    if last_written.elapsed() < HEARTBEAT {
                        continue;
                    }
                    let beat = Header::plain(Kind::Heartbeat, sender.stream, 0, b"");
                    outflow.write_sign(&mut *target, &beat.encode())?;
                    target.flush_all().map_err(PumpError::target)?;
                }
                Next::Last(header, payload) => {
                    outflow.write(&mut *target, &[&header.encode(), &payload[..]].concat())?;
                    target.flush_all().map_err(PumpError::target)?;
                    clock.enter(Doing::Idle);
                    return Ok(());
                }
            }
            last_written = Instant::now();
        }
    }

    fn next(&self, feed: &Feed) -> Result<Next, PumpError> {
        if !feed.packs {
            return Ok(self.outbox.next(LOOK, &self.sender.stop)?);
        }
        self.sender.stop.check()?;
        Ok(match feed.drainer.next(LOOK) {
            Drained::Chunk(chunk) => {
                let header = self.header(&chunk);
                self.outbox.count(&header);
                Next::Frame(Ready::Raw(header, chunk))
            }
            Drained::Nothing => Next::Nothing,
            Drained::End => self.outbox.next(LOOK, &self.sender.stop)?,
        })
    }
}

/// What the receiving end is told: the error with its causes, cut to what a frame carries.
fn reason(error: &io::Error) -> String {
    let mut text = crate::stream::chain(error);
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
