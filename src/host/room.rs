//! How much room there is, and how much is needed, where something failed because there is too little.

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{ByteCount, DatasetName};

impl ZfsProgram {
    /// The problem, with the room that `dataset` and its parent have left where the cause is too little room.
    pub(super) fn with_room(&self, problem: Problem, dataset: &DatasetName) -> Problem {
        let Problem::NoSpace(text) = problem else { return problem };
        let parent = dataset.parent();
        let names = [Some(dataset), parent.as_ref()].into_iter().flatten().map(DatasetName::as_str);
        let arguments: Vec<&str> = ["-o", "name,available"].into_iter().chain(names).collect();
        let rows = self.rows(&arguments).unwrap_or_default();
        // A volume's own number has its reservation in it, and its parent's knows nothing of its quota.
        let available = rows.iter().filter_map(|row| match row.as_slice() {
            [name, available] => Some((available.parse().map(ByteCount).ok()?, name)),
            _ => None,
        });
        let least =
            available.min().map(|(available, name)| format!("{text}; {available} are available to {name}"));
        Problem::NoSpace(least.unwrap_or(text))
    }

    /// The same of a snapshot: that of a thick volume needs as much room as the volume has data of its own, since its
    /// reservation still covers the blocks that will be overwritten (`dsl_dataset_snapshot_reserve_space`).
    pub(super) fn with_reservation(&self, problem: Problem, dataset: &DatasetName) -> Problem {
        let Problem::NoSpace(text) = problem else { return problem };
        let rows = self.rows(&["-o", "refreservation,usedbydataset", dataset.as_str()]).unwrap_or_default();
        let needed = rows.first().and_then(|row| {
            let numbers = row.iter().map(|number| number.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
            let [reserved, data] = numbers.as_slice() else { return None };
            let needed = ByteCount(*reserved.min(data));
            (*reserved > 0)
                .then(|| format!("{text}; with its refreservation a snapshot needs up to {needed}"))
        });
        Problem::NoSpace(needed.unwrap_or(text))
    }
}
