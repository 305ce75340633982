//! ZFS's rules for sending, after `dmu_send.c`, and the sending half of a transfer.

use std::io::Cursor;

use super::machine::{Machine, added, bytes_of};
use super::wire::{self, BLOCK_BYTES, Block, Header};
use crate::host::{HostError, Outgoing, Problem, SendBase, SendSpec};
use crate::model::{DatasetKind, Encryption, PointKind};
use crate::stream;

impl Machine {
    /// The header and the blocks of a stream.
    pub(super) fn make_stream(&self, spec: &SendSpec) -> Result<(Header, Vec<Block>), Problem> {
        let node = self.node(spec.snapshot.dataset())?;
        let snapshot = self.snapshot(&spec.snapshot)?;
        if spec.encryption == Encryption::On && node.encryption == Encryption::Off {
            return Err(Problem::Other("it is not encrypted".to_owned()));
        }
        let base = match &spec.base {
            None => None,
            Some(SendBase { kind: PointKind::Snapshot, name, .. }) => {
                let of = spec.base.as_ref().and_then(|base| base.origin.as_ref());
                let base = match of {
                    None => node.snapshot(name),
                    // Only of the snapshot that it is a clone of, or of one before that.
                    Some(of) => {
                        let base = self.node(of)?.snapshot(name);
                        base.filter(|base| node.origin == Some(base.object))
                    }
                };
                let base = base.ok_or(Problem::NotFound)?;
                Some((base.guid, base.createtxg, &base.content))
            }
            Some(SendBase { kind: PointKind::Bookmark, name, .. }) => {
                let base = node.bookmark(name).ok_or(Problem::NotFound)?;
                Some((base.guid, base.createtxg, &base.content))
            }
        };
        if base.is_some_and(|(_, createtxg, _)| createtxg >= snapshot.createtxg) {
            return Err(Problem::Other(
                "the base is not an earlier point of the snapshot's history".to_owned(),
            )); // EXDEV
        }
        let whole = added(base.map_or(&[], |(_, _, content)| content), &snapshot.content);
        let skipped = spec.resume.as_ref().map(|point| point.offset / BLOCK_BYTES);
        let skip = usize::try_from(skipped.unwrap_or(0)).unwrap_or(usize::MAX);
        let blocks = whole.get(skip..).unwrap_or_default();
        let header = Header {
            to: snapshot.guid,
            from: base.map(|(guid, _, _)| guid),
            is_raw: spec.encryption == Encryption::On,
            is_volume: node.kind == DatasetKind::Volume,
            resumes_at: skipped,
            name: spec.snapshot.to_string(),
        };
        Ok((header, blocks.to_vec()))
    }

    /// `lzc_send_space`.
    pub(super) fn estimate(&self, spec: &SendSpec) -> Result<u64, Problem> {
        self.make_stream(spec).map(|(_, blocks)| bytes_of(blocks.len()))
    }
}

/// A stream on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    bytes: Vec<u8>,
}

impl Sending {
    pub(super) fn new(header: &Header, blocks: &[Block]) -> Self {
        Self { bytes: wire::write(header, blocks) }
    }
}

impl Outgoing for Sending {
    fn stream(&mut self, _cancel: &stream::Cancel) -> Result<Box<dyn stream::ByteSource + '_>, HostError> {
        Ok(Box::new(stream::Plain(Cursor::new(&self.bytes))))
    }

    fn finish(self: Box<Self>) -> Result<(), HostError> {
        Ok(())
    }
}
