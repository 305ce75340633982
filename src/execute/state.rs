//! What the steps of a run learn that later steps need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{DatasetName, Guid, PointName};

/// What became of this run's snapshot of one dataset.
#[derive(Debug, Clone)]
pub(super) enum Taken {
    /// It was taken; the GUID is known once it has its bookmark.
    Yes(Option<Guid>),
    /// It was not, and why.
    No(String),
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct State(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    taken: BTreeMap<DatasetName, Taken>,
    without_bookmark: BTreeSet<(DatasetName, PointName)>,
}

impl State {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of the snapshot of a dataset.
    pub(super) fn note_taken(&self, dataset: &DatasetName, taken: Taken) {
        self.known().taken.insert(dataset.clone(), taken);
    }

    /// What became of this run's snapshot of `dataset`.
    pub(super) fn taken(&self, dataset: &DatasetName) -> Taken {
        let unknown = || Taken::No("its step did not run".to_owned());
        self.known().taken.get(dataset).cloned().unwrap_or_else(unknown)
    }

    /// Notes that a snapshot could get no bookmark.
    pub(super) fn note_without_bookmark(&self, dataset: &DatasetName, snapshot: &PointName) {
        self.known().without_bookmark.insert((dataset.clone(), snapshot.clone()));
    }

    /// Whether this run tried to bookmark the snapshot, and could not.
    pub(super) fn is_without_bookmark(&self, dataset: &DatasetName, snapshot: &PointName) -> bool {
        self.known().without_bookmark.contains(&(dataset.clone(), snapshot.clone()))
    }
}
