//! A connection whose every wait hears a cancel and knows its limit.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

use super::error::ConnectionError;
use crate::stream::Cancel;

/// After this time without a byte the system asks whether the peer is still alive.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// And asks again at this interval.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(15);
/// So often: a peer that vanished is noticed after a minute and a quarter, as on the ssh session.
const KEEPALIVE_TIMES: u32 = 4;

/// How long something may wait, and what ends it early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline<'a> {
    pub(super) cancel: &'a Cancel,
    /// `None`: as long as it takes.
    pub(super) until: Option<Instant>,
}

impl<'a> Deadline<'a> {
    pub(super) fn for_ever(cancel: &'a Cancel) -> Self {
        Self { cancel, until: None }
    }

    pub(super) fn within(cancel: &'a Cancel, limit: Option<Duration>) -> Self {
        Self { cancel, until: limit.map(|limit| Instant::now() + limit) }
    }
}

/// One connection, never blocking by itself.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    pub(super) peer: SocketAddr,
}

impl Socket {
    /// A connection that was accepted.
    pub(super) fn accepted(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self { stream, peer }.prepared()
    }

    /// Calls `peer`.
    pub(super) fn connect(
        peer: SocketAddr,
        limit: Duration,
        deadline: Deadline<'_>,
    ) -> Result<Self, ConnectionError> {
        let refused = |error: Errno| match error {
            Errno::CONNREFUSED => ConnectionError::Refused { peer },
            // The system itself gave up, after minutes.
            Errno::TIMEDOUT => ConnectionError::Blocked { peer, limit },
            error => ConnectionError::Unreachable { peer, error: error.into() },
        };
        let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP));
        let fd = fd.map_err(|error| ConnectionError::setup(error.into()))?;
        match rustix::net::connect(&fd, &peer) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(refused(error)),
        }
        let socket = Self { stream: TcpStream::from(fd), peer };
        if !socket.wait(PollFlags::OUT, deadline).map_err(ConnectionError::setup)? {
            return Err(ConnectionError::Blocked { peer, limit });
        }
        match sockopt::socket_error(&socket.stream) {
            Ok(Ok(())) => socket.prepared().map_err(ConnectionError::setup),
            Ok(Err(error)) | Err(error) => Err(refused(error)),
        }
    }

    fn prepared(self) -> io::Result<Self> {
        self.stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&self.stream, true)?;
        sockopt::set_tcp_keepidle(&self.stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&self.stream, KEEPALIVE_PAUSE)?;
        sockopt::set_tcp_keepcnt(&self.stream, KEEPALIVE_TIMES)?;
        Ok(self)
    }

    /// Reads some bytes, into the first room first. `Ok(Some(0))` is the end; `Ok(None)`: nothing came in time.
    pub(super) fn read(
        &self,
        rooms: &mut [IoSliceMut<'_>],
        deadline: Deadline<'_>,
    ) -> io::Result<Option<usize>> {
        loop {
            deadline.cancel.check()?;
            match rustix::io::readv(&self.stream, rooms) {
                Ok(read) => return Ok(Some(read)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.wait(PollFlags::IN, deadline)? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fills all of `room`; the end is an error here, and so is the limit.
    pub(super) fn read_all(&self, mut room: &mut [u8], deadline: Deadline<'_>) -> io::Result<()> {
        while !room.is_empty() {
            match self.read(&mut [IoSliceMut::new(room)], deadline)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => room = &mut room[bytes..],
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// Writes some bytes; the limit is an error here.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>], deadline: Deadline<'_>) -> io::Result<usize> {
        loop {
            deadline.cancel.check()?;
            match rustix::io::writev(&self.stream, pieces) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.wait(PollFlags::OUT, deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes all of `pieces`.
    pub(super) fn write_all(&self, mut pieces: &mut [IoSlice<'_>], deadline: Deadline<'_>) -> io::Result<()> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let written = self.write(pieces, deadline)?;
            IoSlice::advance_slices(&mut pieces, written);
        }
        Ok(())
    }

    /// Whether the peer has closed its end, as far as is known here.
    pub(super) fn is_gone(&self, cancel: &Cancel) -> bool {
        let seen = cancel.wait_for(&self.stream, PollFlags::RDHUP, Some(Duration::ZERO));
        matches!(seen, Ok(Some(flags)) if flags.intersects(PollFlags::RDHUP | PollFlags::ERR | PollFlags::HUP))
    }

    /// Whether it became ready before the limit.
    fn wait(&self, events: PollFlags, deadline: Deadline<'_>) -> io::Result<bool> {
        let left = deadline.until.map(|until| until.saturating_duration_since(Instant::now()));
        Ok(deadline.cancel.wait_for(&self.stream, events, left)?.is_some())
    }
}
