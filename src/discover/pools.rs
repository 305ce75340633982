//! The state of every machine and of the pools that take part.

use std::collections::BTreeSet;
use std::thread;

use jiff::{SignedDuration, Timestamp};

use super::Targets;
use crate::host::{Machine, Shell, TargetHost};
use crate::model::{DatasetName, HostState};
use crate::plan::Place;
use crate::policy::Policy;
use crate::stream::Cancel;
use crate::stream::threads::beside_or_here;

/// One pool, on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAnswer {
    /// Whose.
    pub place: Place,
    /// Its name there.
    pub pool: String,
    /// The machine's answer, or why it could not be asked.
    pub state: Result<HostState, String>,
    /// How far its clock is ahead of this machine's, as far as the time that the answer took lets that be known.
    pub clock_ahead: SignedDuration,
}

/// Asks for each pool of a root here, and that of each target, all at once.
pub fn pool_states(policy: &Policy, targets: &Targets, cancel: &Cancel) -> Vec<PoolAnswer> {
    let here = Shell::new("here", Machine::Local, cancel);
    let mut pools = BTreeSet::new();
    let roots = policy.roots.iter().map(|root| &root.dataset);
    let roots = roots.filter(|root| pools.insert(root.pool())).map(|root| (Place::Source, root));
    let of_targets = policy.targets.iter().map(|target| (Place::Target(target.name.clone()), &target.root));
    let asked: Vec<(Place, &DatasetName)> = roots.chain(of_targets).collect();
    thread::scope(|scope| {
        let mut started = Vec::new();
        for (place, root) in asked {
            let host: Option<&dyn TargetHost> = match &place {
                Place::Source => Some(&here),
                Place::Target(name) => targets.get(name).map(AsRef::as_ref),
            };
            started.push((place, root, beside_or_here(scope, "pool", move || Some(ask(host?, root)))));
        }
        let ended = started.into_iter().map(|(place, root, answer)| {
            let (state, clock_ahead) = answer
                .join()
                .flatten()
                .unwrap_or_else(|| (Err("it was not asked; this is a bug".to_owned()), SignedDuration::ZERO));
            PoolAnswer { place, pool: root.pool().to_owned(), state, clock_ahead }
        });
        ended.collect()
    })
}

fn ask(host: &dyn TargetHost, root: &DatasetName) -> (Result<HostState, String>, SignedDuration) {
    let before = Timestamp::now();
    let state = host.state(root).map_err(|error| error.chain());
    let after = Timestamp::now();
    let clock_ahead = state.as_ref().map_or(SignedDuration::ZERO, |state| ahead(state.clock, before, after));
    (state, clock_ahead)
}

/// The difference that the time between question and answer cannot explain. `date` reports whole seconds.
fn ahead(clock: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let until = clock.saturating_add(SignedDuration::from_secs(1)).unwrap_or(clock);
    if clock > after {
        clock.duration_since(after)
    } else if until < before {
        until.duration_since(before)
    } else {
        SignedDuration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_only_by_what_the_answer_cannot_have_taken() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (clock, ahead_by) in [(100, 0), (99, 0), (107, 0), (108, 1), (98, -1), (0, -99), (1107, 1000)] {
            let ahead = ahead(at(clock), at(100), at(107));
            assert_eq!(ahead, SignedDuration::from_secs(ahead_by), "{clock}");
        }
    }
}
