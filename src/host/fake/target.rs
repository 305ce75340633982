//! The fake as a machine that keeps copies, and the receiving half of a transfer.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use jiff::Timestamp;

use super::FakeHost;
use super::datasets::no_pool;
use super::faults::{self, Passage};
use super::machine::bytes_of;
use super::receive::TRUNCATED;
use super::wire::{self, Arrived, BLOCK_BYTES};
use crate::host::{
    Changed, ContentSpec, HostError, Incoming, Problem, ReceiveInput, ReceiveSpec, TakeSpans, TargetHost,
};
use crate::model::{
    Change, DatasetName, Details, Guid, HostState, Listing, PointName, PoolState, Scrub, SnapshotName,
};
use crate::stream::meter::Meters;
use crate::stream::{self, Cancel};

impl TargetHost for FakeHost {
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        self.look("list", "list", root, |machine| {
            match DatasetName::new(root.pool()).map(|pool| machine.datasets.contains_key(&pool)) {
                Ok(true) => Ok(self.listing(machine, root, false)),
                Ok(false) | Err(_) => Err(no_pool(root)),
            }
        })
    }

    fn content(&self, spec: &ContentSpec, _: &Cancel, _: TakeSpans<'_>) -> Result<(), HostError> {
        let problem = Problem::Other("the fake has no content to read".to_owned());
        Err(HostError::new(self.name(), "read", &spec.snapshot, problem))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        self.load_details(snapshots)
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        let passage = self
            .pass("receive", &spec.snapshot, true)
            .map_err(|problem| HostError::new(self.name(), "receive", &spec.snapshot, problem))?;
        let cut_after = passage.dies_after_blocks.or(self.faults().cut_after);
        Ok(Box::new(Receiving {
            host: self,
            spec: spec.clone(),
            passage,
            cut_after,
            passes: self.faults().passes,
            bytes: Vec::new(),
            is_over: false,
        }))
    }

    fn is_append_only(&self) -> Result<bool, HostError> {
        Ok(self.faults().is_append_only)
    }

    fn state(&self, root: &DatasetName) -> Result<HostState, HostError> {
        let pool = PoolState {
            pool: root.pool().to_owned(),
            health: "ONLINE".to_owned(),
            scrub: Scrub::Never,
            data_errors: Some(0),
            damaged: Vec::new(),
            devices_with_errors: 0,
        };
        Ok(HostState { clock: Timestamp::now(), zfs_versions: vec!["zfs-fake".to_owned()], pool })
    }

    fn change(&self, change: &Change) -> Result<Changed, HostError> {
        let (operation, object) = change.words();
        if let Change::SetAside(wish) = change {
            return Ok(Changed { set_aside: Some(self.set_aside(wish)?), ..Changed::default() });
        }
        if self.faults().is_append_only && change.takes_away() {
            let problem = Problem::Denied("the fake is append-only".to_owned());
            return Err(HostError::new(self.name(), operation, object, problem));
        }
        self.alter("change", operation, &object, |machine| {
            match change {
                Change::CreateContainer { dataset, .. } => machine.create_with_parents(dataset)?,
                Change::AbortReceive { dataset, token } => machine.abort_receive(dataset, Some(token))?,
                Change::DestroySnapshots { dataset, snapshots } => {
                    let refusals = machine.destroy_snapshots(dataset, snapshots)?;
                    return Ok(Changed { refusals, ..Changed::default() });
                }
                Change::Rollback { dataset, to, guid } => {
                    machine.roll_back(&named(dataset, to)?, Some(*guid), false)?;
                }
                Change::RenameDataset { from, guid, to } => machine.rename_dataset(from, Some(*guid), to)?,
                Change::RenameSnapshot { dataset, from, guid, to } => {
                    machine.rename_snapshot(&named(dataset, from)?, Some(*guid), to)?;
                }
                Change::DestroyDataset { dataset, guid, snapshots } => {
                    machine.destroy_dataset(dataset, *guid, snapshots)?;
                }
                // Nothing that is planned depends on these.
                Change::SetAside(_)
                | Change::StoreConfig { .. }
                | Change::MarkVerified { .. }
                | Change::BeginHealing { .. }
                | Change::EndHealing { .. } => {}
                Change::Claim { dataset, guid, writer } => machine.claim(dataset, *guid, writer)?,
            }
            Ok(Changed::default())
        })
    }
}

fn named(dataset: &DatasetName, name: &PointName) -> Result<SnapshotName, Problem> {
    dataset.snapshot(name).map_err(|error| Problem::Other(error.to_string()))
}

/// A stream on its way in. The received data is read when the stream ends, whole or not; until then a real receive
/// would only have noticed that it cannot begin.
#[derive(Debug)]
struct Receiving<'a> {
    host: &'a FakeHost,
    spec: ReceiveSpec,
    passage: Passage,
    /// How many blocks get through.
    cut_after: Option<u64>,
    /// How many blocks get through of a stream that has more.
    passes: Option<u64>,
    bytes: Vec<u8>,
    is_over: bool,
}

impl Receiving<'_> {
    fn error(&self, problem: Problem) -> HostError {
        HostError::new(self.host.name(), "receive", &self.spec.snapshot, problem)
    }

    /// The part of the sent data that gets through.
    fn let_through(&self, limit: u64) -> Option<Arrived> {
        let mut arrived = wire::read(&self.bytes)?;
        arrived.blocks.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        arrived.is_begun = !arrived.blocks.is_empty();
        arrived.is_whole = false;
        Some(arrived)
    }

    /// Whether the way has broken down by now.
    fn is_cut(&self) -> bool {
        let arrived = bytes_of(wire::read(&self.bytes).map_or(0, |arrived| arrived.blocks.len()));
        self.cut_after.is_some_and(|limit| arrived >= limit.saturating_mul(BLOCK_BYTES))
            || self.passes.is_some_and(|limit| arrived > limit.saturating_mul(BLOCK_BYTES))
    }

    /// How much gets through, where not all does.
    fn limit(&self) -> Option<u64> {
        let is_long = |limit: &u64| {
            let arrived = wire::read(&self.bytes).map_or(0, |arrived| arrived.blocks.len());
            u64::try_from(arrived).is_ok_and(|arrived| arrived > *limit)
        };
        self.cut_after.or(self.passes.filter(is_long))
    }

    /// Applies what arrived, once.
    fn commit(&mut self) -> Result<(), Problem> {
        if self.is_over {
            return Ok(());
        }
        self.is_over = true;
        if let Some(limit) = self.limit() {
            if let Some(arrived) = self.let_through(limit) {
                self.host.machine().receive(&self.spec, &arrived).ok();
            }
            if self.passage.dies_after_blocks.is_some() || self.passage.dies_after {
                self.host.shared_state.crash();
            }
            return Err(Problem::Unreachable("the fake cut the stream".to_owned()));
        }
        let arrived = wire::read(&self.bytes)
            .ok_or_else(|| Problem::Other("the stream has no beginning".to_owned()))?;
        let received = self.host.machine().receive(&self.spec, &arrived);
        if self.passage.dies_after {
            self.host.shared_state.crash();
            return Err(faults::crashed());
        }
        received
    }

    /// Whether the receive could not even begin.
    fn is_refused(&self) -> bool {
        let machine = self.host.machine();
        wire::read(&self.bytes).is_some_and(|arrived| {
            !machine.has_already(&self.spec, &arrived.header)
                && machine.check_receive(&self.spec, &arrived.header).is_err()
        })
    }
}

impl Incoming for Receiving<'_> {
    fn inlet(&mut self, _cancel: &Cancel, _meters: &Arc<Meters>) -> Result<ReceiveInput<'_>, HostError> {
        Ok(ReceiveInput::Plain(Box::new(Pipe { receiving: self, is_broken: false })))
    }

    fn finish(mut self: Box<Self>) -> Result<(), HostError> {
        self.commit().map_err(|problem| self.error(problem))
    }

    fn abort(mut self: Box<Self>) -> Option<HostError> {
        let problem = self.commit().err()?;
        // That the stream was cut short is no account of the receiver's own.
        (!matches!(&problem, Problem::Other(text) if text == TRUNCATED)).then(|| self.error(problem))
    }
}

impl Drop for Receiving<'_> {
    /// A receiver whose other end has died keeps what it got, whoever forgot it.
    fn drop(&mut self) {
        self.commit().ok();
    }
}

/// The pipe into a receive: breaks, as a real one does, after the receiver found that it cannot begin.
struct Pipe<'a, 'b> {
    receiving: &'a mut Receiving<'b>,
    is_broken: bool,
}

impl stream::ByteSink for Pipe<'_, '_> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.receiving.bytes.extend_from_slice(bytes);
        self.is_broken = self.receiving.is_cut() || self.receiving.is_refused();
        Ok(bytes.len())
    }
}
