//! The messages between zhaul and its call processes over a socket: the length of a JSON text, then the text.
//!
//! Both are the same program, so nothing is distrusted and no text is too long: a call may name 100,000 snapshots.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, PipeWriter, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{BookmarkName, Guid, SnapshotName};
use crate::zfs::{self, SendRequest};

/// One call into the kernel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub(super) enum Call {
    Snapshot {
        snapshots: Vec<SnapshotName>,
        properties: BTreeMap<String, String>,
    },
    Bookmark {
        bookmarks: Vec<(BookmarkName, SnapshotName)>,
    },
    BookmarkGuid {
        bookmark: BookmarkName,
    },
    DestroySnapshots {
        snapshots: Vec<SnapshotName>,
    },
    DestroyBookmarks {
        bookmarks: Vec<BookmarkName>,
    },
    /// The holds last until [`Call::Release`], or as long as the process.
    Hold {
        snapshots: Vec<SnapshotName>,
    },
    Release,
    RollBack {
        to: SnapshotName,
    },
    Estimate {
        request: SendRequest,
    },
    /// The descriptor that the stream is written to follows.
    Send {
        request: SendRequest,
    },
}

/// The answer of the kernel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(super) enum Reply {
    Done,
    Guid { guid: Guid },
    Bytes { bytes: u64 },
    Failed { error: zfs::Error },
}

/// Writes one message.
pub(super) fn write(mut socket: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u64::try_from(text.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_le_bytes()[..], &text].concat())
}

/// Reads one message; `None` where the peer has closed the socket.
pub(super) fn read<M: DeserializeOwned>(mut socket: &UnixStream) -> io::Result<Option<M>> {
    let mut length = [0; 8];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
    let mut text = vec![0; length];
    socket.read_exact(&mut text)?;
    serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
}

/// Gives the other process a descriptor (unix(7), `SCM_RIGHTS`).
pub(super) fn pass(socket: &UnixStream, writer: &PipeWriter) -> io::Result<()> {
    let descriptors = [writer.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Takes the descriptor that [`pass`] gives.
pub(super) fn take(socket: &UnixStream) -> io::Result<PipeWriter> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut taken: Option<OwnedFd> = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            taken = taken.or(descriptors.into_iter().next());
        }
    }
    taken.map(PipeWriter::from).ok_or_else(|| io::Error::other("no descriptor came"))
}
