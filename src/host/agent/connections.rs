//! Connections beside a session: opened before its first stream, and kept for those that follow.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

use std::sync::atomic::Ordering;

use super::serve::{CONNECTIONS_LIMIT, no_connections};
use super::wire::{Reply, Request};
use super::{Agent, unexpected_reply};
use crate::channel::connections::{Caller, ConnectionKind};
use crate::host::Problem;
use crate::host::session::Session;
use crate::model::Channel;

impl Agent {
    /// Gives `session` the connections that the policy wants. Where there is no way for them, and the policy leaves the choice,
    /// the session itself carries the data.
    pub(super) fn with_connections(&self, mut session: Session) -> Result<Session, Problem> {
        let kind = match self.framing.link.channel {
            Channel::Ssh => return Ok(session),
            Channel::Auto | Channel::Tls => ConnectionKind::Tls,
            Channel::Tcp => ConnectionKind::Tcp,
        };
        if !session.connections.iter().all(|connection| connection.is_usable(&session.cancel)) {
            // One that died while it was idle would cost the next dataset its transfer; the agent takes new ones in their place.
            session.connections.clear();
        }
        let is_choice = self.framing.link.channel == Channel::Auto;
        if !session.connections.is_empty() || (is_choice && self.is_port_blocked.load(Ordering::Relaxed)) {
            return Ok(session);
        }
        match self.open_connections(&mut session, kind) {
            Ok(()) => {
                tracing::info!(
                    "{}: the data goes over {} {kind} connections",
                    self.host,
                    session.connections.len()
                );
                Ok(session)
            }
            Err(Problem::Unreachable(why)) if is_choice => {
                if !self.is_port_blocked.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "{}: sending through ssh because no direct connection could be opened: {why} \
                         (next: open a port range there and set ports, or set channel = \"ssh\")",
                        self.host
                    );
                }
                // The agent still waits for connections in this one.
                drop(session);
                self.sessions.take()
            }
            Err(problem) => Err(problem),
        }
    }

    fn open_connections(&self, session: &mut Session, kind: ConnectionKind) -> Result<(), Problem> {
        let link = &self.framing.link;
        let caller = Caller::new(kind).map_err(|error| no_connections(&error))?;
        session.ask(&Request::OpenConnections {
            greeting: caller.greeting(),
            connections: link.connections,
            ports: link.ports,
        })?;
        let offer = match session.reply(session.limits.hello)? {
            Reply::Connections { offer } => offer,
            Reply::Failed { problem } => return Err(problem),
            other => return Err(unexpected_reply(&other)),
        };
        let connections = caller.connect(&offer, link.connections, CONNECTIONS_LIMIT, &session.cancel);
        session.connections = connections.map_err(|error| no_connections(&error))?;
        match session.reply(session.limits.hello)? {
            Reply::Done => Ok(()),
            Reply::Failed { problem } => Err(problem),
            other => Err(unexpected_reply(&other)),
        }
    }
}
