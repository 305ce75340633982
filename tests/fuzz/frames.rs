//! A receiver gets connections that were damaged, cut, mixed up or forged.
//!
//! In every round: no panic, no endless wait, no more memory than the buffer allows; and what is called complete is what
//! was sent, what was written before an error is its beginning.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zhaul::stream::frame::{HEADER_BYTES, Header};
use zhaul::stream::framed::{FramedReceiver, FramedSender};
use zhaul::stream::meter::{Meters, Places};
use zhaul::stream::pump::PumpSettings;
use zhaul::stream::supervise::PumpError;
use zhaul::stream::{ByteSink, ByteSource, Cancel, Compression, Plain};

use crate::random::Random;

const STREAM: u32 = 3;
/// A round that takes longer waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame as it was sent.
type Frame = Vec<u8>;

fn settings() -> PumpSettings {
    PumpSettings { buffer_bytes: 4 << 20, rate: None, stall_limit: Some(PATIENCE / 2) }
}

/// The bytes that a connection was given, frame by frame if they were written so.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<u8>>>);

impl ByteSink for Recorded {
    fn write_some(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// A source in pieces, so that there are many chunks without there being many bytes.
struct Pieces(Vec<Vec<u8>>);

impl ByteSource for Pieces {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> std::io::Result<Option<usize>> {
        if limit.is_some() && !self.0.is_empty() {
            // A pause: what was read so far becomes a chunk.
            std::thread::sleep(Duration::from_micros(200));
            return Ok(None);
        }
        let Some(piece) = self.0.pop() else { return Ok(Some(0)) };
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(Some(piece.len()))
    }
}

fn content(random: &mut Random) -> Vec<Vec<u8>> {
    let pieces = random.below(6);
    (0..pieces)
        .map(|_| {
            let (length, spread) = (1 + random.below(3000), random.byte());
            (0..length).map(|_| random.byte() % spread.max(1)).collect()
        })
        .collect()
}

fn sent(random: &mut Random, pieces: &[Vec<u8>], connections: usize) -> Vec<Vec<Frame>> {
    let compressions = [Compression::Off, Compression::Lz4, Compression::Zstd(1)];
    let compression = compressions[random.below(compressions.len())];
    let sender = FramedSender {
        settings: settings(),
        compression,
        stream: STREAM,
        meters: Meters::new(Places::SENDING, 1),
        cancel: Cancel::new().unwrap(),
        samples: None,
    };
    let recorded: Vec<Recorded> = (0..connections).map(|_| Recorded::default()).collect();
    let connection = |connection: &Recorded| -> Box<dyn ByteSink> { Box::new(connection.clone()) };
    let reversed = pieces.iter().rev().cloned().collect();
    sender.run(Pieces(reversed), recorded.iter().map(connection).collect()).unwrap();
    recorded.iter().map(|connection| frames(&connection.0.lock().unwrap())).collect()
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
        let length = HEADER_BYTES + usize::try_from(header.stored_bytes).unwrap();
        frames.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    frames
}

/// Damages one connection in one way. `true`: checksums were made good, so that other data may be taken for right.
fn damage(random: &mut Random, connection: &mut Vec<Frame>) -> bool {
    if connection.is_empty() {
        // All of it was taken away before.
        return false;
    }
    let at = random.below(connection.len());
    let other = random.below(connection.len());
    match random.below(8) {
        0 if !connection[at].is_empty() => {
            let byte = random.below(connection[at].len());
            connection[at][byte] ^= 1 << random.below(8);
        }
        1 => {
            let length = random.below(connection[at].len());
            connection[at].truncate(length);
        }
        2 => drop(connection.remove(at)),
        3 => {
            let twice = connection[at].clone();
            connection.insert(other, twice);
        }
        4 => connection.swap(at, other),
        5 => {
            let noise = (0..random.below(100)).map(|_| random.byte()).collect();
            connection.insert(at, noise);
        }
        6 => connection.truncate(at),
        _ => {
            forge(random, &mut connection[at]);
            return true;
        }
    }
    false
}

/// Changes a header and gives it the checksum that it then needs.
fn forge(random: &mut Random, frame: &mut Frame) {
    if frame.len() < HEADER_BYTES {
        return;
    }
    let fields = [4..6, 8..12, 12..20, 20..24, 24..28, 28..32];
    let field = fields[random.below(fields.len())].clone();
    let is_near = random.below(2) == 0;
    for (place, byte) in frame[field].iter_mut().enumerate() {
        if is_near && place == 0 {
            *byte = byte.wrapping_add(1);
        } else if !is_near {
            *byte = random.byte();
        }
    }
    let checksum = crc32fast::hash(&frame[..HEADER_BYTES - 4]);
    frame[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// One round: a small stream over some connections, some damage, and what comes of it.
pub(crate) fn round(random: &mut Random) {
    let pieces = content(random);
    let connections = 1 + random.below(3);
    let mut connections = sent(random, &pieces, connections);
    let mut is_forged = false;
    for _ in 0..random.below(4) {
        let connection = random.below(connections.len());
        if !connections[connection].is_empty() {
            is_forged |= damage(random, &mut connections[connection]);
        }
    }
    let expected = pieces.concat();
    let started = Instant::now();
    let (written, result) = receive(&connections);
    assert!(started.elapsed() < PATIENCE, "it waited");
    assert!(!matches!(result, Err(PumpError::Crashed(_) | PumpError::Stalled { .. })), "{result:?}");
    if is_forged {
        return;
    }
    assert!(expected.starts_with(&written), "something else was written");
    if result.is_ok() {
        assert!(written == expected, "a part was taken for the whole");
    }
}

fn receive(connections: &[Vec<Frame>]) -> (Vec<u8>, Result<(), PumpError>) {
    let receiver = FramedReceiver {
        settings: settings(),
        stream: STREAM,
        meters: Meters::new(Places::RECEIVING, 1),
        cancel: Cancel::new().unwrap(),
        samples: None,
    };
    let mut written = Vec::new();
    let connection = |connection: &Vec<Frame>| -> Box<dyn ByteSource> {
        Box::new(Plain(Cursor::new(connection.concat())))
    };
    let result = receiver.run(connections.iter().map(connection).collect(), Plain(&mut written));
    assert!(receiver.meters.gauge.used_bytes() <= 4 << 20, "the buffer is larger than allowed");
    (written, result.map(drop))
}
