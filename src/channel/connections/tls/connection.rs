//! One TLS connection: few calls of the system, few copies.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::time::Duration;

use rustls::{AlertDescription, Connection, Error};

use crate::channel::connections::error::ConnectionError;
use crate::channel::connections::socket::{Deadline, Socket};
use crate::stream::Cancel;

/// Bytes of one read.
const RAW_BYTES: usize = 256 << 10;
/// Bytes encrypted before a write. Records are allocated one by one and freed together: where they are more than
/// 128 KiB, the allocator gives the memory back and asks for it again each time, which costs more than the encryption.
const PIECE_BYTES: usize = 64 << 10;
/// A write smaller than this waits for more data, or for a flush.
const SMALL_BYTES: usize = 4 << 10;
/// Sent by the listening end when it has accepted the calling one. TLS alone does not show this: the calling end is
/// done before the listening one has seen its certificate.
const WELCOME: [u8; 12] = *b"zhaul lane 1";

/// One authenticated connection.
#[derive(Debug)]
pub(in crate::channel::connections) struct TlsConnection {
    pub(in crate::channel::connections) socket: Socket,
    tls: Connection,
    raw: Raw,
    /// Plain length of the data that is encrypted but not written.
    held_bytes: usize,
}

/// Data received from the socket that TLS has not read yet.
#[derive(Debug)]
struct Raw {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl TlsConnection {
    pub(super) fn new(socket: Socket, mut tls: Connection) -> Self {
        // This type bounds the buffered data itself.
        tls.set_buffer_limit(None);
        Self { socket, tls, raw: Raw { buffer: vec![0; RAW_BYTES], start: 0, end: 0 }, held_bytes: 0 }
    }

    /// Shakes hands.
    pub(super) fn shake(&mut self, limit: Duration, deadline: Deadline<'_>) -> Result<(), ConnectionError> {
        loop {
            self.write_out(deadline).map_err(|error| self.explain(limit, error))?;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            let come = self.take_in(deadline);
            if come.is_err() {
                // Sends the reason to the peer, if it still listens.
                drop(self.write_out(deadline));
            }
            match come.map_err(|error| self.explain(limit, error))? {
                Come::Some => {}
                Come::End => return Err(self.explain(limit, io::ErrorKind::UnexpectedEof.into())),
                Come::Nothing => return Err(ConnectionError::Silent { peer: self.socket.peer, limit }),
            }
        }
    }

    pub(super) fn welcome(&mut self, limit: Duration, deadline: Deadline<'_>) -> Result<(), ConnectionError> {
        let said = self.tls.writer().write_all(&WELCOME).and_then(|()| self.write_out(deadline));
        said.map_err(|error| self.explain(limit, error))
    }

    pub(super) fn expect_welcome(
        &mut self,
        limit: Duration,
        deadline: Deadline<'_>,
    ) -> Result<(), ConnectionError> {
        let mut said = [0; WELCOME.len()];
        let mut come = 0;
        while come < said.len() {
            match self.read(&mut said[come..], deadline).map_err(|error| self.explain(limit, error))? {
                Some(0) => return Err(ConnectionError::TurnedAway { peer: self.socket.peer }),
                Some(bytes) => come += bytes,
                None => return Err(ConnectionError::Silent { peer: self.socket.peer, limit }),
            }
        }
        if said == WELCOME {
            return Ok(());
        }
        Err(ConnectionError::NotZhaul {
            peer: self.socket.peer,
            why: "it speaks another version of this protocol".to_owned(),
        })
    }

    /// Writes some of `bytes`, or keeps them until [`TlsConnection::flush`] if they are few.
    pub(in crate::channel::connections) fn write(
        &mut self,
        bytes: &[u8],
        cancel: &Cancel,
    ) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        let taken = self.tls.writer().write(piece)?;
        self.held_bytes += taken;
        if self.held_bytes >= SMALL_BYTES {
            self.write_out(Deadline::for_ever(cancel))?;
        }
        Ok(taken)
    }

    /// Writes what was kept.
    pub(in crate::channel::connections) fn flush(&mut self, cancel: &Cancel) -> io::Result<()> {
        self.write_out(Deadline::for_ever(cancel))
    }

    /// As [`ByteSource::read_within`](crate::stream::ByteSource::read_within).
    pub(in crate::channel::connections) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Deadline<'_>,
    ) -> io::Result<Option<usize>> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(Some),
            }
            match self.take_in(deadline)? {
                Come::Some => {}
                Come::Nothing => return Ok(None),
                // The reader says now which kind of end it is.
                Come::End => drop(self.tls.read_tls(&mut io::empty())?),
            }
        }
    }

    fn write_out(&mut self, deadline: Deadline<'_>) -> io::Result<()> {
        let mut out = Out { socket: &self.socket, deadline };
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        self.held_bytes = 0;
        Ok(())
    }

    /// Takes in the next bytes, from the socket if there are no others.
    fn take_in(&mut self, deadline: Deadline<'_>) -> io::Result<Come> {
        if self.raw.is_empty() {
            match self.raw.fill(&self.socket, deadline)? {
                Some(0) => return Ok(Come::End),
                Some(_) => {}
                None => return Ok(Come::Nothing),
            }
        }
        // As much as rustls holds, a record and a bit: with the beginning of the next record always there, it keeps its
        // buffer as it is, instead of growing it again for each record, 4 KiB at a time.
        let mut taken = 0;
        while !self.raw.is_empty() {
            let mut waiting = &self.raw.buffer[self.raw.start..self.raw.end];
            match self.tls.read_tls(&mut waiting) {
                Ok(0) => break,
                Ok(bytes) => (taken, self.raw.start) = (taken + bytes, self.raw.start + bytes),
                // Full: a slice knows no other error.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Come::Some)
    }

    /// The error for a failed handshake.
    fn explain(&self, limit: Duration, error: io::Error) -> ConnectionError {
        let peer = self.socket.peer;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(Error::InvalidCertificate(_)) => ConnectionError::WrongCertificate { peer },
            Some(Error::NoCertificatesPresented) => ConnectionError::NoCertificate { peer },
            // The peer sends these about our certificate.
            Some(Error::AlertReceived(
                AlertDescription::AccessDenied
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::DecryptError,
            )) => ConnectionError::TurnedAway { peer },
            Some(other) => ConnectionError::NotZhaul { peer, why: other.to_string() },
            None => ConnectionError::handshake(peer, limit, error),
        }
    }
}

/// The outcome of a read from the socket.
enum Come {
    Some,
    End,
    Nothing,
}

impl Raw {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn fill(&mut self, socket: &Socket, deadline: Deadline<'_>) -> io::Result<Option<usize>> {
        let read = socket.read(&mut [IoSliceMut::new(&mut self.buffer)], deadline)?;
        (self.start, self.end) = (0, read.unwrap_or(0));
        Ok(read)
    }
}

/// The socket, as rustls writes to it.
struct Out<'a> {
    socket: &'a Socket,
    deadline: Deadline<'a>,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(&[IoSlice::new(bytes)], self.deadline)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write(pieces, self.deadline)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
