//! A world of a test's own: guests on the lab's source pool, a backup and an archive on the two servers, a policy file and a
//! lock. Everything is below one dataset of the test's name on each pool, so tests run side by side.
//!
//! Runs go through the built `zhaul` as a person would start it. After each of them the archive must still have every
//! snapshot that it had before: promise 4 is checked by every test.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::Signal;
use tempfile::TempDir;
use zhaul::model::ResumeToken;

use crate::look;
use crate::outcome::Run;
use crate::pool::{property, zfs};

/// The volume that most tests have, a container's.
pub(crate) const GUEST: &str = "subvol-101-disk-0";
/// A virtual machine's.
pub(crate) const DISK: &str = "vm-100-disk-0";

/// When most tests have their runs.
pub(crate) const DAY_1: &str = "2026-01-10T03:00:00Z";
pub(crate) const DAY_2: &str = "2026-01-11T03:00:00Z";
pub(crate) const DAY_3: &str = "2026-01-12T03:00:00Z";

/// The text of the policy file; the strings are lines for the section of that name.
#[derive(Debug, Default)]
pub(crate) struct PolicyText {
    pub(crate) top: String,
    pub(crate) source: String,
    pub(crate) transfer: String,
    pub(crate) backup: String,
    pub(crate) archive: String,
    /// Source roots, if not the world's own.
    pub(crate) datasets: Vec<String>,
    /// Where the backup is, if not at the world's own place: host and dataset.
    pub(crate) backup_at: Option<(String, String)>,
    /// Likewise the archive's host.
    pub(crate) archive_host: Option<String>,
    /// The archive's dataset, if not the world's own place.
    pub(crate) archive_dataset: Option<String>,
    pub(crate) has_backup: bool,
    pub(crate) has_archive: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    name: String,
    directory: TempDir,
    pub(crate) policy: PolicyText,
    /// The name of the machine on which runs are, if not the lab's own.
    pub(crate) node: Option<&'static str>,
    archived: BTreeSet<String>,
    bases: [String; 3],
}

fn pool(host: &str) -> String {
    let variable = format!("ZHAUL_LAB_POOL_{host}");
    env::var_os(&variable).and_then(|value| value.into_string().ok()).unwrap_or_else(|| {
        panic!("{variable} is not set: these tests need the lab's hosts; run them with `cargo lab test`")
    })
}

impl World {
    /// A world with a backup, and nothing in it. NAME is the test's alone.
    pub(crate) fn new(name: &str) -> Self {
        let bases = ["PVE0", "NFS8", "NFS9"].map(|host| format!("{}/{name}", pool(host)));
        let world = Self {
            name: name.to_owned(),
            directory: tempfile::tempdir().unwrap(),
            policy: PolicyText { has_backup: true, ..PolicyText::default() },
            node: None,
            archived: BTreeSet::new(),
            bases,
        };
        world.destroy();
        zfs(&["create", &world.bases[0]]);
        zfs(&["create", &world.source()]);
        world
    }

    /// A world with a backup and an archive.
    pub(crate) fn with_archive(name: &str) -> Self {
        let mut world = Self::new(name);
        world.policy.has_archive = true;
        world
    }

    /// A world with an archive only.
    pub(crate) fn archive_only(name: &str) -> Self {
        let mut world = Self::with_archive(name);
        world.policy.has_backup = false;
        world
    }

    /// The source root.
    pub(crate) fn source(&self) -> String {
        format!("{}/data", self.bases[0])
    }

    /// Beside the source root, on its pool.
    pub(crate) fn beside(&self, name: &str) -> String {
        format!("{}/{name}", self.bases[0])
    }

    /// A guest's volume.
    pub(crate) fn guest(&self, name: &str) -> String {
        format!("{}/{name}", self.source())
    }

    /// The backup's root.
    pub(crate) fn backup_root(&self) -> String {
        format!("{}/pve0", self.bases[1])
    }

    /// A volume's backup.
    pub(crate) fn backup(&self, name: &str) -> String {
        format!("{}/{name}", self.backup_root())
    }

    /// The archive's root.
    pub(crate) fn archive_root(&self) -> String {
        format!("{}/pve0", self.bases[2])
    }

    /// A volume's archive.
    pub(crate) fn archive(&self, name: &str) -> String {
        format!("{}/{name}", self.archive_root())
    }

    /// A directory for files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.directory().join("lock")
    }

    /// A file system with one file of `mib` MiB.
    pub(crate) fn filesystem(&self, name: &str, mib: u64) -> String {
        let guest = self.guest(name);
        zfs(&["create", &guest]);
        self.write(name, "first", mib);
        guest
    }

    /// A volume with `mib` MiB written; twice as big and some.
    pub(crate) fn volume(&self, name: &str, mib: u64) -> String {
        let guest = self.guest(name);
        let size = format!("{}M", mib * 2 + 8);
        zfs(&["create", "-s", "-V", &size, &guest]);
        look::write_device(&guest, 0, mib, &guest);
        guest
    }

    /// Writes configurations as Proxmox VE keeps them, by path and text, and gives their directory. The storage `z` is this
    /// world's source, unless the test has a `storage.cfg` of its own.
    pub(crate) fn guest_configs(&self, configs: &[(&str, &str)]) -> PathBuf {
        let directory = self.directory().join("pve");
        let storages = format!("zfspool: z\n\tpool {}\n\tcontent images,rootdir\n", self.source());
        for (path, text) in [("storage.cfg", storages.as_str())].iter().chain(configs) {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    pub(crate) fn key(&self) -> String {
        let key = self.directory().join("key");
        fs::write(&key, "correct horse battery").unwrap();
        format!("file://{}", key.display())
    }

    /// An encrypted dataset with a key of its own, loaded.
    pub(crate) fn encrypted(&self, name: &str, options: &[&str]) {
        let location = format!("keylocation={}", self.key());
        let fixed = ["create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", &location];
        zfs(&[&fixed, options, &[&self.guest(name)]].concat());
    }

    /// Unloads the key of a guest's volume.
    pub(crate) fn lock_up(&self, name: &str) {
        let guest = self.guest(name);
        if property("type", &guest) == "filesystem" {
            zfs(&["unmount", &guest]);
        }
        zfs(&["unload-key", &guest]);
    }

    /// Loads the key of an encrypted dataset, or of a raw copy of one.
    pub(crate) fn unlock(&self, dataset: &str) {
        zfs(&["load-key", "-L", &self.key(), dataset]);
    }

    /// Writes a file of `mib` MiB that do not compress into a file system.
    pub(crate) fn write(&self, name: &str, file: &str, mib: u64) {
        look::write_file(&self.guest(name), file, mib);
    }

    /// Puts the backup on this machine: for tests of many runs to which ssh does not matter.
    pub(crate) fn back_up_locally(&mut self) {
        self.policy.backup_at = Some(("local".to_owned(), self.backup_root()));
    }

    /// Writes the policy file and gives its path.
    pub(crate) fn config(&self) -> PathBuf {
        let path = self.directory().join("zhaul.toml");
        fs::write(&path, self.config_text()).unwrap();
        path
    }

    fn config_text(&self) -> String {
        let policy = &self.policy;
        let datasets = if policy.datasets.is_empty() { vec![self.source()] } else { policy.datasets.clone() };
        let mut text = format!("lock = \"{}\"\n", self.lock().display());
        let mut unless = |section: &str, key: &str, line: String| {
            if !section.lines().any(|written| written.trim_start().starts_with(key)) {
                text.push_str(&line);
            }
        };
        unless(&policy.top, "timezone", "timezone = \"UTC\"\n".to_owned());
        text.extend([format!("{}\n[source]\ndatasets = {datasets:?}\n", policy.top)]);
        if !policy.source.contains("guest-config") {
            text.push_str("guest-config = \"\"\n");
        }
        text.extend([format!("{}\n[transfer]\n{}\n", policy.source, policy.transfer)]);
        if policy.has_backup {
            let own = || ("nfs8".to_owned(), self.backup_root());
            let (host, dataset) = policy.backup_at.clone().unwrap_or_else(own);
            text.extend([format!(
                "[[backup]]\nname = \"backup\"\nhost = {host:?}\ndataset = {dataset:?}\n{}\n",
                policy.backup
            )]);
        }
        if policy.has_archive {
            let host = policy.archive_host.as_deref().unwrap_or("nfs9");
            text.extend([format!(
                "[[archive]]\nname = \"archive\"\nhost = {host:?}\ndataset = {:?}\n{}\n",
                policy.archive_dataset.clone().unwrap_or_else(|| self.archive_root()),
                policy.archive
            )]);
        }
        text
    }

    /// `zhaul run` with this policy as of `clock` (RFC 3339), reporting as JSON.
    pub(crate) fn command(&self, clock: &str, more: &[&str]) -> Command {
        let mut command = self.silent_command(clock, more);
        command.arg("--json");
        command
    }

    /// A command for a program on the machine of this world's runs.
    pub(crate) fn on_node(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(node) = self.node else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", node]).arg(program);
        command
    }

    fn silent_command(&self, clock: &str, more: &[&str]) -> Command {
        // `cargo lab mutants` plays the nights with another zhaul.
        let program = env::var_os("ZHAUL_RANDOM_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_zhaul").into());
        let mut command = self.on_node(program);
        command.arg("run").arg("--config").arg(self.config());
        command.args(["--lab-clock", clock]).args(more);
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// Runs zhaul and gives the result.
    pub(crate) fn run_with(&mut self, clock: &str, more: &[&str]) -> Run {
        let run = Run::of(self.command(clock, more));
        self.check_archive(&run);
        run
    }

    /// Runs without a report, as cron does: what it says is for a person.
    pub(crate) fn run_for_a_person(&mut self, clock: &str, more: &[&str]) -> Run {
        let run = Run::of(self.silent_command(clock, more));
        self.check_archive(&run);
        run
    }

    /// A run that must succeed.
    pub(crate) fn run(&mut self, clock: &str) -> Run {
        self.run_with(clock, &[]).expect_code(0)
    }

    /// A run that must end with `code` and do exactly what a dry run just before it said, which in turn must change
    /// nothing (promise 7).
    pub(crate) fn run_as_planned(&mut self, clock: &str, more: &[&str], code: i32) -> Run {
        let before = self.state();
        fs::remove_file(self.lock()).ok();
        let mut options = vec!["--dry-run"];
        options.extend(more);
        let dry = self.run_with(clock, &options);
        assert_eq!(before, self.state(), "a dry run changes nothing");
        assert!(!self.lock().exists(), "a dry run takes no lock");
        let run = self.run_with(clock, more).expect_code(code);
        assert_eq!(dry.plain_steps(), run.plain_steps(), "planned {dry:?}\n did {run:?}");
        assert_eq!(dry.json()["findings"], run.json()["findings"]);
        run
    }

    /// Starts a run with its output in files of the test.
    pub(crate) fn start(&self, clock: &str, more: &[&str]) -> Child {
        let mut command = self.command(clock, more);
        let file = |name| fs::File::create(self.directory().join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        command.spawn().unwrap()
    }

    /// A run whose stream into the backup of `name` is killed once the copy has grown by `bytes`. Gives the
    /// token of what has arrived.
    pub(crate) fn cut(&mut self, clock: &str, name: &str, bytes: u64) -> ResumeToken {
        let copy = self.backup(name);
        self.cut_into(clock, &copy, bytes)
    }

    /// The same for a copy on any target.
    pub(crate) fn cut_into(&mut self, clock: &str, copy: &str, bytes: u64) -> ResumeToken {
        self.cut_run(clock, &[], copy, bytes)
    }

    /// The same of a run with more words.
    pub(crate) fn cut_run(&mut self, clock: &str, more: &[&str], copy: &str, bytes: u64) -> ResumeToken {
        self.policy.transfer = String::from("rate = \"2MiB\"");
        let used = if look::exists(copy) { property("used", copy).parse().unwrap() } else { 0 };
        let mut run = self.start(clock, more);
        let receiver = self.wait_for_receive();
        look::wait_for_used(copy, used + bytes);
        look::signal(receiver, Signal::KILL);
        assert_eq!(run.wait().unwrap().code(), Some(1));
        self.wait_for_quiet();
        self.policy.transfer.clear();
        let token = property("receive_resume_token", copy);
        let stderr = fs::read_to_string(self.directory().join("stderr")).unwrap();
        let token = ResumeToken::parse(&token).unwrap_or_else(|error| panic!("{token}: {error}: {stderr}"));
        assert!(token.received_bytes > bytes / 2, "{token:?}");
        token
    }

    /// Everything that a run could change, as text: all datasets and points with GUIDs and what they hold.
    pub(crate) fn state(&self) -> String {
        let columns = "name,guid,createtxg,userrefs,referenced,receive_resume_token,readonly,mounted";
        // Data that was just written is counted only once it is on disk.
        self.bases.iter().for_each(|base| look::sync(base));
        let mut list = vec!["list", "-rHp", "-t", "filesystem,volume,snapshot,bookmark", "-o", columns];
        list.extend(self.bases.iter().map(String::as_str).filter(|base| look::exists(base)));
        zfs(&list)
    }

    fn check_archive(&mut self, run: &Run) {
        if !look::exists(&self.bases[2]) {
            assert_eq!(self.archived, BTreeSet::new(), "the archive is gone: {run:?}");
            return;
        }
        let guids = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "guid", &self.bases[2]]);
        let now: BTreeSet<String> = guids.lines().map(str::to_owned).collect();
        let lost: Vec<_> = self.archived.difference(&now).collect();
        assert!(lost.is_empty(), "the archive has lost {lost:?}: {run:?}");
        self.archived = now;
    }

    /// Processes of the target that receive into this world.
    pub(crate) fn receivers(&self) -> Vec<i32> {
        let is_ours = |word: &String| self.bases.iter().any(|base| word.starts_with(&format!("{base}/")));
        look::processes(|words| words.iter().any(|word| word == "receive") && words.iter().any(is_ours))
    }

    /// Waits until a stream is being received, or fails.
    pub(crate) fn wait_for_receive(&self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(pid) = self.receivers().pop() {
                return pid;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{}: nothing is being received", self.name);
    }

    /// Waits until no receive and no hold is left over: a killed run's end when its connections and its call processes have gone.
    pub(crate) fn wait_for_quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.receivers().is_empty() || self.is_held_by_a_run() {
            assert!(Instant::now() < deadline, "{}: a receive or a hold does not end", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_held_by_a_run(&self) -> bool {
        // The source itself may be lost.
        let rows = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "name,userrefs", &self.bases[0]]);
        let held: Vec<&str> = rows
            .lines()
            .filter_map(|row| row.split_once('\t').filter(|row| row.1 != "0"))
            .map(|row| row.0)
            .collect();
        !held.is_empty() && zfs(&[&["holds", "-H"], held.as_slice()].concat()).contains("\tzhaul-")
    }

    fn destroy(&self) {
        for base in &self.bases {
            if !look::exists(base) {
                continue;
            }
            for held in zfs(&["list", "-rHp", "-t", "snapshot", "-o", "name,userrefs", base]).lines() {
                let (name, count) = held.split_once('\t').unwrap();
                if count != "0" {
                    zfs(&["release", "test", name]);
                }
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let output = Command::new("zfs").args(["destroy", "-R", base]).output().unwrap();
                if output.status.success() {
                    break;
                }
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                if Instant::now() > deadline {
                    assert!(thread::panicking(), "cannot clean up {base}: {why}");
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// The property of a guest's volume.
    pub(crate) fn set(&self, name: &str, setting: &str) {
        zfs(&["set", setting, &self.guest(name)]);
    }

    /// The transaction group of a snapshot.
    pub(crate) fn txg(&self, name: &str, snapshot: &str) -> u64 {
        property("createtxg", &format!("{}@{snapshot}", self.guest(name))).parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.destroy();
    }
}
