//! Streams that a target can never receive: reported once with what helps, and exit code 3, until a person acts.

use crate::look::{self, assert_same_newest};
use crate::pool::zfs;
use crate::spare::SparePool;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

#[test]
fn a_pool_without_the_features_of_a_stream_is_named_with_what_helps() {
    let pool = SparePool::without_features("old-pool", 128);
    let mut world = World::new("old-pool");
    let files = world.filesystem(GUEST, 1);
    zfs(&["set", "recordsize=1M", &files]);
    world.write(GUEST, "large", 4);
    let root = format!("{}/pve0", pool.name);
    world.policy.backup_at = Some(("nfs8".to_owned(), root.clone()));
    for day in [DAY_1, DAY_2] {
        let run = world.run_for_a_person(day, &[]).expect_code(3);
        assert!(run.stderr.contains("can never receive this stream"), "{run:?}");
        assert!(run.stderr.contains("zpool upgrade"), "{run:?}");
    }
    pool.upgrade();
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&files, &format!("{root}/{GUEST}"));
}

/// The source came back by a stream without large blocks, while the copy has them.
#[test]
fn a_copy_with_large_blocks_that_its_source_has_lost_waits_for_a_person() {
    let mut world = World::new("large-lost");
    let files = world.filesystem(GUEST, 1);
    zfs(&["set", "recordsize=1M", &files]);
    world.write(GUEST, "large", 4);
    world.run(DAY_1);
    let copy = world.backup(GUEST);
    let back = world.beside("back");
    look::replicate("", &format!("{files}@2026-01-10-030000"), &back);
    zfs(&["destroy", "-r", &files]);
    zfs(&["rename", &back, &files]);
    zfs(&["mount", &files]);
    world.write(GUEST, "more", 1);
    let run = world.run_for_a_person(DAY_2, &[]).expect_code(3);
    assert!(run.stderr.contains("rename the copy there"), "{run:?}");
    zfs(&["rename", &copy, &format!("{copy}.large")]);
    world.run_as_planned(DAY_3, &[], 0);
    assert_same_newest(&files, &copy);
}
