//! Two policies whose source datasets overlap and whose snapshots bear names of one form would each prune what the other
//! needs. Every run leaves a note in its lock; a later run of another policy reads the policy file that the note names, as
//! it is then, so a policy that was changed or removed since does not count.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::place::Directory;
use super::{LockError, Note};
use crate::model::{DatasetName, NameFormat, PointName};
use crate::policy::Policy;

/// Refuses a policy that shares snapshots with another one whose lock is in `directory`; `own` is its own lock.
pub(super) fn check(directory: &Directory, own: &Path, policy: &Policy) -> Result<(), LockError> {
    let files = directory.files();
    let files = files.map_err(|cause| LockError::Io { path: directory.path().to_owned(), cause })?;
    for path in files.into_iter().filter(|path| path != own) {
        let Ok(file) = File::open(&path) else { continue };
        let Some(note) = Note::read(&file) else { continue };
        match &note.policy {
            Some(rival) => {
                let text = std::fs::read_to_string(rival).unwrap_or_default();
                // A policy that cannot be read cannot run either.
                let Ok(other) = Policy::parse(&text, &rival.display().to_string()) else { continue };
                if let Some(dataset) = shared(policy, &other) {
                    return Err(LockError::Rival { rival: rival.clone(), dataset });
                }
            }
            // Flags last as long as their run.
            None if is_held(&file) && overlaps(policy, &note) => {
                return Err(LockError::Held { path: PathBuf::from(&path), pid: Some(note.pid) });
            }
            None => {}
        }
    }
    Ok(())
}

/// A root of one policy that the other one serves too, where each would take the other's snapshots for its own.
fn shared(a: &Policy, b: &Policy) -> Option<DatasetName> {
    if !names_alike(&a.name_format, &b.name_format) {
        return None;
    }
    let served = |root: &DatasetName, by: &Policy| {
        by.roots.iter().any(|other| root.is_within(&other.dataset)) && !by.is_excluded(root)
    };
    let roots = |one: &Policy| one.roots.iter().map(|root| root.dataset.clone()).collect::<Vec<_>>();
    let inner = roots(a).into_iter().find(|root| served(root, b));
    inner.or_else(|| roots(b).into_iter().find(|root| served(root, a)))
}

fn overlaps(policy: &Policy, note: &Note) -> bool {
    let is_alike = PointName::new(&note.example).is_ok_and(|name| policy.name_format.is_own(&name));
    let nested = |a: &DatasetName, b: &DatasetName| a.is_within(b) || b.is_within(a);
    is_alike
        && note.datasets.iter().any(|theirs| policy.roots.iter().any(|root| nested(&root.dataset, theirs)))
}

/// Whether a snapshot that one of them names is own to the other.
fn names_alike(a: &NameFormat, b: &NameFormat) -> bool {
    let is_own =
        |by: &NameFormat, of: &NameFormat| of.name(Timestamp::now()).is_ok_and(|name| by.is_own(&name));
    is_own(a, b) || is_own(b, a)
}

fn is_held(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_err()
}

#[cfg(test)]
mod tests;
