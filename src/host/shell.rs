//! A target that needs nothing but `zfs` and sshd (or, on this machine, nothing but `zfs`).

use std::sync::Arc;

use super::changes::unlisted;
use super::receive::ShellIncoming;
use super::session::Limits;
use super::sessions::{Machine, Sessions};
use super::zfs_program::ZfsProgram;
use super::{Changed, ContentSpec, HostError, Incoming, ReceiveSpec, TakeSpans, TargetHost};
use crate::model::{
    Change, DatasetName, Details, Guid, HostState, Listing, Orphan, RunMark, SnapshotName, Unlisted,
};
use crate::stream::Cancel;

/// A target behind a worker shell.
#[derive(Debug)]
pub struct Shell {
    program: ZfsProgram,
}

impl Shell {
    /// A target called `host` in errors. Nothing is connected before it is needed; `cancel` ends every wait.
    pub fn new(host: impl Into<String>, machine: Machine, cancel: &Cancel) -> Self {
        Self::with_limits(host.into(), machine, Limits::default(), cancel)
    }

    /// This machine for an agent: it decides from each stream and from its own datasets what a copy gets, and takes only
    /// plain streams that are what was announced.
    pub fn for_agent(host: impl Into<String>, cancel: &Cancel) -> Self {
        let Self { program } = Self::new(host, Machine::Local, cancel);
        Self { program: program.guarded() }
    }

    pub(super) fn with_limits(host: String, machine: Machine, limits: Limits, cancel: &Cancel) -> Self {
        Self::over(host, Arc::new(Sessions::new(machine, limits, cancel)))
    }

    /// The same through sessions that an agent shares.
    pub(super) fn over(host: String, sessions: Arc<Sessions>) -> Self {
        Self { program: ZfsProgram::new(host, sessions) }
    }
}

impl TargetHost for Shell {
    fn is_receiving(&self, dataset: &DatasetName) -> bool {
        self.program.receiver(dataset).is_some()
    }

    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        let failed = |problem| self.program.error("list", root, problem);
        let listing =
            self.program.list(std::slice::from_ref(root), "filesystem,volume,snapshot").map_err(failed)?;
        match listing.why_unlisted(root) {
            None => Ok(listing),
            Some(Unlisted::Missing) => Ok(Listing::default()),
            Some(why) => Err(failed(unlisted(root, why))),
        }
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        self.program.details(snapshots).map_err(|problem| self.program.error("look at", object, problem))
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        Ok(Box::new(ShellIncoming::start(&self.program, spec)?))
    }

    fn content(&self, spec: &ContentSpec, cancel: &Cancel, take: TakeSpans<'_>) -> Result<(), HostError> {
        self.program.content(spec, cancel, take)
    }

    fn begin_run(&self, run: RunMark) -> Result<Vec<Orphan>, HostError> {
        self.program
            .begin_run(run)
            .map_err(|problem| self.program.error("look for what earlier runs left on", "it", problem))
    }

    fn state(&self, root: &DatasetName) -> Result<HostState, HostError> {
        self.program
            .state(root.pool())
            .map_err(|problem| self.program.error("see the pool of", root, problem))
    }

    fn change(&self, change: &Change) -> Result<Changed, HostError> {
        self.program.change(change).map_err(|problem| {
            let (operation, object) = change.words();
            self.program.error(operation, object, problem)
        })
    }
}
