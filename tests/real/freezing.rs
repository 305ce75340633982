//! Guests whose file systems are frozen while their snapshots are taken, through a `qm` that behaves, refuses and answers wrongly as
//! Proxmox VE's does.
//!
//! The guest's "file systems" are the first sector of each of its disks: `clean` while it is frozen, `dirty` else.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::behind_agents;
use crate::look;
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::spare::SparePool;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DISK, World};

const POINT_1: &str = "2026-01-10-030000";

/// A world with guest 100, whose agent is on, and a `qm` that answers for it.
struct Guest {
    world: World,
    disks: Vec<String>,
}

impl Guest {
    fn new(world: World, agent: &str) -> Self {
        world.volume(DISK, 1);
        let disk = world.guest(DISK);
        Self::with_disks(world, agent, vec![disk])
    }

    fn with_disks(mut world: World, agent: &str, disks: Vec<String>) -> Self {
        let places = disks.iter().enumerate().map(|(number, disk)| (number, disk.rsplit_once('/').unwrap()));
        let storages: Vec<String> = places
            .clone()
            .map(|(n, (pool, _))| format!("zfspool: s{n}\n\tpool {pool}\n\tcontent images\n\tsparse 1\n\n"))
            .collect();
        let lines: Vec<String> =
            places.map(|(n, (_, volume))| format!("scsi{n}: s{n}:{volume},size=12M\n")).collect();
        let config = format!("agent: {agent}\nmemory: 1024\n{}", lines.concat());
        let storages = storages.concat();
        let files = [("storage.cfg", storages.as_str()), ("qemu-server/100.conf", config.as_str())];
        let pve = world.guest_configs(&files);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        let guest = Self { world, disks };
        fs::create_dir_all(guest.state("")).unwrap();
        guest.set("mode", "well");
        guest.set("fs", "thawed");
        guest.set("calls", "");
        guest.write_qm();
        guest
    }

    /// `mode` decides how the agent behaves, `fs` is what its file systems are, `calls` what it was asked.
    fn write_qm(&self) {
        let sectors = |word: &str| {
            let write = |disk: &String| {
                format!("printf '{word}' | dd of=/dev/zvol/{disk} conv=notrunc,fsync status=none\n")
            };
            self.disks.iter().map(write).collect::<String>()
        };
        let script = format!(
            r#"cd '{state}'
echo "$*" >> calls
mode=$(cat mode)
freeze() {{ {clean} echo frozen > fs; }}
thaw() {{ {dirty} echo thawed > fs; }}
case "$1" in status) echo "status: running"; exit 0;; esac
case "$mode" in
    stopped) echo "VM 100 is not running" >&2; exit 255;;
    silent) echo "QEMU guest agent is not running" >&2; exit 255;;
esac
case "$4" in
    fsfreeze-status) cat fs;;
    fsfreeze-freeze)
        case "$mode" in
            refuse) echo '{{"error":{{"class":"CommandDisabled","desc":"The command has been disabled"}}}}';;
            hang) freeze; sleep 600;;
            slow|stuck) freeze; sleep 2; echo 2;;
            none) echo 0;;
            *) freeze; echo 2;;
        esac;;
    fsfreeze-thaw)
        case "$mode" in
            away) echo well > mode; echo "Configuration file 'nodes/a/qemu-server/100.conf' does not exist" >&2; exit 2;;
            stuck) echo "QEMU guest agent is not running" >&2; exit 255;;
        esac
        if [ "$(cat fs)" = frozen ]; then thaw; echo 2; else echo 0; fi;;
esac
"#,
            state = self.state("").display(),
            clean = sectors("clean"),
            dirty = sectors("dirty"),
        );
        stand_in::write(&self.bin(), "qm", &script);
    }

    fn bin(&self) -> PathBuf {
        self.world.directory().join("bin")
    }

    fn state(&self, name: &str) -> PathBuf {
        self.world.directory().join("state").join(name)
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.state(name), text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.state(name)).unwrap().trim().to_owned()
    }

    fn command(&self, day: &str, words: &[&str]) -> std::process::Command {
        stand_in::with(command(&self.world, day, words), &self.bin())
    }

    fn run(&self, day: &str, more: &[&str]) -> Run {
        Run::of(self.command(day, &[&["run"], more].concat()))
    }

    /// A run in a process group of its own, once the guest is frozen.
    fn run_until_frozen(&self) -> Child {
        let mut command = self.command(DAY_1, &["run"]);
        let run = command.process_group(0).spawn().unwrap();
        self.wait_for("frozen");
        run
    }

    fn wait_for(&self, state: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.get("fs") != state {
            assert!(Instant::now() < until, "not {state}; {}", self.get("calls"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first bytes of each disk in the snapshot of this name.
    fn sectors(&self, point: &str) -> Vec<String> {
        self.disks.iter().map(|disk| look::first_text(&format!("{disk}@{point}"), 5)).collect()
    }

    /// The snapshot was taken, and the guest continues, unfrozen.
    fn expect_crash_consistent(&self, point: &str) {
        assert_eq!(consistency(&format!("{}@{point}", self.disks[0])), "-");
        assert_eq!(consistency(&format!("{}@{point}", self.world.backup(DISK))), "-");
    }
}

fn consistency(snapshot: &str) -> String {
    property("zhaul:consistency", snapshot)
}

/// The processes that freeze guests for this world's runs.
fn freezing_processes(guest: &Guest) -> Vec<i32> {
    let directory = guest.world.directory().display().to_string();
    let is_one = |words: &[String]| {
        words.iter().any(|word| word == "freeze-guest")
            && words.iter().any(|word| word.starts_with(&directory))
    };
    look::processes(is_one)
}

#[test]
fn a_guest_is_frozen_while_all_its_disks_are_snapshotted_and_every_copy_says_so() {
    for (name, is_agent) in [("freeze-shell", false), ("freeze-agent", true)] {
        let world = if is_agent { behind_agents(name, "--append-only") } else { World::with_archive(name) };
        let guest = Guest::new(world, "1");
        let plan = guest.run(DAY_1, &["--dry-run"]).expect_code(0);
        assert!(plan.stdout.contains("file systems frozen if the guest is running"), "{plan:?}");
        assert_eq!(guest.get("calls"), "", "a dry run freezes nothing");
        let run = guest.run(DAY_1, &["--archive"]).expect_code(0);
        assert_eq!(run.stderr, "", "{run:?}");
        assert_eq!(guest.sectors(POINT_1), ["clean"]);
        assert_eq!(guest.get("fs"), "thawed");
        let months = format!("{}@2026-Jan-10", guest.world.archive(DISK));
        for snapshot in [
            format!("{}@{POINT_1}", guest.disks[0]),
            format!("{}@{POINT_1}", guest.world.backup(DISK)),
            months,
        ] {
            assert_eq!(consistency(&snapshot), "file-system", "{name}: {snapshot}");
        }
        guest.set("mode", "refuse");
        guest.run(DAY_2, &[]).expect_code(0);
        let list = zhaul(&guest.world, DAY_2, &["list", "100"]).expect_code(0);
        let line = |point: &str| list.stdout.lines().find(|line| line.contains(point)).unwrap().to_owned();
        assert!(line(POINT_1).contains("file system"), "{}", list.stdout);
        assert!(line("2026-01-11").contains("crash"), "{}", list.stdout);
        let json = zhaul(&guest.world, DAY_2, &["list", "100", "--json"]).expect_code(0);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        let words: Vec<_> =
            json["points"].as_array().unwrap().iter().map(|point| &point["consistent"]).collect();
        assert_eq!(words, ["crash", "file-system"], "{json}");
    }
}

#[test]
fn the_disks_of_two_pools_are_of_one_moment_where_the_guest_is_frozen() {
    let mut world = World::new("freeze-pools");
    world.volume(DISK, 1);
    let other = SparePool::new("freezes", 64);
    let on_other = format!("{}/guests/vm-100-disk-0", other.name);
    zfs(&["create", &format!("{}/guests", other.name)]);
    zfs(&["create", "-s", "-V", "12M", &on_other]);
    world.policy.datasets = vec![world.source(), format!("{}/guests", other.name)];
    let disks = vec![world.guest(DISK), on_other];
    let guest = Guest::with_disks(world, "1", disks);
    let plan = guest.run(DAY_1, &["--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("snapshot 2 datasets of 2 pools, file systems frozen"), "{}", plan.stdout);
    guest.run(DAY_1, &[]).expect_code(0);
    assert_eq!(guest.sectors(POINT_1), ["clean", "clean"]);
    for disk in &guest.disks {
        assert_eq!(consistency(&format!("{disk}@{POINT_1}")), "file-system");
        let bookmark = zfs(&["list", "-H", "-t", "bookmark", "-o", "name", disk]);
        assert_eq!(bookmark.trim(), format!("{disk}#{POINT_1}"));
    }
    let freezes = guest.get("calls").lines().filter(|call| call.contains("fsfreeze-freeze")).count();
    assert_eq!(freezes, 1);
    // Without the agent they are of two moments, and the list says so.
    guest.set("mode", "silent");
    guest.run(DAY_2, &[]).expect_code(0);
    let list = zhaul(&guest.world, DAY_2, &["list", "100"]).expect_code(0);
    assert!(list.stdout.contains("crash, each pool"), "{}", list.stdout);
}

#[test]
fn a_guest_that_cannot_be_frozen_is_backed_up_and_that_is_said() {
    let guest = Guest::new(World::new("freeze-refused"), "enabled=1");
    for (day, mode, words) in [
        (1, "refuse", Some("The command has been disabled")),
        (2, "silent", Some("QEMU guest agent is not running")),
        (3, "none", Some("no file system that can be frozen")),
        (4, "stopped", None),
    ] {
        guest.set("mode", mode);
        let run = guest.run(&format!("2026-02-0{day}T03:00:00Z"), &[]).expect_code(0);
        match words {
            Some(words) => assert!(
                run.stderr.contains(words) && run.stderr.contains("crash-consistent"),
                "{mode}: {run:?}"
            ),
            None => assert_eq!(run.stderr, "", "{mode}"),
        }
        guest.expect_crash_consistent(&format!("2026-02-0{day}-030000"));
    }
    // What says no is not asked.
    guest.set("calls", "");
    for (number, agent) in ["0", "1,freeze-fs=0"].iter().enumerate() {
        let config = format!("agent: {agent}\nscsi0: s0:{DISK},size=12M\n");
        fs::write(guest.world.directory().join("pve/qemu-server/100.conf"), config).unwrap();
        guest.run(&format!("2026-03-0{}T03:00:00Z", number + 1), &[]).expect_code(0);
    }
    assert_eq!(guest.get("calls"), "");
}

#[test]
fn a_freeze_that_hangs_holds_up_neither_the_run_nor_the_guest() {
    let mut world = World::new("freeze-hangs");
    world.policy.source = String::new();
    let mut guest = Guest::new(world, "1");
    guest.world.policy.source.push_str("\nfreeze = \"1s\"");
    guest.set("mode", "hang");
    let begun = Instant::now();
    let run = guest.run(DAY_1, &[]).expect_code(0);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(
        run.stderr.contains("does not answer within") && run.stderr.contains("crash-consistent"),
        "{run:?}"
    );
    guest.wait_for("thawed");
    guest.expect_crash_consistent(POINT_1);
}

#[test]
fn a_freeze_of_another_program_is_left_alone() {
    let guest = Guest::new(World::new("freeze-other"), "1");
    guest.set("fs", "frozen");
    let run = guest.run(DAY_1, &[]).expect_code(0);
    assert!(run.stderr.contains("another program has frozen it"), "{run:?}");
    assert_eq!(guest.get("fs"), "frozen");
    let calls = guest.get("calls");
    assert!(!calls.contains("freeze-freeze") && !calls.contains("thaw"), "{calls}");
    guest.expect_crash_consistent(POINT_1);
}

#[test]
fn a_guest_is_thawed_when_the_run_is_killed() {
    for (name, signal, is_group) in [
        ("freeze-kill", Signal::KILL, false),
        ("freeze-term", Signal::TERM, false),
        ("freeze-unit", Signal::TERM, true),
    ] {
        let guest = Guest::new(World::new(name), "1");
        guest.set("mode", "slow");
        let mut run = guest.run_until_frozen();
        let others = freezing_processes(&guest);
        assert!(!others.is_empty(), "{name}");
        kill_process(Pid::from_child(&run), signal).unwrap();
        for process in others.into_iter().filter(|_| is_group) {
            look::signal(process, signal);
        }
        run.wait().unwrap();
        guest.wait_for("thawed");
        // The next run does not find anything odd.
        guest.set("mode", "well");
        let next = guest.run(DAY_2, &[]).expect_code(0);
        assert!(!next.stderr.contains("frozen"), "{name}: {next:?}");
        assert_eq!(consistency(&format!("{}@2026-01-11-030000", guest.disks[0])), "file-system");
    }
}

#[test]
fn what_was_killed_with_all_its_processes_is_thawed_by_the_next_run() {
    let guest = Guest::new(World::new("freeze-killed-all"), "1");
    guest.set("mode", "slow");
    let mut run = guest.run_until_frozen();
    let processes = freezing_processes(&guest);
    assert!(!processes.is_empty());
    for process in processes {
        look::signal(process, Signal::KILL);
    }
    kill_process(Pid::from_child(&run), Signal::KILL).unwrap();
    run.wait().unwrap();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(guest.get("fs"), "frozen", "else this shows nothing");
    let doctor = Run::of(guest.command(DAY_1, &["doctor"]));
    assert!(doctor.stdout.contains("guest 100: may be frozen"), "{doctor:?}");
    // A run that does not even serve it thaws it.
    guest.set("mode", "well");
    guest.world.volume("vm-200-disk-0", 1);
    let next = guest.run(DAY_2, &["--dataset", &guest.world.guest("vm-200-disk-0")]).expect_code(0);
    assert!(next.stderr.contains("guest 100 was left frozen by a run that was killed"), "{next:?}");
    assert_eq!(guest.get("fs"), "thawed");
}

#[test]
fn a_guest_that_cannot_be_thawed_fails_the_run_and_is_tried_again() {
    let guest = Guest::new(World::new("freeze-stuck"), "1");
    guest.set("mode", "stuck");
    let run = guest.run(DAY_1, &[]).expect_code(1);
    assert!(
        run.stderr.contains("guest 100 may still be frozen")
            && run.stderr.contains("qm guest cmd 100 fsfreeze-thaw"),
        "{run:?}"
    );
    guest.expect_crash_consistent(POINT_1);
    guest.set("mode", "well");
    guest.wait_for("thawed");
}

#[test]
fn a_freezing_process_that_is_killed_alone_leaves_the_thaw_to_the_run() {
    let guest = Guest::new(World::new("freeze-alone"), "1");
    guest.set("mode", "slow");
    let mut run = guest.run_until_frozen();
    for process in freezing_processes(&guest) {
        look::signal(process, Signal::KILL);
    }
    guest.wait_for("thawed");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    guest.expect_crash_consistent(POINT_1);
}

#[test]
fn only_a_guest_that_is_stopped_counts_as_thawed_without_a_thaw() {
    let guest = Guest::new(World::new("freeze-away"), "1");
    guest.set("mode", "away");
    guest.run(DAY_1, &[]);
    guest.wait_for("thawed");
}

#[test]
fn files_of_others_beside_the_lock_change_nothing() {
    let guest = Guest::new(World::new("freeze-files"), "1");
    let beside = guest.world.directory();
    let foreign = beside.join("freeze-999");
    fs::write(&foreign, "frozen").unwrap();
    std::os::unix::fs::chown(&foreign, Some(65534), None).unwrap();
    std::os::unix::fs::symlink("/nonexistent", beside.join("freeze-50")).unwrap();
    fs::write(beside.join("freeze-2026"), "notes of an admin").unwrap();
    let run = guest.run(DAY_1, &[]).expect_code(0);
    assert_eq!(run.stderr, "");
    assert_eq!(fs::read_to_string(beside.join("freeze-2026")).unwrap(), "notes of an admin");
    assert_eq!(consistency(&format!("{}@{POINT_1}", guest.disks[0])), "file-system");
}
