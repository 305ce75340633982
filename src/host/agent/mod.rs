//! A target with zhaul on it: typed messages and frames instead of a shell that runs `zfs`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `wire` | what the two ends say |
//! | `dialogue` | a session as requests and replies |
//! | `incoming` | this end of a transfer |
//! | `lanes` | connections of their own for the data |
//! | `serve`, `receiving` | the other end: `zhaul agent` |
//! | `cage` | what that one may do |
//!
//! Where zhaul is not installed, the same session is a [`Shell`]'s: nothing is lost but the speed.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other reply is as wrong, a new one too")]

#[cfg(test)]
mod agent_tests;
mod cage;
mod dialogue;
mod incoming;
mod lanes;
mod receiving;
mod serve;
pub(super) mod wire;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::listing::is_token;
use super::session::{Limits, Speaks};
use super::sessions::{Machine, Sessions};
use super::{HostError, Incoming, Problem, ReceiveSpec, Refusal, Shell, TargetHost};
use crate::model::{
    ByteCount, Dataset, DatasetName, Details, Guid, History, Link, Listing, Point, PointName, SnapshotName,
};
use crate::stream::Cancel;

pub use cage::Cage;
pub use serve::{ServeError, Service, serve};

use incoming::AgentIncoming;
use wire::{POINTS_MAX, Reply, Request, Sink, harmless};

/// How streams go to an agent.
#[derive(Debug, Clone)]
pub struct Framing {
    /// What carries them, how they are packed, and over how many connections.
    pub link: Link,
    /// Memory for the buffer at the other end.
    pub buffer: ByteCount,
    /// After how long without a byte the other end gives up; `None`: never.
    pub stall_limit: Option<Duration>,
}

/// More datasets and points than any host has: a listing that does not end must not fill the memory.
const ROWS_MAX: usize = 5_000_000;

/// A target behind an agent, or behind a shell where there is none.
#[derive(Debug)]
pub struct Agent {
    host: String,
    sessions: Arc<Sessions>,
    shell: Shell,
    framing: Framing,
    streams: AtomicU32,
    has_told: AtomicBool,
    /// No lane could be opened: it is not tried again.
    is_port_blocked: AtomicBool,
}

impl Agent {
    /// A target called `host` in errors. Nothing is connected before it is needed; `stop` ends every wait.
    pub fn new(host: &str, machine: Machine, framing: Framing, stop: &Cancel) -> Self {
        let sessions = Sessions::new(machine, Limits::default(), stop).with_agent(framing.link.agent);
        let sessions = Arc::new(sessions);
        let shell = Shell::over(host.to_owned(), Arc::clone(&sessions));
        let (streams, has_told, is_port_blocked) = Default::default();
        Self { host: host.to_owned(), sessions, shell, framing, streams, has_told, is_port_blocked }
    }

    /// Starts a transfer that an agent there throws away; `None` where there is no agent.
    pub fn sink(&self) -> Result<Option<Box<dyn Incoming + '_>>, HostError> {
        let failed = |problem| self.error(incoming::SINK.0, incoming::SINK.1, problem);
        match self.sessions.speaks().map_err(failed)? {
            Speaks::Worker => Ok(None),
            Speaks::Agent => {
                let stream = self.streams.fetch_add(1, Ordering::Relaxed);
                Ok(Some(Box::new(AgentIncoming::sink(self, stream).map_err(failed)?)))
            }
        }
    }

    /// Whether an agent there was told to destroy nothing.
    pub fn is_append_only(&self) -> Result<bool, HostError> {
        let session = self.sessions.take().map_err(|problem| self.error("ask", "its agent", problem))?;
        let is_append_only = session.is_append_only;
        self.sessions.give_back(session);
        Ok(is_append_only)
    }

    fn frames(&self, stream: u32) -> Sink {
        let stall_limit_seconds = self.framing.stall_limit.as_ref().map(Duration::as_secs);
        Sink { over_lanes: false, stream, buffer_bytes: self.framing.buffer.0, stall_limit_seconds }
    }

    fn error(&self, operation: &'static str, object: impl Display, problem: Problem) -> HostError {
        HostError::new(&self.host, operation, object, problem)
    }

    /// Does it through the agent, or through the shell where there is none.
    fn through<T>(
        &self,
        operation: &'static str,
        object: &dyn Display,
        by_agent: impl FnOnce() -> Result<T, Problem>,
        by_shell: impl FnOnce(&Shell) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let failed = |problem| self.error(operation, object, problem);
        match self.sessions.speaks().map_err(failed)? {
            Speaks::Agent => by_agent().map_err(failed),
            Speaks::Worker => {
                if !self.has_told.swap(true, Ordering::Relaxed) {
                    tracing::info!("{}: zhaul is not installed there; zfs alone will do", self.host);
                }
                by_shell(&self.shell)
            }
        }
    }

    /// Asks, hands each reply but the last to `take`, and gives the session back unless it is of no use any more.
    fn ask(
        &self,
        request: &Request,
        take: &mut dyn FnMut(Reply) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut session = self.sessions.take()?;
        session.ask(request)?;
        loop {
            match session.reply(session.limits.answer)? {
                Reply::Done => {
                    self.sessions.give_back(session);
                    return Ok(());
                }
                Reply::Failed { problem } => {
                    self.sessions.give_back(session);
                    return Err(harmless(problem));
                }
                reply => take(reply)?,
            }
        }
    }

    /// Asks for what has no answer but that it is done.
    fn order(&self, request: &Request) -> Result<(), Problem> {
        self.ask(request, &mut |reply| Err(senseless(&reply)))
    }

    fn listing(&self, root: &DatasetName) -> Result<Listing, Problem> {
        let mut datasets: Vec<(Dataset, Vec<Point>)> = Vec::new();
        let mut row_count = 0;
        self.ask(&Request::List { root: root.clone() }, &mut |reply| {
            match reply {
                Reply::Dataset { dataset } if dataset.name.is_within(root) => {
                    row_count += 1;
                    datasets.push((*dataset, Vec::new()));
                }
                Reply::Points { points } => {
                    row_count += points.len();
                    let (_, known) = datasets.last_mut().ok_or_else(|| {
                        Problem::Protocol("the agent told points before their dataset".to_owned())
                    })?;
                    known.extend(points);
                }
                other => return Err(senseless(&other)),
            }
            if row_count > ROWS_MAX {
                return Err(Problem::Protocol(format!("the agent listed more than {ROWS_MAX} things")));
            }
            Ok(())
        })?;
        Ok(Listing::new(datasets.into_iter().map(|(dataset, points)| {
            Dataset {
                history: History::new(points),
                // Given to nobody but compared with the plan; a shell's listing is checked alike.
                resume_token: dataset.resume_token.filter(|token| is_token(token)),
                ..dataset
            }
        })))
    }

    fn asked_details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, Problem> {
        let mut all = Vec::with_capacity(snapshots.len());
        for some in snapshots.chunks(POINTS_MAX) {
            let wanted = all.len() + some.len();
            self.ask(&Request::Details { snapshots: some.to_vec() }, &mut |reply| match reply {
                Reply::Details { details } => {
                    all.extend(details);
                    Ok(())
                }
                other => Err(senseless(&other)),
            })?;
            if all.len() != wanted {
                let text = format!("the agent told of {} snapshots instead of {wanted}", all.len());
                return Err(Problem::Protocol(text));
            }
        }
        Ok(all)
    }

    fn destroy(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, Problem> {
        let mut told = Vec::new();
        let request = Request::DestroySnapshots { dataset: dataset.clone(), snapshots: snapshots.to_vec() };
        self.ask(&request, &mut |reply| match reply {
            Reply::Refused { refusals } => {
                told.extend(
                    refusals
                        .into_iter()
                        .map(|refusal| Refusal { problem: harmless(refusal.problem), ..refusal }),
                );
                Ok(())
            }
            other => Err(senseless(&other)),
        })?;
        Ok(told)
    }
}

/// A reply that is none to what was asked.
fn senseless(reply: &Reply) -> Problem {
    let text = format!("{reply:?}");
    let start: String = text.chars().take(120).collect();
    Problem::Protocol(format!("the agent answered {start}, which is no answer to the question"))
}

impl TargetHost for Agent {
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        self.through("list", root, || self.listing(root), |shell| shell.list(root))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        let by_agent = || self.asked_details(snapshots);
        self.through("look at", &object, by_agent, |shell| shell.details(snapshots))
    }

    fn create_container(&self, dataset: &DatasetName) -> Result<(), HostError> {
        let request = Request::CreateContainer { dataset: dataset.clone() };
        self.through("create", dataset, || self.order(&request), |shell| shell.create_container(dataset))
    }

    fn abort_receive(&self, dataset: &DatasetName, token: &str) -> Result<(), HostError> {
        let request = Request::AbortReceive { dataset: dataset.clone(), token: token.to_owned() };
        self.through(
            "drop the partial receive of",
            dataset,
            || self.order(&request),
            |shell| shell.abort_receive(dataset, token),
        )
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        let failed = |problem| self.error(incoming::OPERATION, &spec.snapshot, problem);
        match self.sessions.speaks().map_err(failed)? {
            Speaks::Worker => self.shell.receive(spec),
            Speaks::Agent => {
                let stream = self.streams.fetch_add(1, Ordering::Relaxed);
                Ok(Box::new(AgentIncoming::start(self, spec, stream).map_err(failed)?))
            }
        }
    }

    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        self.through(
            "destroy snapshots of",
            dataset,
            || self.destroy(dataset, snapshots),
            |shell| shell.destroy_snapshots(dataset, snapshots),
        )
    }

    fn rollback(&self, dataset: &DatasetName, to: &PointName, guid: Guid) -> Result<(), HostError> {
        let request = Request::Rollback { dataset: dataset.clone(), to: to.clone(), guid };
        let object = format!("{dataset}@{to}");
        self.through(
            "roll back to",
            &object,
            || self.order(&request),
            |shell| shell.rollback(dataset, to, guid),
        )
    }

    fn rename_dataset(&self, from: &DatasetName, guid: Guid, to: &DatasetName) -> Result<(), HostError> {
        let request = Request::RenameDataset { from: from.clone(), guid, to: to.clone() };
        let object = format!("{from} to {to}");
        self.through("rename", &object, || self.order(&request), |shell| shell.rename_dataset(from, guid, to))
    }

    fn rename_snapshot(
        &self,
        dataset: &DatasetName,
        from: &PointName,
        guid: Guid,
        to: &PointName,
    ) -> Result<(), HostError> {
        let request =
            Request::RenameSnapshot { dataset: dataset.clone(), from: from.clone(), guid, to: to.clone() };
        let object = format!("{dataset}@{from} to {dataset}@{to}");
        self.through(
            "rename",
            &object,
            || self.order(&request),
            |shell| shell.rename_snapshot(dataset, from, guid, to),
        )
    }

    fn destroy_dataset(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        snapshots: &[(PointName, Guid)],
    ) -> Result<(), HostError> {
        let request =
            Request::DestroyDataset { dataset: dataset.clone(), guid, snapshots: snapshots.to_vec() };
        self.through(
            "destroy",
            dataset,
            || self.order(&request),
            |shell| shell.destroy_dataset(dataset, guid, snapshots),
        )
    }
}
