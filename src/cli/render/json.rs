//! Plans and reports as one JSON object, for programs.
//!
//! Both have `type` (`plan` or `report`), `version` (2; it changes when a field is removed or changes its meaning, not
//! when one is added), `at` (the moment planned for, RFC 3339), `exit_code`, `steps`, `findings` and `summary`.
//!
//! Each step has `id`, `dataset` (null where it serves several), `place` (`"source"` or `{"target": NAME}`), `action` (an
//! object whose own `action` says which kind it is: `snapshot`, `bookmark`, `create-container`, `abort-receive`, `send`,
//! `destroy-bookmarks`, and those of a change to a target, [`crate::model::Change`]),
//! `reason`, `needs` and `after` (ids of other steps). A plan's `send` may have `estimated_bytes`. In a report each
//! step has `result` as well, whose `outcome` is `done` (with `moved_bytes`, `seconds`, `remarks`), `failed` (with
//! `error`, `advice`) or `skipped` (with `why`). The steps of a dry run and those of the run that follows are equal but
//! for these two fields. GUIDs are strings, since most JSON readers round large numbers.
//!
//! Each finding has `severity` (`note`, `warning`, `blocked`, `failed`), `dataset`, `place`, its `kind` with the fields
//! of that kind (`plan::FindingKind` lists them), and in words `text` and, where there is something to do, `next`.
//! `left_out` names each dataset below a root that is not served: `dataset`, `reason` with its fields
//! (`plan::LeftOutReason`), `was_served` and in words `text`. `orphans` names copies on the targets that
//! nothing is sent to (`plan::Orphan`). A step's
//! `reason` has its `kind` and fields (`plan::Reason`) and `text`; so has `why` of each point that a step destroys, without
//! `text`. Programs go by kinds, which stay; words change.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Estimates;
use super::finding::{finding_next, finding_what};
use super::left_out::left_out_text;
use super::reason::reason_text;
use super::summary::Summary;
use crate::cli::exit_code::Code;
use crate::execute::{Outcome, Report};
use crate::model::ByteCount;
use crate::plan::{Finding, LeftOut, Orphan, Plan, Reason, Step};

const VERSION: u32 = 2;

#[derive(Serialize)]
struct Object<'a> {
    r#type: &'static str,
    version: u32,
    at: jiff::Timestamp,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    was_interrupted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    steps: Vec<StepObject<'a>>,
    findings: Vec<FindingObject<'a>>,
    left_out: Vec<LeftOutObject<'a>>,
    orphans: &'a [Orphan],
    summary: Summary,
}

#[derive(Serialize)]
struct StepObject<'a> {
    #[serde(flatten)]
    step: &'a Step,
    reason: ReasonObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_bytes: Option<ByteCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Outcome>,
}

#[derive(Serialize)]
struct ReasonObject<'a> {
    #[serde(flatten)]
    reason: &'a Reason,
    text: String,
}

#[derive(Serialize)]
struct FindingObject<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<'a> StepObject<'a> {
    fn new(step: &'a Step, estimated_bytes: Option<ByteCount>, result: Option<&'a Outcome>) -> Self {
        let reason = ReasonObject { reason: &step.reason, text: reason_text(&step.reason) };
        Self { step, reason, estimated_bytes, result }
    }
}

fn objects(findings: &[Finding]) -> Vec<FindingObject<'_>> {
    let object =
        |finding| FindingObject { finding, text: finding_what(finding), next: finding_next(finding) };
    findings.iter().map(object).collect()
}

/// Findings with their words, as a field of something else.
pub(in crate::cli) fn serialize_findings<S: Serializer>(
    findings: &[Finding],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects(findings))
}

#[derive(Serialize)]
struct LeftOutObject<'a> {
    #[serde(flatten)]
    left_out: &'a LeftOut,
    text: String,
}

fn left_out(plan: &Plan) -> Vec<LeftOutObject<'_>> {
    let object = |left_out: &'_ LeftOut| left_out_text(&left_out.reason);
    plan.left_out.iter().map(|left_out| LeftOutObject { left_out, text: object(left_out) }).collect()
}

/// The plan of a dry run, as `zhaul run --dry-run --json` prints it.
pub fn plan_json(plan: &Plan, estimates: &Estimates) -> serde_json::Result<String> {
    serde_json::to_string(&Object {
        r#type: "plan",
        version: VERSION,
        at: plan.at,
        exit_code: Code::of_findings(&plan.findings).number(),
        was_interrupted: None,
        seconds: None,
        steps: plan
            .steps
            .iter()
            .map(|step| StepObject::new(step, estimates.get(&step.id).copied(), None))
            .collect(),
        findings: objects(&plan.findings),
        left_out: left_out(plan),
        orphans: &plan.orphans,
        summary: Summary::of(plan.steps.iter(), estimates),
    })
}

/// The report of a run. The summary counts what was done.
pub(in crate::cli) fn report_json(report: &Report, took: Duration) -> serde_json::Result<String> {
    let step = |(step, outcome)| StepObject::new(step, None, Some(outcome));
    let done = |(step, outcome)| matches!(outcome, &Outcome::Done { .. }).then_some(step);
    let moved = report.steps().filter_map(|(step, outcome)| match outcome {
        Outcome::Done { moved_bytes, .. } => Some((step.id, *moved_bytes)),
        Outcome::Partly { .. } | Outcome::Failed { .. } | Outcome::Skipped { .. } => None,
    });
    serde_json::to_string(&Object {
        r#type: "report",
        version: VERSION,
        at: report.plan.at,
        exit_code: Code::of_report(report).number(),
        was_interrupted: Some(report.was_interrupted),
        seconds: Some(took.as_secs_f64()),
        steps: report.steps().map(step).collect(),
        findings: objects(&report.plan.findings),
        left_out: left_out(&report.plan),
        orphans: &report.plan.orphans,
        summary: Summary::of(report.steps().filter_map(done), &moved.collect()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::examples::{done, estimates, plan, report};
    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_send_in_a_plan_has_all_that_it_needs() {
        let object = parsed(&plan_json(&plan(), &estimates()).unwrap());
        assert_eq!(object["type"], "plan");
        assert_eq!(object["exit_code"], 3);
        let expected = json!({
            "id": 2,
            "dataset": "rpool/data/vm-100-disk-0",
            "place": {"target": "nfs8"},
            "action": {
                "action": "send",
                "snapshot": "rpool/data/vm-100-disk-0@2026-02-01-030000",
                "guid": null,
                "base": {"kind": "bookmark", "name": "2026-01-31-030000", "guid": "7"},
                "resume": null,
                "target": "tank/backup/pve0/vm-100-disk-0@2026-02-01-030000",
                "origin": null,
                "creates_dataset": false,
                "kind": "volume",
                "encryption": "off",
                "copy_encryption": "as-sent",
            },
            "reason": {
                "kind": "common-base",
                "base": "2026-01-31-030000",
                "text": "the newest common snapshot is @2026-01-31-030000",
            },
            "needs": [1],
            "after": [],
            "estimated_bytes": 1_610_612_736_u64,
        });
        assert_eq!(object["steps"][2], expected);
        assert_eq!(object["steps"][0]["place"], "source");
    }

    #[test]
    fn a_runs_steps_are_the_plans_steps() {
        let mut planned = parsed(&plan_json(&plan(), &estimates()).unwrap());
        let mut ran = parsed(&report_json(&report(plan(), &done(5)), Duration::from_secs(2)).unwrap());
        assert_eq!(ran["steps"][2]["result"]["outcome"], "done");
        assert_eq!(ran["summary"]["bytes"], 10);
        for object in [&mut planned, &mut ran] {
            for step in object["steps"].as_array_mut().unwrap() {
                step.as_object_mut().unwrap().retain(|key, _| key != "estimated_bytes" && key != "result");
            }
        }
        assert_eq!(planned["steps"], ran["steps"]);
    }
}
