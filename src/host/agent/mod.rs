//! A target with zhaul on it: typed messages and frames instead of a shell that runs `zfs`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `wire` | what the two ends say |
//! | `dialogue` | a session as requests and replies |
//! | `incoming` | this end of a transfer |
//! | `connections` | connections of their own for the data |
//! | `serve`, `receiving`, `server` | the agent itself: `zhaul agent` |
//! | `cage` | what an agent may do |
//!
//! Where zhaul is not installed, [`Remote`](super::Remote) takes a [`Shell`](super::Shell) in its place.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

#[cfg(test)]
mod agent_tests;
mod cage;
mod connections;
mod dialogue;
mod exclusive;
mod incoming;
mod receiving;
mod serve;
mod server;
pub(super) mod wire;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::answer_limit::AnswerLimit;
use super::content::SPANS_MAX;
use super::listing::is_token;
use super::sessions::Sessions;
use super::{
    Changed, ContentSpec, HostError, Incoming, Problem, ReadSpans, ReceiveSpec, TakeSpans, TargetHost,
};
use crate::model::{
    ByteCount, Change, Dataset, DatasetName, Details, Guid, History, HostState, Link, Listing, Orphan, Point,
    RunMark, SnapshotName,
};
use crate::stream::Cancel;

pub use cage::Restrictions;
pub use serve::{ServeError, serve};
pub use server::Service;

use incoming::AgentIncoming;
use wire::{POINTS_MAX, Reply, Request, Sink};

/// How streams go to an agent.
#[derive(Debug, Clone)]
pub struct Framing {
    /// The channel of the streams, their compression, and the number of connections.
    pub link: Link,
    /// Memory for the agent's buffer.
    pub buffer: ByteCount,
    /// After how long without a byte the agent gives up; `None`: never.
    pub stall_limit: Option<Duration>,
}

/// More datasets and points than any host has: a listing that does not end must not fill the memory.
const ROWS_MAX: usize = 5_000_000;

/// A target behind an agent.
#[derive(Debug)]
pub struct Agent {
    host: String,
    sessions: Arc<Sessions>,
    framing: Framing,
    streams: AtomicU32,
    /// No connection could be opened: it is not tried again.
    is_port_blocked: AtomicBool,
}

impl Agent {
    /// A target called `host` in errors, whose `sessions` speak to an agent.
    pub(super) fn over(host: String, sessions: Arc<Sessions>, framing: Framing) -> Self {
        let (streams, is_port_blocked) = Default::default();
        Self { host, sessions, framing, streams, is_port_blocked }
    }

    /// Starts a transfer that the agent throws away.
    pub(super) fn sink(&self) -> Result<Box<dyn Incoming + '_>, HostError> {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let failed = |problem| self.error(incoming::SINK.0, incoming::SINK.1, problem);
        Ok(Box::new(AgentIncoming::sink(self, stream).map_err(failed)?))
    }

    fn frames(&self, stream: u32) -> Sink {
        let stall_limit_seconds = self.framing.stall_limit.as_ref().map(Duration::as_secs);
        Sink { over_connections: false, stream, buffer_bytes: self.framing.buffer.0, stall_limit_seconds }
    }

    fn error(&self, operation: &'static str, object: impl Display, problem: Problem) -> HostError {
        HostError::new(&self.host, operation, object, problem)
    }

    /// Asks, hands each reply but the last to `take`, and gives the session back unless it is of no use any more.
    fn ask(
        &self,
        request: &Request,
        take: &mut dyn FnMut(Reply) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut session = self.sessions.take()?;
        session.ask(request)?;
        let mut most = match request {
            Request::List { .. } => AnswerLimit::of_list(),
            Request::Content(_) => AnswerLimit::of_content(),
            _ => AnswerLimit::of_words(),
        };
        loop {
            let (reply, bytes) = session.reply_sized(session.limits.answer)?;
            let ends = matches!(reply, Reply::Done | Reply::Failed { .. });
            if !ends {
                most.count(bytes)?;
            }
            match reply {
                Reply::Done => {
                    self.sessions.give_back(session);
                    return Ok(());
                }
                Reply::Failed { problem } => {
                    self.sessions.give_back(session);
                    return Err(problem);
                }
                reply => take(reply)?,
            }
        }
    }

    fn listing(&self, root: &DatasetName) -> Result<Listing, Problem> {
        let mut datasets: Vec<(Dataset, Vec<Point>)> = Vec::new();
        let mut unlisted = Vec::new();
        let mut row_count = 0;
        self.ask(&Request::List { root: root.clone() }, &mut |reply| {
            match reply {
                Reply::Dataset { dataset } if dataset.name.is_within(root) => {
                    row_count += 1;
                    datasets.push((*dataset, Vec::new()));
                }
                Reply::Unlisted { name, why } if is_text_within(&name, root) => {
                    row_count += 1;
                    unlisted.push((name, why));
                }
                Reply::Points { points } => {
                    row_count += points.len().max(1);
                    let (_, known) = datasets.last_mut().ok_or_else(|| {
                        Problem::Protocol("the agent listed snapshots before their dataset".to_owned())
                    })?;
                    known.extend(points);
                }
                other => return Err(unexpected_reply(&other)),
            }
            if row_count > ROWS_MAX {
                return Err(Problem::Protocol(format!("the agent listed more than {ROWS_MAX} things")));
            }
            Ok(())
        })?;
        let mut listing = Listing::new(datasets.into_iter().map(|(dataset, points)| {
            Dataset {
                history: History::new(points),
                // The token is only compared with the plan; a shell's listing is checked alike.
                resume_token: dataset.resume_token.filter(|token| is_token(token)),
                ..dataset
            }
        }));
        for (name, why) in unlisted {
            listing.mark_unlisted(name, why);
        }
        Ok(listing)
    }

    fn asked_details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, Problem> {
        let mut all = Vec::with_capacity(snapshots.len());
        for some in snapshots.chunks(POINTS_MAX) {
            let wanted = all.len() + some.len();
            self.ask(&Request::Details { snapshots: some.to_vec() }, &mut |reply| match reply {
                Reply::Details { details } if all.len() + details.len() <= wanted => {
                    all.extend(details);
                    Ok(())
                }
                other => Err(unexpected_reply(&other)),
            })?;
            if all.len() != wanted {
                let text = format!("the agent answered for {} snapshots instead of {wanted}", all.len());
                return Err(Problem::Protocol(text));
            }
        }
        Ok(all)
    }

    fn asked_change(&self, change: &Change) -> Result<Changed, Problem> {
        let mut changed = Changed::default();
        for piece in change.pieces(POINTS_MAX) {
            let most = changed.refusals.len() + piece.destroyed().len();
            self.ask(&Request::Change(piece), &mut |reply| match reply {
                Reply::Refused { refusals }
                    if !refusals.is_empty() && changed.refusals.len() + refusals.len() <= most =>
                {
                    changed.refusals.extend(refusals);
                    Ok(())
                }
                Reply::Healing { guid } if changed.healing.is_none() => {
                    changed.healing = Some(guid);
                    Ok(())
                }
                Reply::SetAside { mark } if changed.set_aside.is_none() => {
                    changed.set_aside = Some(mark);
                    Ok(())
                }
                other => Err(unexpected_reply(&other)),
            })?;
        }
        Ok(changed)
    }
}

/// A reply that is none to what was asked.
fn unexpected_reply(reply: &Reply) -> Problem {
    let text = format!("{reply:?}");
    let start: String = crate::model::printable(text.as_bytes()).chars().take(120).collect();
    Problem::Protocol(format!("the agent answered {start}, which is no answer to the question"))
}

impl TargetHost for Agent {
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        self.listing(root).map_err(|problem| self.error("list", root, problem))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        self.asked_details(snapshots).map_err(|problem| self.error("look at", object, problem))
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let started = AgentIncoming::start(self, spec, stream);
        Ok(Box::new(started.map_err(|problem| self.error(incoming::OPERATION, &spec.snapshot, problem))?))
    }

    fn content(&self, spec: &ContentSpec, _cancel: &Cancel, take: TakeSpans<'_>) -> Result<(), HostError> {
        let asked = self.ask(&Request::Content(spec.clone()), &mut |reply| match reply {
            Reply::Content { spans, bytes } if spans.len() <= SPANS_MAX => take(ReadSpans { spans, bytes }),
            other => Err(unexpected_reply(&other)),
        });
        asked.map_err(|problem| self.error("read", &spec.snapshot, problem))
    }

    fn begin_run(&self, run: RunMark) -> Result<Vec<Orphan>, HostError> {
        let mut all = Vec::new();
        let asked = self.ask(&Request::EndOrphans { run }, &mut |reply| match reply {
            Reply::Orphans { orphans } if all.is_empty() => {
                all = orphans;
                Ok(())
            }
            other => Err(unexpected_reply(&other)),
        });
        asked.map_err(|problem| self.error("look for what earlier runs left on", "it", problem))?;
        Ok(all)
    }

    fn is_append_only(&self) -> Result<bool, HostError> {
        let session = self.sessions.take().map_err(|problem| self.error("ask", "its agent", problem))?;
        let is_append_only = session.is_append_only;
        self.sessions.give_back(session);
        Ok(is_append_only)
    }

    fn state(&self, root: &DatasetName) -> Result<HostState, HostError> {
        let mut reported = None;
        let asked = self.ask(&Request::State { root: root.clone() }, &mut |reply| match reply {
            Reply::State { state } if reported.is_none() => {
                reported = Some(state);
                Ok(())
            }
            other => Err(unexpected_reply(&other)),
        });
        let nothing = || Problem::Protocol("the agent reported nothing".to_owned());
        let state = asked.and_then(|()| reported.ok_or_else(nothing));
        state.map_err(|problem| self.error("see the pool of", root, problem))
    }

    fn change(&self, change: &Change) -> Result<Changed, HostError> {
        let (operation, object) = change.words();
        self.asked_change(change).map_err(|problem| self.error(operation, object, problem))
    }
}

/// Whether a name, which may be one that zhaul does not take, is `root` or is below it.
fn is_text_within(name: &str, root: &DatasetName) -> bool {
    name.strip_prefix(root.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
