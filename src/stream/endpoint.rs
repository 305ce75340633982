//! The two ends of a stream: where bytes come from and where they go.
//!
//! Both may block for ever (a suspended pool, a network that swallows packets), so both must be able to stop.
//! [`FdSource`] and [`FdTarget`] make any pipe or socket do so: the descriptor is switched to non-blocking
//! for their lifetime, and every wait polls a [`Cancel`] beside it. They are plain `Read` and `Write`, so that
//! other layers (TLS) can sit on top of them and inherit the property.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, tee};

use super::cancel::Cancel;

/// How long to wait for the rest of what is peeked at.
const PEEK_PAUSE: Duration = Duration::from_millis(1);

/// Where the bytes of a transfer come from.
pub trait ByteSource: Send {
    /// Reads some bytes. `Ok(Some(0))` is the end; `Ok(None)`: nothing came within `limit`.
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>>;

    /// Asked once after the end: `Err` if the stream is not complete although it ended. Many kinds of source cannot
    /// know, and their users find out in another way.
    fn confirm_end(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Bytes that come before those of its descriptor: whoever reads there has to take them first. Most have none.
    fn take_lead(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// The descriptor behind it, if only the stream can be read there: then the kernel may pass its pages on without a
    /// copy into user space. Non-blocking for as long as this endpoint lives.
    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Where the bytes of a transfer go.
pub trait ByteSink: Send {
    /// Writes some bytes, at least one; blocks until it can.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Hands on what the target holds back itself.
    fn flush_all(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the reader of this sink has gone, as far as can be known without writing: asked while the
    /// source is silent, so that a dead target is noticed before the next byte.
    fn is_gone(&self) -> bool {
        false
    }

    /// The descriptor behind it, if what is written there is the stream and nothing else, as [`ByteSource::bare_fd`].
    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<S: ByteSource + ?Sized> ByteSource for Box<S> {
    fn take_lead(&mut self) -> Vec<u8> {
        (**self).take_lead()
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        (**self).confirm_end()
    }

    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        (**self).read_within(buffer, limit)
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).bare_fd()
    }
}

impl<T: ByteSink + ?Sized> ByteSink for Box<T> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).write_some(bytes)
    }

    fn flush_all(&mut self) -> io::Result<()> {
        (**self).flush_all()
    }

    fn is_gone(&self) -> bool {
        (**self).is_gone()
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).bare_fd()
    }
}

/// Any `Read` as a source, any `Write` as a target. These cannot be interrupted while they block: only for
/// things that never do, or that watch a [`Cancel`] themselves.
#[derive(Debug)]
pub struct Plain<T>(pub T);

impl<R: Read + Send> ByteSource for Plain<R> {
    fn read_within(&mut self, buffer: &mut [u8], _limit: Option<Duration>) -> io::Result<Option<usize>> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(Some),
            }
        }
    }
}

impl<W: Write + Send> ByteSink for Plain<W> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn flush_all(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A pipe, socket or file to read from, that stops when its [`Cancel`] is requested.
#[derive(Debug)]
pub struct FdSource<F: AsFd> {
    fd: Nonblocking<F>,
    cancel: Cancel,
}

impl<F: AsFd> FdSource<F> {
    /// Takes over `fd`. Fails if the descriptor's flags cannot be changed (fcntl(2)).
    pub fn new(fd: F, cancel: &Cancel) -> io::Result<Self> {
        Ok(Self { fd: Nonblocking::new(fd)?, cancel: cancel.clone() })
    }

    /// Copies the first bytes of a pipe and leaves them in it (tee(2)). Waits until there are enough to fill `bytes`; fewer
    /// are there only if the stream ends before. Fails on anything but a pipe, and with `TimedOut` after `limit`.
    pub fn peek(&self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let seen = self.cancel.wait_for(self.fd.as_fd(), PollFlags::IN, Some(left))?;
            if seen.is_none() || left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let copied = match tee(self.fd.as_fd(), &writer, bytes.len(), SpliceFlags::NONBLOCK) {
                Ok(copied) => copied,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut read = 0;
            while let Some(rest) = bytes.get_mut(read..copied).filter(|rest| !rest.is_empty()) {
                match rustix::io::read(&reader, rest) {
                    Ok(0) => break,
                    Ok(count) => read += count,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let has_ended = seen.is_some_and(|flags| flags.contains(PollFlags::HUP));
            if read == bytes.len() || has_ended || copied == 0 {
                return Ok(read);
            }
            // Half a record: the rest is being written.
            self.cancel.sleep(PEEK_PAUSE)?;
        }
    }
}

impl<F: AsFd + Send> ByteSource for FdSource<F> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        loop {
            self.cancel.check()?;
            match rustix::io::read(self.fd.as_fd(), &mut *buffer) {
                Ok(read) => return Ok(Some(read)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if self.cancel.wait_for(self.fd.as_fd(), PollFlags::IN, limit)?.is_none() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

impl<F: AsFd + Send> Read for FdSource<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Without a limit there is always an answer.
        self.read_within(buffer, None).map(Option::unwrap_or_default)
    }
}

/// A pipe, socket or file to write to, that stops when its [`Cancel`] is requested.
#[derive(Debug)]
pub struct FdTarget<F: AsFd> {
    fd: Nonblocking<F>,
    cancel: Cancel,
}

impl<F: AsFd> FdTarget<F> {
    /// Takes over `fd`. Fails if the descriptor's flags cannot be changed (fcntl(2)).
    pub fn new(fd: F, cancel: &Cancel) -> io::Result<Self> {
        Ok(Self { fd: Nonblocking::new(fd)?, cancel: cancel.clone() })
    }
}

impl<F: AsFd + Send> ByteSink for FdTarget<F> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.cancel.check()?;
            match rustix::io::write(self.fd.as_fd(), bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.cancel.wait_for(self.fd.as_fd(), PollFlags::OUT, None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_gone(&self) -> bool {
        // With no events asked for, poll reports only error and hang-up.
        let seen = self.cancel.wait_for(self.fd.as_fd(), PollFlags::empty(), Some(Duration::ZERO));
        matches!(seen, Ok(Some(flags)) if flags.intersects(PollFlags::ERR | PollFlags::HUP))
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

impl<F: AsFd + Send> Write for FdTarget<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe of about `bytes`: the read end, then the write end; neither is inherited by children.
pub fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    widen(&write_end, bytes);
    Ok((read_end, write_end))
}

/// Gives a pipe a size of about `bytes`. Only before the first byte: growing a pipe that holds data can hang its writer.
///
/// More than the system allows (`/proc/sys/fs/pipe-max-size` for everybody but root) falls back to the largest that
/// works; what is no pipe is left alone.
pub fn widen(pipe: impl AsFd, bytes: usize) {
    let mut size_bytes = bytes;
    while size_bytes > 64 << 10 && fcntl_setpipe_size(&pipe, size_bytes).is_err() {
        size_bytes /= 2;
    }
}

/// A descriptor with `O_NONBLOCK` set. The flag belongs to the open file, which may be shared with other
/// processes (an inherited standard input), so it is put back in the end.
#[derive(Debug)]
pub(super) struct Nonblocking<F: AsFd> {
    fd: F,
    flags_before: OFlags,
}

impl<F: AsFd> Nonblocking<F> {
    pub(super) fn new(fd: F) -> io::Result<Self> {
        let flags_before = fcntl_getfl(&fd)?;
        if !flags_before.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags_before | OFlags::NONBLOCK)?;
        }
        Ok(Self { fd, flags_before })
    }
}

impl<F: AsFd> AsFd for Nonblocking<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<F: AsFd> Drop for Nonblocking<F> {
    fn drop(&mut self) {
        if !self.flags_before.contains(OFlags::NONBLOCK) {
            // Nothing can be done if this fails, and the descriptor is usually about to be closed.
            let _ = fcntl_setfl(&self.fd, self.flags_before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::stream::cancel::Cancelled;

    #[test]
    fn a_pipe_carries_bytes_and_its_end() {
        let cancel = Cancel::new().unwrap();
        let (read_end, write_end) = pipe(1 << 20).unwrap();
        let mut target = FdTarget::new(write_end, &cancel).unwrap();
        let mut source = FdSource::new(read_end, &cancel).unwrap();
        target.write_all(b"abc").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(source.read(&mut buffer).unwrap(), 3);
        let nothing = source.read_within(&mut buffer, Some(Duration::from_millis(5))).unwrap();
        assert_eq!(nothing, None, "an open but silent pipe is not an end");
        assert!(!target.is_gone());
        drop(target);
        assert_eq!(source.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn what_is_peeked_at_stays_in_the_pipe() {
        let cancel = Cancel::new().unwrap();
        let (read_end, write_end) = pipe(1 << 20).unwrap();
        let mut target = FdTarget::new(write_end, &cancel).unwrap();
        let mut source = FdSource::new(read_end, &cancel).unwrap();
        let writing = thread::spawn(move || {
            for part in [&b"ab"[..], b"cd", b"efg"] {
                target.write_all(part).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            target
        });
        let (mut seen, mut more) = ([0; 5], [0; 100]);
        let limit = Duration::from_secs(60);
        assert_eq!(source.peek(&mut seen, limit).unwrap(), 5);
        assert_eq!(&seen, b"abcde");
        drop(writing.join().unwrap());
        assert_eq!(source.peek(&mut more, limit).unwrap(), 7, "the stream is shorter");
        let mut all = Vec::new();
        source.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdefg");
        assert_eq!(source.peek(&mut seen, limit).unwrap(), 0);
        cancel.request();
        assert!(source.peek(&mut seen, limit).is_err());
    }

    #[test]
    fn a_record_that_never_gets_whole_is_not_waited_for() {
        let cancel = Cancel::new().unwrap();
        let (read_end, write_end) = pipe(4096).unwrap();
        let mut target = FdTarget::new(write_end, &cancel).unwrap();
        let source = FdSource::new(read_end, &cancel).unwrap();
        for part in [&b""[..], b"ab"] {
            target.write_all(part).unwrap();
            let error = source.peek(&mut [0; 5], Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn a_blocked_read_and_a_blocked_write_hear_the_cancel() {
        let run = Cancel::new().unwrap();
        let (read_end, write_end) = pipe(4096).unwrap();
        let (silent, _kept_open) = pipe(4096).unwrap();
        let mut source = FdSource::new(silent, &run).unwrap();
        let mut target = FdTarget::new(write_end, &run).unwrap();
        let reader = thread::spawn(move || source.read(&mut [0; 16]));
        let writer = thread::spawn(move || target.write_all(&vec![0; 1 << 20]));
        thread::sleep(Duration::from_millis(30));
        let asked = Instant::now();
        run.request();
        assert!(Cancelled::is_in(&reader.join().unwrap().unwrap_err()));
        assert!(Cancelled::is_in(&writer.join().unwrap().unwrap_err()));
        assert!(asked.elapsed() < Duration::from_millis(500));
        drop(read_end);
    }

    #[test]
    fn a_target_without_reader_is_gone() {
        let cancel = Cancel::new().unwrap();
        let (read_end, write_end) = pipe(4096).unwrap();
        let mut target = FdTarget::new(write_end, &cancel).unwrap();
        drop(read_end);
        assert!(target.is_gone());
        assert_eq!(target.write_some(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_blocking_mode_is_put_back() {
        let cancel = Cancel::new().unwrap();
        let (read_end, _write_end) = pipe(4096).unwrap();
        let source = FdSource::new(&read_end, &cancel).unwrap();
        assert!(fcntl_getfl(&read_end).unwrap().contains(OFlags::NONBLOCK));
        drop(source);
        assert!(!fcntl_getfl(&read_end).unwrap().contains(OFlags::NONBLOCK));
    }
}
