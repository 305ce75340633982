//! An append-only key sets a lineage aside once in a while, whatever else it does.

use std::sync::Barrier;
use std::thread;

use zhaul::host::TargetHost as _;
use zhaul::model::{Change, Guid, SetAside, SetAsideCause, SnapshotId};

use super::attacker::{Attacker, NEWEST, away, dataset, evil, guid, point, stream};
use crate::agent::key;
use crate::look;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, GUEST, World};

#[test]
fn a_lineage_is_not_set_aside_again_once_the_first_one_was_itself_set_aside() {
    let attacker = Attacker::new("cage-aside", "");
    let copy = attacker.world.backup(GUEST);
    attacker.change(&away(&copy, Some(NEWEST))).unwrap();
    let first = look::set_aside(&copy);
    // What was set aside is renamed, and its mark is another then.
    attacker.change(&away(&first, None)).unwrap_err();
    let change = away(&copy, Some(NEWEST));
    attacker.fails("a second lineage of one copy", "once in 22 hours", |attacker| attacker.change(&change));
}

#[test]
fn what_was_set_aside_is_not_set_aside() {
    let attacker = Attacker::new("cage-aside-2", "");
    let copy = attacker.world.backup(GUEST);
    attacker.change(&away(&copy, Some(NEWEST))).unwrap();
    let first = look::set_aside(&copy);
    let change = away(&first, None);
    attacker.fails("a lineage that was set aside", "--append-only", |attacker| attacker.change(&change));
}

#[test]
fn a_failed_attempt_to_set_a_lineage_aside_takes_no_mark_away() {
    // Append-only, the agent leaves what was set aside where it is.
    let attacker =
        Attacker::behind("cage-unmark", |world| key(world, &format!("--root {}", world.backup_root())));
    let copy = attacker.world.backup(GUEST);
    attacker.change(&away(&copy, Some(NEWEST))).unwrap();
    let first = look::set_aside(&copy);
    // Below it is a name that is as long as names get: the rename fails.
    let long = format!("{first}/{}", "x".repeat(249 - first.len()));
    attacker.make(&long);
    let change = away(&first, None);
    attacker.fails("a rename that fails", "too long", |attacker| attacker.change(&change));
}

/// A copy, and one below it.
fn push_nested(attacker: &Attacker, full: &[u8]) -> [String; 2] {
    ["above", "above/child"].map(|name| {
        attacker.push(&attacker.spec(&format!("{name}@1")), full).unwrap();
        attacker.world.backup(name)
    })
}

#[test]
fn moving_the_dataset_above_does_not_hide_that_a_lineage_was_set_aside() {
    let attacker = Attacker::new("cage-above", "");
    let full = stream(&[&format!("{}@1", evil(&attacker))]);
    let [above, child] = push_nested(&attacker, &full);
    attacker.change(&away(&child, Some("1"))).unwrap();
    let first = look::set_aside(&child);
    // The dataset above goes aside, and comes back without what was set aside: its name is taken by then.
    let Change::SetAside(wish) = away(&above, None) else { panic!() };
    let wish = Change::SetAside(wish);
    attacker.change(&wish).unwrap();
    attacker.make(&first);
    attacker.change(&wish).unwrap();
    assert!(look::exists(&child), "{}", zfs(&["list", "-rH", "-o", "name", &attacker.world.backup_root()]));
    let change = away(&child, Some("1"));
    attacker.fails("a second lineage of one copy", "once in 22 hours", |attacker| attacker.change(&change));
}

#[test]
fn two_that_set_one_lineage_aside_at_once_make_one_of_it() {
    let attacker = Attacker::new("cage-twice", "");
    let copy = attacker.world.backup(GUEST);
    let before = look::guids(&copy);
    let change = away(&copy, Some(NEWEST));
    thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| attacker.change(&change))).collect();
        for one in all {
            drop(one.join().unwrap());
        }
    });
    // Whoever came second may have found a step half done.
    attacker.change(&change).unwrap();
    let aside = look::set_aside(&copy);
    let kept: Vec<String> =
        look::guids(&copy).into_values().chain(look::guids(&aside).into_values()).collect();
    assert!(before.values().all(|guid| kept.contains(guid)), "{before:?} {kept:?}");
    assert_eq!(look::mark(&aside)["done"], true);
}

/// Without a base.
fn aside(name: &str, of: Guid, cause: SetAsideCause) -> Change {
    let Change::SetAside(wish) = away(name, None) else { panic!() };
    Change::SetAside(SetAside { guid: of, cause, ..wish })
}

/// Whether a lineage has a mark, of the name that it has.
fn is_marked(aside: &str) -> bool {
    property("zhaul:set-aside", aside) != "-" && look::mark(aside)["name"] == aside
}

#[test]
fn a_mark_that_is_not_finished_is_not_replaced_once_the_dataset_above_went() {
    let attacker = Attacker::new("cage-stale", "");
    let full = stream(&[&format!("{}@1", evil(&attacker))]);
    let [above, child] = push_nested(&attacker, &full);
    // A dataset below it that waits for the copy: the mark is not done.
    attacker.make(&format!("{child}/x"));
    attacker.change(&away(&child, None)).unwrap();
    let first = look::set_aside(&child);
    assert_eq!(look::mark(&first)["done"], false);
    attacker.change(&away(&above, None)).unwrap();
    let moved = format!("{}/{}", look::set_aside(&above), first.rsplit('/').next().unwrap());
    let again = attacker.change(&away(&moved, None));
    push_nested(&attacker, &full);
    let second = attacker.change(&away(&child, Some("1")));
    assert!(again.is_err() && second.is_err(), "a mark replaced: {again:?}; a second lineage: {second:?}");
}

#[test]
fn two_with_different_causes_at_once_leave_a_mark_that_counts() {
    let attacker = Attacker::new("cage-race", "");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    let (mut raced, mut twice) = (0, 0);
    for round in 0..4 {
        let name = format!("race{round}");
        let copy = attacker.world.backup(&name);
        attacker.push(&attacker.spec(&format!("{name}@1")), &full).unwrap();
        attacker.make(&format!("{copy}/x"));
        let of = guid(&copy);
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            for cause in [SetAsideCause::Diverged, SetAsideCause::NothingInCommon] {
                let (attacker, copy, barrier) = (&attacker, &copy, &barrier);
                scope.spawn(move || {
                    drop(attacker.remote.list(&dataset(copy)));
                    barrier.wait();
                    drop(attacker.change(&aside(copy, of, cause)));
                });
            }
        });
        let there = look::set_aside(&copy);
        if !is_marked(&there) {
            raced += 1;
            drop(attacker.change(&away(&there, None)));
            attacker.push(&attacker.spec(&format!("{name}@1")), &full).unwrap();
            let second = attacker.change(&away(&copy, Some("1")));
            twice += usize::from(second.is_ok());
        }
    }
    assert_eq!((raced, twice), (0, 0), "(marks that do not count, second lineages) of 4");
}

#[test]
fn an_undone_attempt_takes_no_mark_off_another() {
    let attacker = Attacker::new("cage-undo", "");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    let mut unmarked = 0;
    for round in 0..4 {
        let name = format!("undo{round}");
        let copy = attacker.world.backup(&name);
        attacker.push(&attacker.spec(&format!("{name}@1")), &full).unwrap();
        attacker.make(&format!("{copy}/x"));
        let of = guid(&copy);
        let good = aside(&copy, of, SetAsideCause::Diverged);
        let Change::SetAside(wish) = good.clone() else { panic!() };
        // A base that is none: it is renamed, and back.
        let base = Some(SnapshotId { name: point("nowhere"), guid: Guid(5) });
        let bad = Change::SetAside(SetAside { base, cause: SetAsideCause::NothingInCommon, ..wish });
        thread::scope(|scope| {
            scope.spawn(|| (0..4).for_each(|_| drop(attacker.change(&bad))));
            scope.spawn(|| {
                for _ in 0..20 {
                    if attacker.change(&good).is_ok() {
                        break;
                    }
                }
            });
        });
        let all = look::all_set_aside(&copy);
        unmarked += usize::from(!all.iter().all(|there| is_marked(there)));
    }
    assert_eq!(unmarked, 0, "lineages without a mark that counts, of 4");
}

/// A dataset that only holds others is no copy: nothing of it can diverge.
#[test]
fn a_container_is_not_set_aside_with_all_copies_in_it() {
    let mut attacker = Attacker::new("cage-box", "");
    let copy = {
        let world = &mut attacker.world;
        zfs(&["create", "-o", "zhaul:backup=off", &world.guest("box")]);
        world.filesystem("box/one", 1);
        zfs(&["set", "zhaul:backup=on", &world.guest("box/one")]);
        world.run(DAY_2);
        world.backup("box/one")
    };
    let before = attacker.house();
    let change = away(&attacker.world.backup("box"), None);
    attacker.fails("a container", "has no snapshot", |attacker| attacker.change(&change));
    assert!(look::exists(&copy) && before == attacker.house());
}

#[test]
fn a_copy_with_any_property_of_its_own_is_set_aside() {
    let attacker = Attacker::new("cage-values", "");
    let evil = evil(&attacker);
    let mut refused = Vec::new();
    for (name, value) in [
        ("plain", "a note"),
        ("tab", "a\tb"),
        ("persian", "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}"),
        ("emoji", "\u{1f468}\u{200d}\u{1f469}"),
        ("soft-hyphen", "Sicher\u{ad}ung"),
    ] {
        attacker.push(&attacker.spec(&format!("{name}@1")), &stream(&[&format!("{evil}@1")])).unwrap();
        let copy = attacker.world.backup(name);
        zfs(&["set", &format!("admin:note={value}"), &copy]);
        refused.extend(attacker.change(&away(&copy, Some("1"))).err());
    }
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn a_root_on_a_pool_that_is_away_stops_no_other_set_aside() {
    let attacker = Attacker::new("cage-roots", "--root usbdisk/backup");
    let copy = attacker.world.backup(GUEST);
    let done = attacker.change(&away(&copy, Some(NEWEST)));
    assert!(done.is_ok(), "{done:?}");
}

/// The plan says what the agent will refuse: a finding, not a step that fails.
#[test]
fn what_the_agent_refuses_is_not_planned() {
    let mut world = World::new("cage-moved");
    world.policy.backup = key(&world, &format!("--root {} --append-only", world.backup_root()));
    zfs(&["create", "-o", "zhaul:backup=off", &world.guest("box")]);
    world.filesystem("box/one", 1);
    zfs(&["set", "zhaul:backup=on", &world.guest("box/one")]);
    world.run(DAY_1);
    let copy = world.backup("box/one");
    look::write_copy(&copy, "work");
    let first = world.run_with(DAY_2, &[]);
    assert!(look::all_set_aside(&copy).len() == 1, "{first:?}");
    // An admin moves all of it, and it begins again.
    zfs(&["rename", &world.backup("box"), &world.backup("moved")]);
    let again = world.run_with(DAY_3, &[]);
    assert!(look::exists(&copy), "{again:?}");
    look::write_copy(&copy, "more work");
    let run = world.run_with("2026-01-14T03:00:00Z", &[]);
    assert!(!run.stderr.contains("once in 22 hours"), "{}", run.stderr);
}
