//! Backups and archives: where copies go, and the rules of each kind.

use jiff::SignedDuration;

use super::{Address, KeepRules};
use crate::model::{DatasetName, Link, TargetName};

/// A place where copies go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in plans, logs and status.
    pub name: TargetName,
    /// How to reach it.
    pub address: Address,
    /// How it is talked to, if it is another machine.
    pub link: Link,
    /// The dataset below which the copies are.
    pub root: DatasetName,
    /// Send every own snapshot between base and newest, not only the newest.
    pub intermediates: bool,
    /// Backup or archive, with the rules of each.
    pub kind: TargetKind,
}

/// The purpose of a target.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// Nearline: rotates.
    Backup(BackupRules),
    /// Offsite: keeps for ever; no run destroys anything on it.
    Archive(ArchiveRules),
}

/// The rules of a backup.
#[derive(Debug, Clone)]
pub struct BackupRules {
    /// Which of our snapshots stay there. No rules: all of them.
    pub keep: KeepRules,
    /// The action where the backup has snapshots newer than the base.
    pub on_divergence: BackupDivergence,
    /// The action where the backup has snapshots, but none in common with the source.
    pub on_no_base: OnNoBase,
    /// How long a superseded line stays; `None` keeps it for ever.
    pub keep_superseded: Option<SignedDuration>,
}

/// A backup's action where it has snapshots that the source does not know and that are newer than the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupDivergence {
    /// Set the copy's lineage aside and continue from the base; it expires after `keep-superseded`.
    Keep,
    /// Destroy exactly those of them that are ours; foreign ones stop it.
    Remove,
    /// Send nothing; a person decides.
    Stop,
}

/// A backup's action where nothing is in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoBase {
    /// Rename the old line aside and start a new one under the name.
    Supersede,
    /// Send nothing; a person decides.
    Stop,
}

/// The rules of an archive.
#[derive(Debug, Clone)]
pub struct ArchiveRules {
    /// Archive at the first run after a missed 1st; false is strictly on the 1st.
    pub catch_up: bool,
    /// The action where the archive has snapshots that the source does not know, or none in common.
    pub on_divergence: ArchiveDivergence,
}

/// An archive's action where its line and the source's have diverged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveDivergence {
    /// Set the copy's lineage aside, for ever, and continue from the base, or with a full stream.
    Keep,
    /// Send nothing; a person decides.
    Stop,
}

impl Default for BackupRules {
    fn default() -> Self {
        Self {
            keep: KeepRules::default(),
            on_divergence: BackupDivergence::Keep,
            on_no_base: OnNoBase::Supersede,
            keep_superseded: Some(SignedDuration::from_hours(90 * 24)),
        }
    }
}

impl Default for ArchiveRules {
    fn default() -> Self {
        Self { catch_up: true, on_divergence: ArchiveDivergence::Keep }
    }
}
