//! Watches the pools behind a stream's ends while it waits for them: a suspended one is reported at once; one whose
//! transaction groups advance is busy, not dead.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Hang, Liveness};

/// However busy a pool is: after this number of limits without a byte it is given up.
const LIMITS_MAX: u32 = 6;

/// How the state of one pool is found out. Answers within seconds.
#[derive(Clone)]
pub struct Probe {
    pool: String,
    ask: Arc<dyn Fn() -> Liveness + Send + Sync>,
}

impl Probe {
    /// `ask` returns the state of `pool`.
    pub fn new(pool: impl Into<String>, ask: impl Fn() -> Liveness + Send + Sync + 'static) -> Self {
        Self { pool: pool.into(), ask: Arc::new(ask) }
    }

    /// The pool.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Its state now.
    pub fn state(&self) -> Liveness {
        (self.ask)()
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.pool).finish()
    }
}

/// Judges a pool that a transfer waits for by its states since a certain moment.
#[derive(Debug, Clone)]
pub struct PoolWatch {
    limit: Option<Duration>,
    since: Instant,
    /// The newest transaction group, and since when it is the newest.
    newest: Option<(u64, Instant)>,
    has_advanced: bool,
}

impl PoolWatch {
    /// Begins now. After `limit` in which no transaction group began, the pool hangs; `None`: only if it is suspended.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, since: Instant::now(), newest: None, has_advanced: false }
    }

    /// Notes a state; why the pool hangs, if it does.
    pub fn note(&mut self, state: Liveness) -> Option<Hang> {
        match state {
            Liveness::Suspended => return Some(Hang::Suspended),
            Liveness::Alive(txg) => match self.newest {
                Some((newest, _)) if newest == txg => {}
                Some(_) => {
                    self.has_advanced = true;
                    self.newest = Some((txg, Instant::now()));
                }
                None => self.newest = Some((txg, Instant::now())),
            },
            Liveness::Unknown => {}
        }
        let limit = self.limit?;
        let (_, since) = self.newest?;
        let is_over = since.elapsed() >= limit || self.since.elapsed() >= limit.saturating_mul(LIMITS_MAX);
        is_over.then_some(Hang::NoReturn(limit.as_secs()))
    }

    /// Whether anything was found out.
    pub fn is_known(&self) -> bool {
        self.newest.is_some()
    }

    /// Whether the pool was seen to go on, and not too long ago.
    pub fn is_alive(&self) -> bool {
        let recent = |since: Instant| self.limit.is_none_or(|limit| since.elapsed() < limit);
        self.has_advanced && self.newest.is_some_and(|(_, since)| recent(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_pool_is_reported_at_once_and_a_standing_one_at_the_limit() {
        let mut watch = PoolWatch::new(Some(Duration::from_millis(80)));
        assert_eq!(watch.note(Liveness::Suspended), Some(Hang::Suspended));
        assert_eq!(watch.note(Liveness::Alive(7)), None);
        assert!(!watch.is_alive(), "one look says nothing of progress");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(watch.note(Liveness::Alive(8)), None);
        assert!(watch.is_alive());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(watch.note(Liveness::Alive(8)), None, "its groups went on 50 ms ago");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(watch.note(Liveness::Alive(8)), Some(Hang::NoReturn(0)));
        assert!(!watch.is_alive());
    }

    #[test]
    fn a_pool_that_is_busy_without_end_is_given_up_and_an_unknown_one_is_not_judged() {
        let limit = Duration::from_millis(10);
        let (mut busy, mut unknown) = (PoolWatch::new(Some(limit)), PoolWatch::new(Some(limit)));
        let mut txg = 0;
        let given_up = std::iter::from_fn(|| {
            txg += 1;
            std::thread::sleep(Duration::from_millis(3));
            Some(busy.note(Liveness::Alive(txg)))
        });
        assert!(given_up.take(100).any(|hang| hang.is_some()));
        std::thread::sleep(limit);
        assert_eq!(unknown.note(Liveness::Unknown), None);
        assert!(!unknown.is_alive());
    }
}
