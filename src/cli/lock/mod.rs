//! One real run of a policy at a time, and no two policies that would prune each other's snapshots.
//!
//! Each policy has a lock of its own, so two cron lines of one minute both run. Unless the policy names a file, the lock
//! is in a directory that only the user who runs zhaul can write to: `/run/zhaul` for root, `$XDG_RUNTIME_DIR/zhaul`
//! for other users. The other policies that the locks there name are checked before a lock is taken.

mod file;
mod mark;
mod place;
mod restores;
mod rivals;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::exit_code::{Code, Failure};
use crate::model::DatasetName;
use crate::policy::Policy;
use crate::stream::Cancel;

pub(super) use file::Lock;
pub(super) use place::Directory;
pub(super) use restores::{Alone, Restored, alone, is_under_way};

/// How often a lock that is held is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// No note is longer: more than that is not read.
const NOTE_BYTES_MAX: u64 = 1 << 20;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// A run is active.
    #[error(
        "another run is active{}: it holds {}; next: wait for it to end, or start this one with --wait",
        pid_text(*pid), path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, if it could be read.
        pid: Option<u32>,
    },
    /// A restore of the same is under way, or is being given up.
    #[error(
        "another command{} is restoring {what}, or giving its restore up: nothing was done\n  \
         next: wait for it to end, or interrupt it{}; then the same command again",
        pid_text(*pid), pid.map(|pid| format!(" (`kill -INT {pid}`)")).unwrap_or_default()
    )]
    Restoring {
        /// A guest or dataset.
        what: String,
        /// The other command's process, if it could be read.
        pid: Option<u32>,
    },
    /// A drill of the same is under way.
    #[error(
        "another drill{} of the same is under way, and uses {what}: nothing was done\n  \
         next: wait for it to end, or interrupt it{}; then the same command again",
        pid_text(*pid), pid.map(|pid| format!(" (`kill -INT {pid}`)")).unwrap_or_default()
    )]
    Drilling {
        /// The name that its restore would have.
        what: String,
        /// The other command's process, if it could be read.
        pid: Option<u32>,
    },
    /// Another policy prunes the same snapshots.
    #[error(
        "{dataset} is also backed up by the policy {}, and both would prune each other's snapshots; \
         next: give the policies different datasets, exclude {dataset} in one of them, or give one another 'name'",
        rival.display()
    )]
    Rival {
        /// The file of the other policy.
        rival: PathBuf,
        /// A dataset of both.
        dataset: DatasetName,
    },
    /// The file could have been planted.
    #[error("cannot use the lock file {}: {why}; next: remove it, or set 'lock' in the policy", path.display())]
    Unsafe {
        /// The lock file, or its directory.
        path: PathBuf,
        /// The fault of the file or directory.
        why: &'static str,
    },
    /// There is no directory for it.
    #[error(
        "no lock file: XDG_RUNTIME_DIR is not set, and only root may write to /run; next: set 'lock' in the policy"
    )]
    NoDirectory,
    /// The system refused.
    #[error("cannot open the lock file {}; next: create its directory, or set 'lock' in the policy", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
    /// INT, TERM or HUP while it waited.
    #[error("interrupted while waiting for another run; nothing was changed")]
    Interrupted,
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let code = match error {
            LockError::Held { .. } | LockError::Restoring { .. } | LockError::Drilling { .. } => Code::Busy,
            LockError::Interrupted => Code::Interrupted,
            LockError::Rival { .. }
            | LockError::Unsafe { .. }
            | LockError::NoDirectory
            | LockError::Io { .. } => Code::Usage,
        };
        Self { code, error: error.into() }
    }
}

/// The contents of a lock file, about the run that holds it or held it last: for people, and for other policies' runs.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The process.
    pid: u32,
    /// The policy file; `None` for a policy from flags alone.
    policy: Option<PathBuf>,
    /// A snapshot's name as the policy makes it.
    example: String,
    /// Its source roots.
    datasets: Vec<DatasetName>,
}

impl Note {
    fn new(policy: &Policy, file: Option<&Path>) -> Self {
        Self {
            pid: std::process::id(),
            policy: file.map(Path::to_owned),
            example: policy
                .name_format
                .name(Timestamp::now())
                .map(|name| name.to_string())
                .unwrap_or_default(),
            datasets: policy.roots.iter().map(|root| root.dataset.clone()).collect(),
        }
    }

    fn text(&self) -> io::Result<String> {
        toml::to_string(self).map_err(io::Error::other)
    }

    fn read(file: &File) -> Option<Self> {
        let mut text = String::new();
        file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
        toml::from_str(&text).ok()
    }
}

/// Takes the lock of `policy`, which was read from `file`. Where another run holds it, waits for it as long as `deadline`
/// says, or until `cancel` is requested.
pub(super) fn take(
    policy: &Policy,
    file: Option<&Path>,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<Lock, LockError> {
    let started = Instant::now();
    let note = Note::new(policy, file);
    let mut is_first = true;
    loop {
        let taken = match &policy.lock {
            Some(path) => Lock::take(path, &note),
            None => take_default(policy, &note),
        };
        match taken {
            Err(held @ LockError::Held { .. }) => {
                if started.elapsed() >= deadline {
                    return Err(held);
                }
                if is_first {
                    tracing::info!("waiting: {held}");
                }
            }
            other => return other,
        }
        is_first = false;
        std::thread::sleep(RETRY_PAUSE);
        if cancel.is_requested() {
            return Err(LockError::Interrupted);
        }
    }
}

fn take_default(policy: &Policy, note: &Note) -> Result<Lock, LockError> {
    let directory = Directory::open()?;
    // Held until the note is written: of two rivals that start at once, one sees the other's note.
    let _guard = directory.lock()?;
    let path = directory.file_of(note);
    rivals::check(&directory, &path, policy)?;
    Lock::take(&path, note)
}
