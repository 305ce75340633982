//! Why nothing can be restored.

use super::At;
use crate::model::{DatasetName, NameError, PointName, TargetName, Unlisted};
use crate::plan::Place;

/// Why nothing can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// Nothing is known of such a thing.
    NothingFound {
        /// As it was asked for.
        what: String,
        /// Targets that could not be listed, and why.
        unlisted: Vec<(TargetName, String)>,
        /// Some of the names that exist.
        known: Vec<DatasetName>,
    },
    /// Nothing of it is on this host, so there is nothing to roll back.
    NotHere {
        /// As it was asked for.
        what: String,
        /// Some of the names that are here.
        known: Vec<DatasetName>,
    },
    /// There is no such point.
    NoSuchPoint {
        /// As it was asked for.
        what: String,
        /// The point asked for.
        at: Option<At>,
        /// The place asked for.
        from: Option<Place>,
        /// The oldest there is.
        oldest: Option<PointName>,
        /// The newest there is.
        newest: Option<PointName>,
    },
    /// Only what was set aside has the point.
    OnlySetAside {
        /// As it was asked for.
        what: String,
        /// The point.
        point: PointName,
        /// What was set aside of its datasets and has the point, each with the dataset.
        set_aside: Vec<(DatasetName, DatasetName)>,
    },
    /// The newest point lacks a volume.
    Incomplete {
        /// As it was asked for.
        what: String,
        /// The point.
        point: PointName,
        /// Where it is.
        place: Place,
        /// The volumes it lacks.
        missing: Vec<DatasetName>,
        /// The newest that has all of them.
        complete: Option<PointName>,
    },
    /// The restore was begun with volumes of which the point has nothing any more.
    Lost {
        /// The point.
        point: PointName,
        /// Where it is taken from.
        place: Place,
        /// The volumes, by the names that they would have here.
        lost: Vec<DatasetName>,
        /// Targets that could not be listed, and may have them: why.
        unlisted: Vec<(TargetName, String)>,
        /// The newest that has all of it.
        complete: Option<PointName>,
    },
    /// A dataset of that name exists.
    Exists {
        /// The dataset.
        dataset: DatasetName,
        /// Whether it holds the very snapshot that was asked for.
        has_point: bool,
        /// The point that was chosen, where one was.
        point: Option<PointName>,
        /// Volumes of the same guest that do not exist here.
        missing: Vec<DatasetName>,
    },
    /// Datasets are below it, which would go with it.
    HasChildren {
        /// The dataset.
        dataset: DatasetName,
    },
    /// It is encrypted with a key of its own: no clone of it can take its place.
    OwnKey {
        /// The dataset.
        dataset: DatasetName,
    },
    /// It is a clone that is encrypted with its origin's key: it can be put nowhere else.
    OriginsKey {
        /// The dataset.
        dataset: DatasetName,
        /// The dataset that has the key.
        key_of: DatasetName,
    },
    /// Two volumes would get one name.
    SameName {
        /// The name.
        dataset: DatasetName,
    },
    /// The dataset above it does not exist.
    NoParent {
        /// The dataset.
        parent: DatasetName,
        /// Whether its pool is not there.
        is_pool_missing: bool,
        /// The storages that the guest's disks were on and this host does not have, by their ids or datasets.
        former: Vec<String>,
        /// The ids of the storages of this host.
        storages: Vec<String>,
    },
    /// A dataset that has to be known here could not be listed.
    NotListed {
        /// The dataset.
        dataset: DatasetName,
        /// Why.
        why: Unlisted,
    },
    /// A dataset is called as the place of restores is, and is not zhaul's.
    PlaceTaken {
        /// The dataset.
        place: DatasetName,
    },
    /// An interrupted restore of another point is there.
    OtherRestore {
        /// Where.
        incoming: DatasetName,
        /// Its point, as far as it is known.
        point: Option<PointName>,
    },
    /// A name that would be needed is not valid.
    Name(NameError),
}

impl From<NameError> for RestoreError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
