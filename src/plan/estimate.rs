//! How many bytes each transfer of a plan will have, roughly, from the inventory alone.
//!
//! Also for snapshots that the run has yet to take, which no host could be asked about. A full stream has about what the
//! dataset references, an incremental one what was written after its base. Where snapshots between base and end are gone,
//! the next one's `written` covers them; where the base is a bookmark whose snapshot is gone, that reaches back further
//! than the base, and the estimate is too high.

use std::collections::BTreeMap;

use super::comparison::GuidIndex;
use super::{Action, MissingDetails, Place, Plan, StepId, Transfer};
use crate::model::{Answer, ByteCount, Dataset, DatasetName, Inventory, Point};

/// The transfers whose size can be estimated, in bytes.
pub fn estimate(plan: &Plan, inventory: &Inventory) -> BTreeMap<StepId, ByteCount> {
    let mut histories = Histories::default();
    let sized =
        |(step, transfer, dataset)| Some((step, ByteCount(stream_bytes(&mut histories, transfer, dataset)?)));
    transfers(plan, inventory).filter_map(sized).collect()
}

/// The snapshots whose details the estimates lack.
pub fn wanted_sizes(plan: &Plan, inventory: &Inventory) -> MissingDetails {
    let mut wants = MissingDetails::default();
    let mut histories = Histories::default();
    for (_, transfer, dataset) in transfers(plan, inventory) {
        for point in histories.between(transfer, dataset).into_iter().flatten() {
            wants.note(&Place::Source, &dataset.name, point);
        }
    }
    wants
}

/// Each transfer with its source dataset.
fn transfers<'a>(
    plan: &'a Plan,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (StepId, &'a Transfer, &'a Dataset)> {
    let source = match &inventory.source {
        Answer::Listed(listing) => Some(listing),
        Answer::CouldNotAsk(_) => None,
    };
    plan.steps.iter().filter_map(move |step| match &step.action {
        Action::Send(transfer) => {
            Some((step.id, transfer.as_ref(), source?.get(transfer.snapshot.dataset())?))
        }
        Action::Snapshot { .. }
        | Action::Bookmark { .. }
        | Action::DestroyBookmarks { .. }
        | Action::Change(_) => None,
    })
}

/// The source histories by GUID: a plan may have thousands of transfers of one dataset.
#[derive(Default)]
struct Histories<'a>(BTreeMap<&'a DatasetName, GuidIndex<'a>>);

impl<'a> Histories<'a> {
    /// The snapshots after the base of an increment, up to its end; `None` for a full stream, or where the base is gone.
    fn between(
        &mut self,
        transfer: &Transfer,
        dataset: &'a Dataset,
    ) -> Option<impl Iterator<Item = &'a Point> + use<'a>> {
        let base = transfer.base.as_ref()?.guid;
        let index = self.0.entry(&dataset.name).or_insert_with(|| GuidIndex::new(&dataset.history));
        let start = index.find(base)?.createtxg;
        let end = transfer.guid.and_then(|guid| index.find(guid)).map(|end| end.createtxg);
        Some(dataset.history.snapshots_between(start, end))
    }
}

fn stream_bytes<'a>(histories: &mut Histories<'a>, transfer: &Transfer, dataset: &'a Dataset) -> Option<u64> {
    let whole = if transfer.base.is_none() {
        dataset.referenced_bytes
    } else {
        let written = histories
            .between(transfer, dataset)?
            .try_fold(0_u64, |sum, point| Some(sum.saturating_add(point.details?.written_bytes)))?;
        // A snapshot that this run takes has what was written since the newest one.
        let fresh = if transfer.guid.is_none() { dataset.written_bytes } else { 0 };
        written.saturating_add(fresh)
    };
    let received = transfer.resume.as_ref().map_or(0, |resume| resume.received_bytes);
    Some(whole.saturating_sub(received))
}

#[cfg(test)]
mod tests;
