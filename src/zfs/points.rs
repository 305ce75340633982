//! Taking and destroying snapshots and bookmarks, many in one call, through libzetta.
//!
//! Only those of libzetta's calls are used that run in process and are sound; `vendor/openzfs/README.md` has the list.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::PathBuf;

use libzetta::libnv::nvpair::Value;
use libzetta::zfs::{BookmarkRequest, DestroyTiming, ZfsEngine as _};

use crate::model::{BookmarkName, DatasetName, SnapshotName};

use super::error::{Cause, Entry, Error, Operation};
use super::library::Library;

/// The kernel's key for how many failures it left out.
const MORE_ERRORS: &str = "N_MORE_ERRORS";

impl Library {
    /// Takes all `snapshots` in one transaction group, each with the user properties `properties`. They must be in one
    /// pool and of different datasets. All are taken or none.
    ///
    /// None is taken of a dataset that is being received into ([`Cause::BeingReceived`]), although ZFS would: the receive
    /// either destroys the snapshot (`-F`) or fails because of it.
    pub fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        self.check_not_received(Operation::Snapshot, snapshots.iter().map(|name| (name, name.dataset())))?;
        let properties: HashMap<_, _> = properties.clone().into_iter().collect();
        self.lzc()
            .snapshot(&paths(snapshots), Some(properties))
            .map_err(|e| error(Operation::Snapshot, snapshots, e))
    }

    /// Makes bookmarks, each of a snapshot of the same dataset. They must be in one pool. All are made or none, and none in a
    /// dataset that is being received into: a forced receive destroys the snapshot and leaves the bookmark.
    pub fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), Error> {
        if bookmarks.is_empty() {
            return Ok(());
        }
        self.check_not_received(
            Operation::Bookmark,
            bookmarks.iter().map(|(bookmark, _)| (bookmark, bookmark.dataset())),
        )?;
        let requests: Vec<_> =
            bookmarks.iter().map(|(bookmark, of)| BookmarkRequest::new(path(of), path(bookmark))).collect();
        let names: Vec<_> = bookmarks.iter().map(|(bookmark, _)| bookmark).collect();
        self.lzc().bookmark(&requests).map_err(|e| error(Operation::Bookmark, &names, e))
    }

    /// Destroys all `snapshots`, which must be in one pool, or none: the error's entries name those that have holds
    /// ([`Cause::Busy`]) or clones ([`Cause::Cloned`]). One that is gone already is no error. Never deferred: a deferred
    /// destroy would happen at somebody else's release.
    pub fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        self.lzc()
            .destroy_snapshots(&paths(snapshots), DestroyTiming::RightNow)
            .map_err(|e| error(Operation::DestroySnapshots, snapshots, e))
    }

    /// Destroys all `bookmarks`, which must be in one pool. One that is gone already is no error.
    pub fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Result<(), Error> {
        if bookmarks.is_empty() {
            return Ok(());
        }
        self.lzc()
            .destroy_bookmarks(&paths(bookmarks))
            .map_err(|e| error(Operation::DestroyBookmarks, bookmarks, e))
    }

    fn check_not_received<'a, T: Display>(
        &self,
        operation: Operation,
        names: impl Iterator<Item = (T, &'a DatasetName)>,
    ) -> Result<(), Error> {
        let received = names.filter(|(_, dataset)| self.is_being_received(dataset));
        let entry = |(name, _): (T, _)| Entry { name: name.to_string(), cause: Cause::BeingReceived };
        Error::of_entries(operation, received.map(entry).collect(), 0).map_or(Ok(()), Err)
    }

    /// Whether a dataset or snapshot of this full name exists; not for bookmarks (`lzc_exists`).
    pub fn exists(&self, name: &str) -> bool {
        !name.contains('\0') && self.lzc().exists(name).unwrap_or(false)
    }
}

/// libzetta takes names as paths.
fn path(name: &impl Display) -> PathBuf {
    PathBuf::from(name.to_string())
}

fn paths(names: &[impl Display]) -> Vec<PathBuf> {
    names.iter().map(path).collect()
}

/// Puts libzetta's error into our words.
fn error(operation: Operation, names: &[impl Display], error: libzetta::zfs::Error) -> Error {
    use libzetta::zfs::Error as Zetta;
    let cause = if let Zetta::MultiOpError(map) = error {
        match of_map(operation, map) {
            Some(error) => return error,
            None => Cause::Unexpected("the kernel names nothing that failed".to_owned()),
        }
    } else if let Zetta::Io(error) = error {
        Cause::from_io(operation, &error)
    } else {
        Cause::Unexpected(format!("libzetta refused: {error:?}"))
    };
    let object = match names {
        [] => "nothing".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    Error::new(operation, object, cause)
}

fn of_map(operation: Operation, map: HashMap<String, Value>) -> Option<Error> {
    let mut unlisted_count = 0;
    let mut entries = Vec::new();
    for (name, value) in map {
        let Value::Int32(errno) = value else { continue };
        if name == MORE_ERRORS {
            unlisted_count = u32::try_from(errno).unwrap_or(0);
        } else {
            let cause = Cause::from_errno(operation, errno);
            entries.push(Entry { name, cause });
        }
    }
    Error::of_entries(operation, entries, unlisted_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_error_list_becomes_entries() {
        let map = HashMap::from([
            ("p/a@1".to_owned(), Value::Int32(libc::EBUSY)),
            ("p/b@1".to_owned(), Value::Int32(libc::EEXIST)),
            (MORE_ERRORS.to_owned(), Value::Int32(7)),
        ]);
        let zetta = libzetta::zfs::Error::MultiOpError(map);
        let error = error(Operation::DestroySnapshots, &["p/a@1", "p/b@1", "p/c@1"], zetta);
        let causes: Vec<_> = error.entries().iter().map(|e| (&*e.name, &e.cause)).collect();
        assert_eq!(causes, [("p/a@1", &Cause::Busy), ("p/b@1", &Cause::Cloned)]);
        assert_eq!(error.unlisted_count(), 7);
    }

    #[test]
    fn a_call_that_fails_as_a_whole_has_no_entries() {
        let zetta = std::io::Error::from_raw_os_error(libc::EXDEV).into();
        let error = error(Operation::Snapshot, &["p/a@1", "q/a@1"], zetta);
        assert_eq!(*error.cause(), Cause::DifferentPools);
        assert_eq!(error.entries(), []);
        assert_eq!(error.to_string(), "cannot take snapshot p/a@1 and 1 more");
    }
}
