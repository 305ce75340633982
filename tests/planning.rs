//! The planner's decisions as a table: histories in, steps out, one line each.
//!
//! A point is written as its day, `@0115` for the own snapshot of 15 January 2026, 00:00 UTC; the same letters are the same
//! GUID on both sides. Other names stand after `=`. Steps are written in the words of [`words`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zhaul::host::fake::history_with;
use zhaul::model::{
    Answer, Change, Dataset, DatasetKind, DatasetName, Details, DiskLine, Guest, GuestId, Guid, History,
    Inventory, LineHistory, LineageMark, Link, Listing, NameFormat, Proxmox, ProxmoxState, SetAside,
    Settings, Storage, TargetName, Unlisted, UserProperties, UserProperty, WRITER_PROPERTY,
};
use zhaul::plan::{Action, FindingKind, Plan, Reason, Request, Severity, plan};
use zhaul::policy::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, KeepRules, OnNoBase, Policy,
    SourceRoot, Target, TargetKind, TransferSettings,
};

const SOURCE: &str = "rpool/data/vm-1";
const COPY: &str = "tank/copies/vm-1";

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn own(day: &str) -> String {
    match day.len() {
        4 => format!("2026-{}-{}-000000", &day[..2], &day[2..]),
        8 => format!("{}-{}-{}-000000", &day[..4], &day[4..6], &day[6..]),
        _ => day.to_owned(),
    }
}

/// As from before snapshots were marked.
fn unmarked(history: &History) -> BTreeMap<Guid, LineageMark> {
    history.points().map(|point| (point.guid, LineageMark::Absent)).collect()
}

fn dataset(at: &str, points: &str) -> Dataset {
    let history = history_with(points, own).unwrap();
    let kind = if at.contains("/vm-") { DatasetKind::Volume } else { DatasetKind::Filesystem };
    Dataset {
        referenced_bytes: 1,
        is_readonly: true,
        lineage: unmarked(&history),
        line_history: Some(LineHistory::default()),
        history,
        settings: Settings { volmode: "none".to_owned(), ..Settings::default() },
        user: marked(WRITER_PROPERTY, &format!("1 pve0:rpool/data/{}", name(at).last())),
        ..Dataset::new(name(at), Guid(1), kind)
    }
}

/// The same with something written before each of its snapshots.
fn with_data(mut there: Dataset) -> Dataset {
    for point in there.history.points().cloned().collect::<Vec<_>>() {
        let details = point.details.map(|details| Details { written_bytes: 1, ..details });
        there.history.add_details([(point.guid, details)]);
    }
    there
}

/// A mark on the dataset itself.
fn marked(property: &str, value: &str) -> UserProperties {
    let mut user = UserProperties::default();
    user.insert(property, UserProperty { value: value.to_owned(), is_local: true });
    user
}

fn keep_last(last: u32) -> KeepRules {
    KeepRules { last: Some(last), ..KeepRules::default() }
}

fn backup() -> TargetKind {
    TargetKind::Backup(BackupRules {
        keep: KeepRules::default(),
        on_divergence: BackupDivergence::Remove,
        on_no_base: OnNoBase::Supersede,
        keep_superseded: None,
    })
}

fn archive(on_divergence: ArchiveDivergence) -> TargetKind {
    TargetKind::Archive(ArchiveRules { catch_up: true, on_divergence })
}

fn policy(kind: TargetKind) -> Policy {
    Policy {
        roots: vec![SourceRoot { dataset: name("rpool/data"), include_root: false }],
        selected: Vec::new(),
        exclude: Vec::new(),
        name_format: NameFormat::new(NameFormat::DEFAULT).unwrap(),
        time_zone: TimeZone::UTC,
        keep_at_source: keep_last(15),
        keep_bookmarks: None,
        targets: vec![Target {
            name: TargetName("nfs".to_owned()),
            address: Address::Local,
            link: Link::default(),
            root: name("tank/copies"),
            intermediates: false,
            kind,
        }],
        guest_config: None,
        freeze: None,
        transfer: TransferSettings {
            jobs: 1,
            buffer: "1MiB".parse().unwrap(),
            rate: zhaul::model::RateSchedule::default(),
            stall_limit: jiff::SignedDuration::from_secs(60),
            link: Link::default(),
        },
        lock: None,
    }
}

fn inventory_of(source: &str, target: Option<Dataset>) -> Inventory {
    let root = dataset("tank/copies", "");
    Inventory {
        source: Answer::Listed(Listing::new([dataset("rpool/data", ""), dataset(SOURCE, source)])),
        targets: BTreeMap::from([(
            TargetName("nfs".to_owned()),
            Answer::Listed(Listing::new(target.into_iter().chain([root]))),
        )]),
        proxmox: Proxmox::default(),
        host: "pve0".to_owned(),
        append_only: std::collections::BTreeSet::new(),
    }
}

/// Plans a run at 00:00 UTC of `now`; the target's dataset is absent where `target` is `None`.
fn plan_of(policy: &Policy, now: &str, source: &str, target: Option<Dataset>) -> Plan {
    let inventory = inventory_of(source, target);
    let now: Timestamp = format!("2026-{}-{}T00:00:00Z", &now[..2], &now[2..]).parse().unwrap();
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let planned = plan(policy, &inventory, &request).unwrap();
    assert!(planned.wants.is_empty(), "all is known");
    assert_eq!(zhaul::plan::check::check(policy, &inventory, &planned.plan), [], "{:?}", planned.plan);
    planned.plan
}

/// The promises that the plan would break if `spoil` had been a mistake of the planner.
fn broken(policy: &Policy, source: &str, target: &str, spoil: impl Fn(&mut Plan)) -> String {
    let there = dataset(COPY, target);
    let mut plan = plan_of(policy, "0120", source, Some(there.clone()));
    spoil(&mut plan);
    let breaches = zhaul::plan::check::check(policy, &inventory_of(source, Some(there)), &plan);
    let kinds = breaches.iter().map(|breach| serde_json::to_value(breach).unwrap()["promise"].clone());
    kinds.map(|kind| kind.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
}

/// The first step that destroys snapshots.
fn to_destroy_of(plan: &mut Plan) -> &mut zhaul::plan::Step {
    plan.steps
        .iter_mut()
        .find(|step| matches!(step.action, Action::Change(Change::DestroySnapshots { .. })))
        .unwrap()
}

fn doom(plan: &mut Plan, change: impl Fn(&mut zhaul::plan::ToDestroy)) {
    if let Action::Change(Change::DestroySnapshots { snapshots, .. }) = &mut to_destroy_of(plan).action {
        snapshots.iter_mut().for_each(change);
    }
}

#[test]
fn a_plan_that_breaks_a_promise_is_refused() {
    let mut at_source = policy(backup());
    at_source.keep_at_source = keep_last(1);
    let (source, target) = ("#0118 @0118 #0119 @0119 @m=manual", "@0118 @0119");
    let spoilt = |spoil: &dyn Fn(&mut Plan)| broken(&at_source, source, target, spoil);
    assert_eq!(spoilt(&|_| {}), "");
    let guid = |text: &str| {
        let all = dataset(SOURCE, source);
        all.history.points().find(|point| short(&point.name) == text).unwrap().guid
    };
    let another = |plan: &mut Plan, text: &str, to: &str| {
        doom(plan, |one| {
            one.name = zhaul::model::PointName::new(to).unwrap();
            one.guid = guid(text);
        });
    };
    assert!(spoilt(&|plan| another(plan, "manual", "manual")).contains("only-own"));
    assert!(spoilt(&|plan| doom(plan, |one| one.guid = Guid(4711))).contains("only-listed"));
    assert!(
        spoilt(&|plan| {
            another(plan, "0119", "2026-01-19-000000");
            to_destroy_of(plan).needs.clear();
        })
        .contains("newest-stays")
    );
    assert!(
        broken(&at_source, "@0118 #0119 @0119", target, |plan| {
            to_destroy_of(plan).after.clear();
            to_destroy_of(plan).needs.clear();
        })
        .contains("bookmark-first")
    );
    let sends = |plan: &mut Plan, change: &dyn Fn(&mut zhaul::plan::Transfer)| {
        for step in &mut plan.steps {
            if let Action::Send(transfer) = &mut step.action {
                change(transfer);
            }
        }
    };
    assert_eq!(
        spoilt(&|plan| sends(plan, &|transfer| transfer.base.as_mut().unwrap().guid = Guid(4711))),
        "shared-base"
    );
    assert_eq!(
        broken(&at_source, "#0117 @0117 #0118 @0118", "@0118", |plan| sends(plan, &|transfer| {
            let base = transfer.base.as_mut().unwrap();
            base.name = zhaul::model::PointName::new("2026-01-17-000000").unwrap();
        })),
        "shared-base"
    );
    assert!(spoilt(&|plan| plan.steps.swap(0, 1)).contains("in-order"));
    assert!(
        spoilt(&|plan| {
            let again =
                plan.steps.iter().find(|step| matches!(step.action, Action::Send(_))).unwrap().clone();
            plan.steps.push(again);
        })
        .contains("received-once")
    );
    let lose_place = |plan: &mut Plan| {
        let mut steps = plan.steps.iter_mut();
        let taken = steps.find(|step| matches!(step.action, Action::Snapshot { .. })).unwrap();
        taken.place = zhaul::plan::Place::Target(TargetName("nfs".to_owned()));
    };
    assert!(spoilt(&lose_place).contains("right-place"));
}

#[test]
fn a_plan_that_takes_something_from_an_archive_is_refused() {
    let to_backup = policy(backup());
    let plan = plan_of(&to_backup, "0120", "#0110 @0110", Some(with_data(dataset(COPY, "@0110 @0111"))));
    let to_archive = policy(archive(ArchiveDivergence::Stop));
    let inventory = inventory_of("#0110 @0110", Some(dataset(COPY, "@0110 @0111")));
    let breaches = zhaul::plan::check::check(&to_archive, &inventory, &plan);
    let nothing_goes = breaches.iter().filter(|one| one.promise == zhaul::plan::check::Promise::NothingGoes);
    assert_eq!(nothing_goes.count(), 2, "{breaches:?}");
}

fn short(point: &impl ToString) -> String {
    let text = point.to_string();
    match text.strip_prefix("2026-").and_then(|rest| rest.strip_suffix("-000000")) {
        Some(day) if day.len() == 5 => day.replace('-', ""),
        _ => text,
    }
}

/// The steps after the run's own snapshot and bookmark, and what is blocked, lost or odd.
fn words(plan: &Plan) -> String {
    let mut words: Vec<String> = Vec::new();
    for step in &plan.steps {
        words.push(match &step.action {
            Action::Snapshot { .. } => continue,
            Action::Bookmark { bookmarks } if bookmarks.iter().all(|new| new.guid.is_none()) => continue,
            Action::Bookmark { .. } if step.reason == Reason::Sending => continue,
            Action::Bookmark { bookmarks } => {
                let names: Vec<String> = bookmarks.iter().map(|new| short(new.bookmark.name())).collect();
                format!("mark {}", names.join(" "))
            }
            Action::Change(Change::CreateContainer { dataset, .. }) => format!("create {dataset}"),
            Action::Change(Change::AbortReceive { .. }) => "abort".to_owned(),
            Action::Send(transfer) => {
                let base = transfer.base.as_ref().map_or_else(
                    || "full ".to_owned(),
                    |base| format!("{}{}..", base.kind.separator(), short(&base.name)),
                );
                let (from, to) = (short(transfer.snapshot.name()), short(transfer.target.name()));
                let renamed = if from == to { String::new() } else { format!(" as {to}") };
                let origin =
                    transfer.origin.as_ref().map_or_else(String::new, |origin| format!(" of {origin}"));
                format!("send {base}@{from}{renamed}{origin}")
            }
            Action::Change(Change::DestroySnapshots { snapshots, .. }) => {
                let names: Vec<String> = snapshots.iter().map(|to_destroy| short(&to_destroy.name)).collect();
                format!("destroy {} {}", step.place, names.join(" "))
            }
            Action::DestroyBookmarks { bookmarks, .. } => {
                let names: Vec<String> = bookmarks.iter().map(|to_destroy| short(&to_destroy.name)).collect();
                format!("unmark {}", names.join(" "))
            }
            Action::Change(Change::Rollback { to, .. }) => format!("rollback {}", short(to)),
            Action::Change(Change::RenameDataset { from, to, .. }) => format!("rename {from} {to}"),
            Action::Change(Change::SetAside(SetAside { base: Some(base), .. })) => {
                format!("aside after {}", short(&base.name))
            }
            Action::Change(Change::SetAside(SetAside { base: None, .. })) => "aside".to_owned(),
            Action::Change(Change::StoreConfig { .. }) => "store".to_owned(),
            Action::Change(
                Change::MarkVerified { .. } | Change::BeginHealing { .. } | Change::EndHealing { .. },
            ) => "nothing that a run plans".to_owned(),
            Action::Change(Change::Claim { .. }) => "claim".to_owned(),
            Action::Change(Change::RenameSnapshot { from, to, .. }) => {
                format!("rename {} {}", short(from), short(to))
            }
            Action::Change(Change::DestroyDataset { dataset, .. }) => format!("destroy {dataset}"),
        });
    }
    for finding in plan.findings.iter().filter(|finding| finding.severity > Severity::Note) {
        let kind = serde_json::to_value(&finding.kind).unwrap();
        words.push(format!("{:?}: {}", finding.severity, kind["kind"].as_str().unwrap()));
    }
    words.join("; ")
}

/// The claim of a case, the source's history, the target's (`-`: no dataset), and the steps.
type Case = (&'static str, &'static str, &'static str, &'static str);

fn check(policy: &Policy, now: &str, cases: &[Case]) {
    for (shows, source, target, expected) in cases {
        let target = (*target != "-").then(|| dataset(COPY, target));
        assert_eq!(words(&plan_of(policy, now, source, target)), *expected, "{shows}");
    }
}

#[test]
fn a_backup_follows_its_source_by_guid() {
    let cases: &[Case] = &[
        ("first run sends all at once", "", "-", "send full @0120"),
        (
            "the newest common snapshot is the base",
            "#0118 @0118 #0119 @0119",
            "@0118 @0119",
            "send @0119..@0120",
        ),
        ("a bookmark serves as base", "#0110 #0119 @0119", "@0110", "send #0110..@0120"),
        ("a snapshot beats its bookmark", "#0110 @0110", "@0110", "send @0110..@0120"),
        ("gaps before the base do not matter", "#0118 @0118", "@0115 @0118", "send @0118..@0120"),
        ("a renamed base is the same", "#0118 @0118=before-upgrade", "@0118", "send @before-upgrade..@0120"),
        ("renamed at the target too", "#0118 @0118", "@0118=weekly", "send @0118..@0120"),
        ("a bookmark lost is made again", "@0118", "@0118", "mark 0118; send @0118..@0120"),
        (
            "a snapshot with a deferred destroy is no base",
            "#0110 @0110 #0118 @0118!d",
            "@0110 @0118",
            "send #0118..@0120",
        ),
    ];
    check(&policy(backup()), "0120", cases);
}

#[test]
fn intermediates_are_sent_one_by_one() {
    let mut policy = policy(backup());
    policy.targets[0].intermediates = true;
    let cases: &[Case] = &[
        (
            "from a bookmark first, then the rest",
            "#0110 #0118 @0118 #0119 @0119",
            "@0110",
            "send #0110..@0118; send @0118..@0119; send @0119..@0120",
        ),
        ("a full one first", "#0118 @0118", "-", "send full @0118; send @0118..@0120"),
        ("only own ones", "#0118 @0118 @m=manual", "@0118", "send @0118..@0120"),
    ];
    check(&policy, "0120", cases);
}

#[test]
fn a_backup_that_diverged_is_repaired_or_stops() {
    let cases: &[Case] = &[
        (
            "own snapshots after the base go",
            "#0110 @0110",
            "@0110 @0111 @0112",
            "destroy nfs 0111 0112; rollback 0110; send @0110..@0120",
        ),
        (
            "nothing in common is renamed aside, not destroyed",
            "#0110 @0110",
            "@0101 @0102",
            "aside; send full @0120; Warning: set-aside",
        ),
        (
            "same name, other GUID is nothing in common",
            "#x=2026-01-10-000000 @x=2026-01-10-000000",
            "@0110",
            "aside; send full @0120; Warning: set-aside",
        ),
        ("a dataset without snapshots is left alone", "#0110 @0110", "", "Blocked: unknown-data"),
    ];
    let mut policy = policy(backup());
    let changed = |source: &str, target: &str, expected: &str| {
        let there = with_data(dataset(COPY, target));
        assert_eq!(words(&plan_of(&policy, "0120", source, Some(there))), expected);
    };
    for (_, source, target, expected) in cases {
        changed(source, target, expected);
    }
    changed("#0110 @0110", "@0110 @0111!h", "Blocked: diverged");
    changed("#0110 @0110", "@0110 @m=manual", "Blocked: diverged");
    check(
        &policy,
        "0120",
        &[(
            "a foreign snapshot without new data is no obstacle",
            "#0110 @0110",
            "@0110 @m=manual",
            "send @0110..@0120",
        )],
    );
    if let TargetKind::Backup(rules) = &mut policy.targets[0].kind {
        rules.on_no_base = OnNoBase::Stop;
    }
    check(&policy, "0120", &[("set to stop, it stops", "#0110 @0110", "@0101", "Blocked: no-base")]);
}

/// The policy of [`policy`] for a backup that does this about divergence.
fn backup_that(on_divergence: BackupDivergence) -> Policy {
    let mut policy = policy(backup());
    if let TargetKind::Backup(rules) = &mut policy.targets[0].kind {
        rules.on_divergence = on_divergence;
    }
    policy
}

#[test]
fn what_diverged_is_set_aside_unless_the_policy_says_otherwise() {
    let diverged = |policy: &Policy, target: &str, written_bytes| {
        let there = Dataset { written_bytes, ..dataset(COPY, target) };
        words(&plan_of(policy, "0120", "#0110 @0110", Some(there)))
    };
    let keep = backup_that(BackupDivergence::Keep);
    for target in ["@0110 @0111 @0112", "@0110 @0111!h", "@0110 @m=manual"] {
        let there = with_data(dataset(COPY, target));
        let words = words(&plan_of(&keep, "0120", "#0110 @0110", Some(there)));
        assert_eq!(words, "aside after 0110; send @0110..@0120; Warning: set-aside", "{target}");
    }
    assert_eq!(
        diverged(&keep, "@0110", 4096),
        "aside after 0110; send @0110..@0120; Warning: set-aside",
        "what was written is kept"
    );
    let remove = backup_that(BackupDivergence::Remove);
    assert_eq!(
        diverged(&remove, "@0110 @0111", 4096),
        "aside after 0110; send @0110..@0120; Warning: set-aside",
        "what is in no snapshot is not removed"
    );
    let cancel = backup_that(BackupDivergence::Stop);
    assert_eq!(diverged(&cancel, "@0110", 4096), "Blocked: written-to");
    let archive_keeps = policy(archive(ArchiveDivergence::Keep));
    let there = Dataset { written_bytes: 4096, ..dataset(COPY, "@0110=2026-Jan") };
    assert_eq!(
        words(&plan_of(&archive_keeps, "0210", "#0110 @0110 #0120 @0120", Some(there.clone()))),
        "aside after 2026-Jan; send @0110..@0210 as 2026-Feb; Warning: set-aside"
    );
    let archive_stops = policy(archive(ArchiveDivergence::Stop));
    assert_eq!(
        words(&plan_of(&archive_stops, "0210", "#0110 @0110 #0120 @0120", Some(there))),
        "Blocked: written-to",
        "an archive is never rolled back"
    );
}

#[test]
fn a_snapshot_that_can_get_no_bookmark_is_not_pruned() {
    let mut policy = policy(backup());
    policy.name_format =
        NameFormat::new(&format!("{}%Y-%m-%d-%H%M%S", "x".repeat(232 - SOURCE.len()))).unwrap();
    policy.keep_at_source = keep_last(1);
    let named = |day: &str| {
        let time: Timestamp = format!("2026-01-{day}T00:00:00Z").parse().unwrap();
        policy.name_format.name(time).unwrap()
    };
    // The bookmark's name is taken by another GUID, and there is no room for six more digits.
    let source = format!("@a={0} #b={0} @c={1} #c={1}", named("10"), named("11"));
    let plan = plan_of(&policy, "0120", &source, None);
    assert_eq!(
        words(&plan),
        format!("send full @{0}; destroy source {1}; Warning: cannot-bookmark", named("20"), named("11"))
    );
}

#[test]
fn months_are_archived_once_in_order() {
    let cases: &[Case] = &[
        ("a new installation waits for its first 1st", "#0210 @0210", "-", ""),
        (
            "the month is due, its oldest snapshot is it",
            "#0131 @0131 #0201 @0201 #0202 @0202",
            "-",
            "send full @0201 as 2026-Feb",
        ),
        ("it is done", "#0131 @0131 #0201 @0201", "@0201=2026-Feb", ""),
        (
            "from a bookmark, under its final name",
            "#0101 #0201 @0201",
            "@0101=2026-Jan",
            "send #0101..@0201 as 2026-Feb",
        ),
        (
            "received by others, not renamed",
            "#0101 @0101 #0201 @0201",
            "@0101=2026-Jan @0201",
            "rename 0201 2026-Feb",
        ),
        (
            "missed months are caught up, oldest first",
            "#20251201 #0101 @0101 #0201 @0201",
            "@20251201=2025-Dec",
            "send #2025-12-01-000000..@0101 as 2026-Jan; send @0101..@0201 as 2026-Feb",
        ),
        (
            "a month without a snapshot is lost, and said so",
            "#20251201 #0201 @0201",
            "@20251201=2025-Dec",
            "send #2025-12-01-000000..@0201 as 2026-Feb; Warning: months-lost",
        ),
        (
            "no snapshot of this month yet: the one taken now",
            "#0115 @0115",
            "-",
            "send full @0210 as 2026-Feb",
        ),
    ];
    check(&policy(archive(ArchiveDivergence::Stop)), "0210", cases);
    check(
        &policy(archive(ArchiveDivergence::Stop)),
        "0201",
        &[
            ("on the 1st", "#0131 @0131", "-", "send full @0201 as 2026-Feb"),
            ("on the 1st, even at the first run", "", "-", "send full @0201 as 2026-Feb"),
        ],
    );
}

#[test]
fn without_catch_up_only_the_first_counts() {
    let strict =
        policy(TargetKind::Archive(ArchiveRules { catch_up: false, on_divergence: ArchiveDivergence::Stop }));
    check(&strict, "0202", &[("the 2nd is too late", "#0131 @0131 #0201 @0201", "-", "")]);
    check(&strict, "0201", &[("the 1st is not", "#0131 @0131", "-", "send full @0201 as 2026-Feb")]);
}

#[test]
fn an_archive_is_never_changed() {
    let diverged = |on_divergence, target: &str| {
        let mut there = dataset(COPY, target);
        there.written_bytes = 1;
        words(&plan_of(&policy(archive(on_divergence)), "0210", "#0101 #0120 @0120", Some(there)))
    };
    for (target, branch) in [
        (
            "@0101=2026-Jan @x=2026-Jan-15",
            "aside after 2026-Jan; send #0101..@0210 as 2026-Feb; Warning: set-aside",
        ),
        ("@y=2026-Jan", "aside; send full @0210 as 2026-Feb; Warning: set-aside"),
    ] {
        assert_eq!(diverged(ArchiveDivergence::Keep, target), branch);
        let stopped = diverged(ArchiveDivergence::Stop, target);
        assert_eq!(stopped, "Blocked: archive-diverged");
    }
}

#[test]
fn a_forced_archive_has_the_day_in_its_name() {
    let policy = policy(archive(ArchiveDivergence::Stop));
    let forced = |target: &str| {
        let inventory = Inventory {
            source: Answer::Listed(Listing::new([dataset("rpool/data", ""), dataset(SOURCE, "#0201 @0201")])),
            targets: BTreeMap::from([(
                TargetName("nfs".to_owned()),
                Answer::Listed(Listing::new([dataset("tank/copies", ""), dataset(COPY, target)])),
            )]),
            proxmox: Proxmox::default(),
            host: "pve0".to_owned(),
            append_only: std::collections::BTreeSet::new(),
        };
        let now = "2026-02-10T00:00:00Z".parse().unwrap();
        let request = Request { now, take_snapshot: true, force_archive: true, guests: Vec::new() };
        words(&plan(&policy, &inventory, &request).unwrap().plan)
    };
    assert_eq!(forced("@0201=2026-Feb"), "send @0201..@0210 as 2026-Feb-10");
    assert_eq!(forced("@0201=2026-Feb @z=2026-Feb-10"), "send @0201..@0210 as 2026-Feb-10-2");
}

#[test]
fn keep_last_is_exact_and_spares_what_is_not_ours() {
    let mut policy = policy(backup());
    policy.keep_at_source = keep_last(2);
    if let TargetKind::Backup(rules) = &mut policy.targets[0].kind {
        rules.keep = keep_last(3);
    }
    let cases: &[Case] = &[
        (
            "both sides count the new one",
            "#0117 @0117 #0118 @0118 #0119 @0119",
            "@0117 @0118 @0119",
            "destroy source 0117; send @0119..@0120; destroy nfs 0117; destroy source 0118",
        ),
        (
            "others' snapshots neither count nor go",
            "@v=vzdump #0117 @0117 #0118 @0118 @m=manual",
            "@0118",
            "send @0118..@0120; destroy source 0117",
        ),
        (
            "held and cloned ones stay",
            "#0116 @0116!h #0117 @0117!c #0118 @0118",
            "@0118",
            "send @0118..@0120",
        ),
    ];
    check(&policy, "0120", cases);
}

#[test]
fn names_go_up_though_the_clock_goes_back() {
    let taken = |source: &str| {
        let plan = plan_of(&policy(backup()), "0120", source, None);
        let Some(Action::Snapshot { snapshots, .. }) = plan.steps.first().map(|step| &step.action) else {
            return String::new();
        };
        snapshots[0].name().to_string()
    };
    assert_eq!(taken("@0119"), "2026-01-20-000000");
    assert_eq!(taken("@0120"), "2026-01-20-000001", "two runs in one second");
    assert_eq!(taken("@0121"), "2026-01-21-000001", "the clock was put back by a day");
    assert_eq!(taken("@20360101"), "2026-01-20-000000", "a name of ten years ahead is a mistake");
}

#[test]
fn two_sources_for_one_name_have_copies_of_their_own() {
    let mut policy = policy(backup());
    policy.roots.push(SourceRoot { dataset: name("tank2"), include_root: false });
    let inventory = Inventory {
        source: Answer::Listed(Listing::new(
            [("rpool/data", ""), (SOURCE, ""), ("tank2", ""), ("tank2/vm-1", "")]
                .map(|(at, points)| dataset(at, points)),
        )),
        targets: BTreeMap::from([(TargetName("nfs".to_owned()), Answer::Listed(Listing::default()))]),
        proxmox: Proxmox::default(),
        host: "pve0".to_owned(),
        append_only: std::collections::BTreeSet::new(),
    };
    let now = "2026-01-20T00:00:00Z".parse().unwrap();
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let plan = plan(&policy, &inventory, &request).unwrap().plan;
    let sent = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Send(transfer) => {
            Some(format!("{} -> {}", transfer.snapshot.dataset(), transfer.target.dataset()))
        }
        Action::Snapshot { .. }
        | Action::Bookmark { .. }
        | Action::DestroyBookmarks { .. }
        | Action::Change(_) => None,
    });
    assert_eq!(
        sent.collect::<Vec<_>>(),
        [format!("{SOURCE} -> {COPY}"), "tank2/vm-1 -> tank/copies/tank2/vm-1".to_owned()]
    );
}

/// A plan where some datasets of the source and some copies could not be listed.
fn plan_without(policy: &Policy, source: &[(&str, Unlisted)], target: &[(&str, Unlisted)]) -> Plan {
    let listing = |all: &[(&str, &str)], unlisted: &[(&str, Unlisted)]| {
        let mut listing = Listing::new(all.iter().map(|(at, points)| dataset(at, points)));
        for (name, why) in unlisted {
            listing.mark_unlisted(*name, why.clone());
        }
        Answer::Listed(listing)
    };
    let known = [("rpool/data", ""), (SOURCE, "#0118 @0118"), ("rpool/data/vm-2", "#0118 @0118")];
    let copies = [("tank/copies", ""), (COPY, "@0118"), ("tank/copies/vm-2", "@0118")];
    let inventory = Inventory {
        source: listing(&known, source),
        targets: BTreeMap::from([(TargetName("nfs".to_owned()), listing(&copies, target))]),
        proxmox: Proxmox::default(),
        host: "pve0".to_owned(),
        append_only: std::collections::BTreeSet::new(),
    };
    let now = "2026-01-20T00:00:00Z".parse().unwrap();
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    plan(policy, &inventory, &request).unwrap().plan
}

#[test]
fn what_is_unlisted_at_the_source_is_named_unless_excluded_and_the_rest_is_served() {
    let mut policy = policy(backup());
    for root in ["rpool/data/vm-1/gone", "other/data"] {
        policy.roots.push(SourceRoot { dataset: name(root), include_root: false });
    }
    policy.exclude = vec![zhaul::policy::Pattern::new("rpool/data/tmp-*").unwrap()];
    let unlisted = [
        ("other/data", Unlisted::NoPool),
        ("rpool/data/new", Unlisted::Changing),
        ("rpool/data/tmp-1", Unlisted::Changing),
        ("rpool/data/\u{e4}", Unlisted::BadName("rpool/data/\u{e4}".to_owned())),
    ];
    let plan = plan_without(&policy, &unlisted, &[]);
    let named: Vec<_> = plan
        .findings
        .iter()
        .filter_map(|finding| {
            let FindingKind::SourceNotListed { name, why } = &finding.kind else { return None };
            Some((name.as_str(), why.clone()))
        })
        .collect();
    let [pool, new, _, bad] = unlisted;
    assert_eq!(named, [("rpool/data/vm-1/gone", Unlisted::Missing), pool, new, bad]);
    assert!(plan.findings.iter().all(|finding| finding.severity == Severity::Failed));
    let sends = plan.steps.iter().filter(|step| matches!(step.action, Action::Send(_)));
    assert_eq!(sends.count(), 2, "{plan:?}");
}

#[test]
fn a_copy_that_is_unlisted_is_neither_sent_to_nor_pruned_and_the_others_are_served() {
    for (name, why) in [
        (COPY, Unlisted::Changing),
        ("tank/copies/vm-1.superseded-2026-01-01-000000", Unlisted::Changing),
        (COPY, Unlisted::Failed("I/O error".to_owned())),
    ] {
        let plan = plan_without(&policy(backup()), &[], &[(name, why)]);
        let copies: Vec<_> = plan.steps.iter().filter_map(|step| step.dataset.as_ref()).collect();
        assert!(copies.iter().all(|dataset| dataset.as_str() == "rpool/data/vm-2"), "{plan:?}");
        assert_eq!(words(&plan), "send @0118..@0120; Failed: copy-not-listed");
    }
    // Nothing is known of the parent, so nothing is known of the datasets below it either.
    let mut policy = policy(backup());
    policy.targets[0].root = name("tank/copies/deeper");
    let plan = plan_without(&policy, &[], &[("tank/copies/deeper", Unlisted::Changing)]);
    assert_eq!(words(&plan), "Failed: copy-not-listed; Failed: copy-not-listed");
}

/// A copy whose source is gone: its writer's mark, its snapshots, and what the backup's rules make of it.
#[test]
fn the_rules_of_a_backup_go_on_applying_to_copies_whose_source_is_gone() {
    let mut rules = policy(backup());
    if let TargetKind::Backup(backup) = &mut rules.targets[0].kind {
        backup.keep = keep_last(2);
    }
    let gone = |writer: &str, change: &dyn Fn(&mut Inventory, &mut Request)| {
        let mut inventory = inventory_of("#0119 @0119", Some(dataset(COPY, "@0119")));
        let mut copy = dataset("tank/copies/vm-9", "@0101 @0102 @monthly=2026-Jan @0103 @0104");
        copy.user = marked(WRITER_PROPERTY, writer);
        if let Some(Answer::Listed(there)) = inventory.targets.get_mut(&TargetName("nfs".to_owned())) {
            there.insert(copy);
        }
        let now = "2026-01-20T00:00:00Z".parse().unwrap();
        let mut request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
        change(&mut inventory, &mut request);
        let plan = plan(&rules, &inventory, &request).unwrap().plan;
        assert_eq!(zhaul::plan::check::check(&rules, &inventory, &plan), []);
        let words = words(&plan);
        words.split("; ").filter(|word| word.starts_with("destroy")).collect::<Vec<_>>().join("; ")
    };
    let unchanged = |_: &mut Inventory, _: &mut Request| {};
    assert_eq!(gone("9 pve0:rpool/data/vm-9", &unchanged), "destroy nfs 0101 0102");
    assert_eq!(gone("9 pve1:rpool/data/vm-9", &unchanged), "", "another host's");
    assert_eq!(gone("9 pve0:rpool/other/vm-9", &unchanged), "", "another policy's");
    assert_eq!(gone("unknown", &unchanged), "", "no source's");
    assert_eq!(gone("1 pve0:rpool/data/vm-9", &unchanged), "", "its source is there under another name");
    let in_doubt = |inventory: &mut Inventory, _: &mut Request| {
        inventory.proxmox.state = ProxmoxState::InDoubt("empty".to_owned());
    };
    assert_eq!(gone("9 pve0:rpool/data/vm-9", &in_doubt), "", "whose a volume is, is not certain");
    let unlisted = |inventory: &mut Inventory, _: &mut Request| {
        if let Answer::Listed(there) = &mut inventory.source {
            there.mark_unlisted("rpool/data/vm-9", Unlisted::Changing);
        }
    };
    assert_eq!(gone("9 pve0:rpool/data/vm-9", &unlisted), "", "it may be there");
}

/// Guest 1 with its disk, as Proxmox VE's configuration of this node has it.
fn guest_here(is_agreed: bool, is_disputed: bool) -> Proxmox {
    let line = DiskLine {
        place: "qemu-server/1.conf line 1 (scsi0)".to_owned(),
        storage: "z".to_owned(),
        volume: "vm-1-disk-0".to_owned(),
        is_current: true,
        is_unused: false,
        is_backed_up: true,
    };
    let guest = Guest {
        id: GuestId(1),
        lock: None,
        is_template: false,
        is_freezable: false,
        disks: vec![line],
        snapshots: Vec::new(),
    };
    Proxmox {
        state: ProxmoxState::Whole,
        nodes: if is_agreed {
            ["pve0", "pve1"].map(str::to_owned).into()
        } else {
            std::collections::BTreeSet::new()
        },
        storages: Some(vec![Storage { id: "z".to_owned(), dataset: name("rpool/data"), is_sparse: true }]),
        guests: vec![guest],
        disputed: is_disputed.then_some(GuestId(1)).into_iter().collect(),
        ..Proxmox::default()
    }
}

/// Plans for guest 1, whose copy another node has written so far.
fn plan_of_guest(policy: &Policy, proxmox: Proxmox, source: &str, target: &str) -> Plan {
    let mut copy = with_data(dataset("tank/copies/vm-1-disk-0", target));
    copy.user = marked(WRITER_PROPERTY, "7 pve1:rpool/data/vm-1-disk-0");
    let mut inventory = inventory_of("", Some(copy));
    let disk = dataset("rpool/data/vm-1-disk-0", source);
    inventory.source = Answer::Listed(Listing::new([dataset("rpool/data", ""), disk]));
    inventory.proxmox = proxmox;
    let now: Timestamp = "2026-01-20T00:00:00Z".parse().unwrap();
    let request = Request { now, take_snapshot: true, force_archive: false, guests: Vec::new() };
    let planned = plan(policy, &inventory, &request).unwrap();
    assert_eq!(zhaul::plan::check::check(policy, &inventory, &planned.plan), [], "{:?}", planned.plan);
    planned.plan
}

#[test]
fn a_guest_that_has_moved_here_takes_its_copy_over_where_the_nodes_agree_on_that() {
    let policy = backup_that(BackupDivergence::Keep);
    let (source, lagging, target) = ("#0117 @0117 #0118 @0118", "#0117 @0117", "@0117 @0118");
    for (is_agreed, is_disputed, source, is_taken) in [
        (false, false, source, true),
        (false, false, lagging, false),
        (true, true, lagging, false),
        (true, false, lagging, true),
        (true, false, "#0110 @0110", false),
    ] {
        let plan = plan_of_guest(&policy, guest_here(is_agreed, is_disputed), source, target);
        let is = |wanted: &dyn Fn(&FindingKind) -> bool| plan.findings.iter().any(|one| wanted(&one.kind));
        assert_eq!(is(&|kind| matches!(kind, FindingKind::TakenOver { .. })), is_taken, "{source}: {plan:?}");
        assert_eq!(is(&|kind| matches!(kind, FindingKind::OtherWriter { .. })), !is_taken, "{source}");
        let is_set_aside =
            |step: &zhaul::plan::Step| matches!(step.action, Action::Change(Change::SetAside(_)));
        assert_eq!(plan.steps.iter().any(is_set_aside), is_taken && source == lagging, "{plan:?}");
    }
}

#[test]
fn a_copy_of_a_host_of_another_cluster_is_not_taken_over() {
    let policy = backup_that(BackupDivergence::Keep);
    let mut here = guest_here(true, false);
    here.nodes = ["pve0", "pve2"].map(str::to_owned).into();
    let plan = plan_of_guest(&policy, here, "#0117 @0117", "@0117 @0118");
    let is_other = |one: &zhaul::plan::Finding| matches!(one.kind, FindingKind::OtherWriter { .. });
    assert!(plan.findings.iter().any(is_other), "{plan:?}");
}

#[test]
fn what_an_archive_shares_with_a_guest_that_can_move_stays_a_snapshot() {
    let mut policy = policy(archive(ArchiveDivergence::Keep));
    policy.keep_at_source = keep_last(2);
    let source = "#0101 @0101 #0118 @0118 #0119 @0119";
    for (is_agreed, gone) in
        [(true, vec!["2026-01-18-000000"]), (false, vec!["2026-01-01-000000", "2026-01-18-000000"])]
    {
        let plan = plan_of_guest(&policy, guest_here(is_agreed, false), source, "@0101=2026-Jan");
        let destroyed = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Change(Change::DestroySnapshots { snapshots, .. }) => Some(snapshots),
            Action::Snapshot { .. }
            | Action::Bookmark { .. }
            | Action::Send(_)
            | Action::DestroyBookmarks { .. }
            | Action::Change(_) => None,
        });
        let mut names: Vec<String> = destroyed.flatten().map(|one| one.name.to_string()).collect();
        names.sort();
        assert_eq!(names, gone, "{plan:?}");
    }
}
