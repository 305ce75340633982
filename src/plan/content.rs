//! Which copies are compared with their sources, byte by byte, and in which order. Pure, from an inventory alone.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Selected;
use super::names::Names;
use super::restore::What;
use super::status::{copy_of, selected_and_named};
use crate::model::{
    Dataset, DatasetName, Encryption, Guid, Inventory, Point, SnapshotName, TargetName, Verification,
};
use crate::policy::{Policy, Target};

/// The newest snapshot that a copy and its source both have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContentCheck {
    /// The source dataset.
    pub dataset: DatasetName,
    /// The target.
    pub target: TargetName,
    /// The snapshot at the source.
    pub here: SnapshotName,
    /// The same at the target, maybe by another name.
    pub there: SnapshotName,
    /// The GUID of both.
    pub guid: Guid,
    /// Whether the blocks are compared encrypted, as they are: the copy has them so.
    pub is_raw: bool,
    /// The comparison that was made last, of this snapshot or an older one.
    pub last: Option<Verification>,
}

/// What is compared, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContentChecks {
    /// Copies to compare: those whose last comparison is the oldest first, so that each has its turn.
    pub checks: Vec<ContentCheck>,
    /// Copies that were compared not long ago.
    pub recent: Vec<ContentCheck>,
    /// Datasets and targets that cannot be compared, with the reason.
    pub impossible: Vec<Impossible>,
}

/// A copy that cannot be compared with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Impossible {
    /// The source dataset.
    pub dataset: DatasetName,
    /// The target.
    pub target: TargetName,
    /// Why.
    pub why: NotComparable,
}

/// Why a copy cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum NotComparable {
    /// The target or the copy could not be listed.
    NotKnown {
        /// Why.
        text: String,
    },
    /// There is no copy, or no snapshot of one.
    NoCopy,
    /// The source has none of the copy's snapshots, only bookmarks of them at best.
    NothingInCommon,
}

/// The copies that a person wants to have compared.
#[derive(Debug, Clone, Default)]
pub struct WantedContent {
    /// Of which guest or dataset; `None`: of all.
    pub what: Option<What>,
    /// On which target; `None`: on all.
    pub target: Option<TargetName>,
    /// A copy whose last comparison is younger is not compared again.
    pub recent: SignedDuration,
}

fn is_meant(one: &Selected<'_>, what: &What) -> bool {
    match (what, one.guest_id) {
        (What::Guest(id), Some(owner)) => owner == *id,
        _ => what.is_of(&one.dataset.name),
    }
}

/// The wanted copies of what the policy selects. `Err` says why the source could not be asked.
pub fn content_checks(
    policy: &Policy,
    inventory: &Inventory,
    now: Timestamp,
    wanted: &WantedContent,
) -> Result<ContentChecks, String> {
    let (selected, names) = selected_and_named(policy, inventory, now)?;
    let selected = selected.iter().filter(|one| wanted.what.as_ref().is_none_or(|what| is_meant(one, what)));
    let mut all = ContentChecks::default();
    for one in selected {
        let targets = policy.targets.iter();
        for target in targets.filter(|target| wanted.target.as_ref().is_none_or(|only| *only == target.name))
        {
            match check(inventory, target, names.get(&target.name), one) {
                Ok(check) if is_recent(&check, now, wanted.recent) => all.recent.push(check),
                Ok(check) => all.checks.push(check),
                Err(why) => all.impossible.push(Impossible {
                    dataset: one.dataset.name.clone(),
                    target: target.name.clone(),
                    why,
                }),
            }
        }
    }
    all.checks.sort_by_key(|check| check.last.map(|last| last.at));
    Ok(all)
}

/// A comparison in the future was made by a clock that was wrong.
fn is_recent(check: &ContentCheck, now: Timestamp, recent: SignedDuration) -> bool {
    check.last.is_some_and(|last| last.at <= now && now.duration_since(last.at) < recent)
}

fn check(
    inventory: &Inventory,
    target: &Target,
    names: Option<&Names>,
    one: &Selected<'_>,
) -> Result<ContentCheck, NotComparable> {
    let not_known = |text: String| NotComparable::NotKnown { text };
    let found = copy_of(inventory, target, names, one).map_err(not_known)?;
    let copy = found.filter(|copy| copy.history.newest_snapshot().is_some()).ok_or(NotComparable::NoCopy)?;
    let both = copy.history.snapshots().filter_map(|there| {
        let here = one.dataset.history.find_snapshot(there.guid)?;
        Some((here, there))
    });
    let (here, there) = both.max_by_key(|(here, _)| here.createtxg).ok_or(NotComparable::NothingInCommon)?;
    let name = |dataset: &Dataset, point: &Point| {
        dataset.name.snapshot(&point.name).map_err(|error| not_known(error.to_string()))
    };
    Ok(ContentCheck {
        dataset: one.dataset.name.clone(),
        target: target.name.clone(),
        here: name(one.dataset, here)?,
        there: name(copy, there)?,
        guid: there.guid,
        is_raw: one.dataset.encryption == Encryption::On && copy.encryption == Encryption::On,
        last: copy.last_verified().map(|last| last.verification),
    })
}
