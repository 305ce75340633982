//! Receives that broke off and are not what they seem: a stranger's, or of a snapshot that is gone.

use std::process::Command;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::world::World;

const GUEST: &str = "subvol-101-disk-0";
const DAY_1: &str = "2026-01-10T03:00:00Z";
const DAY_2: &str = "2026-01-11T03:00:00Z";

/// Sends the first 2 MB of a snapshot, so that its receive breaks off.
fn send_in_part(snapshot: &str, to: &str) {
    let parent = to.rsplit_once('/').unwrap().0;
    zfs(&["create", "-p", "-u", parent]);
    let pipe = "zfs send -Lec \"$1\" | head -c 2000000 | zfs receive -s -u \"$2\"";
    let sent = Command::new("sh").args(["-c", pipe, "sh", snapshot, to]).output().unwrap();
    assert!(!sent.status.success(), "the stream was cut: {sent:?}");
    assert!(property("receive_resume_token", to).len() > 10, "{sent:?}");
}

#[test]
fn a_strangers_partial_receive_is_left_alone_and_told() {
    let mut world = World::new("foreign-token");
    world.filesystem(GUEST, 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    let stranger = world.beside("stranger");
    zfs(&["create", &stranger]);
    look::write_file(&stranger, "file", 8);
    zfs(&["snapshot", &format!("{stranger}@2026-01-10-030000")]);
    let copy = world.backup(GUEST);
    send_in_part(&format!("{stranger}@2026-01-10-030000"), &copy);
    let token = property("receive_resume_token", &copy);
    let run = world.run_as_planned(DAY_1, &[], 3);
    assert!(run.finds("blocked", &format!("zfs receive -A {copy}")), "{run:?}");
    assert_eq!(property("receive_resume_token", &copy), token, "it can still be resumed by its owner");
    assert_same_newest(&other, &world.backup("subvol-102-disk-0"));
    zfs(&["receive", "-A", &copy]);
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&world.guest(GUEST), &copy);
}

#[test]
fn a_partial_receive_of_a_snapshot_that_is_gone_is_dropped_and_told() {
    let mut world = World::new("stale-token");
    let files = world.filesystem(GUEST, 8);
    zfs(&["snapshot", &format!("{files}@2026-01-10-020000")]);
    let copy = world.backup(GUEST);
    send_in_part(&format!("{files}@2026-01-10-020000"), &copy);
    zfs(&["destroy", &format!("{files}@2026-01-10-020000")]);
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.actions().contains(&"abort-receive".to_owned()), "{run:?}");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000"]);
    assert_same_newest(&files, &copy);
}
