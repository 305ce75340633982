//! One authenticated connection, and the ends of streams that it lends out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::ConnectionKind;
use super::socket::Deadline;
use super::tcp::TcpConnection;
use super::tls::TlsConnection;
use crate::stream::{ByteSink, ByteSource, Cancel};

/// One authenticated connection.
#[derive(Debug)]
pub struct Connection {
    carrier: Carrier,
    /// It ended, or something failed in the middle of a record: nothing that comes after it could be understood.
    is_broken: bool,
}

#[derive(Debug)]
pub(super) enum Carrier {
    Tls(Box<TlsConnection>),
    Tcp(Box<TcpConnection>),
}

impl Connection {
    pub(super) fn new(carrier: Carrier) -> Self {
        Self { carrier, is_broken: false }
    }

    /// The protocol of this connection.
    pub fn kind(&self) -> ConnectionKind {
        match self.carrier {
            Carrier::Tls(_) => ConnectionKind::Tls,
            Carrier::Tcp(_) => ConnectionKind::Tcp,
        }
    }

    /// The address of the peer.
    pub fn peer(&self) -> SocketAddr {
        match &self.carrier {
            Carrier::Tls(connection) => connection.socket.peer,
            Carrier::Tcp(connection) => connection.socket.peer,
        }
    }

    /// Whether it can carry frames, as far as is known here: it is whole, and the peer has not closed it.
    pub fn is_usable(&self, cancel: &Cancel) -> bool {
        !self.is_broken && !self.is_gone(cancel)
    }

    fn is_gone(&self, cancel: &Cancel) -> bool {
        match &self.carrier {
            Carrier::Tls(connection) => connection.socket.is_gone(cancel),
            Carrier::Tcp(connection) => connection.socket.is_gone(cancel),
        }
    }

    /// To write the frames of one transfer. Fails if an earlier transfer left it broken.
    pub fn target(&mut self, cancel: &Cancel) -> io::Result<Box<dyn ByteSink + '_>> {
        self.check()?;
        Ok(Box::new(End { connection: self, cancel: cancel.clone() }))
    }

    /// To read the frames of one transfer. Fails if an earlier transfer left it broken.
    pub fn source(&mut self, cancel: &Cancel) -> io::Result<Box<dyn ByteSource + '_>> {
        self.check()?;
        Ok(Box::new(End { connection: self, cancel: cancel.clone() }))
    }

    fn check(&self) -> io::Result<()> {
        if self.is_broken {
            let why = format!("the connection with {} broke off in an earlier transfer", self.peer());
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        Ok(())
    }
}

/// A connection during one transfer.
struct End<'a> {
    connection: &'a mut Connection,
    cancel: Cancel,
}

impl End<'_> {
    /// Passes on the outcome of a read or write; a failure leaves the connection broken.
    fn noted<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        self.connection.is_broken |= outcome.is_err();
        outcome
    }
}

impl ByteSource for End<'_> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.connection.check()?;
        let deadline = Deadline::within(&self.cancel, limit);
        let read = match &mut self.connection.carrier {
            Carrier::Tls(connection) => connection.read(buffer, deadline),
            Carrier::Tcp(connection) => connection.read(buffer, deadline),
        };
        // Nothing comes after the end.
        self.connection.is_broken |= matches!(read, Ok(Some(0))) && !buffer.is_empty();
        self.noted(read)
    }
}

impl ByteSink for End<'_> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.check()?;
        let written = match &mut self.connection.carrier {
            Carrier::Tls(connection) => connection.write(bytes, &self.cancel),
            Carrier::Tcp(connection) => connection.write(bytes, &self.cancel),
        };
        self.noted(written)
    }

    fn flush_all(&mut self) -> io::Result<()> {
        self.connection.check()?;
        let flushed = match &mut self.connection.carrier {
            Carrier::Tls(connection) => connection.flush(&self.cancel),
            Carrier::Tcp(connection) => connection.flush(&self.cancel),
        };
        self.noted(flushed)
    }

    fn is_gone(&self) -> bool {
        self.connection.is_gone(&self.cancel)
    }
}
