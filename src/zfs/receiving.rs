//! Whether a `zfs receive` into a dataset is under way.

#![expect(unsafe_code, reason = "calls libzfs_core")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr;

use zfs_core_sys as sys;

use crate::model::DatasetName;

use super::library::Library;
use super::nvlist::c_string;

impl Library {
    /// Whether a `zfs receive` into `dataset`, which must exist, is under way. One that broke off and can be resumed is not.
    ///
    /// The received data is in a hidden dataset, `DATASET/%recv`, which belongs to the receive while it runs. Then, and
    /// only then, a stream of that dataset (`zfs send --saved`, here into a pipe without a reader) is refused with
    /// EBUSY.
    pub(super) fn is_being_received(&self, dataset: &DatasetName) -> bool {
        let hidden = format!("{dataset}/%recv");
        self.exists(&hidden)
            && self.send_saved(&hidden).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
    }

    fn send_saved(&self, hidden: &str) -> io::Result<()> {
        let _ = self.loaded();
        let name = c_string(hidden)?;
        let (reader, writer) = io::pipe()?;
        drop(reader);
        let flags = sys::lzc_send_flags::LZC_SEND_FLAG_SAVED;
        // SAFETY: the name is a C string and the descriptor open for the call.
        let errno = unsafe { sys::lzc_send(name.as_ptr(), ptr::null(), writer.as_raw_fd(), flags) };
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    }
}
