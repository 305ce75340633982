//! The marks of copies that were compared, and the scratch snapshot through which a damaged one is healed.

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{
    DatasetName, Guid, HEALING_PROPERTY, HEALING_SNAPSHOT, LAST_VERIFIED_PROPERTY, LastVerified, PointName,
    SnapshotName, VERIFIED_PROPERTY, Verification,
};

impl ZfsProgram {
    /// Marks a snapshot whose content was compared, and the copy.
    pub(super) fn mark_verified(
        &self,
        dataset: &DatasetName,
        snapshot: &PointName,
        guid: Guid,
        verification: Verification,
    ) -> Result<(), Problem> {
        self.check_point(dataset, snapshot, guid)?;
        self.run(&["set", &format!("{VERIFIED_PROPERTY}={verification}"), &format!("{dataset}@{snapshot}")])?;
        self.set(dataset, LAST_VERIFIED_PROPERTY, &LastVerified { guid, verification }.to_string())
    }

    /// Takes the scratch snapshot of a copy, whose newest snapshot must be the one of this GUID; gives the scratch snapshot's.
    /// The mark comes first: whatever is interrupted, the snapshot is known for what it is.
    pub(super) fn begin_healing(&self, dataset: &DatasetName, newest: Guid) -> Result<Guid, Problem> {
        self.end_healing(dataset)?;
        let listing = self.list(std::slice::from_ref(dataset), "filesystem,volume,snapshot")?;
        let found = listing.get(dataset).ok_or(Problem::NotFound)?;
        let refuse = |why: &str| Err(Problem::Changed(why.to_owned()));
        if found.origin.is_some() {
            return refuse("it is a clone, and OpenZFS crashes where one is healed");
        }
        match found.history.newest_snapshot() {
            Some(point) if point.guid == newest => {}
            _ => return refuse("it has another newest snapshot by now"),
        }
        if found.written_bytes > 0 {
            return refuse("it was written to since its newest snapshot");
        }
        if found.resume_token.is_some() {
            return Err(Problem::Busy("a receive into it broke off; the next run resumes it".to_owned()));
        }
        self.set(dataset, HEALING_PROPERTY, &newest.to_string())?;
        let scratch = scratch(dataset)?;
        self.run(&["snapshot", &scratch.to_string()])?;
        self.guids(std::slice::from_ref(&scratch))?
            .get(&scratch.to_string())
            .copied()
            .ok_or(Problem::NotFound)
    }

    /// Destroys the scratch snapshot of a copy that carries the mark, and takes the mark off; otherwise does nothing.
    pub(super) fn end_healing(&self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.get_local(dataset.as_str(), HEALING_PROPERTY)?.is_none() {
            return Ok(());
        }
        match self.run(&["destroy", &scratch(dataset)?.to_string()]) {
            Ok(()) | Err(Problem::NotFound) => {}
            Err(problem) => return Err(problem),
        }
        self.run(&["inherit", HEALING_PROPERTY, dataset.as_str()])
    }
}

/// The scratch snapshot's name.
fn scratch(dataset: &DatasetName) -> Result<SnapshotName, Problem> {
    let name = PointName::new(HEALING_SNAPSHOT).and_then(|name| dataset.snapshot(&name));
    name.map_err(|error| Problem::Other(error.to_string()))
}
