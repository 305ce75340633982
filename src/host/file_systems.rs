//! Whether file systems of restored disks can be opened, by the programs that each has for this. Only what was restored to be
//! thrown away is checked: a journal that was not written back, as after each power failure, is played back into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::program::answer;
use super::{HostError, Problem, Restoring};
use crate::model::{DatasetKind, DatasetName, Guid, SnapshotName};

/// A check of a large file system takes minutes.
const CHECK_LIMIT: Duration = Duration::from_secs(60 * 60);
/// For programs that only look.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// How long udev may take to make the device of a volume.
const DEVICE_LIMIT: Duration = Duration::from_secs(30);
const DEVICE_PAUSE: Duration = Duration::from_millis(100);
/// What `e2fsck` says of features that it does not know.
const TOO_OLD: &str = "Get a newer version of e2fsck";
/// Where a snapshot is mounted for a moment: only root may write there, and it is empty after a restart.
const MOUNT_DIRECTORY: &str = "/run";
const MOUNT_NAME: &str = "zhaul-drill-";

/// A file system, and whether it can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its place and type in words, for example `partition 1, ext4`.
    pub what: String,
    /// What was found.
    pub state: FileSystemState,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSystemState {
    /// It was opened and is consistent.
    Fine,
    /// Nothing here can check it.
    NotChecked {
        /// Why.
        why: String,
    },
    /// It is damaged.
    Bad {
        /// What its program said.
        why: String,
    },
}

impl Restoring {
    /// Opens the file systems in a dataset that was received to be thrown away.
    pub fn file_systems(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        (kind, point): (DatasetKind, &SnapshotName),
    ) -> Result<Vec<FileSystem>, HostError> {
        match kind {
            DatasetKind::Filesystem => Ok(vec![of_snapshot(point)]),
            DatasetKind::Volume => {
                let open = || {
                    self.program.check_dataset(dataset, guid)?;
                    self.program.set(dataset, "readonly", "off")?;
                    self.program.set(dataset, "volmode", "full")
                };
                open().map_err(|problem| self.program.error("open", dataset, problem))?;
                let device =
                    device(dataset).map_err(|problem| self.program.error("open", dataset, problem))?;
                let checked = of_device(&device);
                // Otherwise udev may still look at it when it is destroyed.
                let closed = self.program.set(dataset, "volmode", "none");
                closed.map_err(|problem| self.program.error("close", dataset, problem))?;
                Ok(checked)
            }
        }
    }
}

impl Restoring {
    /// Unmounts what a killed drill has left mounted of snapshots of this dataset.
    pub fn unmount_snapshots(&self, dataset: &DatasetName) {
        let begin = format!("{dataset}@").replace(' ', "\\040");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of_dataset = mounts.lines().filter(|line| line.starts_with(&begin));
        for place in of_dataset.filter_map(|line| line.split(' ').nth(1)) {
            let is_ours = place.starts_with(&format!("{MOUNT_DIRECTORY}/{MOUNT_NAME}"));
            if is_ours && answer("umount", &[place], LOOK_LIMIT).is_some() {
                drop(fs::remove_dir(place));
            }
        }
    }
}

/// The device of a volume, once there is one.
fn device(dataset: &DatasetName) -> Result<PathBuf, Problem> {
    let begun = Instant::now();
    loop {
        // udev writes a space as a plus sign.
        let names = [dataset.as_str().to_owned(), dataset.as_str().replace(' ', "+")];
        let device = names.iter().map(|name| fs::canonicalize(Path::new("/dev/zvol").join(name)));
        match device.reduce(std::io::Result::or).unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into())) {
            Ok(device) => return Ok(device),
            Err(_) if begun.elapsed() < DEVICE_LIMIT => thread::sleep(DEVICE_PAUSE),
            Err(error) => return Err(Problem::Other(format!("its device does not appear: {error}"))),
        }
    }
}

/// The whole device, or its partitions.
fn of_device(device: &Path) -> Vec<FileSystem> {
    let partitions = partitions(device);
    if partitions.is_empty() {
        return vec![check(device, "whole disk")];
    }
    partitions.iter().map(|(number, path)| check(path, &format!("partition {number}"))).collect()
}

/// The partitions that the kernel has found, with their numbers.
fn partitions(device: &Path) -> Vec<(u32, PathBuf)> {
    let Some(name) = device.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let entries = fs::read_dir(Path::new("/sys/block").join(name)).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let entry = entry.file_name().into_string().ok()?;
        let number = entry.strip_prefix(name)?.strip_prefix('p')?.parse().ok()?;
        Some((number, device.with_file_name(entry)))
    });
    let mut all: Vec<(u32, PathBuf)> = numbered.collect();
    all.sort();
    all
}

fn check(device: &Path, place: &str) -> FileSystem {
    let path = device.to_string_lossy();
    let found = match answer("blkid", &["-p", "-o", "value", "-s", "TYPE", &path], LOOK_LIMIT) {
        Some(Ok(answer)) if answer.output.is_empty() && !answer.errors.is_empty() => {
            return not_checked(place, format!("blkid: {:.200}", answer.errors));
        }
        Some(Ok(answer)) => answer.output,
        Some(Err(why)) => return not_checked(place, format!("blkid {why}")),
        None => return not_checked(place, "blkid is not installed".to_owned()),
    };
    let what = if found.is_empty() { format!("{place}, nothing known") } else { format!("{place}, {found}") };
    let (program, arguments, is_fine): (&str, &[&str], fn(&str) -> bool) = match found.as_str() {
        "" => return not_checked(&what, "it has no file system that blkid knows".to_owned()),
        "ext2" | "ext3" | "ext4" => ("e2fsck", &["-f", "-p"], is_clean_ext),
        "vfat" => ("fsck.fat", &["-n"], is_clean_fat),
        _ => {
            return not_checked(
                &what,
                "zhaul knows no program that checks it without mounting it".to_owned(),
            );
        }
    };
    match answer(program, &[arguments, &[&*path]].concat(), CHECK_LIMIT) {
        None => not_checked(&what, format!("{program} is not installed")),
        Some(Err(why)) => not_checked(&what, format!("{program} {why}")),
        Some(Ok(answer)) if is_fine(&answer.output) => FileSystem { what, state: FileSystemState::Fine },
        Some(Ok(answer)) if [&answer.output, &answer.errors].iter().any(|text| text.contains(TOO_OLD)) => {
            not_checked(&what, format!("the {program} of this host is too old for it"))
        }
        Some(Ok(answer)) => {
            let why =
                [answer.errors, answer.output].join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
            FileSystem { what, state: FileSystemState::Bad { why: format!("{program}: {why:.300}") } }
        }
    }
}

/// What `e2fsck -p` ends with where nothing is left to mend, with or without a journal to play back.
fn is_clean_ext(output: &str) -> bool {
    let last = output.lines().last().unwrap_or_default();
    last.contains(" files (") && last.ends_with(" blocks") && !output.contains("UNEXPECTED INCONSISTENCY")
}

/// What `fsck.fat -n` ends with; anything to mend has lines of its own before. While it is mounted Linux marks it as dirty, in the
/// first of two boot sectors.
fn is_clean_fat(output: &str) -> bool {
    let of_mark = |line: &&str| {
        line.trim().is_empty()
            || line.contains("Dirty bit is set")
            || line.contains("boot sector and its backup")
            || line.contains("Differences: (offset:original/backup)")
            || line.trim() == "65:01/00"
            || line.contains("Not automatically fixing this")
            || line.contains("removing dirty bit")
            || line.contains("Leaving filesystem unchanged")
            || line.contains("Leaving file system unchanged")
    };
    let lines: Vec<&str> = output.lines().skip(1).filter(|line| !of_mark(line)).collect();
    matches!(lines.as_slice(), [only] if only.contains(" files, ") && only.ends_with(" clusters"))
}

fn not_checked(what: &str, why: String) -> FileSystem {
    FileSystem { what: what.to_owned(), state: FileSystemState::NotChecked { why } }
}

/// Mounts a snapshot read-only in a directory of its own, and reads its root.
fn of_snapshot(point: &SnapshotName) -> FileSystem {
    let what = "ZFS file system".to_owned();
    let bad = |why: String| FileSystem { what: what.clone(), state: FileSystemState::Bad { why } };
    let directory = Path::new(MOUNT_DIRECTORY).join(format!("{MOUNT_NAME}{}", std::process::id()));
    if let Err(error) = fs::create_dir(&directory) {
        return not_checked(&what, format!("{} cannot be made: {error}", directory.display()));
    }
    let place = directory.to_string_lossy().into_owned();
    let mounted = answer(
        "mount",
        &["-t", "zfs", "-o", "ro,nosuid,nodev,noexec", &point.to_string(), &place],
        LOOK_LIMIT,
    );
    let state = match mounted {
        None => not_checked(&what, "mount is not installed".to_owned()),
        Some(Err(why)) => not_checked(&what, format!("mount {why}")),
        Some(Ok(answer)) if !is_mount_point(&directory) => {
            let why = [answer.errors, answer.output].join(" ");
            if why.contains("key") { not_checked(&what, why) } else { bad(why) }
        }
        Some(Ok(_)) => {
            let read =
                fs::read_dir(&directory).and_then(|mut names| names.try_for_each(|name| name.map(drop)));
            let state = match read {
                Ok(()) => FileSystem { what: what.clone(), state: FileSystemState::Fine },
                Err(error) => bad(format!("its root cannot be read: {error}")),
            };
            drop(answer("umount", &[&place], LOOK_LIMIT));
            state
        }
    };
    if let Err(error) = fs::remove_dir(&directory) {
        tracing::warn!("cannot remove {}: {error}", directory.display());
    }
    state
}

fn is_mount_point(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    let above = directory.parent().and_then(device);
    above.is_some() && device(directory) != above
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_programs_are_judged() {
        assert!(is_clean_ext("/dev/zd0: 11/2048 files (0.0% non-contiguous), 1234/8192 blocks"));
        assert!(is_clean_ext(
            "/dev/zd0: recovering journal\n/dev/zd0: 12/2048 files (8.3% non-contiguous), 1/2 blocks"
        ));
        assert!(!is_clean_ext(
            "/dev/zd0: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n\t(i.e., without -a or -p options)"
        ));
        assert!(!is_clean_ext(""));
        assert!(is_clean_fat("fsck.fat 4.2 (2021-01-31)\n/dev/zd0p1: 3 files, 5/4084 clusters"));
        assert!(!is_clean_fat(
            "fsck.fat 4.2\nFATs differ but appear to be intact.\n/dev/zd0p1: 3 files, 5/4084 clusters"
        ));
        let mounted = "fsck.fat 4.2 (2021-01-31)\nThere are differences between boot sector and its backup.\nThis is mostly harmless. \
                       Differences: (offset:original/backup)\n  65:01/00\n  Not automatically fixing this.\nDirty bit is set. Fs was not \
                       properly unmounted and some data may be corrupt.\n Automatically removing dirty bit.\n\nLeaving filesystem \
                       unchanged.\n/dev/zd0p1: 3 files, 5/4084 clusters";
        assert!(is_clean_fat(mounted));
        assert!(!is_clean_fat(""));
    }
}
