//! A hand-made plan with one step of most kinds, for the tests of everything that shows plans.

use std::time::Duration;

use super::Estimates;
use crate::execute::{Outcome, Report};
use crate::model::{
    ByteCount, Change, CopyEncryption, DatasetKind, DatasetName, Encryption, GuestId, Guid, Link, Month,
    PointKind, PointName, SnapshotName, TargetName, Txg,
};
use crate::plan::{
    Action, Base, Finding, FindingKind, NewBookmark, Place, Plan, Reason, Severity, Step, StepId, ToDestroy,
    Transfer,
};
use crate::policy::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, KeepRules, OnNoBase, Target,
    TargetKind,
};

const NAME: &str = "2026-02-01-030000";

pub(in crate::cli) fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

pub(in crate::cli) fn point(name: &str) -> PointName {
    PointName::new(name).unwrap()
}

fn snapshot(dataset_name: &str, name: &str) -> SnapshotName {
    dataset(dataset_name).snapshot(&point(name)).unwrap()
}

pub(in crate::cli) fn target(name: &str) -> Place {
    Place::Target(TargetName(name.to_owned()))
}

fn transfer(target_dataset: &str, base: Option<Base>) -> Action {
    Action::Send(Box::new(Transfer {
        snapshot: snapshot("rpool/data/vm-100-disk-0", NAME),
        guid: None,
        creates_dataset: base.is_none(),
        base,
        fallback: None,
        resume: None,
        target: snapshot(target_dataset, NAME),
        origin: None,
        kind: DatasetKind::Volume,
        encryption: Encryption::Off,
        copy_encryption: CopyEncryption::AsSent,
        writer: None,
    }))
}

fn to_destroy(name: &str, used_bytes: u64) -> ToDestroy {
    ToDestroy { name: point(name), guid: Guid(used_bytes), why: not_kept(), used_bytes }
}

fn not_kept() -> Reason {
    Reason::NotKept { rules: KeepRules::last(1) }
}

fn actions() -> Vec<(Place, Action, Reason)> {
    let disk = "rpool/data/vm-100-disk-0";
    let base = Base {
        origin: None,
        kind: PointKind::Bookmark,
        name: point("2026-01-31-030000"),
        guid: Guid(7),
        createtxg: Txg(7),
    };
    let bookmark =
        NewBookmark { bookmark: dataset(disk).bookmark(&point(NAME)).unwrap(), of: point(NAME), guid: None };
    let rename = Change::RenameSnapshot {
        dataset: dataset("tank/archive/pve0/vm-100-disk-0"),
        from: point(NAME),
        guid: Guid(8),
        to: point("2026-Feb"),
    };
    let destroy = Change::DestroySnapshots {
        dataset: dataset(disk),
        snapshots: vec![to_destroy("2026-01-01-030000", 1 << 20), to_destroy("2026-01-02-030000", 2 << 20)],
    };
    vec![
        (
            Place::Source,
            Action::Snapshot {
                snapshots: vec![snapshot(disk, NAME), snapshot("rpool/data/vm-100-disk-1", NAME)],
                is_one_moment: true,
                freeze: None,
                lineage: Vec::new(),
            },
            Reason::GuestSnapshot { guest: GuestId(100), volumes: 2 },
        ),
        (Place::Source, Action::Bookmark { bookmarks: vec![bookmark] }, Reason::BookmarkOfSnapshot),
        (
            target("nfs8"),
            transfer("tank/backup/pve0/vm-100-disk-0", Some(base)),
            Reason::CommonBase { base: point("2026-01-31-030000") },
        ),
        (target("nfs9"), transfer("tank/archive/pve0/vm-100-disk-0", None), Reason::NothingThere),
        (target("nfs9"), rename.into(), Reason::NotRenamed),
        (Place::Source, destroy.into(), not_kept()),
    ]
}

pub(in crate::cli) fn plan() -> Plan {
    let step = |(number, (place, action, reason)): (usize, (Place, Action, Reason))| Step {
        id: StepId(number),
        dataset: (number > 0).then(|| dataset("rpool/data/vm-100-disk-0")),
        place,
        action,
        reason,
        needs: number.checked_sub(1).map(StepId).into_iter().collect(),
        after: Vec::new(),
    };
    Plan {
        at: "2026-02-01T03:00:00Z".parse().unwrap(),
        steps: actions().into_iter().enumerate().map(step).collect(),
        left_out: Vec::new(),
        orphans: Vec::new(),
        findings: vec![
            Finding {
                place: Place::Source,
                dataset: None,
                kind: FindingKind::MonthsLost { months: Month::parse("2026-Jan").into_iter().collect() },
                ..finding(Severity::Note)
            },
            Finding {
                dataset: Some(dataset("rpool/data/vm-101-disk-0")),
                kind: FindingKind::NoBase { copy: dataset("tank/archive/pve0/vm-101-disk-0") },
                ..finding(Severity::Blocked)
            },
        ],
    }
}

pub(in crate::cli) fn finding(severity: Severity) -> Finding {
    Finding {
        severity,
        dataset: None,
        place: target("nfs9"),
        kind: FindingKind::MonthsLost { months: Month::parse("2026-Jan").into_iter().collect() },
    }
}

pub(in crate::cli) fn estimates() -> Estimates {
    Estimates::from([(StepId(2), ByteCount(3 << 29))])
}

/// A report in which every step has this outcome.
pub(in crate::cli) fn report(plan: Plan, outcome: &Outcome) -> Report {
    let outcomes = plan.steps.iter().map(|_| outcome.clone()).collect();
    Report { plan, outcomes, was_interrupted: false }
}

pub(in crate::cli) fn done(moved_bytes: u64) -> Outcome {
    Outcome::Done {
        moved_bytes: ByteCount(moved_bytes),
        seconds: Duration::from_secs(2),
        remarks: Vec::new(),
    }
}

/// A backup and an archive.
pub(in crate::cli) fn targets() -> Vec<Target> {
    let backup = BackupRules {
        keep: KeepRules::default(),
        on_divergence: BackupDivergence::Remove,
        on_no_base: OnNoBase::Supersede,
        keep_superseded: None,
    };
    let archive = ArchiveRules { catch_up: true, on_divergence: ArchiveDivergence::Stop };
    let target = |name: &str, kind| Target {
        name: TargetName(name.to_owned()),
        address: Address::Local,
        link: Link::default(),
        root: dataset("tank/copies"),
        intermediates: false,
        kind,
    };
    vec![target("nfs8", TargetKind::Backup(backup)), target("nfs9", TargetKind::Archive(archive))]
}
