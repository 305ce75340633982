//! The material, the destination and the limits of a bench.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::channel::connections::ConnectionError;
use crate::host::{HostError, Incoming, Remote, SendSpec, Shell, SourceHost, TargetHost};
use crate::model::{Channel, CopyEncryption, DatasetKind, DatasetName, Encryption, Guid, SnapshotName};
use crate::stream::supervise::PumpError;
use crate::stream::{Cancel, Cancelled, Sample};

/// All that a bench needs to know.
pub struct Setup<'a> {
    /// The stream to send.
    pub material: Material<'a>,
    /// Where to; `None`: to this machine itself.
    pub destination: Option<Destination<'a>>,
    /// When each measurement ends.
    pub limits: Limits,
    /// Whether the destination is to receive, and so to write.
    pub receives: bool,
    /// Ends the bench. Datasets that the bench has made are still removed.
    pub cancel: &'a Cancel,
    /// Who looks on.
    pub watcher: &'a dyn Watcher,
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// When a measurement ends, if its stream does not end before: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After this time.
    pub time: Duration,
    /// After this number of bytes of the stream.
    pub bytes: u64,
}

/// The stream to send.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a host has none")]
pub enum Material<'a> {
    /// A synthetic stream, half of which can be compressed.
    Made,
    /// A snapshot, in full.
    Snapshot(&'a dyn SourceHost, Snapshot),
}

impl fmt::Display for Material<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("a synthetic stream, half of it compressible"),
            Self::Snapshot(_, snapshot) => write!(f, "{}", snapshot.name),
        }
    }
}

/// A snapshot to measure with.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its GUID.
    pub guid: Guid,
    /// The kind of its dataset.
    pub kind: DatasetKind,
    /// Whether it has to be sent raw.
    pub encryption: Encryption,
}

impl Snapshot {
    pub(super) fn send_spec(&self) -> SendSpec {
        let (snapshot, guid) = (self.name.clone(), Some(self.guid));
        SendSpec {
            snapshot,
            guid,
            base: None,
            resume: None,
            encryption: self.encryption,
            copy_encryption: CopyEncryption::AsSent,
        }
    }
}

/// A target of the policy.
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct Destination<'a> {
    /// Its name in the policy.
    pub name: &'a str,
    /// The dataset below which the stream is received.
    pub root: &'a DatasetName,
    /// Opens a connection of its own for each measurement, with this channel and number of connections; the cancel
    /// ends its waits.
    pub open: &'a (dyn Fn(&Cancel, Channel, usize) -> End + Sync),
}

/// One connection to a destination.
#[derive(Debug)]
pub enum End {
    /// Another machine.
    Remote(Box<Remote>),
    /// Another pool of this machine.
    Local(Shell),
}

impl End {
    /// The machine.
    pub fn host(&self) -> &dyn TargetHost {
        match self {
            Self::Remote(agent) => agent.as_ref(),
            Self::Local(shell) => shell,
        }
    }

    pub(super) fn sink(&self) -> Result<Option<Box<dyn Incoming + '_>>, HostError> {
        match self {
            Self::Remote(agent) => agent.sink(),
            Self::Local(_) => Ok(None),
        }
    }

    pub(super) fn is_append_only(&self) -> Result<bool, HostError> {
        match self {
            Self::Remote(agent) => agent.is_append_only(),
            Self::Local(_) => Ok(false),
        }
    }
}

/// Who looks on while something is measured. Called from several threads.
pub trait Watcher: Sync {
    /// This is measured from now on.
    fn begins(&self, what: &str);
    /// So much of it so far.
    fn moved(&self, sample: &Sample);
}

/// Why a bench ended before its end.
#[derive(Debug, Error)]
pub enum BenchError {
    /// Somebody asked for it.
    #[error("interrupted")]
    Interrupted,
    /// It could not even begin; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A host could not do its part.
    #[error("cannot measure {what}")]
    Host {
        /// The stage that was measured.
        what: String,
        /// The host's error.
        #[source]
        error: HostError,
    },
    /// The stream broke off.
    #[error("cannot measure {what}")]
    Stream {
        /// The stage that was measured.
        what: String,
        /// Why.
        #[source]
        error: PumpError,
    },
    /// The connections could not be made.
    #[error("cannot measure {what}")]
    Connections {
        /// The stage that was measured.
        what: String,
        /// Why.
        #[source]
        error: ConnectionError,
    },
    /// It failed, and what it had made by then is still there.
    #[error("{}", .left.join("\n"))]
    LeftBehind {
        /// The datasets that are left, and how to remove them.
        left: Vec<String>,
        /// Why the bench ended.
        #[source]
        error: Box<BenchError>,
    },
    /// The system has no descriptor or thread left.
    #[error("cannot set up a measurement")]
    Setup(#[from] std::io::Error),
}

impl From<Cancelled> for BenchError {
    fn from(_: Cancelled) -> Self {
        Self::Interrupted
    }
}

impl BenchError {
    pub(super) fn host(what: &str, error: HostError) -> Self {
        Self::Host { what: what.to_owned(), error }
    }

    pub(super) fn stream(what: &str, error: PumpError) -> Self {
        Self::Stream { what: what.to_owned(), error }
    }

    pub(super) fn connections(what: &str, error: ConnectionError) -> Self {
        Self::Connections { what: what.to_owned(), error }
    }
}
