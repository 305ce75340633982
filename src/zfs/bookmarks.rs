//! Listing the bookmarks of one dataset with what identifies and orders them.

#![expect(unsafe_code, reason = "calls libzfs_core")]

use std::ptr;

use zfs_core_sys as sys;

use crate::model::{BookmarkName, DatasetName, Guid, PointName, Txg};

use super::error::{Cause, Error, Operation};
use super::library::Library;
use super::nvlist::{NvList, View, c_string};

/// One bookmark of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// Its name, without the dataset's.
    pub name: PointName,
    /// The snapshot's GUID.
    pub guid: Guid,
    /// The snapshot's place in the pool's history.
    pub createtxg: Txg,
    /// When the snapshot was taken, in seconds of Unix time.
    pub creation_secs: u64,
}

impl Library {
    /// Every bookmark of `dataset`, oldest first (`lzc_get_bookmarks`). Needs no privilege.
    pub fn bookmarks(&self, dataset: &DatasetName) -> Result<Vec<Bookmark>, Error> {
        let fail = |cause| Error::new(Operation::ListBookmarks, dataset, cause);
        let refused = |e: std::io::Error| fail(Cause::from_io(Operation::ListBookmarks, &e));

        let mut wanted = NvList::new(self.loaded()).map_err(refused)?;
        for property in ["guid", "createtxg", "creation"] {
            wanted.add_flag(property).map_err(refused)?;
        }
        let name = c_string(dataset.as_str()).map_err(refused)?;
        let mut out = ptr::null_mut();
        // SAFETY: the name is a C string and the list live for the call; `out` is a place for the result.
        let errno = unsafe { sys::lzc_get_bookmarks(name.as_ptr(), wanted.as_ptr(), &raw mut out) };
        // SAFETY: the call gives `out` away, or leaves it null.
        let out = unsafe { NvList::from_out(out, self.loaded()) };
        if errno != 0 {
            return Err(fail(Cause::from_errno(Operation::ListBookmarks, errno)));
        }
        let Some(out) = out else { return Ok(Vec::new()) };

        let mut bookmarks = Vec::new();
        for (name, value) in out.view().iter() {
            let name = name.to_string_lossy();
            let Ok(point) = PointName::new(&name) else {
                tracing::warn!("{dataset}#{name} is left out: zhaul does not take such a name");
                continue;
            };
            let bookmark = value.list().and_then(|properties| read(point, properties));
            let missing = || format!("the kernel gave no guid or createtxg of #{name}");
            bookmarks.push(bookmark.ok_or_else(|| fail(Cause::Unexpected(missing())))?);
        }
        bookmarks.sort_by_key(|bookmark| (bookmark.createtxg, bookmark.guid));
        Ok(bookmarks)
    }
}

impl Library {
    /// The GUID of one bookmark (`lzc_get_bookmark_props`). Needs no privilege.
    pub fn bookmark_guid(&self, bookmark: &BookmarkName) -> Result<Guid, Error> {
        let fail = |cause| Error::new(Operation::ListBookmarks, bookmark, cause);
        let name = c_string(&bookmark.to_string())
            .map_err(|e| fail(Cause::from_io(Operation::ListBookmarks, &e)))?;
        let mut out = ptr::null_mut();
        // SAFETY: the name is a C string that lives for the call; `out` is a place for the result.
        let errno = unsafe { sys::lzc_get_bookmark_props(name.as_ptr(), &raw mut out) };
        // SAFETY: the call gives `out` away, or leaves it null.
        let out = unsafe { NvList::from_out(out, self.loaded()) };
        if errno != 0 {
            return Err(fail(Cause::from_errno(Operation::ListBookmarks, errno)));
        }
        let guid = out.as_ref().and_then(|out| out.view().get("guid")?.list()?.get("value")?.uint64());
        guid.map(Guid).ok_or_else(|| fail(Cause::Unexpected("the kernel gave no guid".to_owned())))
    }
}

fn read(name: PointName, properties: View<'_>) -> Option<Bookmark> {
    let number = |property| properties.get(property)?.list()?.get("value")?.uint64();
    Some(Bookmark {
        name,
        guid: Guid(number("guid")?),
        createtxg: Txg(number("createtxg")?),
        creation_secs: number("creation")?,
    })
}
