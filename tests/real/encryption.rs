//! Encrypted datasets travel raw, and no line ever mixes raw with plain.

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const MIB: u64 = 1 << 20;

#[test]
fn encrypted_datasets_go_raw_with_the_key_unloaded() {
    let mut world = World::new("encrypted");
    let (files, disk) = (world.guest(GUEST), world.guest(DISK));
    world.encrypted(GUEST, &[]);
    world.encrypted(DISK, &["-V", "16M"]);
    world.write(GUEST, "first", 2);
    look::write_device(&disk, 0, 2, "first");
    world.run(DAY_1);
    world.write(GUEST, "second", 2);
    look::write_device(&disk, 2, 2, "second");
    for dataset in [&files, &disk] {
        zfs(&["snapshot", &format!("{dataset}@2026-01-10-120000")]);
        zfs(&["destroy", &format!("{dataset}@2026-01-10-030000")]);
    }
    world.lock_up(GUEST);
    world.lock_up(DISK);
    let run = world.run_as_planned(DAY_2, &[], 0);
    for send in run.sends("backup") {
        assert_eq!(send.base().unwrap().0, "bookmark", "{run:?}");
    }
    for name in [GUEST, DISK] {
        let copy = world.backup(name);
        assert_eq!(property("keystatus", &copy), "unavailable");
        assert_eq!(property("encryptionroot", &copy), copy);
        world.unlock(&world.guest(name));
        world.unlock(&copy);
        assert_same_newest(&world.guest(name), &copy);
    }
}

#[test]
fn a_raw_stream_that_was_cut_continues_raw() {
    let mut world = World::new("encrypted-cut");
    let (files, copy) = (world.guest(GUEST), world.backup(GUEST));
    world.encrypted(GUEST, &[]);
    world.write(GUEST, "first", 1);
    world.run(DAY_1);
    world.write(GUEST, "second", 24);
    let token = world.cut(DAY_2, GUEST, 6 * MIB);
    assert!(token.raw, "{token:?}");
    world.lock_up(GUEST);
    let run = world.run_as_planned(DAY_3, &["--no-snapshot"], 0);
    let moved = run.moved("backup");
    assert!(moved < 26 * MIB - token.received_bytes, "{token:?}, {moved} moved");
    world.unlock(&files);
    world.unlock(&copy);
    assert_same_newest(&files, &copy);
}

#[test]
fn an_encrypted_source_is_not_sent_onto_a_plain_copy() {
    let mut world = World::new("plain-copy");
    let files = world.guest(GUEST);
    world.encrypted(GUEST, &[]);
    world.write(GUEST, "secret", 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    zfs(&["snapshot", &format!("{files}@2026-01-09-030000")]);
    zfs(&["create", "-p", &world.backup_root()]);
    look::replicate("", &format!("{files}@2026-01-09-030000"), &world.backup(GUEST));
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", "plain-copy"), "{run:?}");
    assert_eq!(snapshots(&world.backup(GUEST)), ["2026-01-09-030000"]);
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
}

/// Decrypted by way of `zfs send | zfs receive`, as people do: the GUIDs are the same.
#[test]
fn a_copy_that_is_encrypted_never_gets_plain() {
    let mut world = World::new("decrypted");
    let files = world.guest(GUEST);
    world.encrypted(GUEST, &[]);
    world.write(GUEST, "first", 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    world.run(DAY_1);
    let plain = world.beside("plain");
    look::replicate("", &format!("{files}@2026-01-10-030000"), &plain);
    zfs(&["destroy", "-r", &files]);
    zfs(&["rename", &plain, &files]);
    zfs(&["mount", &files]);
    world.write(GUEST, "second", 1);
    let copy = world.backup(GUEST);
    let run = world.run_for_a_person(DAY_2, &[]).expect_code(3);
    assert!(run.stderr.contains("the source is not encrypted any more"), "{run:?}");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000"]);
    assert_eq!(property("encryption", &copy), "aes-256-gcm");
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
    // The action that the message advises.
    zfs(&["rename", &copy, &format!("{copy}.encrypted")]);
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&files, &copy);
    assert_eq!(property("encryption", &copy), "off");
    assert_eq!(snapshots(&format!("{copy}.encrypted")), ["2026-01-10-030000"]);
}

/// The target's own pool or root is encrypted: the copies are, too. Small files are embedded in their block pointers, which an
/// encrypted dataset cannot have.
#[test]
fn plain_datasets_go_into_an_encrypted_target_whose_key_is_loaded() {
    let mut world = World::with_archive("into-encrypted");
    let key = format!("keylocation={}", world.key());
    for root in [world.backup_root(), world.archive_root()] {
        let fixed = ["create", "-p", "-u", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o"];
        zfs(&[&fixed[..], &[key.as_str(), root.as_str()]].concat());
    }
    let (files, disk) = (world.filesystem(GUEST, 1), world.volume(DISK, 2));
    let write = |name: &str| {
        for number in 0..20 {
            std::fs::write(format!("/{files}/{name}-{number}"), "a".repeat(60)).unwrap();
        }
    };
    write("small");
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    write("more");
    look::write_device(&disk, 1, 1, "more");
    let run = world.run_as_planned(DAY_2, &["--archive"], 0);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
    for (source, name) in [(&files, GUEST), (&disk, DISK)] {
        for copy in [world.backup(name), world.archive(name)] {
            assert_eq!(property("encryption", &copy), "aes-256-gcm");
            assert_same_newest(source, &copy);
        }
    }
}

/// The key of a raw copy is not on the target, and must not be needed there.
#[test]
fn a_plain_dataset_below_a_raw_copy_is_received_without_encryption() {
    let mut world = World::with_archive("below-raw");
    let above = world.guest("above");
    world.encrypted("above", &[]);
    let (below, deep) = (format!("{above}/below"), format!("{above}/excluded/deep"));
    zfs(&["create", "-o", "encryption=off", &below]);
    zfs(&["create", "-p", "-o", "encryption=off", &format!("{above}/excluded")]);
    zfs(&["create", &deep]);
    zfs(&["set", "zhaul:backup=off", &format!("{above}/excluded")]);
    zfs(&["set", "zhaul:backup=on", &deep]);
    std::fs::write(format!("/{below}/small"), "a".repeat(60)).unwrap();
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    std::fs::write(format!("/{below}/more"), "b".repeat(60)).unwrap();
    world.run_as_planned(DAY_2, &["--archive"], 0);
    for copy in [world.backup("above/below"), world.archive("above/below")] {
        assert_eq!(property("encryption", &copy), "off");
        assert_same_newest(&below, &copy);
    }
    assert_eq!(property("keystatus", &world.backup("above")), "unavailable");
    assert_eq!(property("encryption", &world.backup("above/excluded")), "off", "the container");
    assert_same_newest(&deep, &world.backup("above/excluded/deep"));
}

/// A dataset above the target's root is not listed.
#[test]
fn a_root_that_is_missing_below_an_encrypted_dataset_is_made_by_the_first_run() {
    let mut world = World::new("root-in-encrypted");
    let key = format!("keylocation={}", world.key());
    let above = world.backup_root().rsplit_once('/').unwrap().0.to_owned();
    let fixed = ["create", "-p", "-u", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o"];
    zfs(&[&fixed[..], &[key.as_str(), above.as_str()]].concat());
    let files = world.filesystem(GUEST, 1);
    std::fs::write(format!("/{files}/small"), "a".repeat(60)).unwrap();
    world.run_as_planned(DAY_1, &[], 0);
    assert_same_newest(&files, &world.backup(GUEST));
    assert_eq!(property("encryption", &world.backup(GUEST)), "aes-256-gcm");
}

/// The parent was recreated with encryption, and is sent raw for the first time: its plain child goes below in the same run.
#[test]
fn a_plain_child_of_a_dataset_that_was_recreated_encrypted_goes_below_its_raw_copy() {
    let mut world = World::new("recreated-encrypted");
    let (above, below) = (world.guest("above"), format!("{}/below", world.guest("above")));
    zfs(&["create", "-p", &below]);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &above]);
    world.encrypted("above", &[]);
    zfs(&["create", "-o", "encryption=off", &below]);
    std::fs::write(format!("/{below}/small"), "a".repeat(60)).unwrap();
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&below, &world.backup("above/below"));
    assert_eq!(property("encryption", &world.backup("above/below")), "off");
}

#[test]
fn somebodys_clone_of_an_encrypted_copy_below_another_one_stays_with_what_is_set_aside() {
    for is_local in [true, false] {
        let mut world = World::with_archive(if is_local { "encrypted-clone" } else { "encrypted-clone-ssh" });
        if is_local {
            world.back_up_locally();
        }
        world.encrypted(GUEST, &[]);
        world.encrypted(&format!("{GUEST}/data"), &[]);
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        let copies = [world.backup(GUEST), world.archive(GUEST)];
        for copy in &copies {
            let newest = snapshots(&format!("{copy}/data")).pop().unwrap();
            // ZFS moves no clone to another encryption root, which is that of its origin.
            zfs(&[
                "clone",
                "-o",
                "canmount=noauto",
                &format!("{copy}/data@{newest}"),
                &format!("{copy}/look"),
            ]);
        }
        // The parent has nothing in common with its copies any more; what is below it does.
        zfs(&["destroy", &format!("{}@2026-01-10-030000", world.guest(GUEST))]);
        zfs(&["destroy", &format!("{}#2026-01-10-030000", world.guest(GUEST))]);
        for day in [DAY_2, DAY_3] {
            world.write(GUEST, day, 1);
            look::write_file(&world.guest(&format!("{GUEST}/data")), day, 1);
            let run = world.run_with(day, &["--archive"]).expect_code(0);
            assert!(run.sends("backup").iter().filter(|send| send.base().is_none()).count() <= 1, "{run:?}");
        }
        for copy in &copies {
            let aside = look::set_aside(copy);
            assert_eq!(look::mark(&aside)["done"], serde_json::json!(true));
            assert!(look::exists(&format!("{aside}/look")) && !look::exists(&format!("{aside}/data")));
            assert_eq!(snapshots(&format!("{copy}/data")).len(), 3, "it continued as it was");
            for name in [copy, &format!("{copy}/data")] {
                world.unlock(name);
            }
            assert_same_newest(&world.guest(GUEST), copy);
            assert_same_newest(&world.guest(&format!("{GUEST}/data")), &format!("{copy}/data"));
        }
    }
}
