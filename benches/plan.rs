//! How long planning takes and how much memory an inventory and its plan need. `cargo bench --bench plan`; the figures to
//! hold are 2 s for each case, 1 s for the first, and 300 MiB of memory for that.
//!
//! A case is planned as `run --dry-run --json` does it: plan, details of what the plan lacks, plan again, sizes, text. What is
//! lacked first are the lineage marks of snapshots; here each proves every bookmark, as where all was taken on one line.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use zhaul::cli;
use zhaul::model::{
    Answer, Claim, Dataset, DatasetKind, DatasetName, Details, Guid, History, Inventory, LineageMark,
    Listing, Point, PointKind, Proxmox, TargetName, Txg,
};
use zhaul::plan::{MissingDetails, Place, Planned, Request, estimate, plan, wanted_sizes};
use zhaul::policy::{Flags, KeepRules, Policy, TargetKind};

const DETAILS: Details =
    Details { used_bytes: 4096, written_bytes: 4096, holds: 0, is_destroy_deferred: false };

/// The points of each dataset: how many of its newest own snapshots and bookmarks are at the source, how many of the
/// newest, or only the oldest, at the backup, and how many months in the archive.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    datasets: u64,
    local: u64,
    bookmarks: u64,
    backup: u64,
    has_backup_of_oldest: bool,
    months: u64,
    intermediates: bool,
    /// Whether the details of snapshots are known from the start.
    are_details_known: bool,
}

/// A night in the middle of the year, as a steady run finds it.
const STEADY: Case = Case {
    name: "steady",
    datasets: 2_000,
    local: 60,
    bookmarks: 240,
    backup: 180,
    has_backup_of_oldest: false,
    months: 20,
    intermediates: false,
    are_details_known: true,
};

const CASES: [Case; 4] = [
    STEADY,
    Case {
        name: "one long history",
        datasets: 1,
        local: 16_000,
        bookmarks: 16_000,
        backup: 16_000,
        ..STEADY
    },
    Case {
        name: "one long history, no bookmark, all intermediates to send",
        datasets: 1,
        local: 16_000,
        bookmarks: 0,
        backup: 1,
        has_backup_of_oldest: true,
        months: 0,
        intermediates: true,
        are_details_known: false,
    },
    Case { name: "no bookmark, all unsent", local: 500, bookmarks: 0, backup: 0, months: 0, ..STEADY },
];

fn point(kind: PointKind, policy: &Policy, dataset: u64, age: u64, now: Timestamp, case: &Case) -> Point {
    let at = now.checked_sub(SignedDuration::from_hours(i64::try_from(age).unwrap() * 6)).unwrap();
    let is_known = case.are_details_known || kind == PointKind::Bookmark;
    Point {
        kind,
        name: policy.name_format.name(at).unwrap(),
        guid: Guid((dataset << 20) + age),
        createtxg: Txg(1_000_000 - age),
        clones: 0,
        details: is_known.then_some(DETAILS),
    }
}

fn listing(root: &str, case: &Case, points: impl Fn(u64) -> Vec<Point>) -> Answer {
    let dataset = |name: &str, id: u64, points: Vec<Point>| Dataset {
        is_readonly: true,
        history: History::new(points),
        ..Dataset::new(DatasetName::new(name).unwrap(), Guid(id), DatasetKind::Volume)
    };
    let one = |id| dataset(&format!("{root}/vm-{id}-disk-0"), id, points(id));
    let root = dataset(root, u64::MAX, Vec::new());
    Answer::Listed(Listing::new((0..case.datasets).map(one).chain([root])))
}

fn policy(case: &Case) -> Policy {
    let flags = Flags {
        dataset: vec![DatasetName::new("rpool/data").unwrap()],
        hostname: "pve0".to_owned(),
        ..Flags::default()
    };
    let mut policy = Policy::from_flags(&flags).unwrap();
    for target in &mut policy.targets {
        target.intermediates = case.intermediates;
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
    policy
}

fn inventory(policy: &Policy, case: &Case, now: Timestamp) -> Inventory {
    let of = |kind, ages: Vec<u64>, id| {
        ages.into_iter().map(|age| point(kind, policy, id, age, now, case)).collect::<Vec<_>>()
    };
    let source = listing("rpool/data", case, |id| {
        let bookmarks = of(PointKind::Bookmark, (1..=case.bookmarks).collect(), id);
        [bookmarks, of(PointKind::Snapshot, (1..=case.local).collect(), id)].concat()
    });
    let targets = policy.targets.iter().map(|target| {
        let ages: Vec<u64> = match target.kind {
            TargetKind::Backup(_) if case.has_backup_of_oldest => vec![case.local],
            TargetKind::Backup(_) => (1..=case.backup).collect(),
            TargetKind::Archive(_) => (1..=case.months).map(|month| month * 10).collect(),
        };
        let answer = listing(target.root.as_str(), case, |id| of(PointKind::Snapshot, ages.clone(), id));
        (TargetName(target.name.0.clone()), answer)
    });
    let targets: BTreeMap<_, _> = targets.collect();
    Inventory {
        source,
        targets,
        proxmox: Proxmox::default(),
        host: "pve0".to_owned(),
        append_only: std::collections::BTreeSet::new(),
    }
}

/// Notes what a host would say of these snapshots; gives how many there are.
fn learn(inventory: &mut Inventory, wants: &MissingDetails) -> usize {
    let marks = wants.lineage().unwrap();
    let mut asked = marks.len();
    if let Answer::Listed(listing) = &mut inventory.source {
        for (snapshot, guid) in marks {
            let dataset = listing.get_mut(snapshot.dataset()).unwrap();
            dataset.lineage.insert(guid, LineageMark::Proof(Claim::default()));
        }
    }
    for (place, snapshots) in wants.places() {
        let answer = match place {
            Place::Source => &mut inventory.source,
            Place::Target(name) => inventory.targets.get_mut(name).unwrap(),
        };
        let Answer::Listed(listing) = answer else { continue };
        let mut by_dataset: BTreeMap<DatasetName, Vec<Guid>> = BTreeMap::new();
        for (snapshot, guid) in snapshots.unwrap() {
            by_dataset.entry(snapshot.dataset().clone()).or_default().push(guid);
        }
        for (dataset, guids) in by_dataset {
            asked += guids.len();
            let learnt = guids.into_iter().map(|guid| (guid, Some(DETAILS)));
            listing.get_mut(&dataset).unwrap().history.add_details(learnt);
        }
    }
    asked
}

/// A figure of `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Runs `work` and adds what it took to `times`.
fn timed<T>(times: &mut Vec<(&'static str, Duration)>, what: &'static str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    times.push((what, started.elapsed()));
    done
}

fn measure(case: &Case) {
    let (policy, now) = (policy(case), "2026-02-10T03:00:00Z".parse().unwrap());
    let mut inventory = inventory(&policy, case, now);
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let mut times = Vec::new();
    let make = |inventory: &Inventory| plan(&policy, inventory, &request).unwrap();
    let Planned { mut plan, wants } = timed(&mut times, "plan", || make(&inventory));
    let mut asked = 0;
    if !wants.is_empty() {
        asked = timed(&mut times, "details", || learn(&mut inventory, &wants));
        plan = timed(&mut times, "plan again", || make(&inventory)).plan;
    }
    let peak = memory_mib("VmHWM");
    let sizes = timed(&mut times, "details", || {
        let wants = wanted_sizes(&plan, &inventory);
        learn(&mut inventory, &wants)
    });
    let estimates = timed(&mut times, "sizes", || estimate(&plan, &inventory));
    let json = timed(&mut times, "json", || cli::plan_json(&plan, &estimates).unwrap());
    let each: Vec<String> =
        times.iter().map(|(what, took)| format!("{what} {:.3}", took.as_secs_f64())).collect();
    println!(
        "{}: {} steps, {} findings, {asked} + {sizes} details, {} MiB of JSON\n  {} = {:.3} s, peak {peak} MiB",
        case.name,
        plan.steps.len(),
        plan.findings.len(),
        json.len() >> 20,
        each.join(" + "),
        times.iter().map(|(_, took)| took.as_secs_f64()).sum::<f64>(),
    );
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for case in CASES {
        if wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word.as_str())) {
            measure(&case);
        }
    }
}
