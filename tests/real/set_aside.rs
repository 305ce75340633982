//! Setting a lineage aside, on both kinds of target, through a shell and through an agent: nothing is lost, the copy continues,
//! and a run that was killed between any two steps is finished by the next one.

use serde_json::{Value, json};

use crate::agent::key;
use crate::look::{self, assert_same_newest, guids, snapshots};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

const DAY_4: &str = "2026-01-13T03:00:00Z";

/// A world with a file system, a volume and a raw encrypted dataset whose source was rolled back from day 2 to day 1.
fn rolled_back(name: &str, backup: &str) -> (World, [String; 3]) {
    let mut world = World::new(name);
    backup.clone_into(&mut world.policy.backup);
    let files = world.filesystem(GUEST, 1);
    let disk = world.volume(DISK, 1);
    let secret = encrypted(&world);
    world.run(DAY_1);
    world.write(GUEST, "bad", 1);
    look::write_device(&disk, 1, 1, "bad");
    look::write_file(&secret, "bad", 1);
    world.run(DAY_2);
    for dataset in [&files, &disk, &secret] {
        zfs(&["rollback", "-r", &format!("{dataset}@2026-01-10-030000")]);
    }
    world.write(GUEST, "good", 1);
    (world, [GUEST, DISK, "secret"].map(str::to_owned))
}

/// An encrypted dataset among the guests, whose key no target ever has.
fn encrypted(world: &World) -> String {
    let key = world.directory().join("key-of-secret");
    std::fs::write(&key, [7_u8; 32]).unwrap();
    let secret = world.guest("secret");
    let location = format!("keylocation=file://{}", key.display());
    zfs(&["create", "-o", "encryption=on", "-o", "keyformat=raw", "-o", &location, &secret]);
    look::write_file(&secret, "first", 1);
    secret
}

fn check_continues(world: &mut World, names: &[String; 3]) {
    let before: Vec<_> = names.iter().map(|name| guids(&world.backup(name))).collect();
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(run.steps("set-aside").len(), 3, "{run:?}");
    assert!(run.finds("warning", "@2026-01-11-030000"), "it is reported: {run:?}");
    for (name, before) in names.iter().zip(before) {
        let copy = world.backup(name);
        let aside = look::set_aside(&copy);
        assert_eq!(snapshots(&copy), ["2026-01-10-030000", "2026-01-12-030000"]);
        assert_eq!(snapshots(&aside), ["2026-01-11-030000"]);
        assert_eq!(guids(&aside)["2026-01-11-030000"], before["2026-01-11-030000"], "nothing is lost");
        assert_same_newest_guid(world, name);
        assert_eq!(look::mark(&aside)["done"], json!(true));
        assert_eq!(look::mark(&aside)["guid"], json!(property("guid", &aside)));
        assert_eq!(property("readonly", &copy), "on");
        assert!(property("zhaul:writer", &copy).ends_with(&format!(":{}", world.guest(name))));
        assert_eq!(property("origin", &copy), "-", "the copy is no clone of what was set aside");
    }
    assert_eq!(property("volmode", &world.backup(DISK)), "none");
    assert_eq!(property("canmount", &world.backup(GUEST)), "noauto");
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    let run = world.run_as_planned(DAY_4, &[], 0);
    assert!(run.steps("set-aside").is_empty() && run.steps("claim").is_empty(), "{run:?}");
}

fn assert_same_newest_guid(world: &World, name: &str) {
    let (source, copy) = (guids(&world.guest(name)), guids(&world.backup(name)));
    assert_eq!(source["2026-01-12-030000"], copy["2026-01-12-030000"], "{name}");
}

#[test]
fn what_a_rollback_left_behind_is_set_aside_through_a_shell() {
    let (mut world, names) = rolled_back("aside-shell", "agent = \"off\"");
    check_continues(&mut world, &names);
}

#[test]
fn what_a_rollback_left_behind_is_set_aside_through_an_agent_that_destroys_nothing() {
    let (mut world, names) = rolled_back("aside-agent", "");
    let lines = key(&world, "--append-only");
    world.policy.backup = format!("{lines}keep-last = 1\n");
    check_continues(&mut world, &names);
    let aside = look::set_aside(&world.backup(GUEST));
    let run = world.run_as_planned(&look::days_after(&aside, 100), &[], 0);
    assert!(look::exists(&aside), "an append-only target destroys nothing: {run:?}");
    assert!(run.steps("destroy-snapshots").iter().all(|step| step["place"] == "source"), "{run:?}");
}

#[test]
fn an_append_only_target_sets_one_copy_aside_once_a_day() {
    let (mut world, _) = rolled_back("aside-pause", "");
    let lines = key(&world, "--append-only");
    world.policy.backup = lines;
    world.run(DAY_3);
    let (files, copy) = (world.guest(GUEST), world.backup(GUEST));
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    world.write(GUEST, "better", 1);
    let before = guids(&copy);
    let soon = look::days_after(&look::set_aside(&copy), 0);
    let run = world.run_as_planned(&soon, &[], 3);
    assert!(run.finds("blocked", "set-aside-too-soon"), "{run:?}");
    assert_eq!(guids(&copy), before);
    // A day later, by the clock of the target: whatever the caller says.
    let later = look::days_after(&look::set_aside(&copy), 1);
    let run = world.run_with(&later, &[]).expect_code(1);
    assert!(run.stderr.contains("sets a copy aside once in 22 hours"), "{run:?}");
    assert_eq!(guids(&copy), before);
    let aside = look::set_aside(&copy);
    let mut mark = look::mark(&aside);
    mark["at"] = json!("2026-01-12T03:00:00Z");
    zfs(&["set", &format!("zhaul:set-aside={mark}"), &aside]);
    world.run_with(&later, &[]).expect_code(0);
    assert_eq!(look::all_set_aside(&copy).len(), 2);
    assert_same_newest(&files, &copy);
}

#[test]
fn a_copy_whose_name_or_whose_childrens_would_become_too_long_is_named_and_stays() {
    let mut world = World::new("aside-long");
    let files = world.filesystem(GUEST, 1);
    let other = world.filesystem("other", 1);
    // The copy's own name has room for a date, its child's has not.
    let free = 255 - world.backup(GUEST).len() - "@2026-01-10-030000".len();
    let child = format!("{files}/{}", "x".repeat(free - 20));
    zfs(&["create", &child]);
    world.run(DAY_1);
    world.write(GUEST, "bad", 1);
    world.run(DAY_2);
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    let copy = world.backup(GUEST);
    let before = guids(&copy);
    let run = world.run_as_planned(DAY_3, &[], 3);
    assert!(run.finds("blocked", "set-aside-name"), "{run:?}");
    assert_eq!(guids(&copy), before);
    assert_eq!(look::all_set_aside(&copy), Vec::<String>::new());
    assert_same_newest(&other, &world.backup("other"));
    // The advised action helps.
    zfs(&["rename", &copy, &world.backup("old")]);
    world.run(DAY_4);
    assert_same_newest(&files, &copy);
}

/// The states that a run leaves which is killed while it sets a lineage aside, by what was done by hand up to then.
fn killed_after(step: usize, copy: &str, source: &str) -> String {
    let aside = format!("{copy}.diverged-2026-01-12-030000");
    let guid = property("guid", copy);
    let base = "2026-01-10-030000";
    let mark = json!({
        "version": 1, "done": false, "of": copy, "name": aside, "guid": guid,
        "at": "2026-01-12T03:00:00Z", "cause": "diverged",
        "base": {"name": base, "guid": guids(copy)[base]}, "writer": property("guid", source),
    });
    let steps: [&dyn Fn(); 4] = [
        &|| drop(zfs(&["set", &format!("zhaul:set-aside={mark}"), copy])),
        &|| drop(zfs(&["rename", copy, &aside])),
        &|| {
            let writer = format!("zhaul:writer={} x:{source}", property("guid", source));
            let safe = if copy.ends_with(DISK) { "volmode=none" } else { "canmount=noauto" };
            let origin = format!("{aside}@{base}");
            zfs(&["clone", "-o", "readonly=on", "-o", safe, "-o", &writer, &origin, copy]);
        },
        &|| drop(zfs(&["promote", copy])),
    ];
    steps.iter().take(step).for_each(|step| step());
    aside
}

#[test]
fn a_run_that_was_killed_between_any_two_steps_is_finished_by_the_next_one() {
    for step in 1..=4 {
        let (mut world, names) = rolled_back(&format!("aside-killed-{step}"), "");
        let before: Vec<_> = names.iter().map(|name| guids(&world.backup(name))).collect();
        for name in &names {
            killed_after(step, &world.backup(name), &world.guest(name));
        }
        world.run_as_planned(DAY_3, &[], 0);
        for (name, before) in names.iter().zip(before) {
            let copy = world.backup(name);
            let aside = look::set_aside(&copy);
            assert_eq!(snapshots(&copy), ["2026-01-10-030000", "2026-01-12-030000"], "{step} {name}");
            assert_eq!(guids(&aside)["2026-01-11-030000"], before["2026-01-11-030000"], "{step} {name}");
            assert_eq!(look::mark(&aside)["done"], json!(true), "{step} {name}");
            assert_same_newest_guid(&world, name);
        }
        let run = world.run_as_planned(DAY_4, &[], 0);
        assert!(run.steps("set-aside").is_empty(), "{step}: {run:?}");
    }
}

#[test]
fn a_snapshot_taken_of_the_clone_before_it_was_promoted_makes_way() {
    let (mut world, _) = rolled_back("aside-names", "");
    let copy = world.backup(GUEST);
    killed_after(3, &copy, &world.guest(GUEST));
    zfs(&["snapshot", &format!("{copy}@2026-01-10-030000")]);
    world.run_with(DAY_3, &[]).expect_code(0);
    assert_same_newest(&world.guest(GUEST), &copy);
    assert_eq!(snapshots(&look::set_aside(&copy)), ["2026-01-11-030000"]);
}

/// A dataset that is a copy and has copies below it.
fn nested(name: &str) -> (World, String, String) {
    let mut world = World::with_archive(name);
    let parent = world.filesystem(GUEST, 1);
    let child = format!("{parent}/data");
    zfs(&["create", &child]);
    look::write_file(&child, "first", 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    (world, parent, child)
}

#[test]
fn datasets_below_a_copy_move_back_when_the_copy_is_set_aside() {
    let (mut world, parent, child) = nested("aside-nested");
    world.write(GUEST, "bad", 1);
    world.run_with(DAY_2, &["--archive"]).expect_code(0);
    zfs(&["rollback", "-r", &format!("{parent}@2026-01-10-030000")]);
    world.write(GUEST, "good", 1);
    world.run_with(DAY_3, &["--archive"]).expect_code(0);
    for copy in [world.backup(GUEST), world.archive(GUEST)] {
        assert_same_newest(&parent, &copy);
        assert_same_newest(&child, &format!("{copy}/data"));
        assert_eq!(snapshots(&look::set_aside(&copy)).len(), 1);
        assert_eq!(snapshots(&format!("{copy}/data")).len(), 3, "the child continued as it was");
    }
}

#[test]
fn a_recreated_dataset_with_datasets_below_it_gets_them_back_after_its_full_stream() {
    let (mut world, parent, child) = nested("aside-recreated");
    zfs(&["rename", &child, &world.guest("elsewhere")]);
    zfs(&["destroy", "-r", &parent]);
    world.filesystem(GUEST, 1);
    zfs(&["rename", &world.guest("elsewhere"), &child]);
    let run = world.run_with(DAY_2, &["--archive"]).expect_code(0);
    for copy in [world.backup(GUEST), world.archive(GUEST)] {
        let aside = look::set_aside(&copy);
        assert!(aside.contains(".superseded-"), "{run:?}");
        assert_same_newest(&parent, &copy);
        assert_same_newest(&child, &format!("{copy}/data"));
        assert!(!look::exists(&format!("{aside}/data")));
        assert_eq!(look::mark(&aside)["done"], json!(true));
    }
    assert_eq!(snapshots(&format!("{}/data", world.backup(GUEST))).len(), 2, "it was not sent in full");
}

#[test]
fn datasets_below_a_copy_stay_where_a_volume_gets_its_name() {
    for is_moved in [false, true] {
        let (mut world, parent, child) = nested(if is_moved { "aside-volume-moved" } else { "aside-volume" });
        if is_moved {
            zfs(&["rename", &child, &world.guest("elsewhere")]);
        }
        zfs(&["destroy", "-r", &parent]);
        world.volume(GUEST, 1);
        for day in [DAY_2, DAY_3] {
            world.run_with(day, &["--archive"]).expect_code(0);
        }
        for copy in [world.backup(GUEST), world.archive(GUEST)] {
            assert_same_newest(&parent, &copy);
            assert_eq!(look::mark(&look::set_aside(&copy))["done"], json!(true));
        }
        let below = |copy: &str| look::exists(&format!("{}/data", look::set_aside(copy)));
        assert_eq!(below(&world.backup(GUEST)), !is_moved, "a backup's copy follows its source");
        assert!(below(&world.archive(GUEST)));
        if is_moved {
            assert_same_newest(&world.guest("elsewhere"), &world.backup("elsewhere"));
            assert_same_newest(&world.guest("elsewhere"), &world.archive("elsewhere"));
        }
    }
}

#[test]
fn what_was_set_aside_expires_by_its_mark_and_clones_go_first() {
    let mut world = World::new("aside-expiry");
    world.policy.backup = "keep-superseded = \"30d\"".to_owned();
    let files = world.filesystem(GUEST, 1);
    for (day, file) in [(DAY_1, "a"), (DAY_2, "b"), (DAY_3, "c")] {
        world.write(GUEST, file, 1);
        world.run(day);
    }
    // Two rollbacks: the lineage of the first is a clone of the second one's.
    zfs(&["rollback", "-r", &format!("{files}@2026-01-11-030000")]);
    world.write(GUEST, "d", 1);
    world.run(DAY_4);
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    world.write(GUEST, "e", 1);
    world.run("2026-01-14T03:00:00Z");
    let copy = world.backup(GUEST);
    let asides = look::all_set_aside(&copy);
    assert_eq!(asides.len(), 2, "{asides:?}");
    let held = format!("{}@2026-01-12-030000", asides[0]);
    zfs(&["hold", "test", &held]);
    let run = world.run_as_planned(&look::days_after(&asides[0], 31), &[], 0);
    assert!(run.finds("note", "expired-stays"), "a hold keeps it, and what it is a clone of: {run:?}");
    assert_eq!(look::all_set_aside(&copy).len(), 2);
    zfs(&["release", "test", &held]);
    world.run_as_planned(&look::days_after(&asides[0], 32), &[], 0);
    assert_eq!(look::all_set_aside(&copy), Vec::<String>::new());
    assert_same_newest(&files, &copy);
}

#[test]
fn only_a_mark_of_its_own_lets_a_lineage_expire() {
    let mut world = World::new("aside-marks");
    world.policy.backup = "keep-superseded = \"30d\"".to_owned();
    // A guest with such a name is a guest, its copy a copy; what an earlier zhaul renamed is listed.
    let odd = "a.superseded-2025-09-01-030000";
    let files = world.filesystem("a", 1);
    world.filesystem(odd, 1);
    world.run(DAY_1);
    let old = format!("{}.branch-2025-09-01-030000", world.backup("a"));
    zfs(&["create", "-o", "canmount=noauto", &old]);
    zfs(&["snapshot", &format!("{old}@2025-08-31-030000")]);
    world.write("a", "bad", 1);
    world.run(DAY_2);
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    world.write("a", "good", 1);
    world.run(DAY_3);
    let diverged =
        look::all_set_aside(&world.backup("a")).into_iter().find(|name| name.contains(".diverged-"));
    let diverged = diverged.unwrap();
    // Inherited, of another dataset, renamed by hand, or not done: none of these counts.
    let (mark, late) = (property("zhaul:set-aside", &diverged), look::days_after(&diverged, 60));
    let renamed = world.backup("renamed");
    zfs(&["rename", &diverged, &renamed]);
    let child = format!("{renamed}/child");
    zfs(&["create", "-o", "canmount=noauto", &child]);
    zfs(&["set", &format!("zhaul:set-aside={mark}"), &old]);
    let run = world.run_as_planned(&late, &[], 0);
    for kept in [&renamed, &child, &old, &world.backup(odd)] {
        assert!(look::exists(kept), "{kept}: {run:?}");
    }
    assert!(run.steps("destroy-dataset").is_empty(), "{run:?}");
    // The line that the report gives claims what an earlier zhaul renamed.
    zfs(&["inherit", "zhaul:set-aside", &old]);
    let run = world.run_as_planned("2027-06-01T03:00:00Z", &[], 0);
    let findings = run.json()["findings"].as_array().unwrap().clone();
    let unmarked: Vec<&Value> = findings.iter().filter(|one| one["kind"] == "unmarked-lineage").collect();
    assert_eq!(unmarked.len(), 1, "{run:?}");
    assert_eq!(unmarked[0]["lineage"], json!(old));
    zfs(&["set", &format!("zhaul:set-aside={}", unmarked[0]["mark"].as_str().unwrap()), &old]);
    world.run("2027-06-02T03:00:00Z");
    assert!(look::exists(&old), "it counts from when it was claimed");
    world.run("2027-09-15T03:00:00Z");
    assert!(!look::exists(&old), "claimed, and expired");
    assert!(look::exists(&world.backup(odd)));
}

#[test]
fn a_month_counts_only_where_the_archive_received_it() {
    let mut world = World::archive_only("aside-months");
    let files = world.filesystem(GUEST, 1);
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    let archive = world.archive(GUEST);
    // Somebody's snapshot with a month's name, and a dataset that looks like an earlier lineage.
    zfs(&["snapshot", &format!("{archive}@2026-Mar")]);
    let fake = format!("{archive}.branch-test");
    zfs(&["create", "-o", "canmount=noauto", &fake]);
    zfs(&["snapshot", &format!("{fake}@2026-Mar")]);
    let run = world.run_as_planned("2026-03-01T03:00:00Z", &[], 0);
    assert_eq!(snapshots(&archive), ["2026-Feb", "2026-Mar", "2026-Mar.2"], "{run:?}");
    assert_eq!(guids(&archive)["2026-Mar.2"], guids(&files)["2026-03-01-030000"]);
    let run = world.run_as_planned("2026-03-02T03:00:00Z", &[], 0);
    assert!(run.sends("archive").is_empty(), "March is done: {run:?}");
}

#[test]
fn a_foreign_programs_snapshots_on_a_copy_are_set_aside_once() {
    let mut world = World::new("aside-foreign");
    world.filesystem(GUEST, 1);
    world.run(DAY_1);
    let copy = world.backup(GUEST);
    let meddle = |name: &str| {
        look::write_copy(&copy, name);
        zfs(&["snapshot", &format!("{copy}@{name}")]);
    };
    meddle("hourly-1");
    world.run_as_planned(DAY_2, &[], 0);
    assert_eq!(snapshots(&look::set_aside(&copy)), ["hourly-1"]);
    meddle("hourly-2");
    let run = world.run_as_planned(DAY_3, &[], 3);
    assert!(run.finds("blocked", "set-aside-again") && run.finds("blocked", "@hourly-2"), "{run:?}");
    assert_eq!(snapshots(&copy).last().unwrap(), "hourly-2", "nothing is lost");
}

#[test]
fn properties_of_the_copy_go_with_it_and_a_partial_receive_is_aborted_first() {
    let (mut world, _) = rolled_back("aside-properties", "");
    let copy = world.backup(GUEST);
    for setting in ["compression=zstd", "quota=1G", "com.example:note=a  b", "reservation=1M"] {
        zfs(&["set", setting, &copy]);
    }
    for grant in [["-u", "nobody", "rollback,mount"], ["-g", "daemon", "snapshot"]] {
        zfs(&[&["allow", "-l"], &grant[..], &[&copy]].concat());
    }
    zfs(&["allow", "-e", "hold", &copy]);
    zfs(&["allow", "-c", "destroy", &copy]);
    let granted = |name: &str| {
        let all = zfs(&["allow", name]);
        let own = all.lines().skip(1).take_while(|line| !line.starts_with("---"));
        own.map(str::to_owned).collect::<Vec<_>>()
    };
    let allowed = granted(&copy);
    assert!(allowed.len() > 5, "{allowed:?}");
    let source = world.guest(GUEST);
    zfs(&["snapshot", &format!("{source}@2026-01-11-200000")]);
    world.run(DAY_3);
    assert_eq!(granted(&copy), allowed);
    let aside = look::set_aside(&copy);
    assert_eq!(property("compression", &copy), "zstd");
    assert_eq!(property("com.example:note", &copy), "a  b");
    assert_eq!(
        (property("quota", &copy), property("reservation", &copy)),
        ("1073741824".into(), "1048576".into())
    );
    assert_eq!(property("reservation", &aside), "0", "a reservation is held once");
}

#[test]
fn a_set_aside_lineage_that_the_source_knows_is_named() {
    let mut world = World::new("aside-known");
    let files = world.filesystem(GUEST, 1);
    world.run(DAY_1);
    world.write(GUEST, "b", 1);
    world.run(DAY_2);
    // The source is rolled back, backed up, and put back from a replica of its own: it knows day 2 again.
    let replica = world.beside("replica");
    look::replicate("-R", &format!("{files}@2026-01-11-030000"), &replica);
    zfs(&["rollback", "-r", &format!("{files}@2026-01-10-030000")]);
    world.write(GUEST, "c", 1);
    world.run(DAY_3);
    zfs(&["destroy", "-r", &files]);
    zfs(&["rename", &replica, &files]);
    zfs(&["inherit", "readonly", &files]);
    let run = world.run_with(DAY_4, &[]).expect_code(0);
    assert!(run.finds("warning", "known-set-aside") && run.finds("warning", "@2026-01-11-030000"), "{run:?}");
    assert_same_newest(&files, &world.backup(GUEST));
}
