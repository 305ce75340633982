//! The effect of a source dataset's replications on its pruning.

use std::collections::{BTreeMap, BTreeSet};

use super::replication::Replication;
use super::{Place, StepId};
use crate::model::{DatasetName, Guid, Point};

/// The points that the targets need of one source dataset, before this run and after it.
#[derive(Debug, Default)]
pub(super) struct Replications<'a> {
    /// A target that did not answer: what it needs is not known.
    pub(super) has_unknown_target: bool,
    /// Every transfer.
    pub(super) sends: Vec<StepId>,
    /// GUIDs that are the newest common point of a target, before this run and after it.
    pub(super) common: BTreeSet<Guid>,
    /// The target snapshots that are those points before this run: where they are, and what they are called there.
    pub(super) bases: Vec<(Place, DatasetName, &'a Point)>,
    /// Source snapshots that may go once these transfers have succeeded: what they send, and the newest snapshot that both
    /// sides have. A bookmark alone would do as a base, but until its target has a newer one, the snapshot is the surer.
    pub(super) needed_by: BTreeMap<Guid, BTreeSet<StepId>>,
    /// Points that stay, whatever this run does: the ends of a partial receive that it does not resume, and of a guest that
    /// can move to another node the newest snapshot that it shares with a target.
    pub(super) kept: BTreeSet<Guid>,
}

impl<'a> Replications<'a> {
    pub(super) fn add(&mut self, replication: Replication<'a>) {
        self.bases.extend(
            replication.target_base().map(|base| (replication.place.clone(), replication.name.clone(), base)),
        );
        self.common.extend(replication.target_base().map(|point| point.guid));
        self.common.extend(replication.received.last().and_then(|(_, what)| what.guid()));
        let sent = replication.sends.iter().zip(&replication.received);
        let sent: Vec<(Guid, StepId)> =
            sent.filter_map(|(send, (_, what))| Some((what.guid()?, *send))).collect();
        let partial =
            replication.resumable.iter().flat_map(|partial| [Some(partial.to), partial.base]).flatten();
        self.kept.extend(partial.filter(|guid| sent.iter().all(|(to, _)| to != guid)));
        // A migration takes no bookmarks along, only snapshots: an archive waits for a month, and needs one until then.
        if replication.source.selected.cluster.is_some() && replication.sends.is_empty() {
            self.kept.extend(replication.newest_shared());
        }
        if let (Some(last), Some(shared)) = (replication.sends.last(), replication.newest_shared()) {
            self.needed_by.entry(shared).or_default().insert(*last);
        }
        for (guid, send) in sent {
            self.needed_by.entry(guid).or_default().insert(send);
        }
        self.sends.extend(replication.sends);
    }
}
