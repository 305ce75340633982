//! Heals a copy that has lost data: the blocks of its newest snapshot that cannot be read are rewritten where they are, from a
//! machine that has that snapshot whole. Older snapshots have most of the same blocks.
//!
//! The stream goes into a scratch snapshot ([`crate::model::HEALING_SNAPSHOT`]). OpenZFS rewrites only a block whose checksum
//! fails, and only with data that has the checksum which the block should have: whatever the stream holds, no content changes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Settings;
use super::stream::Stream;
use crate::host::{HostError, Outgoing, Problem, ReceiveSpec, SendSpec, Sending, SourceHost, TargetHost};
use crate::model::{
    ByteCount, Change, CopyEncryption, DatasetKind, Encryption, Guid, HEALING_SNAPSHOT, PointName,
    SnapshotName,
};
use crate::stream::probe::Probe;
use crate::stream::{ByteSource, Cancel, Sample};
use crate::zfs::Readdress;

/// A machine that has the snapshot whole.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "hosts are seen by what they do")]
pub enum WholeAt<'a> {
    /// This one.
    Source(&'a dyn SourceHost),
    /// A backup or archive.
    Target(&'a Sending),
}

/// A copy that has lost data.
#[derive(Debug, Clone)]
pub struct ToHeal {
    /// Its newest snapshot.
    pub newest: SnapshotName,
    /// The same on the machine that has it whole.
    pub whole: SnapshotName,
    /// Their GUID.
    pub guid: Guid,
    /// File system or volume.
    pub kind: DatasetKind,
    /// Whether the copy is encrypted as the source is: `On` sends raw.
    pub encryption: Encryption,
    /// Whether the copy is encrypted by its target.
    pub copy_encryption: CopyEncryption,
}

/// What was sent for a healing.
#[derive(Debug, Clone, Copy)]
pub struct SentToHeal {
    /// How many bytes.
    pub bytes: ByteCount,
    /// How many blocks were left out, since OpenZFS could crash of them.
    pub left_out: u64,
}

/// Heals it.
pub fn heal(
    wish: &ToHeal,
    (from, target): (WholeAt<'_>, &dyn TargetHost),
    settings: &Settings,
    show: &(dyn Fn(&Sample) + Sync),
    cancel: &Cancel,
) -> Result<SentToHeal, HostError> {
    let dataset = wish.newest.dataset().clone();
    let begun = target.change(&Change::BeginHealing { dataset: dataset.clone(), newest: wish.guid });
    let healed = begun.and_then(|changed| {
        let without =
            || failed(wish, Problem::Protocol("it gave no GUID of its scratch snapshot".to_owned()));
        send(wish, changed.healing.ok_or_else(without)?, (from, target), settings, (show, cancel))
    });
    // Also where its begin failed: it may be half done.
    match target.change(&Change::EndHealing { dataset }) {
        Ok(_) => healed,
        Err(error) => {
            tracing::warn!("the scratch snapshot stays until the next run: {}", error.chain());
            healed
        }
    }
}

fn send(
    wish: &ToHeal,
    to: Guid,
    (from, target): (WholeAt<'_>, &dyn TargetHost),
    settings: &Settings,
    (show, cancel): (&(dyn Fn(&Sample) + Sync), &Cancel),
) -> Result<SentToHeal, HostError> {
    let misnamed = |error: crate::model::NameError| failed(wish, Problem::Other(error.to_string()));
    let into = PointName::new(HEALING_SNAPSHOT).and_then(|name| wish.newest.dataset().snapshot(&name));
    let into = into.map_err(misnamed)?;
    let spec = SendSpec {
        snapshot: wish.whole.clone(),
        guid: Some(wish.guid),
        base: None,
        resume: None,
        encryption: wish.encryption,
        copy_encryption: wish.copy_encryption,
    };
    let incoming = target.receive(&ReceiveSpec {
        snapshot: into.clone(),
        heals: true,
        origin: None,
        creates_dataset: false,
        kind: wish.kind,
        copy_encryption: wish.copy_encryption,
        to: Some(to),
        from: None,
        writer: None,
    })?;
    let outgoing = match from {
        WholeAt::Source(source) => source.send(&spec),
        WholeAt::Target(sending) => sending.send(&spec, None),
    };
    let outgoing = match outgoing {
        Ok(outgoing) => outgoing,
        Err(error) => {
            incoming.abort();
            return Err(error);
        }
    };
    let of_its_own = cancel.child().map_err(|error| failed(wish, Problem::Other(error.to_string())))?;
    let stream =
        Stream { snapshot: &wish.whole, target: &into, settings, show, run_cancel: cancel, handed_on: None };
    let left_out = AtomicU64::new(0);
    let readdressed = Readdressed { outgoing, to, left_out: &left_out };
    let report = stream.run(Box::new(readdressed), incoming, of_its_own)?;
    Ok(SentToHeal { bytes: ByteCount(report.input_bytes), left_out: left_out.into_inner() })
}

fn failed(wish: &ToHeal, problem: Problem) -> HostError {
    HostError::new(&wish.whole, "heal", &wish.newest, problem)
}

/// The same stream for a snapshot with another GUID.
struct Readdressed<'a> {
    outgoing: Box<dyn Outgoing + 'a>,
    to: Guid,
    left_out: &'a AtomicU64,
}

impl Outgoing for Readdressed<'_> {
    fn stream(&mut self, cancel: &Cancel) -> Result<Box<dyn ByteSource + '_>, HostError> {
        let inner = self.outgoing.stream(cancel)?;
        Ok(Box::new(ReaddressedSource {
            inner,
            readdress: Readdress::new(self.to),
            left_out: self.left_out,
            read: Vec::new(),
            changed: Vec::new(),
            taken: 0,
        }))
    }

    fn probe(&self) -> Option<Probe> {
        self.outgoing.probe()
    }

    fn finish(self: Box<Self>) -> Result<(), HostError> {
        self.outgoing.finish()
    }
}

struct ReaddressedSource<'a> {
    inner: Box<dyn ByteSource + 'a>,
    readdress: Readdress,
    left_out: &'a AtomicU64,
    read: Vec<u8>,
    changed: Vec<u8>,
    /// How much of that was given.
    taken: usize,
}

impl ByteSource for ReaddressedSource<'_> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        while self.taken == self.changed.len() {
            self.changed.clear();
            self.taken = 0;
            self.read.resize(buffer.len().max(1), 0);
            match self.inner.read_within(&mut self.read, limit)? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(bytes) => {
                    self.readdress.feed(&self.read[..bytes], &mut self.changed).map_err(io::Error::other)?;
                    self.left_out.store(self.readdress.left_out(), Ordering::Relaxed);
                }
            }
        }
        let rest = &self.changed[self.taken..];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.taken += bytes;
        Ok(Some(bytes))
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        self.inner.confirm_end()
    }
}
