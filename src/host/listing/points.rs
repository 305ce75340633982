//! Reads the output of `zfs list`: the GUID of every dataset, and its points.

use std::collections::BTreeMap;

use super::{Rows, number, number_or_none, split};
use crate::host::Problem;
use crate::model::{Details, Guid, Point, PointKind, PointName, Txg};

/// What `zfs list -o` is asked for. `numclones` is not in the manual, but in every release from 0.7 on; `clones` would
/// give names, without limit.
pub(super) const COLUMNS: &str = "name,guid,createtxg,numclones";

/// The rows of each dataset, by its name.
pub(super) type Histories = BTreeMap<String, Listed>;

/// The rows of one dataset.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// `None` where only points of it were listed.
    pub(super) guid: Option<Guid>,
    pub(super) points: Vec<Point>,
    /// The full name of a point that zhaul does not take.
    pub(super) bad_name: Option<String>,
}

/// The answer of `zfs list` on its way in.
#[derive(Debug)]
pub(super) struct PointsReader {
    rows: Rows,
    datasets: Histories,
}

impl PointsReader {
    pub(super) fn new() -> Self {
        Self { rows: Rows { command: "zfs list", count: 0 }, datasets: BTreeMap::new() }
    }

    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        let datasets = &mut self.datasets;
        self.rows.take(line, |line| read(datasets, split(line)?))
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
        return match entry.guid.replace(guid) {
            None => Ok(()),
            Some(_) => Err("this dataset was listed before".to_owned()),
        };
    };
    let kind = if point.starts_with('@') { PointKind::Snapshot } else { PointKind::Bookmark };
    let Ok(point) = PointName::new(point.get(1..).unwrap_or_default()) else {
        entry.bad_name = Some(name.to_owned());
        return Ok(());
    };
    let details = (kind == PointKind::Bookmark).then_some(Details::BOOKMARK);
    entry.points.push(Point { kind, name: point, guid, createtxg, clones, details });
    Ok(())
}
