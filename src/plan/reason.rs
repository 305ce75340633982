//! Why a step is in a plan, and why a point is destroyed. `cli/render` has the words.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{ByteCount, DatasetName, GuestId, Guid, Month, PointName, SnapshotName};
use crate::policy::KeepRules;

/// Why a step is in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// A snapshot of a guest's volumes.
    GuestSnapshot {
        /// The guest.
        guest: GuestId,
        /// How many volumes.
        volumes: usize,
    },
    /// A snapshot of datasets that are no guest's.
    PoolSnapshot {
        /// Their pool.
        pool: String,
        /// How many datasets.
        datasets: usize,
    },
    /// The bookmark of this run's snapshot.
    BookmarkOfSnapshot,
    /// A mark on a snapshot whose stream may take more than one run.
    Sending,
    /// No target holds a part of this stream any more.
    NotSending,
    /// Earlier own snapshots that lack a bookmark.
    MissingBookmarks {
        /// How many.
        count: usize,
    },
    /// A parent for what is received below it.
    Container,
    /// The partial receive can be resumed.
    Resumes {
        /// The bytes that it has.
        received_bytes: ByteCount,
    },
    /// The partial receive cannot be resumed.
    CannotResume {
        /// Why.
        fault: PartialFault,
    },
    /// The target has nothing yet.
    NothingThere,
    /// The target's newest point in common.
    CommonBase {
        /// The target's snapshot.
        base: PointName,
    },
    /// The source is a clone, and the target has its origin.
    CloneOf {
        /// The origin there.
        origin: SnapshotName,
    },
    /// Clones begin at it.
    OriginOfClones,
    /// The next of several snapshots.
    NextSnapshot,
    /// The archive lacks a month.
    MonthDue {
        /// The month.
        month: Month,
    },
    /// `--archive`.
    ArchiveForced,
    /// The archive received a snapshot, but it has still its source's name.
    NotRenamed,
    /// The source does not have these snapshots any more: it was rolled back, most likely.
    RolledBack {
        /// The newest common snapshot.
        base: PointName,
    },
    /// An increment is only received onto its base.
    OntoBase,
    /// An interrupted run left the setting aside half done.
    FinishesSetAside,
    /// The datasets below the copy move back, now that the copy exists again.
    ChildrenMoveBack,
    /// The copy has no mark of a writer, and the source has its newest snapshots.
    Unclaimed,
    /// The source has another name than the copy's mark says.
    SourceRenamed {
        /// Its name then.
        from: String,
    },
    /// The copy was another source's, but this source has its newest snapshot.
    TakesOver {
        /// The other source: `host:dataset`.
        from: String,
    },
    /// The dataset was renamed at the source.
    RenamedAtSource {
        /// The copy under the old name.
        from: DatasetName,
    },
    /// The source knows no snapshot of the copy.
    NothingInCommon,
    /// The copy was written to.
    WrittenAfter {
        /// The newest common snapshot.
        base: PointName,
    },
    /// The copy has snapshots that the source does not know.
    UnknownAfter {
        /// The newest common snapshot.
        base: PointName,
    },
    /// No keep rule keeps these snapshots.
    NotKept {
        /// The rules.
        rules: KeepRules,
    },
    /// More bookmarks than `bookmarks.keep`.
    BookmarksKeep {
        /// The value.
        keep: usize,
    },
    /// Bookmarks of snapshots that were destroyed when the source received an older one again.
    LineLeft,
    /// Superseded for longer than `keep-superseded`.
    SupersededSince {
        /// Since when.
        since: Timestamp,
    },
}

/// Why a partial receive cannot be resumed, or is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum PartialFault {
    /// Its token cannot be read.
    Token {
        /// Why.
        error: String,
    },
    /// The source lacks the snapshot that it would make.
    SnapshotGone {
        /// The full name that the snapshot had.
        snapshot: String,
    },
    /// Of the snapshot that it would make only a bookmark is left.
    OnlyBookmark {
        /// The bookmark.
        bookmark: PointName,
    },
    /// The source lacks its base.
    BaseGone {
        /// The base.
        guid: Guid,
    },
    /// Of its base only a bookmark is left, and it is not certain that the source still contains it.
    BaseDoubtful {
        /// The base.
        guid: Guid,
    },
    /// It is raw where it must be plain, or plain where it must be raw.
    Encryption,
    /// Its base is not the newest snapshot in common.
    NotNewestBase,
}
