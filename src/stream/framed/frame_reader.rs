//! Frames as they arrive on one connection, read with not one byte more than belongs to them.

use std::io;
use std::time::{Duration, Instant};

use crate::stream::endpoint::ByteSource;
use crate::stream::frame::{FrameError, HEADER_BYTES, Header, Kind};
use crate::stream::meter::Meters;
use crate::stream::supervise::PumpError;

/// This number of heartbeats may come at once.
const BEATS_AT_ONCE: u32 = 20;
/// And then one in this time: ten times a sender's rate.
const BEAT_PAUSE: Duration = Duration::from_millis(100);

/// The reading side of one connection.
pub(super) struct FrameReader<'a> {
    source: Box<dyn ByteSource + 'a>,
    meters: &'a Meters,
    stream: u32,
    beats: u32,
    first_beat: Instant,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(source: Box<dyn ByteSource + 'a>, meters: &'a Meters, stream: u32) -> Self {
        Self { source, meters, stream, beats: 0, first_beat: Instant::now() }
    }

    /// The next header; what it announces is still to be read.
    pub(super) fn header(&mut self) -> Result<Header, PumpError> {
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes)?;
        let header = Header::decode(&bytes)?;
        if header.kind != Kind::Heartbeat {
            self.meters.count_input(HEADER_BYTES);
        }
        if header.stream != self.stream {
            return Err(FrameError::WrongStream { expected: self.stream, found: header.stream }.into());
        }
        Ok(header)
    }

    /// Reads the payload of a frame that is not data.
    pub(super) fn payload(&mut self, header: &Header) -> Result<Vec<u8>, PumpError> {
        let mut payload = vec![0; header.stored_len()];
        self.read_all(&mut payload)?;
        if crc32fast::hash(&payload) == header.checksum {
            Ok(payload)
        } else {
            Err(FrameError::HeaderDamaged.into())
        }
    }

    /// Fills all of `room` with bytes of the stream.
    pub(super) fn read_all(&mut self, room: &mut [u8]) -> Result<(), PumpError> {
        let meters = self.meters;
        self.fill(room, &mut |bytes| meters.count_input(bytes))
    }

    /// Fills all of `room` with what is none of the stream's: a sign of life.
    fn read(&mut self, room: &mut [u8]) -> Result<(), PumpError> {
        let meters = self.meters;
        self.fill(room, &mut |_| meters.note_life())
    }

    fn fill(&mut self, mut room: &mut [u8], note: &mut dyn FnMut(usize)) -> Result<(), PumpError> {
        while !room.is_empty() {
            match self.source.read_within(room, None) {
                Ok(Some(0)) => return Err(FrameError::Cut.into()),
                Ok(Some(bytes)) => {
                    note(bytes);
                    room = &mut room[bytes..];
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(FrameError::Cut.into());
                }
                Err(error) => return Err(PumpError::source(error)),
            }
        }
        Ok(())
    }

    /// Counts a heartbeat. One who sends nothing else keeps us busy for nothing.
    pub(super) fn note_heartbeat(&mut self) -> Result<(), FrameError> {
        let span = self.first_beat.elapsed();
        self.beats += 1;
        if self.beats <= BEATS_AT_ONCE || span >= BEAT_PAUSE * self.beats {
            return Ok(());
        }
        Err(FrameError::Flood)
    }

    /// Data arrived: the heartbeats before it are no flood.
    pub(super) fn note_data(&mut self) {
        if self.beats > 0 {
            (self.beats, self.first_beat) = (0, Instant::now());
        }
    }
}
