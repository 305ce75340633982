//! The first cause of what `zfs` says: a pool whose disk fails.

use std::time::{Duration, Instant};

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{Hang, HangingPool, Liveness, pool_of};

/// How long a pool is looked at whose dataset is said not to exist: a pool writes every few seconds (`zfs_txg_timeout`, 5 s),
/// and one whose disk fails is suspended by that.
const SUSPENSION_WAIT: Duration = Duration::from_secs(10);

/// A pool that has begun this number of transaction groups has written, and is not suspended.
const GROUPS: u64 = 3;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

impl ZfsProgram {
    /// What stands behind a problem with the dataset, snapshot or bookmark `name`. Where a disk fails, `zfs` cannot read what
    /// is there, and says that it does not exist, or something else.
    pub(super) fn first_cause(&self, name: &str, problem: Problem) -> Problem {
        let is_of_a_disk = matches!(problem, Problem::NotFound | Problem::Changed(_) | Problem::Other(_));
        if !is_of_a_disk || !name.contains(['/', '@']) || !self.is_suspended(name) {
            return problem;
        }
        tracing::info!("{name}: {problem}; its pool is suspended");
        Problem::PoolHangs(HangingPool::of(name, Hang::Suspended))
    }

    fn is_suspended(&self, name: &str) -> bool {
        self.probe(pool_of(name)).state() == Liveness::Suspended
    }

    /// The same for a dataset that a receive did not find: its pool may be suspended only by its next write. Waits once for
    /// each pool.
    pub(super) fn first_cause_of_a_missing(&self, name: &str) -> Problem {
        let look = self.probe(pool_of(name));
        let (begun, mut first) = (Instant::now(), None);
        while !self.has_waited_for(pool_of(name)) {
            let has_written = match (look.state(), first) {
                // Nothing is found out by waiting.
                (Liveness::Suspended | Liveness::Unknown, _) => break,
                (Liveness::Alive(txg), Some(first)) => txg >= first + GROUPS,
                (Liveness::Alive(txg), None) => {
                    first = Some(txg);
                    false
                }
            };
            if has_written || begun.elapsed() >= SUSPENSION_WAIT {
                self.note_wait_for(pool_of(name));
                break;
            }
            if self.cancel().sleep(PAUSE).is_err() {
                return Problem::Cancelled;
            }
        }
        self.first_cause(name, Problem::NotFound)
    }
}
