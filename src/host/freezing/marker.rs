//! A file for each guest that is frozen: held by the process that froze it, and left over where that was killed, too.
//!
//! It is no state of a backup: it is on a file system that a reboot empties, as that thaws all guests.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::model::GuestId;

const PREFIX: &str = "freeze-";
/// The beginning of what it says while the guest may be frozen; the id of the boot follows.
const FROZEN: &str = "frozen ";

/// The file of a guest, locked.
#[derive(Debug)]
pub(super) struct Marker {
    file: File,
}

impl Marker {
    /// Locks the file of `guest`; `None` where another process has it, and so the guest. Fails where another user has put it
    /// there.
    pub(super) fn lock(directory: &Path, guest: GuestId) -> io::Result<Option<Self>> {
        let path = directory.join(format!("{PREFIX}{guest}"));
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.custom_flags(flags.cast_signed()).open(&path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() || found.nlink() != 1 {
            return Err(io::Error::other(format!("{} is not zhaul's", path.display())));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a process that was killed has left the guest frozen, as far as is known: a reboot thaws all. Fails where the file
    /// is of something else.
    pub(super) fn is_left_over(&mut self) -> io::Result<bool> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(128).read_to_string(&mut text)?;
        match text.strip_prefix(FROZEN) {
            None if text.is_empty() => Ok(false),
            None => Err(io::Error::other("a file that says which guest is frozen has other contents")),
            Some(boot) => Ok(boot.trim() == boot_id()),
        }
    }

    /// Notes that the guest may be frozen from now on.
    pub(super) fn set(&mut self) -> io::Result<()> {
        self.clear()?;
        writeln!(self.file, "{FROZEN}{}", boot_id())
    }

    /// Notes that it is not frozen.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// Whether the guest may be frozen, whatever process holds its file.
pub(super) fn is_set(directory: &Path, guest: GuestId) -> bool {
    std::fs::symlink_metadata(directory.join(format!("{PREFIX}{guest}"))).is_ok_and(|found| {
        found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.len() > 0
    })
}

/// Differs after each boot; empty where the kernel does not tell.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The guests that have a file, frozen or not.
pub(super) fn guests(directory: &Path) -> io::Result<Vec<GuestId>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = PathBuf::from(entry?.file_name());
        let guest = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(GuestId::parse);
        found.extend(guest);
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_process_holds_says_whether_its_guest_was_left_frozen() {
        let directory = tempfile::tempdir().unwrap();
        let (path, guest) = (directory.path(), GuestId(100));
        assert_eq!(guests(path).unwrap(), []);
        let mut marker = Marker::lock(path, guest).unwrap().unwrap();
        assert!(!marker.is_left_over().unwrap());
        marker.set().unwrap();
        assert!(Marker::lock(path, guest).unwrap().is_none(), "it is held");
        drop(marker);
        let mut marker = Marker::lock(path, guest).unwrap().unwrap();
        assert!(marker.is_left_over().unwrap());
        marker.clear().unwrap();
        drop(marker);
        assert!(!Marker::lock(path, guest).unwrap().unwrap().is_left_over().unwrap());
        let file = path.join("freeze-100");
        std::fs::write(&file, "frozen in another boot\n").unwrap();
        assert!(!Marker::lock(path, guest).unwrap().unwrap().is_left_over().unwrap());
        std::fs::write(&file, "notes of an admin\n").unwrap();
        assert!(Marker::lock(path, guest).unwrap().unwrap().is_left_over().is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "notes of an admin\n");
        std::fs::hard_link(&file, path.join("another")).unwrap();
        assert!(Marker::lock(path, guest).is_err());
        std::fs::remove_file(path.join("another")).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &file).unwrap();
        assert!(Marker::lock(path, guest).is_err() && !is_set(path, guest));
        std::fs::remove_file(&file).unwrap();
        Marker::lock(path, guest).unwrap().unwrap();
        std::fs::write(path.join("other"), "").unwrap();
        assert_eq!(guests(path).unwrap(), [guest]);
    }
}
