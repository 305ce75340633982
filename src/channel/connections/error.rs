//! The errors of connections, in an admin's words.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use crate::model::PortRange;
use crate::stream::Cancelled;

/// Why there are no connections.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// Something of this machine is missing: descriptors, randomness.
    #[error("cannot prepare a connection of its own for the data")]
    Setup(#[source] io::Error),
    /// All ports of the range are taken.
    #[error("cannot listen on {address}: every port of {ports} is in use")]
    PortsTaken {
        /// The address to be listened on.
        address: IpAddr,
        /// The ports that were tried.
        ports: PortRange,
    },
    /// This address cannot be listened on at all.
    #[error("cannot listen on {address}, port {ports}")]
    Listen {
        /// The address to be listened on.
        address: IpAddr,
        /// The ports that were tried.
        ports: PortRange,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// Not all connections came in time.
    #[error(
        "{came} of {connections} connections came to {local} within {} s{}: can the caller reach this port?",
        limit.as_secs(), turned_away(*strangers, last.as_deref())
    )]
    TooFew {
        /// Where they were waited for.
        local: SocketAddr,
        /// How many came.
        came: usize,
        /// How many were waited for.
        connections: usize,
        /// For how long.
        limit: Duration,
        /// How many others came.
        strangers: usize,
        /// Why the last of these was turned away.
        last: Option<Box<ConnectionError>>,
    },
    /// The port refuses the connection.
    #[error("{peer} refuses the connection: no process listens on that port, or a firewall rejects it")]
    Refused {
        /// The listening end.
        peer: SocketAddr,
    },
    /// Nothing answers at all.
    #[error("{peer} does not answer within {} s: a firewall on the way may drop what goes to this port", limit.as_secs())]
    Blocked {
        /// The listening end.
        peer: SocketAddr,
        /// For how long it was tried.
        limit: Duration,
    },
    /// No route leads to the peer.
    #[error("cannot reach {peer}")]
    Unreachable {
        /// The listening end.
        peer: SocketAddr,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// The peer accepted the connection, but does not continue the handshake.
    #[error("{peer} was connected, but did not finish the handshake within {} s", limit.as_secs())]
    Silent {
        /// The peer.
        peer: SocketAddr,
        /// For how long it was waited.
        limit: Duration,
    },
    /// The peer showed another certificate than it had announced over ssh.
    #[error("{peer} shows another certificate than was sent over ssh: somebody else answers there")]
    WrongCertificate {
        /// The peer.
        peer: SocketAddr,
    },
    /// The peer showed no certificate.
    #[error("{peer} shows no certificate")]
    NoCertificate {
        /// The peer.
        peer: SocketAddr,
    },
    /// The peer does not have the key that was sent over ssh.
    #[error("{peer} does not know the key that was sent over ssh: somebody else answers there")]
    WrongKey {
        /// The peer.
        peer: SocketAddr,
    },
    /// The peer does not accept this end.
    #[error("{peer} turned this end away: it expects another certificate or key")]
    TurnedAway {
        /// The peer.
        peer: SocketAddr,
    },
    /// The peer speaks another protocol.
    #[error("{peer} is no zhaul: {why}")]
    NotZhaul {
        /// The peer.
        peer: SocketAddr,
        /// The part that was not understood.
        why: String,
    },
    /// The connection broke.
    #[error("the connection with {peer} broke off during the handshake")]
    Broken {
        /// The peer.
        peer: SocketAddr,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// The data received over ssh fits no connection.
    #[error("the peer's connection details, received over ssh, are unusable: {0}")]
    Nonsense(&'static str),
    /// Somebody asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ConnectionError {
    /// The error for a failed system call in the preparation: only a cancel has a variant of its own.
    pub(super) fn setup(error: io::Error) -> Self {
        if Cancelled::is_in(&error) { Self::Cancelled(Cancelled) } else { Self::Setup(error) }
    }

    /// The error for a failure in the handshake with `peer`.
    pub(super) fn handshake(peer: SocketAddr, limit: Duration, error: io::Error) -> Self {
        if Cancelled::is_in(&error) {
            return Self::Cancelled(Cancelled);
        }
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::Silent { peer, limit };
        }
        Self::Broken { peer, error }
    }
}

fn turned_away(strangers: usize, last: Option<&ConnectionError>) -> String {
    last.map_or_else(String::new, |last| {
        format!(" ({strangers} others were turned away, the last because {})", crate::stream::chain(last))
    })
}
