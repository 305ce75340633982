//! What a damaged target, or one that was tampered with, holds in the place of a guest's configuration.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest_configs::decoded;
use crate::look;
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::rolling_back_guests::qm;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT: &str = "2026-01-10-030000";
const CONF: &str = "qemu-server/100.conf";
const CONFIG: &str = "memory: 64\nscsi0: z:vm-100-disk-0,size=12M\n";
const DISK: &str = "vm-100-disk-0";

/// A guest with one disk and one point on the backup, and the directory of its configuration.
fn backed_up(name: &str) -> (World, PathBuf) {
    let mut world = World::new(name);
    let pve = world.guest_configs(&[(CONF, CONFIG)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.volume(DISK, 2);
    world.run(DAY_1);
    (world, pve)
}

fn lose(world: &World, pve: &Path) {
    for path in [CONF, "lxc/100.conf"] {
        fs::remove_file(pve.join(path)).ok();
    }
    zfs(&["destroy", "-r", &world.guest(DISK)]);
}

fn base64(bytes: &[u8]) -> String {
    let mut child =
        Command::new("base64").arg("-w0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The properties of a configuration of this text.
fn pieces(text: &[u8]) -> Vec<String> {
    let mut compressed = Vec::new();
    flate2::read::GzEncoder::new(text, flate2::Compression::best()).read_to_end(&mut compressed).unwrap();
    let encoded = base64(&compressed);
    let pieces = encoded.as_bytes().chunks(8000).enumerate();
    pieces.map(|(at, piece)| format!("zhaul:config-{at}={}", String::from_utf8_lossy(piece))).collect()
}

fn is_plain(run: &Run) -> bool {
    let is_odd = |c: char| c != '\n' && c.is_control();
    !run.stdout.contains(is_odd) && !run.stderr.contains(is_odd)
}

#[test]
fn what_is_no_configuration_of_the_guest_is_not_used_and_a_guest_without_file_is_a_failure() {
    let (world, pve) = backed_up("stored-tampered");
    let snapshot = format!("{}@{POINT}", world.backup(DISK));
    let right = property("zhaul:config-0", &snapshot);
    let data = look::content(&snapshot);
    let long = format!("{CONFIG}{}onboot: 1\n", format!("#{}\n", "a".repeat(63)).repeat(70_000));
    let half = format!("zhaul:config-0={}", &right[..right.len() / 2]);
    let of = |guest: &str| vec![format!("zhaul:guest={guest}")];
    let cases = [
        (of("qemu-server/200 pve0"), "it is of guest 200"),
        (of("lxc/100 pve0"), "it is of a container, and no disk is"),
        (of("foo/100 pve0"), "it is damaged"),
        (of("qemu-server/100 \u{1b}[31mpve0"), "it has control characters"),
        (of("qemu-server/100 pve0 cipassword,;reboot"), "it is damaged"),
        (vec![half], "it is damaged"),
        (pieces(b"memory: 1\n\xff\xfe\n"), "it is damaged"),
        (pieces(long.as_bytes()), "it is longer than any file of Proxmox VE"),
        (pieces(b""), "it is empty"),
        (
            pieces(format!("{CONFIG}scsi4: z:vm-100-disk-9\u{1b}[2J\n").as_bytes()),
            "it has control characters",
        ),
        (pieces(format!("{CONFIG}name: \0a\n").as_bytes()), "it has control characters"),
    ];
    for (properties, why) in &cases {
        lose(&world, &pve);
        for property in properties {
            zfs(&["set", property, &snapshot]);
        }
        let dry = zhaul(&world, DAY_2, &["restore", "100", "-n"]).expect_code(0);
        assert!(dry.stderr.contains(why) && !dry.stdout.contains("is written"), "{why}: {dry:?}");
        let run = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(1);
        assert!(
            run.stderr.contains(&format!("{snapshot} (backup) is not used, since {why}")),
            "{why}: {run:?}"
        );
        assert!(run.stderr.contains("guest 100 has its disks, but no file"), "{why}: {run:?}");
        assert!(
            run.stderr.contains("next: `zhaul restore 100 --at POINT --replace --stopped`"),
            "{why}: {run:?}"
        );
        assert!(is_plain(&dry) && is_plain(&run), "{why}: {run:?}");
        assert_eq!(look::content(&format!("{}@{POINT}", world.guest(DISK))), data, "{why}");
        for path in [CONF, "lxc/100.conf", "qemu-server/200.conf"] {
            assert!(!pve.join(path).exists(), "{why}: {path}");
        }
        let again = format!("zhaul:config-0={right}");
        for property in [again.as_str(), "zhaul:guest=qemu-server/100 pve0"] {
            zfs(&["set", property, &snapshot]);
        }
        for at in 1..properties.len() {
            zfs(&["inherit", &format!("zhaul:config-{at}"), &snapshot]);
        }
    }
    // All of a host: the same state, the same code.
    lose(&world, &pve);
    zfs(&["set", "zhaul:guest=qemu-server/200 pve0", &snapshot]);
    let all = zhaul(&world, DAY_2, &["restore", "--all"]).expect_code(1);
    assert!(
        all.stdout.contains("1 restored") && all.stdout.contains("guest 100 has its disks, but no file"),
        "{all:?}"
    );
    // Where the file is there, it stays, and nothing is lacking.
    lose(&world, &pve);
    fs::write(pve.join(CONF), CONFIG).unwrap();
    let kept = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert!(kept.stderr.contains("its file stays as it is"), "{kept:?}");
    // The right one is used again.
    lose(&world, &pve);
    zfs(&["set", "zhaul:guest=qemu-server/100 pve0", &snapshot]);
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
}

#[test]
fn another_copy_of_the_point_has_the_configuration_that_one_lacks_and_a_renumbered_guest_its_own() {
    let mut world = World::with_archive("stored-other");
    let pve = world.guest_configs(&[(CONF, CONFIG)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.volume(DISK, 2);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    lose(&world, &pve);
    let snapshot = format!("{}@{POINT}", world.backup(DISK));
    zfs(&["set", "zhaul:guest=qemu-server/7 pve0", &snapshot]);
    let run = zhaul(&world, DAY_2, &["restore", "100", "--from", "backup"]).expect_code(0);
    assert!(run.stderr.contains("it is of guest 7; that of another disk or place is used"), "{run:?}");
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    // Under another number its points carry the file of that number.
    zhaul(&world, DAY_2, &["restore", "100", "--as", "150"]).expect_code(0);
    let written = fs::read_to_string(pve.join("qemu-server/150.conf")).unwrap();
    let own = format!("{}@{POINT}", world.guest("vm-150-disk-0"));
    assert!(property("zhaul:guest", &own).starts_with("qemu-server/150 "));
    assert_eq!(decoded(&own, "zhaul:config"), written);
}

#[test]
fn a_container_with_one_volume_name_on_two_storages_gets_the_limit_of_each() {
    let mut world = World::new("stored-limits");
    let other = world.beside("other");
    zfs(&["create", &other]);
    let storages = format!(
        "zfspool: z\n\tpool {}\n\tcontent rootdir\n\nzfspool: o\n\tpool {other}\n\tcontent rootdir\n",
        world.source()
    );
    let config = "memory: 64\nmp0: o:subvol-101-disk-0,mp=/data,backup=1,size=64M\nrootfs: z:subvol-101-disk-0,size=8M\n";
    let pve = world.guest_configs(&[("storage.cfg", &storages), ("lxc/101.conf", config)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.policy.datasets = vec![world.source(), other.clone()];
    let disks = [(world.guest("subvol-101-disk-0"), 8_u64), (format!("{other}/subvol-101-disk-0"), 64)];
    for (disk, mib) in &disks {
        zfs(&["create", "-o", &format!("refquota={mib}M"), disk]);
        look::write_file(disk, "x", mib / 4);
    }
    world.run(DAY_1);
    for (disk, _) in &disks {
        zfs(&["destroy", "-r", disk]);
    }
    fs::remove_file(pve.join("lxc/101.conf")).unwrap();
    zhaul(&world, DAY_2, &["restore", "101"]).expect_code(0);
    for (disk, mib) in &disks {
        assert_eq!(property("refquota", disk), (mib << 20).to_string(), "{disk}");
    }
    assert_eq!(fs::read_to_string(pve.join("lxc/101.conf")).unwrap(), config);
    // A line of the file that one of them lacks is shown for that one alone.
    fs::write(pve.join("lxc/101.conf"), "memory: 64\n").unwrap();
    zfs(&["destroy", "-r", &disks[0].0]);
    let words = ["restore", "101", "--disk", disks[0].0.as_str()];
    let run = zhaul(&world, DAY_2, &words).expect_code(0);
    assert!(run.stdout.contains("rootfs: z:") && !run.stdout.contains("mp0: o:"), "{run:?}");
}

#[test]
fn a_guest_whose_disks_are_lost_is_replaced_and_its_file_is_kept_and_can_be_put_back() {
    let (world, pve) = backed_up("stored-lost-disks");
    let late = CONFIG.replace("64", "128");
    fs::write(pve.join(CONF), &late).unwrap();
    zfs(&["destroy", "-r", &world.guest(DISK)]);
    let stopped = |words: &[&str]| {
        Run::of(stand_in::with(command(&world, DAY_3, words), &qm(&world, "status: stopped")))
    };
    let stamp = "2026-01-12-030000";
    let aside = pve.join(format!("{CONF}.zhaul-{stamp}"));
    let dry = stopped(&["restore", "100", "--replace", "-n"]).expect_code(0);
    assert!(dry.stdout.contains(&format!("present file is set aside as {CONF}.zhaul-{stamp}")), "{dry:?}");
    let run = stopped(&["restore", "100", "--replace"]).expect_code(0);
    assert!(run.stdout.contains(&format!("set aside: {}", aside.display())), "{run:?}");
    assert!(run.stdout.contains(&format!("zhaul restore 100 --put-back {stamp}")), "{run:?}");
    assert!(!run.stdout.contains("zfs destroy"), "nothing else was there: {run:?}");
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    assert_eq!(fs::read_to_string(&aside).unwrap(), late);
    assert_eq!(property("zhaul:restore", &world.guest(DISK)), "-");
    for (from, now) in [(stamp.to_owned(), late.as_str()), (format!("{stamp}-back"), CONFIG)] {
        stopped(&["restore", "100", "--put-back", &from]).expect_code(0);
        assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), now);
    }
    stopped(&["restore", "100", "--put-back", "2026-01-01-000000"]).expect_code(2);
}

#[test]
fn a_number_that_has_passed_to_a_guest_of_another_kind_is_refused_and_what_is_said_works() {
    let (mut world, pve) = backed_up("stored-kind");
    lose(&world, &pve);
    let container = "memory: 32\nrootfs: z:subvol-100-disk-0,size=8M\n";
    fs::create_dir_all(pve.join("lxc")).unwrap();
    fs::write(pve.join("lxc/100.conf"), container).unwrap();
    world.filesystem("subvol-100-disk-0", 1);
    world.run(DAY_2);
    let state = world.state();
    let refused = zhaul(&world, DAY_3, &["restore", "100", "--at", POINT]).expect_code(3);
    assert!(refused.stderr.contains("lxc/100.conf, and this point is of a virtual machine"), "{refused:?}");
    let next = format!("`zhaul restore 100 --at {POINT} --as VMID`");
    assert!(refused.stderr.contains(&next), "{refused:?}");
    let words = ["restore", "100", "--at", POINT, "--disk", DISK];
    let disk = zhaul(&world, DAY_3, &words).expect_code(3);
    assert!(disk.stderr.contains(&format!("`zhaul restore {} --at {POINT}`", world.guest(DISK))), "{disk:?}");
    // Nor where the point has no configuration: its disks are those of a machine.
    let snapshot = format!("{}@{POINT}", world.backup(DISK));
    let guest = property("zhaul:guest", &snapshot);
    zfs(&["inherit", "zhaul:guest", &snapshot]);
    zhaul(&world, DAY_3, &["restore", "100", "--at", POINT]).expect_code(3);
    zfs(&["set", &format!("zhaul:guest={guest}"), &snapshot]);
    assert_eq!(state, world.state());
    zhaul(&world, DAY_3, &["restore", "100", "--at", POINT, "--as", "200"]).expect_code(0);
    assert!(pve.join("qemu-server/200.conf").exists());
    let bin = qm(&world, "status: stopped");
    let words = ["restore", "100", "--at", POINT, "--replace"];
    Run::of(stand_in::with(command(&world, DAY_3, &words), &bin)).expect_code(0);
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), CONFIG);
    assert!(!pve.join("lxc/100.conf").exists());
    let back = ["restore", "100", "--put-back", "2026-01-12-030000"];
    Run::of(stand_in::with(command(&world, DAY_3, &back), &bin)).expect_code(0);
    assert_eq!(fs::read_to_string(pve.join("lxc/100.conf")).unwrap(), container);
    assert!(!pve.join(CONF).exists());
}

#[test]
fn a_point_that_only_a_set_aside_copy_has_is_named_with_the_command_that_restores_it() {
    let mut world = World::new("stored-aside");
    let files = world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    world.write("subvol-101-disk-0", "undone", 1);
    world.run(DAY_2);
    let undone = look::content(&format!("{files}@2026-01-11-030000"));
    // It diverges: what the copy has beyond the first point is set aside.
    zfs(&["rollback", "-r", &format!("{files}@{POINT}")]);
    world.write("subvol-101-disk-0", "instead", 1);
    world.run(DAY_3);
    let aside = look::set_aside(&world.backup("subvol-101-disk-0"));
    for what in ["101", files.as_str()] {
        let refused = zhaul(&world, DAY_3, &["restore", what, "--at", "2026-01-11-030000"]).expect_code(2);
        let next = format!("zhaul restore {aside} --at 2026-01-11-030000 --to {files}-restored");
        assert!(refused.stderr.contains(&format!("`{next}`")), "{refused:?}");
        let words: Vec<&str> = next.split(' ').skip(1).collect();
        zhaul(&world, DAY_3, &words).expect_code(0);
        assert_eq!(look::content(&format!("{files}-restored@2026-01-11-030000")), undone);
        zfs(&["destroy", "-r", &format!("{files}-restored")]);
    }
}
