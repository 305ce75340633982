//! Rolling datasets of this machine back: what is meant is confirmed first, and the kernel refuses where anything is newer.

use std::collections::HashMap;

use super::kernel_errors::of_cause;
use super::zfs_program::{NAMES_MAX, number, number_or_none, other_guid};
use super::{HostError, Problem, Restoring};
use crate::model::{DatasetName, Guid, PointName, SnapshotName};

/// A snapshot that a dataset is to be rolled back to.
#[derive(Debug, Clone, Copy)]
pub struct RollbackGoal<'a> {
    /// The dataset.
    pub dataset: &'a DatasetName,
    /// Its GUID.
    pub dataset_guid: Guid,
    /// The snapshot.
    pub to: &'a PointName,
    /// The GUID of the snapshot.
    pub guid: Guid,
}

/// A goal that was what the plan says, a moment ago.
#[derive(Debug)]
pub struct ConfirmedGoal {
    to: SnapshotName,
    /// The size of a volume, in bytes, where exactly this is reserved for it.
    reserved_bytes: Option<u64>,
}

/// What a name stands for.
struct Found {
    guid: Guid,
    size_bytes: u64,
    reserved_bytes: u64,
}

impl Restoring {
    /// Refuses unless all these datasets and snapshots are still those that are meant: one question for all.
    pub fn confirm(&self, goals: &[RollbackGoal<'_>]) -> Result<Vec<ConfirmedGoal>, HostError> {
        let failed = |goal: &RollbackGoal<'_>, problem| {
            self.program.error("roll back to", format!("{}@{}", goal.dataset, goal.to), problem)
        };
        let Some(first) = goals.first() else { return Ok(Vec::new()) };
        let names =
            goals.iter().flat_map(|goal| [goal.dataset.to_string(), format!("{}@{}", goal.dataset, goal.to)]);
        let found = self.find(&names.collect::<Vec<_>>()).map_err(|problem| failed(first, problem))?;
        let confirm = |goal: &RollbackGoal<'_>| {
            let to = goal.dataset.snapshot(goal.to).map_err(|error| Problem::Other(error.to_string()))?;
            let is = |name: &str, guid| match found.get(name) {
                Some(found) if found.guid == guid => Ok(found),
                Some(found) => Err(other_guid(guid, found.guid)),
                None => Err(Problem::NotFound),
            };
            let dataset = is(goal.dataset.as_str(), goal.dataset_guid)?;
            is(&to.to_string(), goal.guid)?;
            let reserved_bytes =
                Some(dataset.size_bytes).filter(|&bytes| bytes > 0 && bytes == dataset.reserved_bytes);
            Ok(ConfirmedGoal { to, reserved_bytes })
        };
        goals.iter().map(|goal| confirm(goal).map_err(|problem| failed(goal, problem))).collect()
    }

    fn find(&self, names: &[String]) -> Result<HashMap<String, Found>, Problem> {
        let mut found = HashMap::new();
        for some in names.chunks(NAMES_MAX) {
            let columns = ["-t", "filesystem,volume,snapshot", "-o", "name,guid,volsize,refreservation"];
            let names = some.iter().map(String::as_str);
            for row in self.program.rows(&columns.into_iter().chain(names).collect::<Vec<_>>())? {
                let [name, guid, size, reserved] = row.as_slice() else {
                    return Err(Problem::Protocol(format!("zfs list answered {row:?}")));
                };
                let (size_bytes, reserved_bytes) = (number_or_none(size)?, number_or_none(reserved)?);
                found.insert(name.clone(), Found { guid: Guid(number(guid)?), size_bytes, reserved_bytes });
            }
        }
        Ok(found)
    }

    /// Rolls a dataset back to its newest snapshot. The caller has just had the goal confirmed.
    pub fn roll_back(&self, goal: &ConfirmedGoal) -> Result<(), HostError> {
        let failed = |problem| self.program.error("roll back to", &goal.to, problem);
        self.calls.roll_back(&goal.to).map_err(|error| failed(of_cause(error.cause())))?;
        let Some(before) = goal.reserved_bytes else { return Ok(()) };
        // The size goes back with the data, and `zfs rollback` has the reservation follow it.
        let dataset = goal.to.dataset();
        let found = self.find(&[dataset.to_string()]).map_err(failed)?;
        let size = found.get(dataset.as_str()).map(|found| found.size_bytes).filter(|&size| size != before);
        let set = |size: u64| self.program.set(dataset, "refreservation", &size.to_string());
        size.map_or(Ok(()), set)
            .map_err(|problem| self.program.error("set refreservation of", dataset, problem))
    }

    /// Mounts a file system again that was rolled back: the kernel may still cache files that have changed.
    pub fn remount(&self, dataset: &DatasetName) -> Option<Problem> {
        let rows = match self.program.rows(&["-o", "mounted,canmount", dataset.as_str()]) {
            Ok(rows) => rows,
            Err(problem) => return Some(problem),
        };
        let row: Vec<&str> =
            rows.first().map(|row| row.iter().map(String::as_str).collect()).unwrap_or_default();
        match row.as_slice() {
            ["yes", _] => {
                self.program.run(&["unmount", dataset.as_str()]).err().or_else(|| self.mount(dataset))
            }
            // An interrupted rollback may have left it so.
            [_, "on"] => self.mount(dataset),
            _ => None,
        }
    }
}
