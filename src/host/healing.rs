//! The marks of copies that were compared, and the scratch snapshot through which a damaged one is healed.

use super::zfs_program::ZfsProgram;
use super::{Problem, ReceiveSpec};
use crate::model::{
    DatasetName, Guid, HEALING_PROPERTY, HEALING_SNAPSHOT, LastVerified, PointName, SnapshotName,
    VERIFIED_PROPERTY, Verification, VerifiedBy,
};

impl ZfsProgram {
    /// Marks a snapshot whose content was compared, and the copy; or takes the marks of comparisons off.
    pub(super) fn mark_verified(
        &self,
        dataset: &DatasetName,
        snapshot: &PointName,
        guid: Guid,
        verification: Option<Verification>,
    ) -> Result<(), Problem> {
        self.check_point(dataset, snapshot, guid)?;
        let name = format!("{dataset}@{snapshot}");
        let Some(verification) = verification else {
            self.run(&["inherit", VERIFIED_PROPERTY, &name])?;
            return self.run(&["inherit", VerifiedBy::Content.property(), dataset.as_str()]);
        };
        self.run(&["set", &format!("{VERIFIED_PROPERTY}={verification}"), &name])?;
        self.set(dataset, verification.by.property(), &LastVerified { guid, verification }.to_string())
    }

    /// Takes the scratch snapshot of a copy, whose newest snapshot must be the one of this GUID; gives the scratch snapshot's.
    /// The mark of the copy comes first, and the snapshot has its own from the beginning: whatever is interrupted, it is known
    /// for what it is.
    pub(super) fn begin_healing(&self, dataset: &DatasetName, newest: Guid) -> Result<Guid, Problem> {
        self.end_healing(dataset)?;
        let listing = self.list(std::slice::from_ref(dataset), "filesystem,volume,snapshot")?;
        let found = listing.get(dataset).ok_or(Problem::NotFound)?;
        let refuse = |why: &str| Err(Problem::Changed(why.to_owned()));
        if found.origin.is_some() {
            return refuse("it is a clone, and OpenZFS crashes where one is healed");
        }
        match found.history.newest_snapshot() {
            Some(point) if point.name.as_str() == HEALING_SNAPSHOT => {
                return refuse(
                    "its newest snapshot is called as zhaul's for healing, and was made by someone else",
                );
            }
            Some(point) if point.guid == newest => {}
            _ => return refuse("it has another newest snapshot by now"),
        }
        if found.written_bytes > 0 {
            return refuse("it was written to since its newest snapshot");
        }
        if found.resume_token.is_some() {
            return Err(Problem::Busy("a receive into it broke off; the next run resumes it".to_owned()));
        }
        self.check_compression(dataset)?;
        let scratch = scratch(dataset)?;
        if self.guids(std::slice::from_ref(&scratch))?.contains_key(&scratch.to_string()) {
            return refuse(
                "it has a snapshot that is called as zhaul's for healing, and was made by someone else",
            );
        }
        self.set(dataset, HEALING_PROPERTY, &newest.to_string())?;
        let taken =
            self.run(&["snapshot", "-o", &format!("{HEALING_PROPERTY}={newest}"), &scratch.to_string()]);
        if let Err(problem) = taken {
            self.end_healing(dataset)?;
            return Err(problem);
        }
        self.guids(std::slice::from_ref(&scratch))?
            .get(&scratch.to_string())
            .copied()
            .ok_or(Problem::NotFound)
    }

    /// Refuses where blocks may be compressed in a way that depends on more than the block says. A corrective receive compresses
    /// what it got again, as the damaged block says (`do_corrective_recv`); with zstd at another level the result can be longer than
    /// the block, and OpenZFS 2.4.4 then overwrites the kernel's memory.
    fn check_compression(&self, dataset: &DatasetName) -> Result<(), Problem> {
        let values = self.lines(&["get", "-Hp", "-o", "value", "compression", dataset.as_str()])?;
        let value = values.first().map_or("", String::as_str);
        let refuse = |why: String| {
            Err(Problem::NeverReceivable(format!("{why}: OpenZFS can crash where such blocks are healed")))
        };
        if ["zstd", "gzip"].iter().any(|word| value.starts_with(word)) {
            return refuse(format!("its compression is {value}"));
        }
        let pool = dataset.pool();
        match self.pool_feature("zstd_compress", pool)?.as_str() {
            "disabled" | "enabled" => Ok(()),
            "active" => refuse(format!("pool {pool} has blocks that are compressed with zstd")),
            other => refuse(format!(
                "whether pool {pool} has blocks that are compressed with zstd is not known ({other:?})"
            )),
        }
    }

    /// Refuses a receive that heals into anything but the scratch snapshot of a healing under way: it would leave a snapshot that
    /// can never be mounted again.
    pub(super) fn check_scratch(&self, spec: &ReceiveSpec) -> Result<(), Problem> {
        let dataset = spec.snapshot.dataset();
        let refuse =
            || Err(Problem::Denied("only the scratch snapshot of a healing is received into so".to_owned()));
        if spec.snapshot.name().as_str() != HEALING_SNAPSHOT || !self.is_scratch(dataset)? {
            return refuse();
        }
        let found = self.guids(std::slice::from_ref(&spec.snapshot))?;
        match (found.get(&spec.snapshot.to_string()), spec.to) {
            (Some(found), Some(to)) if *found == to => Ok(()),
            _ => refuse(),
        }
    }

    /// Whether the copy is marked, and its scratch snapshot has the same mark.
    fn is_scratch(&self, dataset: &DatasetName) -> Result<bool, Problem> {
        let Some(mark) = self.get_local(dataset.as_str(), HEALING_PROPERTY)? else { return Ok(false) };
        let of_snapshot = self.get_local(&scratch(dataset)?.to_string(), HEALING_PROPERTY);
        match of_snapshot {
            Ok(found) => Ok(found.as_deref() == Some(mark.as_str())),
            Err(Problem::NotFound) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    /// Destroys the scratch snapshot of a copy that carries the mark, if it has the same mark, and takes the copy's off.
    pub(super) fn end_healing(&self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.get_local(dataset.as_str(), HEALING_PROPERTY)?.is_none() {
            return Ok(());
        }
        if self.is_scratch(dataset)? {
            match self.run(&["destroy", &scratch(dataset)?.to_string()]) {
                Ok(()) | Err(Problem::NotFound) => {}
                Err(problem) => return Err(problem),
            }
        }
        self.run(&["inherit", HEALING_PROPERTY, dataset.as_str()])
    }
}

/// The scratch snapshot's name.
fn scratch(dataset: &DatasetName) -> Result<SnapshotName, Problem> {
    let name = PointName::new(HEALING_SNAPSHOT).and_then(|name| dataset.snapshot(&name));
    name.map_err(|error| Problem::Other(error.to_string()))
}
