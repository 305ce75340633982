//! A restore as it is asked for and as it is planned: plain data.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::Storages;
use crate::model::{
    DatasetKind, DatasetName, Encryption, GuestId, Guid, PointName, SnapshotName, TargetName, VolumeName,
};
use crate::plan::Place;

/// The object of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A dataset, as it is or was called here, or a copy by its name on the target.
    Dataset(DatasetName),
    /// All volumes of a guest.
    Guest(GuestId),
}

/// As a command takes it.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(id) => id.fmt(f),
            Self::Dataset(name) => name.fmt(f),
        }
    }
}

impl What {
    /// Whether it means this dataset, by its name alone.
    pub fn is_of(&self, dataset: &DatasetName) -> bool {
        match self {
            Self::Dataset(name) => dataset.is_within(name),
            Self::Guest(id) => VolumeName::parse(dataset.last()).is_some_and(|volume| volume.guest == *id),
        }
    }
}

/// Which restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// The newest that is not newer than this.
    Time(Timestamp),
    /// The one of this name, in any place.
    Point(PointName),
}

/// The request of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// The object.
    pub what: What,
    /// Volumes of the guest that are not restored.
    pub without: Vec<DatasetName>,
    /// Which point; the newest where it is not said.
    pub at: Option<At>,
    /// From where; from the nearest place that has it where it is not said.
    pub from: Option<Place>,
    /// The name it gets; its own where it is not said.
    pub to: Option<DatasetName>,
    /// Whether the guest's file shows that its restore was begun and not ended.
    pub is_begun: bool,
    /// The disks that this file names: the restore was begun with them, or they were here.
    pub begun_with: Vec<DatasetName>,
    /// Whether the guest has a file, which is put aside with its disks, or alone where those are lost.
    pub is_taken: bool,
    /// The number that a guest gets; its own where it is not said.
    pub new_id: Option<GuestId>,
    /// The storages that a guest's disks go to.
    pub storages: Storages,
    /// Whether what has the names is put aside, and the stamp that it then gets.
    pub replace: Option<String>,
    /// Whether it is only received, compared and destroyed again: it gets a name that nothing else has.
    pub is_drill: bool,
}

/// The plan of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestorePlan {
    /// The point, as it is called.
    pub point: PointName,
    /// When it was taken, by its name.
    pub time: Option<Timestamp>,
    /// From where.
    pub from: Place,
    /// Each dataset.
    pub volumes: Vec<VolumeRestore>,
    /// The stamp under which what has the names is put aside.
    pub stamp: Option<String>,
    /// The newest point that has all volumes, where this one lacks some.
    #[serde(skip)]
    pub complete: Option<PointName>,
    /// Notes for the person who starts it.
    pub notes: Vec<RestoreNote>,
}

/// The restore of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeRestore {
    /// Its former name.
    pub volume: DatasetName,
    /// Its future name.
    pub to: DatasetName,
    /// Where it is received meanwhile.
    pub incoming: DatasetName,
    /// The snapshot where it comes from.
    pub copy: SnapshotName,
    /// The snapshot that it will be at.
    pub point: PointName,
    /// That snapshot's GUID.
    pub guid: Guid,
    /// File system or volume.
    pub kind: DatasetKind,
    /// Whether its blocks come as they are, encrypted: then its key has to be loaded before it can be used.
    pub encryption: Encryption,
    /// Whether the storage reserves the whole size of a volume.
    pub is_thick: bool,
    /// The size of a volume in bytes; 0 for a file system.
    pub volume_bytes: u64,
    /// Whether it is the file system of a container of Proxmox VE, which has POSIX ACLs and extended attributes in the inode.
    pub is_container: bool,
    /// The snapshot here that it is a clone of.
    pub origin: Option<SnapshotName>,
    /// Whether it is the disk of a template that Proxmox VE can make linked clones of.
    pub is_template: bool,
    /// The dataset that has the name, and is put aside.
    pub replaces: Option<Replaced>,
    /// How far an earlier, interrupted restore came, and what is left to do.
    pub stage: Stage,
    /// The streams that are still to be received, in their order.
    pub streams: Vec<RestoreStream>,
}

/// A dataset whose place another one takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Its GUID.
    pub guid: Guid,
    /// Where it goes.
    pub aside: DatasetName,
}

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Streams are still to be received, some of which may be there already.
    Receive,
    /// Everything was received; the dataset is still to get its name.
    Rename,
    /// It has its name, and is not in use yet.
    Finish,
    /// It is in use: only other volumes of the same guest are left.
    Done,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreStream {
    /// The snapshot in the place that has it.
    pub snapshot: SnapshotName,
    /// Its name here: the one from when it was taken, if that is known.
    pub name: PointName,
    /// The snapshot's GUID.
    pub guid: Guid,
    /// The incremental source; `None` for a full stream.
    pub base: Option<(PointName, Guid)>,
    /// Where the incremental source is another dataset's: the first stream of a linked clone.
    pub origin: Option<CloneOrigin>,
    /// The token of a part that was received already.
    pub token: Option<String>,
}

/// The snapshot that a linked clone begins at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloneOrigin {
    /// In the place that sends.
    pub there: SnapshotName,
    /// Its GUID.
    pub guid: Guid,
    /// The same snapshot on this host.
    pub here: SnapshotName,
}

/// A note for the person who starts a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum RestoreNote {
    /// A target could not be listed: it may have newer points.
    TargetNotListed {
        /// The target.
        target: TargetName,
        /// Why.
        why: String,
    },
    /// The point lacks a volume, which is not restored.
    VolumeMissing {
        /// The volume.
        volume: DatasetName,
    },
    /// A newer point exists.
    NewerPoint {
        /// Its name.
        point: PointName,
    },
    /// Nothing that is restored is on this target: its next copy is a full stream.
    NothingInCommon {
        /// The dataset.
        volume: DatasetName,
        /// The target.
        target: TargetName,
    },
    /// It was a linked clone, and its copy, its place or its origin is encrypted: ZFS moves no encrypted clone from dataset to
    /// dataset, as a restore has to (`dsl_dir_rename_crypt_check`), and a clone of a plain origin would be plain in an
    /// encrypted place. It takes its whole size.
    EncryptedClone {
        /// The clone.
        volume: DatasetName,
        /// The encrypted dataset.
        encrypted: DatasetName,
    },
    /// It was a linked clone of a snapshot that this host does not have where it can be used: it takes its whole size.
    OriginMissing {
        /// The clone.
        volume: DatasetName,
        /// The dataset that it was a clone of.
        of: DatasetName,
        /// The snapshot.
        point: PointName,
        /// The copy that it was a clone of, where that was set aside.
        set_aside: Option<DatasetName>,
    },
    /// It is a linked clone whose restore was begun in full, before its origin was here.
    BegunInFull {
        /// The clone.
        volume: DatasetName,
    },
    /// The same call restores first what it is a linked clone of: in a dry run that is not here yet.
    OriginFirst {
        /// The clone.
        volume: DatasetName,
        /// The dataset that it is a clone of.
        of: DatasetName,
    },
    /// Datasets below the one that is restored have copies, too, and are not restored.
    ChildrenLeft {
        /// Their names.
        children: Vec<DatasetName>,
    },
}

impl RestoreNote {
    /// Whether it is said also where no one watches: less is restored than was asked for, or a linked clone takes its whole size.
    pub fn is_always_said(&self) -> bool {
        matches!(
            self,
            Self::VolumeMissing { .. }
                | Self::EncryptedClone { .. }
                | Self::OriginMissing { .. }
                | Self::BegunInFull { .. }
        )
    }
}
