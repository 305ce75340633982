//! The streams that an agent lets through to `zfs receive`: plain ones of the announced kind, between the announced
//! GUIDs.
//!
//! The caller is not believed. The first record of a stream says what it is; until it has been read and found good,
//! `zfs receive` sees no byte. A stream with properties, of several snapshots or datasets (`zfs send -p`, `-R`, `-I`) begins
//! with a record of its own, and is refused, and so is a clone, whose origin ZFS would look for outside of the agent's roots.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ReceiveSpec;
use crate::model::{DatasetKind, Guid};
use crate::stream::ByteSink;
use crate::zfs::{FirstBlock, StreamBegin, StreamForm, is_end};

/// The required beginning of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    kind: DatasetKind,
    /// The GUID of the snapshot that it makes; `None`: any.
    to: Option<Guid>,
    /// That of the snapshot that it starts from; `None`: a full stream.
    from: Option<Guid>,
    /// Whether it makes a clone of that one.
    is_clone: bool,
}

impl Expected {
    pub(super) fn of(spec: &ReceiveSpec) -> Self {
        Self { kind: spec.kind, to: spec.to, from: spec.from, is_clone: spec.origin.is_some() }
    }

    /// Refuses any other stream; what the first record of this one says.
    fn check(self, bytes: &[u8]) -> Result<StreamBegin, String> {
        let refuse = |why: String| Err(format!("the agent there takes no such stream: {why}"));
        let Some(begin) = StreamBegin::parse(bytes) else {
            return refuse("it does not begin as a stream of ZFS of this machine's byte order".to_owned());
        };
        match begin.form {
            StreamForm::Plain(kind) if kind == self.kind => {}
            StreamForm::Plain(DatasetKind::Filesystem) => {
                return refuse("it is of a file system, and a volume was announced".to_owned());
            }
            StreamForm::Plain(DatasetKind::Volume) => {
                return refuse("it is of a volume, and a file system was announced".to_owned());
            }
            StreamForm::Clone if self.is_clone => {}
            StreamForm::Clone => return refuse("it makes a clone".to_owned()),
            StreamForm::Compound => {
                return refuse(
                    "it carries properties or several snapshots (zfs send -p, -R or -I)".to_owned(),
                );
            }
            StreamForm::Other => return refuse("it is of neither a file system nor a volume".to_owned()),
        }
        if let Some(to) = self.to.filter(|to| *to != begin.to) {
            return refuse(format!("it makes the snapshot of guid {}, and {to} was announced", begin.to));
        }
        if begin.from != self.from {
            let word = |guid: Option<Guid>| guid.map_or_else(|| "none".to_owned(), |guid| guid.to_string());
            let (found, announced) = (word(begin.from), word(self.from));
            return refuse(format!("its incremental source has guid {found}, and {announced} was announced"));
        }
        Ok(begin)
    }
}

/// The state of a gate and its stream.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Why the stream was refused, once it was.
    pub(super) refused: Option<String>,
    /// The last bytes that went through, as many as a record has.
    last: Vec<u8>,
}

impl Seen {
    /// Whether the stream has ended as every stream of `zfs send` does. Of one that has not, `zfs receive` would wait for
    /// the rest for as long as its input stays open.
    pub(super) fn has_ended(&self) -> bool {
        is_end(&self.last)
    }

    fn note(&mut self, bytes: &[u8]) {
        let keep = StreamBegin::BYTES.saturating_sub(bytes.len());
        self.last.drain(..self.last.len().saturating_sub(keep));
        let from = bytes.len().saturating_sub(StreamBegin::BYTES);
        self.last.extend_from_slice(bytes.get(from..).unwrap_or_default());
    }
}

/// Shared by a gate and the receive that it is of.
pub(super) type SharedSeen = Arc<Mutex<Seen>>;

/// Stands before `zfs receive`, and holds the first record back until all of it is there and good, and that of a resumed stream
/// until its first block is.
pub(super) struct Gate<T> {
    target: T,
    expected: Expected,
    seen: SharedSeen,
    first: Vec<u8>,
    /// How much of that is through; `None`: it is held back.
    passed: Option<usize>,
    /// Of a resumed stream whose first record is good.
    first_block: Option<FirstBlock>,
}

impl<T: ByteSink> Gate<T> {
    pub(super) fn new(target: T, expected: Expected, seen: SharedSeen) -> Self {
        Self {
            target,
            expected,
            seen,
            first: Vec::with_capacity(StreamBegin::BYTES),
            passed: None,
            first_block: None,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what comes before anything is let through; gives how much it took.
    fn hold(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(first_block) = &mut self.first_block {
            let is_enough = first_block.is_in(bytes);
            self.first.extend_from_slice(bytes);
            if is_enough {
                self.passed = Some(0);
                self.pass()?;
            }
            return Ok(bytes.len());
        }
        let missing = StreamBegin::BYTES - self.first.len();
        let some = bytes.get(..missing).unwrap_or(bytes);
        self.first.extend_from_slice(some);
        if self.first.len() == StreamBegin::BYTES {
            match self.expected.check(&self.first) {
                Ok(begin) if begin.is_resumed => {
                    let mut first_block = FirstBlock::default();
                    first_block.is_in(&self.first);
                    self.first_block = Some(first_block);
                }
                Ok(_) => {
                    self.passed = Some(0);
                    self.pass()?;
                }
                Err(why) => {
                    self.seen().refused = Some(why.clone());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        Ok(some.len())
    }

    /// Lets what was held back through.
    fn pass(&mut self) -> io::Result<()> {
        while let Some(passed) = self.passed.filter(|passed| *passed < self.first.len()) {
            let rest = self.first.get(passed..).unwrap_or_default();
            let written = self.target.write_some(rest)?;
            self.seen().note(rest.get(..written).unwrap_or_default());
            self.passed = Some(passed + written);
        }
        Ok(())
    }
}

impl<T: ByteSink> ByteSink for Gate<T> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.passed.is_none() {
            return self.hold(bytes);
        }
        let written = self.target.write_some(bytes)?;
        self.seen().note(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush_all(&mut self) -> io::Result<()> {
        self.target.flush_all()
    }

    fn is_gone(&self) -> bool {
        self.target.is_gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Plain;

    const WHOLE: Expected =
        Expected { kind: DatasetKind::Volume, to: Some(Guid(7)), from: Some(Guid(3)), is_clone: false };

    /// The beginning of a stream.
    fn record(form: u64, kind: u32, flags: u32, to: u64, from: u64) -> Vec<u8> {
        let mut record = vec![0; StreamBegin::BYTES];
        record[8..16].copy_from_slice(&0x2_f5ba_cbac_u64.to_ne_bytes());
        record[16..24].copy_from_slice(&(form | 0x10).to_ne_bytes());
        record[32..36].copy_from_slice(&kind.to_ne_bytes());
        record[36..40].copy_from_slice(&flags.to_ne_bytes());
        record[40..48].copy_from_slice(&to.to_ne_bytes());
        record[48..56].copy_from_slice(&from.to_ne_bytes());
        record
    }

    /// The bytes that arrive behind the gate where `bytes` come in pieces of `piece`.
    fn through(expected: Expected, bytes: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let seen = SharedSeen::default();
        let mut gate = Gate::new(Plain(Vec::new()), expected, Arc::clone(&seen));
        for some in bytes.chunks(piece) {
            let mut rest = some;
            while !rest.is_empty() {
                match gate.write_some(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) => {
                        assert_eq!(gate.target.0, b"", "nothing was let through");
                        assert_eq!(seen.lock().unwrap().refused, Some(error.to_string()));
                        return Err(error.to_string());
                    }
                }
            }
        }
        let is_whole = bytes.len() > StreamBegin::BYTES && bytes[bytes.len() - StreamBegin::BYTES] == 5;
        assert_eq!(seen.lock().unwrap().has_ended(), is_whole);
        Ok(gate.target.0)
    }

    #[test]
    fn what_was_announced_passes_byte_for_byte_in_any_pieces() {
        let stream = [record(1, 3, 0xc, 7, 3), (0..=255).cycle().take(5000).collect()].concat();
        for piece in [1, 7, 311, 312, 313, 10_000] {
            assert_eq!(through(WHOLE, &stream, piece).unwrap(), stream, "{piece}");
        }
        let mut end = vec![0; StreamBegin::BYTES];
        end[0] = 5;
        for piece in [1, 7, 311, 312, 313, 10_000] {
            let whole = [&stream[..], &end].concat();
            assert_eq!(through(WHOLE, &whole, piece).unwrap(), whole, "{piece}");
        }
        let any = Expected { to: None, ..WHOLE };
        assert_eq!(through(any, &record(1, 3, 0, 8, 3), 100).unwrap().len(), StreamBegin::BYTES);
    }

    #[test]
    fn of_a_resumed_stream_nothing_passes_before_its_first_block() {
        let mut begin = record(1, 3, 0xc, 7, 3);
        begin[18] |= 0x40;
        let mut block = vec![0; StreamBegin::BYTES + 4096];
        block[0] = 3;
        block[32..34].copy_from_slice(&4096_u16.to_ne_bytes());
        let stream = [begin, block].concat();
        for piece in [1, 311, 313, 10_000] {
            assert_eq!(through(WHOLE, &stream[..stream.len() - 1], piece).unwrap(), b"", "{piece}");
            assert_eq!(through(WHOLE, &stream, piece).unwrap(), stream, "{piece}");
        }
    }

    #[test]
    fn anything_else_is_refused_before_its_first_byte() {
        let cases = [
            (record(2, 0, 0, 0, 0), "-p, -R or -I"),
            (record(2, 3, 0xc, 7, 3), "-p, -R or -I"),
            (record(3, 3, 0, 7, 3), "neither"),
            (record(0, 3, 0, 7, 3), "neither"),
            (record(1, 2, 0, 7, 3), "file system"),
            (record(1, 4, 0, 7, 3), "neither"),
            (record(1, 3, 1, 7, 3), "clone"),
            (record(1, 3, 0, 8, 3), "guid 8"),
            (record(1, 3, 0, 7, 4), "guid 4"),
            (record(1, 3, 0, 7, 0), "guid none"),
            (vec![0; 400], "does not begin"),
            (record(1, 3, 0, 7, 3).into_iter().rev().collect(), "does not begin"),
        ];
        for (stream, why) in cases {
            let refused = through(WHOLE, &stream, 100).unwrap_err();
            assert!(refused.contains(why), "{why}: {refused}");
        }
        // A stream that ends within its first record never arrives at all.
        assert_eq!(through(WHOLE, &record(1, 3, 0, 7, 3)[..311], 100).unwrap(), b"");
    }
}
