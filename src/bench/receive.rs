//! A stream received by the target into a dataset of its own, which is destroyed again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::material::Limited;
use super::measured::Received;
use super::network::pump;
use super::removal::{Removal, remove};
use super::setup::{BenchError, Limits, Setup, Snapshot};
use super::timing::moved_since;
use crate::channel::random_bytes;
use crate::host::{HostError, Problem, ReceiveSpec, TargetHost};
use crate::model::{Compression, DatasetName, SnapshotName};
use crate::stream::ByteSource;
use crate::stream::supervise::PumpError;

/// How the names of what is received begin.
const PREFIX: &str = "zhaul-bench-";

/// The hosts and the snapshot of one receive.
pub(super) struct Trial<'a> {
    /// Receives; its waits hear the bench's cancel.
    pub(super) host: &'a dyn TargetHost,
    /// Looks first and removes afterwards; its waits do not.
    pub(super) keeper: &'a dyn TargetHost,
    /// Below which it happens.
    pub(super) root: &'a DatasetName,
    /// The snapshot to receive.
    pub(super) snapshot: &'a Snapshot,
    pub(super) compression: Compression,
}

impl Setup<'_> {
    /// Receives `source` into a new dataset, measures this, and destroys the dataset; in any case it returns what is
    /// left.
    pub(super) fn receive(
        &self,
        what: &str,
        trial: &Trial<'_>,
        source: impl ByteSource,
        limits: Limits,
    ) -> (Result<Received, BenchError>, Option<String>) {
        let dataset = match self.free_name(what, trial) {
            Ok(dataset) => dataset,
            Err(error) => return (Err(error), None),
        };
        let received = self.receive_into(what, trial, &dataset, |was_cut| {
            // A piece of a stream is none to `zfs receive`: it must not pass for all.
            Limited::new(source, limits, was_cut, false)
        });
        let left = match remove(trial.keeper, &dataset, trial.snapshot.guid, trial.snapshot.name.name()) {
            Removal::Gone => None,
            Removal::Left(why) => Some(format!(
                "{dataset} is left behind: {why}\n  next: look at it, and remove it with: zfs destroy -r {dataset}"
            )),
        };
        (received, left)
    }

    /// A name below the root that nothing has.
    fn free_name(&self, what: &str, trial: &Trial<'_>) -> Result<DatasetName, BenchError> {
        self.cancel.check()?;
        let failed = |error| BenchError::host(what, error);
        let listing = trial.keeper.list(trial.root).map_err(failed)?;
        if listing.get(trial.root).is_none() {
            let root = trial.root;
            return Err(BenchError::Refused(format!(
                "{root} does not exist there yet, and a bench makes nothing but its own dataset below it\n  \
                 next: let `zhaul run` make it, or leave --receive out"
            )));
        }
        let dataset = trial
            .root
            .child(&format!("{PREFIX}{}", random()?))
            .map_err(|error| BenchError::Refused(error.to_string()))?;
        if listing.get(&dataset).is_some() {
            return Err(BenchError::Refused(format!("{dataset} exists already")));
        }
        Ok(dataset)
    }

    fn receive_into<S: ByteSource>(
        &self,
        what: &str,
        trial: &Trial<'_>,
        dataset: &DatasetName,
        source: impl FnOnce(&AtomicBool) -> Limited<'_, S>,
    ) -> Result<Received, BenchError> {
        let failed = |error| BenchError::host(what, error);
        let snapshot = SnapshotName::new(dataset.clone(), trial.snapshot.name.name().clone())
            .map_err(|error| BenchError::Refused(error.to_string()))?;
        let spec = ReceiveSpec {
            copy_encryption: crate::model::CopyEncryption::AsSent,
            snapshot,
            origin: None,
            heals: false,
            creates_dataset: true,
            kind: trial.snapshot.kind,
            to: None,
            from: None,
            writer: None,
        };
        let (flow, waited_for) = self.timed(what, |samples, cancel| {
            let was_cut = AtomicBool::new(false);
            let mut incoming = trial.host.receive(&spec).map_err(failed)?;
            let started = Instant::now();
            let pumped = pump(source(&was_cut), incoming.as_mut(), trial.compression, samples, cancel);
            let (pumped, bytes, sent_bytes) = match pumped {
                Ok(pumped) => pumped,
                Err(error) => {
                    incoming.abort();
                    return Err(failed(error));
                }
            };
            if was_cut.load(Ordering::Relaxed) && matches!(pumped, Ok(_) | Err(PumpError::Source(_))) {
                let moved = moved_since(started, bytes, sent_bytes);
                incoming.abort();
                return Ok(moved);
            }
            match pumped {
                Ok(_) => incoming.finish().map_err(failed).map(|()| moved_since(started, bytes, sent_bytes)),
                Err(error) => Err(match incoming.abort() {
                    Some(cause) => failed(cause),
                    None => BenchError::stream(what, error),
                }),
            }
        })?;
        Ok(Received { flow, waited_for })
    }
}

/// Refuses what could not be removed again.
pub(super) fn check_can_destroy(
    is_append_only: Result<bool, HostError>,
    name: &str,
) -> Result<(), BenchError> {
    match is_append_only {
        Ok(false) => Ok(()),
        Ok(true) => Err(BenchError::Refused(format!(
            "the agent on {name} is append-only and would refuse to destroy what a bench receives\n  \
             next: leave --receive out: nothing was sent"
        ))),
        Err(error) if matches!(error.problem, Problem::Cancelled) => Err(BenchError::Interrupted),
        Err(error) => Err(BenchError::host("the target", error)),
    }
}

/// Eight random hexadecimal digits.
fn random() -> io::Result<String> {
    Ok(format!("{:08x}", u32::from_ne_bytes(random_bytes()?)))
}
