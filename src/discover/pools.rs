//! What every machine says of itself and of the pools that take part.

use std::collections::BTreeSet;
use std::thread;

use super::Targets;
use crate::host::{HostError, Machine, Shell, TargetHost};
use crate::model::{DatasetName, HostState};
use crate::plan::Place;
use crate::policy::Policy;
use crate::stream::Cancel;

/// One pool, on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAnswer {
    /// Whose.
    pub place: Place,
    /// Its name there.
    pub pool: String,
    /// What the machine says, or why it could not be asked.
    pub state: Result<HostState, String>,
}

/// Asks for each pool of a root here, and that of each target, all at once.
pub fn pool_states(policy: &Policy, targets: &Targets, stop: &Cancel) -> Vec<PoolAnswer> {
    let here = Shell::new("here", Machine::Local, stop);
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
            started.push((place, root, scope.spawn(move || host.map(|host| host.state(root)))));
        }
        let ended = started.into_iter().map(|(place, root, answer)| {
            let state = match answer.join() {
                Ok(Some(answer)) => answer.map_err(|error: HostError| error.chain()),
                Ok(None) | Err(_) => Err("it was not asked; this is a bug".to_owned()),
            };
            PoolAnswer { place, pool: root.pool().to_owned(), state }
        });
        ended.collect()
    })
}
