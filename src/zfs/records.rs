//! A send stream, cut into its records.
//!
//! Layout: `dmu_replay_record_t` in `include/sys/zfs_ioctl.h`, in the byte order of this machine: 312 bytes, and for some kinds
//! a payload behind them. Each record but the first ends with the checksum of all that comes before it (fletcher 4, `dump_record`
//! in `module/zfs/dmu_send.c`).

use super::StreamBegin;

/// Where the checksum of a record is.
pub(super) const CHECKSUM_AT: usize = StreamBegin::BYTES - 32;

/// Longer than the payload of any record: blocks have at most 16 MiB.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Object,
    FreeObjects,
    Write,
    Free,
    End,
    Spill,
    WriteEmbedded,
    ObjectRange,
    Redact,
}

/// One record without its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) bytes: &'a [u8; StreamBegin::BYTES],
}

/// What a stream consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// The head of a record.
    Record(Record<'a>),
    /// Some bytes of the payload of the last record; `is_last` with its end.
    Payload { bytes: &'a [u8], is_last: bool },
}

/// These bytes are no send stream of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream has a record that no zfs send of one snapshot makes: {0}")]
pub struct BadRecord(pub(super) String);

impl Record<'_> {
    /// The number at this place, in eight bytes.
    pub(super) fn long(&self, at: usize) -> u64 {
        let bytes = self.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }

    /// The number at this place, in four bytes.
    pub(super) fn word(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    /// The length of its payload, in bytes.
    fn payload_bytes(&self) -> u64 {
        let rounded = |length: u32| u64::from(length).next_multiple_of(8);
        match self.kind {
            Kind::Begin => u64::from(self.word(4)),
            // `DRR_OBJECT_PAYLOAD_SIZE`
            Kind::Object => match self.word(36) {
                0 => rounded(self.word(28)),
                raw => u64::from(raw),
            },
            // `DRR_WRITE_PAYLOAD_SIZE`
            Kind::Write if self.bytes[50] == 0 => self.long(32),
            Kind::Write => self.long(96),
            // `DRR_SPILL_PAYLOAD_SIZE`
            Kind::Spill => match self.long(40) {
                0 => self.long(16),
                compressed => compressed,
            },
            Kind::WriteEmbedded => rounded(self.word(52)),
            Kind::FreeObjects | Kind::Free | Kind::End | Kind::ObjectRange | Kind::Redact => 0,
        }
    }
}

/// Cuts a stream that comes in pieces of any length.
#[derive(Debug)]
pub(super) struct Records {
    head: [u8; StreamBegin::BYTES],
    filled: usize,
    payload_left: u64,
    has_begun: bool,
    has_ended: bool,
}

impl Default for Records {
    fn default() -> Self {
        Self { head: [0; StreamBegin::BYTES], filled: 0, payload_left: 0, has_begun: false, has_ended: false }
    }
}

impl Records {
    /// Whether the record that ends a stream has come.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes the next bytes, and hands what they consist of to `take`.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(Piece<'_>) -> Result<(), BadRecord>,
    ) -> Result<(), BadRecord> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at(length);
                self.payload_left -= u64::try_from(length).unwrap_or(u64::MAX);
                bytes = rest;
                take(Piece::Payload { bytes: payload, is_last: self.payload_left == 0 })?;
                continue;
            }
            if self.has_ended {
                return Err(BadRecord("something follows its end".to_owned()));
            }
            let length = (StreamBegin::BYTES - self.filled).min(bytes.len());
            let (head, rest) = bytes.split_at(length);
            self.head[self.filled..self.filled + length].copy_from_slice(head);
            self.filled += length;
            bytes = rest;
            if self.filled == StreamBegin::BYTES {
                self.filled = 0;
                self.take_head(take)?;
            }
        }
        Ok(())
    }

    fn take_head(
        &mut self,
        take: &mut dyn FnMut(Piece<'_>) -> Result<(), BadRecord>,
    ) -> Result<(), BadRecord> {
        let number = Record { kind: Kind::Begin, bytes: &self.head }.word(0);
        let kind = match number {
            0 => Kind::Begin,
            1 => Kind::Object,
            2 => Kind::FreeObjects,
            3 => Kind::Write,
            4 => Kind::Free,
            5 => Kind::End,
            7 => Kind::Spill,
            8 => Kind::WriteEmbedded,
            9 => Kind::ObjectRange,
            10 => Kind::Redact,
            other => return Err(BadRecord(format!("its type is {other}"))),
        };
        let record = Record { kind, bytes: &self.head };
        if (kind == Kind::Begin) == self.has_begun {
            return Err(BadRecord(format!("{kind:?} where it cannot be")));
        }
        self.has_begun = true;
        self.payload_left = record.payload_bytes();
        if self.payload_left > PAYLOAD_BYTES_MAX {
            return Err(BadRecord(format!("{kind:?} with a payload of {} bytes", self.payload_left)));
        }
        self.has_ended = kind == Kind::End;
        take(Piece::Record(record))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{BadRecord, Kind, Piece, Records, StreamBegin};

    /// A record of this type; `fields` are numbers of eight bytes at their places.
    pub(in crate::zfs) fn record(kind: u32, fields: &[(usize, u64)], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; StreamBegin::BYTES];
        for (at, number) in fields {
            bytes[*at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Data of an object.
    pub(in crate::zfs) fn write(object: u64, offset: u64, data: &[u8]) -> Vec<u8> {
        let length = u64::try_from(data.len()).unwrap();
        record(3, &[(8, object), (24, offset), (32, length)], data)
    }

    pub(in crate::zfs) fn stream(records: &[Vec<u8>]) -> Vec<u8> {
        [record(0, &[(8, 0x2_f5ba_cbac), (40, 7)], &[]), records.concat(), record(5, &[(40, 7)], &[])]
            .concat()
    }

    fn kinds(bytes: &[u8], part: usize) -> Result<(Vec<Kind>, u64), BadRecord> {
        let (mut kinds, mut payload) = (Vec::new(), 0);
        let mut records = Records::default();
        for some in bytes.chunks(part) {
            records.feed(some, &mut |piece| {
                match piece {
                    Piece::Record(record) => kinds.push(record.kind),
                    Piece::Payload { bytes, .. } => payload += u64::try_from(bytes.len()).unwrap(),
                }
                Ok(())
            })?;
        }
        assert_eq!(records.has_ended(), kinds.last() == Some(&Kind::End));
        Ok((kinds, payload))
    }

    #[test]
    fn a_stream_is_cut_the_same_however_it_comes() {
        let object = {
            let mut object = record(1, &[(8, 5)], &[1; 24]);
            object[28..32].copy_from_slice(&20_u32.to_ne_bytes());
            object
        };
        let free = record(4, &[(8, 5), (16, 0), (24, u64::MAX)], &[]);
        let spill = record(7, &[(8, 5), (16, 512)], &[2; 512]);
        let bytes = stream(&[object, write(5, 0, &[3; 4096]), free, spill]);
        let expected = [Kind::Begin, Kind::Object, Kind::Write, Kind::Free, Kind::Spill, Kind::End];
        for part in [1, 7, 312, 4096, bytes.len()] {
            assert_eq!(kinds(&bytes, part).unwrap(), (expected.to_vec(), 24 + 4096 + 512), "{part}");
        }
    }

    #[test]
    fn what_is_no_stream_of_one_snapshot_is_refused() {
        let good = stream(&[]);
        let second = [good.clone(), good.clone()].concat();
        let by_reference = stream(&[record(6, &[], &[])]);
        let unknown = stream(&[record(11, &[], &[])]);
        let huge = stream(&[record(3, &[(8, 1), (32, u64::MAX)], &[])]);
        let headless = write(1, 0, &[1; 512]);
        let twice = [record(0, &[], &[]), good].concat();
        for bytes in [second, by_reference, unknown, huge, headless, twice] {
            assert!(kinds(&bytes, 100).is_err());
        }
    }
}
