//! A stream out of this machine's kernel, written by a call process into a pipe.

use std::io::{self, PipeReader};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::calls::SendCall;
use super::kernel_errors::{HOST, of_cause, of_zfs};
use super::liveness;
use super::{ContentSpec, HostError, Outgoing, Problem, SendBase, SendSpec, hold_back};
use crate::model::{CopyEncryption, Encryption, HangingPool, PointKind, SendFlags};
use crate::stream::probe::{PoolWatch, Probe};
use crate::stream::{self, Cancel, FdSource};
use crate::zfs::{self, SendRequest, StreamBegin};

/// How often a stream that has not begun is looked at.
const BEGIN_LOOK: Duration = Duration::from_secs(1);

/// A send under way. Dropped in this order: the pipe closes first, which ends the call in the kernel.
pub(super) struct LocalOutgoing<'a> {
    pub(super) reader: PipeReader,
    pub(super) task: SendCall<'a>,
    pub(super) spec: SendSpec,
    /// For the first record.
    pub(super) limit: Duration,
}

/// The pipe out of the kernel. The end of the pipe does not show success, so the result of the call is read too.
struct LocalSource<'a, 'c> {
    pipe: FdSource<&'a PipeReader>,
    task: &'a mut SendCall<'c>,
}

impl stream::ByteSource for LocalSource<'_, '_> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.pipe.read_within(buffer, limit)
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        self.task.join().map_err(|error| io::Error::other(of_cause(error.cause())))
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.bare_fd()
    }
}

/// Waits until the kernel has written something, as long as its pool may still give it.
fn wait_for_begin(
    reader: &PipeReader,
    task: &SendCall<'_>,
    limit: Duration,
    cancel: &Cancel,
) -> Result<(), Problem> {
    let started = Instant::now();
    loop {
        match cancel.wait_for(reader, PollFlags::IN, Some(BEGIN_LOOK)) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(_) if cancel.is_requested() => return Err(Problem::Cancelled),
            Err(error) => return Err(Problem::Other(error.to_string())),
        }
        if let Some(error) = task.is_hanging() {
            return Err(of_cause(error.cause()));
        }
        if started.elapsed() >= limit {
            return Err(Problem::Stalled(limit.as_secs()));
        }
    }
}

impl Outgoing for LocalOutgoing<'_> {
    fn stream(&mut self, cancel: &Cancel) -> Result<Box<dyn stream::ByteSource + '_>, HostError> {
        let Self { reader, task, spec, limit } = self;
        let refuse = |problem| HostError::new(HOST, "send", &spec.snapshot, problem);
        let failed = |error: io::Error| {
            refuse(if cancel.is_requested() { Problem::Cancelled } else { Problem::Other(error.to_string()) })
        };
        wait_for_begin(reader, task, *limit, cancel).map_err(refuse)?;
        let pipe = FdSource::new(&*reader, cancel).map_err(failed)?;
        let mut record = [0; StreamBegin::BYTES];
        let count = pipe.peek(&mut record, *limit).map_err(failed)?;
        let Some(begin) = StreamBegin::parse(record.get(..count).unwrap_or_default()) else {
            // The call gave up before the first record was whole, and says why; else the received data is no stream.
            let problem = match task.join() {
                Err(error) if count < record.len() => return Err(of_zfs("send", &error)),
                _ => Problem::Protocol("the stream does not begin as one".to_owned()),
            };
            return Err(refuse(problem));
        };
        spec.check_ends(begin.to, begin.from).map_err(refuse)?;
        if !begin.is_resumed {
            return Ok(Box::new(LocalSource { pipe, task }));
        }
        let pool = liveness::probe(spec.snapshot.dataset().pool());
        let mut watch = PoolWatch::new(Some(*limit));
        let mut doubt = |silent: Duration| {
            if let Some(hang) = watch.note(pool.state()) {
                return Some(Problem::PoolHangs(HangingPool::of(pool.pool(), hang)));
            }
            (silent >= *limit && !watch.is_known()).then_some(Problem::Stalled(limit.as_secs()))
        };
        let source = LocalSource { pipe, task };
        let held = hold_back::until_first_block(source, cancel, &mut doubt).map_err(refuse)?;
        Ok(Box::new(held))
    }

    fn probe(&self) -> Option<Probe> {
        Some(liveness::probe(self.spec.snapshot.dataset().pool()))
    }

    fn finish(self: Box<Self>) -> Result<(), HostError> {
        let Self { reader, mut task, .. } = *self;
        drop(reader);
        task.join().map_err(|error| of_zfs("send", &error))
    }
}

/// Large, embedded and compressed blocks as they are, raw where encrypted; a resumed stream keeps its flags.
pub(super) fn request(spec: &SendSpec) -> Result<SendRequest, HostError> {
    let is_raw = spec.encryption == Encryption::On;
    let embed = spec.copy_encryption != CopyEncryption::ByTarget;
    let flags = match &spec.resume {
        Some(resume) => resume.flags,
        None => SendFlags { large_block: true, embed, compress: true, raw: is_raw },
    };
    let refuse = |problem| HostError::new(HOST, "send", &spec.snapshot, problem);
    if flags.raw != is_raw {
        let text =
            "the broken-off stream is not raw where the dataset is encrypted, or the reverse".to_owned();
        return Err(refuse(Problem::Changed(text)));
    }
    let origin = spec.base.as_ref().and_then(|base| base.origin.as_ref());
    let dataset = origin.unwrap_or(spec.snapshot.dataset());
    let long = |error: crate::model::NameError| refuse(Problem::Other(error.to_string()));
    let base = match &spec.base {
        None => None,
        Some(SendBase { kind: PointKind::Snapshot, name, .. }) => {
            Some(zfs::SendBase::Snapshot(dataset.snapshot(name).map_err(long)?))
        }
        Some(SendBase { kind: PointKind::Bookmark, name, .. }) => {
            Some(zfs::SendBase::Bookmark(dataset.bookmark(name).map_err(long)?))
        }
    };
    Ok(SendRequest { snapshot: spec.snapshot.clone(), base, flags, resume: spec.resume.clone() })
}

/// Blocks as every pool can have them, for comparing; encrypted ones as they are.
pub(super) fn read_request(spec: &ContentSpec) -> SendRequest {
    let raw = spec.is_raw;
    let flags = SendFlags { large_block: raw, embed: false, compress: raw, raw };
    SendRequest { snapshot: spec.snapshot.clone(), base: None, flags, resume: None }
}
