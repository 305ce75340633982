//! Looks at ZFS behind zhaul's back: points, contents and processes, through `zfs`, mounts and devices alone.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use zhaul::zfs::Library;

use crate::pool::{property, zfs};

const MIB: usize = 1 << 20;

/// Different for each use, so that no two writes are alike.
static SEED: AtomicU64 = AtomicU64::new(1);

pub(crate) fn exists(name: &str) -> bool {
    Library::load().unwrap().exists(name)
}

fn points(kind: &str, dataset: &str) -> Vec<(String, String)> {
    let rows = zfs(&["list", "-Hp", "-d", "1", "-t", kind, "-s", "createtxg", "-o", "name,guid", dataset]);
    let rows = rows.lines().map(|row| {
        let (name, guid) = row.split_once('\t').unwrap();
        let point = name.rsplit(['@', '#']).next().unwrap();
        (point.to_owned(), guid.to_owned())
    });
    rows.collect()
}

/// The snapshots of one dataset in the order in which they were made; none if it does not exist.
pub(crate) fn snapshots(dataset: &str) -> Vec<String> {
    if !exists(dataset) {
        return Vec::new();
    }
    points("snapshot", dataset).into_iter().map(|(name, _)| name).collect()
}

/// Its bookmarks, without those that mark a stream under way.
pub(crate) fn bookmarks(dataset: &str) -> Vec<String> {
    let names = points("bookmark", dataset).into_iter().map(|(name, _)| name);
    names.filter(|name| !name.contains("-sending-")).collect()
}

/// Waits until a dataset takes up this many bytes on its pool, which counts what is on disk: so it is put there.
pub(crate) fn wait_for_used(dataset: &str, bytes: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let used = || zfs(&["get", "-Hpo", "value", "used", dataset]).parse::<u64>().unwrap();
    while !exists(dataset) || used() < bytes {
        assert!(Instant::now() < deadline, "{dataset} does not grow to {bytes} bytes");
        sync(dataset);
    }
}

/// Writes all that is pending on the pool of `dataset` to disk. Never on all pools: that of a neighbouring test may not answer,
/// or go away.
pub(crate) fn sync(dataset: &str) {
    let pool = dataset.split('/').next().unwrap();
    let output = Command::new("zpool").args(["sync", pool]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || stderr.trim_end().ends_with("suspended"), "{stderr}");
}

/// GUIDs of snapshots by name.
pub(crate) fn guids(dataset: &str) -> BTreeMap<String, String> {
    points("snapshot", dataset).into_iter().collect()
}

/// GUIDs of all points of a dataset by name: `@snapshot`, `#bookmark`.
pub(crate) fn all_points(dataset: &str) -> BTreeMap<String, String> {
    let of_kind = |kind: &str, mark: char| {
        let named = points(kind, dataset).into_iter();
        named.map(move |(name, guid)| (format!("{mark}{name}"), guid)).collect::<Vec<_>>()
    };
    of_kind("snapshot", '@').into_iter().chain(of_kind("bookmark", '#')).collect()
}

/// The datasets at and below `root`.
pub(crate) fn datasets(root: &str) -> Vec<String> {
    let names = zfs(&["list", "-rH", "-t", "filesystem,volume", "-o", "name", root]);
    names.lines().map(str::to_owned).collect()
}

/// Copies a snapshot by `zfs send | zfs receive`, as people and other programs do.
pub(crate) fn replicate(send_option: &str, snapshot: &str, to: &str) {
    let pipe = "zfs send ${1:+\"$1\"} \"$2\" | zfs receive -u \"$3\"";
    let status = Command::new("sh").args(["-c", pipe, "sh", send_option, snapshot, to]).status();
    assert!(status.unwrap().success(), "{snapshot} to {to}");
}

/// Sends the first 2 MB of a stream, full or from `base` on, so that its receive breaks off and can be resumed.
pub(crate) fn send_in_part(base: Option<&str>, snapshot: &str, to: &str) {
    zfs(&["create", "-p", "-u", to.rsplit_once('/').unwrap().0]);
    let pipe = "zfs send -Lec ${1:+-i \"$1\"} \"$2\" | head -c 2000000 | zfs receive -s -u \"$3\"";
    let sent = Command::new("sh").args(["-c", pipe, "sh", base.unwrap_or_default(), snapshot, to]).output();
    let sent = sent.unwrap();
    assert!(!sent.status.success(), "the stream was cut: {sent:?}");
    assert!(property("receive_resume_token", to).len() > 10, "{sent:?}");
}

/// Begins to receive an increment as another program does, and waits in the middle of the stream until its input is closed.
pub(crate) fn begin_to_receive(base: &str, snapshot: &str, into: &str, options: &[&str]) -> Child {
    let send = Command::new("zfs").args(["send", "-i", base, snapshot]).output().unwrap();
    let mut receive = Command::new("zfs");
    receive.arg("receive").args(options).arg(into).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut receive = receive.spawn().unwrap();
    let half = &send.stdout[..send.stdout.len() / 2];
    receive.stdin.as_mut().unwrap().write_all(half).unwrap();
    let start = Instant::now();
    while !Command::new("zfs").args(["list", &format!("{into}/%recv")]).output().unwrap().status.success() {
        assert!(start.elapsed() < Duration::from_secs(20), "{into}: no receive began");
        thread::sleep(Duration::from_millis(20));
    }
    receive
}

fn noise(mib: u64, mut write: impl FnMut(&[u8])) {
    // xorshift64: enough that nothing finds a pattern.
    let mut state = SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut block = vec![0; MIB];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        write(&block);
    }
}

/// Makes or replaces a file with `mib` MiB that do not compress.
pub(crate) fn write_file(dataset: &str, file: &str, mib: u64) {
    try_write_file(dataset, file, mib).unwrap();
}

/// The same where there may be no room.
pub(crate) fn try_write_file(dataset: &str, file: &str, mib: u64) -> io::Result<()> {
    let path = format!("{}/{file}", property("mountpoint", dataset));
    let mut out = fs::File::create(path)?;
    let mut written = Ok(());
    noise(mib, |block| {
        if written.is_ok() {
            written = out.write_all(block);
        }
    });
    written?;
    out.sync_all()
}

/// The device of a volume, as soon as udev has made its link and the kernel answers (ENXIO before).
fn open_device(volume: &str, options: &fs::OpenOptions) -> fs::File {
    let path = Path::new("/dev/zvol").join(volume);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match options.open(&path) {
            Ok(file) => return file,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the device of a volume that another program is about to open.
pub(crate) fn wait_for_device(volume: &str) {
    drop(open_device(volume, fs::OpenOptions::new().read(true)));
}

/// Writes `mib` MiB at `from_mib` of a volume, and a text at the very front, which is what `first` finds.
pub(crate) fn write_device(volume: &str, from_mib: u64, mib: u64, text: &str) {
    try_write_device(volume, from_mib, mib, text).unwrap();
}

/// The same where there may be no room: the device then says EIO.
pub(crate) fn try_write_device(volume: &str, from_mib: u64, mib: u64, text: &str) -> io::Result<()> {
    let mut out = open_device(volume, fs::OpenOptions::new().write(true));
    out.seek(SeekFrom::Start(from_mib << 20))?;
    let mut written = Ok(());
    noise(mib, |block| {
        if written.is_ok() {
            written = out.write_all(block);
        }
    });
    written?;
    out.seek(SeekFrom::Start(from_mib << 20))?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn digest(hash: &mut DefaultHasher, mut from: impl Read) {
    let mut block = vec![0; MIB];
    loop {
        match from.read(&mut block).unwrap() {
            0 => return,
            count => hash.write(&block[..count]),
        }
    }
}

/// A digest of all that a snapshot holds: every file's name and bytes, or every byte of a volume.
pub(crate) fn content(snapshot: &str) -> u64 {
    let (dataset, _) = snapshot.split_once('@').unwrap();
    content_of(snapshot, property("type", dataset) == "volume")
}

/// The first bytes of a volume's snapshot, as text.
pub(crate) fn first_text(snapshot: &str, count: u64) -> String {
    let mut text = String::new();
    with_device(snapshot, |device| {
        device.take(count).read_to_string(&mut text).unwrap();
    });
    text
}

/// Looks at a clone of a volume's snapshot.
fn with_device(snapshot: &str, look: impl FnOnce(fs::File)) {
    let number = SEED.fetch_add(1, Ordering::Relaxed);
    let parent = snapshot.split(['/', '@']).take(2).collect::<Vec<_>>();
    // The clone of one directly below its pool is there, too.
    let place = if snapshot.matches('/').count() > 1 { parent.join("/") } else { parent[0].to_owned() };
    let clone = format!("{place}/look-{}-{number}", process::id());
    // Without volmode: setting it makes the kernel remove the device again and make another one.
    zfs(&["clone", snapshot, &clone]);
    look(open_device(&clone, fs::OpenOptions::new().read(true)));
    zfs(&["destroy", &clone]);
}

/// The same of a volume or a file system, where that is known.
pub(crate) fn content_of(snapshot: &str, is_volume: bool) -> u64 {
    let mut hash = DefaultHasher::new();
    if is_volume {
        with_device(snapshot, |device| digest(&mut hash, device));
    } else {
        let directory = tempfile::tempdir().unwrap();
        patiently(directory.path(), Command::new("mount").args(["-t", "zfs", "-o", "ro", snapshot]));
        let mut files = Vec::new();
        walk(directory.path(), &mut files);
        files.sort();
        for file in files {
            let name = file.strip_prefix(directory.path()).unwrap();
            hash.write(name.as_os_str().as_encoded_bytes());
            digest(&mut hash, fs::File::open(&file).unwrap());
        }
        patiently(directory.path(), &mut Command::new("umount"));
    }
    hash.finish()
}

/// Runs `command`, which mounts or unmounts, on `directory`. What uses the snapshot or a file of it for a moment (a stream that
/// has just ended, a process that another thread forks until it is another program) is waited for.
fn patiently(directory: &Path, command: &mut Command) {
    let deadline = Instant::now() + Duration::from_secs(20);
    command.arg(directory);
    loop {
        let output = command.output().unwrap();
        if output.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{command:?}: {output:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The newest snapshot of both must be the same one with the same content.
pub(crate) fn assert_same_newest(source: &str, copy: &str) {
    let newest = |dataset: &str| {
        points("snapshot", dataset).pop().unwrap_or_else(|| panic!("{dataset} has no snapshot"))
    };
    let (here, there) = (newest(source), newest(copy));
    assert_eq!(here.1, there.1, "{source}@{} and {copy}@{}", here.0, there.0);
    let (here, there) = (format!("{source}@{}", here.0), format!("{copy}@{}", there.0));
    assert_eq!(content(&here), content(&there), "{here} and {there}");
}

/// Processes whose command line `wanted` says are meant.
pub(crate) fn processes(wanted: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut line = Vec::new();
        let read =
            fs::File::open(entry.path().join("cmdline")).and_then(|mut file| file.read_to_end(&mut line));
        if read.is_err() {
            continue;
        }
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        if wanted(&words.collect::<Vec<_>>()) {
            found.push(pid);
        }
    }
    found
}

/// The processes that call ZFS for process `of`.
pub(crate) fn callers(of: u32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(of)
    };
    let all = processes(|words| words.iter().any(|word| word == "zfs-calls"));
    all.into_iter().filter(is_child).collect()
}

/// Sends a signal to a process of the test's own.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // It may have ended just now.
    rustix::process::kill_process(pid, signal).ok();
}

/// Writes into a copy as somebody does who needs it in a hurry, and makes it read-only again.
pub(crate) fn write_copy(copy: &str, file: &str) {
    zfs(&["set", "readonly=off", copy]);
    zfs(&["mount", copy]);
    write_file(copy, file, 1);
    zfs(&["unmount", copy]);
    zfs(&["set", "readonly=on", copy]);
}

/// The lineages of a copy that were set aside, oldest name first.
pub(crate) fn all_set_aside(copy: &str) -> Vec<String> {
    let (parent, last) = copy.rsplit_once('/').unwrap();
    let start = format!("{parent}/{last}.");
    let all = zfs(&["list", "-rHp", "-d", "1", "-t", "filesystem,volume", "-o", "name", parent]);
    all.lines().filter(|name| name.starts_with(&start)).map(str::to_owned).collect()
}

/// The only lineage of a copy that was set aside.
pub(crate) fn set_aside(copy: &str) -> String {
    let mut all = all_set_aside(copy);
    assert_eq!(all.len(), 1, "{copy}: {all:?}");
    all.remove(0)
}

/// The mark of a lineage that was set aside.
pub(crate) fn mark(aside: &str) -> serde_json::Value {
    serde_json::from_str(&property("zhaul:set-aside", aside)).unwrap()
}

/// The time `days` days and an hour after a lineage was set aside, by its mark.
pub(crate) fn days_after(aside: &str, days: i64) -> String {
    let at: jiff::Timestamp = mark(aside)["at"].as_str().unwrap().parse().unwrap();
    let then = at.checked_add(jiff::SignedDuration::from_hours(24 * days + 1)).unwrap();
    then.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
