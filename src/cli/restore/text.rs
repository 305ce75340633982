//! The plan and the outcome of a restore as text and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::super::render::{Style, count, duration_text, escape, load_key_command};
use super::Sizes;
use super::words::{self, Asked};
use crate::execute::restore::{RestoreFailure, VolumeOutcome};
use crate::host::Problem;
use crate::model::{ByteCount, DatasetKind, Encryption};
use crate::plan::restore::{RestoreNote, RestorePlan, Stage, VolumeRestore};

/// The plan of a restore, in words.
pub(super) fn plan_text(plan: &RestorePlan, sizes: &Sizes, now: Timestamp, style: Style) -> String {
    let mut text = String::new();
    let from = words::place(&plan.from);
    let age = plan.time.map(|time| words::age(time, now)).map(|age| format!(", {age}")).unwrap_or_default();
    let title = format!("restore @{} from {from}{age}", plan.point);
    let _ = writeln!(text, "{}", style.bold(&escape(&title)));
    for (at, volume) in plan.volumes.iter().enumerate() {
        let _ = writeln!(text, "  {}", escape(&volume_line(volume, sizes.get(&at).copied())));
        if let Some(replaced) = &volume.replaces {
            let aside = escape(replaced.aside.as_str());
            let _ = writeln!(text, "    what is there now is set aside as {aside}");
        }
        for stream in &volume.streams {
            let base = match (&stream.token, &stream.base) {
                (Some(_), _) => "the rest of it".to_owned(),
                (None, None) => "full".to_owned(),
                (None, Some((base, _))) => match &stream.origin {
                    Some(origin) => format!("as a clone of {}", origin.here),
                    None => format!("incremental from @{base}"),
                },
            };
            let raw = if volume.encryption == Encryption::On { ", raw" } else { "" };
            let _ = writeln!(text, "    {}", escape(&format!("{} ({base}{raw})", stream.snapshot)));
        }
    }
    let total: ByteCount = sizes.values().copied().sum();
    let _ = writeln!(text, "  {}, about {total} to receive", count(plan.volumes.len(), "dataset"));
    text.push_str(&notes_text(plan.notes.iter(), style));
    text
}

/// Notes, a line each.
pub(super) fn notes_text<'a>(notes: impl Iterator<Item = &'a RestoreNote>, style: Style) -> String {
    let line = |note| format!("{} {}\n", style.yellow("note:"), escape(&words::note_text(note)));
    notes.map(line).collect()
}

fn volume_line(volume: &VolumeRestore, size: Option<ByteCount>) -> String {
    let kind = match volume.kind {
        DatasetKind::Filesystem => "file system",
        DatasetKind::Volume => "volume",
    };
    let stage = match volume.stage {
        Stage::Receive
            if volume.streams.first().is_some_and(|first| {
                first.token.is_some() || first.base.is_some() && first.origin.is_none()
            }) =>
        {
            ", continues where it was interrupted"
        }
        Stage::Receive => "",
        Stage::Rename => ", received already",
        Stage::Finish => ", in its place already",
        Stage::Done => ", restored already",
    };
    let size =
        size.filter(|_| !volume.streams.is_empty()).map(|size| format!(", {size}")).unwrap_or_default();
    format!("{} ({kind}{size}{stage})", volume.to)
}

/// The failures, and their next actions.
pub(super) fn failures_text(
    plan: &RestorePlan,
    outcomes: &[VolumeOutcome],
    asked: Asked<'_>,
    style: Style,
) -> String {
    let mut text = String::new();
    for (volume, outcome) in plan.volumes.iter().zip(outcomes) {
        match &outcome.result {
            Ok(placed) => {
                if let Some(problem) = &placed.not_mounted {
                    let _ = writeln!(
                        text,
                        "{} {} is restored but not mounted: {}",
                        style.yellow("warning:"),
                        volume.to,
                        escape(&problem.to_string())
                    );
                    let mount = format!("zfs mount '{}'", volume.to);
                    let next = if !matches!(problem, Problem::Locked) {
                        mount
                    } else if volume.encryption == Encryption::On {
                        // Received as it was, it has a key of its own.
                        format!("zfs load-key {} && {mount}", volume.to)
                    } else {
                        format!("{} && {mount}", load_key_command(&volume.to))
                    };
                    let _ = writeln!(text, "  next: {next}");
                }
            }
            Err(RestoreFailure::Failed(error)) => {
                let _ = writeln!(text, "{} {}: {}", style.red("error:"), volume.to, escape(&error.chain()));
                let _ = writeln!(text, "  next: {}", words::advice(error, asked));
            }
            Err(RestoreFailure::Waits) => {
                let _ = writeln!(
                    text,
                    "  {} is received and waits for the others in {}",
                    volume.to, volume.incoming
                );
            }
        }
    }
    text
}

/// The datasets that are ready for use.
pub(super) fn report_text(plan: &RestorePlan, outcomes: &[VolumeOutcome], took: Duration) -> String {
    let mut text = String::new();
    for (volume, outcome) in plan.volumes.iter().zip(outcomes) {
        if outcome.result.is_ok() {
            let _ = writeln!(text, "restored {} as of @{}", escape(volume.to.as_str()), volume.point);
            if volume.encryption == Encryption::On && volume.kind == DatasetKind::Volume {
                let _ = writeln!(text, "  next: zfs load-key {}", escape(volume.to.as_str()));
            }
        }
    }
    let moved: ByteCount = outcomes.iter().map(|outcome| outcome.moved_bytes).sum();
    let _ = writeln!(text, "{moved} received in {}", duration_text(took));
    text
}

/// The same for programs.
pub(super) fn report_json(
    plan: &RestorePlan,
    outcomes: &[VolumeOutcome],
    took: Duration,
) -> serde_json::Value {
    let volumes = plan.volumes.iter().zip(outcomes).map(|(volume, outcome)| {
        let (state, error) = match &outcome.result {
            Ok(placed) => ("restored", placed.not_mounted.as_ref().map(ToString::to_string)),
            Err(RestoreFailure::Failed(error)) => ("failed", Some(error.chain())),
            Err(RestoreFailure::Waits) => ("waits", None),
        };
        json!({
            "volume": volume, "result": state, "error": error, "moved_bytes": outcome.moved_bytes.0,
        })
    });
    json!({
        "point": plan.point, "from": plan.from, "notes": plan.notes,
        "volumes": volumes.collect::<Vec<_>>(), "seconds": took.as_secs_f64(),
    })
}
