//! Writes the file of a restored guest where Proxmox VE keeps it (`/etc/pve`), under the lock that Proxmox VE takes.
//!
//! `pmxcfs` is read-only without quorum, and refuses a second file of a number anywhere in the cluster: what it refuses is
//! passed on. A file of somebody else is never written to.

mod rolling_back;
mod set_aside;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::plain_file::read_text;
use crate::model::{GuestId, GuestKind};

pub use rolling_back::CurrentFile;

/// The first line of a file that is not complete: the restore that wrote the file continues with it.
const MARK: &str = "#zhaul restore, not complete";
/// As long as Proxmox VE waits.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Proxmox VE's configuration directory.
#[derive(Debug, Clone)]
pub struct GuestFiles {
    directory: PathBuf,
}

/// A file of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFile {
    /// There is none in the cluster.
    Missing,
    /// One that an interrupted restore has left.
    OfRestore,
    /// Somebody's.
    Taken(PathBuf),
}

impl GuestFiles {
    /// Those below `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Whose file there is for this number, on any node.
    pub fn find(&self, id: GuestId) -> GuestFile {
        let mut places: Vec<PathBuf> = vec![self.directory.clone()];
        let nodes = fs::read_dir(self.directory.join("nodes")).into_iter().flatten().flatten();
        places.extend(nodes.map(|node| node.path()));
        let mut found = GuestFile::Missing;
        for kind in [GuestKind::Machine, GuestKind::Container] {
            for place in &places {
                let path = place.join(kind.directory()).join(format!("{id}.conf"));
                match read_text(&path) {
                    Ok(text) if text.starts_with(MARK) => found = GuestFile::OfRestore,
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                    Ok(_) | Err(_) => return GuestFile::Taken(path),
                }
            }
        }
        found
    }

    /// Takes the number: writes the file with `lock: create`, so that no one starts or changes the guest meanwhile.
    pub fn begin(&self, kind: GuestKind, id: GuestId, text: &str) -> io::Result<()> {
        locked(kind, id, || match self.find(id) {
            GuestFile::Missing | GuestFile::OfRestore => {
                let path = self.path(kind, id);
                fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
                replace(&path, &format!("{MARK}\n{text}lock: create\n"))
            }
            GuestFile::Taken(path) => Err(taken(&path)),
        })
    }

    /// Writes the final file in the place of the one that [`begin`](Self::begin) wrote, and the firewall's where there is none.
    pub fn finish(&self, kind: GuestKind, id: GuestId, text: &str, firewall: Option<&str>) -> io::Result<()> {
        locked(kind, id, || match self.find(id) {
            GuestFile::OfRestore | GuestFile::Missing => {
                if let Some(firewall) = firewall {
                    let path = self.directory.join("firewall").join(format!("{id}.fw"));
                    if !path.exists() {
                        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
                        replace(&path, firewall)?;
                    }
                }
                replace(&self.path(kind, id), text)
            }
            GuestFile::Taken(path) => Err(taken(&path)),
        })
    }

    /// Removes what [`begin`](Self::begin) wrote.
    pub fn give_up(&self, id: GuestId) -> io::Result<bool> {
        if self.find(id) != GuestFile::OfRestore {
            return Ok(false);
        }
        let mut is_removed = false;
        for kind in [GuestKind::Machine, GuestKind::Container] {
            let path = self.path(kind, id);
            if read_text(&path).is_ok_and(|text| text.starts_with(MARK)) {
                fs::remove_file(&path)?;
                is_removed = true;
            }
        }
        Ok(is_removed)
    }

    /// `qemu-server` of the directory itself is this node's.
    fn path(&self, kind: GuestKind, id: GuestId) -> PathBuf {
        self.directory.join(kind.directory()).join(format!("{id}.conf"))
    }
}

/// With Proxmox VE's lock of that guest, where its directory of locks exists.
fn locked(kind: GuestKind, id: GuestId, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let path = match kind {
        GuestKind::Machine => PathBuf::from(format!("/var/lock/qemu-server/lock-{id}.conf")),
        GuestKind::Container => PathBuf::from(format!("/run/lock/lxc/pve-config-{id}.lock")),
    };
    if !path.parent().is_some_and(Path::exists) {
        return work();
    }
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let until = Instant::now() + LOCK_LIMIT;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if Instant::now() > until {
            return Err(io::Error::other(format!("{} is locked: {error}", path.display())));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    work()
}

fn taken(path: &Path) -> io::Error {
    io::Error::other(format!("{} exists, and is not of this restore", path.display()))
}

/// Replaces the file in one step: no process reads half of the text.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension(format!("tmp.{}", std::process::id()));
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It may not even be there.
        drop(fs::remove_file(&beside));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_somebody_else_is_never_written_to_whatever_node_it_is_on() {
        let directory = tempfile::tempdir().unwrap();
        let files = GuestFiles::new(directory.path());
        let id = GuestId(4_000_100);
        assert_eq!(files.find(id), GuestFile::Missing);
        files.begin(GuestKind::Machine, id, "memory: 1\n").unwrap();
        assert_eq!(files.find(id), GuestFile::OfRestore);
        let path = directory.path().join("qemu-server/4000100.conf");
        assert!(fs::read_to_string(&path).unwrap().ends_with("lock: create\n"));
        files.begin(GuestKind::Machine, id, "memory: 2\n").unwrap();
        files.finish(GuestKind::Machine, id, "memory: 2\n", Some("[OPTIONS]\n")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "memory: 2\n");
        assert!(!files.give_up(id).unwrap());
        let refused = files.begin(GuestKind::Machine, id, "memory: 3\n").unwrap_err();
        assert!(refused.to_string().contains("4000100.conf exists"), "{refused}");
        let other = directory.path().join("nodes/pve1/lxc");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("4000200.conf"), "rootfs: x\n").unwrap();
        assert!(matches!(files.find(GuestId(4_000_200)), GuestFile::Taken(_)));
        let fifo = directory.path().join("qemu-server/4000400.conf");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(files.find(GuestId(4_000_400)), GuestFile::Taken(_)), "a FIFO is not waited for");
        assert!(files.current(GuestId(4_000_400)).unwrap_err().to_string().contains("no regular file"));
        files.begin(GuestKind::Container, GuestId(4_000_300), "").unwrap();
        assert!(files.give_up(GuestId(4_000_300)).unwrap());
        assert_eq!(files.find(GuestId(4_000_300)), GuestFile::Missing);
        let names: Vec<_> = fs::read_dir(directory.path().join("lxc")).unwrap().collect();
        assert!(names.is_empty(), "{names:?}");
    }
}
