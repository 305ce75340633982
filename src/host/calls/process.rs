//! One call process: started when needed, killed and left behind when a call does not return.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::wire::{self, Call, Reply};
use crate::host::helper::{Helper, is_readable};
use crate::model::{CALLS_VARIABLE, RunMark};

/// The hidden subcommand of zhaul that is a call process.
pub const SUBCOMMAND: &str = "zfs-calls";

/// A call process.
#[derive(Debug)]
pub(super) struct Process {
    /// Between two calls nothing is lost when it is killed; in a call that does not return that is the only way.
    _helper: Helper,
    pub(super) socket: UnixStream,
}

impl Process {
    /// Starts `program`, which is zhaul. It carries the mark of its `run`, so that the next run of the policy can wait for it.
    pub(super) fn start(program: &Path, run: Option<RunMark>) -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        let helper = Helper::start(program, SUBCOMMAND, |command| {
            command.stdin(Stdio::from(OwnedFd::from(other)));
            command.envs(run.map(|mark| (CALLS_VARIABLE, mark.to_string())));
        })?;
        Ok(Self { _helper: helper, socket })
    }

    pub(super) fn ask(&self, call: &Call) -> io::Result<()> {
        wire::write(&self.socket, call)
    }

    /// The answer, if it begins within `limit`.
    pub(super) fn reply_within(&self, limit: Duration) -> io::Result<Option<Reply>> {
        if !is_readable(&self.socket, Instant::now() + limit)? {
            return Ok(None);
        }
        let gone = || io::Error::other("the process that calls ZFS has ended");
        wire::read(&self.socket)?.ok_or_else(gone).map(Some)
    }
}
