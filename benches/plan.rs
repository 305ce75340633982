//! How long planning takes and how much memory an inventory and its plan need: 2,000 datasets with 500 points each, on the
//! source, a backup and an archive together. `cargo bench --bench plan`; the figures to hold are 1 s and 300 MiB.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and fails by panicking")]

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use zhaul::model::{
    Answer, Dataset, DatasetKind, DatasetName, Details, Guid, History, Inventory, Listing, Point, PointKind,
    Proxmox, TargetName, Txg,
};
use zhaul::plan::{Request, plan};
use zhaul::policy::{Flags, KeepRules, Policy, TargetKind};

const DATASETS: u64 = 2_000;
/// Of each dataset, over all hosts: 60 snapshots and 240 bookmarks at the source, 180 snapshots at the backup, 20 months.
const LOCAL: u64 = 60;
const BOOKMARKS: u64 = 240;
const BACKUP: u64 = 180;
const MONTHS: u64 = 20;

fn point(kind: PointKind, policy: &Policy, dataset: u64, age: u64, now: Timestamp) -> Point {
    let at = now.checked_sub(SignedDuration::from_hours(i64::try_from(age).unwrap() * 6)).unwrap();
    Point {
        kind,
        name: policy.name_format.name(at).unwrap(),
        guid: Guid((dataset << 20) + age),
        createtxg: Txg(1_000_000 - age),
        clones: 0,
        details: Some(Details { used_bytes: 4096, written_bytes: 4096, ..Details::default() }),
    }
}

fn dataset(name: &str, id: u64, points: Vec<Point>) -> Dataset {
    Dataset {
        is_readonly: true,
        history: History::new(points),
        ..Dataset::new(DatasetName::new(name).unwrap(), Guid(id), DatasetKind::Volume)
    }
}

fn listing(root: &str, points: impl Fn(u64) -> Vec<Point>) -> Answer {
    let one = |id| dataset(&format!("{root}/vm-{id}-disk-0"), id, points(id));
    let root = dataset(root, u64::MAX, Vec::new());
    Answer::Listed(Listing::new((0..DATASETS).map(one).chain([root])))
}

/// A figure of `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn main() {
    let flags = Flags {
        dataset: vec![DatasetName::new("rpool/data").unwrap()],
        hostname: "pve0".to_owned(),
        ..Flags::default()
    };
    let mut policy = Policy::from_flags(&flags).unwrap();
    for target in &mut policy.targets {
        if let TargetKind::Backup(rules) = &mut target.kind {
            rules.keep = KeepRules {
                last: Some(10),
                daily: Some(14),
                weekly: Some(8),
                monthly: Some(6),
                ..KeepRules::default()
            };
        }
    }
    let now: Timestamp = "2026-02-10T03:00:00Z".parse().unwrap();
    let before_mib = memory_mib("VmRSS");
    let snapshot = |id, age| point(PointKind::Snapshot, &policy, id, age, now);
    let source = listing("rpool/data", |id| {
        let bookmarks = (1..=BOOKMARKS).map(|age| point(PointKind::Bookmark, &policy, id, age, now));
        bookmarks.chain((1..=LOCAL).map(|age| snapshot(id, age))).collect()
    });
    let mut targets = BTreeMap::new();
    for target in &policy.targets {
        let root = target.root.as_str();
        let answer = match target.kind {
            TargetKind::Backup(_) => listing(root, |id| (1..=BACKUP).map(|age| snapshot(id, age)).collect()),
            TargetKind::Archive(_) => {
                listing(root, |id| (1..=MONTHS).map(|month| snapshot(id, month * 10)).collect())
            }
        };
        targets.insert(TargetName(target.name.0.clone()), answer);
    }
    let inventory = Inventory { source, targets, proxmox: Proxmox::default() };
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let started = Instant::now();
    let planned = plan(&policy, &inventory, &request).unwrap();
    let took = started.elapsed();
    let points = DATASETS * (LOCAL + BOOKMARKS + BACKUP + MONTHS);
    println!(
        "{DATASETS} datasets, {points} points -> {} steps, {} findings: {:.3} s, peak {} MiB (of them {before_mib} MiB before)",
        planned.plan.steps.len(),
        planned.plan.findings.len(),
        took.as_secs_f64(),
        memory_mib("VmHWM"),
    );
}
