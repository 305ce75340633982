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

/// What is wrong with a value is told with its own line.
fn check_property(property: &str, value: &str) -> Result<(), String> {
    match property {
        "type" => kind(value).map(drop),
        "guid" => number(value, property).map(drop),
        "written" | "referenced" => number_or_none(value, property).map(drop),
        "receive_resume_token" if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            Err("receive_resume_token is not a token".to_owned())
        }
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
mod tests {
    use super::*;

    /// The lines of `zfs get` for a dataset, from its values.
    fn properties(dataset: &str, values: [&str; 9]) -> Vec<String> {
        let pairs = PROPERTIES.split(',').zip(values);
        pairs.map(|(property, value)| format!("{dataset}\t{property}\t{value}")).collect()
    }

    fn read(datasets: &[Vec<String>], points: &[&[u8]]) -> Result<Result<Listing, String>, Problem> {
        let (mut told, mut listed) = (DatasetsReader::new(), PointsReader::new());
        datasets.iter().flatten().try_for_each(|line| told.take(line.as_bytes()))?;
        points.iter().try_for_each(|line| listed.take(line))?;
        Ok(told.join(listed))
    }

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    const VOLUME: [&str; 9] =
        ["volume", "7", "10", "800", "aes-256-gcm", "on", "1-a-f0-78", "tank/base@x", "off"];
    const PLAIN: [&str; 9] = ["filesystem", "7", "0", "8", "off", "off", "-", "-", "-"];
    const ROW: &[u8] = b"tank/vm 1/disk\t7\t3\t-";

    #[test]
    fn every_column_finds_its_place() {
        let snapshot = b"tank/vm 1/disk@a b\t18446744073709551615\t9\t1";
        let bookmark = b"tank/vm 1/disk#a\t5\t4\t-";
        let listing =
            read(&[properties("tank/vm 1/disk", VOLUME)], &[snapshot, ROW, bookmark]).unwrap().unwrap();
        let dataset = listing.get(&name("tank/vm 1/disk")).unwrap();
        assert_eq!((dataset.guid, dataset.kind), (Guid(7), DatasetKind::Volume));
        assert_eq!((dataset.referenced_bytes, dataset.written_bytes), (800, 10));
        assert_eq!(dataset.encryption, Encryption::On);
        assert_eq!(dataset.resume_token.as_deref(), Some("1-a-f0-78"));
        assert_eq!(dataset.origin, Some(SnapshotName::parse("tank/base@x").unwrap()));
        assert!(dataset.is_opted_out && dataset.is_readonly);
        let points: Vec<_> = dataset.history.points().collect();
        assert_eq!(points.len(), 2);
        assert_eq!(
            (points[0].kind, points[0].guid, points[0].createtxg, points[0].details),
            (PointKind::Bookmark, Guid(5), Txg(4), Some(Details::BOOKMARK))
        );
        let snapshot = points[1];
        assert_eq!((snapshot.guid, snapshot.name.as_str()), (Guid(u64::MAX), "a b"));
        assert_eq!((snapshot.clones, snapshot.details), (1, None), "its details are not known yet");
        assert!(snapshot.is_pinned() && snapshot.is_snapshot());
    }

    #[test]
    fn a_plain_dataset_has_no_more_than_it_says() {
        let listing = read(&[properties("tank", PLAIN)], &[b"tank\t7\t1\t-"]).unwrap().unwrap();
        let dataset = listing.get(&name("tank")).unwrap();
        assert_eq!(dataset.encryption, Encryption::Off);
        assert_eq!((dataset.resume_token.as_deref(), &dataset.origin), (None, &None));
        assert!(!dataset.is_opted_out && !dataset.is_readonly && dataset.history.is_empty());
    }

    fn assert_refused(refused: Result<Result<Listing, String>, Problem>, line: &str, why: &str) {
        let error = refused.unwrap_err();
        assert!(matches!(error, Problem::Protocol(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains(line), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn points_that_lie_are_refused_with_their_line_number() {
        let bad: [(&[u8], &str); 8] = [
            (b"", "1 columns"),
            (b"tank", "1 columns"),
            (b"tank@a\t7\t1\t-\t-", "5 columns"),
            (b"tank@a\t-7\t1\t-", "guid is \"-7\""),
            (b"tank@a\t7\tx\t-", "createtxg is \"x\""),
            (b"ta\x1b[2Jnk\t7\t1\t-", "control character"),
            (b"ta\xffnk\t7\t1\t-", "not UTF-8"),
            (ROW, "listed before"),
        ];
        for (line, why) in bad {
            assert_refused(read(&[], &[ROW, line]), "line 2 of zfs list", why);
        }
    }

    #[test]
    fn datasets_that_lie_are_refused_with_their_line_number() {
        let bad = [
            ("tank", "1 columns"),
            ("tank\ttype\tvolume\tlocal", "4 columns"),
            ("tank\ttype\tpool", "not a type"),
            ("tank\tguid\t7", "type of \"tank\" was to come"),
            ("ta\u{1b}[2Jnk\ttype\tvolume", "control character"),
        ];
        for (line, why) in bad {
            let lines = [properties("tank/a", PLAIN), vec![line.to_owned()]];
            assert_refused(read(&lines, &[]), "line 10 of zfs get", why);
        }
        let mut values = PLAIN;
        values[6] = "x;y";
        assert_refused(read(&[properties("tank", values)], &[]), "line 7 of zfs get", "not a token");
        let mut mixed = properties("tank", PLAIN);
        mixed[4] = "other\tencryption\toff".to_owned();
        assert_refused(read(&[mixed], &[]), "line 5 of zfs get", "encryption of \"tank\" was to come");
        let twice = [properties("tank", PLAIN), properties("tank", PLAIN)];
        assert_refused(read(&twice, &[]), "line 18 of zfs get", "told of before");
    }

    #[test]
    fn answers_that_do_not_agree_are_no_listing() {
        let told = [properties("tank", PLAIN)];
        let torn = |datasets: &[Vec<String>], points: &[&[u8]]| read(datasets, points).unwrap().unwrap_err();
        assert_eq!(torn(&told, &[]), "tank", "destroyed after the first call");
        assert_eq!(torn(&[], &[b"tank\t7\t1\t-"]), "tank", "made after the first call");
        assert_eq!(torn(&told, &[b"tank\t8\t1\t-"]), "tank", "another one by the second call");
        assert_eq!(torn(&told, &[b"tank@a\t9\t1\t0"]), "tank", "points of what was not listed");
        let renamed: [&[u8]; 2] = [b"tank\t7\t1\t-", b"tank/new\t9\t1\t-"];
        assert_eq!(torn(&[told.concat(), properties("tank/old", VOLUME)], &renamed), "tank/new");
        let cut = properties("tank", PLAIN)[..5].to_vec();
        assert_eq!(torn(&[cut], &[b"tank\t7\t1\t-"]), "tank", "cut off");
    }

    #[test]
    fn names_of_others_that_we_cannot_say_are_passed_over() {
        let lines: [&[u8]; 3] = [ROW, b"tank/vm 1/disk@%x\t1\t9\t0", b"tank/%odd\t7\t1\t-"];
        let told = [properties("tank/vm 1/disk", VOLUME), properties("tank/%odd", PLAIN)];
        let listing = read(&told, &lines).unwrap().unwrap();
        assert!(listing.get(&name("tank/vm 1/disk")).unwrap().history.is_empty());
        assert_eq!(listing.datasets().count(), 1);
    }
}
