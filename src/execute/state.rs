//! The results of earlier steps that later steps of a run need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::host::{Held, SourceHost};
use crate::model::{Claim, DatasetName, Guid, PointName, SnapshotName};
use crate::plan::{Action, NextLineage, Step};
use crate::stream::threads::alone_or_here;

/// How long a step that destroys snapshots waits for this run's own holds on them.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);

/// The outcome of this run's snapshot of one dataset.
#[derive(Debug, Clone)]
pub(super) enum Taken {
    /// It was taken; the GUID is known once it has its bookmark.
    Yes(Option<Guid>),
    /// It was not, and why.
    No(String),
}

/// The results so far.
#[derive(Debug)]
pub(super) struct State {
    /// The lineage that each planned snapshot is to prove.
    members: BTreeMap<SnapshotName, NextLineage>,
    known: Mutex<Known>,
    holding: Arc<(Mutex<Holding>, Condvar)>,
}

/// The newest own snapshots, held while this run's are taken: what these prove rests on them.
#[derive(Debug, Default)]
struct Holding {
    held: Option<Held>,
    /// How many steps that take snapshots have not ended.
    steps_left: usize,
}

#[derive(Debug, Default)]
struct Known {
    taken: BTreeMap<DatasetName, Taken>,
    without_bookmark: BTreeSet<(DatasetName, PointName)>,
}

impl State {
    pub(super) fn new(steps: &[Step]) -> Self {
        let (mut members, mut steps_left) = (BTreeMap::new(), 0);
        for step in steps {
            if let Action::Snapshot { snapshots, lineage, .. } = &step.action {
                members.extend(snapshots.iter().cloned().zip(lineage.iter().cloned()));
                steps_left += 1;
            }
        }
        let holding = Holding { held: None, steps_left };
        Self { members, known: Mutex::default(), holding: Arc::new((Mutex::new(holding), Condvar::new())) }
    }

    /// What `snapshot`, which the plan takes, is to prove.
    pub(super) fn member(&self, snapshot: &SnapshotName) -> Option<&NextLineage> {
        self.members.get(snapshot)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.holding.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lineage that the snapshots of one call prove, given the newest own ones that are held. The first call holds
    /// those for all calls of the run.
    pub(super) fn lineage(&self, source: &dyn SourceHost, planned: &[NextLineage]) -> String {
        let mut holding = self.holding();
        if holding.held.is_none() {
            let previous: Vec<_> =
                self.members.values().filter_map(|member| member.previous.clone()).collect();
            holding.held = Some(if previous.is_empty() { Held::default() } else { source.hold(&previous) });
        }
        let is_held = |previous: &(SnapshotName, Guid)| {
            holding.held.as_ref().is_some_and(|held| held.snapshots.contains(previous))
        };
        let claims = planned.iter().map(|member| {
            let holds = member.previous.as_ref().is_none_or(is_held);
            (member.dataset, if holds { &member.claim } else { &member.restart }.clone())
        });
        Claim::write_all(&claims.collect())
    }

    /// Notes that a step has ended. After the last one that takes snapshots the holds end; that waits for the pools, so it is
    /// done on a thread of its own.
    pub(super) fn note_ended(&self, step: &Step) {
        if !matches!(step.action, Action::Snapshot { .. }) {
            return;
        }
        let mut holding = self.holding();
        holding.steps_left = holding.steps_left.saturating_sub(1);
        let ended = if holding.steps_left == 0 { holding.held.as_mut() } else { None };
        let Some(guard) = ended.map(|held| std::mem::take(&mut held.guard)) else { return };
        drop(holding);
        let all = Arc::clone(&self.holding);
        alone_or_here("release", move || {
            drop(guard);
            let (holding, changed) = &*all;
            holding.lock().unwrap_or_else(PoisonError::into_inner).held = Some(Held::default());
            changed.notify_all();
        });
    }

    /// Waits until none of these snapshots is held by this run. Where that takes too long, ZFS will refuse to destroy them.
    pub(super) fn wait_for_release(&self, snapshots: &[(SnapshotName, Guid)]) {
        let is_held = |holding: &mut Holding| {
            let held = holding.held.as_ref();
            held.is_some_and(|held| snapshots.iter().any(|snapshot| held.snapshots.contains(snapshot)))
        };
        let waited = self.holding.1.wait_timeout_while(self.holding(), RELEASE_LIMIT, is_held);
        let (holding, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(holding);
        if result.timed_out() {
            tracing::warn!("the holds of this run's snapshots have not ended within {RELEASE_LIMIT:?}");
        }
    }

    /// Notes what became of the snapshot of a dataset.
    pub(super) fn note_taken(&self, dataset: &DatasetName, taken: Taken) {
        self.known().taken.insert(dataset.clone(), taken);
    }

    /// The outcome of this run's snapshot of `dataset`.
    pub(super) fn taken(&self, dataset: &DatasetName) -> Taken {
        let unknown = || Taken::No("its step did not run".to_owned());
        self.known().taken.get(dataset).cloned().unwrap_or_else(unknown)
    }

    /// Notes that a snapshot could get no bookmark.
    pub(super) fn note_without_bookmark(&self, dataset: &DatasetName, snapshot: &PointName) {
        self.known().without_bookmark.insert((dataset.clone(), snapshot.clone()));
    }

    /// Whether this run tried to bookmark the snapshot, and could not.
    pub(super) fn is_without_bookmark(&self, dataset: &DatasetName, snapshot: &PointName) -> bool {
        self.known().without_bookmark.contains(&(dataset.clone(), snapshot.clone()))
    }
}
