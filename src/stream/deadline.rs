//! How long a transfer in which nothing moves is waited for. Life is not progress: one clock measures the time since
//! the peer answered, another the time since bytes of the stream moved.
//!
//! | waited for | given up when |
//! | --- | --- |
//! | the source | no byte came for the limit, whatever the peer says |
//! | the network, to receive | nothing came for the limit, not even a heartbeat |
//! | the target behind an agent | the agent said nothing for the limit: it knows its pool itself |
//! | a target whose pool can be looked at | its transaction groups stood still for the limit |
//! | any other target | it took no byte for the limit |
//!
//! A suspended pool is reported at once.

use std::time::{Duration, Instant};

use super::meter::{Bottleneck, Meters};
use super::probe::{PoolWatch, Probe};
use crate::model::{Hang, HangingPool};

/// How long nothing moves before a pool is looked at.
const PROBE_AFTER: Duration = Duration::from_secs(3);
/// How often it is looked at then.
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// A pool that is alive begins a transaction group at least this often.
const GROUPS_LIMIT: Duration = Duration::from_secs(15);

/// Why nothing more is expected.
#[derive(Debug)]
pub(super) enum GivenUp {
    /// The pool behind one end.
    PoolHangs(Box<HangingPool>),
    /// Nothing of what counts came within the limit.
    Stalled { waited_for: Bottleneck, limit: Duration },
}

/// Watches one transfer.
#[derive(Debug)]
pub(super) struct Deadline<'a> {
    meters: &'a Meters,
    limit: Option<Duration>,
    /// For the source and for the target; restarted whenever something moves.
    watches: [PoolWatch; 2],
    probed: Instant,
    is_busy_reported: bool,
}

impl<'a> Deadline<'a> {
    pub(super) fn new(meters: &'a Meters, limit: Option<Duration>) -> Self {
        let watches = [PoolWatch::new(limit), PoolWatch::new(limit)];
        Self { meters, limit, watches, probed: Instant::now(), is_busy_reported: false }
    }

    /// Fails when nothing more is expected.
    pub(super) fn check(&mut self) -> Result<(), GivenUp> {
        let standstill = self.meters.standstill();
        let waits_for_target = self.meters.waits_for_output();
        let probe = self.meters.probe(waits_for_target);
        let slot = usize::from(waits_for_target);
        let (after, pause) = self.pace();
        if standstill < after {
            *self = Self::new(self.meters, self.limit);
        } else if let Some(probe) = &probe
            && self.probed.elapsed() >= pause
        {
            let hang = self.watches.get_mut(slot).and_then(|watch| watch.note(probe.state()));
            self.probed = Instant::now();
            if let Some(hang) = hang {
                return Err(GivenUp::PoolHangs(HangingPool::of(probe.pool(), hang)));
            }
        }
        let Some(limit) = self.limit else { return Ok(()) };
        if self.silence(standstill, waits_for_target) <= limit {
            return Ok(());
        }
        if waits_for_target && self.watches.get(slot).is_some_and(PoolWatch::is_alive) {
            if !std::mem::replace(&mut self.is_busy_reported, true) {
                let pool = probe.as_ref().map_or("", Probe::pool);
                tracing::warn!("zfs receive takes no data, but pool {pool} is at work; waiting for it");
            }
            return Ok(());
        }
        let is_known = self.watches.get(slot).is_some_and(PoolWatch::is_known);
        if let Some(probe) = probe.filter(|_| waits_for_target && is_known && limit >= GROUPS_LIMIT) {
            let hang = Hang::NoReturn(limit.as_secs());
            return Err(GivenUp::PoolHangs(HangingPool::of(probe.pool(), hang)));
        }
        Err(GivenUp::Stalled { waited_for: self.meters.waiting_for(), limit })
    }

    /// After how long a pool is looked at, and how often then: a few times before the limit.
    fn pace(&self) -> (Duration, Duration) {
        let within = |usual: Duration, share| self.limit.map_or(usual, |limit| usual.min(limit / share));
        (within(PROBE_AFTER, 4), within(PROBE_PAUSE, 8))
    }

    /// For how long there was nothing of what counts.
    fn silence(&self, standstill: Duration, waits_for_target: bool) -> Duration {
        let is_peers = if waits_for_target {
            self.meters.peer() == Some(Bottleneck::TargetReceive)
        } else {
            self.meters.waiting_for() == Bottleneck::Network
        };
        if is_peers { self.meters.silence() } else { standstill }
    }
}
