//! Guests that move between the nodes of a cluster: by migration, by the HA manager with what storage replication has kept,
//! and by a restore on another node.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::cluster::{
    CONFIG, Cluster, DATA_DISK, DISKS, ROOT_DISK, at_the_same_time, is_left_out, pipe, settle,
};
use crate::look::{self, assert_same_newest, bookmarks, content, guids, snapshots};
use crate::outcome::Run;
use crate::pool::zfs;
use crate::restoring::command;
use crate::world::{DAY_2, DAY_3};

const DAY_4: &str = "2026-01-13T03:00:00Z";
const DAY_5: &str = "2026-01-14T03:00:00Z";
const DAY_6: &str = "2026-01-15T03:00:00Z";
const DAY_7: &str = "2026-01-16T03:00:00Z";

#[test]
fn a_guest_that_migrates_and_returns_keeps_its_chain() {
    let mut cluster = Cluster::new("migrating", 71);
    cluster.write("second");
    cluster.run(DAY_2, &[], 0);
    let full = snapshots(&cluster.world.backup(ROOT_DISK));
    cluster.migrate("pve1");
    assert!(bookmarks(&cluster.world.guest(ROOT_DISK)).is_empty(), "a migration takes none along");
    cluster.write("on pve1");
    let run = cluster.run_incrementally(DAY_3);
    assert!(run.finds("warning", "taken-over"), "{run:?}");
    cluster.assert_continued();
    assert_eq!(snapshots(&cluster.world.backup(ROOT_DISK))[..2], full);
    cluster.go_to("pve0");
    cluster.run_without_machine(DAY_3);
    cluster.go_to("pve1");
    let run = cluster.run(DAY_4, &[], 0);
    assert!(run.steps("claim").is_empty(), "{run:?}");
    cluster.migrate("pve0");
    cluster.write("on pve0");
    cluster.run_incrementally(DAY_5);
    cluster.assert_continued();
    cluster.go_to("pve1");
    cluster.run_without_machine(DAY_6);
    cluster.go_to("pve0");
    cluster.write("and on");
    cluster.run_incrementally(DAY_7);
    cluster.assert_continued();
    cluster.assert_true();
}

/// The other node has them when the migration has ended, but somebody has kept the disks on this one.
#[test]
fn what_a_migration_leaves_behind_is_named_and_never_backed_up() {
    let mut cluster = Cluster::new("leftover", 72);
    cluster.write("second");
    cluster.run(DAY_2, &[], 0);
    cluster.send_disks("pve1");
    fs::rename(cluster.file("pve0"), cluster.file("pve1")).unwrap();
    let left = guids(&cluster.world.guest(ROOT_DISK));
    // As some program writes to it.
    cluster.write("left behind");
    let run = cluster.run_without_machine(DAY_3);
    assert!(run.finds("warning", "see that zhaul on pve1 backs the guest up"), "{run:?}");
    for disk in DISKS {
        assert!(is_left_out(&run, &cluster.world.guest(disk), "on-other-node"), "{run:?}");
    }
    cluster.go_to("pve1");
    cluster.write("on pve1");
    cluster.run_incrementally(DAY_3);
    cluster.assert_continued();
    cluster.go_to("pve0");
    for day in [DAY_4, DAY_5, DAY_6] {
        let run = cluster.run_without_machine(day);
        assert!(is_left_out(&run, &cluster.world.guest(ROOT_DISK), "on-other-node"), "{run:?}");
    }
    assert_eq!(guids(&cluster.world.guest(ROOT_DISK)), left, "nothing of it is pruned");
    cluster.assert_true();
}

#[test]
fn a_guest_that_is_restored_on_another_node_keeps_its_chain() {
    let mut cluster = Cluster::new("resettled", 73);
    cluster.write("second");
    cluster.run(DAY_2, &[], 0);
    let before = DISKS.map(|disk| content(&format!("{}@2026-01-11-030000", cluster.world.guest(disk))));
    // The node is lost with its disks; an admin frees the number.
    fs::remove_file(cluster.file("pve0")).unwrap();
    cluster.go_to("pve1");
    Run::of(command(&cluster.world, DAY_3, &["restore", "100"])).expect_code(0);
    let after = DISKS.map(|disk| content(&format!("{}@2026-01-11-030000", cluster.world.guest(disk))));
    assert_eq!(before, after);
    assert!(fs::read_to_string(cluster.file("pve1")).unwrap().contains("memory: 2048"));
    cluster.write("on pve1");
    cluster.run_incrementally(DAY_4);
    cluster.assert_continued();
    // The old node comes back, with its disks, to a cluster in which the guest is another node's.
    cluster.go_to("pve0");
    let run = cluster.run_without_machine(DAY_5);
    assert!(is_left_out(&run, &cluster.world.guest(ROOT_DISK), "on-other-node"), "{run:?}");
    cluster.go_to("pve1");
    cluster.write("and on");
    cluster.run_incrementally(DAY_6);
    cluster.assert_continued();
    cluster.assert_true();
}

#[test]
fn a_replica_is_backed_up_once_the_guest_runs_there_and_what_it_lacked_is_set_aside() {
    let mut cluster = Cluster::new("replicated", 74);
    cluster.replicate("pve1", 1);
    cluster.go_to("pve1");
    let replica = guids(&cluster.world.guest(ROOT_DISK));
    let run = cluster.run_without_machine(DAY_2);
    assert!(is_left_out(&run, &cluster.world.guest(ROOT_DISK), "on-other-node"), "{run:?}");
    assert!(!run.finds("warning", "not-served-any-more"), "{run:?}");
    assert_eq!(guids(&cluster.world.guest(ROOT_DISK)), replica);
    cluster.go_to("pve0");
    cluster.write("second");
    cluster.run_incrementally(DAY_2);
    cluster.replicate("pve1", 2);
    cluster.write("never replicated");
    cluster.run_incrementally(DAY_3);
    // The node fails; the HA manager starts the guest with what the other one has.
    fs::rename(cluster.file("pve0"), cluster.file("pve1")).unwrap();
    cluster.go_to("pve1");
    cluster.write("on pve1");
    cluster.set_quorate(false);
    let before = cluster.state_of_copies();
    cluster.run(DAY_4, &[], 1);
    assert_eq!(cluster.state_of_copies(), before, "not before the nodes agree on it");
    cluster.set_quorate(true);
    let run = cluster.run_incrementally(DAY_4);
    assert!(run.finds("warning", "the guest is on this node now"), "{run:?}");
    cluster.assert_followed();
    for copy in DISKS.iter().flat_map(|disk| cluster.copies(disk)) {
        let newest = snapshots(&look::set_aside(&copy)).pop().unwrap();
        assert!(newest.starts_with("2026-01-12") || newest == "2026-Jan-12", "{newest}: nothing is lost");
    }
    cluster.assert_true();
    // The node is back, and replication comes from the other side. Then the guest returns.
    cluster.go_to("pve0");
    cluster.run_without_machine(DAY_4);
    cluster.go_to("pve1");
    cluster.replicate("pve0", 3);
    cluster.write("on pve1 still");
    cluster.run_incrementally(DAY_5);
    cluster.replicate("pve0", 4);
    fs::rename(cluster.file("pve1"), cluster.file("pve0")).unwrap();
    cluster.go_to("pve0");
    cluster.write("returned");
    let run = cluster.run_incrementally(DAY_6);
    assert!(run.steps("set-aside").is_empty(), "{run:?}");
    cluster.assert_followed();
    cluster.go_to("pve1");
    cluster.run_without_machine(DAY_6);
    cluster.go_to("pve0");
    cluster.write("and on");
    cluster.run_incrementally(DAY_7);
    cluster.assert_followed();
    cluster.assert_true();
}

/// A bookmark does not move, so a snapshot that an archive shares stays beside those that the rules keep.
#[test]
fn a_guest_that_moves_between_two_months_is_archived_by_an_increment() {
    let mut cluster = Cluster::new("month-moved", 75);
    for day in [DAY_2, DAY_3, DAY_4, DAY_5] {
        cluster.write(day);
        cluster.run(day, &[], 0);
    }
    let expected = ["2026-01-10-030000", "2026-01-12-030000", "2026-01-13-030000", "2026-01-14-030000"];
    assert_eq!(snapshots(&cluster.world.guest(ROOT_DISK)), expected);
    cluster.migrate("pve1");
    let run = cluster.run_incrementally(DAY_6);
    cluster.assert_continued();
    cluster.run(DAY_7, &[], 0);
    let expected = ["2026-01-14-030000", "2026-01-15-030000", "2026-01-16-030000"];
    assert_eq!(snapshots(&cluster.world.guest(ROOT_DISK)), expected, "{run:?}");
}

#[test]
fn a_disk_that_gets_another_number_on_the_other_node_keeps_its_chain() {
    let mut cluster = Cluster::new("renumbered", 76);
    cluster.write("second");
    cluster.run(DAY_2, &[], 0);
    let before = cluster.copies(ROOT_DISK).map(|copy| guids(&copy));
    // A disk of that name is on the other node, from an earlier guest of that number or of unknown origin.
    let taken = cluster.volume("pve1", ROOT_DISK);
    zfs(&["create", "-s", "-V", "24M", &taken]);
    look::write_device(&taken, 0, 1, "somebody's");
    let other = "vm-100-disk-2";
    for (from, to) in [(ROOT_DISK, other), (DATA_DISK, DATA_DISK)] {
        let (here, there) = (cluster.world.guest(from), cluster.volume("pve1", to));
        zfs(&["snapshot", &format!("{here}@__migration__")]);
        pipe(&["-Rp", &format!("{here}@__migration__")], &there);
        zfs(&["destroy", &format!("{there}@__migration__")]);
    }
    settle();
    for disk in DISKS {
        zfs(&["destroy", "-r", &cluster.world.guest(disk)]);
    }
    fs::remove_file(cluster.file("pve0")).unwrap();
    cluster.configure("pve1", &CONFIG.replace("z:vm-100-disk-0", "z:vm-100-disk-2"));
    cluster.go_to("pve1");
    for day in [DAY_3, DAY_4] {
        look::write_device(&cluster.world.guest(other), 1, 1, day);
        let run = cluster.run(day, &["--archive"], 0);
        let of = |name: &str, place| {
            let sends = run.sends(place).into_iter();
            let mut own = sends.filter(|send| send.step["dataset"] == cluster.world.guest(name));
            own.next().unwrap_or_else(|| panic!("{name}: {run:?}"))
        };
        for (place, copy) in ["backup", "archive"].into_iter().zip(cluster.copies(ROOT_DISK)) {
            assert!(of(other, place).base().is_some(), "{place}: {run:?}");
            assert_eq!(of(ROOT_DISK, place).base().is_none(), day == DAY_3, "{place}: {run:?}");
            assert_same_newest(&cluster.world.guest(other), &copy);
            assert_eq!(look::all_set_aside(&copy), Vec::<String>::new(), "{run:?}");
        }
    }
    for (copy, before) in cluster.copies(ROOT_DISK).iter().zip(before) {
        let now = guids(copy);
        let has_any = before.iter().any(|(name, guid)| now.get(name) == Some(guid));
        assert!(has_any, "it is the copy from before: {before:?}, {now:?}");
    }
    // What is restored is that disk, under its present name.
    let before = content(&format!("{}@2026-01-13-030000", cluster.world.guest(other)));
    settle();
    for disk in [other, DATA_DISK] {
        zfs(&["destroy", "-r", &cluster.world.guest(disk)]);
    }
    fs::remove_file(cluster.file("pve1")).unwrap();
    Run::of(command(&cluster.world, DAY_5, &["restore", &cluster.world.guest(other)])).expect_code(0);
    assert_eq!(content(&format!("{}@2026-01-13-030000", cluster.world.guest(other))), before);
}

#[test]
fn two_nodes_that_serve_one_guest_at_once_lose_nothing_and_one_of_them_continues() {
    // Each has the guest's configuration, or there is none and nothing is known of guests.
    for (name, number, has_configs) in [("both-known", 77, true), ("both-blind", 78, false)] {
        let mut cluster = Cluster::new(name, number);
        cluster.send_disks("pve1");
        if !has_configs {
            cluster.world.policy.source = "keep-last = 3".to_owned();
        }
        cluster.configure("pve1", CONFIG);
        let before = guids_of_copies(&cluster);
        for disk in DISKS {
            look::write_device(&cluster.world.guest(disk), 1, 6, "pve0");
            look::write_device(&cluster.volume("pve1", disk), 1, 6, "pve1");
        }
        cluster.world.policy.transfer = "rate = \"3MiB\"".to_owned();
        let mut here = cluster.world.start(DAY_2, &[]);
        cluster.world.wait_for_receive();
        let there = Run::of(at_the_same_time(&cluster, has_configs, "2026-01-11T03:00:20Z"));
        assert!(matches!(there.code, Some(1 | 3)) && there.stderr.contains("next: "), "{there:?}");
        here.wait().unwrap();
        cluster.world.wait_for_quiet();
        cluster.world.policy.transfer.clear();
        for (day, later) in [(DAY_3, "2026-01-12T04:00:00Z"), (DAY_4, "2026-01-13T04:00:00Z")] {
            let here = Run::of(cluster.world.command(day, &[]));
            let there = Run::of(at_the_same_time(&cluster, has_configs, later));
            assert!([&here, &there].iter().all(|run| matches!(run.code, Some(0 | 3))), "{here:?}{there:?}");
            for disk in DISKS {
                assert_ne!(is_refused(&here, disk), is_refused(&there, disk), "{disk}: {here:?}{there:?}");
            }
        }
        assert!(guids_of_copies(&cluster).is_superset(&before), "nothing is destroyed");
    }
}

/// All snapshots that the targets have of the machine, also in what was set aside.
fn guids_of_copies(cluster: &Cluster) -> BTreeSet<String> {
    let copies = DISKS.iter().flat_map(|disk| cluster.copies(disk));
    let all = copies.flat_map(|copy| look::all_set_aside(&copy).into_iter().chain([copy]));
    all.flat_map(|copy| guids(&copy).into_values()).collect()
}

/// Whether a run leaves the copies of a disk to another writer, and says so.
fn is_refused(run: &Run, disk: &str) -> bool {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let is_it =
        |one: &Value| one["kind"] == "other-writer" && one["dataset"].as_str().unwrap().ends_with(disk);
    findings.iter().any(is_it)
}
