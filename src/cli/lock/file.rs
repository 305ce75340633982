//! One real run at a time: a lock on a file, held by the kernel, so that it dies with its holder.
//!
//! flock(2) rather than a PID file: no check-then-write race, nothing stale after a crash or power loss. The file itself
//! stays; its content is a [`Note`] of the run that held it last. It is opened without following a symlink and is not taken
//! where somebody else could have planted it, since zhaul usually runs as root and writes into it.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{LockError, Note, mark};
use crate::model::RunMark;

/// How often the file may be replaced under our feet before we give up.
const ATTEMPTS_MAX: usize = 5;

/// The lock; released when dropped or when the process ends.
#[derive(Debug)]
pub(in crate::cli) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// The mark of the run that holds it.
    pub(in crate::cli) fn run_mark(&self) -> io::Result<RunMark> {
        mark::of(&self.path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock at `path` at once or not at all, and leaves `note` in it.
    pub(super) fn take(path: &Path, note: &Note) -> Result<Self, LockError> {
        let io = |cause: io::Error| LockError::Io { path: path.to_owned(), cause };
        for _ in 0..ATTEMPTS_MAX {
            let mut file = open(path)?;
            check(path, &file)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::Held {
                        path: path.to_owned(),
                        pid: Note::read(&file).map(|note| note.pid),
                    });
                }
                Err(errno) => return Err(io(errno.into())),
            }
            // Somebody may have removed the file between our open and our lock; then the lock is on nothing.
            let ours = file.metadata().map_err(io)?;
            let is_current = std::fs::symlink_metadata(path)
                .is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
            if is_current {
                write(&mut file, note).map_err(io)?;
                return Ok(Self { _file: file, path: path.to_owned() });
            }
        }
        Err(LockError::Unsafe { path: path.to_owned(), why: "it is replaced again and again" })
    }
}

fn open(path: &Path) -> Result<File, LockError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(File::from(fd)),
        Err(rustix::io::Errno::LOOP) => {
            Err(LockError::Unsafe { path: path.to_owned(), why: "it is a symbolic link" })
        }
        Err(errno) => Err(LockError::Io { path: path.to_owned(), cause: errno.into() }),
    }
}

/// Refuses what somebody else could have planted for us to lock and overwrite.
fn check(path: &Path, file: &File) -> Result<(), LockError> {
    let io = |cause: io::Error| LockError::Io { path: path.to_owned(), cause };
    let refuse = |why| Err(LockError::Unsafe { path: path.to_owned(), why });
    let found = file.metadata().map_err(io)?;
    if !found.is_file() {
        return refuse("it is not a regular file");
    }
    if found.nlink() > 1 {
        return refuse("it has more than one name (hard links)");
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = std::fs::metadata(parent).map_err(io)?;
    let is_world_writable = directory.mode() & 0o002 != 0;
    if is_world_writable && found.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user and is in a directory that everybody may write to");
    }
    Ok(())
}

fn write(file: &mut File, note: &Note) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(note.text()?.as_bytes())
}

#[cfg(test)]
mod tests;
