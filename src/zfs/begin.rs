//! The first record of a send stream, which names both of its ends by GUID.
//!
//! The kernel is asked for names, and a name may be another snapshot's by then; the record says what is really sent.
//! Layout: `dmu_replay_record_t` in `include/sys/zfs_ioctl.h`, the same from `OpenZFS` 0.8 to 2.4, in the byte order of the
//! machine that sends.

use crate::model::{DatasetKind, Guid};

/// `DMU_BACKUP_MAGIC`
const MAGIC: u64 = 0x2_f5ba_cbac;

/// `DRR_BEGIN`
const BEGIN: u32 = 0;

/// `DRR_END`
const END: u32 = 5;

/// `DMU_SUBSTREAM`: the stream of one snapshot.
const SUBSTREAM: u64 = 1;

/// `DMU_COMPOUNDSTREAM`: a list of what follows comes first, with properties.
const COMPOUND: u64 = 2;

/// The bits of `drr_versioninfo` that say which of them.
const FORM_BITS: u64 = 3;

/// `DMU_BACKUP_FEATURE_RESUMING`, bit 20 of those that begin at bit 2 of `drr_versioninfo`.
const RESUMING: u64 = 1 << 22;

/// `DRR_FLAG_CLONE`
const CLONE: u32 = 1;

/// The kind of a stream's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamForm {
    /// One snapshot of such a dataset, without properties.
    Plain(DatasetKind),
    /// One snapshot, as a clone of its incremental source.
    Clone,
    /// Anything with properties: `zfs send -p`, `-R`, `-I`, `-h`, `-b`.
    Compound,
    /// Something that no `zfs send` makes.
    Other,
}

/// The facts in the first record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBegin {
    /// The snapshot that it makes.
    pub to: Guid,
    /// The snapshot or bookmark that it starts from; `None` for a full stream.
    pub from: Option<Guid>,
    /// The kind of its content.
    pub form: StreamForm,
    /// Whether it continues a receive that broke off.
    pub is_resumed: bool,
}

impl StreamBegin {
    /// `sizeof (dmu_replay_record_t)`
    pub const BYTES: usize = 312;

    /// Reads the record that a stream made on this machine begins with; `None` if `bytes` begin with anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let record = bytes.get(..Self::BYTES)?;
        let number = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
        let small = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
        if small(0)? != BEGIN || number(8)? != MAGIC {
            return None;
        }
        let from = Some(number(48)?).filter(|guid| *guid != 0).map(Guid);
        // `DMU_OST_ZFS` and `DMU_OST_ZVOL`
        let form = match (number(16)? & FORM_BITS, small(32)?) {
            (COMPOUND, _) => StreamForm::Compound,
            (SUBSTREAM, 2 | 3) if small(36)? & CLONE != 0 => StreamForm::Clone,
            (SUBSTREAM, 2) => StreamForm::Plain(DatasetKind::Filesystem),
            (SUBSTREAM, 3) => StreamForm::Plain(DatasetKind::Volume),
            _ => StreamForm::Other,
        };
        let is_resumed = number(16)? & RESUMING != 0;
        Some(Self { to: Guid(number(40)?), from, form, is_resumed })
    }
}

/// Whether these are the last bytes of a whole stream: its last record ends it.
pub fn is_end(bytes: &[u8]) -> bool {
    let record = bytes.len().checked_sub(StreamBegin::BYTES).and_then(|at| bytes.get(at..));
    record.and_then(|record| record.first_chunk()).is_some_and(|kind| u32::from_ne_bytes(*kind) == END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(to: u64, from: u64) -> Vec<u8> {
        let mut record = vec![0; StreamBegin::BYTES];
        record[8..16].copy_from_slice(&MAGIC.to_ne_bytes());
        record[16..24].copy_from_slice(&0x11_u64.to_ne_bytes());
        record[32..36].copy_from_slice(&2_u32.to_ne_bytes());
        record[40..48].copy_from_slice(&to.to_ne_bytes());
        record[48..56].copy_from_slice(&from.to_ne_bytes());
        record
    }

    #[test]
    fn both_ends_are_read() {
        let form = StreamForm::Plain(DatasetKind::Filesystem);
        let begin = |to, from| StreamBegin::parse(&record(to, from));
        assert_eq!(begin(7, 0), Some(StreamBegin { to: Guid(7), from: None, form, is_resumed: false }));
        let from = Some(Guid(u64::MAX));
        assert_eq!(
            begin(u64::MAX - 1, u64::MAX),
            Some(StreamBegin { to: Guid(u64::MAX - 1), from, form, is_resumed: false })
        );
        let longer = [record(7, 3), vec![9; 100]].concat();
        let whole = StreamBegin { to: Guid(7), from: Some(Guid(3)), form, is_resumed: false };
        assert_eq!(StreamBegin::parse(&longer), Some(whole));
        let mut resumed = record(7, 3);
        resumed[18] |= 0x40;
        assert_eq!(StreamBegin::parse(&resumed), Some(StreamBegin { is_resumed: true, ..whole }));
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
