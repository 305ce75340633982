//! Processes that do for this one what may never return, and are left behind then.
//!
//! A thread that is stuck in the kernel (a pool that hangs, a FUSE file system whose server does) keeps its process alive, with
//! the lock, whatever signal it gets. So such work is done by another zhaul.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// This very file, also where a newer one has taken its name.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long a process that was killed may take to end.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Another zhaul. It is killed when this is dropped, and left behind where even that does not end it.
#[derive(Debug)]
pub struct Helper {
    child: Child,
}

impl Helper {
    /// Starts `program`, which is zhaul, with a hidden `subcommand`; `set` says the rest. It has none of this process's
    /// descriptors but those that `set` gives it: one that never ends keeps neither the lock nor anybody's pipe open.
    pub(super) fn start(
        program: &Path,
        subcommand: &str,
        set: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        // By name, for ps(1).
        command.arg0("zhaul").arg(subcommand).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        set(&mut command);
        Ok(Self { child: command.spawn()? })
    }

    /// The same with this program, of which the output is read.
    pub fn with_output(subcommand: &str, set: impl FnOnce(&mut Command)) -> io::Result<Self> {
        Self::start(Path::new(THIS_PROGRAM), subcommand, |command| {
            command.stdout(Stdio::piped());
            set(command);
        })
    }

    /// The output until the process ends, at most `bytes_max`; an error where that takes longer than `limit`, or it
    /// fails.
    pub fn read_within(mut self, limit: Duration, bytes_max: usize) -> io::Result<Vec<u8>> {
        let until = Instant::now() + limit;
        let mut written = Vec::new();
        let mut output = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut piece = vec![0; 64 << 10];
        loop {
            if !is_readable(&output, until)? {
                return Err(io::Error::other(format!("did not end within {} s", limit.as_secs())));
            }
            match output.read(&mut piece)? {
                0 => break,
                count => written.extend(piece.get(..count).unwrap_or_default()),
            }
            if written.len() > bytes_max {
                return Err(io::Error::other(format!("gave more than {bytes_max} bytes")));
            }
        }
        let status = self.child.wait()?;
        if status.success() { Ok(written) } else { Err(io::Error::other(format!("ended with {status}"))) }
    }
}

/// Whether there is something to read, or the end, before `until`.
pub(super) fn is_readable(from: &impl AsFd, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&timeout)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.child.kill());
        let until = Instant::now() + END_LIMIT;
        while !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() >= until {
                tracing::debug!("process {} is in a call that does not return", self.child.id());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
