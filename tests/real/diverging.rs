//! Where source and target have diverged, and what no run may touch.

use crate::look::{self, assert_same_newest, guids, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

#[test]
fn a_rolled_back_source_heals_its_backup_and_says_why() {
    let mut world = World::with_archive("rolled-back");
    world.policy.backup = "on-divergence = \"remove\"".to_owned();
    let files = world.filesystem("subvol-101-disk-0", 2);
    let disk = world.volume("vm-100-disk-0", 2);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.write("subvol-101-disk-0", "bad", 2);
    look::write_device(&disk, 1, 1, "bad");
    world.run_with(DAY_2, &["--archive"]).expect_code(0);
    for dataset in [&files, &disk] {
        zfs(&["rollback", "-r", &format!("{dataset}@2026-01-10-030000")]);
    }
    world.write("subvol-101-disk-0", "good", 2);
    let run = world.run_as_planned(DAY_3, &[], 0);
    let removed = run.steps("destroy-snapshots");
    assert_eq!(removed.len(), 2, "{run:?}");
    assert!(removed.iter().all(|step| step["reason"]["kind"] == "rolled-back"), "{run:?}");
    for (source, name) in [(&files, "subvol-101-disk-0"), (&disk, "vm-100-disk-0")] {
        let copy = world.backup(name);
        assert_eq!(snapshots(&copy), ["2026-01-10-030000", "2026-01-12-030000"]);
        assert_same_newest(source, &copy);
        assert_eq!(snapshots(&world.archive(name)), ["2026-Jan-10", "2026-Jan-11"], "it keeps all");
    }
}

#[test]
fn a_recreated_guest_gets_a_new_line_and_the_old_one_expires() {
    let mut world = World::new("guest-recreated");
    world.policy.backup = "keep-superseded = \"30d\"".to_owned();
    let files = world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    world.filesystem("subvol-101-disk-0", 1);
    world.run_as_planned(DAY_2, &[], 0);
    let aside = look::set_aside(&world.backup("subvol-101-disk-0"));
    assert!(aside.contains(".superseded-"), "{aside}");
    assert_eq!(snapshots(&aside), ["2026-01-10-030000"]);
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));
    world.run(&look::days_after(&aside, 29));
    assert!(look::exists(&aside), "not yet 30 days");
    world.run_as_planned(&look::days_after(&aside, 31), &[], 0);
    assert!(!look::exists(&aside));
}

#[test]
fn a_target_with_data_and_no_snapshot_is_refused_and_the_others_are_served() {
    let mut world = World::new("unknown-data");
    world.filesystem("subvol-101-disk-0", 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    let there = world.backup("subvol-101-disk-0");
    zfs(&["create", "-p", &there]);
    look::write_file(&there, "precious", 1);
    let before = zfs(&["get", "-Hp", "guid,referenced,readonly,canmount,mounted", &there]);
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", "unknown-data"), "{run:?}");
    assert_eq!(snapshots(&there), Vec::<String>::new());
    assert_eq!(before, zfs(&["get", "-Hp", "guid,referenced,readonly,canmount,mounted", &there]));
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}

#[test]
fn held_and_cloned_snapshots_are_skipped_and_reported() {
    let mut world = World::new("held");
    world.policy.source = "keep-last = 1".to_owned();
    let files = world.filesystem("subvol-101-disk-0", 1);
    world.run(DAY_1);
    zfs(&["hold", "test", &format!("{files}@2026-01-10-030000")]);
    world.run(DAY_2);
    zfs(&["clone", &format!("{files}@2026-01-11-030000"), &world.beside("clone")]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(run.finds("note", "a hold keeps it") && run.finds("note", "a clone keeps it"), "{run:?}");
    assert_eq!(guids(&files).len(), 3);
    zfs(&["release", "test", &format!("{files}@2026-01-10-030000")]);
    zfs(&["destroy", &world.beside("clone")]);
    world.run("2026-01-13T03:00:00Z");
    assert_eq!(snapshots(&files), ["2026-01-13-030000"]);
}

#[test]
fn volumes_of_a_guest_are_of_one_moment_and_what_is_opted_out_is_left() {
    let mut world = World::new("guests");
    for name in ["vm-100-disk-0", "vm-100-disk-1", "vm-100-disk-2", "vm-200-disk-0", "vm-900-disk-0"] {
        world.filesystem(name, 1);
    }
    world.set("vm-200-disk-0", "zhaul:backup=off");
    let text = "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:vm-100-disk-2,backup=0\n";
    let pve = world.guest_configs(&[("qemu-server/100.conf", text)]);
    let pattern = world.guest("vm-9*");
    world.policy.source = format!("guest-config = {pve:?}\nexclude = [{pattern:?}]");
    world.run(DAY_1);
    let name = "2026-01-10-030000";
    assert_eq!(world.txg("vm-100-disk-0", name), world.txg("vm-100-disk-1", name));
    for left in ["vm-100-disk-2", "vm-200-disk-0", "vm-900-disk-0"] {
        assert_eq!(snapshots(&world.guest(left)), Vec::<String>::new(), "{left}");
        assert!(!look::exists(&world.backup(left)), "{left}");
    }
}
