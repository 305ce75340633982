//! Typed messages between zhaul and its agent: each is a header of eight bytes and a JSON text.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `zhm`, and the version of this layout |
//! | 4..8 | length of the text, little-endian, at most 1 MiB |
//!
//! A read takes not one byte beyond its message: frames of a stream may follow on the same connection. The peer is not
//! trusted: a read returns a message of the expected type, or an error that describes the received bytes.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::stream::{ByteSink, ByteSource};

/// The longest text. A listing is sent in pieces far below it.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

const HEADER_BYTES: usize = 8;
const MAGIC: [u8; 4] = *b"zhm\x01";

/// Why there is no message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// Something else writes to this connection: a login shell's start file, a banner, another program.
    #[error("{0:?} came instead of a message")]
    NotAMessage(String),
    /// A length that no message has.
    #[error("a message of {0} bytes was announced, more than any message has")]
    TooLong(usize),
    /// The connection ended in the middle of a message.
    #[error("the connection ended in the middle of a message")]
    Cut,
    /// A text that is no message of this kind: usually of another version.
    #[error("a message that cannot be read: {0}")]
    Unreadable(String),
    /// Nothing came in time.
    #[error("no message came within {} seconds", .0.as_secs())]
    Late(Duration),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes one message and hands it on.
pub fn write(target: &mut (impl ByteSink + ?Sized), message: &impl Serialize) -> Result<(), MessageError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message).map_err(io::Error::other)?;
    let text_bytes = bytes.len() - HEADER_BYTES;
    let length = u32::try_from(text_bytes).ok().filter(|_| text_bytes <= TEXT_BYTES_MAX);
    let length = length.ok_or(MessageError::TooLong(text_bytes))?;
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let written = target.write_some(rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(target.flush_all()?)
}

/// Reads one message; `Ok(None)` if the peer closed the connection before a message. `limit` is for the whole message.
pub fn read<M: DeserializeOwned>(
    source: &mut (impl ByteSource + ?Sized),
    limit: Option<Duration>,
) -> Result<Option<M>, MessageError> {
    Ok(read_sized(source, limit)?.map(|(message, _)| message))
}

/// The same, with the length of its text in bytes.
pub fn read_sized<M: DeserializeOwned>(
    source: &mut (impl ByteSource + ?Sized),
    limit: Option<Duration>,
) -> Result<Option<(M, usize)>, MessageError> {
    let until = limit.map(|limit| (limit, Instant::now() + limit));
    let mut header = [0; HEADER_BYTES];
    let got_bytes = fill(source, &mut header, until)?;
    let came = &header[..got_bytes];
    if came.is_empty() {
        return Ok(None);
    }
    if !MAGIC.starts_with(came.get(..4).unwrap_or(came)) {
        return Err(MessageError::NotAMessage(String::from_utf8_lossy(came).into_owned()));
    }
    if got_bytes < HEADER_BYTES {
        return Err(MessageError::Cut);
    }
    let [.., a, b, c, d] = header;
    let text_bytes = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if text_bytes > TEXT_BYTES_MAX {
        return Err(MessageError::TooLong(text_bytes));
    }
    let mut text = vec![0; text_bytes];
    if fill(source, &mut text, until)? < text_bytes {
        return Err(MessageError::Cut);
    }
    // serde's words quote what it read, which may be what a terminal would obey.
    let unreadable =
        |e: serde_json::Error| MessageError::Unreadable(e.to_string().escape_debug().to_string());
    serde_json::from_slice(&text).map(|message| Some((message, text_bytes))).map_err(unreadable)
}

/// Fills `room`; gives fewer bytes only where the input ended.
fn fill(
    source: &mut (impl ByteSource + ?Sized),
    room: &mut [u8],
    until: Option<(Duration, Instant)>,
) -> Result<usize, MessageError> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let left = until.map(|(_, until)| until.saturating_duration_since(Instant::now()));
        match (source.read_within(rest, left)?, until) {
            (Some(0), _) => break,
            (Some(bytes), _) => filled += bytes,
            (None, Some((limit, at))) if Instant::now() >= at => return Err(MessageError::Late(limit)),
            (None, _) => {}
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Plain;

    fn sent(message: &impl Serialize) -> Vec<u8> {
        let mut bytes = Plain(Vec::new());
        write(&mut bytes, message).unwrap();
        bytes.0
    }

    fn received(bytes: &[u8]) -> Result<Option<Vec<u64>>, MessageError> {
        read(&mut Plain(bytes), None)
    }

    #[test]
    fn messages_come_one_by_one_and_leave_what_follows_alone() {
        let mut bytes = sent(&[1_u64, 2]);
        bytes.extend(sent(&[u64::MAX]));
        bytes.extend(b"frames");
        let mut source = Plain(&bytes[..]);
        assert_eq!(read::<Vec<u64>>(&mut source, None).unwrap(), Some(vec![1, 2]));
        assert_eq!(read::<Vec<u64>>(&mut source, None).unwrap(), Some(vec![u64::MAX]));
        assert_eq!(source.0, b"frames");
        assert_eq!(received(b"").unwrap(), None);
    }

    #[test]
    fn data_that_is_no_message_gets_an_error_of_its_own() {
        let whole = sent(&[1_u64]);
        for cut in 1..whole.len() {
            let error = received(&whole[..cut]).unwrap_err();
            assert!(matches!(error, MessageError::Cut), "{cut}: {error}");
        }
        let banner = received(b"Welcome to nfs8!\n").unwrap_err().to_string();
        assert_eq!(banner, "\"Welcome \" came instead of a message");
        assert!(matches!(received(b"\x1b[").unwrap_err(), MessageError::NotAMessage(_)));
        let endless = received(b"zhm\x01\xff\xff\xff\xff").unwrap_err();
        assert!(matches!(endless, MessageError::TooLong(4_294_967_295)), "{endless}");
        let other = received(&sent(&"\x1b[2J")).unwrap_err();
        assert!(matches!(&other, MessageError::Unreadable(text) if !text.contains('\x1b')), "{other}");
        let version = received(b"zhm\x02\0\0\0\0").unwrap_err();
        assert!(matches!(version, MessageError::NotAMessage(_)), "{version}");
    }

    #[test]
    fn what_is_too_long_is_not_even_sent() {
        let error = write(&mut Plain(Vec::new()), &"x".repeat(TEXT_BYTES_MAX)).unwrap_err();
        assert!(matches!(error, MessageError::TooLong(_)), "{error}");
    }
}
