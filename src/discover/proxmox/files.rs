//! Files of a configuration directory that may hold anything: each is read whole, or the reason is reported.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::host::plain_file::read_bytes;

/// The result of reading a file.
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
    let bytes = read_bytes(path).map_err(|error| format!("cannot be read: {error}"))?;
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
