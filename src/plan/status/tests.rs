//! The status of small inventories, and the states that count as bad.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    ByteCount, DatasetKind, Guid, History, Link, Listing, Point, PointKind, PointName, Proxmox, Txg,
};
use crate::policy::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, KeepRules, OnNoBase, SourceRoot,
    TransferSettings,
};

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn target(text: &str, kind: TargetKind) -> Target {
    Target {
        name: TargetName(text.to_owned()),
        address: Address::Local,
        link: Link::default(),
        root: name("tank/copies"),
        intermediates: false,
        kind,
    }
}

fn policy() -> Policy {
    let backup = BackupRules {
        keep: KeepRules::default(),
        on_divergence: BackupDivergence::Remove,
        on_no_base: OnNoBase::Supersede,
        keep_superseded: None,
    };
    let archive = ArchiveRules { catch_up: true, on_divergence: ArchiveDivergence::Stop };
    Policy {
        selected: Vec::new(),
        roots: vec![SourceRoot { dataset: name("rpool/data"), include_root: false }],
        exclude: Vec::new(),
        name_format: NameFormat::new(NameFormat::DEFAULT).unwrap(),
        time_zone: TimeZone::UTC,
        keep_at_source: KeepRules::default(),
        keep_bookmarks: None,
        targets: vec![
            target("nfs8", TargetKind::Backup(backup)),
            target("nfs9", TargetKind::Archive(archive)),
        ],
        guest_config: None,
        freeze: None,
        transfer: TransferSettings {
            jobs: 1,
            buffer: ByteCount(1 << 20),
            rate: crate::model::RateSchedule::default(),
            stall_limit: SignedDuration::from_mins(10),
            link: Link::default(),
        },
        lock: None,
    }
}

/// Points as `@NAME=GUID` and `#NAME=GUID`, oldest first.
fn dataset(full_name: &str, points: &str) -> Dataset {
    let point = |(txg, text): (u64, &str)| {
        let (name, guid) = text[1..].split_once('=').unwrap();
        Point {
            kind: if text.starts_with('@') { PointKind::Snapshot } else { PointKind::Bookmark },
            name: PointName::new(name).unwrap(),
            guid: Guid(guid.parse().unwrap()),
            createtxg: Txg(txg),
            clones: 0,
            details: None,
        }
    };
    Dataset {
        is_readonly: true,
        history: History::new((1..).zip(points.split_whitespace()).map(point).collect()),
        ..Dataset::new(name(full_name), Guid(1), DatasetKind::Volume)
    }
}

fn inventory(source: &str, backup: Option<&str>, archive: Option<&str>) -> Inventory {
    let copy = |points: Option<&str>| match points {
        Some("") => Answer::Listed(Listing::default()),
        Some(points) => Answer::Listed(Listing::new([dataset("tank/copies/vm", points)])),
        None => Answer::CouldNotAsk("no route".to_owned()),
    };
    let root = dataset("rpool/data", "");
    Inventory {
        source: Answer::Listed(Listing::new([root, dataset("rpool/data/vm", source)])),
        targets: BTreeMap::from([
            (TargetName("nfs8".to_owned()), copy(backup)),
            (TargetName("nfs9".to_owned()), copy(archive)),
        ]),
        proxmox: Proxmox::default(),
        host: "pve0".to_owned(),
        append_only: std::collections::BTreeSet::new(),
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const SOURCE: &str =
    "#2026-01-01-030000=10 @2026-02-08-030000=20 @2026-02-09-030000=30 @manual=35 @2026-02-10-030000=40";

fn copies(inventory: &Inventory) -> Vec<CopyState> {
    let mut found = assess(&policy(), inventory, time("2026-02-10T05:00:00Z")).unwrap();
    assert_eq!(found.len(), 1, "the root is a container");
    let status = found.remove(0);
    assert_eq!(status.newest_snapshot, Some(time("2026-02-10T03:00:00Z")));
    assert_eq!(status.alive_since, Some(time("2026-01-01T03:00:00Z")));
    status.copies.into_iter().map(|copy| copy.state).collect()
}

#[test]
fn copies_are_dated_by_guid_and_lag_is_counted_in_own_snapshots() {
    let inventory =
        inventory(SOURCE, Some("@renamed=30 @2026-02-10-999999=99"), Some("@2025-Dec=5 @2026-Jan=10"));
    let expected = vec![
        CopyState::Copied {
            newest_common: Some(time("2026-02-09T03:00:00Z")),
            behind: 1,
            diverged: 1,
            newest_month: None,
            is_partial: false,
        },
        CopyState::Copied {
            newest_common: Some(time("2026-01-01T03:00:00Z")),
            behind: 3,
            diverged: 0,
            newest_month: Month::parse("2026-Jan"),
            is_partial: false,
        },
    ];
    assert_eq!(copies(&inventory), expected);
}

#[test]
fn nothing_and_not_known_are_different_answers() {
    let expected =
        vec![CopyState::CouldNotAsk { why: "no route".to_owned() }, CopyState::Nothing { is_partial: false }];
    assert_eq!(copies(&inventory(SOURCE, None, Some(""))), expected);
    let mut unknown = inventory(SOURCE, None, None);
    unknown.source = Answer::CouldNotAsk("no pools".to_owned());
    assert_eq!(assess(&policy(), &unknown, time("2026-02-10T05:00:00Z")), Err("no pools".to_owned()));
}

#[test]
fn an_archive_that_was_received_but_not_renamed_counts() {
    let inventory = inventory(SOURCE, Some(""), Some("@2026-Jan=10 @2026-02-08-030000=20"));
    let copies = copies(&inventory);
    assert!(
        matches!(copies[1], CopyState::Copied { newest_month: Some(month), .. } if month.to_string() == "2026-Feb"),
        "{copies:?}"
    );
}

fn complaints(inventory: &Inventory, now: &str) -> Vec<String> {
    let thresholds = Thresholds {
        warn_after: SignedDuration::from_hours(26),
        critical_after: SignedDuration::from_hours(50),
        archive_grace_days: 3,
    };
    let found = assess(&policy(), inventory, time(now)).unwrap();
    let complaints = judge(&found, time(now), &TimeZone::UTC, thresholds);
    let text = |one: &Complaint| {
        let target = one.target.as_ref().map_or("source", |target| target.0.as_str());
        format!("{:?} {target}: {}", one.level, one.what)
    };
    complaints.iter().map(text).collect()
}

#[test]
fn ages_are_judged_by_the_thresholds() {
    let good = inventory(SOURCE, Some("@a=40"), Some("@2026-Feb=20"));
    assert_eq!(complaints(&good, "2026-02-10T05:00:00Z"), Vec::<String>::new());
    assert_eq!(
        complaints(&good, "2026-02-11T06:00:00Z"),
        ["Warning source: newest snapshot is 27 h old", "Warning nfs8: newest backup is 27 h old"]
    );
    let behind = inventory(SOURCE, Some("@a=20"), Some("@2026-Feb=20"));
    assert_eq!(complaints(&behind, "2026-02-10T06:00:00Z"), ["Critical nfs8: newest backup is 51 h old"]);
    let diverged = inventory(SOURCE, Some("@a=77"), Some("@2026-Feb=20"));
    assert_eq!(
        complaints(&diverged, "2026-02-10T06:00:00Z"),
        ["Critical nfs8: no backup that the source still knows"]
    );
    let unknown = inventory(SOURCE, None, Some("@2026-Feb=20"));
    assert_eq!(complaints(&unknown, "2026-02-10T06:00:00Z"), ["Critical nfs8: could not be asked: no route"]);
}

#[test]
fn a_missing_month_is_said_after_its_grace_and_never_of_a_new_installation() {
    let january = inventory(SOURCE, Some("@a=40"), Some("@2026-Jan=10"));
    assert_eq!(
        complaints(&january, "2026-02-10T05:00:00Z"),
        ["Warning nfs9: 2026-Feb is not archived yet; the newest is 2026-Jan"]
    );
    let source = "@2026-02-03-030000=40";
    assert_eq!(
        complaints(&inventory(source, Some("@a=40"), Some("@2026-Jan=10")), "2026-02-03T05:00:00Z"),
        Vec::<String>::new()
    );
    assert_eq!(
        complaints(&inventory(source, Some("@a=40"), Some("")), "2026-02-04T03:00:00Z"),
        Vec::<String>::new(),
        "new in February, so March is its first"
    );
    assert_eq!(
        complaints(&inventory(SOURCE, Some("@a=40"), Some("@2025-Dec=7")), "2026-02-10T05:00:00Z"),
        ["Critical nfs9: the newest archive is 2025-Dec"]
    );
    assert_eq!(
        complaints(&inventory(SOURCE, Some("@a=40"), Some("")), "2026-02-10T05:00:00Z"),
        ["Critical nfs9: no archive"]
    );
}
