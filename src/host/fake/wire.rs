//! The fake's stream: a header that names both ends by GUID, a line for what is no data, one for each block, and an end
//! that counts them.
//!
//! It is text, so that a failing test can be read; it can be cut after any byte, as a real stream can, and a stream without
//! its end is never taken for a whole one.

use crate::model::Guid;

/// The bytes of one block in a stream; the fake counts every size in blocks of this many bytes.
pub(super) const BLOCK_BYTES: u64 = 64;

/// The width that a block's number is padded to: with `W `, a space and the newline it makes [`BLOCK_BYTES`].
const BLOCK_DIGITS: usize = 61;

/// The content of a stream beside its blocks (`DRR_OBJECT` and the like); an increment without changes has none.
const OBJECTS: &str = "O and their properties";

/// One block that was written once, somewhere; no two writes make the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(pub u64);

/// The head of a stream (`DRR_BEGIN`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The snapshot that the stream makes.
    pub(super) to: Guid,
    /// The point that it starts from.
    pub(super) from: Option<Guid>,
    /// Whether encrypted blocks come as they are.
    pub(super) is_raw: bool,
    /// Whether the dataset is a volume.
    pub(super) is_volume: bool,
    /// How many blocks a resumed stream leaves out; `None` for a stream from its beginning.
    pub(super) resumes_at: Option<u64>,
    /// The snapshot's full name at the source.
    pub(super) name: String,
}

impl Header {
    fn write(&self) -> String {
        let from = self.from.map_or_else(|| "-".to_owned(), |guid| guid.to_string());
        let resumes_at = self.resumes_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!("B {} {from} {} {} {resumes_at} {}\n", self.to, self.is_raw, self.is_volume, self.name)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("B ")?.splitn(6, ' ');
        let mut word = || words.next();
        let optional = |text: &str| {
            if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
        };
        Some(Self {
            to: Guid(word()?.parse().ok()?),
            from: optional(word()?)?.map(Guid),
            is_raw: word()?.parse().ok()?,
            is_volume: word()?.parse().ok()?,
            resumes_at: optional(word()?)?,
            name: word()?.to_owned(),
        })
    }
}

/// A whole stream.
pub(super) fn write(header: &Header, blocks: &[Block]) -> Vec<u8> {
    let mut lines = vec![header.write()];
    if header.from.is_none() || !blocks.is_empty() {
        lines.push(format!("{OBJECTS}\n"));
    }
    lines.extend(blocks.iter().map(|block| format!("W {:0>BLOCK_DIGITS$}\n", block.0)));
    lines.push(format!("E {}\n", blocks.len()));
    lines.concat().into_bytes()
}

/// As much of a stream as has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Its header.
    pub(super) header: Header,
    /// The blocks after it.
    pub(super) blocks: Vec<Block>,
    /// Whether anything whole came after the header.
    pub(super) is_begun: bool,
    /// Whether its end was there.
    pub(super) is_whole: bool,
}

/// Reads what has arrived of a stream; `None` where not even the header is whole.
pub(super) fn read(bytes: &[u8]) -> Option<Arrived> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let first = lines.next()?;
    let mut arrived =
        Arrived { header: Header::read(first)?, blocks: Vec::new(), is_begun: false, is_whole: false };
    for line in lines {
        arrived.is_begun = true;
        if line == OBJECTS {
            continue;
        }
        if let Some(number) = line.strip_prefix("W ") {
            arrived.blocks.push(Block(number.parse().ok()?));
        } else if let Some(count) = line.strip_prefix("E ") {
            arrived.is_whole = count.parse() == Ok(arrived.blocks.len());
        } else {
            return None;
        }
    }
    Some(arrived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_whole_only_with_its_end() {
        let header = Header {
            to: Guid(7),
            from: Some(Guid(3)),
            is_raw: false,
            is_volume: true,
            resumes_at: None,
            name: "rpool/a b@c".to_owned(),
        };
        let blocks = [Block(1), Block(u64::MAX)];
        let stream = write(&header, &blocks);
        let whole = read(&stream).unwrap();
        assert_eq!((&whole.header, whole.blocks.as_slice(), whole.is_whole), (&header, &blocks[..], true));
        for cut in 0..stream.len() {
            assert!(read(&stream[..cut]).is_none_or(|arrived| !arrived.is_whole), "cut at {cut}");
        }
    }

    #[test]
    fn a_block_takes_what_it_is_counted_for() {
        let header = Header {
            to: Guid(1),
            from: None,
            is_raw: true,
            is_volume: false,
            resumes_at: Some(2),
            name: "p@s".to_owned(),
        };
        let one = write(&header, &[Block(8)]).len();
        let two = write(&header, &[Block(8), Block(9)]).len();
        assert_eq!(u64::try_from(two - one).unwrap(), BLOCK_BYTES);
    }
}
