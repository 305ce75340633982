//! Records: `[length u32 | tag | data]`, where the [tag](super::mac) is over the data, the record's number and the
//! direction. Nothing of a record is handed on before its tag was right.

use std::io::{self, IoSlice, IoSliceMut};

use super::mac::{Mac, TAG_BYTES};
use crate::channel::connections::error::ConnectionError;
use crate::channel::connections::socket::{Deadline, Socket};
use crate::stream::Cancel;

/// The most data of a record that is sent: still in the processor's cache when it is looked at again.
const RECORD_BYTES: usize = 128 << 10;
/// The most data of a record that is taken.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Length of the record header, before the data.
const HEAD_BYTES: usize = 4 + TAG_BYTES;
/// A write smaller than this waits for more data, or for a flush.
const SMALL_BYTES: usize = 4 << 10;

/// One authenticated connection.
#[derive(Debug)]
pub(in crate::channel::connections) struct TcpConnection {
    pub(in crate::channel::connections) socket: Socket,
    outgoing: Mac,
    /// Small records that were not written yet.
    held: Vec<u8>,
    incoming: Mac,
    /// The head of the next record, as far as it has come.
    head: [u8; HEAD_BYTES],
    head_come: usize,
    store: Store,
}

/// A record whose data found no room at its reader's.
#[derive(Debug, Default)]
struct Store {
    data: Vec<u8>,
    come: usize,
    /// Where the reader continues; set only if the tag was right.
    verified: Option<usize>,
}

impl TcpConnection {
    /// A connection with a key for each direction; only its two ends have these keys.
    pub(super) fn new(socket: Socket, to: &[u8], from: &[u8]) -> Result<Self, ConnectionError> {
        let mac = |key| {
            Mac::new(key).ok_or_else(|| ConnectionError::Setup(io::Error::other("a key of the wrong length")))
        };
        let (outgoing, incoming) = (mac(to)?, mac(from)?);
        Ok(Self {
            socket,
            outgoing,
            held: Vec::new(),
            incoming,
            head: [0; HEAD_BYTES],
            head_come: 0,
            store: Store::default(),
        })
    }

    /// Writes some of `bytes`, or keeps them until [`TcpConnection::flush`] if they are few.
    pub(in crate::channel::connections) fn write(
        &mut self,
        bytes: &[u8],
        cancel: &Cancel,
    ) -> io::Result<usize> {
        let data = &bytes[..bytes.len().min(RECORD_BYTES)];
        if data.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let tag = self.outgoing.tag(data).ok_or_else(|| io::Error::other("the last record was sent"))?;
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&tag);
        if self.held.len() + data.len() < SMALL_BYTES {
            self.held.extend_from_slice(&head);
            self.held.extend_from_slice(data);
            return Ok(data.len());
        }
        let mut pieces = [IoSlice::new(&self.held), IoSlice::new(&head), IoSlice::new(data)];
        self.socket.write_all(&mut pieces, Deadline::for_ever(cancel))?;
        self.held.clear();
        Ok(data.len())
    }

    /// Writes what was kept.
    pub(in crate::channel::connections) fn flush(&mut self, cancel: &Cancel) -> io::Result<()> {
        self.socket.write_all(&mut [IoSlice::new(&self.held)], Deadline::for_ever(cancel))?;
        self.held.clear();
        Ok(())
    }

    /// As [`ByteSource::read_within`](crate::stream::ByteSource::read_within).
    pub(in crate::channel::connections) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Deadline<'_>,
    ) -> io::Result<Option<usize>> {
        loop {
            if let Some(bytes) = self.store.take(buffer) {
                return Ok(Some(bytes));
            }
            match self.next_length(deadline)? {
                Length::Record(bytes) if bytes <= buffer.len() && deadline.until.is_none() => {
                    return self.read_into(&mut buffer[..bytes], deadline).map(Some);
                }
                Length::Record(bytes) => {
                    if !self.read_into_store(bytes, deadline)? {
                        return Ok(None);
                    }
                }
                Length::End => return Ok(Some(0)),
                Length::NotYet => return Ok(None),
            }
        }
    }

    fn next_length(&mut self, deadline: Deadline<'_>) -> io::Result<Length> {
        while self.head_come < HEAD_BYTES {
            let room = &mut self.head[self.head_come..];
            match self.socket.read(&mut [IoSliceMut::new(room)], deadline)? {
                Some(0) if self.head_come == 0 => return Ok(Length::End),
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => self.head_come += bytes,
                None => return Ok(Length::NotYet),
            }
        }
        let mut four = [0; 4];
        four.copy_from_slice(&self.head[..4]);
        let length = usize::try_from(u32::from_le_bytes(four)).unwrap_or(usize::MAX);
        if (1..=RECORD_BYTES_MAX).contains(&length) { Ok(Length::Record(length)) } else { Err(self.forged()) }
    }

    /// Reads a record to where it is wanted, and checks it there.
    fn read_into(&mut self, data: &mut [u8], deadline: Deadline<'_>) -> io::Result<usize> {
        let tag = self.tag();
        self.head_come = 0;
        let mut come = 0;
        while come < data.len() {
            // The next head often comes with it.
            let rooms = &mut [IoSliceMut::new(&mut data[come..]), IoSliceMut::new(&mut self.head)];
            match self.socket.read(rooms, deadline)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => come += bytes,
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        self.head_come = come - data.len();
        if self.incoming.verify(data, tag).is_err() {
            return Err(self.forged());
        }
        Ok(data.len())
    }

    /// Reads a record into the store and verifies it; returns whether the record is complete.
    fn read_into_store(&mut self, length: usize, deadline: Deadline<'_>) -> io::Result<bool> {
        self.store.data.resize(length, 0);
        while self.store.come < length {
            let room = &mut self.store.data[self.store.come..];
            match self.socket.read(&mut [IoSliceMut::new(room)], deadline)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => self.store.come += bytes,
                None => return Ok(false),
            }
        }
        let tag = self.tag();
        (self.head_come, self.store.come) = (0, 0);
        if self.incoming.verify(&self.store.data, tag).is_err() {
            return Err(self.forged());
        }
        self.store.verified = Some(0);
        Ok(true)
    }

    fn tag(&self) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&self.head[4..]);
        tag
    }

    fn forged(&self) -> io::Error {
        let why = format!("the data received from {} was changed in transit", self.socket.peer);
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

/// The next record, as its length field announces it.
enum Length {
    Record(usize),
    End,
    NotYet,
}

impl Store {
    /// `None`: nothing is there.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let at = self.verified?;
        let left = &self.data[at..];
        let bytes = left.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&left[..bytes]);
        self.verified = (bytes < left.len()).then_some(at + bytes);
        Some(bytes)
    }
}
