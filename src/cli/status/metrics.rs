//! Status as Prometheus metrics in the text format, for node exporter's textfile collector.
//!
//! Not the `prometheus-client` crate: it writes `OpenMetrics`, and the collector reads the older text format.

use std::fmt::Write as _;

use super::Status;
use crate::plan::status::{CopyState, CopyStatus, Level};

/// All metrics.
pub(super) fn text(status: &Status) -> String {
    let level = match status.level {
        Level::Ok => 0,
        Level::Warning => 1,
        Level::Critical => 2,
    };
    let single = |value| vec![(String::new(), value)];
    let is_listed = i64::from(status.source_error.is_none());
    let known = |copy: &CopyStatus| Some(i64::from(!copy.state.is_unknown()));
    [
        metric("status_timestamp_seconds", "When these metrics were made.", single(status.at.as_second())),
        metric("status_level", "Worst level: 0 OK, 1 warning, 2 critical.", single(level)),
        metric("source_listed", "Whether the source could be listed.", single(is_listed)),
        metric("snapshot_timestamp_seconds", "When the newest own snapshot was taken.", snapshots(status)),
        metric(
            "target_listed",
            "Whether the target could be asked about the dataset.",
            copies(status, known),
        ),
        metric(
            "copy_timestamp_seconds",
            "When the newest copied snapshot was taken.",
            copies(status, newest),
        ),
        metric("copy_behind_snapshots", "Own snapshots newer than the newest copy.", copies(status, behind)),
        metric(
            "copy_verified_timestamp_seconds",
            "When all content of the copy was last compared with its source, and was the same.",
            copies(status, |copy| Some(copy.verified?.at.as_second())),
        ),
    ]
    .concat()
}

/// Labels and value.
type Sample = (String, i64);

fn metric(name: &str, help: &str, samples: Vec<Sample>) -> String {
    let mut text = format!("# HELP zhaul_{name} {help}\n# TYPE zhaul_{name} gauge\n");
    for (labels, value) in samples {
        let _ = writeln!(text, "zhaul_{name}{labels} {value}");
    }
    text
}

fn snapshots(status: &Status) -> Vec<Sample> {
    let mut samples = Vec::new();
    for dataset in &status.datasets {
        if let Some(newest) = dataset.newest_snapshot {
            samples.push((labels(&[("dataset", dataset.dataset.as_str())]), newest.as_second()));
        }
    }
    samples
}

fn copies(status: &Status, value: impl Fn(&CopyStatus) -> Option<i64>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for dataset in &status.datasets {
        for copy in &dataset.copies {
            if let Some(value) = value(copy) {
                let kind = if copy.is_archive { "archive" } else { "backup" };
                let known =
                    [("dataset", dataset.dataset.as_str()), ("target", &copy.target.0), ("kind", kind)];
                samples.push((labels(&known), value));
            }
        }
    }
    samples
}

fn newest(copy: &CopyStatus) -> Option<i64> {
    match &copy.state {
        CopyState::Copied { newest_common, .. } => Some(newest_common.as_ref()?.as_second()),
        CopyState::CouldNotAsk { .. } | CopyState::Nothing { .. } => None,
    }
}

fn behind(copy: &CopyStatus) -> Option<i64> {
    match &copy.state {
        CopyState::Copied { behind, .. } => i64::try_from(*behind).ok(),
        CopyState::CouldNotAsk { .. } | CopyState::Nothing { .. } => None,
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pair = |(key, value): &(&str, &str)| format!("{key}=\"{}\"", escaped(value));
    format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
}
