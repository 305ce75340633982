//! The same stream for a snapshot with another GUID.
//!
//! A corrective receive (`zfs receive -c`) takes only a stream of the very snapshot that it mends, and leaves that snapshot unfit
//! to be mounted. A snapshot of a clone has the same blocks and a GUID of its own: the stream is addressed to that one, and the
//! snapshot that was damaged gets its blocks back without having been touched. The checksums of the stream follow.

use super::records::{BadRecord, CHECKSUM_AT, Kind, Piece, Records};
use crate::model::Guid;

/// Where the first record has the GUID of the snapshot that the stream makes.
const TO_GUID_AT: usize = 40;

/// Where the last record has the checksum of all before it.
const WHOLE_CHECKSUM_AT: usize = 8;

/// Fletcher 4 over words of 32 bits in the byte order of this machine (`fletcher_4_incremental_native`).
#[derive(Debug, Clone, Copy, Default)]
struct Fletcher4 {
    sums: [u64; 4],
}

impl Fletcher4 {
    /// `bytes` in words; what is left over at the end counts nothing, as in the kernel.
    fn update(&mut self, bytes: &[u8]) {
        let [mut a, mut b, mut c, mut d] = self.sums;
        for word in bytes.as_chunks::<4>().0 {
            a = a.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        self.sums = [a, b, c, d];
    }

    fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, sum) in bytes.chunks_exact_mut(8).zip(self.sums) {
            to.copy_from_slice(&sum.to_ne_bytes());
        }
        bytes
    }
}

/// Compressions of which the result depends on nothing but the data (`enum zio_compress`): none, `off`, `lzjb`, `zle`, `lz4`.
const EXACT_COMPRESSIONS: [u8; 5] = [0, 2, 3, 14, 15];

/// Changes a stream that comes in pieces of any length; each record is as long as it was. Data that is compressed with gzip or zstd is
/// left out: OpenZFS compresses it again, maybe into more bytes than the block has, and crashes.
#[derive(Debug)]
pub struct Readdress {
    to: Guid,
    records: Records,
    checksum: Fletcher4,
    /// Payload that does not fill a word yet.
    odd: Vec<u8>,
    /// Whether the record under way is left out.
    is_left_out: bool,
    left_out: u64,
}

impl Readdress {
    /// The stream becomes one of the snapshot with the GUID `to`.
    pub fn new(to: Guid) -> Self {
        Self {
            to,
            records: Records::default(),
            checksum: Fletcher4::default(),
            odd: Vec::new(),
            is_left_out: false,
            left_out: 0,
        }
    }

    /// How many blocks were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Takes the next bytes of the stream, and adds what they become to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadRecord> {
        let Self { to, records, checksum, odd, is_left_out, left_out } = self;
        records.feed(bytes, &mut |piece| {
            match piece {
                Piece::Record(record) => {
                    *is_left_out =
                        record.kind == Kind::Write && !EXACT_COMPRESSIONS.contains(&record.bytes[50]);
                    if *is_left_out {
                        *left_out += 1;
                        return Ok(());
                    }
                    let mut head = *record.bytes;
                    match record.kind {
                        Kind::Begin => put(&mut head, TO_GUID_AT, &to.0.to_ne_bytes()),
                        Kind::End => put(&mut head, WHOLE_CHECKSUM_AT, &checksum.bytes()),
                        Kind::Object
                        | Kind::FreeObjects
                        | Kind::Write
                        | Kind::Free
                        | Kind::Spill
                        | Kind::WriteEmbedded
                        | Kind::ObjectRange
                        | Kind::Redact => {}
                    }
                    checksum.update(&head[..CHECKSUM_AT]);
                    if record.kind != Kind::Begin {
                        put(&mut head, CHECKSUM_AT, &checksum.bytes());
                    }
                    checksum.update(&head[CHECKSUM_AT..]);
                    out.extend_from_slice(&head);
                }
                Piece::Payload { .. } if *is_left_out => {}
                Piece::Payload { bytes, is_last } => {
                    out.extend_from_slice(bytes);
                    sum(checksum, odd, bytes);
                    if is_last {
                        odd.clear();
                    }
                }
            }
            Ok(())
        })
    }
}

/// Adds a part of a payload, whose words may be cut anywhere.
fn sum(checksum: &mut Fletcher4, odd: &mut Vec<u8>, mut bytes: &[u8]) {
    if !odd.is_empty() {
        let (some, rest) = bytes.split_at((4 - odd.len()).min(bytes.len()));
        odd.extend_from_slice(some);
        bytes = rest;
        if odd.len() < 4 {
            return;
        }
        checksum.update(odd);
        odd.clear();
    }
    let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
    checksum.update(whole);
    odd.extend_from_slice(rest);
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::StreamBegin;
    use super::super::records::tests::{record, stream, write};
    use super::*;

    fn readdressed(bytes: &[u8], to: u64, part: usize) -> Vec<u8> {
        let mut readdress = Readdress::new(Guid(to));
        let mut out = Vec::new();
        for some in bytes.chunks(part) {
            readdress.feed(some, &mut out).unwrap();
        }
        out
    }

    /// Fletcher 4 as `zfs_fletcher.c` defines it.
    fn sums(bytes: &[u8]) -> [u64; 4] {
        let mut sums = [0_u64; 4];
        for word in bytes.chunks_exact(4) {
            sums[0] += u64::from(u32::from_ne_bytes(word.try_into().unwrap()));
            for at in 1..4 {
                sums[at] = sums[at].wrapping_add(sums[at - 1]);
            }
        }
        sums
    }

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks_exact(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }

    #[test]
    fn only_the_guid_and_the_checksums_change() {
        let bytes = stream(&[write(3, 0, &[9; 1000]), record(2, &[(8, 4), (16, 60)], &[])]);
        let good = readdressed(&bytes, 7, bytes.len());
        assert_eq!(good.len(), bytes.len());
        let second = StreamBegin::BYTES;
        assert_eq!(good[..second], bytes[..second], "the first record has no checksum");
        let checksum = second + CHECKSUM_AT;
        assert_eq!(numbers(&good[checksum..second + StreamBegin::BYTES]), sums(&good[..checksum]));
        let end = good.len() - StreamBegin::BYTES;
        assert_eq!(numbers(&good[end + WHOLE_CHECKSUM_AT..end + WHOLE_CHECKSUM_AT + 32]), sums(&good[..end]));
        // To the same GUID it stays as it is; to another one and back, too.
        for part in [1, 3, 500, good.len()] {
            assert_eq!(readdressed(&good, 7, part), good);
            let other = readdressed(&good, u64::MAX, part);
            assert_eq!(numbers(&other[TO_GUID_AT..TO_GUID_AT + 8]), [u64::MAX]);
            assert_eq!(readdressed(&other, 7, part), good);
        }
    }
}
