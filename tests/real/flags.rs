//! The flags of `vm-backup.sh`, without a policy file.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::look::{assert_same_newest, bookmarks, snapshots};
use crate::outcome::Run;
use crate::world::{DISK, GUEST, World};

/// `zhaul run` as of `clock`, with these flags and no file, on a host in Berlin.
fn run(clock: &str, flags: &[&str]) -> Run {
    assert!(!Path::new("/etc/zhaul.toml").exists(), "the lab has no policy of its own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.args(["run", "--lab-clock", clock]).args(flags);
    command.stdin(Stdio::null()).env_remove("RUST_LOG").env("TZ", "Europe/Berlin");
    Run::of(command)
}

/// One test, since all runs without a file share one lock.
#[test]
fn the_old_scripts_flags_are_a_whole_policy() {
    let world = World::with_archive("flags");
    let (files, disk) = (world.filesystem(GUEST, 1), world.volume(DISK, 1));
    let (source, backup, archive) = (world.source(), world.backup_root(), world.archive_root());
    let mut flags = vec!["--dataset", &source, "--backup-host", "nfs8", "--backup-dataset", &backup];
    flags.extend(["--archive-host", "root@nfs9", "--archive-dataset", &archive]);
    let plan = run("2026-03-15T03:00:00Z", &[&flags[..], &["--archive", "--dryrun"]].concat()).expect_code(0);
    assert!(plan.stdout.contains("2026-03-15-030000"), "{plan:?}");
    assert_eq!(snapshots(&files), Vec::<String>::new());
    let forced = run("2026-03-15T03:00:00Z", &[&flags[..], &["--archive"]].concat()).expect_code(0);
    assert_eq!((forced.stdout.as_str(), forced.stderr.as_str()), ("", ""));
    for (dataset, name) in [(&files, GUEST), (&disk, DISK)] {
        assert_same_newest(dataset, &world.backup(name));
        assert_eq!(snapshots(&world.archive(name)), ["2026-Mar-15"]);
        assert_eq!(bookmarks(dataset), ["2026-03-15-030000"]);
    }
    // 23:30 of the 31st there, and 00:30 of the 1st: names are UTC, months are the host's.
    run("2026-03-31T21:30:00Z", &flags).expect_code(0);
    assert_eq!(snapshots(&world.archive(GUEST)).len(), 1);
    run("2026-03-31T22:30:00Z", &flags).expect_code(0);
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Mar-15", "2026-Apr"]);
    assert_eq!(snapshots(&files).last().unwrap(), "2026-03-31-223000");

    // With --dataset alone the script's own places are meant; the lab's pools have other names, and that is reported.
    let defaults = run("2026-04-02T03:00:00Z", &["--dataset", &source]).expect_code(1);
    for words in ["nfs8", "nfs9", "tank/backup/pve0", "tank/archive/pve0", "no pool tank is imported there"] {
        assert!(defaults.stderr.contains(words), "{words:?} is in {defaults:?}");
    }
    // An empty host is none.
    run("2026-04-03T03:00:00Z", &["--dataset", &source, "--backup-host", "", "--archive-host", ""])
        .expect_code(0);
    assert_eq!(snapshots(&files).last().unwrap(), "2026-04-03-030000");
    assert_eq!(snapshots(&world.backup(GUEST)).last().unwrap(), "2026-03-31-223000");
}
