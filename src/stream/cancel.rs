//! How a blocked transfer is stopped.
//!
//! A flag alone cannot end a thread that sleeps in `poll`, and closing a descriptor under another thread's
//! feet is a race. So a [`Cancel`] is a flag plus an eventfd that becomes readable once and stays so: every
//! wait in this module polls it beside the descriptor it really waits for, and returns within microseconds.
//!
//! Cancels form a tree. A run has one, each transfer a child of it: stopping the run stops all transfers,
//! stopping one transfer (because its target died, say) leaves the others alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use thiserror::Error;

/// A request to stop, shared by everything that has to hear it.
#[derive(Clone, Debug)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    requested: AtomicBool,
    wake: OwnedFd,
    children: Mutex<Vec<Weak<Inner>>>,
}

/// The error of a wait that a [`Cancel`] ended; also the payload of the `io::Error` that sources
/// and targets return then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cancelled")]
pub struct Cancelled;

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        // Not ErrorKind::Interrupted: `read_exact` and friends would try again for ever.
        Self::other(cancelled)
    }
}

impl Cancelled {
    /// Whether `error` only says that somebody cancelled.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).is_some()
    }
}

impl Cancel {
    /// A new root. Fails when the process has no descriptor left (eventfd(2)).
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inner = Inner { requested: AtomicBool::new(false), wake, children: Mutex::new(Vec::new()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A cancel that follows this one, and can be requested alone. Fails as [`Cancel::new`] does.
    pub fn child(&self) -> io::Result<Self> {
        let child = Self::new()?;
        {
            let mut children = self.inner.children.lock().unwrap_or_else(PoisonError::into_inner);
            children.retain(|known| known.strong_count() > 0);
            children.push(Arc::downgrade(&child.inner));
        }
        // Asked after the child is on the list: a request that came in between is seen by one of the two.
        if self.is_requested() {
            child.request();
        }
        Ok(child)
    }

    /// Asks everything that waits on this cancel or on a child of it to stop. Cheap, and may be repeated.
    pub fn request(&self) {
        self.inner.request();
    }

    /// Whether somebody asked to stop.
    pub fn is_requested(&self) -> bool {
        self.inner.requested.load(Ordering::Acquire)
    }

    /// `Err` when somebody asked to stop: for use with `?` between two pieces of work.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_requested() { Err(Cancelled) } else { Ok(()) }
    }

    /// Sleeps for `duration`, or returns `Err` as soon as somebody asks to stop.
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + duration;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut waited = [PollFd::new(&self.inner.wake, PollFlags::IN)];
            match poll(&mut waited, Some(&timespec(left))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // poll(2) on one valid descriptor can only lack memory; sleeping blind is the safe way on.
                Err(_) => std::thread::sleep(left.min(Duration::from_millis(50))),
            }
        }
    }

    /// Waits until one of two descriptors has one of its events (or an error or a hang-up, which poll(2) always reports),
    /// at most for `limit`; returns the events of each. `None` is not watched at all. `Ok(None)`: the limit passed.
    pub(super) fn wait_for_either(
        &self,
        watched: [Option<(BorrowedFd<'_>, PollFlags)>; 2],
        limit: Option<Duration>,
    ) -> io::Result<Option<[PollFlags; 2]>> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            self.check()?;
            let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
            let polled = |watch: Option<(_, _)>| {
                let (fd, events) = watch.unwrap_or((self.as_fd(), PollFlags::empty()));
                PollFd::from_borrowed_fd(fd, events)
            };
            let own = PollFd::new(&self.inner.wake, PollFlags::IN);
            let mut polled = [polled(watched[0]), polled(watched[1]), own];
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let seen = [polled[0].revents(), polled[1].revents()];
            if seen.iter().any(|flags| !flags.is_empty()) {
                return Ok(Some(seen));
            }
        }
    }

    /// Waits until `fd` has one of `events` (or an error or a hang-up), at most for `limit`. `Ok(None)`: the limit passed.
    pub fn wait_for(
        &self,
        fd: impl AsFd,
        events: PollFlags,
        limit: Option<Duration>,
    ) -> io::Result<Option<PollFlags>> {
        let seen = self.wait_for_either([Some((fd.as_fd(), events)), None], limit)?;
        Ok(seen.map(|[of_fd, _]| of_fd))
    }
}

impl AsFd for Cancel {
    /// Readable from the first request on; never to be read from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.wake.as_fd()
    }
}

impl Inner {
    fn request(&self) {
        self.requested.store(true, Ordering::Release);
        // The counter is never read back, so a second write could only fail by overflow: nothing is lost.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        let children: Vec<_> = {
            let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
            children.iter().filter_map(Weak::upgrade).collect()
        };
        for child in children {
            child.request();
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_children_but_not_parents() {
        let run = Cancel::new().unwrap();
        let (one, two) = (run.child().unwrap(), run.child().unwrap());
        one.request();
        assert!(one.is_requested() && !two.is_requested() && !run.is_requested());
        run.request();
        assert!(two.is_requested());
        assert!(run.child().unwrap().is_requested(), "a child born late is stopped as well");
    }

    #[test]
    fn a_sleeper_wakes_at_once() {
        let cancel = Cancel::new().unwrap();
        let sleeper = cancel.clone();
        let started = Instant::now();
        let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_mins(1)));
        std::thread::sleep(Duration::from_millis(20));
        cancel.request();
        assert_eq!(thread.join().unwrap(), Err(Cancelled));
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_sleep_without_request_lasts() {
        let cancel = Cancel::new().unwrap();
        let started = Instant::now();
        assert_eq!(cancel.sleep(Duration::from_millis(30)), Ok(()));
        assert!(started.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn dead_children_are_forgotten() {
        let run = Cancel::new().unwrap();
        for _ in 0..100 {
            drop(run.child().unwrap());
        }
        assert!(run.inner.children.lock().unwrap().len() <= 1);
    }
}
