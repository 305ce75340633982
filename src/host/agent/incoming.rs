//! This end of a transfer to an agent: frames go out, and what the agent says meanwhile is heard on a thread of its own.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::wire::{self, Receive, Reply, Request, Sink};
use super::{Agent, unexpected_reply};
use crate::host::session::{Output, Session};
use crate::host::{HostError, Incoming, Problem, ReceiveInput, ReceiveSpec};
use crate::model::Compression;
use crate::stream::framed::workers;
use crate::stream::meter::{Meters, Places};
use crate::stream::threads::alone;
use crate::stream::{Bottleneck, ByteSink, Cancel};

pub(super) const OPERATION: &str = "receive into";
/// Names a stream that is only measured, in errors.
pub(super) const SINK: (&str, &str) = ("send to", "a sink, to measure the way");

/// How the agent's part ended.
enum Verdict {
    Done,
    /// In the agent's own words.
    Failed(Problem),
    /// Nothing was heard of it.
    Lost(Problem),
}

/// `zfs receive` behind an agent.
pub(super) struct AgentIncoming<'a> {
    agent: &'a Agent,
    session: Session,
    operation: &'static str,
    object: String,
    stream: u32,
    /// Whoever hears the agent brings its verdict here.
    heard: Option<Receiver<(Output, Verdict)>>,
}

impl<'a> AgentIncoming<'a> {
    /// Asks the agent to receive, and returns when it is ready for frames.
    pub(super) fn start(agent: &'a Agent, spec: &ReceiveSpec, stream: u32) -> Result<Self, Problem> {
        let Sink { over_connections: _, stream, buffer_bytes, stall_limit_seconds } = agent.frames(stream);
        let named = (OPERATION, spec.snapshot.to_string());
        Self::ask(agent, named, stream, |over_connections| {
            let spec = spec.clone();
            Request::Receive(Receive { spec, over_connections, stream, buffer_bytes, stall_limit_seconds })
        })
    }

    /// Asks the agent to throw frames away, and returns when it is ready for them.
    pub(super) fn sink(agent: &'a Agent, stream: u32) -> Result<Self, Problem> {
        let (operation, object) = SINK;
        Self::ask(agent, (operation, object.to_owned()), stream, |over_connections| {
            Request::Sink(Sink { over_connections, ..agent.frames(stream) })
        })
    }

    fn ask(
        agent: &'a Agent,
        (operation, object): (&'static str, String),
        stream: u32,
        request: impl FnOnce(bool) -> Request,
    ) -> Result<Self, Problem> {
        let session = agent.sessions.take()?;
        let mut session = agent.with_connections(session)?;
        let over_connections = !session.connections.is_empty();
        session.ask(&request(over_connections))?;
        match session.reply(session.limits.answer)? {
            Reply::Ready => {}
            Reply::Failed { problem } => {
                agent.sessions.give_back(session);
                return Err(problem);
            }
            other => return Err(unexpected_reply(&other)),
        }
        Ok(Self { agent, session, operation, object, stream, heard: None })
    }

    fn error(&self, problem: Problem) -> HostError {
        self.agent.error(self.operation, &self.object, problem)
    }

    /// Waits for the agent's verdict, at most for `limit`. The session can be used again only after a `Done`.
    fn verdict(&mut self, limit: Option<Duration>) -> Verdict {
        let Some(heard) = self.heard.take() else {
            return Verdict::Lost(Problem::Other("the transfer was never begun".to_owned()));
        };
        let heard = match limit {
            Some(limit) => heard.recv_timeout(limit).ok(),
            None => heard.recv().ok(),
        };
        let Some((output, verdict)) = heard else {
            return Verdict::Lost(Problem::Other("the agent does not answer any more".to_owned()));
        };
        self.session.put_back(output);
        verdict
    }
}

impl Incoming for AgentIncoming<'_> {
    fn inlet(&mut self, cancel: &Cancel, meters: &Arc<Meters>) -> Result<ReceiveInput<'_>, HostError> {
        let Some(output) = self.session.take_output() else {
            return Err(self.error(Problem::Other("the transfer was begun twice; this is a bug".to_owned())));
        };
        let limit = self.session.limits.answer;
        let (cancel_too, meters) = (cancel.clone(), Arc::clone(meters));
        let (tell, heard) = bounded(1);
        let listener = alone("zhaul-agent", move || {
            let (output, verdict) = listen(output, limit, &meters);
            let is_over = !matches!(verdict, Verdict::Done);
            // The verdict first: whoever sees the transfer cancelled looks for the reason at once. No thread waits
            // where the session was given up.
            drop(tell.send((output, verdict)));
            if is_over {
                cancel_too.request();
            }
        });
        listener.map_err(|error| self.error(Problem::Other(error.to_string())))?;
        self.heard = Some(heard);
        let (stream, compression) = (self.stream, self.agent.framing.link.compression);
        match connections(&mut self.session, cancel) {
            Ok(connections) => Ok(ReceiveInput::Framed { connections, stream, compression }),
            Err(error) => Err(HostError::new(
                &self.agent.host,
                self.operation,
                &self.object,
                Problem::Other(error.to_string()),
            )),
        }
    }

    fn places(&self) -> Places {
        Places::SENDING
    }

    fn compressors(&self) -> usize {
        if self.agent.framing.link.compression == Compression::Off { 0 } else { workers() }
    }

    fn finish(mut self: Box<Self>) -> Result<(), HostError> {
        // The agent lives as long as it says so; how long the end of a receive takes is for its pool to say.
        match self.verdict(None) {
            Verdict::Done => {
                self.agent.sessions.give_back(self.session);
                Ok(())
            }
            Verdict::Failed(problem) | Verdict::Lost(problem) => Err(self.error(problem)),
        }
    }

    fn abort(mut self: Box<Self>) -> Option<HostError> {
        let was_first = self.heard.as_ref().is_some_and(|heard| !heard.is_empty());
        // The agent sees its frames end, keeps what can be resumed, and says so; that takes it a moment.
        self.session.connections.clear();
        self.session.close_input();
        match self.verdict(Some(self.session.limits.farewell)) {
            Verdict::Failed(problem) if was_first || !is_echo(&problem) => Some(self.error(problem)),
            Verdict::Lost(problem) if was_first => Some(self.error(problem)),
            Verdict::Done | Verdict::Failed(_) | Verdict::Lost(_) => None,
        }
    }
}

/// The session's connections, or the session itself as the only one.
fn connections<'s>(session: &'s mut Session, cancel: &Cancel) -> io::Result<Vec<Box<dyn ByteSink + 's>>> {
    if session.connections.is_empty() {
        return Ok(vec![Box::new(session.stream(cancel)?)]);
    }
    session.connections.iter_mut().map(|connection| connection.target(cancel)).collect()
}

/// Whether the agent only noticed that the stream was cut: such an error has no cause of its own.
fn is_echo(problem: &Problem) -> bool {
    matches!(problem, Problem::Cancelled | Problem::Stalled(_) | Problem::Protocol(_))
}

/// Hears the agent until its verdict.
fn listen(mut output: Output, limit: Duration, meters: &Meters) -> (Output, Verdict) {
    let verdict = loop {
        let heard = wire::read_reply(&mut output, limit);
        match heard.map(|heard| heard.map(|(reply, _)| reply)) {
            Ok(Some(Reply::Progress { waiting_for })) => meters.note_peer(reported(waiting_for)),
            Ok(Some(Reply::Done)) => break Verdict::Done,
            // Not this run was interrupted.
            Ok(Some(Reply::Failed { problem: Problem::Cancelled })) => {
                break Verdict::Failed(Problem::Other("the agent there was interrupted".to_owned()));
            }
            Ok(Some(Reply::Failed { problem })) => break Verdict::Failed(problem),
            Ok(Some(other)) => break Verdict::Lost(unexpected_reply(&other)),
            Ok(None) => {
                break Verdict::Lost(Problem::Unreachable("the connection ended in mid-transfer".to_owned()));
            }
            Err(error) => break Verdict::Lost(Problem::Protocol(error.to_string())),
        }
    };
    (output, verdict)
}

/// The receiver's bottleneck in the sender's terms: the receiver's input is the network.
fn reported(waiting_for: Bottleneck) -> Bottleneck {
    match waiting_for {
        Bottleneck::SourceRead | Bottleneck::RateLimit => Bottleneck::Network,
        Bottleneck::Network | Bottleneck::Compress | Bottleneck::TargetReceive => waiting_for,
    }
}
