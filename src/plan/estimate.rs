//! How many bytes each transfer of a plan will have, roughly, from the inventory alone.
//!
//! Also for snapshots that the run has yet to take, which no host could be asked about. A full stream has about what the
//! dataset references, an incremental one what was written after its base. Where snapshots between base and end are gone,
//! the next one's `written` covers them; where the base is a bookmark whose snapshot is gone, that reaches back further
//! than the base, and the estimate is too high.

use std::collections::BTreeMap;

use super::{Action, Plan, StepId, Transfer};
use crate::model::{Answer, ByteCount, Dataset, Inventory};

/// The transfers whose size can be told.
pub fn estimate(plan: &Plan, inventory: &Inventory) -> BTreeMap<StepId, ByteCount> {
    let Answer::Listed(source) = &inventory.source else {
        return BTreeMap::new();
    };
    let mut estimates = BTreeMap::new();
    for step in &plan.steps {
        if let Action::Send(transfer) = &step.action {
            let dataset = source.get(transfer.snapshot.dataset());
            if let Some(bytes) = dataset.and_then(|dataset| stream_bytes(transfer, dataset)) {
                estimates.insert(step.id, ByteCount(bytes));
            }
        }
    }
    estimates
}

fn stream_bytes(transfer: &Transfer, dataset: &Dataset) -> Option<u64> {
    let whole = match &transfer.base {
        None => dataset.referenced_bytes,
        Some(base) => {
            let start = dataset.history.find(base.guid)?.createtxg;
            let end = transfer.guid.and_then(|guid| dataset.history.find_snapshot(guid));
            let between = dataset.history.snapshots().filter(|point| {
                point.createtxg > start && end.is_none_or(|end| point.createtxg <= end.createtxg)
            });
            let written = between.fold(0_u64, |sum, point| sum.saturating_add(point.written_bytes));
            // A snapshot that this run takes has what was written since the newest one.
            let fresh = if transfer.guid.is_none() { dataset.written_bytes } else { 0 };
            written.saturating_add(fresh)
        }
    };
    let received = transfer.resume.as_ref().map_or(0, |resume| resume.received_bytes);
    Some(whole.saturating_sub(received))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        DatasetKind, DatasetName, Encryption, Guid, History, Point, PointKind, PointName, ResumePoint,
        SendFlags, Txg,
    };
    use crate::plan::Base;

    fn point(kind: PointKind, txg: u64, written_bytes: u64) -> Point {
        Point {
            kind,
            name: PointName::new(&format!("p{txg}")).unwrap(),
            guid: Guid(txg),
            createtxg: Txg(txg),
            used_bytes: 0,
            written_bytes,
            holds: 0,
            clones: 0,
            is_doomed: false,
        }
    }

    fn dataset() -> Dataset {
        Dataset {
            name: DatasetName::new("tank/a").unwrap(),
            guid: Guid(99),
            kind: DatasetKind::Volume,
            encryption: Encryption::Off,
            referenced_bytes: 1_000,
            written_bytes: 7,
            is_readonly: true,
            resume_token: None,
            origin: None,
            is_opted_out: false,
            history: History::new(vec![
                point(PointKind::Bookmark, 1, 0),
                point(PointKind::Snapshot, 2, 20),
                point(PointKind::Snapshot, 3, 30),
                point(PointKind::Snapshot, 4, 40),
            ]),
        }
    }

    fn transfer(base: Option<u64>, end: Option<u64>) -> Transfer {
        let name = PointName::new("x").unwrap();
        let snapshot = dataset().name.snapshot(&name).unwrap();
        Transfer {
            snapshot: snapshot.clone(),
            guid: end.map(Guid),
            base: base.map(|guid| Base { kind: PointKind::Snapshot, name, guid: Guid(guid) }),
            resume: None,
            target: snapshot,
            origin: None,
            creates_dataset: base.is_none(),
            kind: DatasetKind::Volume,
            encryption: Encryption::Off,
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
            assert_eq!(stream_bytes(&transfer(base, end), &dataset()), expected, "{base:?} to {end:?}");
        }
    }

    #[test]
    fn what_the_target_has_already_is_not_sent_again() {
        let flags = SendFlags { large_block: true, embed: true, compress: true, raw: false };
        let mut resumed = transfer(Some(2), Some(4));
        resumed.resume = Some(ResumePoint { object: 1, offset: 0, received_bytes: 60, flags });
        assert_eq!(stream_bytes(&resumed, &dataset()), Some(10));
    }
}
