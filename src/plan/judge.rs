//! The verdict of the keep rules on a dataset's own snapshots.

use jiff::Timestamp;

use super::builder::Builder;
use super::{FindingKind, KeptBy, Place, Reason, Severity, ToDestroy};
use crate::model::{DatasetName, Point};
use crate::policy::{KeepRules, Policy};

/// An own snapshot that a keep rule may judge; `None` is one that this plan makes.
pub(super) type Candidate<'a> = (Timestamp, Option<&'a Point>);

/// The verdict of the keep rules on a dataset's own snapshots.
pub(super) struct Judged<'a> {
    rules: KeepRules,
    /// Those that no rule keeps, newest first.
    pub(super) unkept: Vec<&'a Point>,
    /// All that the rules were shown, and whatever else the verdict rests on.
    pub(super) counted: Vec<&'a Point>,
}

/// Shows the candidates (newest first) to the rules; the newest is always kept.
pub(super) fn judge<'a>(
    rules: &KeepRules,
    policy: &Policy,
    now: Timestamp,
    mut candidates: Vec<Candidate<'a>>,
) -> Judged<'a> {
    if rules.is_empty() {
        return Judged { rules: *rules, unkept: Vec::new(), counted: Vec::new() };
    }
    // Names may have stepped back with the clock; the rules want the newest first by time.
    let newest = candidates.first().copied();
    candidates.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let times: Vec<Timestamp> = candidates.iter().map(|(time, _)| *time).collect();
    let kept = rules.select(&times, &policy.time_zone, now);
    let unkept =
        candidates.iter().zip(kept).filter(|(_, keep)| keep.is_none()).map(|(candidate, _)| *candidate);
    let unkept =
        unkept.filter(|candidate| Some(*candidate) != newest).filter_map(|(_, point)| point).collect();
    Judged { rules: *rules, unkept, counted: candidates.into_iter().filter_map(|(_, point)| point).collect() }
}

impl Judged<'_> {
    /// Keeps the snapshots that are needed, whatever the rules say.
    pub(super) fn keep(&mut self, is_needed: impl Fn(&Point) -> bool) {
        self.unkept.retain(|point| !is_needed(point));
    }

    /// The snapshots that may go of those that no rule keeps, oldest first; reports those that ZFS would not destroy.
    /// Nothing goes before all that was counted is known: a snapshot that will vanish by itself must not push another
    /// one out.
    pub(super) fn resolve(
        self,
        builder: &mut Builder,
        source: &DatasetName,
        place: &Place,
        dataset: &DatasetName,
        is_held_or_cloned: impl Fn(&Point) -> bool,
    ) -> Vec<ToDestroy> {
        let (unkept, rules) = (self.unkept, self.rules);
        if unkept.is_empty() {
            return Vec::new();
        }
        if !builder.knows(place, dataset, self.counted) {
            let kind = FindingKind::NotPruned { copy: dataset.clone() };
            builder.find(Severity::Warning, Some(source), place.clone(), kind);
            return Vec::new();
        }
        let (held_or_cloned, free): (Vec<&Point>, Vec<&Point>) =
            unkept.into_iter().partition(|point| is_held_or_cloned(point));
        report_held_or_cloned(builder, Some(source), place, &held_or_cloned);
        free.into_iter().rev().map(|point| ToDestroy::new(point, Reason::NotKept { rules })).collect()
    }
}

fn report_held_or_cloned(
    builder: &mut Builder,
    dataset: Option<&DatasetName>,
    place: &Place,
    held_or_cloned: &[&Point],
) {
    for point in held_or_cloned {
        let is_held = point.details.is_some_and(|details| details.holds > 0);
        let by = if is_held { KeptBy::Hold } else { KeptBy::Clone };
        let kind = FindingKind::StaysInUse { snapshot: point.name.clone(), by };
        builder.find(Severity::Note, dataset, place.clone(), kind);
    }
}
