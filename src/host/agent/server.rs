//! A session that an agent serves: where requests come from, where replies go, and what ends it.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::event::PollFlags;

use super::cage::Restrictions;
use super::wire::Reply;
use crate::channel::connections::Connection;
use crate::channel::message::{self, MessageError};
use crate::host::{Problem, TargetHost};
use crate::model::PortRange;
use crate::stream::threads::beside;
use crate::stream::{Cancel, FdTarget};

/// The parameters of an agent.
pub struct Service<'a> {
    /// This machine.
    pub host: &'a dyn TargetHost,
    /// The restrictions on requests.
    pub cage: Restrictions,
    /// The address under which the caller reached this machine: the agent listens there and nowhere else.
    pub address: Option<IpAddr>,
    /// The ports on which connections may arrive, whatever the caller asks for.
    pub ports: Option<PortRange>,
    /// Memory for one stream, whatever the caller asks for.
    pub buffer_bytes_max: u64,
    /// What every session with the same roots locks while it decides from the target's state, if it is append-only.
    pub lock: Option<File>,
    /// Whether there is room for one more session; otherwise it is refused.
    pub has_room: bool,
}

impl fmt::Debug for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("cage", &self.cage)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A session that is being served.
pub(super) struct Server<'a> {
    /// Where requests, and in the session frames, come from.
    pub(super) input: BorrowedFd<'a>,
    /// Where replies go. A receive reports its progress from a thread of its own.
    pub(super) output: Mutex<FdTarget<BorrowedFd<'a>>>,
    pub(super) service: &'a Service<'a>,
    /// For the frames of receives.
    pub(super) connections: Mutex<Vec<Connection>>,
    /// Ends everything.
    pub(super) cancel: &'a Cancel,
}

/// How a request ended, as far as the session is concerned.
pub(super) enum Ended {
    /// The next one may come.
    Clean(Result<(), Problem>),
    /// Frames may be unread in the input: nothing after them can be understood.
    Torn(Problem),
}

impl Server<'_> {
    /// Sends a reply.
    pub(super) fn reply(&self, reply: &Reply) -> Result<(), MessageError> {
        message::write(&mut *self.output.lock().unwrap_or_else(PoisonError::into_inner), reply)
    }

    /// Does what the caller waits for in silence. If it hangs up meanwhile, the session ends, and with it whatever still
    /// waits: `zfs receive` of a stream that stopped before its end keeps its dataset busy no longer.
    pub(super) fn while_caller_is_there<T>(&self, work: impl FnOnce() -> T) -> T {
        let Ok(waiting) = self.cancel.child() else { return work() };
        thread::scope(|scope| {
            // Without a thread that watches the caller, the work is still done.
            drop(beside(scope, "caller", || {
                if matches!(waiting.wait_for(self.input, PollFlags::IN, None), Ok(Some(_))) {
                    self.cancel.request();
                }
            }));
            let done = work();
            waiting.request();
            done
        })
    }
}

/// A reply could not be written: no caller is left to receive it.
pub(super) fn lost(error: &MessageError) -> Problem {
    Problem::Other(error.to_string())
}
