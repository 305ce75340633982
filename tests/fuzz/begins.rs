//! The reader of a stream's first record gets records that were damaged or cut.
//!
//! The record is read before a byte leaves, and its GUIDs decide whether any does: the reader must report what it holds.

use zhaul::model::{DatasetKind, Guid};
use zhaul::zfs::{StreamBegin, StreamForm};

use crate::random::Random;

/// `DMU_BACKUP_MAGIC`
const MAGIC: u64 = 0x2_f5ba_cbac;

/// Where the kind, the magic number and the two GUIDs stand.
const KIND: std::ops::Range<usize> = 0..4;
const MAGIC_AT: std::ops::Range<usize> = 8..16;
const TO: std::ops::Range<usize> = 40..48;
const FROM: std::ops::Range<usize> = 48..56;

pub(crate) fn round(random: &mut Random) {
    let mut record: Vec<u8> = (0..StreamBegin::BYTES + random.below(40)).map(|_| random.byte()).collect();
    record[KIND].fill(0);
    record[MAGIC_AT].copy_from_slice(&MAGIC.to_ne_bytes());
    if random.below(3) == 0 {
        record[FROM].fill(0);
    }
    if random.below(2) == 0 {
        record[16..24].copy_from_slice(&u64::from(random.byte() % 4).to_ne_bytes());
        record[32..36].copy_from_slice(&u32::from(random.byte() % 5).to_ne_bytes());
        record[36..40].copy_from_slice(&u32::from(random.byte() % 4).to_ne_bytes());
    }
    for _ in 0..random.below(4) {
        let at = random.below(record.len());
        record[at] = random.byte();
    }
    if random.below(4) == 0 {
        record.truncate(random.below(record.len()));
    }
    let number = |range: std::ops::Range<usize>| u64::from_ne_bytes(record[range].try_into().unwrap());
    let is_begin = record.len() >= StreamBegin::BYTES
        && record[KIND].iter().all(|byte| *byte == 0)
        && number(MAGIC_AT) == MAGIC;
    let form = || {
        let small = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
        match (number(16..24) % 4, small(32), small(36) % 2) {
            (2, _, _) => StreamForm::Compound,
            (1, 2 | 3, 1) => StreamForm::Clone,
            (1, 2, _) => StreamForm::Plain(DatasetKind::Filesystem),
            (1, 3, _) => StreamForm::Plain(DatasetKind::Volume),
            _ => StreamForm::Other,
        }
    };
    let expected = is_begin.then(|| StreamBegin {
        to: Guid(number(TO)),
        from: Some(number(FROM)).filter(|guid| *guid != 0).map(Guid),
        form: form(),
        is_resumed: number(16..24) >> 22 & 1 == 1,
    });
    assert_eq!(StreamBegin::parse(&record), expected, "{record:?}");
}
