//! `zhaul prune`: the rules of a backup, applied by the backup's own host.

use std::process::Command;

use crate::agent::behind_agents;
use crate::look::{self, assert_same_newest, guids, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::world::{DISK, GUEST, World};

const MIB: u64 = 1 << 20;

fn day(day: u32) -> String {
    format!("2026-01-{day:02}T03:00:00Z")
}

/// The name that zhaul gives that day's snapshot.
fn name(day: u32) -> String {
    format!("2026-01-{day:02}-030000")
}

fn prune(root: &str, clock: &str, more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.args(["prune", root, "--json", "--lab-clock", clock]).args(more);
    Run::of(command)
}

#[test]
fn an_append_only_backup_is_pruned_by_its_own_host_and_the_next_run_is_incremental() {
    let mut world = behind_agents("pruning-append", "--append-only");
    let files = world.filesystem(GUEST, 2);
    world.volume(DISK, 2);
    for today in 1..=5 {
        world.write(GUEST, "daily", 1);
        world.run_with(&day(today), &[]).expect_code(0);
    }
    let (copy, disk) = (world.backup(GUEST), world.backup(DISK));
    assert_eq!(snapshots(&copy).len(), 5);
    zfs(&["snapshot", &format!("{copy}@by-hand")]);
    zfs(&["hold", "somebody", &format!("{disk}@{}", name(2))]);
    let unmarked = format!("{}/unmarked", world.backup_root());
    zfs(&["create", &unmarked]);
    for today in 1..=3 {
        zfs(&["snapshot", &format!("{unmarked}@{}", name(today))]);
    }
    let archived = guids(&world.archive(GUEST));

    let before = world.state();
    let dry = prune(&world.backup_root(), &day(6), &["--keep-last", "2", "--dry-run"]).expect_code(0);
    assert_eq!(world.state(), before, "a dry run changes nothing");
    let pruned = prune(&world.backup_root(), &day(6), &["--keep-last", "2"]).expect_code(0);
    assert_eq!(dry.plain_steps(), pruned.plain_steps());
    assert_eq!(snapshots(&copy), [name(4), name(5), "by-hand".to_owned()]);
    assert_eq!(snapshots(&disk), [name(2), name(4), name(5)], "what is held stays");
    assert!(pruned.finds("note", "kept by no rule, but a hold keeps it"), "{pruned:?}");
    assert_eq!(snapshots(&unmarked).len(), 3);
    assert!(pruned.finds("warning", "no zhaul:writer says whose copy"), "{pruned:?}");
    zfs(&["release", "somebody", &format!("{disk}@{}", name(2))]);
    zfs(&["destroy", "-r", &unmarked]);
    zfs(&["destroy", &format!("{copy}@by-hand")]);

    world.write(GUEST, "daily", 1);
    let run = world.run_with(&day(6), &[]).expect_code(0);
    assert!(run.moved("backup") < 3 * MIB, "{run:?}");
    assert_same_newest(&files, &copy);

    let archive = world.archive(GUEST);
    for late in 20..=23 {
        // As a run leaves it that was killed before the rename to the month.
        zfs(&["snapshot", &format!("{archive}@{}", name(late))]);
    }
    let pruned = prune(&world.archive_root(), &day(30), &["--keep-last", "1"]).expect_code(0);
    assert!(pruned.finds("warning", "named as the months of an archive are"), "{pruned:?}");
    assert_eq!(guids(&archive).len(), archived.len() + 4);
    for late in 20..=23 {
        zfs(&["destroy", &format!("{archive}@{}", name(late))]);
    }
    assert!(!archived.is_empty());
    assert_eq!(guids(&archive), archived);
}

#[test]
fn pruned_in_the_middle_of_a_stream_the_next_run_resumes() {
    let mut world = World::new("pruning-resumes");
    let files = world.filesystem(GUEST, 1);
    for today in 1..=3 {
        world.run(&day(today));
    }
    world.write(GUEST, "more", 16);
    let token = world.cut(&day(4), GUEST, 4 * MIB);
    let copy = world.backup(GUEST);
    prune(&world.backup_root(), &day(5), &["--keep-last", "1"]).expect_code(0);
    assert_eq!(snapshots(&copy), [name(3)], "the newest, from which the stream continues");
    let run = world.run(&day(5));
    assert!(run.moved("backup") < 17 * MIB - token.received_bytes, "{run:?}");
    assert_same_newest(&files, &copy);
}

#[test]
fn what_was_set_aside_goes_when_its_time_is_over_and_only_if_that_is_asked_for() {
    let mut world = World::new("pruning-aside");
    world.policy.backup = "keep-superseded = \"365d\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run(&day(1));
    zfs(&["destroy", "-r", &files]);
    world.filesystem(GUEST, 1);
    world.run(&day(2));
    let aside = look::set_aside(&world.backup(GUEST));
    prune(&world.backup_root(), &look::days_after(&aside, 400), &["--keep-last", "1"]).expect_code(0);
    assert!(look::exists(&aside), "it was not asked for");
    let keep = ["--keep-superseded", "30d"];
    prune(&world.backup_root(), &look::days_after(&aside, 29), &keep).expect_code(0);
    assert!(look::exists(&aside), "not yet 30 days");
    prune(&world.backup_root(), &look::days_after(&aside, 31), &keep).expect_code(0);
    assert!(!look::exists(&aside));
    assert_eq!(property("readonly", &world.backup(GUEST)), "on");
}

#[test]
fn without_a_rule_or_a_dataset_nothing_is_done() {
    let world = World::new("pruning-usage");
    let run = prune(&world.backup_root(), &day(1), &[]).expect_code(2);
    assert!(run.stderr.contains("say what stays"), "{}", run.stderr);
    prune(&world.backup_root(), &day(1), &["--keep-last", "0"]).expect_code(2);
    let run = prune("tank8/pruning-nowhere", &day(1), &["--keep-last", "1"]).expect_code(1);
    assert!(run.stderr.contains("tank8/pruning-nowhere does not exist"), "{}", run.stderr);
}
