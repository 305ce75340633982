//! The messages between zhaul and its agent: one request, then replies up to the one that ends it.
//!
//! Each is a [message](crate::channel::message). A listing comes in pieces, so that no message is long. In a receive
//! the agent first reports that it is ready, then frames follow (in the session itself, or over connections). Until the
//! last reply the agent reports its bottleneck every half second, which also shows that it is alive.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::connections::{Greeting, Offer};
use crate::channel::message::{self, MessageError};
use crate::host::{ContentSpec, Problem, ReceiveSpec, Refusal, UnsafeCopy};
use crate::model::{
    Change, DAMAGED_MAX, Dataset, DatasetName, Details, Guid, HangingPool, History, HostState, Listing,
    Orphan, Point, PortRange, RunMark, SetAsideMark, SnapshotName, Span, Unlisted,
};
use crate::stream::{Bottleneck, ByteSource};

/// Grows with every change that an older end would misunderstand.
pub(in crate::host) const PROTOCOL: u32 = 12;

/// A request to the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::host) enum Request {
    /// The first one of a session: who asks.
    Hello { protocol: u32, version: String },
    /// All datasets at and below `root`.
    List { root: DatasetName },
    /// The details of these snapshots that the listing left out.
    Details { snapshots: Vec<(SnapshotName, Guid)> },
    /// The state of the machine and of the pool of `root`.
    State { root: DatasetName },
    /// Ends the processes that earlier runs of the same policy left on the machine.
    EndOrphans { run: RunMark },
    /// Connections of their own for the frames of this session's receives: answered with an offer, and with Done when all
    /// are there.
    OpenConnections { greeting: Greeting, connections: usize, ports: PortRange },
    /// A stream is to be received.
    Receive(Receive),
    /// Frames are to be taken in and thrown away: to measure the way.
    Sink(Sink),
    /// The content of a snapshot, in digests.
    Content(ContentSpec),
    /// One change, that names at most [`POINTS_MAX`] points.
    Change(Change),
}

/// The parameters of a receive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::host) struct Receive {
    pub(in crate::host) spec: ReceiveSpec,
    /// Whether its frames come over the session's connections, or in the session itself.
    pub(in crate::host) over_connections: bool,
    /// The number that its frames bear.
    pub(in crate::host) stream: u32,
    /// Memory for chunks that wait for `zfs receive`.
    pub(in crate::host) buffer_bytes: u64,
    /// After how long without a byte the receive has failed; `None`: never.
    pub(in crate::host) stall_limit_seconds: Option<u64>,
}

/// The parameters of a sink; the fields are those of [`Receive`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::host) struct Sink {
    pub(in crate::host) over_connections: bool,
    pub(in crate::host) stream: u32,
    pub(in crate::host) buffer_bytes: u64,
    pub(in crate::host) stall_limit_seconds: Option<u64>,
}

/// A reply of the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "kebab-case")]
pub(in crate::host) enum Reply {
    /// To a hello. The roots are all that this agent serves; none: everything.
    Hello { protocol: u32, version: String, roots: Vec<DatasetName>, append_only: bool },
    /// One dataset of a listing, without its points.
    Dataset { dataset: Box<Dataset> },
    /// Some points of the dataset named last.
    Points { points: Vec<Point> },
    /// A dataset of which the listing could find out nothing.
    Unlisted { name: String, why: Unlisted },
    /// Of the snapshots asked for, in their order.
    Details { details: Vec<Option<Details>> },
    /// Some spans of a snapshot's content, in their order, and the bytes that were read so far. Comes at least every half second.
    Content { spans: Vec<Span>, bytes: u64 },
    /// Of the machine.
    State { state: HostState },
    /// The processes that were ended.
    Orphans { orphans: Vec<Orphan> },
    /// Where the connections are to be opened to.
    Connections { offer: Offer },
    /// Frames may come.
    Ready,
    /// A receive is under way.
    Progress { waiting_for: Bottleneck },
    /// The points that stay; the others are destroyed.
    Refused { refusals: Vec<Refusal> },
    /// The lineage that was set aside.
    SetAside { mark: SetAsideMark },
    /// The GUID of the snapshot that a healing receives into.
    Healing { guid: Guid },
    /// The request has been carried out; a listing is complete.
    Done,
    /// The request has failed, or was refused.
    Failed { problem: Problem },
}

/// How many points one message takes: far below what a message may be long.
pub(super) const POINTS_MAX: usize = 1000;

/// How many refusals one message takes: each may have 16 KiB of text.
pub(super) const REFUSALS_MAX: usize = 50;

/// The pieces in which a dataset of a listing is sent.
pub(super) fn pieces(dataset: &Dataset) -> impl Iterator<Item = Reply> {
    let points: Vec<Point> = dataset.history.points().cloned().collect();
    let head = Dataset { history: History::default(), ..dataset.clone() };
    let parts: Vec<_> =
        points.chunks(POINTS_MAX).map(|some| Reply::Points { points: some.to_vec() }).collect();
    std::iter::once(Reply::Dataset { dataset: Box::new(head) }).chain(parts)
}

/// The names that a listing could not list, as replies.
pub(super) fn unlisted(listing: &Listing) -> impl Iterator<Item = Reply> {
    listing.unlisted().map(|(name, why)| Reply::Unlisted { name: name.to_owned(), why: why.clone() })
}

/// Reads an agent's next reply, and its length in bytes, with nothing in its texts that a terminal would obey: the only way by
/// which replies come in.
pub(super) fn read_reply(
    source: &mut (impl ByteSource + ?Sized),
    limit: Duration,
) -> Result<Option<(Reply, usize)>, MessageError> {
    let read = message::read_sized(source, Some(limit))?;
    Ok(read.map(|(reply, bytes)| (clean_reply(reply), bytes)))
}

fn clean_reply(reply: Reply) -> Reply {
    match reply {
        Reply::Failed { problem } => Reply::Failed { problem: sanitized(problem) },
        Reply::Unlisted { name, why } => {
            let (name, why) = sanitized_unlisted(&name, why);
            Reply::Unlisted { name, why }
        }
        Reply::Refused { refusals } => {
            let clean = |refusal: Refusal| Refusal { problem: sanitized(refusal.problem), ..refusal };
            Reply::Refused { refusals: refusals.into_iter().map(clean).collect() }
        }
        Reply::Hello { protocol, version, roots, append_only } => {
            Reply::Hello { protocol, version: clean(&version), roots, append_only }
        }
        Reply::State { mut state } => {
            state.zfs_versions = state.zfs_versions.iter().map(|line| clean(line)).collect();
            state.pool.pool = clean(&state.pool.pool);
            state.pool.health = clean(&state.pool.health);
            state.pool.damaged.truncate(DAMAGED_MAX);
            state.pool.damaged.iter_mut().for_each(|name| *name = clean(name));
            Reply::State { state }
        }
        Reply::Orphans { orphans } => {
            let clean = |orphan: Orphan| Orphan { command: clean(&orphan.command), ..orphan };
            Reply::Orphans { orphans: orphans.into_iter().map(clean).collect() }
        }
        // Names, numbers and words of fixed lists; what a property holds is made safe where it is shown.
        Reply::Dataset { .. }
        | Reply::Points { .. }
        | Reply::Details { .. }
        | Reply::Content { .. }
        | Reply::Connections { .. }
        | Reply::Ready
        | Reply::Progress { .. }
        | Reply::SetAside { .. }
        | Reply::Healing { .. }
        | Reply::Done => reply,
    }
}

fn sanitized(problem: Problem) -> Problem {
    match problem {
        Problem::Unreachable(text) => Problem::Unreachable(clean(&text)),
        Problem::Busy(text) => Problem::Busy(clean(&text)),
        Problem::NoSpace(text) => Problem::NoSpace(clean(&text)),
        Problem::Denied(text) => Problem::Denied(clean(&text)),
        Problem::Changed(text) => Problem::Changed(clean(&text)),
        Problem::Protocol(text) => Problem::Protocol(clean(&text)),
        Problem::NeverReceivable(text) => Problem::NeverReceivable(clean(&text)),
        Problem::Other(text) => Problem::Other(clean(&text)),
        Problem::Unsafe(copy) => Problem::Unsafe(Box::new(UnsafeCopy {
            dataset: clean(&copy.dataset),
            property: clean(&copy.property),
            value: clean(&copy.value),
            wanted: clean(&copy.wanted),
        })),
        Problem::PoolHangs(of) => {
            Problem::PoolHangs(Box::new(HangingPool { pool: clean(&of.pool), hang: of.hang }))
        }
        Problem::NotFound
        | Problem::Exists
        | Problem::Held
        | Problem::Cloned
        | Problem::Locked
        | Problem::Modified
        | Problem::Cancelled
        | Problem::Stalled(_) => problem,
    }
}

/// The same of what could not be listed. A name that is one stays as it is.
fn sanitized_unlisted(name: &str, why: Unlisted) -> (String, Unlisted) {
    let why = match why {
        Unlisted::BadName(text) => Unlisted::BadName(clean(&text)),
        Unlisted::Failed(text) => Unlisted::Failed(clean(&text)),
        Unlisted::Missing | Unlisted::NoPool | Unlisted::Suspended | Unlisted::Changing => why,
    };
    (clean(name), why)
}

fn clean(text: &str) -> String {
    crate::model::printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::message::TEXT_BYTES_MAX;
    use crate::model::PointName;

    #[test]
    fn no_piece_of_a_change_is_longer_than_a_message() {
        let name = |n: u32| PointName::new(&format!("{n:0>200}")).unwrap();
        let snapshots = (0..25_001).map(|n| (name(n), Guid(u64::MAX - u64::from(n)))).collect();
        let dataset = DatasetName::new("tank/a").unwrap();
        let pieces = Change::DestroySnapshots { dataset, snapshots }.pieces(POINTS_MAX);
        assert_eq!(pieces.len(), 26);
        for piece in pieces {
            let text = serde_json::to_string(&Request::Change(piece.clone())).unwrap();
            assert!(text.len() < TEXT_BYTES_MAX / 2, "{}", text.len());
            let Request::Change(read) = serde_json::from_str(&text).unwrap() else { panic!("{text:.100}") };
            assert_eq!(read, piece);
        }
    }
}
