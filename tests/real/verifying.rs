//! `zhaul verify`: copies are compared with their sources by GUID, and the pools of both ends are asked.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use serde_json::Value;

use crate::agent;
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const POINT_1: &str = "2026-01-10-030000";
const OTHER: &str = "subvol-102-disk-0";

fn verify(world: &World, words: &[&str], code: i32) -> Run {
    Run::of(command(world, DAY_3, &[&["verify"], words].concat())).expect_code(code)
}

/// The troubles of copies, as `SEVERITY KIND ABOUT`; every test scrubs and fills the same pools.
fn troubles(world: &World, code: i32) -> Vec<String> {
    let json = verify(world, &["--json"], code).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |one: &Value| {
        assert!(!text(&one["next"]).is_empty() && !text(&one["what"]).is_empty(), "{one}");
        let about = text(&one["about"]).replace(&world.source(), "S");
        format!("{} {} {about}", text(&one["severity"]), text(&one["kind"]))
    };
    let all: Vec<String> = json["troubles"].as_array().unwrap().iter().map(line).collect();
    all.into_iter().filter(|line| !line.contains("scrub-old")).collect()
}

fn pools(world: &World, words: &[&str]) -> Vec<Value> {
    verify(world, &[&["--json"], words].concat(), 0).json()["pools"].as_array().unwrap().clone()
}

#[test]
fn a_copy_that_is_not_what_its_source_says_is_named_and_one_that_is_passes() {
    let mut world = World::with_archive("verify");
    for name in [GUEST, OTHER] {
        world.filesystem(name, 1);
    }
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.run(DAY_2);
    let state = world.state();
    assert_eq!(troubles(&world, 0), Vec::<String>::new());
    assert_eq!(state, world.state());
    let said = verify(&world, &[], 0).stdout;
    let line = format!(
        "{} (backup): 2 snapshots, 2 of them known at the source by GUID, the newest @2026-01-11-030000",
        world.guest(GUEST)
    );
    assert!(said.contains(&line), "{said}");
    // A snapshot that was made again under an own name is another moment.
    zfs(&["destroy", &format!("{}@{POINT_1}", world.guest(GUEST))]);
    zfs(&["destroy", &format!("{}#{POINT_1}", world.guest(GUEST))]);
    zfs(&["snapshot", &format!("{}@{POINT_1}", world.guest(GUEST))]);
    // The archive has nothing else.
    let expected =
        [format!("failed diverged S/{GUEST} (archive)"), format!("failed other-guid S/{GUEST} (backup)")];
    let mut found = troubles(&world, 1);
    found.sort();
    assert_eq!(found, expected);
    // A copy that was written to on the target.
    let copy = world.backup(OTHER);
    zfs(&["snapshot", &format!("{copy}@mine")]);
    let found = troubles(&world, 1);
    assert!(found.contains(&format!("warning diverged S/{OTHER} (backup)")), "{found:?}");
    // A target that is down, and one dataset that has no copy.
    zfs(&["destroy", "-r", &copy]);
    let found = troubles(&world, 1);
    assert!(found.contains(&format!("note no-copy S/{OTHER} (backup)")), "{found:?}");
    world.policy.backup_at = Some(("nowhere.invalid".to_owned(), world.backup_root()));
    let found = troubles(&world, 1);
    assert!(found.contains(&format!("failed not-known S/{GUEST} (backup)")), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("failed pool-unknown pool tank8 (backup)")),
        "{found:?}"
    );
}

#[test]
fn a_receive_that_broke_off_continues_or_not() {
    let mut world = World::new("verify-token");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    world.write(GUEST, "second", 24);
    world.cut(DAY_2, GUEST, 4 << 20);
    let state = world.state();
    assert!(troubles(&world, 0).contains(&format!("note partial {} (backup)", world.backup(GUEST))));
    zfs(&["destroy", &format!("{files}@2026-01-11-030000")]);
    let lost = format!("warning partial-lost {} (backup)", world.backup(GUEST));
    assert!(troubles(&world, 0).contains(&lost));
    assert_ne!(property("receive_resume_token", &world.backup(GUEST)), "-", "it changes nothing: {state}");
    let said = verify(&world, &[], 0).stdout;
    assert!(said.contains("broke off, and the source has this snapshot no more"), "{said}");
    // The next run deals with it.
    world.run(DAY_3);
    assert_eq!(troubles(&world, 0), Vec::<String>::new());
}

#[test]
fn pools_report_their_errors_and_their_last_scrub_also_to_a_key_that_is_confined_to_the_agent() {
    let mut world = World::new("verify-pools");
    world.policy.backup = agent::key(&world, &format!("--root {} --append-only", world.backup_root()));
    world.filesystem(GUEST, 1);
    world.run(DAY_1);
    assert!(Command::new("zpool").args(["scrub", "-w", "tank8"]).status().unwrap().success());
    let found = pools(&world, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    for (pool, place) in [("rpool", "\"source\""), ("tank8", "backup")] {
        let one = found.iter().find(|one| one["pool"] == pool).unwrap();
        assert!(one["place"].to_string().contains(place), "{one}");
        assert_eq!(one["state"]["health"], "ONLINE", "{one}");
        assert_eq!(one["state"]["data_errors"], 0, "{one}");
    }
    let scrub = &found.iter().find(|one| one["pool"] == "tank8").unwrap()["state"]["scrub"];
    assert_eq!(scrub["state"], "ended", "{scrub}");
    // Two years later.
    let late = Run::of({
        let words = ["verify", "--scrub-after", "960h"];
        command(&world, "2029-01-01T00:00:00Z", &words)
    })
    .expect_code(0);
    assert!(late.stdout.contains("warning: pool tank8 (backup): was last scrubbed"), "{late:?}");
    assert!(late.stdout.contains("next: `zpool scrub tank8` on backup"), "{late:?}");
}

#[test]
fn a_pool_that_has_lost_data_is_named_by_verify_and_by_doctor() {
    let mut world = World::new("verify-bad");
    let image = world.directory().join("bad.img");
    let zpool =
        |words: &[&str]| assert!(Command::new("zpool").args(words).status().unwrap().success(), "{words:?}");
    fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
    zpool(&["create", "-O", "compression=off", "-O", "canmount=off", "verifybad", image.to_str().unwrap()]);
    zfs(&["create", "verifybad/copies"]);
    world.policy.backup_at = Some(("nfs8".to_owned(), "verifybad/copies".to_owned()));
    world.filesystem(GUEST, 32);
    world.run(DAY_1);
    assert_eq!(troubles(&world, 0), Vec::<String>::new());
    zpool(&["export", "verifybad"]);
    let file = fs::File::options().write(true).open(&image).unwrap();
    for mib in 6..120 {
        file.write_all_at(&[0; 4096], mib << 20).unwrap();
    }
    zpool(&["import", "-d", world.directory().to_str().unwrap(), "verifybad"]);
    zpool(&["scrub", "-w", "verifybad"]);
    let found = troubles(&world, 1);
    for kind in ["failed pool-data-errors", "failed scrub-errors", "warning pool-device-errors"] {
        assert!(found.contains(&format!("{kind} pool verifybad (backup)")), "{found:?}");
    }
    let run = Run::of(command(&world, DAY_2, &["doctor"])).expect_code(1);
    assert!(run.stdout.contains("failed: pool verifybad (backup): has lost data: "), "{run:?}");
    assert!(run.stdout.contains("next: `zpool status -v verifybad` on backup"), "{run:?}");
    zpool(&["destroy", "verifybad"]);
}
