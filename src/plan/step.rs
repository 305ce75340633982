//! The plan as plain data: what will be done, in which order, and why.
//!
//! A plan leaves no choice to whoever carries it out. It can be printed, compared and checked; the report of a run holds
//! the very same steps with what became of each.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{Finding, LeftOut, Reason};
use crate::model::{
    BookmarkName, Change, Claim, CopyEncryption, DatasetKind, DatasetName, Encryption, GuestId, Guid, Point,
    PointKind, PointName, ResumePoint, SnapshotName, TargetName, Txg, Writer,
};

/// Everything one run will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The moment it was made for.
    pub at: Timestamp,
    /// The steps in order; each needs only steps before it.
    pub steps: Vec<Step>,
    /// Findings for a person: everything that is blocked, lost, skipped or odd.
    pub findings: Vec<Finding>,
    /// Each dataset below a root that is not served, and what leaves it out.
    pub left_out: Vec<LeftOut>,
    /// Copies on the targets that nothing is sent to: their source is gone or left out.
    pub orphans: Vec<Orphan>,
}

/// A copy that nothing is sent to any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// Where it is.
    pub target: TargetName,
    /// The copy.
    pub copy: DatasetName,
    /// The source, where it exists and is left out.
    pub source: Option<DatasetName>,
    /// How many snapshots the copy has.
    pub snapshots: usize,
    /// The name of its newest snapshot.
    pub newest: Option<PointName>,
    /// Whether it holds a receive that broke off.
    pub is_partial: bool,
}

/// The place of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepId(pub usize);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its place in the plan.
    pub id: StepId,
    /// The source dataset it serves; `None` where it serves several.
    pub dataset: Option<DatasetName>,
    /// Where it acts.
    pub place: Place,
    /// The action itself.
    pub action: Action,
    /// Why; written to JSON together with its words.
    #[serde(skip)]
    pub reason: Reason,
    /// Steps that must have succeeded; where one has not, this step is skipped.
    pub needs: Vec<StepId>,
    /// Steps that must have ended, well or not, before this one starts.
    pub after: Vec<StepId>,
}

/// The machine a step acts on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// This machine.
    Source,
    /// A backup or archive.
    Target(TargetName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Target(name) => name.fmt(f),
        }
    }
}

/// The action of a step. Every name is final; every destroyed or renamed thing is given with its GUID, which is checked
/// again before it is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// `lzc_snapshot`: all of these in one transaction group; what cannot be taken is left out.
    Snapshot {
        /// One of each dataset, all in one pool, but for those of a guest that is frozen: in one call for each pool.
        snapshots: Vec<SnapshotName>,
        /// All of a pool are taken or none: they are the volumes of one guest.
        is_one_moment: bool,
        /// The guest whose file systems are frozen meanwhile.
        freeze: Option<GuestId>,
        /// The proof that each will give of its lineage, in their order.
        #[serde(skip)]
        lineage: Vec<NextLineage>,
    },
    /// `lzc_bookmark`: all of these in one call.
    Bookmark {
        /// All in one pool.
        bookmarks: Vec<NewBookmark>,
    },
    /// Sends one stream and receives it.
    Send(Box<Transfer>),
    /// Destroys bookmarks of one source dataset.
    DestroyBookmarks {
        /// The dataset.
        dataset: DatasetName,
        /// Which, and why each.
        bookmarks: Vec<ToDestroy>,
    },
    /// Changes a target in another way; snapshots are destroyed at the source, too. Its own fields and its own `action`.
    #[serde(untagged)]
    Change(Change<ToDestroy>),
}

impl Action {
    /// The dataset of a target that it changes, by its name before that; `None` for what only the source can do.
    pub(super) fn target(&self) -> Option<&DatasetName> {
        match self {
            Self::Send(transfer) => Some(transfer.target.dataset()),
            Self::Change(change) => Some(change.dataset()),
            Self::Snapshot { .. } | Self::Bookmark { .. } | Self::DestroyBookmarks { .. } => None,
        }
    }
}

impl From<Change<ToDestroy>> for Action {
    fn from(change: Change<ToDestroy>) -> Self {
        Self::Change(change)
    }
}

/// The proof that the next snapshot of one dataset will give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextLineage {
    /// The dataset's GUID.
    pub dataset: Guid,
    /// The newest own snapshot: the claim holds only if that still exists then.
    pub previous: Option<(SnapshotName, Guid)>,
    /// The age of that.
    pub previous_txg: Option<Txg>,
    /// Which bookmarks are certain to be earlier points.
    pub claim: Claim,
    /// The claim for the case that the newest own snapshot is gone.
    pub restart: Claim,
    /// Whether the dataset is to be marked as one whose snapshots are.
    pub is_first: bool,
}

/// A bookmark to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewBookmark {
    /// The bookmark.
    pub bookmark: BookmarkName,
    /// The name of the bookmarked snapshot.
    pub of: PointName,
    /// The snapshot's GUID; `None` for one that this run takes.
    pub guid: Option<Guid>,
}

/// A point to destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToDestroy {
    /// Its name.
    pub name: PointName,
    /// Its GUID, which is checked again before it is destroyed.
    pub guid: Guid,
    /// Why.
    pub why: Reason,
    /// Its `used` property: the least that destroying it frees, in bytes.
    pub used_bytes: u64,
}

impl ToDestroy {
    /// Marks `point` for destruction.
    pub(super) fn new(point: &Point, why: Reason) -> Self {
        let used_bytes = point.details.map_or(0, |details| details.used_bytes);
        Self { name: point.name.clone(), guid: point.guid, why, used_bytes }
    }
}

/// One stream from the source to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// The snapshot to send.
    pub snapshot: SnapshotName,
    /// Its GUID; `None` for one that this run takes.
    pub guid: Option<Guid>,
    /// The incremental source; `None` for a full stream.
    pub base: Option<Base>,
    /// The snapshot that is sent instead if this run's cannot be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Where it resumes.
    pub resume: Option<ResumePoint>,
    /// The target snapshot it makes.
    pub target: SnapshotName,
    /// Receive as a clone of this target snapshot: the source is a clone, too, and the base is its origin.
    pub origin: Option<SnapshotName>,
    /// Whether the target dataset is made by this stream, and so gets its properties.
    pub creates_dataset: bool,
    /// Decides which properties the target gets.
    pub kind: DatasetKind,
    /// `On` sends raw.
    pub encryption: Encryption,
    /// How the copy is encrypted.
    pub copy_encryption: CopyEncryption,
    /// The mark of a copy that this stream makes: who writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<Writer>,
}

/// The newest snapshot that exists already, where the target lacks that, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The snapshot's GUID.
    pub guid: Guid,
    /// The target snapshot it makes.
    pub target: SnapshotName,
}

/// The common point that an incremental stream starts from, as the source knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Snapshot or bookmark, at the source.
    pub kind: PointKind,
    /// Its name at the source.
    pub name: PointName,
    /// The dataset whose snapshot it is, where that is the origin of a clone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<DatasetName>,
    /// The GUID, which identifies it on both sides.
    pub guid: Guid,
    /// Its age at the source.
    #[serde(skip)]
    pub createtxg: Txg,
}
