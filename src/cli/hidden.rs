//! Hidden subcommands, which zhaul starts itself: what may never return is done by a process that can be left behind.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::exit_code::{Code, Failure, OrExit};
use crate::discover;
use crate::host::calls::serve;
use crate::model::GuestId;

/// Makes calls into ZFS for the zhaul process whose socket is standard input.
pub(super) fn zfs_calls() -> Result<Code, Failure> {
    let socket = io::stdin().as_fd().try_clone_to_owned().or_exit(Code::Failed)?;
    serve(&UnixStream::from(socket)).or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// Reads Proxmox VE's configuration for the zhaul that reads standard output.
pub(super) fn read_guests(directory: &Path, guests: &[u32]) -> Result<Code, Failure> {
    let guests: Vec<GuestId> = guests.iter().copied().map(GuestId).collect();
    discover::read_guests(directory, &guests, io::stdout().lock()).or_exit(Code::Failed)?;
    Ok(Code::Done)
}
