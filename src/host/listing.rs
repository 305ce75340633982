//! Reads what `zfs` prints of a machine's datasets and points into a [`Listing`], line by line as it comes.
//!
//! Two calls (`ask`), since properties of a dataset are slow to read, and points are far more numerous: `zfs list`
//! gives every name with the columns that the kernel has at hand, for points and datasets alike (`points`). `zfs get`
//! gives the properties of datasets alone (`properties`). The kernel's fast path lists points only if every column
//! allows that path (`zfs_list_only_by_fast`; `type` does not, so the kind of a point is read off its name).
//!
//! The host is not trusted: a line with the wrong number of columns, a control character or a number that is none is an
//! error of the whole listing. A dataset that is only in one of the two answers, or another one there, or that has a
//! name which no ZFS known to zhaul allows, is left out and said to be so: it must be taken neither for absent nor for
//! one without points. The value of a property that anyone may set is taken as it is, whatever it looks like.

mod ask;
mod points;
mod properties;

use super::Problem;
use crate::model::{DatasetName, Listing, Unlisted};

pub(super) use ask::is_of_machine;
pub(super) use properties::is_token;

use points::PointsReader;
use properties::DatasetsReader;

/// More rows than any host has; a listing that does not end must not fill the memory. Takes 1 GiB or so.
const ROWS_MAX: usize = 5_000_000;

/// Counts lines, refuses what cannot be one, and puts its number to what is wrong with it.
#[derive(Debug)]
struct Rows {
    command: &'static str,
    count: usize,
}

impl Rows {
    fn take(&mut self, line: &[u8], read: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<(), Problem> {
        self.count += 1;
        if self.count > ROWS_MAX {
            return Err(Problem::Protocol(format!("{} printed more than {ROWS_MAX} lines", self.command)));
        }
        read(line).map_err(|why| {
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

fn number(text: &str, column: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{column} is {text:?}"))
}

/// A property that this kind of dataset has not is printed as `-`.
fn number_or_none(text: &str, column: &str) -> Result<u64, String> {
    if text == "-" { Ok(0) } else { number(text, column) }
}

/// Puts the two answers together. A dataset that only one of them has, or that differs, is left out and its name
/// returned: it was created, destroyed or renamed between the two, or the answer was cut off.
fn join(datasets: DatasetsReader, points: PointsReader) -> (Listing, Vec<String>) {
    let (mut datasets, cut_off) = datasets.finish();
    let mut torn: Vec<String> = cut_off.into_iter().collect();
    let mut listing = Listing::default();
    let mut listed = Vec::with_capacity(datasets.len());
    for (name, history) in points.finish() {
        let found = datasets.remove(&name).filter(|found| Some(found.guid()) == history.guid);
        let Some(found) = found else {
            torn.push(name);
            continue;
        };
        match (DatasetName::new(&name), history.bad_name) {
            (Ok(name), None) => listed.push(found.into_dataset(name, history.points)),
            (Ok(_), Some(bad)) => listing.mark_unlisted(name, Unlisted::BadName(bad)),
            (Err(_), _) => listing.mark_unlisted(name.clone(), Unlisted::BadName(name)),
        }
    }
    torn.extend(datasets.into_keys());
    listing.absorb(Listing::new(listed));
    (listing, torn)
}

#[cfg(test)]
mod tests;
