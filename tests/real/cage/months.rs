//! The months of an archive, whatever names and dates a caller gives.

use zhaul::host::ReceiveSpec;
use zhaul::model::{Change, Month};

use super::attacker::{Attacker, NEWEST, evil, guid, point, stream};
use crate::pool::zfs;
use crate::world::GUEST;

/// A month that has begun nowhere.
pub(super) fn next_month() -> Month {
    Month::of(jiff::Timestamp::now(), &jiff::tz::TimeZone::UTC).next().next()
}

#[test]
fn no_snapshot_is_renamed_to_a_month_that_has_not_begun() {
    let attacker = Attacker::new("cage-months", "");
    let evil = evil(&attacker);
    attacker.push(&attacker.spec("fresh@2040-01-15-030000"), &stream(&[&format!("{evil}@1")])).unwrap();
    let fresh = attacker.inside("fresh");
    let rename = |to: &str| Change::RenameSnapshot {
        dataset: fresh.clone(),
        from: point("2040-01-15-030000"),
        guid: guid(&format!("{fresh}@2040-01-15-030000")),
        to: point(to),
    };
    for to in ["2040-Jan", "2040-Jan.2", "2040-Jan-15"] {
        let change = rename(to);
        attacker.fails(to, "has begun", |attacker| attacker.change(&change));
    }
}

#[test]
fn months_are_in_their_order_also_where_they_come_under_another_name() {
    let attacker = Attacker::new("cage-months-late", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    attacker.push(&attacker.spec("late@2026-Apr"), &stream(&[&at("1")])).unwrap();
    let late = attacker.inside("late");
    let from = Some(guid(&at("1")));
    let spec = ReceiveSpec { from, ..attacker.spec("late@2026-03-15-030000") };
    attacker.push(&spec, &stream(&["-i", &at("1"), &at("2")])).unwrap();
    let rename = |from: &str, to: &str| Change::RenameSnapshot {
        dataset: late.clone(),
        from: point(from),
        guid: guid(&format!("{late}@{from}")),
        to: point(to),
    };
    let change = rename("2026-03-15-030000", "2026-Mar");
    attacker.fails("an earlier month later", "in their order", |attacker| attacker.change(&change));
    // One that was missed comes to its name afterwards.
    attacker.push(&attacker.spec("missed@2026-04-15-030000"), &stream(&[&at("1")])).unwrap();
    let from = Some(guid(&at("1")));
    let spec = ReceiveSpec { from, ..attacker.spec("missed@2026-May") };
    attacker.push(&spec, &stream(&["-i", &at("1"), &at("2")])).unwrap();
    let missed = attacker.inside("missed");
    let change = Change::RenameSnapshot {
        dataset: missed.clone(),
        from: point("2026-04-15-030000"),
        guid: guid(&format!("{missed}@2026-04-15-030000")),
        to: point("2026-Apr"),
    };
    attacker.change(&change).unwrap();
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
