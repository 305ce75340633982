//! One authenticated connection, and the ends of streams that it lends out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::LaneKind;
use super::socket::Patience;
use super::tcp::TcpLane;
use super::tls::TlsLane;
use crate::stream::{Cancel, Source, Target};

/// One authenticated connection.
#[derive(Debug)]
pub struct Lane {
    carrier: Carrier,
    /// It ended, or something failed in the middle of a record: nothing that comes after it could be understood.
    is_broken: bool,
}

#[derive(Debug)]
pub(super) enum Carrier {
    Tls(Box<TlsLane>),
    Tcp(Box<TcpLane>),
}

impl Lane {
    pub(super) fn new(carrier: Carrier) -> Self {
        Self { carrier, is_broken: false }
    }

    /// What it is made of.
    pub fn kind(&self) -> LaneKind {
        match self.carrier {
            Carrier::Tls(_) => LaneKind::Tls,
            Carrier::Tcp(_) => LaneKind::Tcp,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        match &self.carrier {
            Carrier::Tls(lane) => lane.socket.peer,
            Carrier::Tcp(lane) => lane.socket.peer,
        }
    }

    /// Whether frames may go over it, as far as is known here: it is whole, and the other end has not closed it.
    pub fn is_usable(&self, stop: &Cancel) -> bool {
        !self.is_broken && !self.is_gone(stop)
    }

    fn is_gone(&self, stop: &Cancel) -> bool {
        match &self.carrier {
            Carrier::Tls(lane) => lane.socket.is_gone(stop),
            Carrier::Tcp(lane) => lane.socket.is_gone(stop),
        }
    }

    /// To write the frames of one transfer. Fails if an earlier transfer left it broken.
    pub fn target(&mut self, stop: &Cancel) -> io::Result<Box<dyn Target + '_>> {
        self.check()?;
        Ok(Box::new(End { lane: self, stop: stop.clone() }))
    }

    /// To read the frames of one transfer. Fails if an earlier transfer left it broken.
    pub fn source(&mut self, stop: &Cancel) -> io::Result<Box<dyn Source + '_>> {
        self.check()?;
        Ok(Box::new(End { lane: self, stop: stop.clone() }))
    }

    fn check(&self) -> io::Result<()> {
        if self.is_broken {
            let why = format!("the connection with {} broke off in an earlier transfer", self.peer());
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        Ok(())
    }
}

/// A lane during one transfer.
struct End<'a> {
    lane: &'a mut Lane,
    stop: Cancel,
}

impl End<'_> {
    /// What comes of a read or write; whatever fails leaves the lane broken.
    fn noted<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        self.lane.is_broken |= outcome.is_err();
        outcome
    }
}

impl Source for End<'_> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.lane.check()?;
        let patience = Patience::within(&self.stop, limit);
        let read = match &mut self.lane.carrier {
            Carrier::Tls(lane) => lane.read(buffer, patience),
            Carrier::Tcp(lane) => lane.read(buffer, patience),
        };
        // Nothing comes after the end.
        self.lane.is_broken |= matches!(read, Ok(Some(0))) && !buffer.is_empty();
        self.noted(read)
    }
}

impl Target for End<'_> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lane.check()?;
        let written = match &mut self.lane.carrier {
            Carrier::Tls(lane) => lane.write(bytes, &self.stop),
            Carrier::Tcp(lane) => lane.write(bytes, &self.stop),
        };
        self.noted(written)
    }

    fn flush_all(&mut self) -> io::Result<()> {
        self.lane.check()?;
        let flushed = match &mut self.lane.carrier {
            Carrier::Tls(lane) => lane.flush(&self.stop),
            Carrier::Tcp(lane) => lane.flush(&self.stop),
        };
        self.noted(flushed)
    }

    fn is_gone(&self) -> bool {
        self.lane.is_gone(&self.stop)
    }
}
