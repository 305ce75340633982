//! An append-only key sets a lineage aside once in a while, whatever else it does.

use std::thread;

use zhaul::model::Change;

use super::attacker::{Attacker, NEWEST, away, dataset, evil, stream};
use crate::agent::key;
use crate::look;
use crate::pool::zfs;
use crate::world::GUEST;

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
    attacker.change(&Change::CreateContainer { dataset: dataset(&long), is_plain: false }).unwrap();
    let change = away(&first, None);
    attacker.fails("a rename that fails", "too long", |attacker| attacker.change(&change));
}

#[test]
fn moving_the_dataset_above_does_not_hide_that_a_lineage_was_set_aside() {
    let attacker = Attacker::new("cage-above", "");
    let evil = evil(&attacker);
    let above = attacker.world.backup("above");
    let child = format!("{above}/child");
    attacker.change(&Change::CreateContainer { dataset: dataset(&above), is_plain: false }).unwrap();
    attacker.push(&attacker.spec("above/child@1"), &stream(&[&format!("{evil}@1")])).unwrap();
    attacker.change(&away(&child, Some("1"))).unwrap();
    let first = look::set_aside(&child);
    // The dataset above goes aside, and comes back without what was set aside: its name is taken by then.
    let Change::SetAside(wish) = away(&above, None) else { panic!() };
    let wish = Change::SetAside(wish);
    attacker.change(&wish).unwrap();
    attacker.change(&Change::CreateContainer { dataset: dataset(&first), is_plain: false }).unwrap();
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
