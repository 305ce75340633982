//! Where the first whole block of a stream ends.
//!
//! `zfs receive` forgets how far it had come (`OpenZFS` 2.4.4, seen with volumes) where a resumed stream breaks off after the
//! record of its object and before the first whole block: the next token begins at 0. So the beginning of such a stream is held
//! back until it has one.

use super::records::{Kind, Piece, Records};

/// What is held back at most: a block has up to 16 MiB.
const BYTES_MAX: usize = 20 << 20;

/// Reads a stream that comes in pieces, up to the end of its first block.
#[derive(Debug, Default)]
pub struct FirstBlock {
    records: Records,
    is_block: bool,
    bytes: usize,
    is_whole: bool,
}

impl FirstBlock {
    /// Takes the next bytes. Whether a whole block has come, or all of the stream, or what is no stream, which others judge.
    pub fn is_in(&mut self, bytes: &[u8]) -> bool {
        if self.is_whole {
            return true;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        let (mut is_block, mut is_whole) = (self.is_block, false);
        let read = self.records.feed(bytes, &mut |piece| {
            match piece {
                Piece::Record(record) => {
                    is_block = matches!(record.kind, Kind::Write | Kind::WriteEmbedded);
                    is_whole |= record.kind == Kind::End;
                }
                Piece::Payload { is_last, .. } => is_whole |= is_block && is_last,
            }
            Ok(())
        });
        self.is_block = is_block;
        self.is_whole = is_whole || read.is_err() || self.bytes >= BYTES_MAX;
        self.is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::tests::{record, stream, write};
    use super::*;

    #[test]
    fn a_block_is_whole_with_its_last_byte_however_it_comes() {
        let free = record(4, &[(8, 5), (16, 0), (24, 9)], &[]);
        let before = [record(0, &[(8, 0x2_f5ba_cbac)], &[]), free, write(5, 0, &[3; 4096])].concat();
        for part in [1, 7, 312, 4096, before.len()] {
            let mut first = FirstBlock::default();
            let (all_but_one, last) = before.split_at(before.len() - 1);
            assert!(!all_but_one.chunks(part).any(|bytes| first.is_in(bytes)), "{part}");
            assert!(first.is_in(last), "{part}");
            assert!(first.is_in(b"anything"));
        }
    }

    #[test]
    fn a_stream_without_blocks_and_what_is_no_stream_are_not_held_back_for_ever() {
        assert!(FirstBlock::default().is_in(&stream(&[])));
        assert!(FirstBlock::default().is_in(&[7; 400]));
        let mut spills = FirstBlock::default();
        assert!(!spills.is_in(&record(0, &[(8, 0x2_f5ba_cbac)], &[])));
        let spill = record(7, &[(8, 5), (16, 1 << 20)], &vec![0; 1 << 20]);
        assert!((0..30).any(|_| spills.is_in(&spill)));
    }
}
