//! Reads the rows of `zfs list` for single snapshots that were asked for by name.

use std::collections::HashMap;

use super::session::CompletedCommand;
use super::{Problem, zfs_errors};
use crate::model::{Details, Guid, SnapshotName};

/// What `zfs list -o` is asked for; every column but the first two costs a look at the snapshot itself.
pub(super) const COLUMNS: &str = "name,guid,userrefs,defer_destroy,used,written";

/// An answer on its way in.
#[derive(Debug, Default)]
pub(super) struct DetailsReader {
    found: HashMap<String, (Guid, Details)>,
    row_count: usize,
}

impl DetailsReader {
    /// Takes one line without its end.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        self.row_count += 1;
        let read = read(line).map(|(name, guid, details)| self.found.insert(name, (guid, details)));
        match read {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(self.refuse(line, "this snapshot was listed before")),
            Err(why) => Err(self.refuse(line, &why)),
        }
    }

    fn refuse(&self, line: &[u8], why: &str) -> Problem {
        let text = line.get(..line.len().min(120)).unwrap_or_default().escape_ascii();
        Problem::Protocol(format!("line {} of zfs list: {why}: \"{text}\"", self.row_count))
    }

    /// The details of each snapshot. `zfs` must have reported each missing snapshot as missing: an answer with a hole
    /// in it is an error.
    pub(super) fn finish(
        self,
        snapshots: &[(SnapshotName, Guid)],
        names: &[String],
        answer: CompletedCommand,
    ) -> Result<Vec<Option<Details>>, Problem> {
        let missing = names.iter().filter(|name| !self.found.contains_key(*name));
        let missing: Vec<String> =
            missing.map(|name| format!("cannot open '{name}': dataset does not exist")).collect();
        let said: Vec<&str> = answer.errors.split("; ").filter(|said| !said.is_empty()).collect();
        let is_explained = missing.iter().all(|sentence| said.contains(&sentence.as_str()))
            && said.iter().all(|said| missing.iter().any(|sentence| sentence == said));
        match answer.status {
            0 if missing.is_empty() => {}
            0 => return Err(Problem::Protocol("zfs list left out what it was asked for".to_owned())),
            1 if is_explained => {}
            _ => return Err(zfs_errors::problem(answer)),
        }
        let details = snapshots.iter().zip(names).map(|((_, guid), name)| {
            self.found.get(name).filter(|(found, _)| found == guid).map(|(_, details)| *details)
        });
        Ok(details.collect())
    }
}

fn read(line: &[u8]) -> Result<(String, Guid, Details), String> {
    let line = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, guid, holds, defer_destroy, used, written] = columns.as_slice() else {
        return Err(format!("it has {} columns instead of 6", columns.len()));
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
    let details = Details {
        used_bytes: number(used)?,
        written_bytes: number(written)?,
        holds: u32::try_from(number(holds)?).unwrap_or(u32::MAX),
        is_destroy_deferred: match *defer_destroy {
            "on" | "1" => true,
            "off" | "0" => false,
            other => return Err(format!("defer_destroy is {other:?}")),
        },
    };
    Ok(((*name).to_owned(), Guid(number(guid)?), details))
}

#[cfg(test)]
mod tests;
