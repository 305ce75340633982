//! How targets on other machines are talked to.

use super::super::file::{LinkSection, TransferSection};
use super::Checked;
use super::value::Checker;
use crate::model::{AgentUse, Channel, CompressionError, Link, PortRangeError};

/// Each is a thread at both ends, and more than this gain nothing on any link.
const CONNECTIONS_MAX: i64 = 16;

impl Checker<'_> {
    /// The link of every target that does not say otherwise.
    pub(super) fn default_link(&self, written: &TransferSection) -> Checked<Link> {
        let mut link = self.link(&written.link(), &Link::default())?;
        if let Some(connections) = &written.connections {
            let range = 1..=CONNECTIONS_MAX;
            let number = self.number("connections", connections, &range, "2 suits most links")?;
            link.connections = usize::try_from(number).unwrap_or(1);
        }
        if let Some(ports) = &written.ports {
            link.ports = ports.get_ref().parse().map_err(|e: PortRangeError| {
                let fix = "write those that the targets' firewalls let through, for example \"50000-50015\"";
                self.error("ports", &ports.span(), e.to_string(), fix)
            })?;
        }
        Ok(link)
    }

    /// The settings that are written for one target, or for all; `default` gives the others.
    pub(super) fn link(&self, written: &LinkSection<'_>, default: &Link) -> Checked<Link> {
        let agent = [("auto", AgentUse::Auto), ("off", AgentUse::Off), ("require", AgentUse::Require)];
        let channel =
            [("auto", Channel::Auto), ("ssh", Channel::Ssh), ("tls", Channel::Tls), ("tcp", Channel::Tcp)];
        let compression = match written.compression {
            None => default.compression,
            Some(text) => text.get_ref().parse().map_err(|e: CompressionError| {
                let fix = "\"auto\" suits most links: it compresses as strongly as the link leaves time for";
                self.error("compression", &text.span(), e.to_string(), fix)
            })?,
        };
        Ok(Link {
            agent: self.word("agent", written.agent.as_ref(), &agent, default.agent)?,
            channel: self.word("channel", written.channel.as_ref(), &channel, default.channel)?,
            compression,
            ..default.clone()
        })
    }
}
