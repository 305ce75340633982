//! Sending a snapshot: one call into the kernel that writes a stream into a pipe until all is written.
//!
//! ```text
//! thread "zfs-send": lzc_send_resume ─► pipe ─► SendStream: Read
//! ```
//!
//! What the kernel demands of the thread that makes the call, and how it is met:
//! * Any signal ends the stream with EINTR: the thread blocks all of them.
//! * It cannot be told to stop: closing the pipe's reading end makes its next write fail. If it does not write, because its
//!   pool hangs, nothing ends it: it is left behind, reported, and the run goes on.
//! * Where the whole process is killed the same must hold: the thread has a table of descriptors of its own, without the
//!   reading end.
//! * Growing a pipe with data in it can lose a wake-up (openzfs #13232): the size is set before the first byte.

#![expect(unsafe_code, reason = "calls libzfs_core and sets the thread's signal mask")]

use std::ffi::CString;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use zfs_core_sys as sys;

use crate::model::{BookmarkName, ResumePoint, SendFlags, SnapshotName};

use super::error::{Cause, Error, Operation};
use super::hold::{Holds, with_descriptors};
use super::library::Library;
use super::nvlist::c_string;

/// The most that an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
pub(crate) const PIPE_BYTES: usize = 1 << 20;

/// How long a thread whose pipe is closed may take to come back from the kernel.
const RETURN_SECS: u64 = 2;

/// How long the release of the holds may take after that: it waits for a transaction group.
const RELEASE_SECS: u64 = 30;

/// What an incremental stream starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendBase {
    /// An earlier snapshot of the same dataset, or its clone's origin.
    Snapshot(SnapshotName),
    /// A bookmark of an earlier snapshot.
    Bookmark(BookmarkName),
}

/// The flags in the kernel's form (`enum lzc_send_flags`).
fn kernel_flags(flags: SendFlags) -> sys::lzc_send_flags::Type {
    use sys::lzc_send_flags as bit;
    let pairs = [
        (flags.large_block, bit::LZC_SEND_FLAG_LARGE_BLOCK),
        (flags.embed, bit::LZC_SEND_FLAG_EMBED_DATA),
        (flags.compress, bit::LZC_SEND_FLAG_COMPRESS),
        (flags.raw, bit::LZC_SEND_FLAG_RAW),
    ];
    let set = pairs.into_iter().filter(|(wanted, _)| *wanted);
    set.fold(0, |flags, (_, bit)| flags | bit)
}

/// One stream: what to send and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// The snapshot to send.
    pub snapshot: SnapshotName,
    /// What the target has already; `None` for a full stream.
    pub base: Option<SendBase>,
    /// What the stream may contain; a resumed one has the flags of its first part instead.
    pub flags: SendFlags,
    /// Where to go on; `None` to start at the beginning.
    pub resume: Option<ResumePoint>,
}

impl SendRequest {
    fn kernel_flags(&self) -> sys::lzc_send_flags::Type {
        kernel_flags(self.resume.as_ref().map_or(self.flags, |at| at.flags))
    }
}

/// Names as the kernel wants them, alive for as long as a call.
struct Names {
    snapshot: CString,
    base: Option<CString>,
}

impl Names {
    fn new(request: &SendRequest) -> io::Result<Self> {
        let base = match &request.base {
            None => None,
            Some(SendBase::Snapshot(name)) => Some(c_string(&name.to_string())?),
            Some(SendBase::Bookmark(name)) => Some(c_string(&name.to_string())?),
        };
        Ok(Self { snapshot: c_string(&request.snapshot.to_string())?, base })
    }

    /// Null where there is no base. Valid as long as `self`.
    fn base(&self) -> *const std::ffi::c_char {
        self.base.as_ref().map_or(ptr::null(), |base| base.as_ptr())
    }
}

impl Library {
    /// Starts the stream. `holds` are kept until the kernel has written the last byte; a stream whose snapshots nobody
    /// else destroys needs none.
    pub fn send(&self, request: &SendRequest, holds: Option<Holds>) -> Result<SendStream, Error> {
        let refused = |e: io::Error| {
            let cause = Cause::from_io(Operation::Send, &e);
            Error::new(Operation::Send, &request.snapshot, cause)
        };
        let names = Names::new(request).map_err(refused)?;
        let (reader, writer) = io::pipe().map_err(refused)?;
        // Refused where the user's pipes take too much memory already: a small pipe works too.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES) {
            tracing::debug!("a pipe stays small: {error}");
        }
        let (report, result) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let own_writer = writer.as_raw_fd();
        // What this thread keeps of the writing end until the other one has its own.
        let (kept, mut shared) = if holds.is_none() { (Some(writer), None) } else { (None, Some(writer)) };
        let flags = request.kernel_flags();
        let start = request.resume.as_ref().map_or((0, 0), |at| (at.object, at.offset));
        thread::Builder::new()
            .name("zfs-send".to_owned())
            .spawn(move || {
                block_signals();
                // Holds end with their descriptor, which must then be nobody else's: such a stream shares the table.
                let writer = if holds.is_none() { keep_only(own_writer) } else { shared.take() };
                let Some(writer) = writer else { return };
                ready.send(()).ok();
                let mut errno = send_blocking(&names, &writer, flags, start);
                // The kernel says EINTR for a broken pipe as well as for a signal.
                if errno == libc::EINTR && is_reader_gone(&writer) {
                    errno = libc::EPIPE;
                }
                // The result first: a reader that sees the end of the pipe must find it there. Nobody may be left to
                // hear it, which is no error.
                report.send(errno).ok();
                drop(writer);
                drop(holds);
                drop(report);
            })
            .map_err(refused)?;
        // Until then this is also the thread's, which from now on has its own.
        let is_apart = is_ready.recv().is_ok();
        drop(kept);
        if !is_apart {
            return Err(refused(io::Error::other("the sending thread cannot have descriptors of its own")));
        }
        let task = SendTask { snapshot: request.snapshot.clone(), result, outcome: None };
        Ok(SendStream { reader, task })
    }

    /// Writes the whole stream into `writer`, a pipe, on this thread, which must have its signals blocked. Where the pipe's
    /// reading end is closed, the error says [`Cause::Cancelled`].
    pub fn send_into(&self, request: &SendRequest, writer: &PipeWriter) -> Result<(), Error> {
        let fail = |cause| Error::new(Operation::Send, &request.snapshot, cause);
        let names = Names::new(request).map_err(|e| fail(Cause::from_io(Operation::Send, &e)))?;
        let start = request.resume.as_ref().map_or((0, 0), |at| (at.object, at.offset));
        match send_blocking(&names, writer, request.kernel_flags(), start) {
            0 => Ok(()),
            // The kernel says EINTR for a broken pipe as well as for a signal.
            libc::EINTR if is_reader_gone(writer) => Err(fail(Cause::Cancelled)),
            errno => Err(fail(Cause::from_errno(Operation::Send, errno))),
        }
    }

    /// How many bytes the stream will have, about (`lzc_send_space`). From a bookmark this reads the dataset's block
    /// tree and can take as long as sending. With compressed blocks and a resume point it may be far off
    /// (openzfs #15956).
    pub fn estimate_send(&self, request: &SendRequest) -> Result<u64, Error> {
        let fail = |cause| Error::new(Operation::EstimateSend, &request.snapshot, cause);
        let names = Names::new(request).map_err(|e| fail(Cause::from_io(Operation::EstimateSend, &e)))?;
        let (snapshot, base, flags) = (names.snapshot.as_ptr(), names.base(), request.kernel_flags());
        let mut bytes = 0;
        let errno = match &request.resume {
            // SAFETY: C strings (or null for no base) that outlive the call, and a place for the result.
            None => unsafe { sys::lzc_send_space(snapshot, base, flags, &raw mut bytes) },
            // SAFETY: the same; no redaction bookmark, and -1 for no stream to compare with.
            Some(at) => unsafe {
                sys::lzc_send_space_resume_redacted(
                    snapshot,
                    base,
                    flags,
                    at.object,
                    at.offset,
                    at.received_bytes,
                    ptr::null(),
                    -1,
                    &raw mut bytes,
                )
            },
        };
        if errno == 0 { Ok(bytes) } else { Err(fail(Cause::from_errno(Operation::EstimateSend, errno))) }
    }
}

/// Gives this thread a table of descriptors of its own (unshare(2)), with nothing in it but standard input, output and
/// error, `/dev/zfs`, and `writer`. A process that is killed then closes the reading end although this thread still sits
/// in the kernel and waits for room in the pipe: it does not always hear the kill there, and would keep the pipe, itself
/// and the target's receive for ever.
fn keep_only(writer: RawFd) -> Option<PipeWriter> {
    let holds = with_descriptors(|holds| {
        // SAFETY: this thread uses no descriptor that another one opens or closes from here on.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }.map(|()| holds.clone())
    });
    let holds = holds.ok()?;
    let open: Vec<RawFd> = fs::read_dir("/proc/thread-self/fd")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && *fd != writer) {
        let leads_to = fs::read_link(format!("/proc/thread-self/fd/{fd}"));
        // One is the directory that was just read: it is closed already.
        if leads_to.is_ok_and(|path| path != Path::new("/dev/zfs") || holds.contains(&fd)) {
            // SAFETY: the table is this thread's alone, and nothing in this thread owns the descriptor.
            unsafe { libc::close(fd) };
        }
    }
    // SAFETY: open in this table, and owned by nothing else in this thread.
    Some(unsafe { PipeWriter::from_raw_fd(writer) })
}

/// Any signal delivered to a thread inside the call would end the stream. SIGSTOP cannot be blocked, and ends it too.
pub(crate) fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: the place is valid; sigfillset initialises it and cannot fail.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set is initialised, and the old mask is not asked for. Only this thread is touched.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut()) };
}

/// Returns when the kernel has written the whole stream, or the errno with which it gave up.
fn send_blocking(
    names: &Names,
    writer: &PipeWriter,
    flags: sys::lzc_send_flags::Type,
    (object, offset): (u64, u64),
) -> i32 {
    let (snapshot, base) = (names.snapshot.as_ptr(), names.base());
    let writer = writer.as_raw_fd();
    // SAFETY: C strings (or null for no base) and an open descriptor, all of which outlive the call.
    unsafe { sys::lzc_send_resume(snapshot, base, writer, flags, object, offset) }
}

/// Whether the pipe's reading end is closed: poll(2) reports POLLERR on the writing end then.
fn is_reader_gone(writer: &PipeWriter) -> bool {
    let mut fds = [PollFd::new(writer, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec::default()));
    polled.is_ok() && fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

/// A stream as it comes out of the kernel. Its end is no success: only [`finish`](Self::finish) tells.
///
/// Dropping it cancels: the pipe closes first, then the thread gets a moment to end.
#[derive(Debug)]
pub struct SendStream {
    // Dropped in this order.
    reader: PipeReader,
    task: SendTask,
}

impl SendStream {
    /// The bytes and the outcome apart, for a reader on another thread. Drop the reader before asking for the outcome.
    pub fn split(self) -> (PipeReader, SendTask) {
        (self.reader, self.task)
    }

    /// Closes the pipe and returns how the call ended: `Ok` only if the kernel wrote all of the stream. Before the
    /// reader has seen the end this cancels, and the error says [`Cause::Cancelled`].
    pub fn finish(self) -> Result<(), Error> {
        drop(self.reader);
        self.task.finish()
    }
}

impl Read for SendStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl AsFd for SendStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// The call behind a [`SendStream`].
#[derive(Debug)]
pub struct SendTask {
    snapshot: SnapshotName,
    result: Receiver<i32>,
    outcome: Option<Result<(), Cause>>,
}

impl SendTask {
    /// How the call ended. The reading end must be at its end or closed: a call that still has something to write is given
    /// 2 s, then left behind and reported as [`Cause::Stuck`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.join()
    }

    /// The same, without giving the task up: what comes out is kept and told again by [`finish`](Self::finish).
    pub fn join(&mut self) -> Result<(), Error> {
        let outcome = match self.outcome.take() {
            Some(known) => known,
            None => self.wait(),
        };
        self.outcome = Some(outcome.clone());
        outcome.map_err(|cause| Error::new(Operation::Send, &self.snapshot, cause))
    }

    fn wait(&self) -> Result<(), Cause> {
        match self.result.recv_timeout(Duration::from_secs(RETURN_SECS)) {
            Ok(errno) => {
                // Only the release of holds is left, which ends with the channel's; a pool that hangs takes for ever.
                let released = self.result.recv_timeout(Duration::from_secs(RELEASE_SECS));
                if released == Err(RecvTimeoutError::Timeout) {
                    tracing::warn!("{}: its hold is not released yet", self.snapshot);
                }
                if errno == 0 { Ok(()) } else { Err(Cause::from_errno(Operation::Send, errno)) }
            }
            Err(RecvTimeoutError::Timeout) => Err(Cause::Stuck { seconds: RETURN_SECS }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Cause::Unexpected("the sending thread died".to_owned()))
            }
        }
    }
}

impl Drop for SendTask {
    fn drop(&mut self) {
        // Whoever asked was told.
        if self.outcome.is_some() {
            return;
        }
        match self.join() {
            Err(error) if !matches!(error.cause(), Cause::Cancelled) => {
                tracing::warn!("{error}: {}", error.cause());
            }
            _ => {}
        }
    }
}
