//! How a target on another machine is talked to.

use super::{Compression, PortRange};

/// The program to run on the target in an ssh session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgentUse {
    /// The agent where zhaul is installed, else `zfs` alone.
    #[default]
    Auto,
    /// `zfs` alone.
    Off,
    /// The agent or nothing.
    Require,
}

/// The channel for the data of a stream; requests and answers go through ssh in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Channel {
    /// TLS where the port can be reached, else ssh.
    #[default]
    Auto,
    /// The ssh session.
    Ssh,
    /// Parallel TLS connections or nothing.
    Tls,
    /// Parallel TCP connections or nothing: authenticated, but readable by whoever listens in.
    Tcp,
}

/// The link to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The program to run there.
    pub agent: AgentUse,
    /// The channel for the data; only an agent takes anything but ssh.
    pub channel: Channel,
    /// How the data is compressed; only an agent decompresses.
    pub compression: Compression,
    /// How many TLS or TCP connections share a stream.
    pub connections: usize,
    /// The ports on the target at which they may arrive.
    pub ports: PortRange,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            agent: AgentUse::default(),
            channel: Channel::default(),
            compression: Compression::default(),
            connections: 2,
            ports: PortRange::default(),
        }
    }
}
