//! Hidden subcommands, which zhaul starts itself: what may never return is done by a process that can be left behind.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::exit_code::{Code, Failure, OrExit};
use super::signals;
use crate::discover;
use crate::host::calls::serve;
use crate::host::freezing;
use crate::model::GuestId;

/// Makes calls into ZFS for the zhaul process whose socket is standard input.
pub(super) fn zfs_calls() -> Result<Code, Failure> {
    let socket = io::stdin().as_fd().try_clone_to_owned().or_exit(Code::Failed)?;
    serve(&UnixStream::from(socket)).or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// Freezes a guest for the zhaul process that writes to standard input, and thaws it. No signal but KILL ends it while
/// the guest is frozen: systemd sends its TERM to all processes of a unit.
pub(super) fn freeze_guest(guest: u32, limit_ms: u64, directory: &Path) -> Result<Code, Failure> {
    signals::ignore().or_exit(Code::Failed)?;
    let (guest, limit) = (GuestId(guest), Duration::from_millis(limit_ms));
    freezing::freeze_guest(guest, limit, directory, io::stdin().lock(), io::stdout().lock())
        .or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// Reads Proxmox VE's configuration for the zhaul that reads standard output.
pub(super) fn read_guests(directory: &Path, guests: &[u32]) -> Result<Code, Failure> {
    let guests: Vec<GuestId> = guests.iter().copied().map(GuestId).collect();
    discover::read_guests(directory, &guests, io::stdout().lock()).or_exit(Code::Failed)?;
    Ok(Code::Done)
}
