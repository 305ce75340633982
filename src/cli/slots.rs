//! How many agents may run at once: one file for each, locked by the kernel, so that it is free again when its holder dies.

use std::fs::File;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::lock::Directory;
use crate::model::DatasetName;

/// A place among the agents with the same roots; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _file: Option<File>,
}

/// Takes one of `count` places; `None` if all are taken. Where there is no directory for the locks, nothing is counted.
pub(super) fn take(roots: &[DatasetName], count: u32) -> Option<Slot> {
    let directory = match Directory::open() {
        Ok(directory) => directory,
        Err(error) => {
            tracing::warn!("sessions are not counted: {error}");
            return Some(Slot { _file: None });
        }
    };
    (0..count).find_map(|number| {
        let file = open(&directory, roots, &number.to_string())?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Slot { _file: Some(file) })
    })
}

/// What all agents with the same roots lock for a change that the target's state has to allow; `None` where there is no
/// directory for it.
pub(super) fn changes(roots: &[DatasetName]) -> Option<File> {
    open(&Directory::open().ok()?, roots, "changes")
}

fn open(directory: &Directory, roots: &[DatasetName], what: &str) -> Option<File> {
    let identity: Vec<&str> = roots.iter().map(DatasetName::as_str).collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, identity.join("\0").as_bytes());
    let hash = digest.as_ref().iter().take(6).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    let path = directory.path().join(format!("agent-{hash:012x}.{what}"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Some(File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).ok()?))
}
