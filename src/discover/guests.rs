//! The guests of this node, from Proxmox VE's configuration: which volumes are whose, and which snapshots are PVE's own.
//!
//! Read as `pve-guest-common` writes it: `key: value` lines, then one `[section]` per snapshot with the settings of that
//! time, and `[PENDING]` or `[special:…]` sections that are no snapshots. What is not understood is left out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::model::{Guest, GuestId, PointName};

/// A configuration is a few KiB; more is none.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A guest's configuration that is there and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the guest configuration {path}")]
pub struct GuestError {
    path: String,
    #[source]
    cause: io::Error,
}

impl GuestError {
    fn new(path: &Path, cause: io::Error) -> Self {
        Self { path: path.display().to_string(), cause }
    }
}

/// Which kind of guest a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Machine,
    Container,
}

/// The guests below `directory` (`/etc/pve`) that are on this node, by number. None where there is no such directory.
pub fn guests(directory: &Path) -> Result<Vec<Guest>, GuestError> {
    let mut guests = Vec::new();
    for (below, kind) in [("qemu-server", Kind::Machine), ("lxc", Kind::Container)] {
        for (id, path) in files(&directory.join(below))? {
            match read(&path) {
                Ok(text) => guests.push(parse(id, kind, &text)),
                // The guest was removed or has moved to another node since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(GuestError::new(&path, error)),
            }
        }
    }
    guests.sort_by_key(|guest| guest.id);
    Ok(guests)
}

fn files(directory: &Path) -> Result<Vec<(GuestId, PathBuf)>, GuestError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GuestError::new(directory, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| GuestError::new(directory, error))?.path();
        if path.extension() != Some(OsStr::new("conf")) {
            continue;
        }
        let id = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
        if let Some(id) = id {
            files.push((GuestId(id), path));
        }
    }
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where in the file a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Current,
    Snapshot,
    Other,
}

fn parse(id: GuestId, kind: Kind, text: &str) -> Guest {
    let (mut volumes, mut excluded) = (BTreeSet::new(), BTreeSet::new());
    let mut snapshots = Vec::new();
    let mut section = Section::Current;
    for line in text.lines() {
        let name = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = name {
            section = match PointName::new(name) {
                Ok(name) if name.as_str() != "PENDING" && !name.as_str().starts_with("special:") => {
                    snapshots.push(name);
                    Section::Snapshot
                }
                _ => Section::Other,
            };
            continue;
        }
        if section == Section::Other || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let Some(disk) = disk(kind, key, value) else {
            continue;
        };
        // A disk that only a snapshot names was removed since, and still belongs to the guest.
        if section == Section::Current && !disk.is_backed_up {
            excluded.insert(disk.volume.clone());
        }
        volumes.insert(disk.volume);
    }
    Guest {
        id,
        volumes: volumes.into_iter().collect(),
        excluded_volumes: excluded.into_iter().collect(),
        snapshots,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Disk {
    volume: String,
    is_backed_up: bool,
}

/// `scsi0: local-zfs:vm-100-disk-0,backup=0,size=32G` and its like; `None` for every other line, and for what is no volume
/// (CD images, `none`, paths, bind mounts).
fn disk(kind: Kind, key: &str, value: &str) -> Option<Disk> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = stem.len() < key.len();
    let is_disk = match (kind, stem) {
        (Kind::Machine, "scsi" | "virtio" | "ide" | "sata" | "efidisk" | "tpmstate" | "unused") => {
            is_numbered
        }
        (Kind::Container, "mp" | "unused") => is_numbered,
        (Kind::Container, "rootfs") => !is_numbered,
        _ => false,
    };
    if !is_disk {
        return None;
    }
    let mut options = value.trim().split(',');
    let first = options.next().unwrap_or_default();
    let location = first.strip_prefix("file=").or(first.strip_prefix("volume=")).unwrap_or(first);
    let (_storage, volume) = location.split_once(':')?;
    // A linked clone names its template first: `base-100-disk-0/vm-101-disk-0`; `iso/x.iso` is no disk.
    let name = volume.rsplit('/').next().unwrap_or_default();
    let is_volume = ["vm-", "base-", "subvol-", "basevol-"].iter().any(|prefix| name.starts_with(prefix));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let options: Vec<&str> = options.map(str::trim).collect();
    if !is_volume || !name.chars().all(allowed) || options.contains(&"media=cdrom") {
        return None;
    }
    let says = |wanted: [&str; 4]| wanted.iter().any(|option| options.contains(option));
    let is_backed_up = match (kind, stem) {
        // Mount points of containers are left out unless they ask for it; the root never is.
        (Kind::Container, "mp") => says(["backup=1", "backup=yes", "backup=on", "backup=true"]),
        (Kind::Container, _) => true,
        (Kind::Machine, _) => !says(["backup=0", "backup=no", "backup=off", "backup=false"]),
    };
    Some(Disk { volume: name.to_owned(), is_backed_up })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(guest: &Guest) -> (Vec<&str>, Vec<&str>) {
        let all = guest.volumes.iter().map(String::as_str).collect();
        (all, guest.excluded_volumes.iter().map(String::as_str).collect())
    }

    #[test]
    fn a_machine_has_its_disks_and_its_snapshots() {
        let text = "#description: scsi9: local-zfs:vm-9-disk-9\n\
            boot: order=scsi0;ide2\n\
            efidisk0: local-zfs:vm-100-disk-1,efitype=4m,size=1M\n\
            ide2: local:iso/debian.iso,media=cdrom,size=600M\n\
            ide0: local-zfs:vm-100-cloudinit,media=cdrom\n\
            ide1: none,media=cdrom\n\
            net0: virtio=AA:BB:CC:DD:EE:FF,bridge=vmbr0\n\
            scsi0: local-zfs:base-9-disk-0/vm-100-disk-0,iothread=1,size=32G\n\
            scsi1: tank:vm-100-disk-2,backup=0,size=32G\n\
            scsi2: /dev/disk/by-id/ata-x,size=1G\n\
            scsihw: virtio-scsi-single\n\
            tpmstate0: local-zfs:vm-100-disk-3,size=4M,version=v2.0\n\
            unused0: local-zfs:vm-100-disk-4\n\
            parent: before-upgrade\n\
            \n\
            [PENDING]\n\
            scsi7: local-zfs:vm-100-disk-7\n\
            \n\
            [before-upgrade]\n\
            scsi0: local-zfs:base-9-disk-0/vm-100-disk-0,iothread=1,size=32G\n\
            scsi5: local-zfs:vm-100-disk-5,size=1G\n\
            scsi1: tank:vm-100-disk-2,size=32G\n\
            snaptime: 1700000000\n\
            vmstate: local-zfs:vm-100-state-before-upgrade\n\
            [special:cloudinit]\n\
            scsi6: local-zfs:vm-100-disk-6\n";
        let guest = parse(GuestId(100), Kind::Machine, text);
        let (all, excluded) = volumes(&guest);
        let disks = [0, 1, 2, 3, 4, 5].map(|n| format!("vm-100-disk-{n}"));
        assert_eq!(all, disks);
        assert_eq!(excluded, ["vm-100-disk-2"], "what the snapshot said then does not count");
        assert_eq!(guest.snapshots, [PointName::new("before-upgrade").unwrap()]);
    }

    #[test]
    fn a_container_leaves_mount_points_out_unless_asked() {
        let text = "rootfs: local-zfs:subvol-101-disk-0,size=8G,backup=0\r\n\
            mp0: local-zfs:subvol-101-disk-1,mp=/srv,backup=1,size=8G\n\
            mp1: volume=local-zfs:subvol-101-disk-2,mp=/cache,size=8G\n\
            mp2: /mnt/bind,mp=/bind\n\
            scsi0: local-zfs:vm-101-disk-9\n";
        let guest = parse(GuestId(101), Kind::Container, text);
        let (all, excluded) = volumes(&guest);
        assert_eq!(all, ["subvol-101-disk-0", "subvol-101-disk-1", "subvol-101-disk-2"]);
        assert_eq!(excluded, ["subvol-101-disk-2"]);
    }

    #[test]
    fn odd_input_is_left_out() {
        let text = "scsi0\nscsi0:\nscsi1: local-zfs:\nscsi2: local-zfs:vm-1-disk-0@x;rm\nscsi: a:vm-1-disk-1\n\
            [a/b]\nscsi3: a:vm-1-disk-2\n[unclosed\n[]\n\u{0}\n,,,:::\nvirtio0: a:b:vm-1-disk-3\n";
        let guest = parse(GuestId(1), Kind::Machine, text);
        assert_eq!((volumes(&guest), guest.snapshots.len()), ((vec![], vec![]), 0));
    }

    #[test]
    fn files_are_found_by_number() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(guests(&directory.path().join("nothing")).unwrap(), []);
        for (path, text) in [
            ("qemu-server/200.conf", "scsi0: z:vm-200-disk-0\n"),
            ("qemu-server/200.conf.tmp", "scsi0: z:vm-7-disk-0\n"),
            ("qemu-server/x.conf", "scsi0: z:vm-8-disk-0\n"),
            ("lxc/100.conf", "rootfs: z:subvol-100-disk-0\n"),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = guests(directory.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|guest| (guest.id.0, guest.volumes.join(" "))).collect();
        assert_eq!(ids, [(100, "subvol-100-disk-0".to_owned()), (200, "vm-200-disk-0".to_owned())]);
        fs::create_dir(directory.path().join("lxc/5.conf")).unwrap();
        let error = guests(directory.path()).unwrap_err();
        assert!(error.to_string().contains("lxc/5.conf"), "{error}");
    }
}
