//! The first cause of what `zfs` says: a pool whose disk fails.

use std::thread;
use std::time::{Duration, Instant};

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::{Hang, HangingPool, Liveness, pool_of};

/// How long a pool is looked at whose dataset is said not to exist: a pool writes every few seconds (`zfs_txg_timeout`, 5 s),
/// and one whose disk fails is suspended by that.
pub(super) const SUSPENSION_WAIT: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

impl ZfsProgram {
    /// What stands behind a problem with the dataset, snapshot or bookmark `name`. Where a disk fails, `zfs` cannot read what
    /// is there and says that it does not exist, or something else; the pool is suspended by its next write, for which this
    /// waits at most for `patience`.
    pub(super) fn first_cause(&self, name: &str, problem: Problem, patience: Duration) -> Problem {
        if !matches!(problem, Problem::NotFound | Problem::Changed(_) | Problem::Other(_)) {
            return problem;
        }
        let (begun, look) = (Instant::now(), self.probe(pool_of(name)));
        loop {
            if look.state() == Liveness::Suspended {
                return Problem::PoolHangs(HangingPool::of(name, Hang::Suspended));
            }
            if begun.elapsed() >= patience {
                return problem;
            }
            thread::sleep(PAUSE);
        }
    }
}
