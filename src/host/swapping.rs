//! Puts one dataset in the place of another on this machine, and keeps the other: `zfs clone`, `zfs rename`, `zfs promote`.
//!
//! Each step says by GUID what it means, and one that was done already does no harm: an interrupted swap continues.
//! Nothing is destroyed.

use super::restoring::Restoring;
use super::{HostError, Problem};
use crate::model::{ASIDE_MARK, DatasetKind, DatasetName, Guid, KeptMark, RESTORE_PROPERTY, SnapshotName};

impl Restoring {
    /// Creates the place below which datasets are put aside: never mounted, left out of every run, marked as ours.
    pub fn create_aside_place(&self, place: &DatasetName) -> Result<(), HostError> {
        self.create_marked_place(place, ASIDE_MARK)
    }

    /// Renames a dataset to its place aside, with everything below it. Fine where that is done.
    pub fn set_aside(&self, dataset: &DatasetName, guid: Guid, aside: &DatasetName) -> Result<(), HostError> {
        let rename = || {
            match self.program.dataset_guid(aside) {
                Ok(found) if found == guid => return Ok(()),
                Ok(_) => return Err(Problem::Exists),
                Err(Problem::NotFound) => {}
                Err(problem) => return Err(problem),
            }
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["rename", dataset.as_str(), aside.as_str()])
        };
        rename().map_err(|problem| self.program.error("set aside", format!("{dataset} as {aside}"), problem))
    }

    /// Clones `point`, a snapshot of `mark.of` with `mark.guid`, as `clone`, with the local properties of that dataset. It is
    /// not mounted, and carries the mark.
    pub fn clone_for(
        &self,
        mark: &KeptMark,
        point: &SnapshotName,
        clone: &DatasetName,
    ) -> Result<(), HostError> {
        let work = || {
            self.program.check_dataset(&mark.of, mark.old)?;
            self.program.check_point(&mark.of, &mark.point, mark.guid)?;
            let mut arguments = vec!["clone".to_owned()];
            arguments.extend(self.program.local_options(&mark.of)?);
            if mark.kind == DatasetKind::Filesystem {
                arguments.extend(["-o".to_owned(), "canmount=noauto".to_owned()]);
            }
            arguments.extend(["-o".to_owned(), format!("{RESTORE_PROPERTY}={mark}")]);
            arguments.extend([point.to_string(), clone.to_string()]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.program.run(&arguments)
        };
        work().map_err(|problem| self.program.error("clone", point, problem))
    }

    /// Makes a clone independent of the dataset that it was cloned from: it gets the snapshots up to its origin. Fine where it
    /// is no clone of a snapshot of `from`.
    pub fn promote(&self, dataset: &DatasetName, guid: Guid, from: &DatasetName) -> Result<(), HostError> {
        let promote = || {
            self.program.check_dataset(dataset, guid)?;
            let rows = self.program.rows(&["-t", "filesystem,volume", "-o", "origin", dataset.as_str()])?;
            let origin = rows.first().and_then(|row| row.first()).cloned().unwrap_or_default();
            if origin.split_once('@').is_some_and(|(origin, _)| origin == from.as_str()) {
                self.program.run(&["promote", dataset.as_str()])?;
            }
            Ok(())
        };
        promote().map_err(|problem| self.program.error("promote", dataset, problem))
    }

    /// Takes the reservations of a dataset that is put aside over to the one that is back in its place and has none.
    pub fn take_reservations_back(&self, from: &DatasetName, to: &DatasetName) {
        self.program.move_reservations(from, to);
    }

    /// Gives the clone in its place what [`clone_for`](Self::clone_for) could not: quotas, reservations, delegations, and the
    /// mount.
    pub fn finish_clone(&self, mark: &KeptMark, guid: Guid) -> Result<Option<Problem>, HostError> {
        let work = || {
            self.program.check_dataset(&mark.of, guid)?;
            self.program.move_limits(&mark.aside, &mark.of);
            self.program.copy_delegations(&mark.aside, &mark.of);
            if mark.kind == DatasetKind::Volume {
                return Ok(None);
            }
            self.program.set(&mark.of, "canmount", &mark.canmount)?;
            Ok(if mark.canmount == "on" { self.mount(&mark.of) } else { None })
        };
        work().map_err(|problem| self.program.error("bring into use", &mark.of, problem))
    }
}
