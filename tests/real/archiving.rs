//! The archive: one snapshot a month, kept for ever.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::agent;
use crate::look::{assert_same_newest, guids, set_aside, snapshots, write_copy};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::world::{GUEST, World};

/// A guest whose archive has February, and its copy there.
fn with_february(name: &str) -> (World, String) {
    let mut world = World::archive_only(name);
    world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    let archive = world.archive(GUEST);
    (world, archive)
}

#[test]
fn each_month_is_archived_once_and_a_missed_first_is_caught_up() {
    let mut world = World::archive_only("months");
    let files = world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    world.run("2026-01-10T03:00:00Z");
    assert_eq!(snapshots(&archive), Vec::<String>::new(), "a new policy waits for its first 1st");
    world.run_as_planned("2026-02-01T03:00:00Z", &[], 0);
    world.run("2026-02-02T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    world.run_as_planned("2026-03-03T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    let run = world.run("2026-05-02T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar", "2026-May"]);
    assert!(run.finds("warning", "months-lost") && run.finds("warning", "2026-Apr"), "{run:?}");
    assert_same_newest(&files, &archive);
}

#[test]
fn months_that_the_archive_was_away_are_caught_up_oldest_first() {
    let mut world = World::archive_only("months-away");
    world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.policy.archive_host = Some("offline".to_owned());
    for month in ["02", "03", "04"] {
        world.run_with(&format!("2026-{month}-01T03:00:00Z"), &[]).expect_code(1);
    }
    world.policy.archive_host = None;
    let run = world.run_as_planned("2026-04-20T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Feb", "2026-Mar", "2026-Apr"]);
    let bases: Vec<_> = run.sends("archive").iter().map(|send| send.base().map(|base| base.1)).collect();
    let steps = ["2026-02-01-030000", "2026-03-01-030000"].map(|name| Some(name.to_owned()));
    assert_eq!(bases, [None, steps[0].clone(), steps[1].clone()], "each from the one before");
}

#[test]
fn a_snapshot_that_arrived_under_its_sources_name_is_only_renamed() {
    let (mut world, archive) = with_february("arrived");
    zfs(&["rename", &format!("{archive}@2026-Feb"), &format!("{archive}@2026-02-01-030000")]);
    let run = world.run_as_planned("2026-02-02T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), ["2026-Feb"]);
    assert_eq!(run.moved("archive"), 0);
}

/// Two guests change their names, and the one that gets no backup any more keeps the copy: the other one's months are on the
/// copy that has its former name.
#[test]
fn a_month_made_by_hand_counts_for_nothing_also_after_a_change_of_names() {
    let mut world = World::archive_only("months-swapped");
    for name in ["one", "two"] {
        world.filesystem(name, 1);
    }
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    zfs(&["snapshot", &format!("{}@2026-Mar", world.archive("two"))]);
    for (from, to) in [("one", "between"), ("two", "one"), ("between", "two")] {
        zfs(&["rename", &world.guest(from), &world.guest(to)]);
    }
    world.set("two", "zhaul:backup=off");
    assert_march_is_archived(&mut world, "one");
}

#[test]
fn a_month_made_by_hand_of_what_somebody_wrote_to_a_copy_is_none() {
    let (mut world, archive) = with_february("months-written");
    write_copy(&archive, "work");
    zfs(&["snapshot", &format!("{archive}@2026-Mar")]);
    assert_march_is_archived(&mut world, GUEST);
}

#[test]
fn a_month_made_by_hand_is_none_also_once_a_forced_archive_follows_it() {
    let (mut world, archive) = with_february("months-forced");
    zfs(&["snapshot", &format!("{archive}@2026-Mar")]);
    world.run_with("2026-02-20T03:00:00Z", &["--archive"]);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar", "2026-Feb-20"]);
    assert_march_is_archived(&mut world, GUEST);
}

/// Such an agent archives months in their order: a month of a later name, made by hand, is no reason to give the earlier up.
#[test]
fn a_later_month_made_by_hand_costs_an_append_only_archive_no_month() {
    for (name, is_written) in [("months-ahead", false), ("months-ahead-written", true)] {
        let mut world = World::archive_only(name);
        world.filesystem(GUEST, 1);
        world.policy.archive = agent::key(&world, &format!("--root {} --append-only", world.archive_root()));
        let archive = world.archive(GUEST);
        world.run("2026-01-10T03:00:00Z");
        world.run("2026-02-01T03:00:00Z");
        if is_written {
            write_copy(&archive, "work");
        }
        // The agent goes by the clock of its machine.
        for made_by_hand in ["2031-May", "2026-Apr_old"] {
            zfs(&["snapshot", &format!("{archive}@{made_by_hand}")]);
        }
        let run = world.run("2026-03-01T03:00:00Z");
        assert!(snapshots(&archive).contains(&"2026-Mar".to_owned()), "{run:?}");
        assert!(!run.finds("warning", "months-lost"), "{run:?}");
        world.run("2026-04-01T03:00:00Z");
        assert!(snapshots(&archive).contains(&"2026-Apr".to_owned()));
        let status = Run::of(command(&world, "2026-05-20T03:00:00Z", &["status", "--json"]));
        assert!(status.stdout.contains("2026-Apr") && !status.stdout.contains("2031-May"), "{status:?}");
        if is_written {
            assert_eq!(snapshots(&set_aside(&archive)), ["2031-May", "2026-Apr_old"]);
        }
    }
}

/// A person gives what a hand-made month is before another name, which says no month.
#[test]
fn a_month_made_by_hand_is_none_whatever_the_base_is_called() {
    let (mut world, archive) = with_february("months-renamed");
    zfs(&["snapshot", &format!("{archive}@2026-Mar")]);
    world.run_with("2026-02-20T03:00:00Z", &["--archive"]);
    zfs(&["rename", &format!("{archive}@2026-Feb-20"), &format!("{archive}@before-upgrade")]);
    assert_march_is_archived(&mut world, GUEST);
}

/// What the source knows by GUID has arrived, whoever has written the copy.
#[test]
fn a_copy_that_a_clone_of_its_source_takes_over_keeps_its_months() {
    let mut world = World::archive_only("months-promoted");
    let files = world.filesystem(GUEST, 1);
    let archive = world.archive(GUEST);
    for day in ["2026-01-10", "2026-02-01", "2026-03-01", "2026-03-09"] {
        world.run(&format!("{day}T03:00:00Z"));
    }
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    let new = world.guest("new");
    zfs(&["clone", &format!("{files}@2026-03-09-030000"), &new]);
    zfs(&["promote", &new]);
    zfs(&["rename", &files, &world.guest("old")]);
    zfs(&["rename", &new, &files]);
    world.set("old", "zhaul:backup=off");
    let run = world.run("2026-03-10T03:00:00Z");
    assert!(!run.finds("warning", "months-lost"), "{run:?}");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"], "{run:?}");
}

/// Guests change names after the month was archived; a forced archive comes between.
#[test]
fn a_month_is_archived_once_also_where_guests_change_names_in_it() {
    for (name, is_append_only) in [("months-once", false), ("months-once-append", true)] {
        let mut world = World::archive_only(name);
        if is_append_only {
            let key = agent::key(&world, &format!("--root {} --append-only", world.archive_root()));
            world.policy.archive = key;
        }
        for guest in ["one", "two"] {
            world.filesystem(guest, 1);
        }
        for day in ["2026-01-10", "2026-02-01", "2026-03-01"] {
            world.run(&format!("{day}T03:00:00Z"));
        }
        for (from, to) in [("one", "between"), ("two", "one"), ("between", "two")] {
            zfs(&["rename", &world.guest(from), &world.guest(to)]);
        }
        world.run_with("2026-03-15T03:00:00Z", &["--archive"]);
        let run = world.run("2026-03-16T03:00:00Z");
        assert!(!run.finds("warning", "months-lost"), "{run:?}");
        let names = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "name", &world.archive_root()]);
        let marches = names.lines().filter(|name| name.ends_with("@2026-Mar")).count();
        assert_eq!(marches, 2, "{names}");
    }
}

/// The run of 1 March takes a snapshot of the guest, and the archive has it, by its GUID, under whatever name.
fn assert_march_is_archived(world: &mut World, guest: &str) {
    let run = world.run("2026-03-01T03:00:00Z");
    let taken = property("guid", &format!("{}@2026-03-01-030000", world.guest(guest)));
    let rows = zfs(&["list", "-rHp", "-t", "snapshot", "-o", "guid", &world.archive_root()]);
    assert!(rows.lines().any(|guid| guid == taken), "{run:?}");
}

/// The lineage that was set aside has a snapshot of the month's name, and the run that set it aside could send nothing.
#[test]
fn a_month_made_by_hand_counts_for_nothing_on_a_lineage_that_was_set_aside_either() {
    let (mut world, archive) = with_february("months-aside");
    write_copy(&archive, "work");
    zfs(&["snapshot", &format!("{archive}@2026-Mar")]);
    world.run_with("2026-02-20T03:00:00Z", &["--archive"]);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Feb-20"]);
    world.run("2026-03-01T03:00:00Z");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Feb-20", "2026-Mar"]);
    // Months that were archived and then rolled back are not lost.
    zfs(&["rollback", "-r", &format!("{}@2026-01-10-030000", world.guest(GUEST))]);
    let run = world.run("2026-04-01T03:00:00Z");
    assert!(!run.finds("warning", "months-lost"), "{run:?}");
    assert_eq!(snapshots(&archive).last().map(String::as_str), Some("2026-Apr"));
}

/// Locales whose short names of December and January are not English.
const LOCALES: [(&str, &str, [&str; 2]); 2] =
    [("tr_TR", "tr_TR.UTF-8", ["Ara", "Oca"]), ("de_DE", "de_DE.UTF-8", ["Dez", "Jan"])];

/// Makes these locales in a directory of the test, for `LOCPATH`; the machine has none of them.
fn make_locales(world: &World) -> PathBuf {
    let directory = world.directory().join("locales");
    fs::create_dir(&directory).unwrap();
    for (source, locale, months) in LOCALES {
        let made = Command::new("localedef")
            .args(["-i", source, "-f", "UTF-8"])
            .arg(directory.join(locale))
            .output();
        let made = made.expect("localedef can be run");
        assert!(made.status.success(), "{made:?}");
        for (day, month) in ["2026-12-10", "2027-01-01"].iter().zip(months) {
            let mut date = Command::new("date");
            let said = date
                .args(["-d", day, "+%b"])
                .env("LOCPATH", &directory)
                .env("LC_ALL", locale)
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), month, "{locale} is there");
        }
    }
    directory
}

#[test]
fn months_are_named_and_known_in_english_in_every_locale() {
    let world = World::archive_only("locales");
    let files = world.filesystem(GUEST, 1);
    let locales = make_locales(&world);
    let run = |clock: &str, locale: &str, more: &[&str]| {
        let mut command = world.command(clock, more);
        command.env("LOCPATH", &locales).env("LC_ALL", locale).env("LANG", locale).env("LANGUAGE", locale);
        Run::of(command).expect_code(0)
    };
    let (turkish, german) = (LOCALES[0].1, LOCALES[1].1);
    run("2026-11-10T03:00:00Z", turkish, &[]);
    run("2026-12-01T03:00:00Z", turkish, &[]);
    run("2026-12-10T03:00:00Z", turkish, &["--archive"]);
    run("2026-12-10T04:00:00Z", german, &["--archive"]);
    let mut there = vec!["2026-Dec", "2026-Dec-10", "2026-Dec-10-2"];
    assert_eq!(snapshots(&world.archive(GUEST)), there);
    // One locale knows the names that another one wrote: December is there, January is due once.
    run("2026-12-20T03:00:00Z", german, &[]);
    run("2027-01-01T03:00:00Z", german, &[]);
    for (_, locale, _) in LOCALES {
        run("2027-01-02T03:00:00Z", locale, &[]);
    }
    run("2027-01-03T03:00:00Z", "C", &[]);
    there.push("2027-Jan");
    assert_eq!(snapshots(&world.archive(GUEST)), there);
    assert_eq!(snapshots(&files)[..2], ["2026-11-10-030000", "2026-12-01-030000"], "digits are digits");
}

#[test]
fn an_archive_that_has_diverged_stops_or_branches_and_keeps_all() {
    let (mut world, archive) = with_february("archive-diverged");
    let files = world.guest(GUEST);
    world.write(GUEST, "march", 1);
    world.run("2026-03-01T03:00:00Z");
    zfs(&["rollback", "-r", &format!("{files}@2026-02-01-030000")]);
    world.write(GUEST, "april", 1);
    world.policy.archive = "on-divergence = \"stop\"".to_owned();
    let run = world.run_as_planned("2026-04-01T03:00:00Z", &[], 3);
    assert!(run.finds("blocked", "archive-diverged") && !run.finds("warning", "months-lost"), "{run:?}");
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar"]);
    world.policy.archive = "on-divergence = \"branch\"".to_owned();
    let run = world.run_as_planned("2026-04-02T03:00:00Z", &[], 0);
    assert!(!run.finds("warning", "months-lost"), "{run:?}");
    assert_eq!(snapshots(&set_aside(&archive)), ["2026-Mar"]);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Apr"], "March is kept, neither lost nor sent again");
    let run = world.run_as_planned("2026-04-03T03:00:00Z", &[], 0);
    assert!(run.finds("note", "months-set-aside") && !run.finds("note", "months-lost"), "{run:?}");
    assert_same_newest_month(&files, &archive);
}

/// The archive's April is the source's first snapshot of April.
fn assert_same_newest_month(files: &str, archive: &str) {
    let guid = |name: String| property("guid", &name);
    assert_eq!(guid(format!("{files}@2026-04-01-030000")), guid(format!("{archive}@2026-Apr")));
}

#[test]
fn a_first_run_with_a_clock_years_ahead_disables_no_month() {
    let mut world = World::archive_only("clock-years-ahead");
    world.filesystem(GUEST, 1);
    world.run("2029-05-10T03:00:00Z");
    world.run("2026-01-15T03:00:00Z");
    world.run("2026-02-03T03:00:00Z");
    assert_eq!(snapshots(&world.archive(GUEST)).last().unwrap(), "2026-Feb");
}

#[test]
fn a_run_on_the_first_that_takes_no_snapshot_gives_no_month_up() {
    let mut world = World::archive_only("first-without-snapshot");
    world.filesystem(GUEST, 1);
    world.run("2026-01-20T03:00:00Z");
    let run = world.run_with("2026-02-01T03:00:00Z", &["--no-snapshot"]).expect_code(0);
    assert!(!run.stdout.contains("months-lost"), "{run:?}");
    world.run("2026-02-02T03:00:00Z");
    assert_eq!(snapshots(&world.archive(GUEST)), ["2026-Feb"]);
}

#[test]
fn a_month_of_another_dataset_that_has_changed_its_name_is_not_this_ones() {
    let mut world = World::archive_only("archive-swapped");
    let [left_out, served] = ["a", "b"].map(|name| world.filesystem(name, 1));
    world.run("2026-01-10T03:00:00Z");
    zfs(&["set", "zhaul:backup=off", &left_out]);
    world.run("2026-02-01T03:00:00Z");
    let before = guids(&world.archive("b"));
    assert_eq!(snapshots(&world.archive("b")), ["2026-Feb"]);
    // The one that was left out is served now under the other one's name, and the other one is left out.
    let aside = world.guest("c");
    for (from, to) in [(&left_out, &aside), (&served, &left_out), (&aside, &served)] {
        zfs(&["rename", from, to]);
    }
    zfs(&["inherit", "zhaul:backup", &served]);
    zfs(&["set", "zhaul:backup=off", &left_out]);
    world.run("2026-02-03T03:00:00Z");
    assert_same_newest(&served, &world.archive("b"));
    let aside = set_aside(&world.archive("b"));
    assert_eq!(guids(&aside), before, "what the other one has is kept");
    world.run("2026-02-04T03:00:00Z");
    assert_eq!(snapshots(&world.archive("b")), ["2026-Feb"]);
}
