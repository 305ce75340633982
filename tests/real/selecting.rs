//! Which datasets a policy selects and what they are called on the target.

use crate::look::{self, assert_same_newest, datasets, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

#[test]
fn a_root_with_children_is_a_container_unless_it_is_asked_for() {
    let mut world = World::new("root-asked-for");
    let files = world.filesystem("a", 1);
    zfs(&["create", "-p", &format!("{files}/deep/er")]);
    world.run(DAY_1);
    assert_eq!(snapshots(&world.source()), Vec::<String>::new());
    assert_eq!(snapshots(&world.backup_root()), Vec::<String>::new(), "an empty container");
    assert_same_newest(&files, &world.backup("a"));
    assert_same_newest(&format!("{files}/deep/er"), &world.backup("a/deep/er"));

    zfs(&["create", &world.beside("whole")]);
    look::write_file(&world.beside("whole"), "file", 1);
    zfs(&["create", &world.beside("whole/child")]);
    world.policy.datasets = vec![world.beside("whole")];
    world.policy.source = "include-root = true".to_owned();
    let root = format!("{}/whole", world.backup_root());
    world.policy.backup_at = Some(("nfs8".to_owned(), root.clone()));
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&world.beside("whole"), &root);
    assert_same_newest(&world.beside("whole/child"), &format!("{root}/child"));
}

#[test]
fn what_is_opted_out_is_neither_snapshot_nor_sent_and_another_guest_can_be_left_for_later() {
    let mut world = World::new("opted-out");
    for name in ["subvol-101-disk-0", "subvol-101-disk-1", "subvol-102-disk-0", "scratch", "scratch/below"] {
        world.filesystem(name, 1);
    }
    world.set("scratch", "zhaul:backup=off");
    let text = "rootfs: z:subvol-101-disk-0,size=1G\nmp0: z:subvol-101-disk-1,mp=/x,backup=0,size=1G\n";
    let other = "rootfs: z:subvol-102-disk-0,size=1G\n";
    let pve = world.guest_configs(&[("lxc/101.conf", text), ("lxc/102.conf", other)]);
    world.policy.source = format!("guest-config = {pve:?}");
    world.run_with(DAY_1, &["--guest", "102"]).expect_code(0);
    assert_eq!(datasets(&world.backup_root()), [world.backup_root(), world.backup("subvol-102-disk-0")]);
    world.run(DAY_2);
    for left in ["subvol-101-disk-1", "scratch", "scratch/below"] {
        assert_eq!(snapshots(&world.guest(left)), Vec::<String>::new(), "{left}");
        assert!(!look::exists(&world.backup(left)), "{left}");
    }
    assert_same_newest(&world.guest("subvol-101-disk-0"), &world.backup("subvol-101-disk-0"));
}

/// Half a guest is backed up, and nothing else says so: its other disks are on a pool that the policy does not have, on LVM, and
/// in a file.
#[test]
fn disks_of_guests_that_no_dataset_of_the_policy_holds_are_named() {
    let mut world = World::new("elsewhere");
    let files = world.filesystem(GUEST, 1);
    let outside = world.beside("outside");
    zfs(&["create", &outside]);
    zfs(&["create", &format!("{outside}/subvol-101-disk-1")]);
    let storages = format!(
        "zfspool: z\n\tpool {}\n\tcontent images,rootdir\n\nzfspool: o\n\tpool {outside}\n\tcontent images,rootdir\n\n\
         lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\ndir: local\n\tpath /var/lib/vz\n",
        world.source()
    );
    let half = format!(
        "rootfs: z:{GUEST},size=1G\nmp0: o:subvol-101-disk-1,mp=/data,backup=1\nmp1: o:subvol-101-disk-2,mp=/scratch\n\
         unused0: local-lvm:vm-101-disk-9\n"
    );
    let whole = "scsi0: local-lvm:vm-200-disk-0,size=4G\nscsi1: local:200/vm-200-disk-1.qcow2,size=4G\n\
                 scsi2: local-lvm:vm-200-disk-2,backup=0\nide2: local:iso/debian.iso,media=cdrom\n\
                 ide0: local-lvm:vm-200-cloudinit,media=cdrom\n";
    let pve = world.guest_configs(&[
        ("storage.cfg", &storages),
        ("lxc/101.conf", &half),
        ("qemu-server/200.conf", whole),
    ]);
    world.policy.source = format!("guest-config = {pve:?}");
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.finds("warning", "disks-elsewhere") && run.finds("note", "disks-elsewhere"), "{run:?}");
    let words = run.stderr.clone();
    assert!(
        words.contains(&format!("of guest 101 this policy does not back up: {outside}/subvol-101-disk-1 (")),
        "{words}"
    );
    let json = run.json().to_string();
    for named in ["vm-200-disk-0", "200/vm-200-disk-1.qcow2"] {
        assert!(json.contains(named), "{json}");
    }
    for not_named in ["subvol-101-disk-2", "vm-101-disk-9", "vm-200-disk-2", "debian.iso", "cloudinit"] {
        assert!(!json.contains(not_named), "{not_named}: {json}");
    }
    assert_same_newest(&files, &world.backup(GUEST));
    // Both actions that it names.
    let excluding = format!("guest-config = {pve:?}\nexclude = [\"{outside}/*\"]");
    world.policy.source = excluding;
    let run = world.run(DAY_2);
    assert!(!run.finds("warning", "disks-elsewhere"), "{run:?}");
    world.policy.source = format!("guest-config = {pve:?}");
    world.policy.datasets = vec![world.source(), outside.clone()];
    let run = world.run(DAY_3);
    assert!(!run.finds("warning", "disks-elsewhere"), "{run:?}");
    assert_same_newest(&format!("{outside}/subvol-101-disk-1"), &world.backup("subvol-101-disk-1"));
}
