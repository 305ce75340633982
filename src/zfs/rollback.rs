//! Rolling a dataset back to its newest snapshot.

#![expect(unsafe_code, reason = "calls libzfs_core")]

use zfs_core_sys as sys;

use crate::model::SnapshotName;

use super::error::{Cause, Error, Operation};
use super::library::Library;
use super::nvlist::c_string;

impl Library {
    /// Rolls the dataset of `to` back to this snapshot (`lzc_rollback_to`). The kernel refuses where a snapshot or a bookmark
    /// is newer ([`Cause::NotNewest`]). `zfs rollback` looks for those itself, and destroys what is made between its look and
    /// its call.
    pub fn roll_back(&self, to: &SnapshotName) -> Result<(), Error> {
        let _ = self.loaded();
        let failed = |cause| Error::new(Operation::RollBack, to, cause);
        let text =
            |name: &str| c_string(name).map_err(|error| failed(Cause::from_io(Operation::RollBack, &error)));
        let (dataset, snapshot) = (text(to.dataset().as_str())?, text(&to.to_string())?);
        // SAFETY: both names are C strings that live for the call.
        let errno = unsafe { sys::lzc_rollback_to(dataset.as_ptr(), snapshot.as_ptr()) };
        if errno == 0 { Ok(()) } else { Err(failed(Cause::from_errno(Operation::RollBack, errno))) }
    }
}
