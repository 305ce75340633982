//! What reaches `zfs receive`, and what becomes of it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use zhaul::host::ReceiveSpec;
use zhaul::model::{DatasetKind, Guid, SnapshotName, Writer};

use super::attacker::{Attacker, NEWEST, evil, guid, stream};
use super::months::next_month;
use super::raw_session::Raw;
use crate::look;
use crate::pool::{property, zfs};
use crate::world::{DAY_2, DISK, GUEST};

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row for each attack")]
fn only_plain_streams_that_are_what_was_announced_reach_zfs_receive() {
    let attacker = Attacker::new("cage-streams", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    let disk = format!("{}@{NEWEST}", attacker.world.guest(DISK));
    let old = at(NEWEST);
    let from = Some(guid(&old));
    let fresh = attacker.spec("fresh@1");
    let increment = ReceiveSpec { from, ..attacker.spec(&format!("{GUEST}@1")) };
    let volume = |spec: &ReceiveSpec| ReceiveSpec { kind: DatasetKind::Volume, ..spec.clone() };
    let properties = "carries properties or several snapshots";
    let full = stream(&[&at("1")]);
    let clone = format!("{evil}-clone");
    zfs(&["clone", &at("1"), &clone]);
    zfs(&["snapshot", &format!("{clone}@c")]);
    let swapped: Vec<u8> = full.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
    let mut typed = full.clone();
    typed[32] = 3;
    let mut headed = stream(&["-p", &at("1")]);
    headed[16] = 1;
    let beside = |mut spec: ReceiveSpec| {
        spec.snapshot = SnapshotName::parse(&format!("{}@1", attacker.outside())).unwrap();
        spec
    };
    let cloned = ReceiveSpec { origin: Some(SnapshotName::parse(&old).unwrap()), ..fresh.clone() };
    let inside_clone = SnapshotName::parse(&format!("{}@{NEWEST}", attacker.inside(GUEST))).unwrap();
    let named = |label: &str| Some(Writer { guid: Guid(1), label: label.to_owned() });
    let attacks: Vec<(&str, &str, ReceiveSpec, Vec<u8>)> = vec![
        ("-p of a new name", properties, fresh.clone(), stream(&["-p", &at("1")])),
        ("-p into a copy", properties, increment.clone(), stream(&["-p", "-i", &old, &at("1")])),
        ("-R", properties, fresh.clone(), stream(&["-R", &at("1")])),
        ("-I", properties, increment.clone(), stream(&["-I", &old, &at("3")])),
        ("-b", properties, fresh.clone(), stream(&["-b", &at("1")])),
        ("a volume as a file system", "it is of a volume", attacker.spec("fresh@1"), stream(&[&disk])),
        ("a file system as a volume", "it is of a file system", volume(&fresh), full.clone()),
        ("a type that was changed", "it is of a volume", fresh.clone(), typed),
        ("a list that says it is none", "neither", fresh.clone(), headed),
        (
            "a clone",
            "it makes a clone",
            ReceiveSpec { from: Some(guid(&at("1"))), ..attacker.spec("fresh@c") },
            stream(&["-i", &at("1"), &format!("{clone}@c")]),
        ),
        ("an origin outside", "serves only", cloned, full.clone()),
        (
            "another origin than the stream's",
            "",
            ReceiveSpec {
                origin: Some(inside_clone),
                from: Some(guid(&at("1"))),
                ..attacker.spec("fresh@c")
            },
            stream(&["-i", &at("1"), &format!("{clone}@c")]),
        ),
        (
            "another snapshot than announced",
            "was announced",
            ReceiveSpec { to: Some(Guid(7)), ..fresh.clone() },
            full.clone(),
        ),
        (
            "another base than announced",
            "was announced",
            ReceiveSpec { from: Some(Guid(7)), ..increment.clone() },
            stream(&["-i", &old, &at("1")]),
        ),
        ("an increment as a full stream", "was announced", fresh.clone(), stream(&["-i", &old, &at("1")])),
        ("nonsense", "does not begin as a stream", fresh.clone(), vec![0x5a; 1 << 16]),
        ("another byte order", "does not begin as a stream", fresh.clone(), swapped),
        ("nothing", "before its end record", fresh.clone(), Vec::new()),
        ("less than a record", "before its end record", fresh.clone(), full[..311].to_vec()),
        ("a full stream over a copy", "exist", attacker.spec(&format!("{GUEST}@1")), full.clone()),
        ("outside of the root", "--root", beside(fresh.clone()), full.clone()),
        (
            "a line break in the writer",
            "control characters",
            ReceiveSpec { writer: named("x\n-F\ntank8@x"), ..fresh.clone() },
            full.clone(),
        ),
        (
            "a month that has not begun",
            "no month before it has begun",
            attacker.spec(&format!("fresh@{}", next_month())),
            full.clone(),
        ),
    ];
    for (what, words, spec, bytes) in attacks {
        attacker.fails(what, words, |attacker| attacker.push(&spec, &bytes));
    }
    zfs(&["destroy", "-r", &clone]);
}

#[test]
fn what_a_caller_may_send_is_a_safe_copy_whatever_is_said_of_it() {
    let mut attacker = Attacker::new("cage-safe", "");
    let evil = evil(&attacker);
    // Other tests mount theirs at the same time.
    let root = attacker.world.backup_root();
    let mounts = || {
        let all = fs::read_to_string("/proc/self/mounts").unwrap();
        all.lines().filter(|line| line.starts_with(&root)).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    // It says that the copies exist, so that they would get no properties.
    attacker.push(&attacker.spec("fresh@1"), &stream(&[&format!("{evil}@1")])).unwrap();
    let disk = format!("{}@{NEWEST}", attacker.world.guest(DISK));
    let volume = ReceiveSpec { kind: DatasetKind::Volume, ..attacker.spec("fresh-disk@1") };
    attacker.push(&volume, &stream(&[&disk])).unwrap();
    let (files, disk) = (attacker.world.backup("fresh"), attacker.world.backup("fresh-disk"));
    assert_eq!((property("readonly", &files), property("canmount", &files)), ("on".into(), "noauto".into()));
    assert_eq!((property("readonly", &disk), property("volmode", &disk)), ("on".into(), "none".into()));
    assert_ne!(property("mountpoint", &files), "/opt/owned");
    assert_eq!((property("quota", &files), property("snapdir", &files)), ("0".into(), "hidden".into()));
    assert_eq!(zfs(&["get", "-rH", "-s", "received", "all", &attacker.world.backup_root()]), "");
    // And an increment, which says that it makes the copy.
    let increment = ReceiveSpec {
        from: Some(guid(&format!("{evil}@1"))),
        heals: false,
        creates_dataset: true,
        ..attacker.spec("fresh@2")
    };
    let set = || zfs(&["get", "-H", "-s", "local,received", "-o", "property,value", "all", &files]);
    let settings = set();
    attacker.push(&increment, &stream(&["-i", &format!("{evil}@1"), &format!("{evil}@2")])).unwrap();
    assert_eq!(settings, set());
    assert_eq!(before, mounts());
    let canmount = zfs(&["get", "-rH", "-t", "filesystem", "-o", "value", "canmount", &root]);
    assert!(canmount.lines().all(|value| value != "on"), "zfs mount -a mounts no copy: {canmount}");
    attacker.world.run(DAY_2);
}

#[test]
fn a_stream_without_an_end_keeps_nothing_busy_once_its_caller_has_gone() {
    let attacker = Attacker::new("cage-endless", "");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    // Frames that end well, of a stream that does not.
    std::thread::scope(|scope| {
        let cut = &full[..full.len() / 2];
        let pushed = scope.spawn(|| attacker.push(&attacker.spec("endless@1"), cut));
        let copy = attacker.world.backup("endless");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !look::exists(&copy) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(pushed.join().unwrap().unwrap_err().contains("before its end record"));
        let gone = Instant::now() + Duration::from_secs(10);
        while !Command::new("zfs").args(["receive", "-A", &copy]).output().unwrap().status.success() {
            assert!(Instant::now() < gone, "{copy} stays busy");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn an_increment_finds_its_base_nowhere_but_in_the_copy_it_is_for() {
    let attacker = Attacker::new("cage-base", "");
    let evil = evil(&attacker);
    // The same snapshot outside of the root, on the same pool.
    let outside = format!("{}-other", attacker.world.backup_root());
    zfs(&["create", "-o", "canmount=off", &outside]);
    look::replicate("-p", &format!("{evil}@1"), &format!("{outside}/x"));
    let bytes = stream(&["-i", &format!("{evil}@1"), &format!("{evil}@2")]);
    let from = Some(guid(&format!("{evil}@1")));
    for name in ["nowhere@2", &format!("{GUEST}/below@2"), &format!("{GUEST}@2")] {
        for creates_dataset in [false, true] {
            let spec = ReceiveSpec { from, creates_dataset, ..attacker.spec(name) };
            attacker.fails(name, "", |attacker| {
                let pushed = attacker.push(&spec, &bytes);
                assert!(!format!("{pushed:?}").contains("-other"), "{pushed:?}");
                pushed
            });
        }
    }
}

#[test]
fn a_receive_that_is_under_way_is_neither_aborted_nor_set_aside_by_another_session() {
    let attacker = Attacker::new("cage-under-way", "");
    let evil = evil(&attacker);
    let copy = attacker.world.backup(GUEST);
    let full = stream(&["-i", &format!("{evil}@{NEWEST}"), &format!("{evil}@1")]);
    let spec =
        ReceiveSpec { from: Some(guid(&format!("{evil}@{NEWEST}"))), ..attacker.spec(&format!("{GUEST}@1")) };
    let mut request = json!({"ask": "receive", "over_connections": false, "stream": 1, "buffer_bytes": 1 << 20,
                             "stall_limit_seconds": null});
    request["spec"] = serde_json::to_value(&spec).unwrap();
    let mut raw = Raw::welcome(&attacker);
    assert_eq!(raw.ask(&request).last().unwrap()["tell"], "ready");
    let before = attacker.house();
    let pushed = attacker.push(&spec, &full);
    let (_, took) = raw.leave();
    assert!(took < Duration::from_secs(15), "{took:?}");
    // It waited for bytes: the other one was first, and nothing is left of it.
    if pushed.is_err() {
        assert_eq!(before, attacker.house());
        attacker.push(&spec, &full).unwrap();
    }
    assert_eq!(guid(&format!("{copy}@1")), guid(&format!("{evil}@1")));
}
