//! The directory for the locks of policies that name none: no other user can write to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{LockError, Note};

/// The directory for root, on a file system that a reboot empties.
const OF_ROOT: &str = "/run/zhaul";

/// The directory, checked and open.
#[derive(Debug)]
pub(in crate::cli) struct Directory {
    path: PathBuf,
    file: File,
}

impl Directory {
    /// Opens this user's directory; makes it if it is missing.
    pub(in crate::cli) fn open() -> Result<Self, LockError> {
        let path = if rustix::process::geteuid().is_root() {
            PathBuf::from(OF_ROOT)
        } else {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
            PathBuf::from(runtime.ok_or(LockError::NoDirectory)?).join("zhaul")
        };
        Self::open_at(path)
    }

    pub(super) fn open_at(path: PathBuf) -> Result<Self, LockError> {
        let io = |cause: io::Error| LockError::Io { path: path.clone(), cause };
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map(File::from);
        let file = file.map_err(|errno| io(errno.into()))?;
        let found = file.metadata().map_err(io)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(LockError::Unsafe { path, why: "the directory belongs to another user" });
        }
        if found.mode() & 0o022 != 0 {
            return Err(LockError::Unsafe { path, why: "other users may write to the directory" });
        }
        Ok(Self { path, file })
    }

    /// Waits until no other run chooses its lock here; released when dropped.
    pub(super) fn lock(&self) -> Result<File, LockError> {
        let io = |cause: io::Error| LockError::Io { path: self.path.clone(), cause };
        // A description of its own: flock(2) belongs to it, not to the descriptor.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, ".", flags, Mode::empty()).map(File::from);
        let file = file.map_err(|errno| io(errno.into()))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|errno| io(errno.into()))?;
        Ok(file)
    }

    /// The lock file of the policy that `note` speaks of: the same for every run of it.
    pub(super) fn file_of(&self, note: &Note) -> PathBuf {
        let (stem, identity) = match &note.policy {
            Some(file) => {
                (file.file_stem().unwrap_or_default().to_string_lossy(), format!("{}", file.display()))
            }
            None => ("flags".into(), format!("{:?}", note.datasets)),
        };
        let stem: String =
            stem.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
        self.path.join(format!("{stem}-{:012x}.lock", hash(&identity)))
    }

    /// The lock file of a restore: no policy's.
    pub(super) fn restore_file(&self, key: &str) -> PathBuf {
        self.path.join(format!("restore-{:012x}.restore", hash(key)))
    }

    /// The lock files here.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let paths = std::fs::read_dir(&self.path)?.map(|entry| entry.map(|entry| entry.path()));
        let paths: io::Result<Vec<PathBuf>> = paths.collect();
        Ok(paths?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "lock")).collect())
    }

    /// Where it is.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }
}

fn hash(text: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(6).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte))
}
