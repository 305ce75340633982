//! One command at a time restores a guest or dataset, or gives its restore up.
//!
//! A restore of hours has not the lock of its policy: runs of what else there is take place meanwhile. So it locks what it
//! restores.

use std::fs;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::place::Directory;
use super::{Lock, LockError, Note};
use crate::model::{DatasetName, GuestId};

/// What a restore makes.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Restored<'a> {
    /// A guest of the Proxmox VE whose configuration is in this directory: its file.
    Guest(GuestId, &'a Path),
    /// A dataset by its future name.
    Dataset(DatasetName),
    /// What a drill restores, by the name that it would have.
    Drill(DatasetName),
}

impl Restored<'_> {
    fn key(&self) -> String {
        match self {
            Self::Guest(id, directory) => format!("guest {id} {}", directory.display()),
            // One key: --to may name the same.
            Self::Dataset(dataset) | Self::Drill(dataset) => dataset.to_string(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Guest(id, _) => format!("guest {id}"),
            Self::Dataset(dataset) | Self::Drill(dataset) => dataset.to_string(),
        }
    }
}

/// The locks of one command; free again when dropped, or when the process ends.
#[derive(Debug)]
pub(in crate::cli) struct Alone {
    locks: Vec<Lock>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        for lock in &self.locks {
            // Still locked: who has opened it meanwhile sees that it is gone, and makes another.
            fs::remove_file(lock.path()).ok();
        }
    }
}

/// Whether another command restores this at the moment, or gives its restore up. Nothing is created.
pub(in crate::cli) fn is_under_way(restored: &Restored<'_>) -> bool {
    let Ok(directory) = Directory::open() else { return false };
    let Ok(file) = fs::File::open(directory.restore_file(&restored.key())) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

/// Locks all of `restored`, at once or not at all. Where there is no place for locks, a restore is not stopped by that.
pub(in crate::cli) fn alone(restored: &[Restored<'_>]) -> Result<Alone, LockError> {
    let mut alone = Alone { locks: Vec::new() };
    let directory = match Directory::open() {
        Ok(directory) => directory,
        Err(error) => {
            tracing::debug!("restores of the same at once are not noticed: {error}");
            return Ok(alone);
        }
    };
    let note = Note { pid: std::process::id(), policy: None, example: String::new(), datasets: Vec::new() };
    for one in restored {
        match Lock::take(&directory.restore_file(&one.key()), &note) {
            Ok(lock) => alone.locks.push(lock),
            Err(LockError::Held { pid, .. }) => {
                let what = one.words();
                return Err(match one {
                    Restored::Drill(_) => LockError::Drilling { what, pid },
                    Restored::Guest(..) | Restored::Dataset(_) => LockError::Restoring { what, pid },
                });
            }
            Err(error) => tracing::warn!("restores of the same at once are not noticed: {error}"),
        }
    }
    Ok(alone)
}
