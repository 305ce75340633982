//! Which processes of this machine use a volume or a file system, as `/proc` shows it: what is in use is not rolled back.
//!
//! A guest that Proxmox VE does not know, or one that somebody has started by hand, is found by this alone.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::model::{DatasetKind, DatasetName};

/// udev looks at each volume that changes, for a moment.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// The users of the dataset, in words, for example `process 4711 (kvm)`; empty where no process uses it.
pub fn users(dataset: &DatasetName, kind: DatasetKind) -> Vec<String> {
    let mut found = Vec::new();
    for try_number in 0..TRIES {
        found = match kind {
            DatasetKind::Volume => volume_users(dataset),
            DatasetKind::Filesystem => file_system_users(dataset),
        };
        if found.is_empty() {
            break;
        }
        if try_number + 1 < TRIES {
            thread::sleep(PAUSE);
        }
    }
    found
}

fn volume_users(dataset: &DatasetName) -> Vec<String> {
    // Without a device no process can use it.
    let Ok(device) = fs::canonicalize(Path::new("/dev/zvol").join(dataset.as_str())) else {
        return Vec::new();
    };
    // Partitions have devices of their own, named after the whole one.
    let is_it = |path: &Path| {
        path.to_str().zip(device.to_str()).is_some_and(|(path, device)| {
            path.strip_prefix(device).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('p').is_some_and(|rest| rest.parse::<u32>().is_ok())
            })
        })
    };
    let mut users = processes(|process| open_files(process).iter().any(|path| is_it(path)));
    if users.is_empty() && is_claimed(&device) {
        users.push("the kernel (a mount, a loop device or the device mapper)".to_owned());
    }
    users
}

/// Whether the kernel itself uses a block device.
fn is_claimed(device: &Path) -> bool {
    let flags = i32::try_from((OFlags::EXCL | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(device);
    opened.is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()))
}

fn file_system_users(dataset: &DatasetName) -> Vec<String> {
    let Some((mount_point, device)) = mounted(dataset) else { return Vec::new() };
    processes(|process| {
        // A container's root is the file system, seen from another mount namespace.
        let is_root = fs::metadata(process.join("root")).is_ok_and(|root| root.dev() == device);
        is_root || open_files(process).iter().any(|path| path.starts_with(&mount_point))
    })
}

/// Where a file system is mounted, and the number of its device.
fn mounted(dataset: &DatasetName) -> Option<(PathBuf, u64)> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = dataset.as_str().replace(' ', "\\040");
    let line = table.lines().find(|line| {
        let end = line.split_once(" - ").map(|(_, end)| end.split(' ').collect::<Vec<_>>());
        end.is_some_and(|end| end.first() == Some(&"zfs") && end.get(1) == Some(&source.as_str()))
    })?;
    let mut words = line.split(' ').skip(2);
    let (major, minor) = words.next()?.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let mount_point = words.nth(1)?.replace("\\040", " ");
    Some((PathBuf::from(mount_point), device))
}

/// Every process but this one for which `uses` holds.
fn processes(uses: impl Fn(&Path) -> bool) -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = numbers.filter(|pid| *pid != std::process::id());
    let using = others.filter(|pid| uses(&Path::new("/proc").join(pid.to_string())));
    let named = using.map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("process {pid} ({})", name.trim())
    });
    named.collect()
}

/// The files that a process has open, and its directory and program. Names only: reading a file itself may hang.
fn open_files(process: &Path) -> Vec<PathBuf> {
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links = open.map(|entry| entry.path()).chain([process.join("cwd"), process.join("exe")]);
    links.filter_map(|link| fs::read_link(link).ok()).collect()
}
