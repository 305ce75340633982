//! The findings of a plan: everything that is blocked, lost, skipped or odd.
//!
//! A finding is data. `cli/render` has its words, and the next action for each.

use serde::Serialize;

use super::{AsideFinding, LeftOutReason, PartialFault, Place, Reason};
use crate::model::{ByteCount, DatasetName, GuestId, Month, NameError, PointName, SnapshotName, Unlisted};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; silent under cron.
    Note,
    /// Odd, or something was skipped; the run continues.
    Warning,
    /// A dataset is not backed up until a person acts; exit code 3.
    Blocked,
    /// A host or a dataset could not be listed, so it is not served; exit code 1.
    Failed,
}

/// One thing to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The source dataset it is about, if one.
    pub dataset: Option<DatasetName>,
    /// The machine it is about.
    pub place: Place,
    /// The finding itself.
    #[serde(flatten)]
    pub kind: FindingKind,
}

/// A disk of a guest that no dataset of the policy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskElsewhere {
    /// Where the guest's configuration names it.
    pub line: String,
    /// The storage's id.
    pub storage: String,
    /// The volume on it.
    pub volume: String,
    /// The dataset that it is; `None` where the storage is no ZFS storage of this node.
    pub dataset: Option<DatasetName>,
}

/// A finding with its objects. `dataset` and `copy` are names at the finding's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FindingKind {
    /// Proxmox VE's configuration is there, but cannot be relied upon.
    ConfigInDoubt {
        /// The fault.
        cause: String,
    },
    /// A guest's file cannot be read.
    GuestUnreadable {
        /// The guest.
        guest: GuestId,
        /// Which file, and why.
        cause: String,
    },
    /// A dataset that has points of ours is left out now.
    NotServedAnyMore {
        /// The reason to leave it out.
        because: LeftOutReason,
    },
    /// A volume is named after a guest without a configuration; it is still served.
    UnknownGuest {
        /// The guest.
        guest: GuestId,
    },
    /// Disks of a guest that are not below the policy's datasets: nothing here backs them up.
    DisksElsewhere {
        /// The guest.
        guest: GuestId,
        /// Which.
        disks: Vec<DiskElsewhere>,
    },
    /// No dataset is selected at all.
    NothingSelected,
    /// A copy would have to begin, or something of it to make way, while Proxmox VE's configuration is in doubt.
    NoNewCopy {
        /// The copy.
        copy: DatasetName,
    },
    /// A target could not be listed, so nothing is sent to it.
    TargetNotListed {
        /// The host's own words.
        cause: String,
    },
    /// Nothing is known of a root or a dataset at the source, so it is not backed up in this run.
    SourceNotListed {
        /// Its name, which may be one that zhaul does not take.
        name: String,
        /// Why.
        why: Unlisted,
    },
    /// Nothing is known of a copy or of an earlier lineage of it, so nothing is done with the copy.
    CopyNotListed {
        /// The copy.
        copy: DatasetName,
        /// Which of the two.
        name: String,
        /// Why.
        why: Unlisted,
    },
    /// The user property `zhaul:backup` of a dataset is neither `on` nor `off`; the dataset is backed up.
    OddOptOut {
        /// Its value.
        value: String,
    },
    /// A copy begins under another name than the usual one.
    NameTaken {
        /// The copy.
        copy: DatasetName,
        /// The source whose copy has the usual name; the usual name itself where it is a mere container.
        by: DatasetName,
    },
    /// A copy that could be this source's or another one's.
    CopyContested {
        /// The copy.
        copy: DatasetName,
        /// The other source.
        other: DatasetName,
        /// Whether the other one is known; false where it could not be listed.
        is_listed: bool,
    },
    /// The name of a copy on the target would not be valid.
    CopyName {
        /// Which name, and why.
        error: NameError,
    },
    /// This run's snapshot or bookmark of a source dataset would not have a valid name.
    SnapshotName {
        /// Which name, and why.
        error: NameError,
    },
    /// The name that a snapshot is to have on the archive would not be valid.
    ArchiveName {
        /// Which name, and why.
        error: NameError,
    },
    /// An own snapshot that can get no bookmark, so that it is not pruned.
    CannotBookmark {
        /// The snapshot.
        snapshot: PointName,
        /// Why.
        error: NameError,
    },
    /// A bookmark that would be the newest incremental source is not used: the source may have left it.
    DoubtfulBookmark {
        /// The bookmark.
        bookmark: PointName,
        /// The base that is used instead, if any.
        base: Option<PointName>,
    },
    /// A dataset is not pruned, since holds and clones of its snapshots could not be read.
    NotPruned {
        /// The dataset.
        copy: DatasetName,
    },
    /// Snapshots that are named as copies' are stay, since the dataset has no mark of a writer.
    NotMarked {
        /// The dataset.
        copy: DatasetName,
        /// How many.
        snapshots: usize,
    },
    /// A copy is not pruned, since it has a month and so is an archive's.
    IsArchived {
        /// The copy.
        copy: DatasetName,
        /// The month's snapshot.
        month: PointName,
    },
    /// A snapshot that the rules do not keep stays: ZFS would refuse to destroy it.
    StaysInUse {
        /// The snapshot.
        snapshot: PointName,
        /// A hold or a clone.
        by: KeptBy,
    },
    /// A copy cannot be renamed: the new name would be too long.
    SetAsideName {
        /// The copy.
        copy: DatasetName,
    },
    /// A copy is marked with another source, and this source does not have its newest snapshot.
    OtherWriter {
        /// The copy.
        copy: DatasetName,
        /// The other source: `host:dataset`.
        writer: String,
        /// The mark that would make it this source's.
        mark: String,
    },
    /// A copy that no source has marked has newer snapshots that this source does not know.
    UnclaimedCopy {
        /// The copy.
        copy: DatasetName,
        /// The mark that would make it this source's.
        mark: String,
    },
    /// A copy that another source wrote is taken over: this source has its newest snapshot, or its guest has moved here.
    TakenOver {
        /// The copy.
        copy: DatasetName,
        /// The other source: `host:dataset`.
        from: String,
        /// Whether this source has the copy's newest snapshot.
        has_newest: bool,
    },
    /// A copy has become a clone: an admin promoted a clone of it, which took its snapshots.
    PromotedAway {
        /// The copy.
        copy: DatasetName,
        /// The snapshot that it is a clone of now.
        origin: SnapshotName,
        /// Whether it has newer snapshots of its own, so that it continues.
        is_continued: bool,
    },
    /// A clone is sent in full: the target does not have what it is a clone of.
    OriginMissing {
        /// Its copy.
        copy: DatasetName,
        /// The origin at the source.
        origin: SnapshotName,
    },
    /// A copy is not safe.
    NotSafe {
        /// The copy.
        copy: DatasetName,
        /// The property.
        property: String,
        /// Its value.
        value: String,
        /// The value that it must have.
        wanted: String,
    },
    /// A dataset was renamed at the source.
    RenamedAtSource {
        /// The copy under the new name.
        copy: DatasetName,
        /// The copy under the old name.
        from: DatasetName,
        /// Whether the copy is renamed along; otherwise the old one stays where it is.
        is_followed: bool,
    },
    /// A copy was renamed on the target, so that a new one begins.
    RenamedOnTarget {
        /// The new copy.
        copy: DatasetName,
        /// The one that was renamed.
        old: DatasetName,
    },
    /// A copy has nothing in common with its source, and the policy says stop.
    NoBase {
        /// The copy.
        copy: DatasetName,
    },
    /// A copy has data newer than its newest snapshot.
    WrittenTo {
        /// The copy.
        copy: DatasetName,
        /// Its newest snapshot.
        newest: Option<PointName>,
        /// How much was written.
        written_bytes: ByteCount,
    },
    /// A dataset without snapshots has the name of a copy.
    UnknownData {
        /// The dataset.
        copy: DatasetName,
    },
    /// A backup has snapshots after the base that the source does not know, and they may not be destroyed.
    Diverged {
        /// The copy.
        copy: DatasetName,
        /// The newest common snapshot.
        base: PointName,
        /// The snapshots after it.
        newer: Vec<PointName>,
        /// Why they may not be destroyed.
        obstacle: Obstacle,
    },
    /// An archive does not follow its source any more, and the policy says stop.
    ArchiveDiverged {
        /// The archive's copy.
        copy: DatasetName,
        /// How it differs.
        because: Reason,
    },
    /// A partial receive that this policy did not begin.
    ForeignReceive {
        /// The dataset that holds it.
        copy: DatasetName,
        /// How that is known.
        fault: PartialFault,
    },
    /// The parent of a copy is missing and not received in this run either.
    ParentMissing {
        /// The parent.
        parent: DatasetName,
    },
    /// The dataset above a copy is a volume, below which there is nothing.
    ParentIsVolume {
        /// The volume.
        parent: DatasetName,
    },
    /// Holds and clones of a copy's newest snapshots could not be read.
    DetailsUnknown {
        /// The copy.
        copy: DatasetName,
    },
    /// A copy is not encrypted, but its source is.
    PlainCopy {
        /// The copy.
        copy: DatasetName,
    },
    /// A copy came raw from its source when that was encrypted, which it is no more.
    RawCopy {
        /// The copy.
        copy: DatasetName,
    },
    /// A snapshot that has arrived on an append-only archive, and does not get the name of its month there.
    MonthOutOfOrder {
        /// The snapshot.
        snapshot: PointName,
        /// Its month.
        month: Month,
        /// The month of a snapshot beside it, which would be out of order then: made by hand, most likely.
        other: Month,
    },
    /// Months that can no longer be archived.
    MonthsLost {
        /// Which, oldest first.
        months: Vec<Month>,
    },
    /// About a lineage that was set aside, or is to be. Its own fields, and its own `kind`.
    #[serde(untagged)]
    Aside(AsideFinding),
}

/// Why a snapshot cannot be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptBy {
    /// A user hold.
    Hold,
    /// A clone.
    Clone,
}

/// Why newer snapshots of a backup may not be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// `on-divergence = "stop"`.
    Policy,
    /// These are not this policy's own.
    Foreign(Vec<PointName>),
    /// These are held or cloned.
    InUse(Vec<PointName>),
}
