//! Restores onto what storages are like: thick, encrypted, for containers.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::look::{self, content, exists};
use crate::pool::{property, zfs};
use crate::restoring::zhaul;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_thick_disk_that_cannot_be_reserved_is_refused_before_the_first_byte() {
    let mut world = World::new("restore-thick");
    let text = "memory: 1\nscsi0: z:vm-100-disk-0\n";
    let pve = world.guest_configs(&[("qemu-server/100.conf", text)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    let disk = world.guest("vm-100-disk-0");
    zfs(&["create", "-s", "-V", "64M", &disk]);
    world.run(DAY_1);
    fs::remove_file(pve.join("qemu-server/100.conf")).unwrap();
    zfs(&["destroy", "-r", &disk]);
    zfs(&["set", "quota=32M", &world.source()]);
    let before = world.state();
    let refused = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(3);
    assert!(
        refused.stderr.contains("not enough space") && refused.stderr.contains("64.0 MiB"),
        "{refused:?}"
    );
    assert_eq!(before, world.state());
    zfs(&["set", "quota=128M", &world.source()]);
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    let reserved: u64 = property("refreservation", &disk).parse().unwrap();
    assert!(reserved >= 64 << 20, "{reserved}");
}

#[test]
fn two_storages_share_the_room_of_what_is_above_both() {
    let mut world = World::new("restore-shared-room");
    let other = world.beside("other");
    zfs(&["create", &other]);
    world.policy.datasets = vec![world.source(), other.clone()];
    let disks = [world.volume("vm-100-disk-0", 8), format!("{other}/vm-100-disk-1")];
    zfs(&["create", "-s", "-V", "12M", &disks[1]]);
    look::write_device(&disks[1], 0, 8, "other");
    world.run(DAY_1);
    for disk in &disks {
        zfs(&["destroy", "-r", disk]);
    }
    let above = world.source().rsplit_once('/').unwrap().0.to_owned();
    // Each fits alone.
    zfs(&["set", "quota=14M", &above]);
    let before = world.state();
    let refused = zhaul(&world, DAY_2, &["restore", "100"]).expect_code(3);
    assert!(refused.stderr.contains(&format!("not enough space below {above}:")), "{refused:?}");
    assert_eq!(before, world.state());
    zfs(&["set", "quota=none", &above]);
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
}

#[test]
fn a_containers_files_come_back_with_attributes_limits_and_the_properties_of_a_container() {
    let mut world = World::new("restore-container");
    let text = "memory: 512\nrootfs: z:subvol-101-disk-0,size=1G\n";
    let pve = world.guest_configs(&[("lxc/101.conf", text)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    let files = world.guest("subvol-101-disk-0");
    zfs(&["create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", "refquota=1G", &files]);
    // `sa`, which versions whose default it is print as `on`; `dir` is always printed as `dir`.
    let xattr = || zfs(&["get", "-Ho", "value,source", "xattr", &files]);
    let xattr_before = xattr();
    let root = property("mountpoint", &files);
    let file = format!("{root}/file");
    fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink("file", format!("{root}/link")).unwrap();
    fs::hard_link(&file, format!("{root}/hard")).unwrap();
    std::os::unix::fs::chown(&file, Some(100_000), Some(100_001)).unwrap();
    // An ACL as the kernel stores it: version 2; user, user 1000, group, mask, other.
    let acl = "0x02000000010006\
        00ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff";
    let has_tools = Command::new("setfattr").arg("--version").output().is_ok();
    if has_tools {
        run("setfattr", &["-n", "user.origin", "-v", "a b", &file]);
        run("setfattr", &["-n", "system.posix_acl_access", "-v", acl, &file]);
    }
    let attributes = |file: &str| {
        if has_tools {
            run("getfattr", &["--absolute-names", "-d", "-m", "-", "-e", "hex", file])
        } else {
            String::new()
        }
    };
    let before = (attributes(&file), run("stat", &["-c", "%u %g %a %h %Y", &file]));
    world.run(DAY_1);
    fs::remove_file(pve.join("lxc/101.conf")).unwrap();
    zfs(&["destroy", "-r", &files]);
    let done = zhaul(&world, DAY_2, &["restore", "101"]).expect_code(0);
    assert!(done.stdout.contains("pct start 101"), "{done:?}");
    assert_eq!((attributes(&file), run("stat", &["-c", "%u %g %a %h %Y", &file])), before);
    assert_eq!(fs::read_link(format!("{root}/link")).unwrap(), Path::new("file"));
    for (name, value) in [("acltype", "posix"), ("refquota", "1073741824"), ("mounted", "yes")] {
        assert!(property(name, &files).starts_with(value), "{name}: {}", property(name, &files));
    }
    assert_eq!(xattr(), xattr_before);
    assert!(xattr_before.contains("local"), "{xattr_before}");
    assert_eq!(fs::read_to_string(pve.join("lxc/101.conf")).unwrap(), text);
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}

#[test]
fn plain_and_raw_copies_are_restored_below_an_encrypted_dataset() {
    let mut world = World::new("restore-below-encrypted");
    let names = ["subvol-101-disk-0", "vm-100-disk-0"];
    world.filesystem(names[0], 1);
    world.volume(names[1], 1);
    world.encrypted("secret", &[]);
    world.write("secret", "file", 1);
    world.run(DAY_1);
    let all = ["subvol-101-disk-0", "vm-100-disk-0", "secret"];
    let before = all.map(|name| content(&format!("{}@{POINT_1}", world.guest(name))));
    // The new host encrypts its storage.
    zfs(&["destroy", "-r", &world.source()]);
    let location = format!("keylocation={}", world.key());
    let options = ["create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", &location];
    zfs(&[&options[..], &[&world.source()]].concat());
    for name in names {
        zhaul(&world, DAY_2, &["restore", &world.guest(name)]).expect_code(0);
        assert_eq!(property("encryptionroot", &world.guest(name)), world.source(), "{name}");
    }
    zhaul(&world, DAY_2, &["restore", &world.guest("secret")]).expect_code(3);
    assert_eq!(property("encryptionroot", &world.guest("secret")), world.guest("secret"));
    world.unlock(&world.guest("secret"));
    zfs(&["mount", &world.guest("secret")]);
    assert_eq!(all.map(|name| content(&format!("{}@{POINT_1}", world.guest(name)))), before);
    assert!(!exists(&format!("{}/zhaul-incoming", world.source())));
}
