//! How every dataset stands: how old its newest snapshot, backup and archive are. Pure, from an inventory alone.
//!
//! Times are those in the names of our own points at the source; a copy is dated by the source point that has its GUID, so
//! a snapshot that was renamed on the archive has its age too.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::comparison::{Comparison, GuidIndex};
use super::trust::Trust;
use super::{CopyName, Names, Request, Selected, names, select};
use crate::model::{
    Answer, Dataset, DatasetName, Inventory, Listing, Month, NameFormat, TargetName, Verification,
};
use crate::policy::{Policy, Target, TargetKind};

/// One dataset and its copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetStatus {
    /// The source dataset.
    pub dataset: DatasetName,
    /// When the newest own snapshot was taken.
    pub newest_snapshot: Option<Timestamp>,
    /// When the oldest own point was made: since when the policy has been alive here.
    pub alive_since: Option<Timestamp>,
    /// One for each target, in the policy's order.
    pub copies: Vec<CopyStatus>,
}

/// One dataset on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyStatus {
    /// The target.
    pub target: TargetName,
    /// Whether it is an archive.
    pub is_archive: bool,
    /// The state of the copy.
    #[serde(flatten)]
    pub state: CopyState,
    /// When and how its content was last compared with that of the source, and was the same.
    pub verified: Option<Verification>,
}

/// The state of a dataset's copy on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum CopyState {
    /// Not known.
    CouldNotAsk {
        /// Why.
        why: String,
    },
    /// No snapshot of it.
    Nothing {
        /// A first receive broke off and will be resumed.
        is_partial: bool,
    },
    /// Snapshots of it.
    Copied {
        /// When the newest common snapshot was taken; `None` where nothing is in common with the source any more.
        newest_common: Option<Timestamp>,
        /// How many own snapshots of the source are newer than that.
        behind: usize,
        /// How many snapshots there are newer than that, and unknown to the source.
        diverged: usize,
        /// The newest month that it holds; only reported of an archive.
        newest_month: Option<Month>,
        /// A receive broke off and will be resumed.
        is_partial: bool,
    },
}

impl CopyState {
    /// Whether the target could not be asked.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::CouldNotAsk { .. })
    }
}

/// How bad something is, as monitoring has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Ok,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

/// From when on something is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// A snapshot or backup older than this is a warning.
    pub warn_after: SignedDuration,
    /// A snapshot or backup older than this is critical.
    pub critical_after: SignedDuration,
    /// Until after this day of a month nothing is said of its not being archived.
    pub archive_grace_days: i8,
}

/// A name that is ahead of the clock by more than this is a complaint: names of a host with another clock, or of this one
/// before it was set.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// How bad.
    pub level: Level,
    /// The dataset.
    pub dataset: DatasetName,
    /// The target, if it is about a copy.
    pub target: Option<TargetName>,
    /// What.
    pub what: String,
}

/// The status of every dataset that the policy selects; `Err` says why the source could not be asked.
pub fn assess(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Result<Vec<DatasetStatus>, String> {
    let (selected, names) = selected_and_named(policy, inventory, now)?;
    let one = |selected: &Selected<'_>| {
        let dataset = selected.dataset;
        let format = &policy.name_format;
        let copies = policy.targets.iter().map(|target| CopyStatus {
            target: target.name.clone(),
            is_archive: matches!(target.kind, TargetKind::Archive(_)),
            state: copy_state(policy, inventory, target, names.get(&target.name), selected, now),
            verified: copy_of(inventory, target, names.get(&target.name), selected)
                .ok()
                .flatten()
                .and_then(Dataset::last_verified)
                .map(|last| last.verification),
        });
        DatasetStatus {
            dataset: dataset.name.clone(),
            newest_snapshot: dataset.history.snapshots().rev().find_map(|point| format.time(&point.name)),
            alive_since: dataset.history.points().find_map(|point| format.time(&point.name)),
            copies: copies.collect(),
        }
    };
    Ok(selected.iter().map(one).collect())
}

/// The selection of the policy, for all guests, and the names of the copies on each listed target; `Err` says why the
/// source could not be asked.
pub(super) fn selected_and_named<'a>(
    policy: &'a Policy,
    inventory: &'a Inventory,
    now: Timestamp,
) -> Result<(Vec<Selected<'a>>, BTreeMap<&'a TargetName, Names>), String> {
    let source = match &inventory.source {
        Answer::Listed(listing) => listing,
        Answer::CouldNotAsk(why) => return Err(why.clone()),
    };
    let request = Request { now, take_snapshot: false, force_archive: false, guests: Vec::new() };
    let selected = select(policy, inventory, source, &request).selected;
    let names = names_by_target(policy, inventory, source, &selected);
    Ok((selected, names))
}

fn names_by_target<'a>(
    policy: &'a Policy,
    inventory: &Inventory,
    source: &Listing,
    selected: &[Selected<'_>],
) -> BTreeMap<&'a TargetName, Names> {
    let selected = selected.iter().map(|one| &one.dataset.name).collect();
    let of_target = |target: &'a Target| match inventory.targets.get(&target.name)? {
        Answer::Listed(there) => {
            Some((&target.name, names(policy, inventory, source, &selected, target, there)))
        }
        Answer::CouldNotAsk(_) => None,
    };
    policy.targets.iter().filter_map(of_target).collect()
}

/// The copy of a dataset, if there is one; `Err` says why that is not known.
pub(super) fn copy_of<'a>(
    inventory: &'a Inventory,
    target: &Target,
    names: Option<&Names>,
    selected: &Selected<'_>,
) -> Result<Option<&'a Dataset>, String> {
    let listing = match inventory.targets.get(&target.name) {
        Some(Answer::Listed(listing)) => listing,
        Some(Answer::CouldNotAsk(why)) => return Err(why.clone()),
        None => return Err("it was not asked".to_owned()),
    };
    let name = match names.and_then(|names| names.get(&selected.dataset.name)) {
        Some(CopyName::Called { name, .. }) => name,
        Some(CopyName::Invalid(error)) => return Err(error.to_string()),
        Some(CopyName::Contested { name, other, .. }) => {
            return Err(format!("{name} could be its copy or that of {other}"));
        }
        None => return Err("it has no name there; this is a bug".to_owned()),
    };
    if listing.why_unlisted(name).is_some() {
        return Err("the copy could not be listed".to_owned());
    }
    Ok(listing.get(name))
}

fn copy_state(
    policy: &Policy,
    inventory: &Inventory,
    target: &Target,
    names: Option<&Names>,
    selected: &Selected<'_>,
    now: Timestamp,
) -> CopyState {
    let there = match copy_of(inventory, target, names, selected) {
        Ok(Some(there)) => there,
        Ok(None) => return CopyState::Nothing { is_partial: false },
        Err(why) => return CopyState::CouldNotAsk { why },
    };
    let is_partial = there.resume_token.is_some();
    if there.history.newest_snapshot().is_none() {
        return CopyState::Nothing { is_partial };
    }
    let index = GuidIndex::new(&selected.dataset.history);
    let trust = Trust::new(selected.dataset, &policy.name_format);
    let line = Comparison::as_listed(&index, &trust, &there.history);
    let common = line.common.map(|common| common.source);
    let is_newer = |txg| common.is_none_or(|common| txg > common.createtxg);
    let source_snapshots = selected.dataset.history.snapshots();
    let newer =
        source_snapshots.filter(|point| policy.name_format.is_own(&point.name) && is_newer(point.createtxg));
    CopyState::Copied {
        newest_common: common.and_then(|point| policy.name_format.time(&point.name)),
        behind: newer.count(),
        diverged: if common.is_some() { line.unknown.len() } else { 0 },
        newest_month: match &target.kind {
            TargetKind::Archive(_) => newest_month(there, &policy.name_format, &policy.time_zone, now),
            TargetKind::Backup(_) => None,
        },
        is_partial,
    }
}

/// By name, or by the time in the name of one that was received but not renamed. A month that has not begun was made by hand.
fn newest_month(archive: &Dataset, format: &NameFormat, zone: &TimeZone, now: Timestamp) -> Option<Month> {
    let month = |text: &str| Month::parse(text).or_else(|| Some(Month::parse_day(text)?.0));
    let months = archive.history.snapshots().filter_map(|point| {
        month(point.name.as_str()).or_else(|| Some(Month::of(format.time(&point.name)?, zone)))
    });
    months.filter(|month| *month <= Month::of(now, zone)).max()
}

/// Everything that is not as it should be, in the order of `datasets`.
pub fn judge(
    datasets: &[DatasetStatus],
    now: Timestamp,
    zone: &TimeZone,
    thresholds: Thresholds,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for status in datasets {
        let mut complain = |target: Option<&CopyStatus>, found: Option<(Level, String)>| {
            if let Some((level, what)) = found {
                let (dataset, target) = (status.dataset.clone(), target.map(|copy| copy.target.clone()));
                complaints.push(Complaint { level, dataset, target, what });
            }
        };
        complain(None, judge_age("snapshot", status.newest_snapshot, now, thresholds));
        for copy in &status.copies {
            let found = match &copy.state {
                CopyState::CouldNotAsk { why } => {
                    Some((Level::Critical, format!("could not be asked: {why}")))
                }
                CopyState::Nothing { .. } if !copy.is_archive => {
                    Some((Level::Critical, "no backup".to_owned()))
                }
                CopyState::Copied { diverged: 1.., .. } => {
                    let what = "diverged: it has snapshots after the newest common one that the source does not know";
                    Some((Level::Warning, what.to_owned()))
                }
                CopyState::Copied { newest_common, .. } if !copy.is_archive => {
                    judge_age("backup", *newest_common, now, thresholds)
                }
                CopyState::Nothing { .. } => judge_archive(None, status.alive_since, now, zone, thresholds),
                CopyState::Copied { newest_month, .. } => {
                    judge_archive(*newest_month, status.alive_since, now, zone, thresholds)
                }
            };
            complain(Some(copy), found);
        }
    }
    complaints
}

fn judge_age(
    what: &str,
    newest: Option<Timestamp>,
    now: Timestamp,
    thresholds: Thresholds,
) -> Option<(Level, String)> {
    let Some(newest) = newest else {
        return Some((Level::Critical, format!("no {what} that the source still knows")));
    };
    let age = now.duration_since(newest);
    if -age > CLOCK_TOLERANCE {
        let ahead = (-age).as_hours();
        return Some((
            Level::Warning,
            format!("newest {what} is dated {ahead} h in the future; check the clock"),
        ));
    }
    let level = if age > thresholds.critical_after {
        Level::Critical
    } else if age > thresholds.warn_after {
        Level::Warning
    } else {
        return None;
    };
    Some((level, format!("newest {what} is {} h old", age.as_hours())))
}

/// The current month is missed after its grace days, if the policy was alive before its 1st; that the month before it is
/// missing too is critical.
fn judge_archive(
    newest: Option<Month>,
    alive_since: Option<Timestamp>,
    now: Timestamp,
    zone: &TimeZone,
    thresholds: Thresholds,
) -> Option<(Level, String)> {
    let current = Month::of(now, zone);
    let is_in_grace = zone.to_datetime(now).day() <= thresholds.archive_grace_days;
    match newest {
        Some(newest) if newest >= current => None,
        Some(newest) if newest.next() >= current => {
            let late = (Level::Warning, format!("{current} is not archived yet; the newest is {newest}"));
            (!is_in_grace).then_some(late)
        }
        Some(newest) => Some((Level::Critical, format!("the newest archive is {newest}"))),
        // A new installation waits for its first 1st.
        None if alive_since.is_some_and(|since| since < current.start(zone)) => {
            (!is_in_grace).then(|| (Level::Critical, "no archive".to_owned()))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests;
