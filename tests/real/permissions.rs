//! A target where zhaul does not log in as root: with the permissions that the README asks for, and no more, it does all its work.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::look::{self, assert_same_newest, set_aside, snapshots};
use crate::outcome::Run;
use crate::pool::zfs;
use crate::world::{DISK, GUEST, World};

/// Who logs in.
const USER: &str = "zhaul-guest";

/// The words between `zfs allow` and the next semicolon.
fn permissions_of_the_readme() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("needs permissions there (`zfs allow`):").unwrap();
    let (list, _) = rest.split_once(';').unwrap();
    let words = list.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.filter(|word| !["and", "the", "properties"].contains(word)).map(str::to_owned).collect()
}

/// A world whose backup is reached as [`USER`], who may do there what the README says.
fn as_another_user(name: &str) -> World {
    let mut world = World::new(name);
    // Only in here: the root of the lab is thrown away. Debian's udev makes the device so.
    let mut passwd = OpenOptions::new().append(true).open("/etc/passwd").unwrap();
    writeln!(passwd, "{USER}:*:4711:65534::/tmp:/bin/sh").unwrap();
    std::fs::set_permissions("/dev/zfs", std::fs::Permissions::from_mode(0o666)).unwrap();
    let base = world.backup_root().rsplit_once('/').unwrap().0.to_owned();
    zfs(&["create", "-o", "canmount=off", &base]);
    zfs(&["allow", "-u", USER, &permissions_of_the_readme().join(","), &base]);
    world.policy.backup_at = Some((format!("{USER}@nfs8"), world.backup_root()));
    world
}

fn run(world: &mut World, clock: &str) -> Run {
    let run = world.run_as_planned(clock, &[], 0);
    assert!(!run.stderr.contains("permission") && !run.stderr.contains("zfs allow"), "{run:?}");
    run
}

#[test]
fn a_user_with_the_permissions_of_the_readme_can_do_all_of_it() {
    let mut world = as_another_user("other-user");
    world.policy.backup = "keep-last = 2\nkeep-superseded = \"5d\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    run(&mut world, "2026-01-08T03:00:00Z");
    // A receive that broke off and cannot be resumed.
    world.write(GUEST, "more", 16);
    world.cut("2026-01-09T03:00:00Z", GUEST, 4 << 20);
    zfs(&["destroy", &format!("{files}@2026-01-09-030000")]);
    run(&mut world, "2026-01-09T04:00:00Z");
    let disk = world.volume(DISK, 1);
    for name in ["a", "a/x"] {
        world.filesystem(name, 1);
    }
    for day in 10..13 {
        world.write(GUEST, &format!("file-{day}"), 1);
        run(&mut world, &format!("2026-01-{day}T03:00:00Z"));
    }
    assert_eq!(snapshots(&world.backup(GUEST)), ["2026-01-11-030000", "2026-01-12-030000"], "pruned");
    // A dataset with another below it changes its name.
    zfs(&["rename", &world.guest("a"), &world.guest("b")]);
    run(&mut world, "2026-01-13T03:00:00Z");
    assert!(look::exists(&world.backup("b/x")) && !look::exists(&world.backup("a")));
    // Set aside, with a clone that is promoted and what is below it; and one without a base.
    look::write_copy(&world.backup("b"), "work");
    zfs(&["destroy", "-r", &disk]);
    world.volume(DISK, 1);
    run(&mut world, "2026-01-14T03:00:00Z");
    for name in ["b", DISK] {
        assert_eq!(look::mark(&set_aside(&world.backup(name)))["done"], true);
    }
    // The lineage that was set aside expires by the clock of the target, which is not the lab's.
    let later = look::days_after(&set_aside(&world.backup("b")), 6);
    run(&mut world, &later);
    for name in [GUEST, DISK, "b", "b/x"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    let left = zfs(&["list", "-rHo", "name", &world.backup_root()]);
    assert!(!left.contains(".diverged-") && !left.contains(".superseded-"), "{left}");
}
