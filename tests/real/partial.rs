//! Receives that broke off and are not what they seem: a stranger's, or of a snapshot that is gone.

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, GUEST, World};

#[test]
fn a_strangers_partial_receive_is_left_alone_and_reported() {
    let mut world = World::new("foreign-token");
    world.filesystem(GUEST, 1);
    let other = world.filesystem("subvol-102-disk-0", 1);
    let stranger = world.beside("stranger");
    zfs(&["create", &stranger]);
    look::write_file(&stranger, "file", 8);
    zfs(&["snapshot", &format!("{stranger}@2026-01-10-030000")]);
    let copy = world.backup(GUEST);
    look::send_in_part(None, &format!("{stranger}@2026-01-10-030000"), &copy);
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
fn a_partial_receive_of_a_snapshot_that_is_gone_is_dropped_and_reported() {
    let mut world = World::new("stale-token");
    let files = world.filesystem(GUEST, 8);
    zfs(&["snapshot", &format!("{files}@2026-01-10-020000")]);
    let copy = world.backup(GUEST);
    look::send_in_part(None, &format!("{files}@2026-01-10-020000"), &copy);
    zfs(&["destroy", &format!("{files}@2026-01-10-020000")]);
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert!(run.actions().contains(&"abort-receive".to_owned()), "{run:?}");
    assert_eq!(snapshots(&copy), ["2026-01-10-030000"]);
    assert_same_newest(&files, &copy);
}
