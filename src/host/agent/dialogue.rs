//! A session with an agent: requests out, replies in.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

use std::time::Duration;

use super::wire::{self, PROTOCOL, Reply, Request};
use crate::channel::message::{self, MessageError};
use crate::host::Problem;
use crate::host::session::{Output, Session};
use crate::stream::FdTarget;

impl Session {
    /// Introduces this zhaul to the agent, and reads whether the agent will answer.
    pub(in crate::host) fn introduce(&mut self) -> Result<(), Problem> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.ask(&Request::Hello { protocol: PROTOCOL, version })?;
        let mut is_greeted = false;
        loop {
            match self.reply(self.limits.hello)? {
                Reply::Hello { version, roots, append_only, .. } if !is_greeted => {
                    is_greeted = true;
                    tracing::debug!(
                        "the agent is zhaul {version}, roots {roots:?}, append only: {append_only}"
                    );
                    self.is_append_only = append_only;
                }
                Reply::Done => return Ok(()),
                Reply::Failed { problem } => return Err(problem),
                other => {
                    return Err(super::unexpected_reply(&other));
                }
            }
        }
    }

    /// Asks an agent.
    pub(in crate::host) fn ask(&mut self, request: &Request) -> Result<(), Problem> {
        let Some(input) = &self.input else {
            return Err(self.lost());
        };
        let mut input = FdTarget::new(input, &self.cancel).map_err(|e| Problem::Other(e.to_string()))?;
        let asked = message::write(&mut input, request);
        drop(input);
        asked.map_err(|error| self.unheard(&error))
    }

    /// An agent's next reply.
    pub(in crate::host) fn reply(&mut self, limit: Duration) -> Result<Reply, Problem> {
        self.reply_sized(limit).map(|(reply, _)| reply)
    }

    /// The same, with its length in bytes.
    pub(in crate::host) fn reply_sized(&mut self, limit: Duration) -> Result<(Reply, usize), Problem> {
        let Some(output) = &mut self.output else {
            return Err(self.lost());
        };
        match wire::read_reply(output, limit) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.lost()),
            Err(error) => Err(self.unheard(&error)),
        }
    }

    /// Why an agent cannot be talked to.
    fn unheard(&mut self, error: &MessageError) -> Problem {
        match error {
            MessageError::Io(error) => self.broken(error),
            MessageError::Cut => self.lost(),
            MessageError::Late(limit) => Problem::Stalled(limit.as_secs()),
            MessageError::NotAMessage(_) | MessageError::TooLong(_) | MessageError::Unreadable(_) => {
                Problem::Protocol(error.to_string())
            }
        }
    }

    /// The replies, to be read while something is written; [`Session::put_back`] brings them again.
    pub(in crate::host) fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// The replies are read here again.
    pub(in crate::host) fn put_back(&mut self, output: Output) {
        self.output = Some(output);
    }
}
