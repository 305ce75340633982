//! The months of an archive, whatever names and dates a caller gives.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use zhaul::host::ReceiveSpec;
use zhaul::model::{Change, Guid, Month};

use super::attacker::{Attacker, NEWEST, dataset, evil, guid, point, stream};
use super::forged::with_guid;
use crate::agent::key;
use crate::look;
use crate::pool::zfs;
use crate::world::{GUEST, World};

/// A month that has begun nowhere.
pub(super) fn next_month() -> Month {
    Month::of(jiff::Timestamp::now(), &jiff::tz::TimeZone::UTC).next().next()
}

fn rename(copy: &str, from: &str, of: Guid, to: &str) -> Change {
    Change::RenameSnapshot { dataset: dataset(copy), from: point(from), guid: of, to: point(to) }
}

#[test]
fn no_snapshot_is_renamed_to_a_month_that_has_not_begun() {
    let attacker = Attacker::new("cage-months", "");
    let evil = evil(&attacker);
    attacker.push(&attacker.spec("fresh@2040-01-15-030000"), &stream(&[&format!("{evil}@1")])).unwrap();
    let fresh = attacker.world.backup("fresh");
    let of = guid(&format!("{fresh}@2040-01-15-030000"));
    for to in ["2040-Jan", "2040-Jan.2", "2040-Jan-15"] {
        let change = rename(&fresh, "2040-01-15-030000", of, to);
        attacker.fails(to, "has begun", |attacker| attacker.change(&change));
    }
}

#[test]
fn months_are_in_their_order_also_where_they_come_under_another_name() {
    let attacker = Attacker::new("cage-months-late", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    attacker.push(&attacker.spec("late@2026-Apr"), &stream(&[&at("1")])).unwrap();
    let late = attacker.world.backup("late");
    let from = Some(guid(&at("1")));
    let spec = ReceiveSpec { from, ..attacker.spec("late@2026-03-15-030000") };
    attacker.push(&spec, &stream(&["-i", &at("1"), &at("2")])).unwrap();
    let change = rename(&late, "2026-03-15-030000", guid(&at("2")), "2026-Mar");
    attacker.fails("an earlier month later", "in their order", |attacker| attacker.change(&change));
    // One that was missed comes to its name afterwards.
    attacker.push(&attacker.spec("missed@2026-04-15-030000"), &stream(&[&at("1")])).unwrap();
    let from = Some(guid(&at("1")));
    let spec = ReceiveSpec { from, ..attacker.spec("missed@2026-May") };
    attacker.push(&spec, &stream(&["-i", &at("1"), &at("2")])).unwrap();
    let missed = attacker.world.backup("missed");
    attacker.change(&rename(&missed, "2026-04-15-030000", guid(&at("1")), "2026-Apr")).unwrap();
}

#[test]
fn a_month_made_by_hand_that_has_not_begun_opens_no_way_around_the_order() {
    let attacker = Attacker::new("cage-order", "");
    let evil = evil(&attacker);
    let copy = attacker.world.backup(GUEST);
    for month in ["2026-Apr", "2099-Dec"] {
        zfs(&["snapshot", &format!("{copy}@{month}")]);
    }
    let bytes = stream(&["-i", &format!("{evil}@{NEWEST}"), &format!("{evil}@1")]);
    let to = |name: &str| ReceiveSpec {
        from: Some(guid(&format!("{evil}@{NEWEST}"))),
        ..attacker.spec(&format!("{GUEST}@{name}"))
    };
    let next = next_month().to_string();
    for (name, words) in [
        ("2026-Mar", "in their order"),
        ("2026-Mar.2", "in their order"),
        ("2026-Jan-15", "in their order"),
        ("2026-Jan-15-2", "in their order"),
        ("0000-Jan", "in their order"),
        ("2099-Dec.2", "has begun"),
        ("2099-Dec-", "has begun"),
        ("2099-Nov", "has begun"),
        ("9999-Dec", "has begun"),
        (next.as_str(), "has begun"),
    ] {
        let spec = to(name);
        attacker.fails(name, words, |attacker| attacker.push(&spec, &bytes));
    }
}

#[test]
fn months_are_in_their_order_also_where_two_snapshots_have_one_guid() {
    let attacker = Attacker::new("cage-guid", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    let one = guid(&at("1"));
    attacker.push(&attacker.spec("late@2026-02-15-030000"), &stream(&[&at("1")])).unwrap();
    let spec = |name: &str, from: &str| ReceiveSpec { from: Some(guid(&at(from))), ..attacker.spec(name) };
    attacker.push(&spec("late@2026-Apr", "1"), &stream(&["-i", &at("1"), &at("2")])).unwrap();
    let forged = with_guid(stream(&["-i", &at("2"), &at("3")]), one);
    let pushed = attacker.push(&spec("late@2026-03-15-030000", "2"), &forged);
    let late = attacker.world.backup("late");
    let renamed = attacker.change(&rename(&late, "2026-03-15-030000", one, "2026-Mar"));
    let there = look::snapshots(&late);
    assert!(renamed.is_err(), "{pushed:?} {renamed:?}: {there:?}");
}

/// Gives the second half once it may.
struct Slow<'a> {
    bytes: &'a [u8],
    half: usize,
    may: &'a AtomicBool,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.half == 0 && !self.may.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        let most = if self.half == 0 { self.bytes.len() } else { self.half };
        let read = self.bytes.get(..most).unwrap().read(buffer)?;
        self.bytes = &self.bytes[read..];
        self.half = self.half.saturating_sub(read);
        Ok(read)
    }
}

#[test]
fn months_are_in_their_order_also_where_one_is_renamed_while_another_comes() {
    let attacker = Attacker::new("cage-while", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    let one = guid(&at("1"));
    attacker.push(&attacker.spec("late@2026-04-15-030000"), &stream(&[&at("1")])).unwrap();
    let late = attacker.world.backup("late");
    let bytes = stream(&["-i", &at("1"), &at("2")]);
    let spec = ReceiveSpec { from: Some(one), ..attacker.spec("late@2026-Mar") };
    let may = AtomicBool::new(false);
    let (pushed, renamed) = thread::scope(|scope| {
        let slow = Slow { bytes: &bytes, half: bytes.len() / 2, may: &may };
        let pushed = scope.spawn(|| attacker.push_from(&spec, slow));
        attacker.world.wait_for_receive();
        let renamed = attacker.change(&rename(&late, "2026-04-15-030000", one, "2026-Apr"));
        may.store(true, Ordering::Relaxed);
        (pushed.join().unwrap(), renamed)
    });
    let there = look::snapshots(&late);
    assert!(pushed.is_err() || renamed.is_err(), "{there:?}");
}

fn archive(name: &str) -> (World, String) {
    let mut world = World::archive_only(name);
    world.filesystem(GUEST, 1);
    world.policy.archive = key(&world, &format!("--root {} --append-only", world.archive_root()));
    let archive = world.archive(GUEST);
    (world, archive)
}

#[test]
fn months_are_caught_up_through_an_append_only_agent() {
    let (mut world, archive) = archive("cage-away");
    world.run("2026-01-10T03:00:00Z");
    world.policy.archive_host = Some("offline".to_owned());
    for month in ["02", "03", "04"] {
        world.run_with(&format!("2026-{month}-01T03:00:00Z"), &[]).expect_code(1);
    }
    world.policy.archive_host = None;
    world.run_with("2026-04-20T03:00:00Z", &["--archive"]).expect_code(0);
    assert_eq!(look::snapshots(&archive), ["2026-Feb", "2026-Mar", "2026-Apr", "2026-Apr-20"]);
    world.run("2026-05-03T03:00:00Z");
    // Several that came under the names of the source.
    for (from, to) in [("2026-Mar", "2026-03-01-030000"), ("2026-Apr", "2026-04-01-030000")] {
        zfs(&["rename", &format!("{archive}@{from}"), &format!("{archive}@{to}")]);
    }
    world.run("2026-06-01T03:00:00Z");
    let there = look::snapshots(&archive);
    assert_eq!(there, ["2026-Feb", "2026-Mar", "2026-Apr", "2026-Apr-20", "2026-May", "2026-Jun"]);
}

#[test]
fn an_earlier_month_made_by_hand_after_one_that_is_to_be_renamed_stops_no_archive() {
    let (mut world, archive) = archive("cage-hand");
    world.run("2026-01-10T03:00:00Z");
    world.run("2026-02-01T03:00:00Z");
    zfs(&["rename", &format!("{archive}@2026-Feb"), &format!("{archive}@2026-02-01-030000")]);
    zfs(&["snapshot", &format!("{archive}@2026-Jan")]);
    let run = world.run("2026-02-02T03:00:00Z");
    assert!(run.finds("warning", "month-out-of-order"), "{run:?}");
    world.run("2026-03-01T03:00:00Z");
    assert!(look::snapshots(&archive).contains(&"2026-Mar".to_owned()));
    // The advice of the warning.
    zfs(&["rename", &format!("{archive}@2026-Jan"), &format!("{archive}@by-hand")]);
    world.run("2026-03-02T03:00:00Z");
    assert_eq!(look::snapshots(&archive), ["2026-Feb", "by-hand", "2026-Mar"]);
}
