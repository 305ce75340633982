//! Two nodes of one Proxmox VE cluster, between which a machine moves. Both back up to one root.
//!
//! Each node has its own pool in a cluster, under the same name everywhere. Here it is a tree of datasets that has that name
//! while the node's runs are made, so that a volume is called the same on all nodes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::guest_configs::decoded;
use crate::look::{self, assert_same_newest, content, guids, snapshots};
use crate::outcome::{Did, Run};
use crate::pool::{property, zfs};
use crate::spare::SpareHost;
use crate::world::{DAY_1, World};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) const ROOT_DISK: &str = "vm-100-disk-0";
pub(crate) const DATA_DISK: &str = "vm-100-disk-1";
pub(crate) const DISKS: [&str; 2] = [ROOT_DISK, DATA_DISK];
/// What one run may move where it sends what has changed: 1 MiB of each disk to each of two targets, and what the connections
/// need. The disks have five times as much.
pub(crate) const INCREMENTS: u64 = 6 * MIB;
pub(crate) const CONFIG: &str =
    "boot: order=scsi0\nmemory: 2048\nscsi0: z:vm-100-disk-0,size=24M\nscsi1: z:vm-100-disk-1,size=24M\n";
pub(crate) const OTHERS: [(&str, &str, &str); 2] =
    [("pve0", "101", "subvol-101-disk-0"), ("pve1", "201", "subvol-201-disk-0")];

/// Two nodes of one cluster. Each has a container of its own, and the machine 100 moves between them.
pub(crate) struct Cluster {
    pub(crate) host: SpareHost,
    pub(crate) world: World,
    /// The node whose tree is where the policy looks for it.
    pub(crate) at: &'static str,
}

impl Cluster {
    /// The machine is on pve0, with a first backup and a first archive.
    pub(crate) fn new(name: &'static str, number: u8) -> Self {
        let mut cluster = Self::empty(name, number);
        for disk in DISKS {
            cluster.world.volume(disk, 8);
        }
        cluster.configure("pve0", CONFIG);
        cluster.run(DAY_1, &["--archive"], 0);
        cluster.go_to("pve1");
        cluster.run(DAY_1, &["--archive"], 0);
        cluster.go_to("pve0");
        cluster
    }

    /// Only the two containers exist.
    pub(crate) fn empty(name: &'static str, number: u8) -> Self {
        let (host, mut world) = SpareHost::with_world(name, number, "keep-last = 3\n", None);
        host.wait_for_answer(world.directory());
        world.policy.has_archive = true;
        world.policy.archive_host = Some(name.to_owned());
        world.policy.archive = world.policy.backup.replace("keep-last = 3\n", "");
        let pve = world.guest_configs(&[]);
        world.policy.source = format!("guest-config = \"{}\"\nkeep-last = 3", pve.display());
        let mut cluster = Self { host, world, at: "pve0" };
        zfs(&["create", &cluster.tree("pve1")]);
        for (node, id, volume) in OTHERS {
            fs::create_dir_all(pve.join(format!("nodes/{node}/qemu-server"))).unwrap();
            fs::create_dir_all(pve.join(format!("nodes/{node}/lxc"))).unwrap();
            fs::write(pve.join(format!("nodes/{node}/lxc/{id}.conf")), format!("rootfs: z:{volume}\n"))
                .unwrap();
            let volume = cluster.volume(node, volume);
            zfs(&["create", &volume]);
            look::write_file(&volume, "first", 1);
        }
        cluster.link();
        cluster
    }

    pub(crate) fn pve(&self) -> PathBuf {
        self.world.directory().join("pve")
    }

    /// The file of the machine on a node.
    pub(crate) fn file(&self, node: &str) -> PathBuf {
        self.pve().join(format!("nodes/{node}/qemu-server/100.conf"))
    }

    pub(crate) fn configure(&self, node: &str, text: &str) {
        fs::write(self.file(node), text).unwrap();
    }

    /// Shows the cluster's files as this node sees them.
    pub(crate) fn link(&mut self) {
        self.world.node = Some(self.at);
        let pve = self.pve();
        let targets = ["local", "qemu-server", "lxc"].map(|name| (name, name.trim_start_matches("local")));
        for (name, below) in targets {
            fs::remove_file(pve.join(name)).ok();
            symlink(format!("nodes/{}/{below}", self.at).trim_end_matches('/'), pve.join(name)).unwrap();
        }
        self.set_quorate(true);
    }

    pub(crate) fn set_quorate(&self, is_quorate: bool) {
        let (node, quorate) = (self.at, u8::from(is_quorate));
        let text = format!(
            r#"{{"nodename": "{node}", "version": 4, "cluster": {{"name": "c", "version": 2, "nodes": 2, "quorate": {quorate}}}, "nodelist": {{"pve0": {{"id": 1}}, "pve1": {{"id": 2}}}}}}"#
        );
        fs::write(self.pve().join(".members"), text).unwrap();
    }

    /// The tree of a node.
    pub(crate) fn tree(&self, node: &str) -> String {
        if node == self.at { self.world.source() } else { self.world.beside(node) }
    }

    /// A volume on a node.
    pub(crate) fn volume(&self, node: &str, name: &str) -> String {
        format!("{}/{name}", self.tree(node))
    }

    /// Goes to another node.
    pub(crate) fn go_to(&mut self, node: &'static str) {
        if node == self.at {
            return;
        }
        settle();
        zfs(&["rename", &self.world.source(), &self.world.beside(self.at)]);
        zfs(&["rename", &self.world.beside(node), &self.world.source()]);
        self.at = node;
        self.link();
    }

    /// A run on this node.
    pub(crate) fn run(&mut self, clock: &str, more: &[&str], code: i32) -> Run {
        self.world.run_as_planned(clock, more, code)
    }

    /// A run that sends increments alone, by its report and by the bytes on the wire, to both targets.
    pub(crate) fn run_incrementally(&mut self, clock: &str) -> Run {
        let before = self.host.bytes();
        let run = self.run(clock, &["--archive"], 0);
        let moved = self.host.bytes() - before;
        for place in ["backup", "archive"] {
            let sends = run.sends(place);
            let is_machines = |send: &&Did| send.step["dataset"].to_string().contains("vm-100-");
            assert_eq!(sends.iter().filter(is_machines).count(), 2, "{run:?}");
            assert!(sends.iter().all(|send| send.base().is_some()), "{place}: {run:?}");
        }
        assert!(moved < INCREMENTS, "{moved} bytes: {run:?}");
        run
    }

    /// The machine writes to its disks on this node.
    pub(crate) fn write(&self, text: &str) {
        for disk in DISKS {
            look::write_device(&self.world.guest(disk), 1, 1, text);
        }
    }

    /// Copies all disks of the machine to another node, as `qm migrate` does with local disks (`pvesm export | pvesm import`).
    pub(crate) fn send_disks(&self, to: &str) {
        for disk in DISKS {
            let here = self.world.guest(disk);
            zfs(&["snapshot", &format!("{here}@__migration__")]);
            pipe(&["-Rp", &format!("{here}@__migration__")], &self.volume(to, disk));
            zfs(&["destroy", &format!("{}@__migration__", self.volume(to, disk))]);
            zfs(&["destroy", &format!("{here}@__migration__")]);
        }
    }

    /// Migrates the machine from this node to another one, and goes there.
    pub(crate) fn migrate(&mut self, to: &'static str) {
        self.send_disks(to);
        settle();
        for disk in DISKS {
            zfs(&["destroy", "-r", &self.world.guest(disk)]);
        }
        fs::rename(self.file(self.at), self.file(to)).unwrap();
        self.go_to(to);
    }

    /// The storage replication of this number from this node: the newest snapshot with all before it, then what is newer than
    /// the last one. What the other node has beyond that is destroyed there, by `zfs receive -F`.
    pub(crate) fn replicate(&self, to: &str, number: u32) {
        let point = |number: u32| format!("@__replicate_100-0_{number}__");
        for disk in DISKS {
            let (here, there) = (self.world.guest(disk), self.volume(to, disk));
            let snapshot = format!("{here}{}", point(number));
            zfs(&["snapshot", &snapshot]);
            if number == 1 {
                pipe(&["-Rp", &snapshot], &there);
                continue;
            }
            let earlier = point(number - 1);
            pipe(&["-Rp", "-I", &earlier, &snapshot], &there);
            for dataset in [&here, &there] {
                zfs(&["destroy", &format!("{dataset}{earlier}")]);
            }
        }
    }

    pub(crate) fn copies(&self, disk: &str) -> [String; 2] {
        [self.world.backup(disk), self.world.archive(disk)]
    }

    /// All copies of the machine, with all their points: what a run on a node that does not have it must leave alone.
    pub(crate) fn state_of_copies(&self) -> Vec<BTreeMap<String, String>> {
        DISKS.iter().flat_map(|disk| self.copies(disk)).map(|copy| guids(&copy)).collect()
    }

    /// Both copies have what the disks have on this node, with its configuration, and nothing was set aside.
    pub(crate) fn assert_continued(&self) {
        self.assert_followed();
        for copy in DISKS.iter().flat_map(|disk| self.copies(disk)) {
            assert_eq!(look::all_set_aside(&copy), Vec::<String>::new());
        }
    }

    pub(crate) fn assert_followed(&self) {
        let text = fs::read_to_string(self.file(self.at)).unwrap();
        for disk in DISKS {
            for copy in self.copies(disk) {
                assert_same_newest(&self.world.guest(disk), &copy);
                let newest = format!("{copy}@{}", snapshots(&copy).pop().unwrap());
                assert_eq!(decoded(&newest, "zhaul:config"), text);
                let writer = property("zhaul:writer", &copy);
                assert_eq!(
                    writer,
                    format!(
                        "{} {}:{}",
                        property("guid", &self.world.guest(disk)),
                        self.at,
                        self.world.guest(disk)
                    )
                );
            }
        }
    }

    /// Wherever a snapshot is, it holds the same.
    pub(crate) fn assert_true(&self) {
        for disk in DISKS {
            let mut known: BTreeMap<String, (String, u64)> = BTreeMap::new();
            let copies = self.copies(disk).into_iter();
            let aside = copies.clone().flat_map(|copy| look::all_set_aside(&copy));
            let nodes = ["pve0", "pve1"].map(|node| self.volume(node, disk));
            for dataset in nodes.into_iter().chain(copies).chain(aside).filter(|name| look::exists(name)) {
                for (name, guid) in guids(&dataset) {
                    let snapshot = format!("{dataset}@{name}");
                    let now = content(&snapshot);
                    let (first, before) = known.entry(guid).or_insert((snapshot.clone(), now));
                    assert_eq!(*before, now, "{first} and {snapshot}");
                }
            }
        }
    }

    /// A run on a node that does not have the machine: its copies stay as they are, and it is not sent.
    pub(crate) fn run_without_machine(&mut self, clock: &str) -> Run {
        let before = self.state_of_copies();
        let run = self.run(clock, &["--archive"], 0);
        assert_eq!(self.state_of_copies(), before, "{run:?}");
        let own = OTHERS.iter().find(|(node, ..)| *node == self.at).unwrap().2;
        assert_same_newest(&self.world.guest(own), &self.world.backup(own));
        run
    }
}

/// udev looks at each device that comes.
pub(crate) fn settle() {
    assert!(Command::new("udevadm").arg("settle").status().unwrap().success());
}

/// `zfs send OPTIONS | zfs receive -F INTO`, as Proxmox VE does it.
pub(crate) fn pipe(send: &[&str], into: &str) {
    let line = "into=$1; shift; zfs send \"$@\" | zfs receive -F \"$into\"";
    let status = Command::new("sh").args(["-c", line, "sh", into]).args(send).status();
    assert!(status.unwrap().success(), "zfs send {send:?} | zfs receive -F {into}");
}

pub(crate) fn is_left_out(run: &Run, dataset: &str, reason: &str) -> bool {
    let json = run.json();
    let all = json["left_out"].as_array().unwrap();
    all.iter().any(|one| one["dataset"] == dataset && one["reason"] == reason)
}

/// A second node with the same guest at the same time, by its own configuration, with its tree beside the other one's.
pub(crate) fn at_the_same_time(cluster: &Cluster, has_configs: bool, clock: &str) -> Command {
    let world = &cluster.world;
    let directory = world.directory().join("pve1");
    fs::create_dir_all(directory.join("qemu-server")).unwrap();
    fs::create_dir_all(directory.join("nodes/pve0/qemu-server")).unwrap();
    let storage = format!("zfspool: z\n\tpool {}\n\tcontent images\n", world.beside("pve1"));
    for (file, text) in [
        ("storage.cfg", storage.as_str()),
        ("qemu-server/100.conf", CONFIG),
        ("nodes/pve0/qemu-server/100.conf", CONFIG),
        (
            ".members",
            r#"{"nodename": "pve1", "version": 4, "cluster": {"nodes": 2, "quorate": 1}, "nodelist": {"pve0": {}, "pve1": {}}}"#,
        ),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
    let text = fs::read_to_string(world.config()).unwrap();
    let line = |from: &str, to: &str, text: String| {
        let changed = text.replace(from, to);
        assert_ne!(text, changed, "{from}");
        changed
    };
    let text = line(&format!("{:?}", world.source()), &format!("{:?}", world.beside("pve1")), text);
    let lock = world.lock().display().to_string();
    let text = line(&lock, &format!("{lock}-pve1"), text);
    let pve = if has_configs { directory.display().to_string() } else { String::new() };
    let changed = |line: &str| {
        let is_it = line.starts_with("guest-config");
        if is_it { format!("guest-config = \"{pve}\"\n") } else { format!("{line}\n") }
    };
    let text = text.lines().map(changed);
    let path = world.directory().join("pve1.toml");
    fs::write(&path, text.collect::<String>()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", "hostname pve1 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_zhaul")]);
    command.arg("run").arg("--config").arg(path).args(["--lab-clock", clock, "--json"]);
    command
}
