//! Guests that come back on a host that is not like the one they were on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::look::{self, content};
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::restoring_attacks::{READS, killed_at};
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT_2: &str = "2026-01-11-030000";
const MACHINE: &str = "boot: order=scsi0\nide2: local-zfs:vm-100-cloudinit,media=cdrom\nmemory: 2048\nscsi0: local-zfs:vm-100-disk-0,size=24M\n\
    scsi1: fast:vm-100-disk-0,discard=on,size=24M\nscsi2: fast:vm-100-disk-1,size=24M\n";
const CONTAINER: &str = "memory: 512\nrootfs: local-zfs:subvol-101-disk-0,size=1G\n";

/// The disks of both guests, in the order of their lines, with what they had.
type Before = [(String, u64); 4];

/// A machine with disks on two storages, two of them of one name, and a container, on backup and archive; then the host is lost, and
/// there is another one, with these storages on the datasets `vmdata` and `ssd`.
fn moved(name: &str, storages: [&str; 2]) -> (World, PathBuf, Before) {
    let mut world = World::with_archive(name);
    let fast = world.beside("fast");
    zfs(&["create", &fast]);
    world.policy.datasets = vec![world.source(), fast.clone()];
    let text = format!(
        "zfspool: local-zfs\n\tpool {}\n\tblocksize 16k\n\tsparse 1\n\nzfspool: fast\n\tpool {fast}\n\tblocksize 8k\n",
        world.source()
    );
    let pve = world.guest_configs(&[
        ("storage.cfg", &text),
        ("qemu-server/100.conf", MACHINE),
        ("lxc/101.conf", CONTAINER),
    ]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    let disks = [
        (world.guest("vm-100-disk-0"), "8K"),
        (format!("{fast}/vm-100-disk-0"), "64K"),
        (format!("{fast}/vm-100-disk-1"), "16K"),
    ];
    for (disk, block_size) in &disks {
        zfs(&["create", "-s", "-b", block_size, "-V", "24M", disk]);
        look::write_device(disk, 0, 2, disk);
    }
    let files = world.filesystem("subvol-101-disk-0", 2);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    look::write_device(&disks[1].0, 2, 1, "second");
    world.run(DAY_2);
    let all = [disks[0].0.clone(), disks[1].0.clone(), disks[2].0.clone(), files];
    let all = all.map(|disk| {
        let before = content(&format!("{disk}@{POINT_2}"));
        (disk, before)
    });
    for root in [world.source(), fast] {
        zfs(&["destroy", "-r", &root]);
    }
    for file in ["qemu-server/100.conf", "lxc/101.conf"] {
        fs::remove_file(pve.join(file)).unwrap();
    }
    let [data, ssd] = roots(&world);
    let text = format!(
        "zfspool: {}\n\tpool {data}\n\tblocksize 32k\n\tsparse 1\n\nzfspool: {}\n\tpool {ssd}\n\tblocksize 128k\n\tsparse 1\n",
        storages[0], storages[1]
    );
    fs::write(pve.join("storage.cfg"), text).unwrap();
    for root in [&data, &ssd] {
        zfs(&["create", root]);
    }
    world.policy.datasets = vec![data, ssd];
    (world, pve, all)
}

fn roots(world: &World) -> [String; 2] {
    [world.beside("vmdata"), world.beside("ssd")]
}

/// Every disk has what it had, by the line of its guest's file, whatever it is called now.
fn assert_same(world: &World, pve: &Path, before: &Before, (file, lines): (&str, &[&str])) {
    let text = fs::read_to_string(pve.join(file)).unwrap();
    let [data, ssd] = roots(world);
    let disks = before.iter().filter(|(disk, _)| disk.contains("vm-100-") == file.starts_with("qemu"));
    for (line, (disk, before)) in lines.iter().zip(disks) {
        assert!(text.contains(line), "{line}: {text}");
        let (_, place) = line.split_once(": ").unwrap();
        let (storage, volume) = place.split(',').next().unwrap().split_once(':').unwrap();
        let root = if ["vmdata", "local-zfs"].contains(&storage) { &data } else { &ssd };
        assert_eq!(content(&format!("{root}/{volume}@{POINT_2}")), *before, "{line} was {disk}");
    }
}

/// What is restored continues on both targets: nothing is sent whole.
fn assert_continues(world: &mut World, count: usize) {
    for root in roots(world) {
        for disk in look::datasets(&root).into_iter().filter(|disk| property("type", disk) == "volume") {
            look::write_device(&disk, 3, 1, "on the other host");
        }
    }
    let run = world.run_with(DAY_3, &["--archive"]).expect_code(0);
    for place in ["backup", "archive"] {
        assert_eq!(run.sends(place).len(), count, "{run:?}");
        assert!(run.sends(place).iter().all(|send| send.base().is_some()), "{place}: {run:?}");
    }
    let again = world.run("2026-01-13T03:00:00Z");
    assert!(again.json()["orphans"].as_array().unwrap().is_empty(), "{again:?}");
    assert!(!again.finds("warning", "taken-over"), "{again:?}");
}

#[test]
fn a_guest_comes_back_on_a_host_whose_storages_have_other_names_and_block_sizes() {
    let (mut world, pve, before) = moved("moved-storage", ["vmdata", "ssd"]);
    let list = zhaul(&world, DAY_3, &["list", "100", "--json"]).expect_code(0);
    let places = list.json()["points"][0]["places"].clone();
    assert_eq!(places[0]["complete"], true, "one disk on two targets is one disk: {list:?}");
    let state = world.state();
    let refused = zhaul(&world, DAY_3, &["restore", "100"]).expect_code(3);
    let advice = "`zhaul restore 100 --storage fast=STORAGE --storage local-zfs=STORAGE`, where STORAGE is one of this host's: ssd, vmdata";
    assert!(refused.stderr.contains(advice), "{refused:?}");
    let words = ["restore", "100", "--storage", "fast=ssd", "--storage", "local-zfs=vmdata"];
    zhaul(&world, DAY_3, &[&words[..], &["-n"]].concat()).expect_code(0);
    assert_eq!(state, world.state());
    let mut cut = command(&world, DAY_3, &[&words[..], &["--rate", "64KiB"]].concat());
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.wait_for_receive();
    cut.kill().unwrap();
    cut.wait().unwrap();
    world.wait_for_quiet();
    let done = zhaul(&world, DAY_3, &words).expect_code(0);
    assert!(done.stdout.contains("qm start 100"), "{done:?}");
    let lines = [
        "scsi0: vmdata:vm-100-disk-0,size=24M\n",
        "scsi1: ssd:vm-100-disk-0,discard=on",
        "scsi2: ssd:vm-100-disk-1,",
    ];
    assert_same(&world, &pve, &before, ("qemu-server/100.conf", &lines));
    let text = fs::read_to_string(pve.join("qemu-server/100.conf")).unwrap();
    assert!(
        text.contains("ide2: vmdata:vm-100-cloudinit,media=cdrom\n") && !text.contains("local-zfs"),
        "{text}"
    );
    // ZFS keeps the block size of what was sent.
    assert_eq!(property("volblocksize", &format!("{}/vm-100-disk-0", roots(&world)[1])), "65536");
    // A dataset is as good as a storage's id.
    let of = format!("{}=ssd", world.source());
    zhaul(&world, DAY_3, &["restore", "101", "--storage", &of]).expect_code(0);
    assert_same(&world, &pve, &before, ("lxc/101.conf", &["rootfs: ssd:subvol-101-disk-0,size=1G"]));
    assert_continues(&mut world, 4);
}

#[test]
fn a_storage_that_only_has_another_dataset_needs_no_option() {
    let (mut world, pve, before) = moved("moved-storage-id", ["local-zfs", "fast"]);
    zhaul(&world, DAY_3, &["restore", "--all"]).expect_code(0);
    let lines = ["scsi0: local-zfs:vm-100-disk-0", "scsi1: fast:vm-100-disk-0", "scsi2: fast:vm-100-disk-1"];
    assert_same(&world, &pve, &before, ("qemu-server/100.conf", &lines));
    assert_same(&world, &pve, &before, ("lxc/101.conf", &["rootfs: local-zfs:subvol-101-disk-0"]));
    assert_continues(&mut world, 4);
}

#[test]
fn a_lost_host_comes_back_on_another_one_with_one_command_also_from_the_archive_alone() {
    let (mut world, pve, before) = moved("moved-storage-all", ["vmdata", "ssd"]);
    let words = ["restore", "--all", "--storage", "local-zfs=vmdata,fast=ssd"];
    let dry = zhaul(&world, DAY_3, &[&words[..], &["-n"]].concat()).expect_code(0);
    assert!(dry.stdout.contains("qemu-server/100.conf is written"), "{dry:?}");
    zhaul(&world, DAY_3, &words).expect_code(0);
    let lines = ["scsi0: vmdata:vm-100-disk-0", "scsi1: ssd:vm-100-disk-0", "scsi2: ssd:vm-100-disk-1"];
    assert_same(&world, &pve, &before, ("qemu-server/100.conf", &lines));
    assert_same(&world, &pve, &before, ("lxc/101.conf", &["rootfs: vmdata:subvol-101-disk-0"]));
    let again = zhaul(&world, DAY_3, &words).expect_code(0);
    assert!(again.stdout.contains("0 restored, 2 here already"), "{again:?}");
    assert_continues(&mut world, 4);
    for file in ["qemu-server/100.conf", "lxc/101.conf"] {
        fs::remove_file(pve.join(file)).unwrap();
    }
    for root in roots(&world) {
        zfs(&["destroy", "-r", &root]);
        zfs(&["create", &root]);
    }
    zfs(&["destroy", "-r", &world.backup_root()]);
    let at = "2026-01-10 12:00";
    zhaul(&world, DAY_3, &[&words[..], &["--at", at]].concat()).expect_code(0);
    let text = fs::read_to_string(pve.join("qemu-server/100.conf")).unwrap();
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
}

#[test]
fn disks_of_one_name_come_together_on_one_storage_and_each_line_has_its_own() {
    let (mut world, pve, before) = moved("moved-storage-one", ["vmdata", "ssd"]);
    let words = ["restore", "100", "--storage", "ssd"];
    // Killed with some of the disks in their places, it continues with the same names.
    let mut nth = 1;
    let is_part = |world: &World| {
        (1..3).contains(
            &(look::datasets(&roots(world)[1]).iter().filter(|name| !name.contains("zhaul-")).count() - 1),
        )
    };
    while !is_part(&world) {
        assert!(!killed_at(&world, nth, READS, command(&world, DAY_3, &words)), "no kill left it half done");
        nth += 1;
    }
    zhaul(&world, DAY_3, &words).expect_code(0);
    let lines = ["scsi0: ssd:vm-100-disk-0,", "scsi1: ssd:vm-100-disk-2,", "scsi2: ssd:vm-100-disk-1,"];
    assert_same(&world, &pve, &before, ("qemu-server/100.conf", &lines));
    zhaul(&world, DAY_3, &["restore", "101", "--storage", "vmdata"]).expect_code(0);
    assert_continues(&mut world, 4);
    // Beside it, as another guest, which the file of the first host still says.
    zhaul(&world, DAY_3, &["restore", "100", "--at", POINT_2, "--as", "200", "--storage", "vmdata"])
        .expect_code(0);
    let lines =
        ["scsi0: vmdata:vm-200-disk-0,", "scsi1: vmdata:vm-200-disk-2,", "scsi2: vmdata:vm-200-disk-1,"];
    assert_same(&world, &pve, &before, ("qemu-server/200.conf", &lines));
}

#[test]
fn a_storage_that_is_not_there_or_was_none_of_the_guests_is_refused_before_anything_is_done() {
    let (world, _, _) = moved("moved-storage-words", ["vmdata", "ssd"]);
    let state = world.state();
    let refused = |storage: &str, code: i32, says: &[&str]| {
        let run = zhaul(&world, DAY_3, &["restore", "100", "--storage", storage]).expect_code(code);
        assert!(says.iter().all(|says| run.stderr.contains(says)), "{run:?}");
        assert_eq!(state, world.state());
    };
    refused(
        "nvme=ssd",
        2,
        &["no disk that was on nvme", "fast/vm-100-disk-1 on fast", "data/vm-100-disk-0 on local-zfs"],
    );
    refused("fast=nvme", 2, &["no ZFS storage nvme", "one of: ssd, vmdata"]);
    refused("ssd,vmdata", 2, &["--storage names two storages:"]);
    refused("fast=ssd,fast=vmdata", 2, &["two storages for the disks that were on fast"]);
    let rest = "`zhaul restore 100 --storage local-zfs=ssd --storage fast=STORAGE`";
    refused("local-zfs=ssd", 3, &[rest]);
    // Without the guest's file no one knows ids, and the datasets do.
    let files = "tank8/moved-storage-words/pve0/subvol-101-disk-0";
    let dataset = zhaul(&world, DAY_3, &["restore", files, "--storage", "ssd"]).expect_code(2);
    assert!(dataset.stderr.contains("are for a guest"), "{dataset:?}");
}
