//! A target on another machine: through zhaul's agent where it is installed and wanted, else through a shell.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::agent::{Agent, Framing};
use super::session::Limits;
use super::session_words::Speaks;
use super::sessions::{Machine, Sessions};
use super::{Changed, ContentSpec, HostError, Incoming, ReceiveSpec, Shell, TakeSpans, TargetHost};
use crate::model::{Change, DatasetName, Details, Guid, HostState, Listing, Orphan, RunMark, SnapshotName};
use crate::stream::Cancel;

/// A target whose sessions speak to an agent or to a shell, whichever is there.
#[derive(Debug)]
pub struct Remote {
    host: String,
    sessions: Arc<Sessions>,
    agent: Agent,
    shell: Shell,
    /// That there is no agent was logged.
    is_logged: AtomicBool,
}

impl Remote {
    /// A target called `host` in errors. Nothing is connected before it is needed; `cancel` ends every wait.
    pub fn new(host: &str, machine: Machine, framing: Framing, cancel: &Cancel) -> Self {
        let limits = framing.stall_limit.map_or_else(Limits::default, Limits::within);
        let sessions = Sessions::new(machine, limits, cancel).with_agent(framing.link.agent);
        let sessions = Arc::new(sessions);
        let shell = Shell::over(host.to_owned(), Arc::clone(&sessions));
        let agent = Agent::over(host.to_owned(), Arc::clone(&sessions), framing);
        Self { host: host.to_owned(), sessions, agent, shell, is_logged: AtomicBool::new(false) }
    }

    /// Starts a transfer that an agent there throws away; `None` where there is no agent.
    pub fn sink(&self) -> Result<Option<Box<dyn Incoming + '_>>, HostError> {
        match self.speaks("measure the way to", "it")? {
            Speaks::Worker => Ok(None),
            Speaks::Agent => self.agent.sink().map(Some),
        }
    }

    fn speaks(&self, operation: &'static str, object: impl Display) -> Result<Speaks, HostError> {
        self.sessions.speaks().map_err(|problem| HostError::new(&self.host, operation, object, problem))
    }

    /// The one of the two that this machine has. `operation` and `object` are for the error, where it cannot be reached.
    fn chosen(&self, operation: &'static str, object: impl Display) -> Result<&dyn TargetHost, HostError> {
        match self.speaks(operation, object)? {
            Speaks::Agent => Ok(&self.agent),
            Speaks::Worker => {
                if !self.is_logged.swap(true, Ordering::Relaxed) {
                    tracing::info!("{}: zhaul is not installed there; zfs alone will do", self.host);
                }
                Ok(&self.shell)
            }
        }
    }
}

impl TargetHost for Remote {
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        self.chosen("list", root)?.list(root)
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        self.chosen("look at", object)?.details(snapshots)
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        self.chosen("receive into", &spec.snapshot)?.receive(spec)
    }

    fn content(&self, spec: &ContentSpec, cancel: &Cancel, take: TakeSpans<'_>) -> Result<(), HostError> {
        self.chosen("read", &spec.snapshot)?.content(spec, cancel, take)
    }

    fn begin_run(&self, run: RunMark) -> Result<Vec<Orphan>, HostError> {
        // Before the first login.
        self.sessions.mark(run);
        self.chosen("look for what earlier runs left on", "it")?.begin_run(run)
    }

    fn is_append_only(&self) -> Result<bool, HostError> {
        self.chosen("ask", "its agent")?.is_append_only()
    }

    fn state(&self, root: &DatasetName) -> Result<HostState, HostError> {
        self.chosen("see the pool of", root)?.state(root)
    }

    fn change(&self, change: &Change) -> Result<Changed, HostError> {
        let (operation, object) = change.words();
        self.chosen(operation, object)?.change(change)
    }
}
