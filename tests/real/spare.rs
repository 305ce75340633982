//! A pool and a host of a test's own: what is taken away from them, no other test misses.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent;
use crate::world::World;

/// The last numbers of the addresses that tests have given to hosts of their own.
static TAKEN: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());

/// Runs a program, which must succeed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pool on files, destroyed at the end.
#[derive(Debug)]
pub(crate) struct SparePool {
    pub(crate) name: String,
    directory: PathBuf,
    has_own_disk: bool,
}

impl SparePool {
    /// A pool of `mib` MiB.
    pub(crate) fn new(name: &str, mib: u64) -> Self {
        Self::make(name, mib, None)
    }

    /// A pool of `mib` MiB with none of the features that came after version 28.
    pub(crate) fn without_features(name: &str, mib: u64) -> Self {
        let pool = Self::new(name, mib);
        run("zpool", &["destroy", &pool.name]);
        let file = pool.file("first", mib);
        run("zpool", &["create", "-f", "-d", "-o", "cachefile=none", &pool.name, &file]);
        pool
    }

    /// The features that streams of zhaul's need, as `zpool upgrade` enables them.
    pub(crate) fn upgrade(&self) {
        run("zpool", &["upgrade", &self.name]);
    }

    /// A pool of `mib` MiB whose disk takes only `room` MiB: then it fails, and the pool suspends all I/O.
    pub(crate) fn with_bad_disk(name: &str, mib: u64, room: u64) -> Self {
        Self::make(name, mib, Some(room))
    }

    fn make(name: &str, mib: u64, room: Option<u64>) -> Self {
        // On a machine with an OpenZFS of its own the lab's prefix keeps its pools apart from the machine's.
        let set = |name: &str| env::var_os(name).and_then(|value| value.into_string().ok());
        let home =
            set("LAB_POOL_DIR").expect("LAB_POOL_DIR is set in the lab: run this with `cargo lab test`");
        let name = format!("{}{name}", set("LAB_POOL_PREFIX").unwrap_or_default());
        let directory = Path::new(&home).join(&name);
        fs::create_dir_all(&directory).unwrap();
        let disk_size = room.map(|room| format!("size={room}M"));
        if let Some(size) = &disk_size {
            run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", directory.to_str().unwrap()]);
        }
        let pool = Self { name, directory, has_own_disk: disk_size.is_some() };
        let file = pool.file("first", mib);
        run("zpool", &["create", "-f", "-o", "cachefile=none", &pool.name, &file]);
        pool
    }

    fn file(&self, name: &str, mib: u64) -> String {
        let path = self.directory.join(name);
        fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Makes room.
    pub(crate) fn grow(&self, mib: u64) {
        let file = self.file("second", mib);
        run("zpool", &["add", "-f", &self.name, &file]);
    }

    /// Writes until the bad disk has failed.
    pub(crate) fn suspend(&self, dataset: &str) {
        let path = format!("/{dataset}/fill");
        // It waits for the disk, and ends when that is mended.
        run("sh", &["-c", "dd if=/dev/urandom of=\"$1\" bs=1M >/dev/null 2>&1 &", "sh", &path]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while run("zpool", &["list", "-H", "-o", "health", &self.name]).trim() != "SUSPENDED" {
            assert!(Instant::now() < deadline, "{} is not suspended", self.name);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Gives the disk room, and resumes the pool.
    pub(crate) fn mend(&self) {
        let directory = self.directory.to_str().unwrap();
        run("mount", &["-o", "remount,size=2G", directory]);
        run("zpool", &["clear", &self.name]);
    }

    /// Takes the pool away.
    pub(crate) fn export(&self) {
        run("zpool", &["export", &self.name]);
    }

    /// Brings it back.
    pub(crate) fn import(&self) {
        let directory = self.directory.to_str().unwrap();
        run("zpool", &["import", "-o", "cachefile=none", "-d", directory, &self.name]);
    }
}

impl Drop for SparePool {
    fn drop(&mut self) {
        if self.has_own_disk {
            let directory = self.directory.to_str().unwrap();
            drop(Command::new("mount").args(["-o", "remount,size=2G", directory]).output());
            drop(Command::new("zpool").args(["clear", &self.name]).output());
        }
        // It may be exported, where a test failed.
        drop(Command::new("zpool").args(["destroy", "-f", &self.name]).output());
        if self.has_own_disk {
            drop(Command::new("umount").arg(&self.directory).output());
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// A server on the lab's bridge, with a network and an sshd of its own.
#[derive(Debug)]
pub(crate) struct SpareHost {
    name: &'static str,
    address: String,
}

impl SpareHost {
    /// Host `name` at 10.77.0.`number`: both are the test's alone.
    pub(crate) fn new(name: &'static str, number: u8) -> Self {
        let is_free = TAKEN.lock().unwrap().insert(number);
        assert!(is_free, "another test has 10.77.0.{number}");
        let host = Self { name, address: format!("10.77.0.{number}") };
        // As the lab makes its own (lab.sh), in the network in which its bridge is.
        let script = ". /lab/run/lab.sh; lab_host \"$1\" \"$2\"";
        let number = number.to_string();
        run("nsenter", &["--net=/proc/1/ns/net", "sh", "-c", script, "sh", name, &number]);
        host
    }

    /// A world whose backup is on a host of its own, behind an agent with these options or a shell; `lines` are more of its
    /// section.
    pub(crate) fn with_world(
        name: &'static str,
        number: u8,
        lines: &str,
        agent_options: Option<&str>,
    ) -> (Self, World) {
        let host = Self::new(name, number);
        let mut world = World::new(name);
        let mut section = lines.to_owned();
        let identity = if let Some(options) = agent_options {
            section.push_str(&agent::key(&world, &options.replace("ROOT", &world.backup_root())));
            fs::read_to_string(world.directory().join("ssh_config")).unwrap()
        } else {
            let file = world.directory().join("ssh_config");
            section.extend(["ssh-config = \"", file.to_str().unwrap(), "\"\n"]);
            String::new()
        };
        let config = host.ssh_config(world.directory());
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}{identity}")).unwrap();
        world.policy.backup = section;
        world.policy.backup_at = Some((name.to_owned(), world.backup_root()));
        (host, world)
    }

    /// Changes how packets to the host queue at the bridge's end of its cable: words of `tc qdisc`, after the device.
    pub(crate) fn queue(&self, action: &str, words: &[&str]) {
        let device = format!("lab-{}", self.name);
        let before = ["--net=/proc/1/ns/net", "tc", "qdisc", action, "dev", &device];
        run("nsenter", &[&before[..], words].concat());
    }

    /// A file for `ssh -F` by which the host is found under its name.
    pub(crate) fn ssh_config(&self, directory: &Path) -> PathBuf {
        let path = directory.join("ssh_config");
        let text = format!(
            "Host {}\n HostName {}\n HostKeyAlias nfs8\n User root\n KexAlgorithms curve25519-sha256\n",
            self.name, self.address
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// Waits until ssh reaches it: a cable that has just been plugged in carries nothing for a moment.
    pub(crate) fn wait_for_answer(&self, directory: &Path) {
        let config = self.ssh_config(directory);
        let deadline = Instant::now() + Duration::from_secs(30);
        let answers = || {
            let words = ["-F", config.to_str().unwrap(), "-o", "ConnectTimeout=5", self.name, "true"];
            Command::new("ssh").args(words).output().unwrap().status.success()
        };
        while !answers() {
            assert!(Instant::now() < deadline, "{} does not answer", self.name);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// All bytes that its network interface has received and sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        let counters = self.inside(&["cat", "/proc/net/dev"]);
        let line = counters.lines().find_map(|line| line.trim_start().strip_prefix("eth0:")).unwrap();
        let columns: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        columns[0] + columns[8]
    }

    /// Ends sshd and every session, as where a host goes down.
    pub(crate) fn stop_sshd(&self) {
        let pids = Command::new("ip").args(["netns", "pids", self.name]).output().unwrap();
        for pid in String::from_utf8(pids.stdout).unwrap().split_whitespace() {
            crate::look::signal(pid.parse().unwrap(), rustix::process::Signal::KILL);
        }
        fs::remove_file(format!("/run/lab/{}.pid", self.name)).ok();
    }

    /// Starts sshd again.
    pub(crate) fn start_sshd(&self) {
        run("/lab/bin/sshd-start", &[self.name]);
    }

    /// From now on every packet of the connections that are open vanishes, both ways and for ever, as where a firewall has
    /// forgotten them or the peer has lost its power: neither end is notified. New connections work.
    pub(crate) fn forget_connections(&self) {
        for (_, port) in self.connections() {
            self.inside(&["iptables", "-A", "INPUT", "-p", "tcp", "--sport", &port, "-j", "DROP"]);
            self.inside(&["iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"]);
        }
    }

    /// From now on whatever comes over the connections that are open, but for those with sshd, is answered with a reset.
    pub(crate) fn reset_connections(&self) {
        let reset = ["-j", "REJECT", "--reject-with", "tcp-reset"];
        let mut is_any = false;
        for (_, port) in self.connections().iter().filter(|(own, _)| own != "22") {
            self.inside(&[&["iptables", "-A", "INPUT", "-p", "tcp", "--sport", port][..], &reset].concat());
            is_any = true;
        }
        assert!(is_any, "{}: there is no connection but sshd's", self.name);
    }

    /// The ports of the connections that are open, each with the peer's.
    fn connections(&self) -> Vec<(String, String)> {
        let port = |address: &str| {
            let (_, port) = address.rsplit_once(':').unwrap();
            u16::from_str_radix(port, 16).unwrap().to_string()
        };
        let mut open = Vec::new();
        for line in self.inside(&["cat", "/proc/net/tcp"]).lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if columns[3] == "01" {
                open.push((port(columns[1]), port(columns[2])));
            }
        }
        assert!(!open.is_empty(), "{}: no client is connected", self.name);
        open
    }

    fn inside(&self, words: &[&str]) -> String {
        run("/lab/bin/on", &[&[self.name], words].concat())
    }

    /// Pulls the network cable.
    pub(crate) fn unplug(&self) {
        run("/lab/bin/unplug", &[self.name]);
    }

    /// Plugs it in again.
    pub(crate) fn plug(&self) {
        run("/lab/bin/plug", &[self.name]);
    }
}

impl Drop for SpareHost {
    fn drop(&mut self) {
        self.stop_sshd();
        drop(Command::new("ip").args(["netns", "del", self.name]).output());
    }
}
