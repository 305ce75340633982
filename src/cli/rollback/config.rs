//! The configuration of a guest that is rolled back: locked meanwhile, and written from the point.

use std::io;

use anyhow::Context;

use super::super::args::RollbackArgs;
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::super::restore::random;
use crate::host::{CurrentFile, GuestFiles, Problem};
use crate::model::{Answer, DatasetName, GuestConfig, GuestId, GuestKind, Inventory, Proxmox, SnapshotName};
use crate::plan::restore::{RolledBack, What, rolled_back_config};

/// The file of the guest, and what becomes of it.
pub(super) struct Configuration {
    files: GuestFiles,
    id: GuestId,
    current: CurrentFile,
    change: FileChange,
    /// The datasets that the point's configuration names; `None` where it is not known.
    had: Option<Vec<DatasetName>>,
}

/// The change of the file.
enum FileChange {
    /// It stays, since that was asked for.
    Kept,
    /// It stays, since the point carries none, or, with the reason, none that is of use.
    NotStored(Option<String>),
    /// It is written from the point.
    Written { rolled: RolledBack, firewall: Option<String> },
}

impl Configuration {
    /// Reads the guest's file and the configuration of the point. `None` where no guest is rolled back, or it has no file.
    pub(super) fn find(
        args: &RollbackArgs,
        context: &CommandContext,
        inventory: &Inventory,
        points: &[SnapshotName],
    ) -> Result<Option<Self>, Failure> {
        let (What::Guest(id), Some(directory)) = (&args.what, &context.policy.guest_config) else {
            return Ok(None);
        };
        let (id, files) = (*id, GuestFiles::new(directory));
        let current = files.current(id).with_context(|| format!("cannot read the file of guest {id}"));
        let Some(current) = current.or_exit(Code::Blocked)? else { return Ok(None) };
        let (stored, unusable) = stored(context, points, id, current.kind)?;
        let had = stored.as_ref().map(|stored| datasets(stored, &inventory.proxmox));
        let change = match stored {
            // It was written before its lock is taken off.
            _ if args.keep_config || current.is_exchanged => FileChange::Kept,
            None => FileChange::NotStored(unusable),
            Some(stored) => {
                let exists = |storage: &str, volume: &str| exists(inventory, &current, storage, volume);
                let mut random = random().context("cannot read random numbers").or_exit(Code::Failed)?;
                let rolled =
                    rolled_back_config(&current.text, &stored, &exists, &mut || random.next().unwrap_or(0));
                FileChange::Written { rolled, firewall: stored.firewall }
            }
        };
        Ok(Some(Self { files, id, current, change, had }))
    }

    /// Whether a rollback of this guest was begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.current.is_begun
    }

    /// Whether an interrupted `--keep` has only the lock left to be taken off.
    pub(super) fn is_exchanged(&self) -> bool {
        self.current.is_exchanged
    }

    pub(super) fn is_container(&self) -> bool {
        self.current.kind == GuestKind::Container
    }

    /// Whether it is known that the guest did not have this disk then.
    pub(super) fn had_no(&self, dataset: &DatasetName) -> bool {
        self.had.as_ref().is_some_and(|had| !had.contains(dataset))
    }

    fn file(&self) -> String {
        format!("{}/{}.conf", self.current.kind.directory(), self.id)
    }

    /// The planned change of the file, in words.
    pub(super) fn plan_text(&self) -> String {
        let file = self.file();
        match &self.change {
            FileChange::Kept => format!("  {file} stays as it is\n"),
            FileChange::NotStored(None) => {
                format!("  {file} stays as it is: the point carries no configuration\n")
            }
            FileChange::NotStored(Some(why)) => {
                format!("  {file} stays as it is: the point's configuration is not used, since {why}\n")
            }
            FileChange::Written { rolled, .. } => {
                let unused = rolled.unused.iter().map(|volume| {
                    format!("    {} is not in it, and stays as an unused disk\n", escape(volume))
                });
                let gone = rolled
                    .gone
                    .iter()
                    .map(|line| format!("    does not exist, becomes a comment: {}\n", escape(line)));
                format!("  {file} is written from the point\n{}", unused.chain(gone).collect::<String>())
            }
        }
    }

    /// The change that was made, in words.
    pub(super) fn text_after(&self) -> String {
        let start = if self.is_container() { "pct" } else { "qm" };
        let written = match self.change {
            FileChange::Written { .. } => {
                format!("wrote {0}; as it was before: {0}.before-rollback\n", self.file())
            }
            FileChange::Kept | FileChange::NotStored(_) => String::new(),
        };
        format!("{written}  next: {start} start {}\n", self.id)
    }

    /// Locks the guest.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        let begun = self.files.begin_rollback(self.current.kind, self.id);
        begun
            .with_context(|| {
                format!(
                    "cannot lock {}: nothing was done\n  next: see that the node is quorate (`pvecm status`)",
                    self.file()
                )
            })
            .or_exit(Code::Blocked)
    }

    /// Keeps a copy of the guest's files beside them.
    pub(super) fn copy_aside(&self, stamp: &str) -> Result<(), Failure> {
        let copied = self.files.copy_aside(self.id, stamp);
        copied.with_context(|| format!("cannot keep a copy of {}", self.file())).or_exit(Code::Failed)
    }

    /// Takes the lock off; the file is as it was.
    pub(super) fn give_up(&self) -> Result<(), Failure> {
        self.written(self.files.finish_rollback(self.current.kind, self.id, &self.current.text, None))
    }

    /// Writes the file as it is to be, and leaves it locked: what is left is to be done before anybody starts the guest.
    pub(super) fn hold(&self) -> Result<(), Failure> {
        let (text, firewall) = self.text();
        self.written(self.files.hold_rollback(self.current.kind, self.id, text, firewall))
    }

    /// Writes the file as it is to be, without the lock.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let (text, firewall) = self.text();
        self.written(self.files.finish_rollback(self.current.kind, self.id, text, firewall))
    }

    fn text(&self) -> (&str, Option<&str>) {
        match &self.change {
            FileChange::Kept | FileChange::NotStored(_) => (&self.current.text, None),
            FileChange::Written { rolled, firewall } => (&rolled.text, firewall.as_deref()),
        }
    }

    fn written(&self, written: io::Result<()>) -> Result<(), Failure> {
        written
            .with_context(|| {
                format!(
                    "cannot write {}\n  next: see that the node is quorate (`pvecm status`), then the same command again",
                    self.file()
                )
            })
            .or_exit(Code::Failed)
    }
}

/// The configuration of the first of these snapshots that exists and has one of this guest, and else why those that there are are not
/// used.
fn stored(
    context: &CommandContext,
    points: &[SnapshotName],
    id: GuestId,
    kind: GuestKind,
) -> Result<(Option<GuestConfig>, Option<String>), Failure> {
    let mut unusable = None;
    for snapshot in points {
        let properties = match context.source.config(snapshot) {
            Err(error) if matches!(error.problem, Problem::NotFound) => continue,
            properties => properties.or_exit(Code::Failed)?,
        };
        match GuestConfig::parse(&properties) {
            Ok(None) => {}
            Ok(Some(config)) if (config.id, config.kind) == (id, kind) => return Ok((Some(config), None)),
            Ok(Some(config)) => {
                unusable.get_or_insert(format!("it is of {}/{}", config.kind.directory(), config.id));
            }
            Err(why) => {
                unusable.get_or_insert(why.to_string());
            }
        }
    }
    Ok((None, unusable))
}

/// The datasets of the volumes that a stored configuration names.
fn datasets(stored: &GuestConfig, proxmox: &Proxmox) -> Vec<DatasetName> {
    let volumes = crate::plan::restore::volumes_of(&stored.config);
    volumes.into_iter().filter_map(|(storage, volume)| proxmox.dataset_of(storage, volume)).collect()
}

/// A volume that no dataset stands for is taken to exist, as is one that the present file names.
fn exists(inventory: &Inventory, current: &CurrentFile, storage: &str, volume: &str) -> bool {
    let is_named = crate::plan::restore::volumes_of(&current.text).contains(&(storage, volume));
    let Some(dataset) = inventory.proxmox.dataset_of(storage, volume).filter(|_| !is_named) else {
        return true;
    };
    match &inventory.source {
        Answer::Listed(listing) => {
            let parent = dataset.parent();
            let is_listed = parent.is_some_and(|parent| listing.get(&parent).is_some());
            !is_listed || listing.get(&dataset).is_some()
        }
        Answer::CouldNotAsk(_) => true,
    }
}
