//! The file of a guest during a rollback: locked as Proxmox VE locks it, and marked, so that the same command
//! continues.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::{GuestFiles, locked, replace};
use crate::host::plain_file::read_text;
use crate::model::{GuestId, GuestKind};

/// The first line of a file whose guest is being rolled back.
const MARK: &str = "#zhaul rollback, not complete";
/// The first line once the disks are exchanged and the rest is written: only the lock is left to be taken off.
const EXCHANGED: &str = "#zhaul rollback, disks exchanged";
const LOCK: &str = "lock: rollback";

/// A guest's file on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentFile {
    /// Which kind of guest.
    pub kind: GuestKind,
    /// Its text, without what [`GuestFiles::begin_rollback`] has added.
    pub text: String,
    /// Whether a rollback was begun and not ended.
    pub is_begun: bool,
    /// Whether the disks are exchanged, so that only the lock is left to be taken off.
    pub is_exchanged: bool,
    /// The word of its `lock:`, if that is not the rollback's own.
    pub lock: Option<String>,
}

impl GuestFiles {
    /// The guest's file on this node, if it has one.
    pub fn current(&self, id: GuestId) -> io::Result<Option<CurrentFile>> {
        for kind in [GuestKind::Machine, GuestKind::Container] {
            match read_text(&self.path(kind, id)) {
                Ok(text) => return Ok(Some(parse(kind, &text))),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Locks the guest, so that no one starts or changes it meanwhile. The file as it was stays beside it.
    pub fn begin_rollback(&self, kind: GuestKind, id: GuestId) -> io::Result<()> {
        locked(kind, id, || {
            let path = self.path(kind, id);
            let file = parse(kind, &read_text(&path)?);
            if file.is_begun {
                return Ok(());
            }
            if let Some(lock) = file.lock {
                return Err(io::Error::other(format!("{} is locked ({lock})", path.display())));
            }
            replace(&before(&path), &file.text)?;
            replace(&path, &format!("{MARK}\n{}", with_lock(&file.text)))
        })
    }

    /// Writes the file as it is to be, still locked: the disks are exchanged. See [`finish_rollback`](Self::finish_rollback).
    pub fn hold_rollback(
        &self,
        kind: GuestKind,
        id: GuestId,
        text: &str,
        firewall: Option<&str>,
    ) -> io::Result<()> {
        self.finish_rollback(kind, id, &format!("{EXCHANGED}\n{}", with_lock(text)), firewall)
    }

    /// Writes the file as it is to be, and takes the lock off. `firewall` replaces the guest's firewall file, which stays
    /// beside it.
    pub fn finish_rollback(
        &self,
        kind: GuestKind,
        id: GuestId,
        text: &str,
        firewall: Option<&str>,
    ) -> io::Result<()> {
        locked(kind, id, || {
            let path = self.path(kind, id);
            if !parse(kind, &read_text(&path)?).is_begun {
                return Err(io::Error::other(format!(
                    "{} was changed by somebody else meanwhile",
                    path.display()
                )));
            }
            if let Some(firewall) = firewall {
                self.replace_firewall(id, firewall)?;
            }
            replace(&path, text)
        })
    }

    fn replace_firewall(&self, id: GuestId, text: &str) -> io::Result<()> {
        let path = self.directory.join("firewall").join(format!("{id}.fw"));
        match read_text(&path) {
            Ok(present) if present == text => return Ok(()),
            Ok(present) => replace(&before(&path), &present)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
            }
            Err(error) => return Err(error),
        }
        replace(&path, text)
    }
}

/// Where a file stays that is replaced. Proxmox VE takes only `ID.conf` and `ID.fw` for files of guests.
fn before(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-rollback");
    name.into()
}

fn parse(kind: GuestKind, text: &str) -> CurrentFile {
    let is_exchanged = text.starts_with(EXCHANGED);
    let mark = if is_exchanged { EXCHANGED } else { MARK };
    let marked = text.strip_prefix(mark).and_then(|rest| rest.strip_prefix('\n'));
    let mut kept = String::new();
    let (mut lock, mut is_main) = (None, true);
    for line in marked.unwrap_or(text).split_inclusive('\n') {
        is_main &= !line.starts_with('[');
        let word = line.strip_prefix("lock:").filter(|_| is_main).map(str::trim);
        if marked.is_some() && line.trim_end() == LOCK && is_main {
            continue;
        }
        if let Some(word) = word {
            lock = Some(word.to_owned());
        }
        kept.push_str(line);
    }
    let is_begun = marked.is_some();
    CurrentFile { kind, text: kept, is_begun, is_exchanged: is_begun && is_exchanged, lock }
}

/// The lock belongs to what holds now, before the sections of snapshots.
fn with_lock(text: &str) -> String {
    let (mut written, mut is_main) = (String::new(), true);
    for line in text.split_inclusive('\n') {
        if is_main && line.starts_with('[') {
            is_main = false;
            written.extend([LOCK, "\n"]);
        }
        written.push_str(line);
    }
    if is_main {
        if !written.is_empty() && !written.ends_with('\n') {
            written.push('\n');
        }
        written.extend([LOCK, "\n"]);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_locked_once_and_comes_out_as_it_is_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let files = GuestFiles::new(directory.path());
        let (kind, id) = (GuestKind::Machine, GuestId(4_000_100));
        let path = directory.path().join("qemu-server/4000100.conf");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(files.current(id).unwrap(), None);
        for text in ["memory: 1\n", "memory: 1\n\n[snap]\nlock: x\n", "[snap]\n", "\n"] {
            fs::write(&path, text).unwrap();
            files.begin_rollback(kind, id).unwrap();
            let begun = fs::read_to_string(&path).unwrap();
            assert!(begun.split("[snap]").next().unwrap().contains("lock: rollback\n"), "{begun}");
            files.begin_rollback(kind, id).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), begun);
            let current = files.current(id).unwrap().unwrap();
            assert!(current.is_begun && current.lock.is_none());
            assert_eq!((current.text.as_str(), current.is_exchanged), (text, false));
            files.hold_rollback(kind, id, "memory: 2\n", None).unwrap();
            let current = files.current(id).unwrap().unwrap();
            assert!(current.is_begun && current.is_exchanged && current.lock.is_none());
            assert_eq!(current.text, "memory: 2\n");
            assert!(fs::read_to_string(&path).unwrap().contains("lock: rollback\n"));
            files.finish_rollback(kind, id, "memory: 2\n", Some("[OPTIONS]\n")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "memory: 2\n");
            files.finish_rollback(kind, id, "memory: 3\n", None).unwrap_err();
            let kept = directory.path().join("qemu-server/4000100.conf.before-rollback");
            assert_eq!(fs::read_to_string(kept).unwrap(), text);
        }
        fs::write(&path, "memory: 1\nlock: backup\n").unwrap();
        assert_eq!(files.current(id).unwrap().unwrap().lock.as_deref(), Some("backup"));
        assert!(files.begin_rollback(kind, id).unwrap_err().to_string().contains("locked (backup)"));
    }
}
