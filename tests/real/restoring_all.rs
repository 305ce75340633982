//! `zhaul restore --all`: a host that was lost comes back with one command, and what was given up before stays away.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::look::{self, content};
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::world::World;

const LONG_AGO: &str = "2026-01-02T03:00:00Z";
const YESTERDAY: &str = "2026-03-09T03:00:00Z";
const TODAY: &str = "2026-03-10T03:00:00Z";
const TOMORROW: &str = "2026-03-11T03:00:00Z";
const DATASETS: [&str; 4] = ["subvol-101-disk-0", "vm-100-disk-0", "vm-100-disk-1", "plain"];

/// Guests 100 and 101 and a dataset of no guest, backed up until yesterday; guest 300 was destroyed two months ago.
struct Host {
    world: World,
    pve: PathBuf,
    contents: BTreeMap<String, u64>,
}

impl Host {
    fn new(world: World) -> Self {
        Self::backed_up(world, LONG_AGO, YESTERDAY)
    }

    fn backed_up(mut world: World, first: &str, last: &str) -> Self {
        let storage =
            format!("zfspool: z\n\tpool {}\n\tcontent images,rootdir\n\tsparse 1\n", world.source());
        let files = [
            ("storage.cfg", storage.as_str()),
            ("qemu-server/100.conf", "memory: 1024\nscsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\n"),
            ("qemu-server/300.conf", "memory: 64\nscsi0: z:vm-300-disk-0\n"),
            ("lxc/101.conf", "memory: 512\nrootfs: z:subvol-101-disk-0,size=8M\n"),
        ];
        let pve = world.guest_configs(&files);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        world.filesystem("subvol-101-disk-0", 3);
        world.filesystem("plain", 1);
        for disk in ["vm-100-disk-0", "vm-100-disk-1", "vm-100-disk-9", "vm-300-disk-0"] {
            world.volume(disk, 3);
        }
        world.run(first);
        // A disk that was moved to another storage, or given up.
        zfs(&["destroy", "-r", &world.guest("vm-100-disk-9")]);
        zfs(&["destroy", "-r", &world.guest("vm-300-disk-0")]);
        fs::remove_file(pve.join("qemu-server/300.conf")).unwrap();
        world.run(last);
        let mut host = Self { world, pve, contents: BTreeMap::new() };
        host.contents = host.now();
        host.lose();
        host
    }

    /// What each dataset's newest snapshot holds.
    fn now(&self) -> BTreeMap<String, u64> {
        let newest = |name: &str| {
            let dataset = self.world.guest(name);
            let snapshot = look::snapshots(&dataset).pop().unwrap_or_else(|| panic!("{dataset} has none"));
            (name.to_owned(), content(&format!("{dataset}@{snapshot}")))
        };
        DATASETS.iter().map(|name| newest(name)).collect()
    }

    fn lose(&self) {
        zfs(&["destroy", "-r", &self.world.source()]);
        zfs(&["create", &self.world.source()]);
        for file in ["qemu-server/100.conf", "lxc/101.conf"] {
            fs::remove_file(self.pve.join(file)).ok();
        }
    }

    fn expect_all(&self) {
        assert_eq!(self.now(), self.contents);
        for (file, text) in [("qemu-server/100.conf", "memory: 1024"), ("lxc/101.conf", "memory: 512")] {
            let found = fs::read_to_string(self.pve.join(file)).unwrap();
            assert!(found.contains(text) && !found.contains("lock:"), "{file}: {found}");
        }
        let mut there = look::datasets(&self.world.source());
        there.retain(|name| *name != self.world.source() && !name.contains("zhaul-incoming"));
        assert_eq!(there.len(), DATASETS.len(), "{there:?}");
    }
}

#[test]
fn a_lost_host_comes_back_with_one_command_and_what_was_given_up_is_named() {
    let mut host = Host::new(World::with_archive("all"));
    let before = host.world.state();
    let plan = zhaul(&host.world, TODAY, &["restore", "--all", "--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("3 to be restored, 0 here already, 0 failed"), "{}", plan.stdout);
    assert_eq!(host.world.state(), before, "a dry run changes nothing");
    let all = zhaul(&host.world, TODAY, &["restore", "--all"]).expect_code(0);
    assert!(all.stdout.contains("3 restored, 0 here already, 0 failed"), "{}", all.stdout);
    assert!(
        all.stdout.contains("not restored: guest 300 has no point of the last 7 days; `zhaul list 300`")
            && all.stdout.contains("vm-100-disk-9, which was no disk of guest 100 any more"),
        "{}",
        all.stdout
    );
    host.expect_all();
    let again = zhaul(&host.world, TODAY, &["restore", "--all"]).expect_code(0);
    assert!(
        again.stdout.contains("0 restored, 3 here already, 0 failed") && again.stdout.contains("guest 101"),
        "{}",
        again.stdout
    );
    let next = zhaul(&host.world, TOMORROW, &["run", "--dry-run"]).expect_code(0);
    assert!(!next.stdout.contains("in full") && next.stdout.contains("->"), "{}", next.stdout);
    host.world.run_with(TOMORROW, &["--archive"]).expect_code(0);
    // The advice for what was given up.
    zhaul(&host.world, TOMORROW, &["restore", "300"]).expect_code(0);
    assert!(look::exists(&host.world.guest("vm-300-disk-0")));
}

#[test]
fn it_continues_after_a_kill_and_one_that_fails_stops_no_other() {
    let host = Host::new(World::new("all-killed"));
    // A strange dataset is in the place of one of the disks.
    zfs(&["create", &host.world.guest("plain")]);
    let mut slow = command(&host.world, TODAY, &["restore", "--all", "--rate", "2MiB"]);
    let mut slow = slow.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    // Guest 100 comes first, with its two disks.
    while !host.pve.join("qemu-server/100.conf").exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(700));
    slow.kill().unwrap();
    slow.wait().unwrap();
    let all = zhaul(&host.world, TODAY, &["restore", "--all"]);
    assert!(
        all.stdout.contains("2 restored, 0 here already, 1 failed")
            && all.stdout.contains("something else is called"),
        "{all:?}"
    );
    host.lose();
    zfs(&["create", &host.world.guest("vm-100-disk-1")]);
    let all = zhaul(&host.world, TODAY, &["restore", "--all"]);
    assert_ne!(all.code, Some(0));
    assert!(
        all.stdout.contains("2 restored, 0 here already, 1 failed")
            && all.stdout.contains("failed: guest 100"),
        "{all:?}"
    );
    zfs(&["destroy", &host.world.guest("vm-100-disk-1")]);
    let rest = zhaul(&host.world, TODAY, &["restore", "--all"]).expect_code(0);
    assert!(rest.stdout.contains("1 restored, 2 here already"), "{rest:?}");
    host.expect_all();
}

#[test]
fn an_earlier_time_and_an_archive_alone_count_their_own_points() {
    let mut host = Host::new(World::with_archive("all-early"));
    zhaul(&host.world, TODAY, &["restore", "--all", "--at", "2026-01-10"]).expect_code(0);
    assert!(look::exists(&host.world.guest("vm-300-disk-0")), "it was there then");
    assert_eq!(look::snapshots(&host.world.guest("plain")).len(), 1);
    host.lose();
    let refused = zhaul(&host.world, TODAY, &["restore", "--all", "--at", "2026-Jan"]).expect_code(2);
    assert!(refused.stderr.contains("--all needs a time"), "{refused:?}");
    zfs(&["destroy", "-r", &host.world.backup_root()]);
    host.world.policy.backup_at = Some(("nowhere.invalid".to_owned(), host.world.backup_root()));
    let all = zhaul(&host.world, TODAY, &["restore", "--all"]).expect_code(1);
    assert!(all.stderr.contains("could not be listed") && all.stdout.contains("3 restored"), "{all:?}");
    host.expect_all();
}

#[test]
fn runs_since_the_loss_and_what_was_begun_change_nothing_of_what_is_restored() {
    // By the real clock: what is created here now is newer than the last backup, and older than the runs since.
    let at = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    let host = Host::backed_up(World::new("all-late"), &at(-24 * 90), &at(-24 * 20));
    // The timer of the new host runs, with nothing to back up but the root.
    for hours in [1, 2] {
        zhaul(&host.world, &at(hours), &["run"]);
    }
    let late = &at(3);
    let all = zhaul(&host.world, late, &["restore", "--all"]).expect_code(0);
    assert!(
        all.stdout.contains("3 restored") && all.stdout.contains("not restored: guest 300"),
        "{}",
        all.stdout
    );
    host.expect_all();
    // As a kill leaves a guest whose disks are in their places, and a dataset that is.
    for disk in ["vm-100-disk-0", "vm-100-disk-1"] {
        let dataset = host.world.guest(disk);
        for snapshot in look::snapshots(&dataset) {
            for property in ["zhaul:guest", "zhaul:config-0"] {
                zfs(&["inherit", property, &format!("{dataset}@{snapshot}")]);
            }
        }
    }
    let file = host.pve.join("qemu-server/100.conf");
    fs::write(&file, "#zhaul restore, not complete\nmemory: 1024\nlock: create\n").unwrap();
    let plain = host.world.guest("plain");
    let newest = look::snapshots(&plain).pop().unwrap();
    let mark = format!("zhaul:restore={}", property("guid", &format!("{plain}@{newest}")));
    zfs(&["set", &mark, "readonly=on", "canmount=noauto", &plain]);
    let again = zhaul(&host.world, late, &["restore", "--all"]).expect_code(0);
    assert!(again.stdout.contains("2 restored, 2 here already"), "{}", again.stdout);
    host.expect_all();
    assert_eq!(property("zhaul:restore", &plain), "-");
    assert_eq!(property("readonly", &plain), "off");
    // The disks alone are no guest.
    fs::remove_file(host.pve.join("lxc/101.conf")).unwrap();
    let without = zhaul(&host.world, late, &["restore", "--all"]).expect_code(1);
    assert!(without.stdout.contains("guest 101 has its disks, but no file"), "{}", without.stdout);
}
