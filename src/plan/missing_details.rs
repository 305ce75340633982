//! The details that a plan lacks: of snapshots of which a listing reported too little to decide.
//!
//! A listing leaves out what ZFS reports only slowly ([`crate::model::Details`]). The planner decides as far as it can,
//! always on the safe side, and says which snapshots it would have had to know more of; with their details it plans
//! again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Place, Plan};
use crate::model::{Dataset, DatasetName, Guid, NameError, Point, PointName, SnapshotName};

/// A plan, and what it lacks to be final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The plan. It destroys nothing of which too little is known.
    pub plan: Plan,
    /// The details to ask for before it is made again; empty if it is final.
    pub wants: MissingDetails,
}

/// The snapshots of which one host is asked: names, and the GUIDs that must belong to them.
pub type DetailLookups = Result<Vec<(SnapshotName, Guid)>, NameError>;

/// Snapshots whose details are needed, by where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingDetails {
    details: BTreeMap<Place, Points>,
    lineage: Points,
    line_histories: BTreeSet<DatasetName>,
}

/// Snapshots by their datasets.
type Points = BTreeMap<DatasetName, BTreeMap<Guid, PointName>>;

impl MissingDetails {
    /// Notes `point` if its details are not known. Gives whether they are.
    pub fn note(&mut self, place: &Place, dataset: &DatasetName, point: &Point) -> bool {
        if point.details.is_some() {
            return true;
        }
        let at_place = self.details.entry(place.clone()).or_default();
        at_place.entry(dataset.clone()).or_default().insert(point.guid, point.name.clone());
        false
    }

    /// Notes a snapshot of a source dataset if it is not known what it says of its lineage. Gives whether that is known.
    pub fn note_lineage(&mut self, dataset: &Dataset, snapshot: &Point) -> bool {
        if dataset.lineage.contains_key(&snapshot.guid) {
            return true;
        }
        let points = self.lineage.entry(dataset.name.clone()).or_default();
        points.insert(snapshot.guid, snapshot.name.clone());
        false
    }

    /// Notes a source dataset if it is not known when it left its line. Gives whether that is known.
    pub fn note_line_history(&mut self, dataset: &Dataset) -> bool {
        let is_known = dataset.line_history.is_some();
        if !is_known {
            self.line_histories.insert(dataset.name.clone());
        }
        is_known
    }

    /// Whether nothing is lacking.
    pub fn is_empty(&self) -> bool {
        self.details.is_empty() && self.lineage.is_empty() && self.line_histories.is_empty()
    }

    /// The source datasets of which the pools' histories are to be asked.
    pub fn line_histories(&self) -> Vec<DatasetName> {
        self.line_histories.iter().cloned().collect()
    }

    /// The source's snapshots that are to be asked for their lineage.
    pub fn lineage(&self) -> DetailLookups {
        lookups(&self.lineage)
    }

    /// Each place with what is to be asked there for its details.
    pub fn places(&self) -> impl Iterator<Item = (&Place, DetailLookups)> {
        self.details.iter().map(|(place, points)| (place, lookups(points)))
    }
}

fn lookups(points: &Points) -> DetailLookups {
    let all = points.iter().flat_map(|(dataset, points)| {
        points.iter().map(move |(guid, name)| Ok((dataset.snapshot(name)?, *guid)))
    });
    all.collect()
}
