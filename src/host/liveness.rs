//! Whether a pool of this machine is suspended, without asking the kernel anything that could block.

use std::fs;
use std::path::Path;

use crate::model::{Liveness, pool_of};
use crate::stream::probe::Probe;

/// Where OpenZFS reports the state of each pool; reading it takes no lock of the pool.
const STATES: &str = "/proc/spl/kstat/zfs";

/// The state of `pool`.
pub(super) fn of(pool: &str) -> Liveness {
    let read = |file: &str| fs::read_to_string(Path::new(STATES).join(pool).join(file)).unwrap_or_default();
    parse(&read("state"), read("txgs").lines().last().unwrap_or_default())
}

/// From the word for its health and the last line of the list of its transaction groups.
pub(super) fn parse(health: &str, group: &str) -> Liveness {
    if health.trim() == "SUSPENDED" {
        return Liveness::Suspended;
    }
    let txg = group.split_whitespace().next().and_then(|number| number.parse().ok());
    txg.map_or(Liveness::Unknown, Liveness::Alive)
}

/// Whether `pool` is suspended after I/O errors. Where that cannot be known, it is taken not to be.
pub(super) fn is_suspended(pool: &str) -> bool {
    of(pool) == Liveness::Suspended
}

/// How the pool of a dataset of this machine is looked at.
pub(super) fn probe(name: &str) -> Probe {
    let pool = pool_of(name).to_owned();
    Probe::new(pool.clone(), move || of(&pool))
}
