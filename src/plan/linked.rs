//! The origin of a clone, as a replication knows it.

use super::StepId;
use crate::model::{DatasetName, Point, SnapshotName};

/// The origin of a clone, at the source and on a target.
#[derive(Debug, Clone)]
pub(super) struct LinkedOrigin<'a> {
    /// Its dataset at the source.
    pub(super) dataset: &'a DatasetName,
    /// The snapshot there.
    pub(super) point: &'a Point,
    /// The snapshot on the target.
    pub(super) there: SnapshotName,
    /// The step that brings it there, or gives it this name.
    pub(super) step: Option<StepId>,
}
