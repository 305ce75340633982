//! Which datasets are served, which are not, and what is said of them.

use std::fs;

use super::*;
use crate::discover::read_proxmox;
use crate::host::fake::history;
use crate::model::{Answer, DatasetKind, Guid, Proxmox, UserProperty};
use crate::policy::{Flags, Pattern};

const STORAGES: &str = "zfspool: local-zfs\n\tpool rpool/data\n\nzfspool: backup-zfs\n\tpool tank/vms\n\n\
    lvmthin: lvm\n\tthinpool data\n\tvgname pve\n\nzfspool: off\n\tpool tank/off\n\tdisable\n\n\
    zfspool: other\n\tpool tank/other\n\tnodes pve9\n";

/// A node with these datasets, `NAME` or `NAME POINTS`, and these files in its configuration.
struct Node {
    datasets: Vec<(String, String)>,
    files: Vec<(String, String)>,
    roots: Vec<&'static str>,
    opted_out: Vec<&'static str>,
    marked: Vec<&'static str>,
    exclude: Vec<&'static str>,
    guests: Vec<u32>,
}

impl Node {
    fn new(datasets: &[&str]) -> Self {
        let split = |text: &&str| {
            let (name, points) = text.split_once(' ').unwrap_or((text, ""));
            (name.to_owned(), points.to_owned())
        };
        Self {
            datasets: datasets.iter().map(split).collect(),
            files: Vec::new(),
            roots: vec!["rpool/data", "tank"],
            opted_out: Vec::new(),
            marked: Vec::new(),
            exclude: Vec::new(),
            guests: Vec::new(),
        }
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    fn with_storages(self) -> Self {
        self.file("storage.cfg", STORAGES)
    }

    fn proxmox(&self) -> Proxmox {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in &self.files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        if self.files.is_empty() { Proxmox::default() } else { read_proxmox(directory.path()) }
    }

    /// One line for each dataset: `+` where it is served.
    fn outcome(&self) -> Vec<String> {
        let roots: BTreeSet<&str> = self.roots.iter().copied().collect();
        let all = roots.iter().map(|root| ((*root).to_owned(), String::new())).chain(self.datasets.clone());
        let mark = |mut dataset: Dataset| {
            if self.marked.contains(&dataset.name.as_str()) {
                let property = UserProperty { value: "1".to_owned(), is_local: true };
                dataset.user.insert(RESTORE_PROPERTY, property);
            }
            dataset
        };
        let listing = Listing::new(all.map(|(name, points)| mark(dataset(&name, &points, &self.opted_out))));
        let flags = Flags {
            dataset: self.roots.iter().map(|root| DatasetName::new(root).unwrap()).collect(),
            hostname: "pve0".to_owned(),
            ..Flags::default()
        };
        let mut policy = Policy::from_flags(&flags).unwrap();
        policy.exclude = self.exclude.iter().map(|text| Pattern::new(text).unwrap()).collect();
        let inventory = Inventory {
            source: Answer::Listed(listing.clone()),
            targets: std::collections::BTreeMap::new(),
            proxmox: self.proxmox(),
            host: "pve0".to_owned(),
            append_only: BTreeSet::new(),
        };
        let guests = self.guests.iter().map(|id| GuestId(*id)).collect();
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        let request = Request { now, take_snapshot: true, force_archive: false, guests };
        let selection = select(&policy, &inventory, &listing, &request);
        assert_eq!(listing.datasets().count(), selection.selected.len() + selection.left_out.len());
        let mut lines: Vec<String> = selection.selected.iter().map(served).collect();
        let named = selection.left_out.iter().filter(|one| one.reason != LeftOutReason::Container);
        lines.extend(named.map(|one| format!("- {} {}", one.dataset, reason(one))));
        lines.extend(selection.of_unknown_guests.iter().map(|(name, id)| format!("? {name} {id}")));
        lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
        lines
    }
}

fn served(one: &Selected<'_>) -> String {
    let guest = one.guest_id.map(|id| format!(" {id}")).unwrap_or_default();
    let caution = match one.caution {
        Caution::None => "",
        Caution::KeepAll => " keep-all",
        Caution::ContinueOnly => " continue-only",
    };
    format!("+ {}{guest}{caution}", one.dataset.name)
}

fn reason(one: &LeftOut) -> String {
    let was_served = if one.was_served { ", was served" } else { "" };
    let reason = match &one.reason {
        LeftOutReason::Container => "container".to_owned(),
        LeftOutReason::Excluded { pattern } => format!("excluded {pattern}"),
        LeftOutReason::OptedOut { set_on } => {
            format!("off on {}", set_on.as_ref().map_or("", |name| name.as_str()))
        }
        LeftOutReason::NotBackedUp { lines, .. } => lines.join(" + "),
        LeftOutReason::OnOtherNode { guest, node } => format!("{guest} on {node}"),
        LeftOutReason::NoDisk { guest, role } => format!("{guest} {role:?}"),
        LeftOutReason::GuestUnreadable { guest } => format!("{guest} unreadable"),
        LeftOutReason::InDoubt { guest } => format!("{guest} in doubt"),
        LeftOutReason::BeingRestored => "being restored".to_owned(),
        LeftOutReason::GuestBeingRestored { guest } => format!("{guest} being restored"),
        LeftOutReason::Locked { guest, lock } => format!("{guest} locked {lock}"),
        LeftOutReason::NotAskedFor => "not asked for".to_owned(),
    };
    format!("{reason}{was_served}")
}

fn dataset(name: &str, points: &str, opted_out: &[&str]) -> Dataset {
    let name = DatasetName::new(name).unwrap();
    let mut dataset = Dataset::new(name.clone(), Guid(1), DatasetKind::Volume);
    dataset.history = history(points).unwrap();
    if let Some(off) = opted_out.iter().find(|off| name.is_within(&DatasetName::new(off).unwrap())) {
        let property = UserProperty { value: "off".to_owned(), is_local: *off == name.as_str() };
        dataset.user.insert(BACKUP_PROPERTY, property);
    }
    dataset
}

const BOOT: &str = "scsi0: local-zfs:vm-101-disk-0\n";

#[test]
fn as_long_as_one_disk_of_a_guest_is_not_ready_for_use_none_is_served() {
    let mut node = Node::new(&[
        "rpool/data/vm-101-disk-0",
        "rpool/data/vm-102-disk-0",
        "rpool/data/zhaul-incoming/vm-102-disk-0",
    ])
    .with_storages()
    .file("qemu-server/101.conf", BOOT)
    .file("qemu-server/102.conf", "scsi0: local-zfs:vm-102-disk-0\n");
    node.opted_out = vec!["rpool/data/zhaul-incoming/vm-102-disk-0"];
    node.marked = vec!["rpool/data/zhaul-incoming/vm-102-disk-0", "rpool/data/vm-101-disk-0"];
    node.datasets.push(("tank/vms/vm-101-disk-1".to_owned(), String::new()));
    assert_eq!(
        node.outcome(),
        [
            "- rpool/data/vm-101-disk-0 being restored",
            "+ rpool/data/vm-102-disk-0 102",
            "- rpool/data/zhaul-incoming/vm-102-disk-0 off on rpool/data/zhaul-incoming/vm-102-disk-0",
            "- tank/vms/vm-101-disk-1 101 being restored",
        ]
    );
}

#[test]
fn a_disk_of_one_name_on_another_storage_leaves_nothing_out() {
    let node = Node::new(&["rpool/data/vm-101-disk-0", "tank/vms/vm-101-disk-0"]).with_storages();
    let both = "virtio0: local-zfs:vm-101-disk-0\nvirtio2: backup-zfs:vm-101-disk-0,backup=0\n";
    let left = "- tank/vms/vm-101-disk-0 qemu-server/101.conf line 2 (virtio2)";
    assert_eq!(node.file("qemu-server/101.conf", both).outcome(), ["+ rpool/data/vm-101-disk-0 101", left]);
}

#[test]
fn what_cannot_be_mapped_is_served() {
    for storage in ["lvm", "off", "other", "unknown", "LOCAL-ZFS"] {
        let line = format!("scsi1: {storage}:vm-101-disk-0,backup=0\n{BOOT}");
        let datasets = ["rpool/data/vm-101-disk-0", "tank/off/vm-101-disk-0", "tank/other/vm-101-disk-0"];
        let outcome = Node::new(&datasets).with_storages().file("qemu-server/101.conf", &line).outcome();
        assert!(outcome.iter().all(|line| line.starts_with('+')), "{storage}: {outcome:?}");
        assert_eq!(outcome[0], "+ rpool/data/vm-101-disk-0 101");
    }
    let node = Node::new(&["rpool/data/vm-101-disk-0"])
        .file("qemu-server/101.conf", "scsi1: local-zfs:vm-101-disk-0,backup=0\n");
    assert_eq!(node.outcome(), ["+ rpool/data/vm-101-disk-0 101", "+ tank"], "no storage.cfg");
}

#[test]
fn every_line_that_means_the_dataset_must_leave_it_out() {
    let off = "scsi1: local-zfs:vm-101-disk-0,backup=0\n";
    let datasets = ["rpool/data/vm-101-disk-0", "rpool/data/vm-101-disk-0/below"];
    let served = ["+ rpool/data/vm-101-disk-0 101", "+ rpool/data/vm-101-disk-0/below 101", "+ tank"];
    let line = "qemu-server/101.conf line 1 (scsi1)";
    let left = [
        format!("- rpool/data/vm-101-disk-0 {line}"),
        format!("- rpool/data/vm-101-disk-0/below {line}"),
        "+ tank".to_owned(),
    ];
    let with = |more: &str, other: &str| {
        let node = Node::new(&datasets).with_storages().file("qemu-server/101.conf", &format!("{off}{more}"));
        let node = if other.is_empty() { node } else { node.file("qemu-server/102.conf", other) };
        node.outcome()
    };
    assert_eq!(with("", ""), left);
    assert_eq!(
        with("[snap]\nscsi1: local-zfs:vm-101-disk-0\n", ""),
        left,
        "what a snapshot says does not count"
    );
    assert_eq!(with("[PENDING]\nscsi1: local-zfs:vm-101-disk-0\n", ""), left, "nor what will hold");
    assert_eq!(with("scsi2: local-zfs:vm-101-disk-0\n", ""), served);
    assert_eq!(with("unused0: local-zfs:vm-101-disk-0\n", ""), served);
    assert_eq!(with("", "scsi0: local-zfs:vm-101-disk-0\n"), served);
    assert_eq!(with("", "scsi0: local-zfs:vm-102-disk-0\n"), left);
    let twice = with("", "scsi0: local-zfs:vm-101-disk-0,backup=off\n");
    assert_eq!(twice[0], format!("- rpool/data/vm-101-disk-0 {line} + qemu-server/102.conf line 1 (scsi0)"));
    let only_then = Node::new(&datasets).with_storages();
    let only_then = only_then.file("qemu-server/101.conf", &format!("[snap]\n{off}"));
    assert_eq!(only_then.outcome(), served);
}

#[test]
fn two_storages_may_share_a_pool() {
    let storages = "zfspool: a\n\tpool rpool/data\n\nzfspool: b\n\tpool rpool/data\n";
    let text =
        "rootfs: a:subvol-101-disk-0\nmp0: b:subvol-101-disk-1,mp=/x\nmp1: b:subvol-101-disk-0,mp=/y\n";
    let node = Node::new(&["rpool/data/subvol-101-disk-0", "rpool/data/subvol-101-disk-1"]);
    let outcome = node.file("storage.cfg", storages).file("lxc/101.conf", text).outcome();
    let left = "- rpool/data/subvol-101-disk-1 lxc/101.conf line 2 (mp0)";
    assert_eq!(outcome, ["+ rpool/data/subvol-101-disk-0 101", left, "+ tank"]);
}

#[test]
fn a_linked_clone_is_its_own_volume_and_the_template_is_another_guests() {
    let text = "scsi0: local-zfs:base-9-disk-0/vm-100-disk-0,backup=0\n";
    let template = "scsi0: local-zfs:base-9-disk-0\ntemplate: 1\n";
    let node = Node::new(&["rpool/data/base-9-disk-0", "rpool/data/vm-100-disk-0"]).with_storages();
    let node = node.file("qemu-server/100.conf", text).file("qemu-server/9.conf", template);
    let left = "- rpool/data/vm-100-disk-0 qemu-server/100.conf line 1 (scsi0)";
    assert_eq!(node.outcome(), ["+ rpool/data/base-9-disk-0 9", left, "+ tank"]);
}

#[test]
fn whose_a_volume_is() {
    let datasets = [
        "rpool/data/vm-101-disk-0",
        "rpool/data/vm-101-disk-7",
        "rpool/data/vm-200-disk-0",
        "rpool/data/vm-201-disk-0",
        "rpool/data/vm-300-disk-0 @2026-01-10-000000 #2026-01-10-000000",
        "rpool/data/vm-300-disk-0/below @2026-01-10-000000",
        "rpool/data/vm-101-state-before",
        "rpool/data/vm-101-fleece-0",
        "rpool/data/vm-300-cloudinit",
        "rpool/data/other",
        "rpool/data/deep/vm-300-disk-0",
        "tank/vm-300-disk-0",
    ];
    let node = Node::new(&datasets).with_storages();
    let node = node.file("qemu-server/101.conf", &format!("{BOOT}scsi1: local-zfs:vm-300-disk-9\n"));
    let node = node
        .file("nodes/pve8/qemu-server/300.conf", "x")
        .file(".vmlist", r#"{"ids": {"201": {"node": "pve9"}}}"#);
    let expected = [
        "+ rpool/data/deep/vm-300-disk-0",
        "+ rpool/data/other",
        "+ rpool/data/vm-101-disk-0 101",
        "+ rpool/data/vm-101-disk-7 101",
        "- rpool/data/vm-101-fleece-0 101 Fleecing",
        "- rpool/data/vm-101-state-before 101 State",
        "+ rpool/data/vm-200-disk-0",
        "? rpool/data/vm-200-disk-0 200",
        "- rpool/data/vm-201-disk-0 201 on pve9",
        "- rpool/data/vm-300-cloudinit 300 on pve8",
        "- rpool/data/vm-300-disk-0 300 on pve8, was served",
        "- rpool/data/vm-300-disk-0/below 300 on pve8",
        "+ tank/vm-300-disk-0",
    ];
    assert_eq!(node.outcome(), expected);
    let node = Node::new(&["rpool/data/vm-300-disk-9"]).with_storages();
    let node = node.file("qemu-server/101.conf", "scsi1: local-zfs:vm-300-disk-9\n");
    let node = node.file("nodes/pve8/qemu-server/300.conf", "x");
    assert_eq!(
        node.outcome()[0],
        "+ rpool/data/vm-300-disk-9 101",
        "a line on this node is stronger than a name"
    );
}

#[test]
fn without_proxmox_names_mean_nothing() {
    let names = ["rpool/data/vm-100-cloudinit", "rpool/data/vm-100-disk-0", "rpool/data/vm-100-state-x"];
    let expected: Vec<String> =
        names.iter().map(|name| format!("+ {name}")).chain(["+ tank".to_owned()]).collect();
    assert_eq!(Node::new(&names).outcome(), expected);
}

#[test]
fn an_unreadable_file_concerns_its_guest_alone() {
    let node = |datasets: &[&str]| {
        let node = Node::new(datasets).with_storages().file("qemu-server/102.conf", "");
        node.file(
            "qemu-server/101.conf",
            "scsi0: local-zfs:vm-101-disk-0\nscsi1: local-zfs:vm-101-disk-1,backup=0\n",
        )
    };
    let others = ["rpool/data/vm-101-disk-0", "rpool/data/vm-101-disk-1"];
    let outcome =
        node(&[&others[..], &["rpool/data/vm-102-disk-0", "rpool/data/vm-102-disk-1"]].concat()).outcome();
    let expected = [
        "+ rpool/data/vm-101-disk-0 101",
        "- rpool/data/vm-101-disk-1 qemu-server/101.conf line 2 (scsi1)",
        "+ rpool/data/vm-102-disk-0 102 keep-all",
        "+ rpool/data/vm-102-disk-1 102 keep-all",
        "+ tank",
    ];
    assert_eq!(outcome, expected);
    let served_before = ["rpool/data/vm-102-disk-0 @2026-01-10-000000", "rpool/data/vm-102-disk-1"];
    let expected =
        ["+ rpool/data/vm-102-disk-0 102 keep-all", "- rpool/data/vm-102-disk-1 102 unreadable", "+ tank"];
    assert_eq!(node(&served_before).outcome(), expected);
}

#[test]
fn in_doubt_only_volumes_of_guests_that_were_served_here_continue() {
    let datasets = [
        "rpool/data/vm-101-disk-0 @2026-01-10-000000 #2026-01-10-000000",
        "rpool/data/vm-101-disk-1",
        "rpool/data/vm-300-disk-0 #2026-01-09-000000 @2026-01-10-000000",
        "rpool/data/other",
    ];
    let node = Node::new(&datasets).file("corosync.conf", "half there");
    let expected = [
        "+ rpool/data/other",
        "+ rpool/data/vm-101-disk-0 101 continue-only",
        "- rpool/data/vm-101-disk-1 101 in doubt",
        "- rpool/data/vm-300-disk-0 300 in doubt, was served",
        "+ tank",
    ];
    assert_eq!(node.outcome(), expected);
    let not_quorate = r#"{"nodename": "pve0", "cluster": {"quorate": 0}}"#;
    let node = Node::new(&datasets).with_storages().file(".members", not_quorate);
    let node = node.file("qemu-server/101.conf", BOOT).file("nodes/pve8/lxc/300.conf", "x");
    assert_eq!(node.outcome()[3], "- rpool/data/vm-300-disk-0 300 on pve8");
}

#[test]
fn what_leaves_a_dataset_out_is_named() {
    let mut node = Node::new(&[
        "rpool/data/a",
        "rpool/data/a/b",
        "rpool/data/c @2026-01-10-000000",
        "tank/vm-9",
        "tank/x",
    ]);
    node.opted_out = vec!["rpool/data/a"];
    node.exclude = vec!["tank/vm-*", "rpool/*/c"];
    let expected = [
        "- rpool/data/a off on rpool/data/a",
        "- rpool/data/a/b off on rpool/data/a",
        "- rpool/data/c excluded rpool/*/c, was served",
        "- tank/vm-9 excluded tank/vm-*",
        "+ tank/x",
    ];
    assert_eq!(node.outcome(), expected);
    let mut node =
        Node::new(&["rpool/data/vm-101-disk-0"]).with_storages().file("qemu-server/101.conf", BOOT);
    node.guests = vec![7];
    assert_eq!(node.outcome(), ["- rpool/data/vm-101-disk-0 not asked for", "- tank not asked for"]);
}

#[test]
fn a_guest_whose_disks_are_half_made_is_left_out_with_the_reason() {
    for (lock, is_left_out) in
        [("rollback", true), ("migrate", true), ("create", true), ("backup", false), ("snapshot", false)]
    {
        let text = format!("scsi0: local-zfs:vm-100-disk-0\nlock: {lock}\n\n[s]\nlock: create\n");
        let node =
            Node::new(&["rpool/data/vm-100-disk-0"]).with_storages().file("qemu-server/100.conf", &text);
        let reason = format!("100 locked {lock}");
        assert_eq!(node.outcome().iter().any(|line| line.contains(&reason)), is_left_out, "{lock}");
    }
}
