//! What `zfs list` tells: the GUID of every dataset, and its points.

use std::collections::BTreeMap;

use super::{Rows, number, number_or_none, split};
use crate::host::Problem;
use crate::model::{Details, Guid, Point, PointKind, PointName, Txg};

/// What `zfs list -o` is asked for. `numclones` is not in the manual, but in every release from 0.7 on; `clones` would
/// give names, without limit.
pub(in crate::host) const COLUMNS: &str = "name,guid,createtxg,numclones";

/// Each dataset's GUID, unless only points of it were listed, and its points.
pub(super) type Histories = BTreeMap<String, (Option<Guid>, Vec<Point>)>;

/// The answer of `zfs list` on its way in.
#[derive(Debug)]
pub(in crate::host) struct PointsReader {
    rows: Rows,
    datasets: Histories,
}

impl PointsReader {
    pub(in crate::host) fn new() -> Self {
        Self { rows: Rows { command: "zfs list", count: 0 }, datasets: BTreeMap::new() }
    }

    /// Takes one line without its end.
    pub(in crate::host) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        let datasets = &mut self.datasets;
        self.rows.take(line, |line| read(datasets, split(line)?))
    }

    /// How many lines there were.
    pub(in crate::host) fn row_count(&self) -> usize {
        self.rows.count
    }

    pub(super) fn finish(self) -> Histories {
        self.datasets
    }
}

fn read(datasets: &mut Histories, row: [&str; 4]) -> Result<(), String> {
    let [name, guid, createtxg, clones] = row;
    let (guid, createtxg) = (Guid(number(guid, "guid")?), Txg(number(createtxg, "createtxg")?));
    let clones = u32::try_from(number_or_none(clones, "numclones")?).unwrap_or(u32::MAX);
    let (dataset, point) = match name.find(['@', '#']) {
        None => (name, None),
        Some(at) => {
            let (dataset, point) = name.split_at(at);
            (dataset, Some(point))
        }
    };
    let entry = match datasets.get_mut(dataset) {
        Some(entry) => entry,
        None => datasets.entry(dataset.to_owned()).or_default(),
    };
    let Some(point) = point else {
        return match entry.0.replace(guid) {
            None => Ok(()),
            Some(_) => Err("this dataset was listed before".to_owned()),
        };
    };
    let kind = if point.starts_with('@') { PointKind::Snapshot } else { PointKind::Bookmark };
    let Ok(point) = PointName::new(point.get(1..).unwrap_or_default()) else {
        tracing::warn!("{name:?} is passed over: its name is not one that zhaul takes");
        return Ok(());
    };
    let details = (kind == PointKind::Bookmark).then_some(Details::BOOKMARK);
    entry.1.push(Point { kind, name: point, guid, createtxg, clones, details });
    Ok(())
}
