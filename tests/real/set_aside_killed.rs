//! Setting aside, killed after each change that it makes: the next plain run finishes it, and nothing is lost.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::look::{self, assert_same_newest, guids};
use crate::pool::zfs;
use crate::world::{DISK, GUEST, World};

/// Comes before ZFS's own on every host of the lab.
const WRAPPER: &str = "/usr/local/sbin/zfs";
/// Where the wrapper finds whom to kill: one directory for each dataset, with its name and how many of its changes are left.
const VICTIMS: &str = "/run/zhaul-test-victims";

const SCRIPT: &str = r#"#!/bin/sh
case "$1" in set|rename|clone|promote) ;; *) exec /usr/sbin/zfs "$@";; esac
for victim in /run/zhaul-test-victims/*; do
    [ -e "$victim/name" ] || continue
    case "$*" in *"$(cat "$victim/name")"*) ;; *) continue;; esac
    left=$(($(cat "$victim/left") - 1))
    echo "$left" >"$victim/left"
    [ "$left" = 0 ] || continue
    /usr/sbin/zfs "$@"
    kill -9 "$PPID"
    exit 1
done
exec /usr/sbin/zfs "$@"
"#;

/// Lets the session that changes a dataset die at one of the changes.
struct Victim(PathBuf);

impl Victim {
    fn new(number: usize, copy: &str, change: usize) -> Self {
        let directory = PathBuf::from(VICTIMS).join(number.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("left"), change.to_string()).unwrap();
        fs::write(directory.join("name"), copy).unwrap();
        Self(directory)
    }

    fn has_died(&self) -> bool {
        let left: i64 = fs::read_to_string(self.0.join("left")).unwrap().trim().parse().unwrap();
        left <= 0
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn install_wrapper(world: &World) {
    let file = world.directory().join("zfs");
    fs::write(&file, SCRIPT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let beside = format!("{WRAPPER}.new");
    fs::copy(&file, &beside).unwrap();
    fs::rename(&beside, WRAPPER).unwrap();
}

/// Every snapshot of a copy and of what was set aside of it.
fn all_guids(copy: &str) -> BTreeSet<String> {
    let all = look::all_set_aside(copy);
    all.iter().map(String::as_str).chain([copy]).flat_map(|name| guids(name).into_values()).collect()
}

#[test]
fn killed_after_any_change_the_next_plain_run_finishes_it() {
    let mut world = World::new("aside-each");
    install_wrapper(&world);
    world.policy.backup = "agent = \"off\"".to_owned();
    let names = [GUEST, DISK, "secret"];
    world.filesystem(GUEST, 1);
    let child = format!("{}/data", world.guest(GUEST));
    zfs(&["create", &child]);
    let disk = world.volume(DISK, 1);
    world.encrypted("secret", &[]);
    let (mut day, mut kills) = (0, 0);
    let mut next_day = || {
        day += 1;
        let date = jiff::civil::date(2026, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
        (format!("{date}T03:00:00Z"), format!("{date}-030000"))
    };
    for change in 1.. {
        let (clock, base) = next_day();
        world.run(&clock);
        for name in [GUEST, "secret"] {
            world.write(name, "bad", 1);
        }
        look::write_device(&disk, 0, 1, "bad");
        world.run(&next_day().0);
        for name in names {
            zfs(&["rollback", "-r", &format!("{}@{base}", world.guest(name))]);
        }
        zfs(&["rollback", "-r", &format!("{child}@{base}")]);
        let before: Vec<_> = names.iter().map(|name| all_guids(&world.backup(name))).collect();
        let copies = names.map(|name| world.backup(name));
        let victims = copies.iter().enumerate();
        let victims: Vec<_> = victims.map(|(number, copy)| Victim::new(number, copy, change)).collect();
        world.run_with(&next_day().0, &[]);
        let killed = victims.iter().filter(|victim| victim.has_died()).count();
        drop(victims);
        world.run_with(&next_day().0, &[]).expect_code(0);
        for ((name, copy), before) in names.iter().zip(&copies).zip(before) {
            assert!(all_guids(copy).is_superset(&before), "{change} {name}: nothing is lost");
            let newest = |dataset: &str| guids(dataset).into_iter().next_back();
            assert_eq!(newest(copy), newest(&world.guest(name)), "{change}");
            for aside in look::all_set_aside(copy) {
                assert_eq!(look::mark(&aside)["done"], json!(true), "{change} {aside}");
                assert_eq!(look::datasets(&aside).len(), 1, "{change}: children moved back");
            }
        }
        assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
        assert_same_newest(&child, &format!("{}/data", world.backup(GUEST)));
        if killed == 0 {
            break;
        }
        kills += killed;
    }
    // After the mark, the rename, the clone, the promotion and the word that it is done, of three datasets, and the rename of
    // the child; before a change is after the one before it.
    assert!(kills > 3 * 5, "{kills} kills");
}
