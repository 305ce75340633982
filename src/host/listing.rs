//! Reads what `zfs` prints of a machine's datasets and points into a [`Listing`], line by line as it comes.
//!
//! Two calls, since what is told of a dataset is slow to find out, and there are many more points: `zfs list` gives every
//! name with what the kernel has at hand, points and datasets alike, and `zfs get` the properties of datasets alone. What a
//! listing tells of a point takes the kernel's fast path only if every column does (`zfs_list_only_by_fast`; `type` does
//! not, so the kind of a point is read off its name).
//!
//! The other end is not trusted: a line with the wrong number of columns, a control character or a number that is none is
//! an error of the whole listing, since a listing with holes would be taken for the truth. So is a dataset that is only in
//! one of the two answers, or another one there: points of a dataset that was renamed meanwhile must not be missed. Only
//! names that no ZFS known to zhaul allows are passed over, with a warning.

use std::collections::BTreeMap;

use super::Problem;
use crate::model::{
    Dataset, DatasetKind, DatasetName, Details, Encryption, Guid, History, Listing, Point, PointKind,
    PointName, SnapshotName, Txg,
};

/// What `zfs list -o` is asked for. `numclones` is not in the manual, but in every release from 0.7 on; `clones` would
/// give names, without limit.
pub(super) const COLUMNS: &str = "name,guid,createtxg,numclones";

/// What `zfs get` is asked for, in the order in which it answers.
pub(super) const PROPERTIES: &str =
    "type,guid,written,referenced,encryption,readonly,receive_resume_token,origin,zhaul:backup";

/// More rows than any host has; a listing that does not end must not fill the memory. Takes 1 GiB or so.
const ROWS_MAX: usize = 5_000_000;

/// Counts lines, refuses what cannot be one, and puts its number to what is wrong with it.
#[derive(Debug)]
struct Rows {
    command: &'static str,
    count: usize,
}

impl Rows {
    fn take<const COLUMNS: usize>(
        &mut self,
        line: &[u8],
        read: impl FnOnce([&str; COLUMNS]) -> Result<(), String>,
    ) -> Result<(), Problem> {
        self.count += 1;
        if self.count > ROWS_MAX {
            return Err(Problem::Protocol(format!("{} printed more than {ROWS_MAX} lines", self.command)));
        }
        split(line).and_then(read).map_err(|why| {
            let start = line.get(..line.len().min(120)).unwrap_or_default();
            let text = start.escape_ascii();
            Problem::Protocol(format!("line {} of {}: {why}: \"{text}\"", self.count, self.command))
        })
    }
}

fn split<const COLUMNS: usize>(line: &[u8]) -> Result<[&str; COLUMNS], String> {
    if line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("it has a control character".to_owned());
    }
    let line = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let columns: Vec<&str> = line.split('\t').collect();
    let count = columns.len();
    columns.try_into().map_err(|_| format!("it has {count} columns instead of {COLUMNS}"))
}

/// The answer of `zfs list` on its way in: every dataset's GUID, and its points.
#[derive(Debug)]
pub(super) struct PointsReader {
    rows: Rows,
    datasets: BTreeMap<String, (Option<Guid>, Vec<Point>)>,
}

impl PointsReader {
    pub(super) fn new() -> Self {
        Self { rows: Rows { command: "zfs list", count: 0 }, datasets: BTreeMap::new() }
    }

    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        let datasets = &mut self.datasets;
        self.rows.take(line, |row| read_point(datasets, row))
    }

    /// How many lines there were.
    pub(super) fn row_count(&self) -> usize {
        self.rows.count
    }
}

fn read_point(
    datasets: &mut BTreeMap<String, (Option<Guid>, Vec<Point>)>,
    row: [&str; 4],
) -> Result<(), String> {
    let [name, guid, createtxg, clones] = row;
    let (guid, createtxg) = (Guid(number(guid, "guid")?), Txg(number(createtxg, "createtxg")?));
    let clones = count(number_or_none(clones, "numclones")?);
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

/// The answer of `zfs get` on its way in: a line for each property of each dataset.
#[derive(Debug)]
pub(super) struct DatasetsReader {
    rows: Rows,
    datasets: BTreeMap<String, Properties>,
    /// The dataset whose lines are coming, and what is known of it.
    current: (String, Vec<String>),
}

/// What `zfs get` told of one dataset.
#[derive(Debug)]
struct Properties {
    kind: DatasetKind,
    guid: Guid,
    written_bytes: u64,
    referenced_bytes: u64,
    encryption: Encryption,
    is_readonly: bool,
    resume_token: Option<String>,
    origin: Option<SnapshotName>,
    is_opted_out: bool,
}

impl DatasetsReader {
    pub(super) fn new() -> Self {
        let rows = Rows { command: "zfs get", count: 0 };
        Self { rows, datasets: BTreeMap::new(), current: (String::new(), Vec::new()) }
    }

    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        let (datasets, current) = (&mut self.datasets, &mut self.current);
        self.rows.take(line, |row| read_property(datasets, current, row))
    }

    /// Puts the two answers together. `Err` is a name that they do not agree on: datasets were made, destroyed or renamed
    /// between the two, or the answer was cut off.
    pub(super) fn join(self, points: PointsReader) -> Result<Listing, String> {
        let Self { mut datasets, current, .. } = self;
        if !current.1.is_empty() {
            return Err(current.0);
        }
        let mut listed = Vec::with_capacity(datasets.len());
        for (name, (guid, points)) in points.datasets {
            let told = datasets.remove(&name).filter(|told| Some(told.guid) == guid);
            let Some(told) = told else {
                return Err(name);
            };
            let Ok(name) = DatasetName::new(&name) else {
                tracing::warn!("{name:?} is passed over: its name is not one that zhaul takes");
                continue;
            };
            listed.push(told.into_dataset(name, History::new(points)));
        }
        match datasets.pop_first() {
            Some((name, _)) => Err(name),
            None => Ok(Listing::new(listed)),
        }
    }
}

fn read_property(
    datasets: &mut BTreeMap<String, Properties>,
    (name, values): &mut (String, Vec<String>),
    row: [&str; 3],
) -> Result<(), String> {
    let [dataset, property, value] = row;
    if values.is_empty() {
        dataset.clone_into(name);
    }
    let expected = PROPERTIES.split(',').nth(values.len());
    if name.as_str() != dataset || expected != Some(property) {
        return Err(format!("{} of {name:?} was to come", expected.unwrap_or_default()));
    }
    check_property(property, value)?;
    values.push(value.to_owned());
    if PROPERTIES.split(',').nth(values.len()).is_some() {
        return Ok(());
    }
    let properties = Properties::new(&std::mem::take(values))?;
    match datasets.insert(std::mem::take(name), properties) {
        None => Ok(()),
        Some(_) => Err("this dataset was told of before".to_owned()),
    }
}

/// Whether `text` has only what a resume token (or `-`, for none) is made of.
pub(super) fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What is wrong with a value is told with its own line.
fn check_property(property: &str, value: &str) -> Result<(), String> {
    match property {
        "type" => kind(value).map(drop),
        "guid" => number(value, property).map(drop),
        "written" | "referenced" => number_or_none(value, property).map(drop),
        "receive_resume_token" if !is_token(value) => Err("receive_resume_token is not a token".to_owned()),
        _ => Ok(()),
    }
}

impl Properties {
    fn new(values: &[String]) -> Result<Self, String> {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let [kind_, guid, written, referenced, encryption, readonly, token, origin, opt_out] =
            *values.as_slice()
        else {
            return Err("properties are missing".to_owned());
        };
        Ok(Self {
            kind: kind(kind_)?,
            guid: Guid(number(guid, "guid")?),
            written_bytes: number_or_none(written, "written")?,
            referenced_bytes: number_or_none(referenced, "referenced")?,
            encryption: if matches!(encryption, "off" | "-") { Encryption::Off } else { Encryption::On },
            is_readonly: readonly == "on",
            resume_token: (token != "-").then(|| token.to_owned()),
            origin: if origin == "-" { None } else { SnapshotName::parse(origin).ok() },
            is_opted_out: opt_out == "off",
        })
    }

    fn into_dataset(self, name: DatasetName, history: History) -> Dataset {
        let Self { kind, guid, encryption, referenced_bytes, written_bytes, is_readonly, .. } = self;
        Dataset {
            name,
            guid,
            kind,
            encryption,
            referenced_bytes,
            written_bytes,
            is_readonly,
            resume_token: self.resume_token,
            origin: self.origin,
            is_opted_out: self.is_opted_out,
            history,
        }
    }
}

fn kind(text: &str) -> Result<DatasetKind, String> {
    match text {
        "filesystem" => Ok(DatasetKind::Filesystem),
        "volume" => Ok(DatasetKind::Volume),
        other => Err(format!("{other:?} is not a type of dataset")),
    }
}

fn number(text: &str, column: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{column} is {text:?}"))
}

/// A property that this kind of dataset has not is printed as `-`.
fn number_or_none(text: &str, column: &str) -> Result<u64, String> {
    if text == "-" { Ok(0) } else { number(text, column) }
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
