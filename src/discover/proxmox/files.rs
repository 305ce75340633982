//! Files of a configuration directory that may hold anything: each is read whole, or told why it cannot be.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What `pmxcfs` takes at most; a guest's file is a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What became of reading a file.
pub(super) enum Text {
    /// All of it.
    Read(String),
    /// There is none.
    Missing,
    /// It is there, and why it is of no use, with its name.
    Unreadable(String),
}

/// Reads the file at `path`: text, not empty, at most 1 MiB.
pub(super) fn text(path: &Path) -> Text {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Text::Missing,
        Ok(_) | Err(_) => {}
    }
    let shown = path.display();
    match read(path) {
        Ok(text) => Text::Read(text),
        Err(why) => Text::Unreadable(format!("{shown} {why}")),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    // Should it have become a FIFO since, opening it does not wait for a writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
        return Err("is larger than 1 MiB".to_owned());
    }
    if bytes.contains(&0) {
        return Err("holds bytes that are no text".to_owned());
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text)
}

/// The names in `directory`, sorted; those that are not UTF-8 are none of Proxmox VE's.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Whether a symbolic link points to nothing.
pub(super) fn dangles(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && fs::metadata(path).is_err()
}
