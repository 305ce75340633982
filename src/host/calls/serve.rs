//! A call process: makes one requested call into the kernel after another, until the socket closes.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::wire::{self, Call, Reply};
use crate::model::CALLS_PROCESS;
use crate::zfs::{self, Holds, Library};

/// Serves the zhaul that is the peer of `socket`. Fails where the ZFS libraries cannot be loaded or the peer sends no
/// valid call; such a failure is not sent to the peer.
pub fn serve(socket: &UnixStream) -> io::Result<()> {
    // Any signal would end a send; SIGKILL, which ends this process, cannot be blocked.
    zfs::block_signals();
    fs::write("/proc/self/comm", CALLS_PROCESS)?;
    let library = Library::load().map_err(io::Error::other)?;
    let mut holds = Vec::new();
    while let Some(call) = wire::read(socket)? {
        // Whoever asked may have been killed meanwhile, and with its lock gone another run may be at work.
        if is_alone(socket)? {
            break;
        }
        let reply = match carry_out(library, socket, &mut holds, call) {
            Ok(reply) => reply,
            Err(CallError::Zfs(error)) => Reply::Failed { error },
            Err(CallError::Io(error)) => return Err(error),
        };
        wire::write(socket, &reply)?;
    }
    Ok(())
}

/// Whether the peer has closed `socket`.
fn is_alone(socket: &UnixStream) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled.iter().any(|one| one.revents().intersects(PollFlags::RDHUP | PollFlags::HUP)))
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
        Call::RollBack { to } => library.roll_back(&to)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_gone_is_noticed_also_behind_what_it_said_last() {
        let (near, far) = UnixStream::pair().unwrap();
        assert!(!is_alone(&near).unwrap());
        io::Write::write_all(&mut &far, b"x").unwrap();
        assert!(!is_alone(&near).unwrap());
        drop(far);
        assert!(is_alone(&near).unwrap());
    }
}
