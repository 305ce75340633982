//! Threads that the system may refuse: a limit on processes (`pids.max`, `ulimit -u`) or on memory is no reason to panic, as
//! `std::thread::spawn` does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Work that was begun beside its caller, or, where no thread could be started, was done at once.
#[derive(Debug)]
pub enum Begun<'scope, T> {
    /// A thread does it.
    Beside(ScopedJoinHandle<'scope, Option<T>>),
    /// It is done.
    Done(Option<T>),
}

impl<T> Begun<'_, T> {
    /// Waits for what it gives; `None` where it panicked.
    pub fn join(self) -> Option<T> {
        match self {
            Self::Beside(thread) => thread.join().ok().flatten(),
            Self::Done(done) => done,
        }
    }
}

/// Begins `work` on a thread of `scope`, or does it here and now where the system gives none: for work that can as well be done
/// one after another.
pub fn beside_or_here<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Begun<'scope, T> {
    let work = Kept::new(work);
    let given = work.clone();
    match beside(scope, move || given.take().map(|work| work())) {
        Ok(thread) => Begun::Beside(thread),
        Err(error) => {
            tracing::debug!("{error}");
            Begun::Done(work.take().map(|work| work()))
        }
    }
}

/// Does `work` on a thread that nobody waits for, or here and now where the system gives none.
pub fn alone_or_here(work: impl FnOnce() + Send + 'static) {
    let work = Kept::new(work);
    let given = work.clone();
    let started = Builder::new().spawn(move || given.take().map(|work| work()));
    if started.is_err()
        && let Some(work) = work.take()
    {
        work();
    }
}

/// A thread that cannot be started takes what it was given with it: so it is given only a way to it.
struct Kept<W>(Arc<Mutex<Option<W>>>);

impl<W> Kept<W> {
    fn new(work: W) -> Self {
        Self(Arc::new(Mutex::new(Some(work))))
    }

    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn take(&self) -> Option<W> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts `work` on a thread of `scope`: for work that must go on at the same time.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(|error| refused(&error))
}

/// What to say of a thread that could not be started because of `error`.
pub fn refused(error: &io::Error) -> io::Error {
    let text = format!(
        "the system starts no more threads ({error}); next: look at its limits (ulimit -u, ulimit -v, TasksMax, pids.max)"
    );
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn work_is_done_and_given_whoever_does_it() {
        let given = thread::scope(|scope| beside_or_here(scope, || 7).join());
        assert_eq!(given, Some(7));
        assert_eq!(Begun::Done(Some(7)).join(), Some(7));
    }
}
