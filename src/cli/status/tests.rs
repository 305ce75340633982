//! The same status in every form.

use jiff::SignedDuration;

use super::*;
use crate::cli::render::Style;
use crate::cli::render::examples::{dataset, finding, targets};
use crate::model::{Month, TargetName};
use crate::plan::FindingKind;
use crate::plan::status::{CopyState, CopyStatus};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn copied(newest_common: &str, behind: usize, month: Option<&str>) -> CopyState {
    CopyState::Copied {
        newest_common: Some(time(newest_common)),
        behind,
        diverged: 0,
        newest_month: month.and_then(Month::parse),
        is_partial: behind > 1,
    }
}

fn dataset_status(name: &str, backup: CopyState, archive: CopyState) -> DatasetStatus {
    let copy = |target: &str, is_archive, state| CopyStatus {
        target: TargetName(target.to_owned()),
        is_archive,
        verified: None,
        state,
    };
    DatasetStatus {
        dataset: dataset(name),
        newest_snapshot: Some(time("2026-02-10T03:00:00Z")),
        alive_since: Some(time("2026-01-01T00:00:00Z")),
        copies: vec![copy("nfs8", false, backup), copy("nfs9", true, archive)],
    }
}

fn thresholds() -> Thresholds {
    Thresholds {
        warn_after: SignedDuration::from_hours(26),
        critical_after: SignedDuration::from_hours(50),
        archive_grace_days: 3,
    }
}

fn planned(findings: Vec<Finding>) -> Plan {
    let at = time("2026-02-10T05:00:00Z");
    Plan { at, steps: Vec::new(), findings, left_out: Vec::new(), orphans: Vec::new() }
}

fn example() -> Status {
    let why = "no \"route\"\nto | host\x07".to_owned();
    let well = copied("2026-02-10T03:00:00Z", 0, None);
    let archived = copied("2026-02-01T03:00:00Z", 1, Some("2026-Feb"));
    let late = copied("2026-02-08T23:00:00Z", 2, None);
    let datasets = vec![
        dataset_status("rpool/data/vm-100-disk-0", well, archived),
        dataset_status("rpool/data/vm-101", late, CopyState::CouldNotAsk { why }),
    ];
    status_of(
        Ok(datasets),
        Ok(planned(Vec::new())),
        time("2026-02-10T05:00:00Z"),
        &TimeZone::UTC,
        thresholds(),
    )
}

#[test]
fn the_table_is_for_people() {
    let expected = "\
dataset                   snapshot       nfs8                                nfs9 (archive)
rpool/data/vm-100-disk-0  2 h 0 min ago  2 h 0 min ago                       2026-Feb
rpool/data/vm-101         2 h 0 min ago  30 h 0 min ago, 2 behind, partial  ?

warning: rpool/data/vm-101 (nfs8): newest backup is 30 h old
critical: rpool/data/vm-101 (nfs9): could not be asked: no \"route\"\\nto | host\\u{7}

2 datasets: 1 critical, 1 warning
";
    let expected =
        expected.replace("                                nfs9", "                               nfs9");
    let expected = expected.replace("ago                       2026", "ago                      2026");
    assert_eq!(table::text(&example(), &targets(), Style::default()), expected);
    assert_eq!(code(&example()), Code::Failed);
}

#[test]
fn nagios_gets_one_line_with_the_worst_first() {
    assert_eq!(
        nagios::line(&example()),
        "ZHAUL CRITICAL - 2 datasets: 1 critical, 1 warning; critical: rpool/data/vm-101 (nfs9): could not be asked: \
         no \"route\"\\nto / host\\u{7}; warning: rpool/data/vm-101 (nfs8): newest backup is 30 h old \
         | datasets=2 warnings=1 criticals=1\n"
    );
    let codes = [Level::Ok, Level::Warning, Level::Critical].map(|level| nagios::code(level).number());
    assert_eq!(codes, [0, 1, 2]);
}

#[test]
fn a_source_that_cannot_be_listed_is_critical() {
    let why = || "no pools".to_owned();
    let status = status_of(Err(why()), Err(why()), Timestamp::UNIX_EPOCH, &TimeZone::UTC, thresholds());
    assert_eq!(
        nagios::line(&status),
        "ZHAUL CRITICAL - the source cannot be listed: no pools | datasets=0 warnings=0 criticals=0\n"
    );
    assert!(metrics::text(&status).contains("zhaul_source_listed 0\n"));
    assert_eq!(table::text(&status, &targets(), Style::default()), "the source cannot be listed: no pools\n");
    assert_eq!(code(&status), Code::Failed);
}

#[test]
fn what_the_next_run_would_report_is_never_all_well() {
    let well = copied("2026-02-10T03:00:00Z", 0, None);
    let archived = copied("2026-02-01T03:00:00Z", 1, Some("2026-Feb"));
    let datasets = vec![dataset_status("rpool/data/vm-100-disk-0", well, archived)];
    let status = |found: Result<Vec<Finding>, String>| {
        status_of(
            Ok(datasets.clone()),
            found.map(planned),
            time("2026-02-10T05:00:00Z"),
            &TimeZone::UTC,
            thresholds(),
        )
    };
    let blocked = Finding {
        dataset: Some(dataset("rpool/data/vm-101")),
        kind: FindingKind::NoBase { copy: dataset("tank/vm-101") },
        ..finding(Severity::Blocked)
    };
    let shown = status(Ok(vec![finding(Severity::Note), blocked.clone()]));
    let text = table::text(&shown, &targets(), Style::default());
    assert!(text.contains("blocked: rpool/data/vm-101 (nfs9): tank/vm-101 has snapshots"), "{text}");
    assert!(text.contains("\n  next: ") && text.ends_with("1 dataset: 1 critical\n"), "{text}");
    let line = nagios::line(&shown);
    assert!(line.starts_with("ZHAUL CRITICAL") && line.contains("; blocked: rpool/data/vm-101"), "{line}");
    assert_eq!((code(&shown), shown.level), (Code::Done, Level::Critical));
    assert!(serde_json::to_value(&shown).unwrap()["findings"][0]["next"].is_string());
    assert_eq!(
        code(&status(Ok(vec![Finding { severity: Severity::Failed, ..blocked.clone() }]))),
        Code::Failed
    );
    let warned = status(Ok(vec![Finding { severity: Severity::Warning, ..blocked }]));
    assert_eq!((code(&warned), warned.level), (Code::Done, Level::Warning));
    let unplanned = status(Err("two of one name".to_owned()));
    assert_eq!((code(&unplanned), unplanned.level), (Code::Failed, Level::Critical));
    assert!(nagios::line(&unplanned).contains("no run can be planned: two of one name"));
    assert!(
        table::text(&status(Ok(vec![finding(Severity::Note)])), &targets(), Style::default())
            .contains("all is well")
    );
}

#[test]
fn metrics_are_in_prometheus_text_format() {
    let text = metrics::text(&example());
    for line in [
        "# TYPE zhaul_copy_timestamp_seconds gauge",
        "zhaul_status_timestamp_seconds 1770699600",
        "zhaul_status_level 2",
        "zhaul_snapshot_timestamp_seconds{dataset=\"rpool/data/vm-100-disk-0\"} 1770692400",
        "zhaul_target_listed{dataset=\"rpool/data/vm-101\",target=\"nfs9\",kind=\"archive\"} 0",
        "zhaul_copy_behind_snapshots{dataset=\"rpool/data/vm-101\",target=\"nfs8\",kind=\"backup\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("zhaul_copy_timestamp_seconds{dataset=\"rpool/data/vm-101\",target=\"nfs9\""),
        "{text}"
    );
}

#[test]
fn json_has_every_dataset_copy_and_complaint() {
    let json = serde_json::to_value(example()).unwrap();
    assert_eq!(json["level"], "critical");
    assert_eq!(json["datasets"][0]["copies"][1]["state"], "copied");
    assert_eq!(json["datasets"][0]["copies"][1]["newest_month"], "2026-Feb");
    assert_eq!(json["datasets"][1]["copies"][1]["state"], "could-not-ask");
    assert_eq!(json["complaints"][0]["target"], "nfs8");
}

#[test]
fn metrics_are_replaced_in_one_go_and_leave_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zhaul.prom");
    write_atomically(&path, "old").unwrap();
    write_atomically(&path, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(write_atomically(Path::new("/nonexistent/x"), "x").is_err());
}
