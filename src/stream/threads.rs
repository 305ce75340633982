//! Threads that the system may refuse: a limit on processes (`pids.max`, `ulimit -u`) or on memory is no reason to panic, as
//! `std::thread::spawn` does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

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
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Begun<'scope, T> {
    let work = Kept::new(work);
    let given = work.clone();
    match beside(scope, name, move || given.take().map(|work| work())) {
        Ok(thread) => Begun::Beside(thread),
        Err(error) => {
            tracing::debug!("{error}");
            Begun::Done(work.take().map(|work| work()))
        }
    }
}

/// Does `work` on a thread that is not waited for, or here and now where the system gives none.
pub fn alone_or_here(name: &str, work: impl FnOnce() + Send + 'static) {
    let work = Kept::new(work);
    let given = work.clone();
    if alone(name, move || given.take().map(|work| work())).is_err()
        && let Some(work) = work.take()
    {
        work();
    }
}

/// Work moved into a thread is lost if the thread cannot be started, so the thread gets only a reference.
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

/// Starts `work` on a thread of `scope`: for work that must go on at the same time. Of `name` the system shows 15 bytes.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(refused)
}

/// The same on a thread that outlives its caller.
pub fn alone<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "one for map_err")]
fn refused(error: io::Error) -> io::Error {
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
        let given = thread::scope(|scope| beside_or_here(scope, "seven", || 7).join());
        assert_eq!(given, Some(7));
        assert_eq!(Begun::Done(Some(7)).join(), Some(7));
    }
}
