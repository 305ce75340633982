//! What a snapshot holds, read from its send stream: the same digests on every machine that has the same content.
//!
//! A stream is read as the kernel makes it, so nothing is mounted, no volume gets a device, and no key is needed for what is sent
//! raw. What two pools may do differently is left out: a block of zeros and a hole are the same, and so are blocks of other sizes.
//! A raw stream has the blocks as they are on disk, with what encrypts them, and is compared as it is.

use std::fmt::Write as _;

use ring::digest::{Context, SHA256};

use super::records::{BadRecord, Kind, Piece, Record, Records};
use crate::model::{ContentSalt, Span};

/// Blocks are compared in pieces of this length: no block is divided otherwise by a pool that has smaller ones.
const PIECE_BYTES: usize = 4096;

/// How much of one object a span covers at most, as a power of two.
const SPAN_SHIFT: u32 = 24;

/// How many objects a span covers at most, as a power of two.
const OBJECTS_SHIFT: u32 = 8;

/// Reads a stream, and gives the spans of its content in their order.
#[derive(Debug)]
pub struct ContentReader {
    records: Records,
    content: Content,
}

#[derive(Debug)]
struct Content {
    salt: ContentSalt,
    is_raw: bool,
    /// What the bytes of the payload under way are.
    payload: Payload,
    /// A piece that is not whole yet.
    piece: Vec<u8>,
    /// The span under way, with its limits.
    span: Option<Open>,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
enum Payload {
    /// Of no interest.
    None,
    /// To be taken as it is.
    Whole,
    /// Data of this object, from this offset.
    Data { object: u64, offset: u64 },
}

struct Open {
    limits: (u64, u64),
    object: u64,
    offset: u64,
    bytes: u64,
    digest: Context,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({} at {})", self.object, self.offset)
    }
}

impl ContentReader {
    /// For a stream that is raw or not.
    pub fn new(salt: ContentSalt, is_raw: bool) -> Self {
        let content = Content {
            salt,
            is_raw,
            payload: Payload::None,
            piece: Vec::with_capacity(PIECE_BYTES),
            span: None,
            spans: Vec::new(),
        };
        Self { records: Records::default(), content }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BadRecord> {
        let Self { records, content } = self;
        records.feed(bytes, &mut |piece| {
            match piece {
                Piece::Record(record) => content.begin(record),
                Piece::Payload { bytes, is_last } => content.take(bytes, is_last),
            }
            Ok(())
        })
    }

    /// The spans that are complete by now, each once.
    pub fn spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.content.spans)
    }

    /// The last spans; an error where the stream has not come to its end.
    pub fn finish(mut self) -> Result<Vec<Span>, BadRecord> {
        if !self.records.has_ended() {
            return Err(BadRecord("it has no end".to_owned()));
        }
        self.content.close();
        Ok(self.content.spans)
    }
}

impl Content {
    fn begin(&mut self, record: Record<'_>) {
        let bytes = record.bytes;
        self.payload = match record.kind {
            // What is not there, and what only the two pools know of each other.
            Kind::Begin | Kind::End | Kind::Free | Kind::FreeObjects => Payload::None,
            Kind::Write if !self.is_raw => Payload::Data { object: record.long(8), offset: record.long(24) },
            Kind::Write => {
                // Object, type, offset and size; compression; its size, salt, IV and MAC.
                let parts = [&bytes[8..20], &bytes[24..40], &bytes[50..51], &bytes[96..140]];
                self.describe((record.long(8), record.long(24)), record.kind, &parts)
            }
            Kind::Object if self.is_raw => {
                // Also how its blocks are arranged, which the MAC covers.
                let parts = [&bytes[8..32], &bytes[34..35], &bytes[36..40], &bytes[48..51], &bytes[56..64]];
                self.describe((record.long(8), 0), record.kind, &parts)
            }
            // Object, type, and the length and type of what describes it: owner, mode, times, size, attributes.
            Kind::Object => self.describe((record.long(8), 0), record.kind, &[&bytes[8..24], &bytes[28..32]]),
            Kind::Spill if self.is_raw => {
                let parts = [&bytes[8..24], &bytes[33..34], &bytes[40..88]];
                self.describe((record.long(8), 0), record.kind, &parts)
            }
            Kind::Spill => self.describe((record.long(8), 0), record.kind, &[&bytes[8..24]]),
            Kind::WriteEmbedded => {
                let at = (record.long(8), record.long(16));
                self.describe(at, record.kind, &[&bytes[8..32], &bytes[40..42], &bytes[48..56]])
            }
            Kind::ObjectRange => {
                self.describe((record.long(8), 0), record.kind, &[&bytes[8..24], &bytes[32..69]])
            }
            Kind::Redact => self.describe((record.long(8), record.long(16)), record.kind, &[&bytes[8..32]]),
        };
    }

    /// Takes what describes an object or block; its payload is taken as it is.
    fn describe(&mut self, at: (u64, u64), kind: Kind, parts: &[&[u8]]) -> Payload {
        let span = self.at(at);
        span.digest.update(format!("{kind:?} ").as_bytes());
        for part in parts {
            span.digest.update(part);
            span.bytes += length(part);
        }
        Payload::Whole
    }

    fn take(&mut self, mut bytes: &[u8], is_last: bool) {
        match self.payload {
            Payload::None => {}
            Payload::Whole => {
                if let Some(span) = &mut self.span {
                    span.digest.update(bytes);
                    span.bytes += length(bytes);
                }
            }
            Payload::Data { object, mut offset } => {
                while !bytes.is_empty() {
                    let missing = PIECE_BYTES - self.piece.len();
                    let (some, rest) = bytes.split_at(missing.min(bytes.len()));
                    bytes = rest;
                    if self.piece.is_empty() && some.len() == PIECE_BYTES {
                        self.data((object, offset), some);
                        offset += length(some);
                        continue;
                    }
                    self.piece.extend_from_slice(some);
                    if self.piece.len() == PIECE_BYTES || (is_last && bytes.is_empty()) {
                        let piece = std::mem::take(&mut self.piece);
                        self.data((object, offset), &piece);
                        offset += length(&piece);
                        self.piece = piece;
                        self.piece.clear();
                    }
                }
                self.payload = Payload::Data { object, offset };
            }
        }
    }

    /// Takes data without the zeros at its end: these may be a hole on the other machine.
    fn data(&mut self, (object, offset): (u64, u64), bytes: &[u8]) {
        // Blocks end where their size says, which may be before or after the last byte of the file.
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return };
        let bytes = &bytes[..=last];
        let span = self.at((object, offset));
        span.digest.update(&object.to_le_bytes());
        span.digest.update(&offset.to_le_bytes());
        span.digest.update(bytes);
        span.bytes += length(bytes);
    }

    /// The span that this place belongs to. The limits follow from the content alone.
    fn at(&mut self, (object, offset): (u64, u64)) -> &mut Open {
        let limits = (object >> OBJECTS_SHIFT, offset >> SPAN_SHIFT);
        if self.span.as_ref().is_some_and(|open| open.limits != limits) {
            self.close();
        }
        let salt = &self.salt;
        self.span.get_or_insert_with(|| {
            let mut digest = Context::new(&SHA256);
            digest.update(salt.0.as_bytes());
            Open { limits, object, offset, bytes: 0, digest }
        })
    }

    fn close(&mut self) {
        if let Some(Open { object, offset, bytes, digest, .. }) = self.span.take() {
            let mut text = String::with_capacity(64);
            for byte in digest.finish().as_ref() {
                // A String takes whatever is written.
                let _always = write!(text, "{byte:02x}");
            }
            self.spans.push(Span { object, offset, bytes, digest: text });
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::records::tests::{record, stream, write};
    use super::*;

    fn spans_of(bytes: &[u8], part: usize) -> Vec<Span> {
        let mut reader = ContentReader::new(ContentSalt("salt".to_owned()), false);
        let mut spans = Vec::new();
        for some in bytes.chunks(part) {
            reader.feed(some).unwrap();
            spans.extend(reader.spans());
        }
        spans.extend(reader.finish().unwrap());
        spans
    }

    fn data(seed: u8, length: usize) -> Vec<u8> {
        (0..length).map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap())).collect()
    }

    #[test]
    fn the_same_content_has_the_same_digests_however_it_is_cut_into_blocks() {
        let all = data(1, 64 << 10);
        let large = stream(&[write(3, 0, &all), write(4, 0, &data(2, 512))]);
        let small: Vec<Vec<u8>> = all
            .chunks(8 << 10)
            .enumerate()
            .map(|(at, block)| write(3, u64::try_from(at * (8 << 10)).unwrap(), block))
            .collect();
        let small = stream(&[small.concat(), write(4, 0, &data(2, 512))]);
        let expected = spans_of(&large, 1 << 20);
        assert_eq!(expected.len(), 1);
        for part in [1, 311, 5000] {
            assert_eq!(spans_of(&large, part), expected);
            assert_eq!(spans_of(&small, part), expected);
        }
        // Zeros, and what is freed, are holes.
        let zeros = stream(&[
            write(3, 0, &all),
            write(3, 64 << 10, &[0; 8192]),
            record(4, &[(8, 3), (16, 1 << 20), (24, 4096)], &[]),
            write(4, 0, &data(2, 512)),
        ]);
        assert_eq!(spans_of(&zeros, 4096), expected);
    }

    #[test]
    fn whatever_differs_is_seen_and_where() {
        let first = write(3, 0, &data(1, 4096));
        let good = stream(&[first.clone(), write(300, 0, &data(2, 4096))]);
        let expected = spans_of(&good, 4096);
        assert_eq!(
            expected.iter().map(|span| (span.object, span.bytes)).collect::<Vec<_>>(),
            [(3, 4096), (300, 4096)]
        );
        let moved = stream(&[write(3, 4096, &data(1, 4096)), write(300, 0, &data(2, 4096))]);
        let other_object = stream(&[write(4, 0, &data(1, 4096)), write(300, 0, &data(2, 4096))]);
        let mut flipped = good.clone();
        let last = flipped.len() - StreamBegin::BYTES - 1;
        flipped[last] ^= 1;
        let shorter = stream(&[first]);
        for (other, at) in [(moved, 0), (other_object, 0), (flipped, 1), (shorter, 1)] {
            let found = spans_of(&other, 4096);
            assert_eq!(found.get(..at), expected.get(..at));
            assert_ne!(found.get(at), expected.get(at));
        }
        // A large object has several spans, and a gap is none.
        let far =
            stream(&[write(1, 5 << SPAN_SHIFT, &data(1, 4096)), write(1, 7 << SPAN_SHIFT, &data(1, 4096))]);
        let offsets: Vec<u64> = spans_of(&far, 4096).iter().map(|span| span.offset >> SPAN_SHIFT).collect();
        assert_eq!(offsets, [5, 7]);
    }

    #[test]
    fn another_salt_has_other_digests_and_a_cut_stream_has_no_end() {
        let bytes = stream(&[write(3, 0, &data(1, 4096))]);
        let mut other = ContentReader::new(ContentSalt("other".to_owned()), false);
        other.feed(&bytes).unwrap();
        assert_ne!(other.finish().unwrap(), spans_of(&bytes, 4096));
        let mut cut = ContentReader::new(ContentSalt(String::new()), false);
        cut.feed(&bytes[..bytes.len() - 1]).unwrap();
        assert!(cut.finish().is_err());
    }

    use super::super::StreamBegin;
}
