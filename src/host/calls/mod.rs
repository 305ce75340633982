//! Calls into the kernel's ZFS, each made by a process that can be left behind.
//!
//! A call on a pool whose disks do not answer never returns, and no signal ends it: a thread of this process would keep it
//! alive, with the lock, until the machine is rebooted. So this process never makes one itself. Call processes are zhaul
//! again ([`SUBCOMMAND`]), have no descriptor of this one but a socket, and are used for one call after another. A call is
//! given up as soon as its pool is seen to be suspended, or at the limit; then the pool is not called again in this run.

mod process;
mod send;
mod serve;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::liveness::{self, is_suspended};
use super::orphans;
use crate::model::{BookmarkName, Guid, Hang, HangingPool, RunMark, SnapshotName, pool_of};
use crate::stream::Cancel;
use crate::stream::probe::PoolWatch;
use crate::zfs::{Cause, Error, Operation, SendRequest};

pub use process::SUBCOMMAND;
pub use serve::serve;

pub(super) use send::SendCall;

use process::Process;
use wire::{Call, Reply};

/// How often a call that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A call may take this long before the state of its pool is looked at.
const GRACE: Duration = Duration::from_secs(2);

/// How long a call that changes something may continue after the run was stopped.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a run waits for the calls of an earlier run that was killed.
const EARLIER_LIMIT: Duration = Duration::from_secs(5);

/// How long the release of holds may take: it waits for a transaction group.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

/// The calls of one run.
#[derive(Debug)]
pub(super) struct Calls {
    program: PathBuf,
    limit: Duration,
    idle: Mutex<Vec<Process>>,
    /// Pools that are not called again.
    hanging: Mutex<BTreeSet<String>>,
    cancel: Cancel,
    /// Whose calls these are, once it is known.
    run: OnceLock<RunMark>,
}

/// Holds on snapshots, which end when this is dropped, or this process ends.
#[derive(Debug)]
pub struct Holding {
    process: Process,
    pool: String,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let asked = self.process.ask(&Call::Release);
        let started = Instant::now();
        while asked.is_ok() && started.elapsed() < RELEASE_LIMIT {
            match self.process.reply_within(LOOK) {
                Ok(None) if !is_suspended(&self.pool) => {}
                Ok(Some(_)) => return,
                Ok(None) | Err(_) => break,
            }
        }
        tracing::warn!("pool {}: the holds of this run end when it answers again", self.pool);
    }
}

impl Calls {
    /// Calls made by `program`, which is zhaul; each is given up after `limit`, or soon after `cancel` is requested.
    pub(super) fn new(program: PathBuf, limit: Duration, cancel: &Cancel) -> Self {
        let (idle, hanging, run) = Default::default();
        Self { program, limit, idle, hanging, cancel: cancel.clone(), run }
    }

    /// The calls are those of `run` from now on. Waits until those of earlier runs of its policy have ended, for a few seconds at
    /// most: a snapshot that one of them still takes must be seen by whoever lists now.
    pub(super) fn begin_run(&self, run: RunMark) {
        let run = *self.run.get_or_init(|| run);
        let left = orphans::wait_for_calls(run, EARLIER_LIMIT);
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "an earlier run's call into ZFS has not returned (process {}): a pool hangs; next: zpool status",
                left.join(", ")
            );
        }
    }

    /// [`Library::snapshot`](crate::zfs::Library::snapshot).
    pub(super) fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let Some(first) = snapshots.first() else { return Ok(()) };
        let call = Call::Snapshot { snapshots: snapshots.to_vec(), properties: properties.clone() };
        self.call(Operation::Snapshot, &first.to_string(), &call).map(drop)
    }

    /// [`Library::bookmark`](crate::zfs::Library::bookmark).
    pub(super) fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), Error> {
        let Some((first, _)) = bookmarks.first() else { return Ok(()) };
        let call = Call::Bookmark { bookmarks: bookmarks.to_vec() };
        self.call(Operation::Bookmark, &first.to_string(), &call).map(drop)
    }

    /// [`Library::bookmark_guid`](crate::zfs::Library::bookmark_guid).
    pub(super) fn bookmark_guid(&self, bookmark: &BookmarkName) -> Result<Guid, Error> {
        let (object, call) = (bookmark.to_string(), Call::BookmarkGuid { bookmark: bookmark.clone() });
        match self.call(Operation::ListBookmarks, &object, &call)? {
            Reply::Guid { guid } => Ok(guid),
            Reply::Done | Reply::Bytes { .. } | Reply::Failed { .. } => {
                Err(unexpected_reply(Operation::ListBookmarks, &object))
            }
        }
    }

    /// [`Library::destroy_snapshots`](crate::zfs::Library::destroy_snapshots).
    pub(super) fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), Error> {
        let Some(first) = snapshots.first() else { return Ok(()) };
        let call = Call::DestroySnapshots { snapshots: snapshots.to_vec() };
        self.call(Operation::DestroySnapshots, &first.to_string(), &call).map(drop)
    }

    /// [`Library::destroy_bookmarks`](crate::zfs::Library::destroy_bookmarks).
    pub(super) fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Result<(), Error> {
        let Some(first) = bookmarks.first() else { return Ok(()) };
        let call = Call::DestroyBookmarks { bookmarks: bookmarks.to_vec() };
        self.call(Operation::DestroyBookmarks, &first.to_string(), &call).map(drop)
    }

    /// [`Library::roll_back`](crate::zfs::Library::roll_back).
    pub(super) fn roll_back(&self, to: &SnapshotName) -> Result<(), Error> {
        self.call(Operation::RollBack, &to.to_string(), &Call::RollBack { to: to.clone() }).map(drop)
    }

    /// [`Library::hold`](crate::zfs::Library::hold).
    pub(super) fn hold(&self, snapshots: &[SnapshotName]) -> Result<Option<Holding>, Error> {
        let Some(first) = snapshots.first() else { return Ok(None) };
        let (object, call) = (first.to_string(), Call::Hold { snapshots: snapshots.to_vec() });
        let process = self.begin(Operation::Hold, &object, &call)?;
        match self.wait(Operation::Hold, &object, &process, None) {
            Ok(_) => Ok(Some(Holding { process, pool: pool_of(&object).to_owned() })),
            Err(error) => {
                self.end(process, &error);
                Err(error)
            }
        }
    }

    /// [`Library::estimate_send`](crate::zfs::Library::estimate_send), given up at once when `cancel` is requested.
    pub(super) fn estimate_send(&self, request: &SendRequest, cancel: &Cancel) -> Result<u64, Error> {
        let (object, call) = (request.snapshot.to_string(), Call::Estimate { request: request.clone() });
        let process = self.begin(Operation::EstimateSend, &object, &call)?;
        match self.finish(Operation::EstimateSend, &object, process, Some(cancel))? {
            Reply::Bytes { bytes } => Ok(bytes),
            Reply::Done | Reply::Guid { .. } | Reply::Failed { .. } => {
                Err(unexpected_reply(Operation::EstimateSend, &object))
            }
        }
    }

    fn call(&self, operation: Operation, object: &str, call: &Call) -> Result<Reply, Error> {
        let process = self.begin(operation, object, call)?;
        self.finish(operation, object, process, None)
    }

    /// Refuses a pool that hangs already; else hands the call to a process.
    fn begin(&self, operation: Operation, object: &str, call: &Call) -> Result<Process, Error> {
        let pool = pool_of(object);
        if self.cancel.is_requested() {
            return Err(Error::new(operation, object, Cause::Cancelled));
        }
        if is_suspended(pool) {
            return Err(hangs(operation, object, Hang::Suspended));
        }
        if self.hanging.lock().unwrap_or_else(PoisonError::into_inner).contains(pool) {
            return Err(hangs(operation, object, Hang::NoReturn(self.limit.as_secs())));
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let started = idle.map_or_else(|| Process::start(&self.program, self.run.get().copied()), Ok);
        let process = started.map_err(|error| {
            let text = format!("the process that calls ZFS cannot be started: {error}");
            Error::new(operation, object, Cause::Unexpected(text))
        })?;
        process.ask(call).map_err(|error| unexpected(operation, object, &error))?;
        Ok(process)
    }

    fn finish(
        &self,
        operation: Operation,
        object: &str,
        process: Process,
        cancel: Option<&Cancel>,
    ) -> Result<Reply, Error> {
        let replied = self.wait(operation, object, &process, cancel);
        match &replied {
            Ok(_) => self.keep(process),
            Err(error) => self.end(process, error),
        }
        replied
    }

    /// The process is as good as new.
    fn keep(&self, process: Process) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// After an error: the process can be used again only where the kernel gave it.
    fn end(&self, process: Process, error: &Error) {
        if let Cause::PoolHangs(of) = error.cause() {
            if matches!(of.hang, Hang::NoReturn(_)) {
                self.hanging.lock().unwrap_or_else(PoisonError::into_inner).insert(of.pool.clone());
            }
        } else if !matches!(error.cause(), Cause::Cancelled | Cause::Unexpected(_)) {
            self.keep(process);
        }
    }

    /// Waits for the answer, as long as it can still come.
    fn wait(
        &self,
        operation: Operation,
        object: &str,
        process: &Process,
        cancel: Option<&Cancel>,
    ) -> Result<Reply, Error> {
        let started = Instant::now();
        // A call that can be cancelled at any time has no limit.
        let mut watch = PoolWatch::new(cancel.is_none().then_some(self.limit));
        let mut stopped: Option<Instant> = None;
        loop {
            match process.reply_within(LOOK) {
                Ok(Some(Reply::Failed { error })) => return Err(error),
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => return Err(unexpected(operation, object, &error)),
            }
            if started.elapsed() >= GRACE
                && let Some(hang) = watch.note(liveness::of(pool_of(object)))
            {
                return Err(hangs(operation, object, hang));
            }
            if self.cancel.is_requested() && stopped.get_or_insert_with(Instant::now).elapsed() >= STOP_LIMIT
                || cancel.is_some_and(Cancel::is_requested)
            {
                return Err(Error::new(operation, object, Cause::Cancelled));
            }
        }
    }
}

fn hangs(operation: Operation, object: &str, hang: Hang) -> Error {
    Error::new(operation, object, Cause::PoolHangs(HangingPool::of(object, hang)))
}

fn unexpected(operation: Operation, object: &str, error: &io::Error) -> Error {
    Error::new(operation, object, Cause::Unexpected(error.to_string()))
}

fn unexpected_reply(operation: Operation, object: &str) -> Error {
    Error::new(operation, object, Cause::Unexpected("another call was answered; this is a bug".to_owned()))
}
