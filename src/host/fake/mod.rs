//! A machine with ZFS in memory, for tests: a source and a target at once.
//!
//! It is a fake, not a mock: it holds datasets, snapshots, bookmarks, holds, clones and half-received streams, and
//! refuses what `OpenZFS` refuses, each rule with the kernel function that it is taken from. Data is a list of numbered
//! blocks, so that two snapshots with the same content are distinguished from two that differ. `tests/plan_properties`
//! runs on it; `tests/real/agreement` shows that real pools come out the same.
//!
//! The fake leaves out: space, quotas, permissions, keys, mounts, properties other than those of a safe copy, and time.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `machine` | what exists, and how it is listed |
//! | `points`, `datasets`, `send`, `receive` | the rules |
//! | `set_aside` | a lineage is set aside, step by step |
//! | `wire`, `token` | streams and resume tokens as bytes |
//! | `faults` | crashes, and the calls that were made |
//! | `source`, `target` | the two traits |
//! | `person` | what people do behind the program's back |
//! | `notation` | histories as short texts |

mod datasets;
mod faults;
mod machine;
mod notation;
mod person;
mod points;
mod receive;
mod send;
mod set_aside;
mod source;
mod target;
mod token;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HostError, Problem};
use crate::model::{Dataset, DatasetName, Details, Guid, Listing, SnapshotName, Unlisted};
use faults::Passage;
use machine::Machine;

pub use faults::{Call, Moment, SharedState};
pub use notation::{history, history_with};
pub use token::{TokenFields, write_token};
pub use wire::Block;

/// A machine with ZFS in memory. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct FakeHost {
    name: String,
    shared_state: SharedState,
    machine: Arc<Mutex<Machine>>,
    faults: Arc<Mutex<Faults>>,
}

/// The faults of one machine or of the connection to it.
#[derive(Debug, Default)]
struct Faults {
    is_unreachable: bool,
    /// Destroys and rolls back nothing.
    is_append_only: bool,
    /// Fail the n-th call of this kind from now on, once.
    fails: Option<(&'static str, u64)>,
    /// Cut each stream after this number of blocks.
    cut_after: Option<u64>,
    /// The datasets that listings leave out, and why.
    unlisted: BTreeMap<DatasetName, Unlisted>,
    /// How many blocks of each stream get through; a stream with fewer gets through whole.
    passes: Option<u64>,
}

impl FakeHost {
    /// A machine without pools.
    pub fn new(name: &str, shared_state: &SharedState) -> Self {
        Self {
            name: name.to_owned(),
            shared_state: shared_state.clone(),
            machine: Arc::new(Mutex::new(Machine::new(shared_state.clone()))),
            faults: Arc::default(),
        }
    }

    /// Makes the agent of this machine refuse to destroy, or not.
    pub fn set_append_only(&self, is_append_only: bool) {
        self.faults().is_append_only = is_append_only;
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the machine off the network, or brings it back.
    pub fn set_unreachable(&self, is_unreachable: bool) {
        self.faults().is_unreachable = is_unreachable;
    }

    /// Lets the n-th call of `verb` from now on fail, once; 0 is the next one.
    pub fn fail_call(&self, verb: &'static str, nth: u64) {
        self.faults().fails = Some((verb, nth));
    }

    /// Cuts every stream to this machine after `blocks` blocks; `None` lets them all through.
    pub fn cut_streams_after(&self, blocks: Option<u64>) {
        self.faults().cut_after = blocks;
    }

    /// Leaves `dataset` out of listings: one that is changing alone, otherwise with all below it. `None` lists it again.
    pub fn set_unlisted(&self, dataset: &DatasetName, why: Option<Unlisted>) {
        let mut faults = self.faults();
        match why {
            Some(why) => faults.unlisted.insert(dataset.clone(), why),
            None => faults.unlisted.remove(dataset),
        };
    }

    /// A listing of the datasets at and below `root`, without those that must not be listed.
    fn listing(&self, machine: &Machine, root: &DatasetName, with_bookmarks: bool) -> Listing {
        let faults = self.faults();
        let is_hidden = |dataset: &Dataset| {
            faults.unlisted.iter().any(|(name, why)| match why {
                Unlisted::Changing | Unlisted::BadName(_) => dataset.name == *name,
                Unlisted::Missing | Unlisted::NoPool | Unlisted::Suspended | Unlisted::Failed(_) => {
                    dataset.name.is_within(name)
                }
            })
        };
        let mut listing =
            Listing::new(machine.list_fast(root, with_bookmarks).into_iter().filter(|one| !is_hidden(one)));
        for (name, why) in faults.unlisted.iter().filter(|(name, _)| name.is_within(root)) {
            listing.mark_unlisted(name.as_str(), why.clone());
        }
        listing
    }

    /// From now on a stream to this host breaks off if it has more than `blocks` blocks; `None` lets all through.
    pub fn pass_blocks(&self, blocks: Option<u64>) {
        self.faults().passes = blocks;
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call and lets it through, or not.
    fn pass(
        &self,
        verb: &'static str,
        object: &dyn fmt::Display,
        is_change: bool,
    ) -> Result<Passage, Problem> {
        let call = Call { host: self.name.clone(), verb, object: object.to_string(), is_change };
        let passage = self.shared_state.pass(call)?;
        let mut faults = self.faults();
        if faults.is_unreachable {
            return Err(Problem::Unreachable("the fake is off the network".to_owned()));
        }
        match faults.fails {
            Some((failing, 0)) if failing == verb => {
                faults.fails = None;
                return Err(Problem::Other("the fake was set to fail".to_owned()));
            }
            Some((failing, nth)) if failing == verb => faults.fails = Some((failing, nth - 1)),
            Some(_) | None => {}
        }
        Ok(passage)
    }

    /// Looks without changing anything.
    fn look<T>(
        &self,
        verb: &'static str,
        operation: &'static str,
        object: &dyn fmt::Display,
        work: impl FnOnce(&Machine) -> Result<T, Problem>,
    ) -> Result<T, HostError> {
        let looked = self.pass(verb, object, false).and_then(|_| work(&self.machine()));
        looked.map_err(|problem| HostError::new(&self.name, operation, object, problem))
    }

    /// The details that the lists of both traits leave out.
    fn load_details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        self.look("details", "look at", &joined(snapshots.iter().map(|(name, _)| name)), |machine| {
            Ok(snapshots.iter().map(|(name, guid)| machine.details(name, *guid)).collect())
        })
    }

    /// Changes something, and dies before or after it where the shared state says so.
    fn alter<T>(
        &self,
        verb: &'static str,
        operation: &'static str,
        object: &dyn fmt::Display,
        work: impl FnOnce(&mut Machine) -> Result<T, Problem>,
    ) -> Result<T, HostError> {
        let changed = self.pass(verb, object, true).and_then(|passage| {
            let done = work(&mut self.machine());
            if passage.dies_after {
                self.shared_state.crash();
                return Err(faults::crashed());
            }
            done
        });
        changed.map_err(|problem| HostError::new(&self.name, operation, object, problem))
    }
}

/// Several names as one text.
fn joined(names: impl Iterator<Item = impl fmt::Display>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
}
