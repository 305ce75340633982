//! A call process: makes one call into the kernel after another, as it is told, until the socket closes.

use std::io;
use std::os::unix::net::UnixStream;

use super::wire::{self, Call, Reply};
use crate::zfs::{self, Holds, Library};

/// Serves the zhaul at the other end of `socket`. Fails where the ZFS libraries cannot be loaded or the other end makes no
/// sense; nobody is left to be told.
pub fn serve(socket: &UnixStream) -> io::Result<()> {
    // Any signal would end a send; SIGKILL, which ends this process, cannot be blocked.
    zfs::block_signals();
    let library = Library::load().map_err(io::Error::other)?;
    let mut holds = Vec::new();
    while let Some(call) = wire::read(socket)? {
        let reply = match carry_out(library, socket, &mut holds, call) {
            Ok(reply) => reply,
            Err(CallError::Zfs(error)) => Reply::Failed { error },
            Err(CallError::Io(error)) => return Err(error),
        };
        wire::write(socket, &reply)?;
    }
    Ok(())
}

enum CallError {
    Zfs(zfs::Error),
    Io(io::Error),
}

impl From<zfs::Error> for CallError {
    fn from(error: zfs::Error) -> Self {
        Self::Zfs(error)
    }
}

fn carry_out(
    library: &Library,
    socket: &UnixStream,
    holds: &mut Vec<Holds>,
    call: Call,
) -> Result<Reply, CallError> {
    match call {
        Call::Snapshot { snapshots, properties } => library.snapshot(&snapshots, &properties)?,
        Call::Bookmark { bookmarks } => library.bookmark(&bookmarks)?,
        Call::BookmarkGuid { bookmark } => {
            return Ok(Reply::Guid { guid: library.bookmark_guid(&bookmark)? });
        }
        Call::DestroySnapshots { snapshots } => library.destroy_snapshots(&snapshots)?,
        Call::DestroyBookmarks { bookmarks } => library.destroy_bookmarks(&bookmarks)?,
        Call::Hold { snapshots } => holds.push(library.hold(&snapshots)?),
        Call::Release => holds.clear(),
        Call::Estimate { request } => {
            return Ok(Reply::Bytes { bytes: library.estimate_send(&request)? });
        }
        Call::Send { request } => {
            let writer = wire::take(socket).map_err(CallError::Io)?;
            library.send_into(&request, &writer)?;
        }
    }
    Ok(Reply::Done)
}
