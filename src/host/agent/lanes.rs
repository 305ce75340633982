//! Lanes beside a session: opened before its first stream, and kept for those that follow.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

use std::sync::atomic::Ordering;

use super::serve::{LANES_LIMIT, no_lanes};
use super::wire::{Reply, Request};
use super::{Agent, senseless};
use crate::channel::lanes::{Caller, LaneKind};
use crate::host::Problem;
use crate::host::session::Session;
use crate::model::Channel;

impl Agent {
    /// Gives `session` the lanes that the policy wants. Where there is no way for them, and the policy leaves the choice,
    /// the session itself carries the data.
    pub(super) fn with_lanes(&self, mut session: Session) -> Result<Session, Problem> {
        let kind = match self.framing.link.channel {
            Channel::Ssh => return Ok(session),
            Channel::Auto | Channel::Tls => LaneKind::Tls,
            Channel::Tcp => LaneKind::Tcp,
        };
        if !session.lanes.iter().all(|lane| lane.is_usable(&session.stop)) {
            // One that died while it was idle would cost the next dataset its transfer; the agent takes new ones in their place.
            session.lanes.clear();
        }
        let is_choice = self.framing.link.channel == Channel::Auto;
        if !session.lanes.is_empty() || (is_choice && self.is_port_blocked.load(Ordering::Relaxed)) {
            return Ok(session);
        }
        match self.open_lanes(&mut session, kind) {
            Ok(()) => {
                tracing::info!(
                    "{}: the data goes over {} {kind} connections",
                    self.host,
                    session.lanes.len()
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
                // The agent still waits for lanes in this one.
                drop(session);
                self.sessions.take()
            }
            Err(problem) => Err(problem),
        }
    }

    fn open_lanes(&self, session: &mut Session, kind: LaneKind) -> Result<(), Problem> {
        let link = &self.framing.link;
        let caller = Caller::new(kind).map_err(|error| no_lanes(&error))?;
        session.ask(&Request::OpenLanes {
            greeting: caller.greeting(),
            lanes: link.connections,
            ports: link.ports,
        })?;
        let offer = match session.reply(session.limits.hello)? {
            Reply::Lanes { offer } => offer,
            Reply::Failed { problem } => return Err(problem),
            other => return Err(senseless(&other)),
        };
        let lanes = caller.connect(&offer, link.connections, LANES_LIMIT, &session.stop);
        session.lanes = lanes.map_err(|error| no_lanes(&error))?;
        match session.reply(session.limits.hello)? {
            Reply::Done => Ok(()),
            Reply::Failed { problem } => Err(problem),
            other => Err(senseless(&other)),
        }
    }
}
