//! Reads the output of `zfs list -Hp` into a [`Listing`], line by line as it comes.
//!
//! The other end is not trusted: a line with the wrong number of columns, a control character or a number that is none is
//! an error of the whole listing, since a listing with holes would be taken for the truth. Only names that no ZFS known
//! to zhaul allows are passed over, with a warning.

use std::collections::HashMap;

use super::Problem;
use crate::model::{
    Dataset, DatasetKind, DatasetName, Encryption, Guid, History, Listing, Point, PointKind, PointName,
    SnapshotName, Txg,
};

/// What `zfs list -o` is asked for. `numclones` is not in the manual, but in every release from 0.7 on; `clones` would
/// give names, without limit.
pub(super) const COLUMNS: &str = "name,type,guid,createtxg,used,written,referenced,userrefs,numclones,defer_destroy,\
                                  encryption,readonly,receive_resume_token,origin,zhaul:backup";

/// The number of columns.
const COLUMN_COUNT: usize = 15;

/// More rows than any host has; a listing that does not end must not fill the memory. Takes 1 GiB or so.
const ROWS_MAX: usize = 5_000_000;

/// A listing on its way in.
#[derive(Debug, Default)]
pub(super) struct ListingReader {
    datasets: Vec<Dataset>,
    points: HashMap<String, Vec<Point>>,
    row_count: usize,
}

impl ListingReader {
    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        self.row_count += 1;
        if self.row_count > ROWS_MAX {
            return Err(Problem::Protocol(format!("zfs list printed more than {ROWS_MAX} lines")));
        }
        self.read(line).map_err(|why| {
            let start = line.get(..line.len().min(120)).unwrap_or_default();
            let text = start.escape_ascii();
            Problem::Protocol(format!("line {} of zfs list: {why}: \"{text}\"", self.row_count))
        })
    }

    /// What was read. Points whose dataset was not listed (it was made meanwhile) are left out.
    pub(super) fn finish(mut self) -> Listing {
        for dataset in &mut self.datasets {
            if let Some(points) = self.points.remove(dataset.name.as_str()) {
                dataset.history = History::new(points);
            }
        }
        Listing::new(self.datasets)
    }

    fn read(&mut self, line: &[u8]) -> Result<(), String> {
        if line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
            return Err("it has a control character".to_owned());
        }
        let line = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        let columns: Vec<&str> = line.split('\t').collect();
        let count = columns.len();
        let row: [&str; COLUMN_COUNT] =
            columns.try_into().map_err(|_| format!("it has {count} columns instead of {COLUMN_COUNT}"))?;
        match row[1] {
            "snapshot" => self.point(PointKind::Snapshot, &row),
            "bookmark" => self.point(PointKind::Bookmark, &row),
            "filesystem" => self.dataset(DatasetKind::Filesystem, &row),
            "volume" => self.dataset(DatasetKind::Volume, &row),
            other => Err(format!("{other:?} is not a type of dataset")),
        }
    }

    fn point(&mut self, kind: PointKind, row: &[&str; COLUMN_COUNT]) -> Result<(), String> {
        let [name, _, guid, createtxg, used, written, _, userrefs, clones, defer_destroy, ..] = *row;
        let (dataset, point_name) = name
            .split_once(kind.separator())
            .ok_or_else(|| format!("{name:?} is not the name of a point"))?;
        let Ok(point_name) = PointName::new(point_name) else {
            tracing::warn!("{name:?} is passed over: its name is not one that zhaul takes");
            return Ok(());
        };
        let point = Point {
            kind,
            name: point_name,
            guid: Guid(number(guid, "guid")?),
            createtxg: Txg(number(createtxg, "createtxg")?),
            used_bytes: number_or_none(used, "used")?,
            written_bytes: number_or_none(written, "written")?,
            holds: count(number_or_none(userrefs, "userrefs")?),
            clones: count(number_or_none(clones, "numclones")?),
            is_doomed: match defer_destroy {
                "on" | "1" => true,
                "off" | "0" | "-" => false,
                other => return Err(format!("defer_destroy is {other:?}")),
            },
        };
        match self.points.get_mut(dataset) {
            Some(points) => points.push(point),
            None => drop(self.points.insert(dataset.to_owned(), vec![point])),
        }
        Ok(())
    }

    fn dataset(&mut self, kind: DatasetKind, row: &[&str; COLUMN_COUNT]) -> Result<(), String> {
        let [name, _, guid, _, _, written, referenced, _, _, _, encryption, readonly, token, origin, opt_out] =
            *row;
        let Ok(name) = DatasetName::new(name) else {
            tracing::warn!("{name:?} is passed over: its name is not one that zhaul takes");
            return Ok(());
        };
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("receive_resume_token is not a token".to_owned());
        }
        self.datasets.push(Dataset {
            name,
            guid: Guid(number(guid, "guid")?),
            kind,
            encryption: if matches!(encryption, "off" | "-") { Encryption::Off } else { Encryption::On },
            referenced_bytes: number_or_none(referenced, "referenced")?,
            written_bytes: number_or_none(written, "written")?,
            is_readonly: readonly == "on",
            resume_token: (token != "-").then(|| token.to_owned()),
            origin: if origin == "-" { None } else { SnapshotName::parse(origin).ok() },
            is_opted_out: opt_out == "off",
            history: History::default(),
        });
        Ok(())
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

    fn read(lines: &[&[u8]]) -> Result<Listing, Problem> {
        let mut reader = ListingReader::default();
        for line in lines {
            reader.take(line)?;
        }
        Ok(reader.finish())
    }

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    const VOLUME: &[u8] =
        b"tank/vm 1/disk\tvolume\t7\t3\t900\t10\t800\t-\t-\t-\taes-256-gcm\ton\t1-a-f0-78\ttank/base@x\toff";
    const SNAPSHOT: &[u8] =
        b"tank/vm 1/disk@a b\tsnapshot\t18446744073709551615\t9\t5\t6\t800\t2\t1\ton\taes-256-gcm\t-\t-\t-\t-";
    const BOOKMARK: &[u8] = b"tank/vm 1/disk#a\tbookmark\t5\t4\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-";

    #[test]
    fn every_column_finds_its_place() {
        let listing = read(&[SNAPSHOT, VOLUME, BOOKMARK]).unwrap();
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
            (points[0].kind, points[0].guid, points[0].createtxg),
            (PointKind::Bookmark, Guid(5), Txg(4))
        );
        let snapshot = points[1];
        assert_eq!((snapshot.guid, snapshot.name.as_str()), (Guid(u64::MAX), "a b"));
        assert_eq!((snapshot.used_bytes, snapshot.written_bytes), (5, 6));
        assert_eq!((snapshot.holds, snapshot.clones, snapshot.is_doomed), (2, 1, true));
    }

    #[test]
    fn a_plain_dataset_has_no_more_than_it_says() {
        let line = b"tank\tfilesystem\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-";
        let listing = read(&[line]).unwrap();
        let dataset = listing.get(&name("tank")).unwrap();
        assert_eq!(dataset.encryption, Encryption::Off);
        assert_eq!((dataset.resume_token.as_deref(), &dataset.origin), (None, &None));
        assert!(!dataset.is_opted_out && !dataset.is_readonly && dataset.history.is_empty());
    }

    #[test]
    fn lines_that_lie_are_refused_with_their_number() {
        let bad: [(&[u8], &str); 8] = [
            (b"", "1 columns"),
            (b"tank", "1 columns"),
            (b"tank\tfilesystem\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-\t-", "16 columns"),
            (b"tank\tfilesystem\t-7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-", "guid is \"-7\""),
            (b"tank\tfilesystem\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\tx;y\t-\t-", "not a token"),
            (b"tank\tpool\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-", "not a type"),
            (b"ta\x1b[2Jnk\tfilesystem\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-", "control character"),
            (b"ta\xffnk\tfilesystem\t7\t1\t9\t0\t8\t-\t-\t-\toff\toff\t-\t-\t-", "not UTF-8"),
        ];
        for (line, why) in bad {
            let error = read(&[VOLUME, line]).unwrap_err();
            assert!(matches!(error, Problem::Protocol(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(why) && text.contains("line 2"), "{text}");
            assert!(!text.contains('\x1b'), "{text}");
        }
    }

    #[test]
    fn names_of_others_that_we_cannot_say_are_passed_over() {
        let odd = b"tank/vm 1/disk@%x\tsnapshot\t1\t9\t5\t6\t8\t0\t0\toff\toff\t-\t-\t-\t-";
        let listing = read(&[VOLUME, odd]).unwrap();
        assert!(listing.get(&name("tank/vm 1/disk")).unwrap().history.is_empty());
    }
}
