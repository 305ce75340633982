//! `zhaul verify --deep`: the content of copies is compared with that of their sources, on real pools.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::Value;
use zhaul::model::Guid;
use zhaul::zfs::Readdress;

use crate::agent;
use crate::look;
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const POINT_1: &str = "2026-01-10-030000";
const POINT_2: &str = "2026-01-11-030000";

fn deep(world: &World, clock: &str, words: &[&str], code: i32) -> Run {
    Run::of(command(world, clock, &[&["verify", "--deep"], words].concat())).expect_code(code)
}

/// The results, as `COPY same` or what was found.
fn results(run: &Run) -> Vec<String> {
    let json = run.json();
    let line = |one: &Value| {
        let what = if one["result"]["same"] == true { "same" } else { "other" };
        format!("{} {what}", one["there"].as_str().unwrap())
    };
    let mut lines: Vec<String> = json["compared"].as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

/// Everything that a file system can hold, and blocks of several sizes.
fn fill(files: &str) {
    let at = property("mountpoint", files);
    let path = |name: &str| format!("{at}/{name}");
    look::write_file(files, "large", 33);
    for number in 0..600 {
        fs::write(path(&format!("small-{number}")), vec![7_u8; number * 13 % 5000]).unwrap();
    }
    fs::remove_file(path("small-300")).unwrap();
    // With a hole, zeros that were written, and one byte at the end.
    let sparse = fs::File::create(path("sparse")).unwrap();
    sparse.set_len(80 << 20).unwrap();
    fs::write(path("zeros"), vec![0_u8; 1 << 20]).unwrap();
    fs::write(path("one"), b"x").unwrap();
    symlink("one", path("link")).unwrap();
    fs::hard_link(path("one"), path("other-name")).unwrap();
    fs::create_dir(path("d")).unwrap();
    for number in 0..300 {
        fs::write(path(&format!("d/{number}-{}", "long-name".repeat(9))), b"").unwrap();
    }
    look::sync(files);
}

#[test]
fn copies_of_all_kinds_are_the_same_through_a_shell_and_through_an_agent() {
    for (name, agent) in [("deep-shell", false), ("deep-agent", true)] {
        let mut world = World::with_archive(name);
        if agent {
            let options = format!("--root {} --append-only", world.backup_root());
            world.policy.backup = agent::key(&world, &options);
        }
        let files = world.filesystem(GUEST, 1);
        zfs(&["set", "recordsize=1M", "xattr=sa", "acltype=posixacl", &files]);
        fill(&files);
        let disk = world.volume(DISK, 20);
        let packed = world.guest("vm-102-disk-0");
        zfs(&["create", "-s", "-o", "compression=zstd", "-o", "volblocksize=64k", "-V", "40M", &packed]);
        look::write_device(&packed, 0, 9, "packed");
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        look::write_device(&disk, 3, 2, "again");
        // Zeros over data: a hole on one machine may be a block of zeros on the other.
        let zeros =
            format!("dd if=/dev/zero of=/dev/zvol/{disk} bs=1M count=4 seek=5 conv=notrunc status=none");
        assert!(Command::new("sh").args(["-c", &zeros]).status().unwrap().success());
        world.write(GUEST, "second", 1);
        world.run(DAY_2);
        let run = deep(&world, DAY_3, &["--json"], 0);
        let archived = |name: &str| format!("{}@2026-Jan-10 same", world.archive(name));
        let backed_up = |name: &str| format!("{}@{POINT_2} same", world.backup(name));
        let mut expected: Vec<String> = [GUEST, DISK, "vm-102-disk-0"].map(archived).into();
        expected.extend([GUEST, DISK, "vm-102-disk-0"].map(backed_up));
        expected.sort();
        assert_eq!(results(&run), expected, "{run:?}");
        assert_eq!(run.json()["troubles"], serde_json::json!([]));
        // The copies say so.
        let copy = world.backup(DISK);
        assert_eq!(property("zhaul:verified", &format!("{copy}@{POINT_2}")), "2026-01-12T03:00:00Z content");
        let guid = property("guid", &format!("{copy}@{POINT_2}"));
        assert_eq!(property("zhaul:last-verified", &copy), format!("{guid} 2026-01-12T03:00:00Z content"));
        let listed = Run::of(command(&world, "2026-01-14T03:00:00Z", &["list", "100"])).expect_code(0).stdout;
        let line = format!("verified on backup: @{POINT_2}, 2 d 0 h ago");
        assert!(listed.contains(&line), "{listed}");
        let status = Run::of(command(&world, "2026-01-12T05:00:00Z", &["status"])).stdout;
        assert!(status.contains(", verified 2 h 0 min ago"), "{status}");
        // Not again on the same day, unless that is asked for.
        let again = deep(&world, "2026-01-12T20:00:00Z", &[], 0);
        assert!(again.stdout.contains("6 copies were compared not long ago"), "{again:?}");
        assert_eq!(
            results(&deep(&world, "2026-01-12T20:00:00Z", &["--json", "--again-after", "0"], 0)).len(),
            6
        );
        let one = deep(
            &world,
            "2026-01-15T20:00:00Z",
            &["--json", "102", "--target", "backup", "--for", "2h", "--rate", "200MiB"],
            0,
        );
        assert_eq!(results(&one), [backed_up("vm-102-disk-0")]);
    }
}

#[test]
fn encrypted_copies_are_compared_raw_without_a_key() {
    let mut world = World::new("deep-raw");
    world.encrypted(GUEST, &[]);
    world.encrypted(DISK, &["-V", "32M"]);
    fill(&world.guest(GUEST));
    look::write_device(&world.guest(DISK), 0, 9, "first");
    world.run(DAY_1);
    look::write_device(&world.guest(DISK), 4, 9, "second");
    world.write(GUEST, "second", 2);
    world.run(DAY_2);
    world.lock_up(GUEST);
    world.lock_up(DISK);
    let run = deep(&world, DAY_3, &["--json"], 0);
    let expected = [GUEST, DISK].map(|name| format!("{}@{POINT_2} same", world.backup(name)));
    let mut expected: Vec<String> = expected.into();
    expected.sort();
    assert_eq!(results(&run), expected, "{run:?}");
}

/// Replaces the copy by one that has other content under the GUID of the source's snapshot.
fn forge(world: &World, of: &str, copy: &str) {
    let guid: u64 = property("guid", &format!("{}@{POINT_1}", world.guest(GUEST))).parse().unwrap();
    let sent = Command::new("zfs").args(["send", of]).output().unwrap();
    assert!(sent.status.success());
    let mut forged = Vec::new();
    let mut readdress = Readdress::new(Guid(guid));
    for part in sent.stdout.chunks(77_777) {
        readdress.feed(part, &mut forged).unwrap();
    }
    let writer = property("zhaul:writer", copy);
    zfs(&["destroy", "-r", copy]);
    let options = ["-o", "readonly=on", "-o", "canmount=noauto", "-o", &format!("zhaul:writer={writer}")];
    let mut receive = Command::new("zfs")
        .args([&["receive", "-u"], &options[..], &[&format!("{copy}@{POINT_1}")]].concat())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    receive.stdin.take().unwrap().write_all(&forged).unwrap();
    assert!(receive.wait().unwrap().success(), "the stream's checksums are right");
    assert_eq!(property("guid", &format!("{copy}@{POINT_1}")), guid.to_string());
}

#[test]
fn one_changed_byte_under_the_right_guid_is_found() {
    let mut world = World::new("deep-other");
    let files = world.filesystem(GUEST, 20);
    world.run(DAY_1);
    let copy = world.backup(GUEST);
    // What a `zfs verify` by GUID cannot see: one byte of 20 MiB, then only the mode of a file.
    let path = format!("{}/first", property("mountpoint", &files));
    let changes = [
        format!("printf X | dd of={path} bs=1 seek=9999999 conv=notrunc status=none"),
        format!("chmod 600 {path}"),
    ];
    for (at, change) in changes.iter().enumerate() {
        let other = world.beside(&format!("other-{at}"));
        let clone = format!("zfs clone {files}@{POINT_1} {other}");
        assert!(Command::new("sh").args(["-c", &clone]).status().unwrap().success());
        let change = change.replace(&property("mountpoint", &files), &property("mountpoint", &other));
        assert!(Command::new("sh").args(["-c", &change]).status().unwrap().success());
        zfs(&["snapshot", &format!("{other}@x")]);
        forge(&world, &format!("{other}@x"), &copy);
        let run = deep(&world, DAY_3, &["--json"], 1);
        assert_eq!(results(&run), [format!("{copy}@{POINT_1} other")]);
        let inode: u64 = {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(&path).unwrap().ino()
        };
        let found = run.json()["compared"][0]["result"]["object"].as_u64().unwrap();
        assert_eq!(found >> 8, inode >> 8, "{run:?}");
        assert_eq!(property("zhaul:verified", &format!("{copy}@{POINT_1}")), "-");
        let text = deep(&world, DAY_3, &[], 1).stdout;
        assert!(text.contains("have one GUID and not the same content: in inode"), "{text}");
        // By GUID it is the same.
        Run::of(command(&world, DAY_3, &["verify"])).expect_code(0);
        zfs(&["destroy", "-r", &other]);
    }
}

#[test]
fn a_copy_whose_last_block_is_cut_otherwise_is_the_same_and_a_wrong_one_loses_its_mark() {
    let mut world = World::new("deep-tail");
    let files = world.guest(GUEST);
    zfs(&["create", "-o", "recordsize=1M", &files]);
    let bytes: Vec<u8> = (0..307_500_u32).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
    fs::write(format!("{}/tail", property("mountpoint", &files)), bytes).unwrap();
    look::sync(&files);
    zfs(&["snapshot", &format!("{files}@{POINT_1}")]);
    let copy = world.backup(GUEST);
    zfs(&["create", "-p", &world.backup_root()]);
    look::replicate("-p", &format!("{files}@{POINT_1}"), &copy);
    world.run(DAY_2);
    assert_eq!(results(&deep(&world, DAY_3, &["--json"], 0)), [format!("{copy}@{POINT_2} same")]);
    // What was right once is not marked so once it is found to be wrong; and a drill compares it with nothing but itself.
    let other = world.beside("other");
    zfs(&["clone", &format!("{files}@{POINT_1}"), &other]);
    fs::write(format!("{}/tail", property("mountpoint", &other)), b"other").unwrap();
    zfs(&["snapshot", &format!("{other}@x")]);
    forge(&world, &format!("{other}@x"), &copy);
    zfs(&["destroy", "-r", &other]);
    zfs(&["set", "zhaul:last-verified=1 2026-01-11T03:00:00Z content", &copy]);
    Run::of(command(&world, DAY_3, &["verify", "--drill", &files])).expect_code(0);
    assert_eq!(results(&deep(&world, DAY_3, &["--json"], 1)), [format!("{copy}@{POINT_1} other")]);
    assert_eq!(property("zhaul:last-verified", &copy), "-");
}
