//! One machine that has ZFS, as discover and execute see it.
//!
//! Two traits, since the two ends do different things: a [`SourceHost`] snapshots and sends, a [`TargetHost`] receives
//! and keeps. Real kinds: `local` (`libzfs_core` in process) is a source; `agent` (zhaul on the target) and `shell`
//! (only `zfs` and sshd on the target, or this machine) are targets. `fake` is both, in memory, for tests; it
//! enforces ZFS's rules, and `tests/real/agreement` plays the same scenarios on it and on real pools.
//!
//! Whoever destroys or renames says with its GUID what is meant; the host looks again just before it acts and refuses
//! with [`Problem::Changed`] where name and GUID no longer belong together.

pub mod agent;
mod answer_limit;
pub mod calls;
mod changes;
mod content;
mod copy_properties;
mod delegations;
mod details;
mod error;
pub mod fake;
mod file_systems;
mod first_cause;
pub mod freezing;
mod guard;
mod guest_config;
mod guest_files;
mod healing;
mod helper;
mod hold_back;
mod kernel_errors;
mod leaving_out;
mod lines;
mod listing;
mod liveness;
mod local;
mod local_send;
mod orphans;
pub mod plain_file;
mod pool_history;
pub mod program;
mod receive;
mod remote;
mod restoring;
mod rolling_back;
mod room;
mod sending;
mod session;
mod session_errors;
#[cfg(test)]
mod session_tests;
mod session_words;
mod sessions;
mod set_aside;
mod shell;
mod swapping;
mod usage;
mod worker;
mod zfs_errors;
mod zfs_program;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::model::LINEAGE_PROPERTY;
use crate::model::{
    BookmarkName, ByteCount, Change, Compression, CopyEncryption, DatasetKind, DatasetName, Details,
    Encryption, Guid, HostState, LineHistory, Listing, Orphan, PointKind, PointName, ResumePoint, RunMark,
    SetAsideMark, SnapshotName, UserProperty, Writer,
};
use crate::stream;
use crate::stream::meter::{Meters, Places};
use crate::stream::probe::Probe;

pub use content::{ContentSpec, ReadSpans, TakeSpans, random_salt};
pub use error::{HostError, Problem, UnsafeCopy};
pub use file_systems::{FileSystem, FileSystemState};
pub use freezing::{Freeze, ToFreeze};
pub use guest_files::{CurrentFile, GuestFile, GuestFiles};
pub use helper::Helper;
pub use local::Local;
pub use remote::Remote;
pub use restoring::Restoring;
pub use rolling_back::{ConfirmedGoal, RollbackGoal};
pub use sending::Sending;
pub use sessions::Machine;
pub use shell::Shell;
pub use usage::users;

use session::CompletedCommand;

/// A stream to send: large, compressed and, where the copy can have them, embedded blocks as they are; raw where encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSpec {
    /// The snapshot to send.
    pub snapshot: SnapshotName,
    /// Its GUID: a stream of any other is refused before its first byte. `None` where it is unknown.
    pub guid: Option<Guid>,
    /// The incremental source; `None` for a full stream.
    pub base: Option<SendBase>,
    /// Where a broken-off stream continues, with the flags it began with.
    pub resume: Option<ResumePoint>,
    /// `On` sends raw.
    pub encryption: Encryption,
    /// Whether the copy can have embedded blocks.
    pub copy_encryption: CopyEncryption,
}

/// The incremental source: a snapshot or bookmark of the same dataset, or the origin of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendBase {
    /// Snapshot or bookmark.
    pub kind: PointKind,
    /// Its name at the source.
    pub name: PointName,
    /// The dataset whose snapshot it is, where that is the origin of a clone.
    pub origin: Option<DatasetName>,
    /// Its GUID: a stream that starts from any other is refused before its first byte.
    pub guid: Guid,
}

impl SendSpec {
    /// Refuses a stream with other ends than those that are meant: a name may be another point's by the time of the call.
    fn check_ends(&self, to: Guid, from: Option<Guid>) -> Result<(), Problem> {
        if let Some(planned) = self.guid.filter(|planned| *planned != to) {
            return Err(zfs_program::other_guid(planned, to));
        }
        let planned = self.base.as_ref().map(|base| base.guid);
        if planned == from {
            return Ok(());
        }
        let word = |guid: Option<Guid>| guid.map_or_else(|| "none".to_owned(), |guid| guid.to_string());
        let (planned, found) = (word(planned), word(from));
        Err(Problem::Changed(format!("the guid of its incremental source was {planned} and is now {found}")))
    }
}

/// A stream to receive, always resumably and never with force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveSpec {
    /// The snapshot that the stream makes here.
    pub snapshot: SnapshotName,
    /// Mend damaged blocks of a snapshot that is there, and receive nothing (`zfs receive -c`).
    pub heals: bool,
    /// Receive as a clone of this snapshot.
    pub origin: Option<SnapshotName>,
    /// Whether the dataset is made by this stream and so gets the properties of a safe copy: `readonly=on`, and
    /// `canmount=noauto` without the stream's `mountpoint`, or `volmode=none`.
    pub creates_dataset: bool,
    /// Decides which of these properties.
    pub kind: DatasetKind,
    /// How the encryption of a new dataset is set.
    pub copy_encryption: CopyEncryption,
    /// The GUID of the snapshot that the stream makes, where it is known.
    pub to: Option<Guid>,
    /// That of what it starts from; `None` for a full stream.
    pub from: Option<Guid>,
    /// Who writes the copy: a dataset that is made by this stream is marked with it.
    pub writer: Option<Writer>,
}

/// Snapshots to take together, of different datasets: in one call for each pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotGroup {
    /// Their names.
    pub snapshots: Vec<SnapshotName>,
    /// All of a pool are taken or none: they are the volumes of one guest.
    pub is_one_moment: bool,
    /// The guest whose file systems are frozen meanwhile.
    pub freeze: Option<ToFreeze>,
    /// The value of [`LINEAGE_PROPERTY`] that each of them gets.
    pub lineage: Option<String>,
    /// Other user properties that each of them gets, in the same call: the configuration of that guest.
    pub config: BTreeMap<String, String>,
    /// Datasets that get the property, too, once their snapshots are taken.
    pub to_mark: Vec<DatasetName>,
}

impl SnapshotGroup {
    /// What one call takes each.
    fn by_pool(&self) -> Vec<Self> {
        let mut by_pool: BTreeMap<&str, Self> = BTreeMap::new();
        for snapshot in &self.snapshots {
            let empty = || Self { snapshots: Vec::new(), ..self.clone() };
            by_pool.entry(snapshot.dataset().pool()).or_insert_with(empty).snapshots.push(snapshot.clone());
        }
        by_pool.into_values().collect()
    }
}

/// The result of taking snapshots.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Those that could not be taken.
    pub not_made: Vec<NotMade>,
    /// Whether the guest was frozen meanwhile.
    pub freeze: Freeze,
}

/// Snapshots that are held for a while.
#[derive(Debug, Default)]
pub struct Held {
    /// Those that are held, each by its GUID.
    pub snapshots: BTreeSet<(SnapshotName, Guid)>,
    /// Ends the holds when it is dropped.
    pub guard: Vec<calls::Holding>,
}

/// A dataset that gets no snapshot or bookmark while the others of a call do.
#[derive(Debug, Clone)]
pub struct NotMade {
    /// The dataset.
    pub dataset: DatasetName,
    /// The snapshot or bookmark.
    pub name: PointName,
    /// Why.
    pub problem: Problem,
}

/// The result of making bookmarks.
#[derive(Debug, Clone, Default)]
pub struct Bookmarked {
    /// The GUID of each, in the order of the call; `None` for what was left out.
    pub guids: Vec<Option<Guid>>,
    /// Those that could not be made.
    pub not_made: Vec<NotMade>,
}

/// A point that could not be destroyed while the others were.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Its name.
    pub name: PointName,
    /// Why it is still there.
    pub problem: Problem,
}

/// The result of a change that was carried out.
#[derive(Debug, Default)]
pub struct Changed {
    /// The points that are still there, and why.
    pub refusals: Vec<Refusal>,
    /// The lineage that was set aside.
    pub set_aside: Option<SetAsideMark>,
    /// The GUID of the snapshot that a healing receives into.
    pub healing: Option<Guid>,
}

/// The sending half of a transfer under way.
pub trait Outgoing: Send {
    /// Where the stream comes out. Asked for once. Fails with [`Problem::Changed`] where the stream's ends are not those that
    /// were asked for by GUID.
    fn stream(&mut self, cancel: &stream::Cancel) -> Result<Box<dyn stream::ByteSource + '_>, HostError>;

    /// How the pool that the stream comes from is looked at.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// To be called after the stream's end: whether all of it was sent.
    fn finish(self: Box<Self>) -> Result<(), HostError>;
}

/// Where the stream of a transfer goes in.
pub enum ReceiveInput<'a> {
    /// As it is: what is written here is what `zfs receive` reads.
    Plain(Box<dyn stream::ByteSink + 'a>),
    /// Compressed and in frames, which an agent decompresses.
    Framed {
        /// The connections that the frames are spread over.
        connections: Vec<Box<dyn stream::ByteSink + 'a>>,
        /// The number of the transfer in its session.
        stream: u32,
        /// How the frames are to be compressed.
        compression: Compression,
    },
}

impl std::fmt::Debug for ReceiveInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain"),
            Self::Framed { connections, stream, compression } => {
                write!(f, "Framed({} connections, stream {stream}, {compression})", connections.len())
            }
        }
    }
}

/// The receiving half of a transfer under way.
pub trait Incoming: Send {
    /// Where the stream goes in. Asked for once. From then on an agent reports to `meters` that it is alive and what it
    /// waits for, and requests `cancel` when it gives up: [`abort`](Self::abort) then says why.
    fn inlet(&mut self, cancel: &stream::Cancel, meters: &Arc<Meters>)
    -> Result<ReceiveInput<'_>, HostError>;

    /// How the pool that the stream goes to is looked at; an agent looks at its own.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// The places before and behind the pump that writes into the inlet; so the bottleneck gets the right name.
    fn places(&self) -> Places {
        Places::LOCAL
    }

    /// How many threads of this machine compress what goes in.
    fn compressors(&self) -> usize {
        0
    }

    /// To be called when the last byte is in: waits until the snapshot is complete.
    fn finish(self: Box<Self>) -> Result<(), HostError>;

    /// To be called when the stream broke off: ends the receive, keeps what can be resumed, and gives the receiver's
    /// own account of what was wrong, if it had one.
    fn abort(self: Box<Self>) -> Option<HostError>;
}

/// The machine whose guests are backed up.
pub trait SourceHost: Sync {
    /// Every dataset at and below `roots`, with all points, but without the details of snapshots.
    fn list(&self, roots: &[DatasetName]) -> Result<Listing, HostError>;

    /// What `list` left out of these snapshots, in their order; `None` for one that is gone, or whose name is another's by
    /// now.
    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError>;

    /// The user property [`LINEAGE_PROPERTY`] of these snapshots, in their order; one that is gone, or whose name is another's
    /// by now, has one that does not count.
    fn lineage(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<UserProperty>>, HostError>;

    /// When each of these datasets left its line, in their order, as far as the histories of their pools show.
    fn line_histories(&self, datasets: &[DatasetName]) -> Result<Vec<LineHistory>, HostError>;

    /// Keeps these snapshots from being destroyed for as long as the answer lives; those that cannot be kept are not in it.
    fn hold(&self, snapshots: &[(SnapshotName, Guid)]) -> Held;

    /// The configuration of its guest that a snapshot carries, as user properties; none where it has none.
    fn config(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, String>, HostError>;

    /// Takes the snapshots of `group` in one transaction group of each pool. A snapshot that cannot be taken is left out and
    /// reported, with the rest of a group that must be of one moment. A guest that is to be frozen and cannot be stops nothing.
    fn snapshot(&self, group: &SnapshotGroup) -> Result<Snapshots, HostError>;

    /// Bookmarks these snapshots (one pool). A bookmark of that name and GUID that is there already is fine. A bookmark
    /// that cannot be made is left out and reported.
    fn bookmark(&self, bookmarks: &[(SnapshotName, BookmarkName)]) -> Result<Bookmarked, HostError>;

    /// Destroys these snapshots of `dataset`; what is held, cloned or changed stays and is reported.
    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError>;

    /// Destroys these bookmarks of `dataset`; what has changed stays and is reported.
    fn destroy_bookmarks(
        &self,
        dataset: &DatasetName,
        bookmarks: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError>;

    /// Begins `run` here: what runs of the same policy that were killed still do to these datasets is awaited.
    fn begin_run(&self, _run: RunMark) {}

    /// How many bytes the stream will have (`lzc_send_space`). Can take as long as sending; ends when `cancel` is requested.
    fn estimate(&self, spec: &SendSpec, cancel: &stream::Cancel) -> Result<ByteCount, HostError>;

    /// Starts to send.
    fn send(&self, spec: &SendSpec) -> Result<Box<dyn Outgoing + '_>, HostError>;

    /// Reads the content of a snapshot, and hands it to `take` in digests.
    fn content(
        &self,
        spec: &ContentSpec,
        cancel: &stream::Cancel,
        take: TakeSpans<'_>,
    ) -> Result<(), HostError>;
}

/// A machine that keeps copies.
pub trait TargetHost: Sync {
    /// Every dataset at and below `root`, with all snapshots, but without their details; empty if `root` does not exist.
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError>;

    /// What `list` left out of these snapshots, in their order; `None` for one that is gone, or whose name is another's by
    /// now.
    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError>;

    /// Starts to receive.
    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError>;

    /// Begins `run` here: its processes get its mark, and what earlier runs of the same policy left is ended, so that no receive
    /// that waits for a dead connection keeps its dataset. Gives what was ended.
    fn begin_run(&self, _run: RunMark) -> Result<Vec<Orphan>, HostError> {
        Ok(Vec::new())
    }

    /// Whether it destroys and rolls back nothing that it is asked for, but sets aside.
    fn is_append_only(&self) -> Result<bool, HostError> {
        Ok(false)
    }

    /// The state of the machine and of the pool of `root`.
    fn state(&self, root: &DatasetName) -> Result<HostState, HostError>;

    /// Carries out one change, after a look at what the names in it are by now.
    fn change(&self, change: &Change) -> Result<Changed, HostError>;

    /// Reads the content of a snapshot there, and hands it to `take` in digests. Behind a shell the stream comes here.
    fn content(
        &self,
        spec: &ContentSpec,
        cancel: &stream::Cancel,
        take: TakeSpans<'_>,
    ) -> Result<(), HostError>;

    /// Whether a `zfs receive` into this dataset is seen. Asked by an agent, of its own machine only.
    fn is_receiving(&self, _dataset: &DatasetName) -> bool {
        false
    }
}
