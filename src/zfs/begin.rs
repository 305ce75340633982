//! The first record of a send stream, which names both of its ends by GUID.
//!
//! The kernel is asked for names, and a name may be another snapshot's by then; the record says what is really sent.
//! Layout: `dmu_replay_record_t` in `include/sys/zfs_ioctl.h`, the same from `OpenZFS` 0.8 to 2.4, in the byte order of the
//! machine that sends.

use crate::model::Guid;

/// `DMU_BACKUP_MAGIC`
const MAGIC: u64 = 0x2_f5ba_cbac;

/// `DRR_BEGIN`
const BEGIN: u32 = 0;

/// What a stream says of itself before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBegin {
    /// The snapshot that it makes.
    pub to: Guid,
    /// The snapshot or bookmark that it starts from; `None` for a full stream.
    pub from: Option<Guid>,
}

impl StreamBegin {
    /// `sizeof (dmu_replay_record_t)`
    pub const BYTES: usize = 312;

    /// Reads the record that a stream made on this machine begins with; `None` if `bytes` begin with anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let record = bytes.get(..Self::BYTES)?;
        let number = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
        let kind = u32::from_ne_bytes(record.get(..4)?.try_into().ok()?);
        if kind != BEGIN || number(8)? != MAGIC {
            return None;
        }
        let from = Some(number(48)?).filter(|guid| *guid != 0).map(Guid);
        Some(Self { to: Guid(number(40)?), from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(to: u64, from: u64) -> Vec<u8> {
        let mut record = vec![0; StreamBegin::BYTES];
        record[8..16].copy_from_slice(&MAGIC.to_ne_bytes());
        record[40..48].copy_from_slice(&to.to_ne_bytes());
        record[48..56].copy_from_slice(&from.to_ne_bytes());
        record
    }

    #[test]
    fn both_ends_are_read() {
        let begin = |to, from| StreamBegin::parse(&record(to, from));
        assert_eq!(begin(7, 0), Some(StreamBegin { to: Guid(7), from: None }));
        let from = Some(Guid(u64::MAX));
        assert_eq!(begin(u64::MAX - 1, u64::MAX), Some(StreamBegin { to: Guid(u64::MAX - 1), from }));
        let longer = [record(7, 3), vec![9; 100]].concat();
        assert_eq!(StreamBegin::parse(&longer), Some(StreamBegin { to: Guid(7), from: Some(Guid(3)) }));
    }

    #[test]
    fn anything_else_is_no_begin() {
        let good = record(7, 3);
        assert_eq!(StreamBegin::parse(&good[..StreamBegin::BYTES - 1]), None);
        assert_eq!(StreamBegin::parse(&[]), None);
        for at in [0, 3, 8, 12, 15] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(StreamBegin::parse(&bad), None, "byte {at}");
        }
    }
}
