//! One call process: started when needed, killed and left behind when a call does not return.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::wire::{self, Call, Reply};
use crate::model::{CALLS_VARIABLE, RunMark};

/// The hidden subcommand of zhaul that is a call process.
pub const SUBCOMMAND: &str = "zfs-calls";

/// How long a process that was killed may take to end.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A call process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) socket: UnixStream,
}

impl Process {
    /// Starts `program`, which is zhaul. It has none of this process's descriptors: a call that never returns keeps neither the
    /// lock nor anybody's pipe open. It carries the mark of its `run`, so that the next run of the policy can wait for it.
    pub(super) fn start(program: &Path, run: Option<RunMark>) -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        let mut command = Command::new(program);
        // By name, for ps(1): the path may be /proc/self/exe.
        command.arg0("zhaul").arg(SUBCOMMAND).current_dir("/").process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(other))).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(run.map(|mark| (CALLS_VARIABLE, mark.to_string())));
        Ok(Self { child: command.spawn()?, socket })
    }

    pub(super) fn ask(&self, call: &Call) -> io::Result<()> {
        wire::write(&self.socket, call)
    }

    /// The answer, if it begins within `limit`.
    pub(super) fn reply_within(&self, limit: Duration) -> io::Result<Option<Reply>> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let gone = || io::Error::other("the process that calls ZFS has ended");
        wire::read(&self.socket)?.ok_or_else(gone).map(Some)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Between two calls nothing is lost; in a call that does not return it is the only way.
        drop(self.child.kill());
        let until = Instant::now() + END_LIMIT;
        while !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() >= until {
                tracing::debug!(
                    "process {} is in a call that does not return; it ends when its pool goes on",
                    self.child.id()
                );
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
