//! Failures in the middle of a restore, and data that a restore must never lose.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::agent;
use crate::look::{self, content, snapshots};
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const POINT_1: &str = "2026-01-10-030000";

fn incoming(world: &World, name: &str) -> String {
    format!("{}/zhaul-incoming/{name}", world.source())
}

/// The steps at which a command is killed, one after the other until it comes to its end. Every third, from one that is another
/// each day: killing at each step takes minutes for each of these tests. `ZHAUL_KILL_STRIDE=1` is every step, which has to be run
/// after a change of what these tests play.
pub(crate) fn kill_points(last: usize) -> impl Iterator<Item = usize> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let first = 1 + usize::try_from(days).unwrap() % stride();
    (first..=last).step_by(stride())
}

/// From one step that is killed to the next.
pub(crate) fn stride() -> usize {
    let stride = std::env::var_os("ZHAUL_KILL_STRIDE").and_then(|stride| stride.into_string().ok());
    stride.and_then(|stride| stride.parse().ok()).filter(|stride| *stride > 0).unwrap_or(3)
}

/// Whether it is also looked what a run makes of what was left after this many kills: always where every step is killed.
pub(crate) fn is_looked_at(kills: usize) -> bool {
    stride() == 1 || kills % 2 == 1
}

/// The calls that the killer does not count: they change nothing.
pub(crate) const READS: &str = "case $1 in list|get|send) exec $real \"$@\";; esac";

/// A directory with a `zfs` that kills zhaul (its pid is in the file `victim`) before its Nth call that `passed`, a line of
/// shell, does not pass on.
fn killer(world: &World, nth: usize, passed: &str) -> PathBuf {
    let directory = world.directory().join("bin");
    fs::create_dir_all(&directory).unwrap();
    let (count, victim) = (directory.join("count"), directory.join("victim"));
    fs::write(&count, "0").unwrap();
    fs::remove_file(&victim).ok();
    let script = format!(
        "{passed}\n\
         kill_it() {{ while [ ! -s {victim} ]; do sleep 0.01; done; kill -9 $(cat {victim}); exit 9; }}\n\
         n=$(flock {count} sh -c 'n=$(($(cat {count}) + 1)); echo $n > {count}; echo $n')\n\
         [ $n = {nth} ] && kill_it",
        victim = victim.display(),
        count = count.display(),
    );
    stand_in::write_around(&directory, "zfs", &script);
    directory
}

/// Restores with a `zfs` that kills it at its Nth change; whether it came to its end.
fn restore_killed_at(world: &World, nth: usize, words: &[&str]) -> bool {
    killed_at(world, nth, READS, command(world, DAY_2, words))
}

/// Runs `killed` with a `zfs` that kills it at its Nth call that `passed` does not pass on; whether it came to its end.
pub(crate) fn killed_at(world: &World, nth: usize, passed: &str, mut killed: Command) -> bool {
    let directory = killer(world, nth, passed);
    killed = stand_in::with(killed, &directory);
    let said = directory.join("said");
    killed.stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap());
    let mut child = killed.spawn().unwrap();
    fs::write(directory.join("victim"), child.id().to_string()).unwrap();
    let code = child.wait().unwrap().code();
    world.wait_for_quiet();
    // Later calls may find other programs in this directory, and are not to be killed.
    fs::remove_file(directory.join("zfs")).unwrap();
    let said = fs::read_to_string(said).unwrap();
    assert!(code.is_none() || code == Some(0), "{nth}: {code:?}: {said}");
    code == Some(0)
}

#[test]
fn killed_at_any_step_the_same_command_continues_and_ends_with_the_same_data() {
    let mut world = World::new("restore-killed");
    let names = ["subvol-100-disk-1", "vm-100-disk-0"];
    world.filesystem(names[0], 1);
    world.volume(names[1], 1);
    world.run(DAY_1);
    let before = names.map(|name| content(&format!("{}@{POINT_1}", world.guest(name))));
    let mut kills = 0;
    for nth in kill_points(100) {
        for name in names {
            zfs(&["destroy", "-r", &world.guest(name)]);
        }
        let is_through = restore_killed_at(&world, nth, &["restore", "100"]);
        if !is_through {
            kills += 1;
            // A half restored dataset is no volume of a run, and no harm to one.
            if is_looked_at(kills) {
                world.run_with(DAY_2, &["--no-snapshot"]);
            }
            let state = world.state();
            let run = zhaul(&world, DAY_2, &["restore", "100"]);
            let is_done = run.code == Some(0) || run.stderr.contains("has this snapshot already");
            assert!(is_done, "{nth}: {run:?}\n{state}");
            let is_there = names.iter().all(|name| look::exists(&world.guest(name)));
            assert!(is_there, "{nth}: {run:?}\n{state}");
        }
        for (name, before) in names.iter().zip(before) {
            let guest = world.guest(name);
            assert_eq!(content(&format!("{guest}@{POINT_1}")), before, "{nth}: {name}");
            let get = zfs(&["get", "-Hp", "-o", "value", "readonly,zhaul:restore,zhaul:backup", &guest]);
            assert_eq!(get.lines().collect::<Vec<_>>(), ["off", "-", "-"], "{nth}: {name}");
            assert_eq!(look::bookmarks(&guest), [POINT_1], "{nth}: {name}");
        }
        assert_eq!(property("mounted", &world.guest(names[0])), "yes", "{nth}");
        assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())), "{nth}");
        if is_through {
            break;
        }
    }
    assert!(kills * stride() >= 14, "only {kills} steps were killed");
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
}

#[test]
fn cut_in_mid_stream_the_same_command_resumes_and_a_run_leaves_what_is_half_there_alone() {
    let mut world = World::new("restore-cut");
    let disk = world.volume(DISK, 24);
    world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let before = content(&format!("{disk}@{POINT_1}"));
    zfs(&["destroy", "-r", &disk]);
    let mut cut = command(&world, DAY_2, &["restore", &disk, "--rate", "2MiB"]);
    cut.stdout(Stdio::null()).stderr(Stdio::null());
    let mut cut = cut.spawn().unwrap();
    let receiver = world.wait_for_receive();
    let incoming = incoming(&world, DISK);
    look::wait_for_used(&incoming, 8 << 20);
    look::signal(receiver, Signal::KILL);
    assert_eq!(cut.wait().unwrap().code(), Some(1));
    world.wait_for_quiet();
    let token = property("receive_resume_token", &incoming);
    assert_ne!(token, "-");
    assert_eq!(property("zhaul:backup", &incoming), "never");
    let run = world.run_as_planned(DAY_2, &[], 0);
    let left = run.json()["left_out"].to_string();
    assert!(left.contains(&incoming), "it is named: {run:?}");
    assert_eq!(snapshots(&incoming), Vec::<String>::new());
    assert_eq!(property("receive_resume_token", &incoming), token, "a run leaves it alone");
    let other = zhaul(&world, DAY_3, &["restore", &disk, "--at", "2026-01-01"]).expect_code(2);
    assert!(other.stderr.contains("the oldest is @2026-01-10-030000"), "{other:?}");
    let run = zhaul(&world, DAY_3, &["restore", &disk, "--json"]).expect_code(0);
    let moved = run.json()["volumes"][0]["moved_bytes"].as_u64().unwrap();
    assert!(moved < 18 << 20, "resumed: {run:?}");
    assert_eq!(content(&format!("{disk}@{POINT_1}")), before);
}

#[test]
fn given_up_it_leaves_nothing_behind_and_touches_nothing_else() {
    let mut world = World::new("restore-abandon");
    let disk = world.volume(DISK, 24);
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &disk]);
    let nothing = zhaul(&world, DAY_2, &["restore", &disk, "--abandon"]).expect_code(2);
    assert!(nothing.stderr.contains("next:"), "{nothing:?}");
    let mut cut = command(&world, DAY_2, &["restore", "100", "--rate", "2MiB"]);
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let receiver = world.wait_for_receive();
    look::wait_for_used(&incoming(&world, DISK), 4 << 20);
    look::signal(receiver, Signal::KILL);
    assert_eq!(cut.wait().unwrap().code(), Some(1));
    world.wait_for_quiet();
    let rest = zfs(&["list", "-Hrp", "-t", "all", "-o", "name,guid", &files]);
    zhaul(&world, DAY_2, &["restore", "100", "--abandon"]).expect_code(0);
    assert!(!look::exists(&format!("{}/zhaul-incoming", world.source())));
    assert_eq!(rest, zfs(&["list", "-Hrp", "-t", "all", "-o", "name,guid", &files]));
    zhaul(&world, DAY_2, &["restore", "100"]).expect_code(0);
}

#[test]
fn what_is_called_like_the_place_of_restores_and_is_not_zhauls_is_left_alone() {
    let mut world = World::new("restore-place");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    let place = format!("{}/zhaul-incoming", world.source());
    zfs(&["create", "-o", "zhaul:restore=incoming", &world.beside("mine")]);
    zfs(&["create", &place]);
    let mine = format!("{place}/{GUEST}");
    zfs(&["create", &mine]);
    look::write_file(&mine, "precious", 1);
    let before = world.state();
    let run = zhaul(&world, DAY_2, &["restore", &files]).expect_code(3);
    assert!(run.stderr.contains("is not zhaul's"), "{run:?}");
    zhaul(&world, DAY_2, &["restore", &files, "--abandon"]).expect_code(2);
    assert_eq!(before, world.state());
}

#[test]
fn an_encrypted_dataset_comes_back_raw_without_any_key_and_opens_with_its_own() {
    let mut world = World::new("restore-raw");
    world.encrypted(GUEST, &[]);
    world.write(GUEST, "secret", 2);
    world.encrypted(DISK, &["-V", "8M"]);
    let (files, disk) = (world.guest(GUEST), world.guest(DISK));
    world.run(DAY_1);
    let before = content(&format!("{files}@{POINT_1}"));
    for dataset in [&files, &disk] {
        zfs(&["destroy", "-r", dataset]);
        let run = zhaul(&world, DAY_2, &["restore", dataset]);
        let is_file_system = *dataset == files;
        // A file system that cannot be mounted for want of a key needs a person.
        assert_eq!(run.code, Some(if is_file_system { 3 } else { 0 }), "{run:?}");
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(&format!("zfs load-key {dataset}")), "{run:?}");
        world.unlock(dataset);
    }
    zfs(&["mount", &files]);
    assert_eq!(content(&format!("{files}@{POINT_1}")), before);
    // Below a dataset whose key is away, nothing can be made: the advice is to load that key.
    let above = world.guest("above");
    world.encrypted("above", &[]);
    world.lock_up("above");
    let to = format!("{above}/disk");
    let locked = zhaul(&world, DAY_2, &["restore", &disk, "--to", &to]).expect_code(1);
    assert!(locked.stderr.contains("load the key of the dataset above"), "{locked:?}");
    world.unlock(&above);
    zhaul(&world, DAY_2, &["restore", &disk, "--to", &to]).expect_code(0);
    zfs(&["destroy", "-r", &above]);
    world.write(GUEST, "more", 1);
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
    look::assert_same_newest(&files, &files);
}

#[test]
fn odd_names_are_names() {
    let mut world = World::new("restore-names");
    let names = ["a b", "x:y", "-dash", "v%1", "vm-100-disk-0.old"];
    let names: Vec<&str> = names.into_iter().filter(|name| !name.contains('%')).collect();
    for name in &names {
        world.filesystem(name, 1);
    }
    world.run(DAY_1);
    for name in &names {
        let guest = world.guest(name);
        let before = content(&format!("{guest}@{POINT_1}"));
        zfs(&["destroy", "-r", &guest]);
        zhaul(&world, DAY_2, &["list", &guest]).expect_code(0);
        zhaul(&world, DAY_2, &["restore", &guest]).expect_code(0);
        assert_eq!(content(&format!("{guest}@{POINT_1}")), before, "{name}");
    }
}

#[test]
fn without_space_nothing_is_begun() {
    let mut world = World::new("restore-space");
    let disk = world.volume(DISK, 8);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &disk]);
    zfs(&["set", "quota=4M", &world.source()]);
    let before = world.state();
    let run = zhaul(&world, DAY_2, &["restore", &disk]).expect_code(3);
    assert!(run.stderr.contains("not enough space"), "{run:?}");
    assert_eq!(before, world.state());
    zfs(&["set", "quota=none", &world.source()]);
    zhaul(&world, DAY_2, &["restore", &disk]).expect_code(0);
}

#[test]
fn a_key_that_is_confined_to_the_agent_lists_but_cannot_read_copies_and_says_so() {
    let mut world = World::new("restore-caged");
    world.policy.backup = agent::key(&world, &format!("--root {} --append-only", world.backup_root()));
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &files]);
    zhaul(&world, DAY_2, &["list", &files]).expect_code(0);
    let run = zhaul(&world, DAY_2, &["restore", &files]).expect_code(1);
    assert!(run.stderr.contains("confined to `zhaul agent`"), "{run:?}");
    assert!(!look::exists(&files));
}

#[test]
fn a_guest_whose_newest_point_lacks_a_disk_is_not_restored_in_part_unless_that_is_asked_for() {
    let mut world = World::new("restore-lacks");
    let names = ["vm-100-disk-0", "vm-100-disk-1"];
    for name in names {
        world.volume(name, 1);
    }
    world.run(DAY_1);
    world.run(DAY_2);
    zfs(&["destroy", &format!("{}@2026-01-11-030000", world.backup(names[1]))]);
    zfs(&["destroy", "-r", &world.source()]);
    zfs(&["create", &world.source()]);
    let list = zhaul(&world, DAY_3, &["list", "100"]).expect_code(0);
    assert!(list.stdout.contains("without vm-100-disk-1"), "{list:?}");
    let run = zhaul(&world, DAY_3, &["restore", "100"]).expect_code(3);
    let advice = format!("`zhaul restore 100 --at {POINT_1}`");
    assert!(run.stderr.contains("lacks") && run.stderr.contains(&advice), "{run:?}");
    assert!(!look::exists(&world.guest(names[0])));
    zhaul(&world, DAY_3, &["restore", "100", "--at", POINT_1]).expect_code(0);
    assert!(names.iter().all(|name| snapshots(&world.guest(name)) == [POINT_1]));
}

#[test]
fn what_a_refused_restore_says_to_do_is_about_the_point_that_was_asked_for() {
    let mut world = World::new("back-advice");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    world.write(GUEST, "second", 1);
    world.run(DAY_2);
    let point = "2026-01-10-030000";
    let words = ["restore", &files, "--at", point, "--from", "backup"];
    let run = zhaul(&world, DAY_3, &words).expect_code(3);
    let beside = format!("zhaul restore {files} --at {point} --from backup --to {files}-restored");
    for next in [
        format!("zhaul rollback {files} --to {point}"),
        format!("zhaul restore {files} --at {point} --from backup --replace"),
        beside.clone(),
    ] {
        assert!(run.stderr.contains(&format!("`{next}`")), "{next}: {run:?}");
    }
    let words: Vec<&str> = beside.split(' ').skip(1).collect();
    zhaul(&world, DAY_3, &words).expect_code(0);
    assert_eq!(snapshots(&format!("{files}-restored")), [point]);
    // A copy by its own name: what is refused is the dataset here.
    let copy = world.backup(GUEST);
    let old = format!("{copy}-old");
    zfs(&["rename", &copy, &old]);
    let run = zhaul(&world, DAY_3, &["restore", &old, "--to", &files]).expect_code(3);
    assert!(run.stderr.contains(&format!("`zhaul rollback {files}`")), "{run:?}");
    assert!(run.stderr.contains(&format!("`zhaul restore {old} --to {files} --replace`")), "{run:?}");
}
