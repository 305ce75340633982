//! Sending a snapshot: one call into the kernel that writes a stream into a pipe until all is written.
//!
//! The kernel's demands on the process that makes the call, and how each is met:
//! * Any signal ends the stream with EINTR: the process blocks all of them.
//! * The call cannot be cancelled: closing the pipe's reading end makes its next write fail. If it does not write, because
//!   its pool hangs, nothing ends it. So no process waits for this one, and it has no reading end: it can be left behind.
//! * Growing a pipe with data in it can lose a wake-up (openzfs #13232): the size is set before the first byte.

#![expect(unsafe_code, reason = "calls libzfs_core and sets the thread's signal mask")]

use std::ffi::CString;
use std::io::{self, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::ptr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use zfs_core_sys as sys;

use crate::model::{BookmarkName, ByteCount, ResumePoint, SendFlags, SnapshotName};

use super::error::{Cause, Error, Operation};
use super::library::Library;
use super::nvlist::c_string;

/// The most that an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
pub(crate) const PIPE_BYTES: usize = 1 << 20;

/// The incremental source of a stream.
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
    /// The incremental source, which the target has already; `None` for a full stream.
    pub base: Option<SendBase>,
    /// The permitted content; a resumed stream has the flags of its first part instead.
    pub flags: SendFlags,
    /// Where to resume; `None` to start at the beginning.
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
        if errno == 0 {
            Ok(ByteCount::of_estimate(bytes).0)
        } else {
            Err(fail(Cause::from_errno(Operation::EstimateSend, errno)))
        }
    }
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
