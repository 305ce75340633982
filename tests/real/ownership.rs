//! Snapshots and bookmarks that are not this policy's: whoever made them, no run ever touches them.

use std::collections::BTreeMap;

use crate::look::{all_points, bookmarks, snapshots};
use crate::pool::zfs;
use crate::world::{GUEST, World};

/// The snapshots that people, Proxmox VE and other programs leave on a dataset.
const FOREIGN: [&str; 8] = [
    "manual",
    "vzdump",
    "__replicate_100-0_1234__",
    "__migration__",
    "__base__",
    "autosnap_2026-01-01_00:00:01_daily",
    "2026-01-01",
    "x2026-01-01-000000",
];
const FOREIGN_BOOKMARKS: [&str; 2] = ["manual", "autosnap_2026-01-01_00:00:01_daily"];

fn leave_foreign_points(dataset: &str) -> BTreeMap<String, String> {
    for name in FOREIGN {
        zfs(&["snapshot", &format!("{dataset}@{name}")]);
    }
    for name in FOREIGN_BOOKMARKS {
        zfs(&["bookmark", &format!("{dataset}@manual"), &format!("{dataset}#{name}")]);
    }
    foreign_points(dataset)
}

fn foreign_points(dataset: &str) -> BTreeMap<String, String> {
    let mut points = all_points(dataset);
    points.retain(|point, _| match point.split_at(1) {
        ("@", name) => FOREIGN.contains(&name),
        (_, name) => FOREIGN_BOOKMARKS.contains(&name),
    });
    points
}

#[test]
fn foreign_snapshots_and_bookmarks_outlive_twenty_runs() {
    let mut world = World::new("foreign-20");
    world.back_up_locally();
    world.policy.source = "keep-last = 3".to_owned();
    world.policy.backup = "keep-last = 3".to_owned();
    let files = world.filesystem(GUEST, 1);
    let copy = world.backup(GUEST);
    world.run("2026-01-01T03:00:00Z");
    let (here, there) = (leave_foreign_points(&files), leave_foreign_points(&copy));
    assert_eq!((here.len(), there.len()), (10, 10));
    for day in 2..=21 {
        if day % 5 == 0 {
            world.write(GUEST, &format!("file-{day}"), 1);
        }
        world.run(&format!("2026-01-{day:02}T03:00:00Z"));
    }
    assert_eq!(foreign_points(&files), here);
    assert_eq!(foreign_points(&copy), there);
    let newest = ["2026-01-19-030000", "2026-01-20-030000", "2026-01-21-030000"];
    assert_eq!(snapshots(&files)[FOREIGN.len()..], newest, "own snapshots do rotate");
    assert_eq!(snapshots(&copy)[FOREIGN.len()..], newest);
    assert_eq!(bookmarks(&files).len(), 21 + FOREIGN_BOOKMARKS.len(), "each own bookmark stays");
}

#[test]
fn a_snapshot_that_a_guests_config_lists_is_proxmoxs_whatever_its_name() {
    let mut world = World::new("listed");
    let files = world.filesystem(GUEST, 1);
    let text = format!("rootfs: z:{GUEST},size=1G\n\n[zz2026-01-01-000000]\nrootfs: z:{GUEST},size=1G\n");
    let pve = world.guest_configs(&[("lxc/101.conf", &text)]);
    world.policy.top = "name = \"zz%Y-%m-%d-%H%M%S\"".to_owned();
    world.policy.source = format!("guest-config = {pve:?}\nkeep-last = 1");
    world.policy.backup = "keep-last = 1".to_owned();
    for name in ["zz2026-01-01-000000", "zz2026-01-02-000000"] {
        zfs(&["snapshot", &format!("{files}@{name}")]);
    }
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-01-11T03:00:00Z");
    assert_eq!(snapshots(&files), ["zz2026-01-01-000000", "zz2026-01-11-030000"]);
    assert_eq!(snapshots(&world.backup(GUEST)), ["zz2026-01-11-030000"]);
}
