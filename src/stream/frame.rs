//! Frames: how a stream crosses a network so that its end, its damage and its sender's failure are distinguished.
//!
//! Every frame is a header of 36 bytes, little-endian, and what the header says follows it:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `zhf`, and the version of this layout |
//! | 4 | kind: 1 data, 2 heartbeat, 3 end, 4 failed |
//! | 5 | codec of the data: 0 as it is, 1 lz4, 2 zstd |
//! | 6..8 | zero |
//! | 8..12 | stream: which transfer of the session it belongs to |
//! | 12..20 | sequence: the number of this chunk; in an end or failed frame that of all chunks; else 0 |
//! | 20..24 | raw length: what the data has when it is decompressed, at most 1 MiB |
//! | 24..28 | stored length: what follows the header |
//! | 28..32 | CRC-32 of the raw data, or of what follows if that is no data |
//! | 32..36 | CRC-32 of the header before it |
//!
//! Data that does not shrink travels as it is, so compressed data is always shorter than its raw data: no length needs
//! more than 1 MiB of memory. The checks find accidents; they are no protection against a forger, which is the
//! channel's task. Here is no I/O: whatever comes in is a header or an error, and never a panic.

use crc32fast::hash as crc32;
use thiserror::Error;

use super::ring::CHUNK_BYTES;

/// Length of a header.
pub const HEADER_BYTES: usize = 36;
/// The longest text that a Failed frame carries.
pub const REASON_BYTES_MAX: usize = 1024;
/// Length of what follows the header of an End frame.
pub(super) const TOTALS_BYTES: usize = 16;

const MAGIC: [u8; 3] = *b"zhf";
const VERSION: u8 = 1;

/// Why the data received over a connection cannot be the stream that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The first bytes are wrong: something else writes to this connection.
    #[error("the received data is no frame")]
    NotAFrame,
    /// The peer speaks a later or earlier version of this protocol.
    #[error("the peer sends frames of version {0}, this end reads version {VERSION}")]
    Version(u8),
    /// A header was damaged on its way.
    #[error("the header of a frame is damaged")]
    HeaderDamaged,
    /// A header whose checksum is right says something that no header says.
    #[error("a frame that cannot be: {0}")]
    Impossible(&'static str),
    /// A frame of another transfer.
    #[error("a frame of stream {found} came into stream {expected}")]
    WrongStream {
        /// The stream that is received.
        expected: u32,
        /// The stream that the frame belongs to.
        found: u32,
    },
    /// The data does not decompress, or not to what was sent.
    #[error("the data of frame {0} is damaged")]
    DataDamaged(u64),
    /// A frame came twice, or after a later one of the same connection.
    #[error("frame {0} came twice or out of order")]
    Repeated(u64),
    /// A frame that can no longer come.
    #[error("frame {0} is missing")]
    Missing(u64),
    /// A connection ended before its End frame.
    #[error("the connection ended in the middle of the stream")]
    Cut,
    /// The End frame speaks of another stream than came.
    #[error("the totals in the End frame do not match the received data")]
    WrongTotals,
    /// Far more heartbeats than a pause needs.
    #[error("the peer sends heartbeats without a pause")]
    Flood,
}

/// How the data of a frame is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    Raw,
    /// As an lz4 block.
    Lz4,
    /// As a zstd frame.
    Zstd,
}

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One chunk of the stream.
    Data(Codec),
    /// Nothing: the sender is alive and has nothing to send.
    Heartbeat,
    /// The stream is complete; its totals follow.
    End,
    /// The stream is not complete and never will be; the reason follows.
    Failed,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the frame.
    pub kind: Kind,
    /// Which transfer of the session it belongs to.
    pub stream: u32,
    /// The number of this chunk, or of all chunks in a frame that ends the stream.
    pub sequence: u64,
    /// Length of the data when decompressed; 0 if this is no data.
    pub raw_bytes: u32,
    /// Length of what follows.
    pub stored_bytes: u32,
    /// CRC-32 of the raw data, or of what follows.
    pub checksum: u32,
}

impl Header {
    /// A frame that is not data, with what follows it.
    pub(super) fn plain(kind: Kind, stream: u32, sequence: u64, payload: &[u8]) -> Self {
        let stored_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { kind, stream, sequence, raw_bytes: 0, stored_bytes, checksum: crc32(payload) }
    }

    /// The header as it travels.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let (kind, codec) = match self.kind {
            Kind::Data(Codec::Raw) => (1, 0),
            Kind::Data(Codec::Lz4) => (1, 1),
            Kind::Data(Codec::Zstd) => (1, 2),
            Kind::Heartbeat => (2, 0),
            Kind::End => (3, 0),
            Kind::Failed => (4, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3..6].copy_from_slice(&[VERSION, kind, codec]);
        bytes[8..12].copy_from_slice(&self.stream.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header and checks all that can be known from it alone: above all, that its lengths are harmless.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        if bytes[..3] != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        if bytes[3] != VERSION {
            return Err(FrameError::Version(bytes[3]));
        }
        if crc32(&bytes[..32]) != u32_at(bytes, 32) {
            return Err(FrameError::HeaderDamaged);
        }
        let kind = match (bytes[4], bytes[5]) {
            (1, 0) => Kind::Data(Codec::Raw),
            (1, 1) => Kind::Data(Codec::Lz4),
            (1, 2) => Kind::Data(Codec::Zstd),
            (2, 0) => Kind::Heartbeat,
            (3, 0) => Kind::End,
            (4, 0) => Kind::Failed,
            _ => return Err(FrameError::Impossible("its kind is unknown")),
        };
        if bytes[6..8] != [0, 0] {
            return Err(FrameError::Impossible("an unused field is used"));
        }
        let (low, high) = (u32_at(bytes, 12), u32_at(bytes, 16));
        let header = Self {
            kind,
            stream: u32_at(bytes, 8),
            sequence: u64::from(high) << 32 | u64::from(low),
            raw_bytes: u32_at(bytes, 20),
            stored_bytes: u32_at(bytes, 24),
            checksum: u32_at(bytes, 28),
        };
        header.check_lengths().map(|()| header)
    }

    fn check_lengths(&self) -> Result<(), FrameError> {
        let (raw_bytes, stored_bytes) = (self.raw_len(), self.stored_len());
        let is_possible = match self.kind {
            Kind::Data(_) if self.sequence == u64::MAX => false,
            Kind::Data(Codec::Raw) => (1..=CHUNK_BYTES).contains(&raw_bytes) && stored_bytes == raw_bytes,
            Kind::Data(Codec::Lz4 | Codec::Zstd) => {
                (1..=CHUNK_BYTES).contains(&raw_bytes) && (1..raw_bytes).contains(&stored_bytes)
            }
            Kind::Heartbeat => raw_bytes == 0 && stored_bytes == 0,
            Kind::End => raw_bytes == 0 && stored_bytes == TOTALS_BYTES,
            Kind::Failed => raw_bytes == 0 && stored_bytes <= REASON_BYTES_MAX,
        };
        if is_possible { Ok(()) } else { Err(FrameError::Impossible("its lengths are out of bounds")) }
    }

    pub(super) fn raw_len(&self) -> usize {
        usize::try_from(self.raw_bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn stored_len(&self) -> usize {
        usize::try_from(self.stored_bytes).unwrap_or(usize::MAX)
    }
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// The totals of a whole stream; both ends add them up, in whatever order chunks are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) raw_bytes: u64,
    /// A sum over all chunks that depends on the place, length and content of each.
    pub(super) checksum: u64,
    pub(super) chunks: u64,
}

impl Totals {
    pub(super) fn add(&mut self, header: &Header) {
        self.raw_bytes = self.raw_bytes.wrapping_add(u64::from(header.raw_bytes));
        let content = u64::from(header.raw_bytes) << 32 | u64::from(header.checksum);
        self.checksum = self.checksum.wrapping_add(mix(mix(header.sequence).wrapping_add(content)));
        self.chunks = self.chunks.wrapping_add(1);
    }

    /// The payload of an End frame.
    pub(super) fn encode(&self) -> [u8; TOTALS_BYTES] {
        let mut bytes = [0; TOTALS_BYTES];
        bytes[..8].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }
}

/// Spreads every bit over all others (the finalizer of splitmix64).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::{Just, Strategy};

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Data(Codec::Raw)),
            Just(Kind::Data(Codec::Lz4)),
            Just(Kind::Data(Codec::Zstd)),
            Just(Kind::Heartbeat),
            Just(Kind::End),
            Just(Kind::Failed),
        ]
    }

    fn data(codec: Codec, raw_bytes: u32, stored_bytes: u32) -> Header {
        Header { kind: Kind::Data(codec), stream: 7, sequence: 9, raw_bytes, stored_bytes, checksum: 5 }
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_harmless_and_what_was_sent(
            kind in kinds(), stream: u32, sequence: u64, raw_bytes: u32, stored_bytes: u32, checksum: u32
        ) {
            let header = Header { kind, stream, sequence, raw_bytes, stored_bytes, checksum };
            if let Ok(decoded) = Header::decode(&header.encode()) {
                prop_assert_eq!(decoded, header);
                prop_assert!(decoded.raw_len() <= CHUNK_BYTES && decoded.stored_len() <= CHUNK_BYTES);
            }
        }

        #[test]
        fn any_bytes_are_a_header_or_an_error(bytes in any::<[u8; 36]>()) {
            prop_assert!(Header::decode(&bytes).is_err());
        }

        #[test]
        fn a_flipped_bit_is_found(bit in 0..HEADER_BYTES * 8, sequence in 0..u64::MAX - 1) {
            let mut bytes = Header { sequence, ..data(Codec::Zstd, 1 << 20, 4711) }.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&bytes).is_err());
        }
    }

    #[test]
    fn lengths_beyond_the_bounds_are_refused() {
        let mib = 1 << 20;
        let cases = [
            (data(Codec::Raw, 1, 1), true),
            (data(Codec::Raw, mib, mib), true),
            (data(Codec::Raw, 0, 0), false),
            (data(Codec::Raw, mib + 1, mib + 1), false),
            (data(Codec::Raw, 10, 9), false),
            (data(Codec::Zstd, mib, mib - 1), true),
            (data(Codec::Zstd, mib, mib), false),
            (data(Codec::Lz4, mib, 0), false),
            (data(Codec::Lz4, u32::MAX, 10), false),
            (Header { sequence: u64::MAX, ..data(Codec::Raw, 1, 1) }, false),
            (Header::plain(Kind::Heartbeat, 1, 2, b""), true),
            (Header::plain(Kind::Heartbeat, 1, 2, b"x"), false),
            (Header::plain(Kind::End, 1, 2, &[0; 16]), true),
            (Header::plain(Kind::End, 1, 2, &[0; 15]), false),
            (Header::plain(Kind::Failed, 1, 2, &[b'a'; 1024]), true),
            (Header::plain(Kind::Failed, 1, 2, &[b'a'; 1025]), false),
        ];
        for (header, is_possible) in cases {
            assert_eq!(Header::decode(&header.encode()).is_ok(), is_possible, "{header:?}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = data(Codec::Raw, 1, 1).encode();
        bytes[3] = 9;
        assert_eq!(Header::decode(&bytes), Err(FrameError::Version(9)));
    }

    #[test]
    fn totals_do_not_depend_on_the_order_but_on_every_place() {
        let at = |sequence, checksum| Header { sequence, checksum, ..data(Codec::Raw, 10, 10) };
        let sum = |headers: &[Header]| {
            let mut totals = Totals::default();
            for header in headers {
                totals.add(header);
            }
            totals
        };
        assert_eq!(sum(&[at(0, 1), at(1, 2)]), sum(&[at(1, 2), at(0, 1)]));
        assert_ne!(sum(&[at(0, 1), at(1, 2)]), sum(&[at(0, 2), at(1, 1)]));
    }
}
