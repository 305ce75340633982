//! The text about each copy.

use std::fmt::Write as _;

use super::super::render::{count, escape};
use super::super::trouble::Trouble;
use crate::model::PointName;
use crate::plan::Severity;
use crate::plan::verify::{Chain, CopyCheck, Partial};

/// A line for each copy.
pub(super) fn text(checks: &[CopyCheck]) -> String {
    let mut text = String::new();
    for check in checks {
        let what = match &check.chain {
            Chain::NotKnown { .. } => "not known".to_owned(),
            Chain::Nothing => "no snapshot".to_owned(),
            Chain::Diverged { snapshots } => format!("{}, none of the source", count(*snapshots, "snapshot")),
            Chain::GoesOn { newest_common, snapshots, known, behind, .. } => {
                let behind = match behind {
                    0 => String::new(),
                    newer => format!("; the source has {newer} newer"),
                };
                format!(
                    "{}, {known} of them known at the source by GUID, the newest @{newest_common}{behind}",
                    count(*snapshots, "snapshot")
                )
            }
        };
        let _ = writeln!(
            text,
            "{} ({}): {}",
            escape(check.dataset.as_str()),
            escape(&check.target.0),
            escape(&what)
        );
    }
    text
}

/// The troubles of the copies.
pub(super) fn troubles(checks: &[CopyCheck]) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for check in checks {
        of_chain(check, &mut troubles);
        troubles.extend(check.partial.as_ref().map(|partial| of_partial(check, partial)));
    }
    troubles
}

fn of_chain(check: &CopyCheck, troubles: &mut Vec<Trouble>) {
    let next = format!("`zhaul run --dry-run --dataset {}` shows what the next run does", check.dataset);
    let mut add = |severity, kind, what: String| {
        let about = format!("{} ({})", check.dataset, check.target.0);
        troubles.push(Trouble { severity, kind, about, what, next: next.clone() });
    };
    match &check.chain {
        Chain::NotKnown { why } => {
            add(Severity::Failed, "not-known", format!("could not be compared: {why}"));
        }
        // An archive has its first copy on the first of a month; `status` says when one is late.
        Chain::Nothing => add(Severity::Note, "no-copy", "there is no copy yet".to_owned()),
        Chain::Diverged { .. } => add(
            Severity::Failed,
            "diverged",
            "no snapshot of the copy has the GUID of any point of the source".to_owned(),
        ),
        Chain::GoesOn { unknown, other_moments, out_of_order, .. } => {
            if *unknown > 0 {
                let what = format!(
                    "the copy has {} that the source does not know",
                    count(*unknown, "newer snapshot")
                );
                add(Severity::Warning, "diverged", what);
            }
            if !other_moments.is_empty() {
                let what = format!(
                    "under these names the copy has other snapshots than the source: {}",
                    list(other_moments)
                );
                add(Severity::Failed, "other-guid", what);
            }
            if !out_of_order.is_empty() {
                let what = format!(
                    "these snapshots come in another order than at the source: {}",
                    list(out_of_order)
                );
                add(Severity::Failed, "out-of-order", what);
            }
        }
    }
}

fn list(names: &[PointName]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("@{name}")).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn of_partial(check: &CopyCheck, partial: &Partial) -> Trouble {
    let next = format!("`zhaul run --dry-run --dataset {}` shows what the next run does", check.dataset);
    let (severity, kind, what) = match partial {
        Partial::GoesOn { snapshot, received_bytes } => (
            Severity::Note,
            "partial",
            format!("the receive of {snapshot} was interrupted after {received_bytes}, and can be resumed"),
        ),
        Partial::Unreadable { why } => {
            (Severity::Warning, "partial-unreadable", format!("a receive broke off, and its token: {why}"))
        }
        Partial::SourceGone { snapshot } => (
            Severity::Warning,
            "partial-lost",
            format!("the receive of {snapshot} broke off, and the source has this snapshot no more"),
        ),
        Partial::BaseGone { snapshot } => (
            Severity::Warning,
            "partial-lost",
            format!(
                "the receive of {snapshot} broke off, and the copy has the snapshot no more that it is based on"
            ),
        ),
    };
    let about = check.copy.as_ref().map_or(&check.dataset, |copy| copy);
    Trouble { severity, kind, about: format!("{about} ({})", check.target.0), what, next }
}
