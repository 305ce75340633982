//! What must hold after every run.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ledger::{self, Ledger, Seen};
use crate::look;
use crate::outcome::Run;
use crate::world::World;

/// All of it.
pub(super) fn all(world: &World, ledger: &mut Ledger, run: &Run) {
    assert!(matches!(run.code, Some(0 | 1 | 3)), "the exit code is none of a run's");
    assert!(!run.stderr.contains("panicked"), "a panic");
    let report = run.json();
    everything_is_served_or_named(world, &report, run.code == Some(0));
    nothing_is_gone_without_a_word(world, ledger, &report);
    the_exit_code_fits(&report, run.code);
    ledger.compare(world);
}

fn array<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

fn failed(report: &Value) -> Vec<&Value> {
    array(report, "steps").iter().filter(|step| step["result"]["outcome"] != "done").collect()
}

/// Whether anything that the report says of what did not go well names `dataset`.
fn is_named(report: &Value, dataset: &str) -> bool {
    let names = |value: &Value| {
        value.to_string().contains(&format!("{dataset}\""))
            || value.to_string().contains(&format!("{dataset} "))
            || value.to_string().contains(&format!("{dataset}@"))
            || value.to_string().contains(&format!("{dataset}:"))
    };
    let findings = array(report, "findings").iter().chain(array(report, "left_out"));
    findings.chain(failed(report)).any(names)
}

/// Whether a finding is about the whole of a target or the source.
fn is_of_a_host(report: &Value) -> bool {
    array(report, "findings")
        .iter()
        .any(|finding| finding["severity"] == "failed" && finding["dataset"].is_null())
}

fn everything_is_served_or_named(world: &World, report: &Value, is_well: bool) {
    let root = world.source();
    for dataset in look::datasets(&root).into_iter().filter(|dataset| *dataset != root) {
        if is_named(report, &dataset) {
            continue;
        }
        let newest = look::snapshots(&dataset).into_iter().rfind(|name| name.starts_with("20"));
        let newest = newest.unwrap_or_else(|| panic!("{dataset} has no own snapshot, and is not named"));
        let guid = look::guids(&dataset).get(&newest).cloned().unwrap();
        let copies = ledger::snapshots(&world.backup_root());
        let is_there = copies.iter().any(|copy| copy.guid == guid);
        let is_excused = !is_well && is_of_a_host(report);
        assert!(is_there || is_excused, "{dataset}@{newest} is not on the backup, and is not named");
    }
}

fn nothing_is_gone_without_a_word(world: &World, ledger: &Ledger, report: &Value) {
    let mut now = ledger::snapshots(&world.backup_root());
    now.extend(ledger::snapshots(&world.archive_root()));
    let guids: BTreeSet<&str> = now.iter().map(|seen| seen.guid.as_str()).collect();
    let done = array(report, "steps").iter().filter(|step| step["result"]["outcome"] == "done");
    let destroyed: BTreeSet<String> = done
        .filter(|step| step["action"]["action"].as_str().is_some_and(|action| action.starts_with("destroy")))
        .flat_map(|step| array(&step["action"], "snapshots").to_vec())
        .filter_map(|snapshot| snapshot["guid"].as_str().map(str::to_owned))
        .collect();
    for Seen { name, guid, .. } in &ledger.before {
        if guids.contains(guid.as_str()) {
            continue;
        }
        assert!(!name.starts_with(&world.archive_root()), "{name} is gone from the archive");
        assert!(destroyed.contains(guid), "{name} is gone, and no step says that it destroyed it");
        let point = name.rsplit('@').next().unwrap();
        assert!(point.starts_with("20"), "{name} was not made by zhaul, and is gone");
    }
}

fn the_exit_code_fits(report: &Value, code: Option<i32>) {
    let has =
        |severity: &str| array(report, "findings").iter().any(|finding| finding["severity"] == severity);
    let is_failed = has("failed") || failed(report).iter().any(|step| step["result"]["outcome"] == "failed");
    let expected = if is_failed {
        1
    } else if has("blocked") {
        3
    } else {
        0
    };
    assert_eq!(code, Some(expected), "the exit code");
}
