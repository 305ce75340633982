//! Files of guests that are put aside with their disks, as `ID.conf.zhaul-STAMP`. Proxmox VE takes only `ID.conf` and `ID.fw`
//! for files of guests.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{GuestFile, GuestFiles, MARK, locked, replace};
use crate::host::plain_file::read_text;
use crate::model::{GuestId, GuestKind};

const KINDS: [GuestKind; 2] = [GuestKind::Machine, GuestKind::Container];

impl GuestFiles {
    /// Puts the guest's files aside, and takes the number for a restore, as [`begin`](Self::begin) does.
    pub fn begin_instead(&self, kind: GuestKind, id: GuestId, text: &str, stamp: &str) -> io::Result<()> {
        locked(kind, id, || {
            for of in KINDS {
                let path = self.path(of, id);
                if read_text(&path).is_ok_and(|text| !text.starts_with(MARK)) {
                    // It is somebody's: what was put aside before stays what it is.
                    if aside(&path, stamp).exists() {
                        return Err(super::taken(&aside(&path, stamp)));
                    }
                    fs::rename(&path, aside(&path, stamp))?;
                }
            }
            let firewall = self.firewall(id);
            if firewall.exists() && !aside(&firewall, stamp).exists() {
                fs::rename(&firewall, aside(&firewall, stamp))?;
            }
            Ok(())
        })?;
        self.begin(kind, id, text)
    }

    /// Copies the guest's files beside them.
    pub fn copy_aside(&self, id: GuestId, stamp: &str) -> io::Result<()> {
        let Some(current) = self.current(id)? else { return Ok(()) };
        let to = aside(&self.path(current.kind, id), stamp);
        if !to.exists() {
            replace(&to, &current.text)?;
        }
        let firewall = self.firewall(id);
        match read_text(&firewall) {
            Ok(text) if !aside(&firewall, stamp).exists() => replace(&aside(&firewall, stamp), &text),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The file of the guest that is aside under this stamp.
    pub fn aside_file(&self, id: GuestId, stamp: &str) -> Option<PathBuf> {
        let mut asides = KINDS.into_iter().map(|kind| aside(&self.path(kind, id), stamp));
        asides.find(|path| path.exists())
    }

    /// Puts the files with the stamp `from` back, and those that are there aside with the stamp `to`. Returns whether
    /// any file had that stamp. A step that was done already does no harm.
    pub fn put_back(&self, id: GuestId, from: &str, to: &str) -> io::Result<bool> {
        let Some(kind) = KINDS.into_iter().find(|kind| aside(&self.path(*kind, id), from).exists()) else {
            return Ok(false);
        };
        if let GuestFile::Taken(path) = self.find(id)
            && !KINDS.into_iter().any(|kind| path == self.path(kind, id) || self.is_same(&path, kind, id))
        {
            return Err(super::taken(&path));
        }
        locked(kind, id, || {
            let path = self.path(kind, id);
            let text = read_text(&aside(&path, from))?;
            if let Some(present) = self.current(id)? {
                let present_path = self.path(present.kind, id);
                let kept = KINDS.into_iter().any(|kind| aside(&self.path(kind, id), to).exists());
                if !kept {
                    replace(&aside(&present_path, to), &present.text)?;
                }
                if present.kind != kind {
                    fs::remove_file(&present_path)?;
                }
            }
            self.put_firewall_back(id, from, to)?;
            fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
            replace(&path, &text)?;
            fs::remove_file(aside(&path, from))
        })?;
        Ok(true)
    }

    fn put_firewall_back(&self, id: GuestId, from: &str, to: &str) -> io::Result<()> {
        let firewall = self.firewall(id);
        let (old, kept) = (aside(&firewall, from), aside(&firewall, to));
        if !old.exists() {
            // The guest that comes back had none.
            return if firewall.exists() && !kept.exists() { fs::rename(&firewall, &kept) } else { Ok(()) };
        }
        if firewall.exists() && !kept.exists() {
            fs::rename(&firewall, &kept)?;
        }
        fs::rename(&old, &firewall)
    }

    /// Whether `path`, below the directory of a node, is this node's.
    fn is_same(&self, path: &Path, kind: GuestKind, id: GuestId) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        real(path).is_some() && real(path) == real(&self.path(kind, id))
    }

    fn firewall(&self, id: GuestId) -> PathBuf {
        self.directory.join("firewall").join(format!("{id}.fw"))
    }
}

fn aside(path: &Path, stamp: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".zhaul-{stamp}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_aside_and_come_back_and_what_was_there_meanwhile_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let files = GuestFiles::new(directory.path());
        let (kind, id) = (GuestKind::Machine, GuestId(4_000_100));
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        for place in ["qemu-server", "firewall"] {
            fs::create_dir_all(directory.path().join(place)).unwrap();
        }
        fs::write(directory.path().join("qemu-server/4000100.conf"), "memory: 1\n").unwrap();
        fs::write(directory.path().join("firewall/4000100.fw"), "old\n").unwrap();
        for _ in 0..2 {
            files.begin_instead(kind, id, "memory: 2\n", "S").unwrap();
            assert_eq!(read("qemu-server/4000100.conf.zhaul-S"), "memory: 1\n");
        }
        files.finish(kind, id, "memory: 2\n", Some("new\n")).unwrap();
        files.begin_instead(kind, id, "memory: 3\n", "S").unwrap_err();
        assert_eq!(read("qemu-server/4000100.conf.zhaul-S"), "memory: 1\n", "what was put aside stays");
        for (from, to, now, firewall) in [
            ("S", "S-back", "memory: 1\n", "old\n"),
            ("S-back", "S", "memory: 2\n", "new\n"),
            ("S", "S-back", "memory: 1\n", "old\n"),
        ] {
            assert!(files.put_back(id, from, to).unwrap());
            assert!(!files.put_back(id, from, to).unwrap());
            assert_eq!(read("qemu-server/4000100.conf"), now);
            assert_eq!(read("firewall/4000100.fw"), firewall);
        }
        assert_eq!(read("qemu-server/4000100.conf.zhaul-S-back"), "memory: 2\n");
    }
}
