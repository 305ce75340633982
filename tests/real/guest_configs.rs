//! A guest's configuration travels with its snapshots.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::agent::behind_agents;
use crate::look;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";

/// The line that the README gives to read a configuration without zhaul.
pub(crate) fn decoded(snapshot: &str, what: &str) -> String {
    let line =
        "zfs get -Hp -o value \"$(seq -s, -f \"$2-%g\" 0 63)\" \"$1\" | tr -d '\\n-' | base64 -d | gunzip";
    let output = Command::new("bash").args(["-c", line, "-", snapshot, what]).output().unwrap();
    assert!(output.status.success(), "{snapshot}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn config(world: &mut World, more: &str) -> String {
    let text = format!("boot: order=scsi0\n{more}memory: 2048\nscsi0: z:vm-100-disk-0,size=4M\n");
    let firewall = "[OPTIONS]\n\nenable: 1\n";
    let pve = world.guest_configs(&[("qemu-server/100.conf", &text), ("firewall/100.fw", firewall)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    text
}

#[test]
fn each_point_of_a_guest_carries_its_configuration_here_on_the_backup_and_on_the_archive() {
    for (name, is_agent) in [("config-shell", false), ("config-agent", true)] {
        let mut world = if is_agent {
            behind_agents("config-agent", "--append-only")
        } else {
            World::with_archive("config-shell")
        };
        world.volume("vm-100-disk-0", 1);
        world.filesystem("plain", 1);
        let secrets = "cipassword: $5$secret\nsshkeys: ssh-ed25519%20AAAA\n";
        let text = config(&mut world, secrets);
        let kept = text.replace(secrets, "");
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
        let month = format!("{}@2026-Jan-10", world.archive("vm-100-disk-0"));
        for snapshot in [&format!("{}@{POINT_1}", world.guest("vm-100-disk-0")), &there, &month] {
            assert_eq!(decoded(snapshot, "zhaul:config"), kept, "{name}: {snapshot}");
            assert_eq!(decoded(snapshot, "zhaul:firewall"), "[OPTIONS]\n\nenable: 1\n");
            let guest = property("zhaul:guest", snapshot);
            assert!(
                guest.starts_with("qemu-server/100 ") && guest.ends_with(" cipassword,sshkeys"),
                "{guest}"
            );
            assert!(!zfs(&["get", "-Hp", "all", snapshot]).contains("secret"), "{snapshot}");
        }
        assert_eq!(property("zhaul:guest", &format!("{}@{POINT_1}", world.backup("plain"))), "-");
        // The next point has the changed configuration; the earlier one keeps its own.
        let text = config(&mut world, "name: renamed\n");
        look::write_device(&world.guest("vm-100-disk-0"), 0, 1, "second");
        world.run(DAY_2);
        let newer = format!("{}@2026-01-11-030000", world.backup("vm-100-disk-0"));
        assert_eq!(decoded(&newer, "zhaul:config"), text);
        assert_eq!(decoded(&there, "zhaul:config"), kept);
    }
}

#[test]
fn a_configuration_of_forty_kib_that_does_not_compress_is_whole() {
    let mut world = World::new("config-large");
    world.volume("vm-100-disk-0", 1);
    let mut state = 7_u32;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 27, 32).unwrap()
    });
    let more = format!("#{}\n", digits.take(40 << 10).collect::<String>());
    let text = config(&mut world, &more);
    world.run(DAY_1);
    let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
    assert_ne!(property("zhaul:config-3", &there), "-", "several pieces");
    assert_eq!(decoded(&there, "zhaul:config"), text);
}

#[test]
fn a_file_that_vanishes_or_cannot_be_read_costs_no_snapshot() {
    let mut world = World::new("config-odd");
    world.volume("vm-100-disk-0", 1);
    config(&mut world, "");
    let firewall = world.directory().join("pve/firewall/100.fw");
    fs::remove_file(&firewall).unwrap();
    fs::create_dir(&firewall).unwrap();
    world.run(DAY_1);
    let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
    assert_eq!(property("zhaul:firewall-0", &there), "-");
    assert!(decoded(&there, "zhaul:config").contains("memory: 2048"));
}

const CONFIG: &str = "boot: order=scsi0\nmemory: 2048\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n\
    scsi0: z:vm-100-disk-0,size=12M\nscsi1: fast:vm-100-disk-0,size=12M\nvmgenid: 7e5a6c1e-0000-4000-8000-000000000001\n\
    \n[old]\nmemory: 1024\nsnaptime: 1\n";

/// A guest with a disk of the same name on each of two storages, backed up; then the host has burnt down.
fn burnt_down(name: &str) -> (World, PathBuf) {
    let mut world = World::new(name);
    let fast = world.beside("fast");
    zfs(&["create", &fast]);
    world.policy.datasets = vec![world.source(), fast.clone()];
    world.volume("vm-100-disk-0", 2);
    zfs(&["create", "-s", "-V", "12M", &format!("{fast}/vm-100-disk-0")]);
    look::write_device(&format!("{fast}/vm-100-disk-0"), 0, 1, "fast");
    let storages = format!(
        "zfspool: z\n\tpool {}\n\tcontent images\n\tsparse 1\n\nzfspool: fast\n\tpool {fast}\n\tcontent images\n",
        world.source()
    );
    let files = [
        ("storage.cfg", storages.as_str()),
        ("qemu-server/100.conf", CONFIG),
        ("firewall/100.fw", "[OPTIONS]\n"),
    ];
    let pve = world.guest_configs(&files);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.run(DAY_1);
    fs::remove_file(pve.join("qemu-server/100.conf")).unwrap();
    fs::remove_file(pve.join("firewall/100.fw")).unwrap();
    for root in [world.source(), fast] {
        zfs(&["destroy", "-r", &root]);
        zfs(&["create", &root]);
    }
    (world, pve)
}

fn without_vmgenid(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("vmgenid")).collect();
    lines.join("\n")
}

#[test]
fn a_guest_comes_back_with_its_configuration_on_its_storages() {
    let (mut world, pve) = burnt_down("config-back");
    let dry = world.state();
    let plan = zhaul(&world, DAY_2, &["restore", "100", "-n"]).expect_code(0);
    assert!(plan.stdout.contains("qemu-server/100.conf is written"), "{plan:?}");
    assert_eq!(dry, world.state());
    assert!(!pve.join("qemu-server/100.conf").exists());
    let run = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert!(run.stdout.contains("qm start 100"), "{run:?}");
    let written = fs::read_to_string(pve.join("qemu-server/100.conf")).unwrap();
    let main = CONFIG.split("\n\n[").next().unwrap();
    assert_eq!(without_vmgenid(&written), without_vmgenid(&format!("{main}\n")));
    assert!(written.contains("vmgenid: ") && !written.contains("7e5a6c1e"), "{written}");
    assert_eq!(fs::read_to_string(pve.join("firewall/100.fw")).unwrap(), "[OPTIONS]\n");
    // The one storage is thin, the other is not.
    assert_eq!(property("refreservation", &world.guest("vm-100-disk-0")), "0");
    assert_ne!(property("refreservation", &format!("{}/vm-100-disk-0", world.beside("fast"))), "0");
    // A file that exists is somebody's: it stays, and so do disks.
    fs::write(pve.join("qemu-server/100.conf"), "memory: 1\n").unwrap();
    let again = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(3);
    assert!(again.stderr.contains("has this snapshot already"), "{again:?}");
    assert_eq!(fs::read_to_string(pve.join("qemu-server/100.conf")).unwrap(), "memory: 1\n");
    fs::write(pve.join("qemu-server/100.conf"), written).unwrap();
    let run = world.run(DAY_3);
    assert_eq!(run.sends("backup").len(), 2, "{run:?}");
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}

#[test]
fn a_guest_comes_back_as_another_one_with_an_identity_of_its_own() {
    let (world, pve) = burnt_down("config-as");
    fs::create_dir_all(pve.join("nodes/other/lxc")).unwrap();
    fs::write(pve.join("nodes/other/lxc/300.conf"), "rootfs: z:subvol-300-disk-0\n").unwrap();
    let taken = zhaul(&world, DAY_2, &["restore", "100", "--as", "300"]).expect_code(3);
    assert!(taken.stderr.contains("300") && taken.stderr.contains("next:"), "{taken:?}");
    zhaul(&world, DAY_2, &["restore", "100", "--storage", "none"]).expect_code(2);
    zhaul(&world, DAY_2, &["restore", "100", "--as", "200", "--link-down"]).expect_code(0);
    let written = fs::read_to_string(pve.join("qemu-server/200.conf")).unwrap();
    for line in ["scsi0: z:vm-200-disk-0,size=12M\n", "scsi1: fast:vm-200-disk-0,size=12M\n", "link_down=1\n"]
    {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(!written.contains("BC:24:11:00:00:01") && !written.contains("lock:"), "{written}");
    assert!(look::exists(&world.guest("vm-200-disk-0")) && !look::exists(&world.guest("vm-100-disk-0")));
    assert!(!pve.join("qemu-server/100.conf").exists());
}

#[test]
fn one_disk_of_a_lost_guest_comes_back_alone_and_what_is_not_clear_is_asked() {
    let (world, pve) = burnt_down("config-disk");
    let (first, fast) = (world.guest("vm-100-disk-0"), format!("{}/vm-100-disk-0", world.beside("fast")));
    let twice = zhaul(&world, DAY_2, &["restore", "100", "--disk", "vm-100-disk-0"]).expect_code(2);
    assert!(twice.stderr.contains(&first) && twice.stderr.contains(&fast), "{twice:?}");
    let unknown = zhaul(&world, DAY_2, &["restore", "100", "--disk", "scsi9"]).expect_code(2);
    assert!(unknown.stderr.contains("has no disk scsi9") && unknown.stderr.contains(&first), "{unknown:?}");
    zhaul(&world, DAY_2, &["restore", &first, "--disk", "scsi0"]).expect_code(2);
    assert!(!look::exists(&first) && !look::exists(&fast));
    zhaul(&world, DAY_2, &["restore", "100", "--disk", &first]).expect_code(0);
    assert!(look::exists(&first) && !look::exists(&fast));
    // A file with some of its disks is written only where the guest is restored.
    assert!(!pve.join("qemu-server/100.conf").exists());
    let other = zhaul(&world, DAY_2, &["restore", "100", "--disk", &fast]).expect_code(0);
    assert!(other.stdout.contains("is not here, and is not written"), "{other:?}");
    assert!(look::exists(&fast));
}

#[test]
fn interrupted_the_number_stays_locked_until_the_same_command_has_ended_or_it_is_given_up() {
    let (world, pve) = burnt_down("config-cut");
    zfs(&["set", "readonly=on", &world.source()]);
    let file = pve.join("qemu-server/100.conf");
    // Something with the name of a disk comes in the way after the plan: it is never overwritten.
    let mut cut = command(&world, DAY_2, &["restore", "100", "--rate", "16KiB"]);
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.wait_for_receive();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("lock: create"), "{text}");
    cut.kill().unwrap();
    cut.wait().unwrap();
    world.wait_for_quiet();
    zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(0);
    assert!(!file.exists());
    // Everything is in place, and the file is not written yet.
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    let written = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("#zhaul restore, not complete\n{written}lock: create\n")).unwrap();
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert_eq!(without_vmgenid(&fs::read_to_string(&file).unwrap()), without_vmgenid(&written));
}

#[test]
fn where_the_configuration_cannot_be_written_nothing_is_received() {
    let (world, pve) = burnt_down("config-quorum");
    let directory = pve.join("qemu-server");
    fs::remove_dir_all(&directory).unwrap();
    // As a place that takes no file: root passes permissions by.
    fs::write(&directory, "").unwrap();
    let before = world.state();
    let run = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(3);
    assert!(run.stderr.contains("cannot write") && run.stderr.contains("pvecm status"), "{run:?}");
    assert_eq!(before, world.state());
}
