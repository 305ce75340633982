//! `zhaul zfs-calls`, which zhaul starts itself: makes calls into ZFS that may never return.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::exit_code::{Code, Failure, OrExit};
use crate::host::calls::serve;

/// Serves the zhaul at the other end of standard input, a socket.
pub(super) fn calls() -> Result<Code, Failure> {
    let socket = io::stdin().as_fd().try_clone_to_owned().or_exit(Code::Failed)?;
    serve(&UnixStream::from(socket)).or_exit(Code::Failed)?;
    Ok(Code::Done)
}
