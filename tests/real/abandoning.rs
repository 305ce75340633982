//! Restores that are given up: on whatever storage, at whatever step, and beside one that is under way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, World};

const POINT_1: &str = "2026-01-10-030000";
const DISKS: [&str; 2] = ["vm-100-disk-0", "vm-100-disk-1"];
const FILE: &str = "qemu-server/100.conf";
const TEXT: &str = "memory: 64\nscsi0: z:vm-100-disk-0,size=20M\nscsi1: z:vm-100-disk-1,size=20M\n";

/// A guest with disks of these sizes, backed up once, and the directory of its file.
fn guest(name: &str, mib: [u64; 2]) -> (World, PathBuf) {
    let mut world = World::new(name);
    let storages = format!("zfspool: z\n\tpool {}\n\tcontent images\n\tsparse 1\n", world.source());
    let pve = world.guest_configs(&[("storage.cfg", &storages), (FILE, TEXT)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    for (disk, mib) in DISKS.into_iter().zip(mib) {
        world.volume(disk, mib);
    }
    world.run(DAY_1);
    (world, pve)
}

fn lose(world: &World, pve: &Path) {
    for disk in DISKS {
        zfs(&["destroy", "-r", &world.guest(disk)]);
    }
    fs::remove_file(pve.join(FILE)).unwrap();
}

fn contents(world: &World) -> [u64; 2] {
    DISKS.map(|disk| content(&format!("{}@{POINT_1}", world.guest(disk))))
}

/// Begins a restore, and gives it once this much has come into `incoming`.
fn begin(world: &World, words: &[&str], incoming: &str, bytes: u64) -> Child {
    let mut begun = command(world, DAY_2, words);
    let begun = begun.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.wait_for_receive();
    look::wait_for_used(incoming, bytes);
    begun
}

fn follow(world: &World, refused: &Run) -> Run {
    let words = refused.next_words();
    zhaul(world, DAY_2, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Restores where the second disk cannot be brought into use, as for want of room.
fn stuck(world: &World, words: &[&str]) {
    let bin = world.directory().join("stuck");
    let script = format!(
        "[ \"$*\" = 'inherit readonly {}' ] && {{ echo 'size is greater than available space' >&2; exit 1; }}",
        world.guest(DISKS[1])
    );
    stand_in::write_around(&bin, "zfs", &script);
    Run::of(stand_in::with(command(world, DAY_2, words), &bin)).expect_code(1);
    assert_ne!(property("zhaul:restore", &world.guest(DISKS[1])), "-");
}

#[test]
fn what_was_received_on_a_storage_outside_the_roots_is_given_up_too() {
    let (world, pve) = guest("abandon-storage", [6, 6]);
    let other = world.beside("other");
    zfs(&["create", &other]);
    let storages = fs::read_to_string(pve.join("storage.cfg")).unwrap();
    let storages = format!("{storages}\nzfspool: o\n\tpool {other}\n\tcontent images\n\tsparse 1\n");
    fs::write(pve.join("storage.cfg"), storages).unwrap();
    let file = pve.join("qemu-server/200.conf");
    let words = ["restore", "100", "--as", "200", "--storage", "o"];
    let incoming = format!("{other}/zhaul-incoming/vm-200-disk-0");
    for more in [&[][..], &["--storage", "o"]] {
        let mut cut = begin(&world, &[&words[..], &["--rate", "1MiB"]].concat(), &incoming, 1 << 20);
        cut.kill().unwrap();
        cut.wait().unwrap();
        world.wait_for_quiet();
        assert!(file.exists());
        let abandon = [&["restore", "100", "--as", "200", "--abandon"], more].concat();
        let done = zhaul(&world, DAY_2, &abandon).expect_code(0);
        for gone in [incoming.as_str(), "the file of guest 200"] {
            assert!(done.stdout.contains(&format!("gave up {gone}\n")), "{gone}: {done:?}");
        }
        assert!(!look::exists(&format!("{other}/zhaul-incoming")) && !file.exists());
        zhaul(&world, DAY_2, &abandon).expect_code(2);
    }
    zhaul(&world, DAY_2, &words).expect_code(0);
    let unknown = ["restore", "100", "--as", "200", "--storage", "none", "--abandon"];
    zhaul(&world, DAY_2, &unknown).expect_code(2);
}

#[test]
fn what_has_its_place_already_stays_and_the_command_that_ends_the_restore_is_named() {
    let (world, pve) = guest("abandon-placed", [2, 2]);
    let before = contents(&world);
    let file = pve.join(FILE);
    lose(&world, &pve);
    stuck(&world, &["restore", "100"]);
    let state = (world.state(), fs::read_to_string(&file).unwrap());
    let refused = zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(3);
    assert!(DISKS.iter().all(|disk| refused.stderr.contains(&world.guest(disk))), "{refused:?}");
    assert_eq!(state, (world.state(), fs::read_to_string(&file).unwrap()));
    assert_eq!(refused.next_words(), ["restore", "100", "--at", POINT_1]);
    follow(&world, &refused).expect_code(0);
    assert_eq!(contents(&world), before);
    assert!(!fs::read_to_string(&file).unwrap().contains("lock: create"));
    // All is in its place, and only the file is not written.
    let written = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("#zhaul restore, not complete\n{written}lock: create\n")).unwrap();
    let refused = zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(3);
    assert!(file.exists(), "{refused:?}");
    follow(&world, &refused).expect_code(0);
    assert_eq!(fs::read_to_string(&file).unwrap().replace("vmgenid", ""), written.replace("vmgenid", ""));
    // A single disk, by the guest and by its own name.
    let disk = world.guest(DISKS[1]);
    zfs(&["destroy", "-r", &disk]);
    stuck(&world, &["restore", &disk]);
    let refused = zhaul(&world, DAY_2, &["restore", &disk, "--abandon"]).expect_code(3);
    assert_eq!(refused.next_words(), ["restore", &disk, "--at", POINT_1]);
    let refused = zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(3);
    assert_eq!(refused.next_words(), ["restore", "100", "--disk", DISKS[1], "--at", POINT_1]);
    follow(&world, &refused).expect_code(0);
    assert_eq!((contents(&world), property("zhaul:restore", &disk).as_str()), (before, "-"));
}

#[test]
fn beside_a_restore_under_way_nothing_is_given_up_rolled_back_or_begun_again() {
    let (mut world, pve) = guest("abandon-beside", [2, 16]);
    world.policy.transfer = "jobs = 1".to_owned();
    let before = contents(&world);
    lose(&world, &pve);
    let incoming = DISKS.map(|disk| format!("{}/zhaul-incoming/{disk}", world.source()));
    // The first disk is complete.
    let words = ["restore", "100", "--rate", "1MiB"];
    let mut running = begin(&world, &words, &incoming[1], 256 << 10);
    let disk = world.guest(DISKS[0]);
    for words in [&["restore", "100", "--abandon"][..], &["restore", "100"], &["restore", &disk]] {
        let refused = zhaul(&world, DAY_2, words).expect_code(4);
        assert!(refused.stderr.contains(&format!("kill -INT {}", running.id())), "{refused:?}");
    }
    let words = ["rollback", "100", "--to", POINT_1, "--yes", "--stopped"];
    let refused = zhaul(&world, DAY_2, &words).expect_code(2);
    assert!(refused.stderr.contains("guest 100 has no disk here that can be rolled back"), "{refused:?}");
    assert_eq!(refused.next_words(), ["restore", "100"]);
    assert!(running.try_wait().unwrap().is_none(), "it is still under way");
    assert!(pve.join(FILE).exists() && incoming.iter().all(|disk| look::exists(disk)));
    look::signal(i32::try_from(running.id()).unwrap(), Signal::INT);
    assert_eq!(running.wait().unwrap().code(), Some(130));
    world.wait_for_quiet();
    zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(0);
    assert!(!pve.join(FILE).exists() && !look::exists(&format!("{}/zhaul-incoming", world.source())));
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
    assert_eq!(contents(&world), before);
}

#[test]
fn a_place_that_another_restore_takes_away_is_created_again() {
    let mut world = World::new("abandon-place");
    let names = ["vm-200-disk-0", "vm-300-disk-0"];
    let disks = names.map(|name| world.volume(name, 2));
    world.run(DAY_1);
    let before = disks.each_ref().map(|disk| content(&format!("{disk}@{POINT_1}")));
    for disk in &disks {
        zfs(&["destroy", "-r", disk]);
    }
    // Its first receive begins only after the other restore has ended.
    let bin = world.directory().join("slow");
    let [began, go] = ["began", "go"].map(|name| bin.join(name));
    let script = format!(
        "[ \"$1\" = receive ] && {{ touch {}; while [ ! -e {} ]; do sleep 0.1; done; }}",
        began.display(),
        go.display()
    );
    stand_in::write_around(&bin, "zfs", &script);
    let slow = stand_in::with(command(&world, DAY_2, &["restore", &disks[0]]), &bin);
    let slow = std::thread::spawn(move || Run::of(slow));
    while !began.exists() {
        assert!(!slow.is_finished(), "{:?}", slow.join());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    zhaul(&world, DAY_2, &["restore", &disks[1]]).expect_code(0);
    assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())));
    fs::write(&go, "").unwrap();
    slow.join().unwrap().expect_code(0);
    assert_eq!(disks.map(|disk| content(&format!("{disk}@{POINT_1}"))), before);
    assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())));
}

/// What `doctor` says of what was interrupted or set aside: kind, about, next.
fn doctor(world: &World) -> Vec<[String; 3]> {
    let json = zhaul(world, DAY_2, &["doctor", "--json"]).json();
    let all = json["troubles"].as_array().unwrap().iter();
    let lines = all.map(|one| ["kind", "about", "next"].map(|key| one[key].as_str().unwrap().to_owned()));
    lines
        .filter(|[kind, ..]| ["interrupted", "locked", "drill-left", "set-aside"].contains(&&**kind))
        .collect()
}

/// The words of the commands that it shows.
fn commands(next: &str) -> Vec<Vec<&str>> {
    next.split('`').skip(1).step_by(2).map(|command| command.split(' ').skip(1).collect()).collect()
}

#[test]
fn doctor_names_a_restore_that_was_cut_in_mid_stream_with_what_ends_it_and_none_that_is_under_way() {
    let (world, pve) = guest("abandon-doctor", [8, 8]);
    let before = contents(&world);
    lose(&world, &pve);
    let incoming = DISKS.map(|disk| format!("{}/zhaul-incoming/{disk}", world.source()));
    for is_continued in [false, true] {
        let mut running = begin(&world, &["restore", "100", "--rate", "1MiB"], &incoming[0], 1 << 20);
        look::wait_for_used(&incoming[1], 1 << 20);
        assert_eq!(doctor(&world), Vec::<[String; 3]>::new(), "it is under way");
        running.kill().unwrap();
        running.wait().unwrap();
        world.wait_for_quiet();
        // As `qm unlock` leaves it, too.
        for _ in 0..2 {
            let found = doctor(&world);
            let about: Vec<&str> = found.iter().map(|[_, about, _]| about.as_str()).collect();
            assert_eq!(about, ["guest 100", &incoming[0], &incoming[1]], "{found:?}");
            for [kind, _, next] in &found {
                assert!(kind == "interrupted" && !next.contains("unlock"), "{found:?}");
                assert_eq!(commands(next), [vec!["restore", "100"], vec!["restore", "100", "--abandon"]]);
            }
            let text = fs::read_to_string(pve.join(FILE)).unwrap();
            fs::write(pve.join(FILE), text.replace("lock: create\n", "")).unwrap();
        }
        let found = doctor(&world);
        zhaul(&world, DAY_2, &commands(&found[0][2])[usize::from(!is_continued)]).expect_code(0);
        assert_eq!(doctor(&world), Vec::<[String; 3]>::new());
    }
    assert_eq!(contents(&world), before);
}

#[test]
fn doctor_names_what_a_killed_drill_has_left_and_nothing_of_one_that_is_under_way() {
    let (mut world, _) = guest("abandon-drill", [8, 2]);
    world.policy.transfer = "rate = \"1MiB\"".to_owned();
    let left = DISKS.map(|disk| format!("{}/zhaul-incoming/zhaul-drill-{disk}", world.source()));
    let mut running = begin(&world, &["verify", "--drill", "100"], &left[0], 1 << 20);
    assert_eq!(doctor(&world), Vec::<[String; 3]>::new(), "it is under way");
    running.kill().unwrap();
    running.wait().unwrap();
    world.wait_for_quiet();
    let found = doctor(&world);
    assert!(!found.is_empty() && found.iter().all(|[kind, ..]| kind == "drill-left"), "{found:?}");
    for [_, about, next] in &found {
        assert!(left.contains(about), "{found:?}");
        let words = commands(next).remove(0);
        assert_eq!(words, ["destroy", "-r", about]);
        zfs(&words);
    }
    assert_eq!(doctor(&world), Vec::<[String; 3]>::new());
}

#[test]
fn amid_an_unfinished_replace_nothing_set_aside_is_called_needless_and_put_back_unlocks_no_guest() {
    let (world, pve) = guest("abandon-replace", [2, 2]);
    for disk in DISKS {
        look::write_device(&world.guest(disk), 0, 1, "newer");
    }
    let guids = DISKS.map(|disk| property("guid", &world.guest(disk)));
    stuck(&world, &["restore", "100", "--at", POINT_1, "--from", "backup", "--replace", "--stopped"]);
    let found = doctor(&world);
    assert_eq!(found.iter().filter(|[kind, ..]| kind == "set-aside").count(), 2, "{found:?}");
    let ends = ["restore", "100", "--at", POINT_1, "--replace"];
    for [kind, _, next] in &found {
        assert!(kind != "locked" && !next.contains("destroy") && !next.contains("unlock"), "{found:?}");
        assert_eq!(commands(next)[0], ends, "{found:?}");
    }
    let state = (world.state(), fs::read_to_string(pve.join(FILE)).unwrap());
    let back = ["restore", "100", "--put-back", "2026-01-11-030000", "--stopped"];
    let refused = zhaul(&world, DAY_2, &back).expect_code(3);
    assert!(!refused.stderr.contains("unlock"), "{refused:?}");
    assert_eq!(state, (world.state(), fs::read_to_string(pve.join(FILE)).unwrap()));
    assert_eq!(refused.next_words(), ends);
    zhaul(&world, DAY_2, &[&ends[..], &["--stopped"]].concat()).expect_code(0);
    zhaul(&world, DAY_2, &back).expect_code(0);
    assert_eq!(DISKS.map(|disk| property("guid", &world.guest(disk))), guids);
    assert!(doctor(&world).iter().all(|[kind, ..]| kind == "set-aside"), "{:?}", doctor(&world));
}
