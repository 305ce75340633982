//! Lines of bytes from the peer, with a limit on their length and on the wait for each.

use std::io;
use std::time::Duration;

use crate::stream::ByteSource;

/// The longest line taken, in bytes: a name, a resume token and a user property's value (8 KiB) fit.
const LINE_BYTES_MAX: usize = 32 << 10;

const READ_BYTES: usize = 64 << 10;

/// The next line, or why none came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line without its end. A last line that the end of the input cuts off counts as one.
    Text(&'a [u8]),
    /// The end of the input.
    End,
    /// Nothing within the limit.
    Late,
}

/// The replies of an agent have no lines.
impl<S: ByteSource> ByteSource for Lines<S> {
    fn read_within(&mut self, room: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        if rest.is_empty() {
            return self.source.read_within(room, limit);
        }
        let bytes = rest.len().min(room.len());
        room[..bytes].copy_from_slice(&rest[..bytes]);
        self.start += bytes;
        Ok(Some(bytes))
    }
}

/// Splits a source into lines.
#[derive(Debug)]
pub(super) struct Lines<S> {
    source: S,
    buffer: Vec<u8>,
    start: usize,
}

impl<S: ByteSource> Lines<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, buffer: Vec::new(), start: 0 }
    }

    /// The next line; waits at most `limit` for each piece of it. A line that is too long is an error.
    pub(super) fn next(&mut self, limit: Duration) -> io::Result<Line<'_>> {
        let mut searched = self.start;
        let end = loop {
            let unread = self.buffer.get(searched..).unwrap_or_default();
            if let Some(found) = unread.iter().position(|&byte| byte == b'\n') {
                break searched + found;
            }
            if self.buffer.len() - self.start > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 32 KiB"));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            match self.fill(limit)? {
                Some(0) if self.buffer.is_empty() => return Ok(Line::End),
                // The same end is found again by the next call.
                Some(0) => break self.buffer.len(),
                Some(_) => {}
                None => return Ok(Line::Late),
            }
        };
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        self.start = (end + 1).min(self.buffer.len());
        Ok(Line::Text(line))
    }

    /// For what follows without lines; `None` if something of it is in a line here.
    pub(super) fn into_source(self) -> Option<S> {
        (self.start == self.buffer.len()).then_some(self.source)
    }

    fn fill(&mut self, limit: Duration) -> io::Result<Option<usize>> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = self.source.read_within(self.buffer.get_mut(filled..).unwrap_or_default(), Some(limit));
        let more = read.as_ref().ok().copied().flatten().unwrap_or(0);
        self.buffer.truncate(filled + more);
        read
    }

    /// Whether the input is open and has nothing to say now.
    pub(super) fn is_silent(&mut self) -> bool {
        self.start == self.buffer.len() && matches!(self.fill(Duration::ZERO), Ok(None))
    }
}

#[cfg(test)]
mod tests;
