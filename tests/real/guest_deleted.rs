//! A guest that is destroyed while a run is under way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::look::{self, assert_same_newest, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::zhaul;
use crate::stand_in;
use crate::world::{DAY_1, World};

/// In the next month, so that the archive gets something, too.
const RUN_2: &str = "2026-02-10T03:00:00Z";
const RUN_3: &str = "2026-02-11T03:00:00Z";
const RUN_4: &str = "2026-03-10T03:00:00Z";
const POINT_1: &str = "2026-01-10-030000";
const LIMIT: Duration = Duration::from_secs(90);
/// A dataset whose turn comes before that of any guest, and a guest that comes after the others.
const FIRST: &str = "early";
const OTHER: &str = "vm-102-disk-0";
const MACHINE: [&str; 3] = ["vm-100-disk-0", "vm-100-disk-1", "vm-100-disk-2"];
/// The files of the two.
const FILES: [&str; 2] = ["qemu-server/100.conf", "lxc/101.conf"];
const CONTAINER: [&str; 2] = ["subvol-101-disk-0", "subvol-101-disk-1"];

/// A virtual machine, a container, and two datasets of others, and the directory of the guests' files.
fn guests(name: &str) -> (World, PathBuf) {
    let mut world = World::with_archive(name);
    world.filesystem(FIRST, 1);
    for name in CONTAINER {
        world.filesystem(name, 1);
    }
    for name in MACHINE.iter().chain([&OTHER]) {
        world.volume(name, 1);
    }
    let machine = "memory: 64\nscsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:vm-100-disk-2\n";
    let container = "memory: 64\nrootfs: z:subvol-101-disk-0\nmp0: z:subvol-101-disk-1,mp=/srv,backup=1\n";
    let pve = world.guest_configs(&[
        ("qemu-server/100.conf", machine),
        ("lxc/101.conf", container),
        ("qemu-server/102.conf", "memory: 64\nscsi0: z:vm-102-disk-0\n"),
    ]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    (world, pve)
}

fn change(world: &World, text: &str) {
    for name in [FIRST].iter().chain(&CONTAINER).filter(|name| look::exists(&world.guest(name))) {
        world.write(name, text, 2);
    }
    for name in MACHINE.iter().chain([&OTHER]).filter(|name| look::exists(&world.guest(name))) {
        look::write_device(&world.guest(name), 0, 2, text);
    }
}

/// As `qm destroy` and `pct destroy` do it: each disk, again while it is busy, and then the guest's file. How often a disk was
/// busy.
fn destroy(world: &World, disks: &[&str], file: &Path) -> usize {
    let (deadline, mut busy) = (Instant::now() + LIMIT, 0);
    for disk in disks {
        loop {
            let output = Command::new("zfs").args(["destroy", "-r", &world.guest(disk)]).output().unwrap();
            if output.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("busy") && Instant::now() < deadline, "{disk}: {said}");
            busy += 1;
            thread::sleep(Duration::from_millis(200));
        }
    }
    fs::remove_file(file).unwrap();
    busy
}

/// A guest that is destroyed as soon as something is received into the backup of `at`.
struct Event {
    at: &'static str,
    disks: &'static [&'static str],
    file: PathBuf,
}

/// A run in which these guests are destroyed; how often a disk was busy.
fn run_with(world: &World, events: &[Event]) -> (Run, usize) {
    let run = world.start(RUN_2, &["--archive"]);
    let mut busy = 0;
    for event in events {
        let (deadline, copy) = (Instant::now() + LIMIT, world.backup(event.at));
        let is_copy = |word: &String| *word == copy || word.starts_with(&format!("{copy}@"));
        let is_received =
            |words: &[String]| words.iter().any(|word| word == "receive") && words.iter().any(is_copy);
        while look::processes(is_received).is_empty() {
            assert!(Instant::now() < deadline, "nothing is received into {copy}");
            thread::sleep(Duration::from_millis(5));
        }
        busy += destroy(world, event.disks, &event.file);
    }
    (Run::end(world, run, LIMIT).0, busy)
}

/// All GUIDs of snapshots on both targets.
fn kept(world: &World) -> BTreeSet<String> {
    let roots = [world.backup_root(), world.archive_root()];
    let guids = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "guid", &roots[0], &roots[1]]);
    guids.lines().map(str::to_owned).collect()
}

/// Two guests are backed up and archived, and changed; in the next run these events happen. Each guest is named once, the others
/// are backed up, and no copy has lost anything.
fn destroy_in_a_run(name: &str, events: impl Fn(&Path) -> [Event; 2]) -> (World, PathBuf, Vec<u64>, usize) {
    let (mut world, pve) = guests(name);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    let contents = contents_of(&world);
    change(&world, "second");
    let before = kept(&world);
    "rate = \"1MiB\"\njobs = 1".clone_into(&mut world.policy.transfer);
    let events = events(&pve);
    let (run, busy) = run_with(&world, &events);
    world.policy.transfer.clear();
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.stderr.matches("failed: ").count(), 2, "each guest is named once: {run:?}");
    for id in ["100", "101"] {
        let advice = format!("what the targets have stays; else `zhaul restore {id}`");
        assert_eq!(run.stderr.matches(&advice).count(), 1, "{run:?}");
    }
    assert!(run.stderr.contains("destroyed or renamed while the run was under way"), "{run:?}");
    assert!(before.is_subset(&kept(&world)), "{run:?}");
    for name in [FIRST, OTHER] {
        assert_same_newest(&world.guest(name), &world.backup(name));
        assert_eq!(snapshots(&world.archive(name)), ["2026-Jan-10", "2026-Feb"]);
    }
    (world, pve, contents, busy)
}

/// What was begun to be received was ended; the next run is well and lists the copies; both guests come back as of the first day
/// with their files, and the run after that sends increments alone.
fn expect_the_way_back(world: &mut World, pve: &Path, contents: &[u64]) {
    let roots = [world.backup_root(), world.archive_root()];
    let tokens = zfs(&["list", "-rHp", "-o", "receive_resume_token", &roots[0], &roots[1]]);
    assert!(tokens.lines().all(|token| token == "-"), "{tokens}");
    let next = world.run_with(RUN_3, &[]).expect_code(0);
    let orphans = next.json()["orphans"].to_string();
    for name in MACHINE.iter().chain(&CONTAINER) {
        assert!(orphans.contains(&world.backup(name)), "{next:?}");
    }
    for id in ["100", "101"] {
        let mut run = zhaul(world, RUN_3, &["restore", id]);
        if run.code == Some(3) {
            assert!(run.stderr.contains("lacks"), "{run:?}");
            let words = run.next_words();
            run = zhaul(world, RUN_3, &words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        run.expect_code(0);
    }
    assert_eq!(contents_of(world), contents);
    assert!(pve.join(FILES[0]).exists() && pve.join(FILES[1]).exists());
    change(world, "third");
    let run = world.run_with(RUN_4, &["--archive"]).expect_code(0);
    for target in ["backup", "archive"] {
        let sends = run.sends(target);
        assert_eq!(sends.len(), 7, "{run:?}");
        assert!(sends.iter().all(|send| send.base().is_some()), "{run:?}");
    }
}

/// What the disks of both guests have in the snapshot of the first day.
fn contents_of(world: &World) -> Vec<u64> {
    let names = MACHINE.iter().chain(&CONTAINER);
    names.map(|name| content(&format!("{}@{POINT_1}", world.guest(name)))).collect()
}

#[test]
fn before_its_first_disk_is_sent() {
    let event = |disks, file| Event { at: FIRST, disks, file };
    let (mut world, pve, contents, busy) = destroy_in_a_run("deleted-before", |pve| {
        [event(&MACHINE, pve.join(FILES[0])), event(&CONTAINER, pve.join(FILES[1]))]
    });
    assert_eq!(busy, 0, "nothing of it was being sent");
    expect_the_way_back(&mut world, &pve, &contents);
}

#[test]
fn while_one_of_its_disks_is_sent_and_another_is_not_yet() {
    let (mut world, pve, contents, busy) = destroy_in_a_run("deleted-within", |pve| {
        [
            Event { at: CONTAINER[0], disks: &CONTAINER, file: pve.join(FILES[1]) },
            Event { at: MACHINE[1], disks: &MACHINE, file: pve.join(FILES[0]) },
        ]
    });
    assert!(busy > 0, "ZFS destroys no snapshot that is being sent");
    // What was sent is whole, with the configuration.
    for (name, file) in
        [(MACHINE[0], "qemu-server/100 "), (MACHINE[1], "qemu-server/100 "), (CONTAINER[0], "lxc/101 ")]
    {
        let guest = property("zhaul:guest", &format!("{}@2026-02-10-030000", world.backup(name)));
        assert!(guest.starts_with(file), "{name}: {guest}");
    }
    assert_eq!(snapshots(&world.backup(MACHINE[2])), [POINT_1]);
    assert_eq!(snapshots(&world.backup(CONTAINER[1])), [POINT_1]);
    expect_the_way_back(&mut world, &pve, &contents);
}

#[test]
fn between_the_plan_and_its_first_snapshot() {
    let (mut world, pve) = guests("deleted-plan");
    let file = pve.join(FILES[0]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("agent: 1\n{text}")).unwrap();
    let bin = world.directory().join("bin");
    // Before its disks are snapshotted, the guest is asked to freeze.
    let disks = MACHINE.map(|name| format!("zfs destroy -r {}", world.guest(name))).join("\n");
    let gone = "Configuration file 'nodes/a/qemu-server/100.conf' does not exist";
    let script = format!("{disks}\nrm -f {}\necho \"{gone}\" >&2\nexit 2", file.display());
    stand_in::write(&bin, "qm", &script);
    let run = Run::of(stand_in::with(world.command(DAY_1, &[]), &bin)).expect_code(1);
    assert!(!look::exists(&world.guest(MACHINE[0])), "else this shows nothing: {run:?}");
    assert_eq!(run.stderr.matches("failed: ").count(), 1, "{run:?}");
    assert!(run.stderr.contains("were destroyed or renamed while the run was under way"), "{run:?}");
    for name in [FIRST, OTHER, CONTAINER[0], CONTAINER[1]] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    assert!(MACHINE.iter().all(|name| !look::exists(&world.backup(name))));
    let next = world.run(RUN_2);
    assert_eq!(next.stderr, "", "{next:?}");
}
