//! What a plan lacks: snapshots of which a listing told too little to decide.
//!
//! A listing leaves out what ZFS tells only slowly ([`crate::model::Details`]). The planner decides as far as it can, always
//! on the safe side, and says which snapshots it would have had to know more of; with their details it plans again.

use std::collections::BTreeMap;

use super::{Place, Plan};
use crate::model::{DatasetName, Guid, NameError, Point, PointName, SnapshotName};

/// A plan, and what it lacks to be final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The plan. It destroys nothing of which too little is known.
    pub plan: Plan,
    /// What to ask for before it is made again; empty if it is final.
    pub wants: Wants,
}

/// What one host is to be asked for: names, and the GUIDs that must belong to them.
pub type Lookups = Result<Vec<(SnapshotName, Guid)>, NameError>;

/// Snapshots whose details somebody needs, by where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants(BTreeMap<Place, BTreeMap<DatasetName, BTreeMap<Guid, PointName>>>);

impl Wants {
    /// Notes `point` if its details are not known. Gives whether they are.
    pub fn note(&mut self, place: &Place, dataset: &DatasetName, point: &Point) -> bool {
        if point.details.is_some() {
            return true;
        }
        let at_place = self.0.entry(place.clone()).or_default();
        at_place.entry(dataset.clone()).or_default().insert(point.guid, point.name.clone());
        false
    }

    /// Whether nothing is lacking.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each place with what is to be asked there.
    pub fn places(&self) -> impl Iterator<Item = (&Place, Lookups)> {
        self.0.iter().map(|(place, datasets)| {
            let all = datasets.iter().flat_map(|(dataset, points)| {
                points.iter().map(move |(guid, name)| Ok((dataset.snapshot(name)?, *guid)))
            });
            (place, all.collect())
        })
    }
}
