//! Streams that need more than one run complete, whatever the keep rules give up meanwhile.

use crate::look::{assert_same_newest, bookmarks, snapshots};
use crate::pool::zfs;
use crate::world::{GUEST, World};

const MIB: u64 = 1 << 20;

fn day(day: u32) -> String {
    format!("2026-01-{day:02}T03:00:00Z")
}

#[test]
fn a_full_stream_over_a_link_that_breaks_in_each_run_completes_though_the_source_keeps_one() {
    let mut world = World::new("breaking-link");
    world.policy.source = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 20);
    // The first try; from the second on the copy shows that its streams break.
    let mut received = world.cut(&day(1), GUEST, 5 * MIB).received_bytes;
    let mut today = 2;
    while received < 12 * MIB {
        let token = world.cut(&day(today), GUEST, 5 * MIB);
        assert!(token.received_bytes > received, "{token:?} after {received}");
        assert!(token.to_name.ends_with("@2026-01-01-030000"), "the same stream continues: {token:?}");
        received = token.received_bytes;
        // The backup is down for longer than the source keeps its snapshots.
        let reached = world.policy.backup_at.replace(("offline".to_owned(), world.backup_root()));
        for down in 1..=2 {
            world.run_with(&day(today + down), &[]).expect_code(1);
        }
        world.policy.backup_at = reached;
        assert_eq!(snapshots(&files).len(), 2, "what the stream needs, and the newest");
        today += 3;
    }
    let run = world.run(&day(today));
    assert!(run.moved("backup") < 22 * MIB - received, "{received} had arrived: {run:?}");
    assert_same_newest(&files, &world.backup(GUEST));
    assert_eq!(snapshots(&files).len(), 1, "it stays no longer than it is needed");
    assert_eq!(bookmarks(&files).len(), usize::try_from(today).unwrap());
    let all = zfs(&["list", "-Hp", "-t", "bookmark", "-o", "name", &files]);
    assert!(!all.contains("-sending-"), "{all}");
}

#[test]
fn the_month_whose_stream_breaks_stays_until_it_is_archived() {
    let mut world = World::archive_only("breaking-month");
    world.policy.source = "keep-last = 1".to_owned();
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-20T03:00:00Z");
    world.write(GUEST, "more", 16);
    let archive = world.archive(GUEST);
    for day in 1..=2 {
        world.cut_into(&format!("2026-02-0{day}T03:00:00Z"), &archive, 4 * MIB);
    }
    let reached = world.policy.archive_host.replace("offline".to_owned());
    for day in 3..=4 {
        world.run_with(&format!("2026-02-0{day}T03:00:00Z"), &[]).expect_code(1);
    }
    world.policy.archive_host = reached;
    let run = world.run("2026-02-05T03:00:00Z");
    assert!(run.sends("archive")[0].step["action"]["resume"].is_object(), "{run:?}");
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    assert_eq!(snapshots(&files), ["2026-02-05-030000"]);
}
