//! Temporary holds: keep snapshots from being destroyed while something depends on them, and cannot be left behind.

#![expect(unsafe_code, reason = "calls libzfs_core")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use zfs_core_sys as sys;

use crate::model::SnapshotName;

use super::error::{Cause, Entry, Error, Operation};
use super::library::{Library, Loaded};
use super::nvlist::{NvList, c_string};

/// Holds that last as long as this value. The kernel ties them to an open file, so they also end when the process dies,
/// whatever kills it; after a crash of the machine they are gone at the pool's next import.
///
/// Taking and releasing each wait for a transaction group: hold what belongs together in one call. Dropping the value
/// releases them by name before the file is closed: a child that is being started at that moment has the file open until
/// it calls exec, and what comes next would find the snapshots still held.
#[derive(Debug)]
pub struct Holds {
    device: File,
    /// Each snapshot with its tag, as `lzc_release` takes them; nothing where nothing is held.
    held: Option<NvList>,
    loaded: Loaded,
}

impl Holds {
    fn new(device: File, held: Option<NvList>, loaded: Loaded) -> Self {
        Self { device, held, loaded }
    }

    /// The open file that the kernel ties the holds to.
    pub fn file(&self) -> &File {
        &self.device
    }

    /// Releases the holds. A failure leaves them to the closing of the file: a user who may hold but not release
    /// (`zfs allow`) has no other way.
    fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut out = ptr::null_mut();
        // SAFETY: the list is live for the call and `out` a place for the result.
        let errno = unsafe { sys::lzc_release(held.as_ptr(), &raw mut out) };
        // SAFETY: the call gives `out` away, or leaves it null.
        drop(unsafe { NvList::from_out(out, self.loaded) });
        if errno != 0 {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::debug!("lzc_release: {error}; the holds end with their file");
        }
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        self.release();
    }
}

impl Library {
    /// Puts one temporary hold on each of `snapshots`, which must be in one pool and exist (`lzc_hold` with a cleanup
    /// file). Needs the `hold` permission.
    pub fn hold(&self, snapshots: &[SnapshotName]) -> Result<Holds, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let object = || match snapshots {
            [] => "nothing".to_owned(),
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        let fail = |cause| Error::new(Operation::Hold, object(), cause);
        let refused = |e: std::io::Error| fail(Cause::from_io(Operation::Hold, &e));

        let device = File::options().read(true).write(true).open("/dev/zfs").map_err(refused)?;
        if snapshots.is_empty() {
            return Ok(Holds::new(device, None, self.loaded()));
        }
        // Unlike any other of this or another run's, since two holds of one tag on one snapshot collide.
        let tag = format!("zhaul-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let new = || NvList::new(self.loaded()).map_err(refused);
        let (mut list, mut release, mut tags) = (new()?, new()?, new()?);
        tags.add_flag(&tag).map_err(refused)?;
        for snapshot in snapshots {
            list.add_text(&snapshot.to_string(), &tag).map_err(refused)?;
            release.add_list(&snapshot.to_string(), &tags).map_err(refused)?;
        }
        let mut out = ptr::null_mut();
        // SAFETY: the list is live for the call, the descriptor open, and `out` a place for the result.
        let errno = unsafe { sys::lzc_hold(list.as_ptr(), device.as_raw_fd(), &raw mut out) };
        // SAFETY: the call gives `out` away, or leaves it null.
        let out = unsafe { NvList::from_out(out, self.loaded()) };
        // A snapshot that does not exist is named there even where the call as a whole succeeds.
        let entries = out.iter().flat_map(|errors| errors.view().iter());
        let entries = entries.filter_map(|(name, value)| {
            Some(Entry {
                name: name.to_string_lossy().into_owned(),
                cause: Cause::from_errno(Operation::Hold, value.int32()?),
            })
        });
        if let Some(error) = Error::of_entries(Operation::Hold, entries.collect(), 0) {
            return Err(error);
        }
        if errno != 0 {
            return Err(fail(Cause::from_errno(Operation::Hold, errno)));
        }
        Ok(Holds::new(device, Some(release), self.loaded()))
    }

    /// The holds on `snapshot`: tag, and since when in seconds of Unix time (`lzc_get_holds`). Needs no privilege.
    pub fn holds(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, u64>, Error> {
        let fail = |cause| Error::new(Operation::ListHolds, snapshot, cause);
        let name =
            c_string(&snapshot.to_string()).map_err(|e| fail(Cause::from_io(Operation::ListHolds, &e)))?;
        let mut out = ptr::null_mut();
        // SAFETY: the name is a C string; `out` is a place for the result.
        let errno = unsafe { sys::lzc_get_holds(name.as_ptr(), &raw mut out) };
        // SAFETY: the call gives `out` away, or leaves it null.
        let out = unsafe { NvList::from_out(out, self.loaded()) };
        if errno != 0 {
            return Err(fail(Cause::from_errno(Operation::ListHolds, errno)));
        }
        let holds = out.iter().flat_map(|holds| holds.view().iter());
        let holds =
            holds.filter_map(|(tag, since)| Some((tag.to_string_lossy().into_owned(), since.uint64()?)));
        Ok(holds.collect())
    }
}
