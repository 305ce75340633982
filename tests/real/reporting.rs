//! The output of a run for a person or a program: plans that come true, silence when all is well, readers that go away.

use std::process::Command;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

const OTHER: &str = "subvol-102-disk-0";
const THIRD: &str = "subvol-103-disk-0";

#[test]
fn a_run_does_step_for_step_what_the_dry_run_said_of_all_kinds_of_work() {
    let mut world = World::with_archive("as-planned");
    world.policy.source = "keep-last = 1".to_owned();
    world.policy.backup = "keep-last = 2\non-divergence = \"remove\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    let other = world.filesystem(OTHER, 1);
    world.run("2026-01-30T03:00:00Z");
    world.run("2026-01-31T03:00:00Z");
    // One guest is rolled back to a snapshot that only it and its bookmark know…
    zfs(&["snapshot", &format!("{files}@2026-01-31-040000")]);
    world.run("2026-01-31T05:00:00Z");
    zfs(&["rollback", "-r", &format!("{files}@2026-01-31-050000")]);
    zfs(&["snapshot", &format!("{}@2026-01-31-060000", world.backup(GUEST))]);
    // The diverged copy has data of its own.
    look::write_copy(&world.backup(GUEST), "work");
    zfs(&["snapshot", &format!("{}@2026-01-31-070000", world.backup(GUEST))]);
    // …another one is sent in part, and a third is new.
    world.write(OTHER, "more", 4);
    let (base, snapshot) = (format!("{other}@2026-01-31-050000"), format!("{other}@2026-01-31-060000"));
    zfs(&["snapshot", &snapshot]);
    look::send_in_part(Some(&base), &snapshot, &world.backup(OTHER));
    world.filesystem(THIRD, 1);
    let run = world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    let actions = run.actions();
    for action in ["snapshot", "bookmark", "send", "destroy-snapshots", "rollback"] {
        assert!(actions.iter().any(|did| did == action), "{action} is among {actions:?}");
    }
    let resumes = run.sends("backup").iter().filter(|did| did.step["action"]["resume"].is_object()).count();
    assert_eq!(resumes, 1, "{run:?}");
    for guest in [GUEST, OTHER, THIRD] {
        assert_same_newest(&world.guest(guest), &world.backup(guest));
        assert_eq!(snapshots(&world.archive(guest)), ["2026-Feb"]);
    }
}

#[test]
fn a_good_run_says_nothing_to_cron_and_a_bad_one_whom_why_and_what_to_do() {
    let mut world = World::new("cron");
    world.filesystem(GUEST, 1);
    let good = world.run_for_a_person(DAY_1, &[]).expect_code(0);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("", ""));
    world.policy.has_archive = true;
    world.policy.archive_host = Some("offline".to_owned());
    let bad = world.run_for_a_person(DAY_2, &[]).expect_code(1);
    assert_eq!(bad.stdout, "");
    for word in ["archive", "offline", "No route to host", "the next run sends what is missing"] {
        assert!(bad.stderr.contains(word), "{word:?} is in {bad:?}");
    }
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn readers_that_go_away_do_not_stop_a_run() {
    let world = World::new("readers");
    let files = world.filesystem(GUEST, 1);
    let run = format!("{} run --config {}", env!("CARGO_BIN_EXE_zhaul"), world.config().display());
    let endings = [
        "--json | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}",
        "--json | true; exit ${PIPESTATUS[0]}",
        "--json >&-",
        "--debug 3 2>&-",
        "--debug 3 2> >(true)",
        "--debug 3 --json <&- >&- 2>&-",
    ];
    for (hour, ending) in endings.iter().enumerate() {
        let script = format!("{run} --lab-clock 2026-01-10T0{hour}:00:00Z {ending}");
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{ending}: {output:?}");
        assert_eq!(snapshots(&files).len(), hour + 1, "{ending}: {output:?}");
        assert_same_newest(&files, &world.backup(GUEST));
    }
    let script =
        format!("{run} --dry-run --lab-clock 2026-01-11T00:00:00Z | head -1; exit ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    assert_eq!(snapshots(&files).len(), endings.len());
}

#[test]
fn what_a_run_takes_away_is_reported_also_under_cron_but_not_the_nightly_pruning() {
    let mut world = World::new("taken-away");
    world.policy.source = "keep-last = 2".to_owned();
    world.policy.backup = "on-divergence = \"remove\"\nkeep-last = 9".to_owned();
    let files = world.filesystem(GUEST, 1);
    for day in [DAY_1, DAY_2, DAY_3] {
        world.write(GUEST, day, 1);
        let run = world.run_for_a_person(day, &[]).expect_code(0);
        assert_eq!(run.stderr, "", "what the rules prune is no news");
    }
    let copy = world.backup(GUEST);
    let lost = look::guids(&copy)["2026-01-12-030000"].clone();
    zfs(&["rollback", "-r", &format!("{files}@2026-01-11-030000")]);
    let run = world.run_for_a_person("2026-01-13T03:00:00Z", &[]).expect_code(0);
    let reported = format!("destroyed 1 snapshot of {copy}: @2026-01-12-030000 (GUID {lost})");
    assert!(
        run.stderr.contains(&reported) && run.stderr.contains("because the source no longer has"),
        "{run:?}"
    );
    let detailed = world.run_for_a_person("2026-01-14T03:00:00Z", &["-v"]).expect_code(0);
    assert!(detailed.stderr.contains("because kept by no rule"), "{detailed:?}");
}
