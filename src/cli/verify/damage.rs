//! The text about copies that have lost data.

use super::super::render::count;
use super::super::trouble::Trouble;
use crate::discover::PoolAnswer;
use crate::plan::damage::{Damaged, DamagedCopy, DamagedSnapshot};
use crate::plan::{Place, Severity};

/// What each target names as damaged.
pub(super) fn damaged(states: &[PoolAnswer]) -> Damaged {
    let of = |answer: &PoolAnswer| match (&answer.place, &answer.state) {
        (Place::Target(name), Ok(state)) => Some((name.clone(), state.pool.damaged.clone())),
        _ => None,
    };
    states.iter().filter_map(of).collect()
}

/// A trouble for each copy.
pub(super) fn troubles(copies: &[DamagedCopy]) -> Vec<Trouble> {
    copies.iter().map(trouble).collect()
}

fn trouble(copy: &DamagedCopy) -> Trouble {
    let (whole, lost): (Vec<_>, Vec<_>) = copy.snapshots.iter().partition(|one| !one.whole.is_empty());
    let mut parts = Vec::new();
    if let Some(one) = whole.last() {
        let where_whole: Vec<String> = one
            .whole
            .iter()
            .map(|whole| match &whole.place {
                Place::Source => format!("here as {}", whole.snapshot),
                Place::Target(name) => format!("on {} as {}", name.0, whole.snapshot),
            })
            .collect();
        parts.push(format!("{} whole {}", named(&whole), where_whole.join(" and ")));
    }
    if !lost.is_empty() {
        parts.push(format!("{} whole nowhere", named(&lost)));
    }
    if copy.is_head_damaged {
        parts.push("its present state is damaged, too".to_owned());
    }
    let (place, name) = (&copy.target.0, &copy.copy);
    Trouble {
        severity: Severity::Failed,
        kind: "copy-damaged",
        about: format!("{} ({place})", copy.dataset),
        what: format!("{name} has lost data: {}", parts.join("; ")),
        next: format!(
            "`zhaul verify --heal {}` rewrites the damaged blocks from a whole snapshot; where none is named or that fails, on {place}, \
             `zfs rename {name} {name}-damaged`: the next run sends everything again, and the rest of the old copy stays. Not \
             `zfs receive -c` by hand: after it the snapshot can no longer be mounted",
            copy.dataset
        ),
    }
}

/// `@2026-Jan is`, or `2 snapshots, the newest of them @2026-Jan, are`.
fn named(snapshots: &[&DamagedSnapshot]) -> String {
    match snapshots {
        [] => String::new(),
        [one] => format!("@{} is", one.snapshot.name()),
        [.., last] => format!(
            "{}, the newest of them @{}, are",
            count(snapshots.len(), "snapshot"),
            last.snapshot.name()
        ),
    }
}
