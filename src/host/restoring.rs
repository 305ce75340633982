//! The work of a restore on this machine beside receiving: the place where it receives, and the steps that make a copy
//! a dataset in use.
//!
//! Nothing here overwrites or destroys what exists: a rename to a name that is taken fails, and only what carries the mark
//! of a restore under way can be given up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::calls::Calls;
use super::helper::THIS_PROGRAM;
use super::session::Limits;
use super::sessions::{Machine, Sessions};
use super::zfs_program::ZfsProgram;
use super::{HostError, Incoming, Problem, ReceiveSpec};
use crate::host::receive::ShellIncoming;
use crate::model::{
    BACKUP_PROPERTY, DatasetKind, DatasetName, Guid, INCOMING_MARK, Listing, RESTORE_PROPERTY, SnapshotName,
};
use crate::stream::Cancel;

/// The name of this machine in errors.
const HOST: &str = "here";

/// This machine, as the one that restores.
#[derive(Debug)]
pub struct Restoring {
    pub(super) program: ZfsProgram,
    pub(super) calls: Calls,
}

impl Restoring {
    /// Nothing is started before it is needed; `cancel` ends every wait.
    pub fn new(cancel: &Cancel) -> Self {
        let limits = Limits::default();
        let sessions = Sessions::new(Machine::Local, limits, cancel);
        let program = ZfsProgram::new(HOST.to_owned(), Arc::new(sessions));
        Self { program, calls: Calls::new(PathBuf::from(THIS_PROGRAM), limits.answer, cancel) }
    }

    /// Every dataset at and below `roots`, with all points; what does not exist is unlisted.
    pub fn list(&self, roots: &[DatasetName]) -> Result<Listing, HostError> {
        let failed =
            |problem| self.program.error("list", roots.first().map_or("", |root| root.as_str()), problem);
        self.program.list(roots, "filesystem,volume,snapshot,bookmark").map_err(failed)
    }

    /// Creates the place below which a restore is received: never mounted, left out of every run, marked as ours.
    pub fn create_place(&self, place: &DatasetName) -> Result<(), HostError> {
        self.create_marked_place(place, INCOMING_MARK)
    }

    pub(super) fn create_marked_place(&self, place: &DatasetName, word: &str) -> Result<(), HostError> {
        let (mark, out) = (format!("{RESTORE_PROPERTY}={word}"), format!("{BACKUP_PROPERTY}=never"));
        let arguments = ["create", "-o", "canmount=off", "-o", "mountpoint=none", "-o", &mark, "-o", &out];
        match self.program.run(&[&arguments[..], &[place.as_str()]].concat()) {
            // Another volume of this restore needed it, too; whose it is was looked at, and is looked at again.
            Ok(()) | Err(Problem::Exists) => {}
            Err(problem) => return Err(self.program.error("create", place, problem)),
        }
        self.check_mark(place, word).map_err(|problem| self.program.error("use", place, problem))
    }

    /// The GUID of a dataset that was received.
    pub fn guid_of(&self, dataset: &DatasetName) -> Result<Guid, HostError> {
        self.program.dataset_guid(dataset).map_err(|problem| self.program.error("look at", dataset, problem))
    }

    /// Starts to receive.
    pub fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        Ok(Box::new(ShellIncoming::start(&self.program, spec)?))
    }

    /// Marks a dataset that was received completely.
    pub fn mark(&self, dataset: &DatasetName, guid: Guid, mark: &str) -> Result<(), HostError> {
        let mark = format!("{RESTORE_PROPERTY}={mark}");
        let set = || {
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["set", &mark, dataset.as_str()])
        };
        set().map_err(|problem| self.program.error("mark", dataset, problem))
    }

    /// Gives a received dataset its final name, which must not exist.
    pub fn put_in_place(&self, from: &DatasetName, guid: Guid, to: &DatasetName) -> Result<(), HostError> {
        let rename = || {
            self.program.check_dataset(from, guid)?;
            self.program.run(&["rename", from.as_str(), to.as_str()])
        };
        rename().map_err(|problem| self.program.error("rename", format!("{from} to {to}"), problem))
    }

    /// Takes the settings of a safe copy off again, so that the dataset is as one that was created here. `is_thick` reserves
    /// the whole size of a volume. The mark stays.
    pub fn bring_into_use(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        kind: DatasetKind,
        is_thick: bool,
    ) -> Result<(), HostError> {
        let name = dataset.as_str();
        let work = || {
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["inherit", "readonly", name])?;
            match kind {
                // Not inheritable, so it has no default to go back to by `zfs inherit`.
                DatasetKind::Filesystem => self.program.run(&["set", "canmount=on", name])?,
                DatasetKind::Volume => {
                    self.program.run(&["inherit", "volmode", name])?;
                    if is_thick {
                        self.program.run(&["set", "refreservation=auto", name])?;
                    }
                }
            }
            Ok(())
        };
        work().map_err(|problem| self.program.error("bring into use", dataset, problem))
    }

    /// What Proxmox VE gives the file system of a container when it makes one.
    pub fn set_container_properties(&self, dataset: &DatasetName, guid: Guid) -> Result<(), HostError> {
        let set = || {
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["set", "acltype=posixacl", "xattr=sa", dataset.as_str()])
        };
        set().map_err(|problem| self.program.error("set acltype and xattr of", dataset, problem))
    }

    /// Limits a file system to the size that the configuration of its container says.
    pub fn set_refquota(&self, dataset: &DatasetName, bytes: u64) -> Result<(), HostError> {
        let set = || self.program.set(dataset, "refquota", &bytes.to_string());
        set().map_err(|problem| self.program.error("set refquota of", dataset, problem))
    }

    /// Takes the mark off a dataset that is ready for use: the restore is over.
    pub fn unmark(&self, dataset: &DatasetName, guid: Guid) -> Result<(), HostError> {
        let inherit = || {
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["inherit", RESTORE_PROPERTY, dataset.as_str()])
        };
        inherit().map_err(|problem| self.program.error("unmark", dataset, problem))
    }

    /// Gives a restored snapshot the configuration that its copy carries.
    pub fn store_config(
        &self,
        snapshot: &SnapshotName,
        guid: Guid,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), HostError> {
        let stored = self.program.store_config(snapshot.dataset(), snapshot.name(), guid, properties);
        stored.map_err(|problem| self.program.error("store the guest's configuration on", snapshot, problem))
    }

    /// How many bytes may still be written below `dataset`.
    pub fn available(&self, dataset: &DatasetName) -> Result<u64, HostError> {
        let failed = |problem| self.program.error("see the free space of", dataset, problem);
        let rows = self.program.rows(&["-o", "available", dataset.as_str()]).map_err(failed)?;
        let text = rows.first().and_then(|row| row.first()).ok_or(Problem::NotFound).map_err(failed)?;
        text.parse().map_err(|_| failed(Problem::Protocol(format!("zfs list answered {text:?}"))))
    }

    /// Mounts a file system, if it is one that mounts and is not mounted yet. Gives why it is not mounted in the end.
    pub fn mount(&self, dataset: &DatasetName) -> Option<Problem> {
        let columns = ["-o", "mounted,mountpoint,keystatus", dataset.as_str()];
        let rows = match self.program.rows(&columns) {
            Ok(rows) => rows,
            Err(problem) => return Some(problem),
        };
        let row: Vec<&str> =
            rows.first().map(|row| row.iter().map(String::as_str).collect()).unwrap_or_default();
        match row.as_slice() {
            ["yes", ..] | [_, "none" | "legacy" | "-", _] => None,
            [_, _, "unavailable"] => Some(Problem::Locked),
            _ => self.program.run(&["mount", dataset.as_str()]).err(),
        }
    }

    /// Destroys the place of restores, if it is ours and no dataset is below it any more.
    pub fn remove_place(&self, place: &DatasetName) -> Result<(), HostError> {
        let remove = || {
            self.check_mark(place, INCOMING_MARK)?;
            self.program.run(&["destroy", place.as_str()])
        };
        match remove() {
            // Another restore's, or without a mark.
            Ok(()) | Err(Problem::Busy(_) | Problem::NotFound | Problem::Changed(_)) => Ok(()),
            Err(problem) => Err(self.program.error("destroy", place, problem)),
        }
    }

    /// Gives up what a restore has received into `dataset`, which is directly below a place of restores: its partial
    /// receive, or the whole dataset with what was received. The plan reports bookmarks and snapshots that
    /// someone else made there.
    pub fn abandon(&self, dataset: &DatasetName, guid: Guid) -> Result<(), HostError> {
        let give_up = || {
            let place = dataset.parent().ok_or(Problem::NotFound)?;
            self.check_mark(&place, INCOMING_MARK)?;
            self.program.check_dataset(dataset, guid)?;
            self.program.run(&["destroy", "-r", dataset.as_str()])
        };
        give_up().map_err(|problem| self.program.error("destroy", dataset, problem))
    }

    /// Refuses unless the dataset itself carries this mark.
    fn check_mark(&self, dataset: &DatasetName, mark: &str) -> Result<(), Problem> {
        let mut value = None;
        let arguments = ["get", "-Hp", "-o", "value", "-s", "local", RESTORE_PROPERTY, dataset.as_str()];
        let answer = self.program.read(&arguments, &mut |line| {
            value = Some(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })?;
        if answer.status != 0 {
            return Err(super::zfs_errors::problem(answer));
        }
        if value.as_deref() == Some(mark) {
            return Ok(());
        }
        Err(Problem::Changed(format!(
            "it has no local property {RESTORE_PROPERTY}={mark}: it is not zhaul's"
        )))
    }
}
