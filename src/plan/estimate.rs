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
mod tests {
    use super::*;
    use crate::model::{
        CopyEncryption, DatasetKind, DatasetName, Details, Encryption, Guid, History, Point, PointKind,
        PointName, ResumePoint, SendFlags, Txg,
    };
    use crate::plan::Base;

    fn point(kind: PointKind, txg: u64, written_bytes: u64) -> Point {
        Point {
            kind,
            name: PointName::new(&format!("p{txg}")).unwrap(),
            guid: Guid(txg),
            createtxg: Txg(txg),
            clones: 0,
            details: Some(Details { written_bytes, ..Details::default() }),
        }
    }

    fn dataset() -> Dataset {
        Dataset {
            referenced_bytes: 1_000,
            written_bytes: 7,
            is_readonly: true,
            history: History::new(vec![
                point(PointKind::Bookmark, 1, 0),
                point(PointKind::Snapshot, 2, 20),
                point(PointKind::Snapshot, 3, 30),
                point(PointKind::Snapshot, 4, 40),
            ]),
            ..Dataset::new(DatasetName::new("tank/a").unwrap(), Guid(99), DatasetKind::Volume)
        }
    }

    fn transfer(base: Option<u64>, end: Option<u64>) -> Transfer {
        let name = PointName::new("x").unwrap();
        let snapshot = dataset().name.snapshot(&name).unwrap();
        Transfer {
            snapshot: snapshot.clone(),
            guid: end.map(Guid),
            base: base.map(|guid| Base {
                kind: PointKind::Snapshot,
                name,
                guid: Guid(guid),
                createtxg: Txg(guid),
            }),
            fallback: None,
            resume: None,
            target: snapshot,
            origin: None,
            creates_dataset: base.is_none(),
            kind: DatasetKind::Volume,
            encryption: Encryption::Off,
            copy_encryption: CopyEncryption::AsSent,
            writer: None,
        }
    }

    #[test]
    fn an_increment_has_what_was_written_between_its_ends() {
        let cases = [
            (None, Some(4), Some(1_000)),
            (Some(2), Some(4), Some(70)),
            (Some(2), Some(3), Some(30)),
            (Some(1), Some(3), Some(50)),
            (Some(4), None, Some(7)),
            (Some(3), None, Some(47)),
            (Some(5), Some(4), None),
        ];
        for (base, end, expected) in cases {
            assert_eq!(
                stream_bytes(&mut Histories::default(), &transfer(base, end), &dataset()),
                expected,
                "{base:?} to {end:?}"
            );
        }
    }

    #[test]
    fn what_the_target_has_already_is_not_sent_again() {
        let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
        let mut resumed = transfer(Some(2), Some(4));
        resumed.resume = Some(ResumePoint { object: 1, offset: 0, received_bytes: 60, flags });
        assert_eq!(stream_bytes(&mut Histories::default(), &resumed, &dataset()), Some(10));
    }
}
