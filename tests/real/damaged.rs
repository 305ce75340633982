//! Copies that have lost data: `zhaul verify` names them, and the machines that still have that data.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use zhaul::host::{Machine, Shell, TargetHost as _};
use zhaul::model::{Change, DatasetName, Guid};
use zhaul::stream::Cancel;

use crate::agent;
use crate::look::{self, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

fn zpool(words: &[&str]) {
    assert!(Command::new("zpool").args(words).status().unwrap().success(), "{words:?}");
}

/// A pool in a file, whose bytes can be damaged.
struct Damageable {
    name: String,
    directory: PathBuf,
    image: PathBuf,
}

impl Damageable {
    fn new(world: &World, name: &str) -> Self {
        let directory = world.directory().to_path_buf();
        let image = directory.join(format!("{name}.img"));
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        zpool(&["create", "-O", "canmount=off", name, image.to_str().unwrap()]);
        zfs(&["create", &format!("{name}/copies")]);
        Self { name: name.to_owned(), directory, image }
    }

    fn root(&self) -> String {
        format!("{}/copies", self.name)
    }

    /// Overwrites each block of the pool that holds `pattern`; a scrub then finds that data lost. Gives how many there were.
    fn damage(&self, pattern: &[u8]) -> usize {
        zpool(&["export", &self.name]);
        let bytes = fs::read(&self.image).unwrap();
        let file = fs::File::options().write(true).open(&self.image).unwrap();
        let mut count = 0;
        for at in (0..bytes.len() - pattern.len()).step_by(512) {
            if bytes[at..].starts_with(pattern) {
                file.write_all_at(&[0x5a; 512], u64::try_from(at).unwrap()).unwrap();
                count += 1;
            }
        }
        drop(fs::write("/proc/sys/vm/drop_caches", "3"));
        zpool(&["import", "-d", self.directory.to_str().unwrap(), &self.name]);
        self.scrub();
        count
    }

    fn scrub(&self) {
        zpool(&["scrub", "-w", &self.name]);
    }

    fn errors(&self) -> String {
        let output = Command::new("zpool").args(["status", "-v", &self.name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Damageable {
    fn drop(&mut self) {
        drop(Command::new("zpool").args(["destroy", "-f", &self.name]).status());
    }
}

/// A file of 8 blocks of 128 KiB, that do not compress, each of which begins with these bytes and a number.
fn write_blocks(dataset: &str, file: &str, begin: &[u8]) {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::new();
    for block in 0..8_u8 {
        let mut one = begin.to_vec();
        one.push(block);
        while one.len() < 128 << 10 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            one.extend(seed.to_le_bytes());
        }
        one.truncate(128 << 10);
        bytes.extend(one);
    }
    fs::write(format!("{}/{file}", property("mountpoint", dataset)), bytes).unwrap();
    look::sync(dataset);
}

/// A world whose backup is on a pool that can be damaged; the guest has two snapshots, and the first one's file is in both.
fn damaged_backup(name: &str, is_agent: bool) -> (World, Damageable, String) {
    let mut world = World::with_archive(name);
    let pool = Damageable::new(&world, &format!("{name}-pool"));
    world.policy.backup_at = Some(("nfs8".to_owned(), pool.root()));
    if is_agent {
        world.policy.backup = agent::key(&world, &format!("--root {} --append-only", pool.root()));
    }
    let files = world.filesystem(GUEST, 1);
    write_blocks(&files, "blocks", b"zhaul-damage-me");
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.write(GUEST, "second", 1);
    world.run_with(DAY_2, &["--archive"]).expect_code(0);
    (world, pool, files)
}

fn verify(world: &World, code: i32) -> Value {
    Run::of(command(world, DAY_3, &["verify", "--json"])).expect_code(code).json()
}

/// The trouble of the copy, as its text and its next action.
fn trouble(found: &Value) -> (String, String) {
    let all = found["troubles"].as_array().unwrap();
    let one = all.iter().find(|one| one["kind"] == "copy-damaged").unwrap_or_else(|| panic!("{found}"));
    let text = |key: &str| one[key].as_str().unwrap().to_owned();
    (text("what"), text("next"))
}

#[test]
fn a_copy_that_has_lost_data_is_named_with_the_machines_that_have_it_and_the_advice_helps() {
    for (name, is_agent) in [("damage-shell", false), ("damage-agent", true)] {
        let (mut world, pool, files) = damaged_backup(name, is_agent);
        let copy = format!("{}/{GUEST}", pool.root());
        assert_eq!(verify(&world, 0)["damaged"], serde_json::json!([]));
        assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
        let found = verify(&world, 1);
        let (what, next) = trouble(&found);
        assert!(what.starts_with(&format!("{copy} has lost data: ")), "{what}");
        let whole =
            format!("whole here as {files}@2026-01-11-030000 and on archive as {}@", world.archive(GUEST));
        assert!(what.contains(&whole), "{what}");
        assert!(what.ends_with("its present state is damaged, too"), "{what}");
        // The source has it no more: the archive is named alone.
        zfs(&["destroy", &format!("{files}@2026-01-11-030000")]);
        let (what, _) = trouble(&verify(&world, 1));
        let whole = format!("@2026-01-11-030000 is whole on archive as {}@", world.archive(GUEST));
        assert!(what.contains(&whole), "{what}");
        // The next action, followed.
        let rename = format!("zfs rename {copy} {copy}-damaged");
        assert!(next.contains(&rename), "{next}");
        assert!(Command::new("sh").args(["-c", &rename]).status().unwrap().success());
        world.run_with(DAY_3, &[]).expect_code(0);
        look::assert_same_newest(&files, &copy);
        let newest = snapshots(&copy).pop().unwrap();
        assert_eq!(content(&format!("{files}@{newest}")), content(&format!("{copy}@{newest}")));
        let found = verify(&world, 1);
        assert_eq!(found["damaged"], serde_json::json!([]), "the new copy is whole");
        zfs(&["destroy", "-r", &format!("{copy}-damaged")]);
        pool.scrub();
        pool.scrub();
        assert!(pool.errors().contains("No known data errors"), "{}", pool.errors());
        verify(&world, 0);
    }
}

/// Why a copy is healed through a clone. Once OpenZFS takes the mark back, this test fails, and the clone is not needed any more.
#[test]
fn a_corrective_receive_mends_the_block_and_leaves_the_snapshot_unmountable() {
    let (_world, pool, files) = damaged_backup("damage-heal", false);
    let snapshot = format!("{}/{GUEST}@2026-01-11-030000", pool.root());
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    assert!(can_be_mounted(&snapshot));
    let heal = format!("zfs send {files}@2026-01-11-030000 | zfs receive -c {snapshot}");
    assert!(Command::new("sh").args(["-c", &heal]).status().unwrap().success());
    pool.scrub();
    assert!(pool.errors().contains("No known data errors"), "{}", pool.errors());
    assert!(!can_be_mounted(&snapshot));
}

fn heal(world: &World, words: &[&str], code: i32) -> Run {
    Run::of(command(world, DAY_3, &[&["verify", "--heal"], words].concat())).expect_code(code)
}

fn can_be_mounted(snapshot: &str) -> bool {
    let place = tempfile::tempdir().unwrap();
    let mount =
        Command::new("mount").args(["-t", "zfs", "-o", "ro", snapshot]).arg(place.path()).output().unwrap();
    mount.status.success() && Command::new("umount").arg(place.path()).status().unwrap().success()
}

#[test]
fn damaged_blocks_are_healed_in_place_from_this_host_and_every_snapshot_can_be_mounted() {
    for (name, is_agent) in [("heal-shell", false), ("heal-agent", true)] {
        let (mut world, pool, files) = damaged_backup(name, is_agent);
        let copy = format!("{}/{GUEST}", pool.root());
        let nothing = heal(&world, &[], 0).stdout;
        assert!(nothing.contains("no pool names a copy as damaged"), "{nothing}");
        assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
        let before = (snapshots(&copy), property("guid", &copy));
        let planned = heal(&world, &["-n"], 0).stdout;
        let expected = format!(
            "{copy} on backup: send the blocks of its newest snapshot from this host ({files}@2026-01-11-030000)"
        );
        assert!(planned.contains(&expected), "{planned}");
        let (_, next) = trouble(&verify(&world, 1));
        assert!(next.starts_with(&format!("`zhaul verify --heal {files}`")), "{next}");
        // The advice, followed.
        let run = heal(&world, &[&files], 0).stdout;
        assert!(run.contains("@2026-01-11-030000: whole: compared, and the same"), "{run}");
        assert!(run.contains(&format!("next: `zpool scrub {}` on backup", pool.name)), "{run}");
        pool.scrub();
        pool.scrub();
        assert!(pool.errors().contains("No known data errors"), "{}", pool.errors());
        assert_eq!((snapshots(&copy), property("guid", &copy)), before, "nothing else has changed");
        for snapshot in snapshots(&copy) {
            let full = format!("{copy}@{snapshot}");
            assert!(can_be_mounted(&full), "{full}");
            assert_eq!(content(&full), content(&format!("{files}@{snapshot}")));
        }
        assert_eq!(
            property("zhaul:verified", &format!("{copy}@2026-01-11-030000")),
            "2026-01-12T03:00:00Z content"
        );
        assert_eq!(
            zfs(&["list", "-H", "-r", "-o", "name", "-t", "filesystem", &pool.root()]).lines().count(),
            2
        );
        verify(&world, 0);
        // The chain continues.
        world.run_with(DAY_3, &[]).expect_code(0);
        look::assert_same_newest(&files, &copy);
    }
}

#[test]
fn an_archive_is_healed_from_the_backup_where_this_host_has_the_snapshot_no_more() {
    let mut world = World::with_archive("heal-archive");
    let pool = Damageable::new(&world, "heal-archive-pool");
    world.policy.archive_dataset = Some(pool.root());
    let files = world.filesystem(GUEST, 1);
    write_blocks(&files, "blocks", b"zhaul-damage-me");
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    fs::remove_file(format!("{}/blocks", property("mountpoint", &files))).unwrap();
    look::sync(&files);
    world.run(DAY_2);
    zfs(&["destroy", &format!("{files}@2026-01-10-030000")]);
    assert!(pool.damage(b"zhaul-damage-me\x05") > 0);
    let copy = format!("{}/{GUEST}", pool.root());
    // The pool names only what the copy has now.
    let (what, _) = trouble(&verify(&world, 1));
    assert!(what.contains(&format!("@2026-Jan-10 is whole on backup as {}@", world.backup(GUEST))), "{what}");
    let run = heal(&world, &["--target", "archive"], 0).stdout;
    let from = format!("were sent from backup ({}@2026-01-10-030000)", world.backup(GUEST));
    assert!(run.contains(&from) && run.contains("@2026-Jan-10: whole: compared, and the same"), "{run}");
    pool.scrub();
    pool.scrub();
    assert!(pool.errors().contains("No known data errors"), "{}", pool.errors());
    assert!(can_be_mounted(&format!("{copy}@2026-Jan-10")));
    let same = content(&format!("{copy}@2026-Jan-10"));
    assert_eq!(same, content(&format!("{}@2026-01-10-030000", world.backup(GUEST))));
}

#[test]
fn what_no_machine_has_whole_is_said_and_nothing_changes() {
    let mut world = World::new("heal-nowhere");
    let pool = Damageable::new(&world, "heal-nowhere-pool");
    world.policy.backup_at = Some(("nfs8".to_owned(), pool.root()));
    let files = world.filesystem(GUEST, 1);
    write_blocks(&files, "blocks", b"zhaul-damage-me");
    world.run(DAY_1);
    world.write(GUEST, "second", 1);
    world.run(DAY_2);
    for day in ["2026-01-10-030000", "2026-01-11-030000"] {
        zfs(&["destroy", &format!("{files}@{day}")]);
    }
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    let copy = format!("{}/{GUEST}", pool.root());
    let before = zfs(&["list", "-Hp", "-r", "-t", "all", "-o", "name,guid", &pool.root()]);
    let run = heal(&world, &[], 1).stdout;
    assert!(run.contains("no machine has the newest snapshot of"), "{run}");
    assert!(run.contains(&format!("`zfs rename {copy} {copy}-damaged`")), "{run}");
    assert_eq!(zfs(&["list", "-Hp", "-r", "-t", "all", "-o", "name,guid", &pool.root()]), before);
}

#[test]
fn a_killed_healing_leaves_nothing_that_stops_the_next_run_and_a_snapshot_of_that_name_stays() {
    let (mut world, pool, files) = damaged_backup("heal-killed", false);
    let copy = format!("{}/{GUEST}", pool.root());
    let scratch = format!("{copy}@zhaul-healing");
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    let exists = |name: &str| Command::new("zfs").args(["list", name]).output().unwrap().status.success();
    // As it leaves the copy when it is killed.
    let newest = property("guid", &format!("{copy}@2026-01-11-030000"));
    zfs(&["set", &format!("zhaul:healing={newest}"), &copy]);
    let mark = format!("zhaul:healing={newest}");
    zfs(&["snapshot", "-o", &mark, &scratch]);
    let planned = world.run_with(DAY_3, &["--dry-run"]).expect_code(0);
    assert!(exists(&scratch) && !planned.stdout.contains("aside"), "{planned:?}");
    heal(&world, &[&files], 0);
    assert!(!exists(&scratch));
    zfs(&["set", &mark, &copy]);
    zfs(&["snapshot", "-o", &mark, &scratch]);
    world.run_with(DAY_3, &[]).expect_code(0);
    look::assert_same_newest(&files, &copy);
    assert!(!exists(&scratch));
    assert_eq!(property("zhaul:healing", &copy), "-");
    // Without the mark it is somebody's.
    zfs(&["snapshot", &scratch]);
    heal(&world, &[], 0);
    assert!(exists(&scratch));
}

#[test]
fn what_only_older_snapshots_have_is_not_healed_and_said() {
    let (mut world, pool, files) = damaged_backup("heal-older", false);
    let copy = format!("{}/{GUEST}", pool.root());
    fs::remove_file(format!("{}/blocks", property("mountpoint", &files))).unwrap();
    look::sync(&files);
    world.run_with(DAY_3, &[]).expect_code(0);
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    let run = heal(&world, &[], 1).stdout;
    assert!(run.contains("@2026-01-11-030000: not shown to be whole"), "{run}");
    assert!(run.contains("only blocks that the newest snapshot has, too, can be healed"), "{run}");
    assert!(run.contains(&format!("`zfs rename {copy} {copy}-damaged`")), "{run}");
    assert!(can_be_mounted(&format!("{copy}@2026-01-11-030000")));
}

#[test]
fn volumes_are_healed_and_a_clone_is_left_alone() {
    let mut world = World::new("heal-kinds");
    let pool = Damageable::new(&world, "heal-kinds-pool");
    world.policy.backup_at = Some(("nfs8".to_owned(), pool.root()));
    let plain = world.filesystem(GUEST, 1);
    write_blocks(&plain, "blocks", b"zhaul-damage-me");
    let disk = world.guest("vm-100-disk-0");
    zfs(&["create", "-s", "-o", "volblocksize=128k", "-V", "16M", &disk]);
    look::wait_for_device(&disk);
    let copy_blocks = format!(
        "dd if={}/blocks of=/dev/zvol/{disk} bs=128k seek=3 status=none",
        property("mountpoint", &plain)
    );
    let copied = Command::new("sh").args(["-c", &copy_blocks]).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    look::sync(&disk);
    world.run(DAY_1);
    assert!(pool.damage(b"zhaul-damage-me\x03") > 1);
    let run = heal(&world, &[], 0).stdout;
    assert_eq!(run.matches("whole: compared, and the same").count(), 2, "{run}");
    pool.scrub();
    pool.scrub();
    assert!(pool.errors().contains("No known data errors"), "{}", pool.errors());
    // A copy that is a clone would crash the kernel.
    let (copy, clone) = (format!("{}/{GUEST}", pool.root()), format!("{}/clone", pool.root()));
    zfs(&["clone", "-o", "readonly=on", &format!("{copy}@2026-01-10-030000"), &clone]);
    zfs(&["snapshot", &format!("{clone}@x")]);
    let host = Shell::new("here", Machine::Local, &Cancel::new().unwrap());
    let newest = Guid(property("guid", &format!("{clone}@x")).parse().unwrap());
    let refused = host.change(&Change::BeginHealing { dataset: DatasetName::new(&clone).unwrap(), newest });
    assert!(refused.unwrap_err().to_string().contains("begin to heal"));
    assert_eq!(snapshots(&clone), ["x"]);
}

#[test]
fn blocks_whose_healing_could_crash_the_kernel_are_left_alone() {
    let mut world = World::new("heal-zstd");
    let pool = Damageable::new(&world, "heal-zstd-pool");
    world.policy.backup_at = Some(("nfs8".to_owned(), pool.root()));
    let files = world.guest(GUEST);
    zfs(&["create", "-o", "compression=zstd-7", &files]);
    write_blocks(&files, "blocks", b"zhaul-damage-me");
    // Compressed blocks too: the feature is active in the pool.
    fs::write(format!("{}/text", property("mountpoint", &files)), vec![b'x'; 1 << 20]).unwrap();
    look::sync(&files);
    world.run(DAY_1);
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    let refused = heal(&world, &[], 1).stdout;
    assert!(refused.contains("has blocks that are compressed with zstd"), "{refused}");
    let copy = format!("{}/{GUEST}", pool.root());
    assert_eq!((snapshots(&copy).len(), property("zhaul:healing", &copy).as_str()), (1, "-"));
}

#[test]
fn a_snapshot_that_someone_else_has_called_so_is_never_destroyed() {
    let (world, pool, _) = damaged_backup("heal-person", false);
    let copy = format!("{}/{GUEST}", pool.root());
    let person = format!("{copy}@zhaul-healing");
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    // The newest one, and, as far as the copy goes, an older one.
    zfs(&["snapshot", &person]);
    let refused = heal(&world, &[], 1).stdout;
    assert!(
        refused.contains("has the newest snapshot of") || refused.contains("made by someone else"),
        "{refused}"
    );
    assert_eq!(property("zhaul:healing", &copy), "-");
    zfs(&["set", "zhaul:healing=7", &copy]);
    heal(&world, &[], 1);
    zfs(&["list", &person]);
}

#[test]
fn a_restore_and_a_drill_of_a_damaged_copy_end_with_its_error() {
    let (world, pool, files) = damaged_backup("heal-restore", false);
    assert!(pool.damage(b"zhaul-damage-me\x03") > 0);
    let to = format!("{files}-again");
    for words in [&["restore", &files, "--from", "backup", "--to", &to][..], &["verify", "--drill", &files]] {
        let begun = std::time::Instant::now();
        let run = Run::of(command(&world, DAY_3, words)).expect_code(1);
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
        assert!(format!("{}{}", run.stdout, run.stderr).contains("Input/output error"), "{run:?}");
    }
}

#[test]
fn a_target_that_does_not_say_what_it_has_lost_is_named() {
    let mut world = World::new("heal-unknown");
    world.filesystem(GUEST, 1);
    world.run(DAY_1);
    world.policy.backup_at = Some(("offline".to_owned(), world.backup_root()));
    let run = heal(&world, &[], 1).stdout;
    assert!(run.contains("could not be asked") && !run.contains("no pool names a copy as damaged"), "{run}");
    let unknown = Run::of(command(&world, DAY_3, &["verify", "--heal", "999"])).expect_code(2);
    assert!(unknown.stderr.contains("selects nothing of that"), "{unknown:?}");
    for words in [["--deep", "-n"], ["--drill", "-n"], ["--deep", "--heal"]] {
        Run::of(command(&world, DAY_3, &[&["verify", GUEST], &words[..]].concat())).expect_code(2);
    }
}
