//! Linked clones stay linked: a template and its clones on backup and archive, on real pools.

use std::process::Command;

use crate::agent;
use crate::look::{self, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const TEMPLATE: &str = "base-900-disk-0";
const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";
const MIB: u64 = 1 << 20;

/// A template as Proxmox VE makes one: a volume of 16 MiB with its `@__base__`.
fn template(world: &World, name: &str) -> String {
    let base = world.volume(name, 16);
    zfs(&["snapshot", &format!("{base}@__base__")]);
    base
}

/// A linked clone with 1 MiB of its own.
fn clone(world: &World, of: &str, name: &str) -> String {
    let clone = world.guest(name);
    zfs(&["clone", of, &clone]);
    look::write_device(&clone, 2, 1, name);
    clone
}

fn used(root: &str) -> u64 {
    property("used", root).parse().unwrap()
}

/// The copy is a clone of that snapshot, and its newest snapshot has the content of the source's.
fn assert_linked(world: &World, name: &str, origin: &str) {
    let copy = world.backup(name);
    assert_eq!(property("origin", &copy), origin);
    look::assert_same_newest(&world.guest(name), &copy);
}

#[test]
fn a_template_and_its_clones_take_on_the_targets_what_they_take_here() {
    for (test, is_agent) in [("linked-shell", false), ("linked-agent", true)] {
        let mut world = World::with_archive(test);
        if is_agent {
            world.policy.backup =
                agent::key(&world, &format!("--root {} --append-only", world.backup_root()));
        }
        let base = template(&world, TEMPLATE);
        // The names of some sort before that of the template.
        let names = ["a-disk", "vm-101-disk-0", "vm-102-disk-0"];
        for name in names {
            clone(&world, &format!("{base}@__base__"), name);
        }
        look::sync(&base);
        let run = world.run_as_planned(DAY_1, &["--archive"], 0);
        let there = world.backup(TEMPLATE);
        assert_eq!(snapshots(&there), ["__base__", POINT_1]);
        for name in names {
            assert_linked(&world, name, &format!("{there}@__base__"));
            assert_eq!(
                property("origin", &world.archive(name)),
                format!("{}@__base__", world.archive(TEMPLATE))
            );
            let (copy, own) =
                (format!("{}@2026-Jan-10", world.archive(name)), format!("{}@{POINT_1}", world.guest(name)));
            assert_eq!(content(&copy), content(&own));
        }
        for target in ["backup", "archive"] {
            assert!(run.moved(target) < 21 * MIB, "{target}: {}", run.moved(target));
        }
        let here = used(&world.source());
        for root in [world.backup_root(), world.archive_root()] {
            look::wait_for_used(&root, 19 * MIB);
            assert!(used(&root) * 10 <= here * 11, "{} of {here}", used(&root));
        }
        // Increments, and a clone that comes later.
        look::write_device(&world.guest("a-disk"), 5, 1, "again");
        clone(&world, &format!("{base}@__base__"), "vm-103-disk-0");
        let run = world.run_as_planned(DAY_2, &[], 0);
        assert!(run.moved("backup") < 3 * MIB, "{}", run.moved("backup"));
        for name in names.iter().chain(&["vm-103-disk-0"]) {
            assert_linked(&world, name, &format!("{there}@__base__"));
        }
        let status = Run::of(command(&world, DAY_2, &["status"])).stdout;
        assert!(status.contains("all is well") && !status.contains("promote"), "{status}");
    }
}

#[test]
fn a_clone_of_an_own_snapshot_a_clone_of_a_clone_and_an_origin_that_the_target_lacks() {
    let mut world = World::with_archive("linked-chain");
    let base = template(&world, TEMPLATE);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    // Of a snapshot that the run before has taken, and of a clone.
    clone(&world, &format!("{base}@{POINT_1}"), "vm-101-disk-0");
    zfs(&["snapshot", &format!("{}@mine", world.guest("vm-101-disk-0"))]);
    clone(&world, &format!("{}@mine", world.guest("vm-101-disk-0")), "vm-100-disk-0");
    let run = world.run_as_planned(DAY_2, &["--archive"], 0);
    assert_linked(&world, "vm-101-disk-0", &format!("{}@{POINT_1}", world.backup(TEMPLATE)));
    assert_linked(&world, "vm-100-disk-0", &format!("{}@mine", world.backup("vm-101-disk-0")));
    assert_eq!(
        property("origin", &world.archive("vm-101-disk-0")),
        format!("{}@2026-Jan-10", world.archive(TEMPLATE))
    );
    assert!(run.moved("backup") < 4 * MIB && run.moved("archive") < 4 * MIB, "{run:?}");
    // An origin that is older than what the target has: in full, and said.
    zfs(&["snapshot", &format!("{base}@late")]);
    world.run(DAY_3);
    clone(&world, &format!("{base}@late"), "vm-104-disk-0");
    let planned = world.run_with("2026-01-13T03:00:00Z", &["--dry-run"]).expect_code(0).stdout;
    assert!(planned.contains("is sent in full, as it is a clone of"), "{planned}");
    world.run_as_planned("2026-01-13T03:00:00Z", &[], 0);
    assert_eq!(property("origin", &world.backup("vm-104-disk-0")), "-");
    look::assert_same_newest(&world.guest("vm-104-disk-0"), &world.backup("vm-104-disk-0"));
}

#[test]
fn one_clone_alone_a_cut_stream_and_intermediates() {
    let mut world = World::new("linked-cut");
    world.policy.backup = "intermediates = true\n".to_owned();
    let base = template(&world, TEMPLATE);
    world.run(DAY_1);
    let big = clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    zfs(&["set", "volsize=80M", &big]);
    look::write_device(&big, 20, 24, "much");
    let token = world.cut_run(DAY_2, &["--dataset", &big], &world.backup("vm-101-disk-0"), 6 * MIB);
    assert!(token.from_guid.is_some(), "{token:?}");
    let verified = Run::of(command(&world, DAY_2, &["verify"])).expect_code(0).stdout;
    assert!(!verified.contains("no more that it is based on"), "{verified}");
    let run = world.run_as_planned(DAY_3, &["--dataset", &big], 0);
    assert!(run.moved("backup") < 26 * MIB - token.received_bytes, "{} of {token:?}", run.moved("backup"));
    assert_linked(&world, "vm-101-disk-0", &format!("{}@__base__", world.backup(TEMPLATE)));
    assert_eq!(snapshots(&world.backup("vm-101-disk-0")), [POINT_2, "2026-01-12-030000"]);
}

#[test]
fn a_promoted_clone_a_rollback_and_a_recreated_clone_continue_and_nothing_is_lost() {
    let mut world = World::new("linked-promote");
    let base = template(&world, TEMPLATE);
    let one = clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    let two = clone(&world, &format!("{base}@__base__"), "vm-102-disk-0");
    world.run(DAY_1);
    zfs(&["promote", &one]);
    look::write_device(&one, 6, 1, "promoted");
    look::write_device(&two, 7, 1, "second");
    world.run(DAY_2);
    for name in [TEMPLATE, "vm-101-disk-0", "vm-102-disk-0"] {
        look::assert_same_newest(&world.guest(name), &world.backup(name));
    }
    zfs(&["promote", &base]);
    // Back to the first night: what was newer on the backup is set aside.
    zfs(&["rollback", "-r", &format!("{two}@{POINT_1}")]);
    look::write_device(&two, 9, 1, "after the rollback");
    world.run_with(DAY_3, &[]).expect_code(0);
    assert_linked(&world, "vm-102-disk-0", &format!("{}@__base__", world.backup(TEMPLATE)));
    let aside = look::set_aside(&world.backup("vm-102-disk-0"));
    assert_eq!(snapshots(&aside), [POINT_2]);
    // Another clone under the same name.
    zfs(&["destroy", "-r", &two]);
    clone(&world, &format!("{base}@__base__"), "vm-102-disk-0");
    let run = world.run_with("2026-01-13T03:00:00Z", &[]).expect_code(0);
    assert!(run.moved("backup") < 4 * MIB, "{run:?}");
    assert_linked(&world, "vm-102-disk-0", &format!("{}@__base__", world.backup(TEMPLATE)));
    let status = Run::of(command(&world, "2026-01-13T03:00:00Z", &["status"])).stdout;
    assert!(!status.contains("critical"), "{status}");
}

#[test]
fn a_template_that_was_set_aside_expires_after_its_clones() {
    let mut world = World::new("linked-expire");
    world.policy.backup = "keep-superseded = \"30d\"\n".to_owned();
    let base = template(&world, TEMPLATE);
    let one = clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    world.run(DAY_1);
    zfs(&["destroy", "-r", &one]);
    zfs(&["destroy", "-r", &base]);
    let base = template(&world, TEMPLATE);
    clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    world.run(DAY_2);
    let copies = ["vm-101-disk-0", TEMPLATE].map(|name| world.backup(name));
    let lineages = || copies.each_ref().map(|copy| look::all_set_aside(copy));
    let [old_clone, old_base] = lineages();
    assert_eq!((old_clone.len(), old_base.len()), (1, 1));
    assert_eq!(property("origin", &old_clone[0]), format!("{}@__base__", old_base[0]));
    let (late, later) = (look::days_after(&old_base[0], 60), look::days_after(&old_base[0], 61));
    let held = format!("{}@{POINT_1}", old_clone[0]);
    zfs(&["hold", "mine", &held]);
    world.run_as_planned(&late, &[], 0);
    assert!(look::exists(&old_clone[0]) && look::exists(&old_base[0]), "as long as its clone stays");
    zfs(&["release", "mine", &held]);
    world.run_as_planned(&later, &[], 0);
    assert_eq!(lineages(), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn encrypted_clones_travel_raw_as_clones() {
    let mut world = World::new("linked-raw");
    world.encrypted(TEMPLATE, &["-V", "48M"]);
    let base = world.guest(TEMPLATE);
    look::write_device(&base, 0, 16, "template");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    let one = clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.moved("backup") < 20 * MIB, "{}", run.moved("backup"));
    look::write_device(&one, 4, 1, "second");
    world.run_as_planned(DAY_2, &[], 0);
    let copy = world.backup("vm-101-disk-0");
    assert_eq!(property("origin", &copy), format!("{}@__base__", world.backup(TEMPLATE)));
    world.unlock(&property("encryptionroot", &copy));
    look::assert_same_newest(&one, &copy);
    assert!(Command::new("zfs").args(["list", &copy]).status().unwrap().success());
}

#[test]
fn a_clone_becomes_none_of_a_copy_that_does_not_fit_or_is_another_hosts() {
    let mut world = World::new("linked-others");
    // The target has the encrypted template as a plain copy, which is refused; a raw stream onto it would wedge the target.
    world.encrypted(TEMPLATE, &["-V", "48M"]);
    let base = world.guest(TEMPLATE);
    look::write_device(&base, 0, 8, "template");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    zfs(&["create", "-p", &world.backup_root()]);
    look::replicate("-L", &format!("{base}@__base__"), &world.backup("decrypted"));
    zfs(&["rename", &world.backup("decrypted"), &world.backup(TEMPLATE)]);
    let clone_name = "vm-101-disk-0";
    clone(&world, &format!("{base}@__base__"), clone_name);
    let run = world.run_with(DAY_1, &[]).expect_code(3);
    let copy = world.backup(clone_name);
    assert_eq!(property("origin", &copy), "-", "{run:?}");
    look::wait_for_used(&copy, MIB);
    // Another host's copy of the same template.
    let mut world = World::new("linked-foreign");
    let base = template(&world, TEMPLATE);
    let theirs = format!("{}/pve9", world.backup_root());
    zfs(&["create", "-p", &world.backup_root()]);
    look::replicate("-p", &format!("{base}@__base__"), &theirs);
    zfs(&["set", "zhaul:writer=4711 pve9:rpool/data/base-900-disk-0", &theirs]);
    world.policy.source = format!("exclude = [\"{base}\"]\n");
    clone(&world, &format!("{base}@__base__"), clone_name);
    world.run_with(DAY_1, &[]).expect_code(0);
    assert_eq!(property("origin", &world.backup(clone_name)), "-");
    zfs(&["destroy", "-r", &theirs]);
}

#[test]
fn a_cut_stream_continues_as_it_began_whatever_becomes_of_the_origin() {
    let mut world = World::new("linked-cut-full");
    let base = template(&world, TEMPLATE);
    let name = "vm-101-disk-0";
    let big = clone(&world, &format!("{base}@__base__"), name);
    // In full, since the template has no copy yet; then it gets one.
    let token = world.cut_run(DAY_1, &["--dataset", &big], &world.backup(name), 4 * MIB);
    assert_eq!(token.from_guid, None);
    let run = world.run_as_planned(DAY_2, &["--no-snapshot"], 0);
    assert!(run.moved("backup") < 17 * MIB + 18 * MIB - token.received_bytes, "{run:?}");
    look::assert_same_newest(&big, &world.backup(name));
    // As an increment from the origin; then the source is promoted.
    let mut world = World::new("linked-cut-promote");
    let base = template(&world, TEMPLATE);
    world.run(DAY_1);
    let big = clone(&world, &format!("{base}@__base__"), name);
    zfs(&["set", "volsize=80M", &big]);
    look::write_device(&big, 20, 24, "much");
    let token = world.cut_run(DAY_2, &["--dataset", &big], &world.backup(name), 6 * MIB);
    assert!(token.from_guid.is_some());
    zfs(&["promote", &big]);
    world.run_with(DAY_3, &[]).expect_code(0);
    look::assert_same_newest(&big, &world.backup(name));
    for day in ["2026-01-13T03:00:00Z", "2026-01-14T03:00:00Z"] {
        let run = world.run_with(day, &[]).expect_code(0);
        assert!(!run.stdout.contains("promoted-away"), "{run:?}");
    }
}

#[test]
fn a_template_that_cannot_be_sent_today_keeps_no_clone_waiting_and_a_name_like_a_months_is_none() {
    let mut world = World::with_archive("linked-wait");
    let base = template(&world, TEMPLATE);
    zfs(&["snapshot", &format!("{base}@2026-Mar")]);
    clone(&world, &format!("{base}@2026-Mar"), "vm-102-disk-0");
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    let archived = snapshots(&world.archive(TEMPLATE));
    assert!(!archived.contains(&"2026-Mar".to_owned()), "{archived:?}");
    let there = world.backup(TEMPLATE);
    clone(&world, &format!("{base}@__base__"), "vm-101-disk-0");
    let run = world.run_with(DAY_2, &[]).expect_code(0).json();
    let is_its = |step: &&serde_json::Value| {
        step["action"]["target"].as_str().is_some_and(|target| target.contains("/vm-101-disk-0@"))
    };
    let step = run["steps"].as_array().unwrap().iter().find(is_its).unwrap().clone();
    assert_eq!(step["needs"], serde_json::json!([]), "{step}");
    assert_linked(&world, "vm-101-disk-0", &format!("{there}@__base__"));
}
