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
mod tests {
    use super::*;

    fn ask(lines: &[&[u8]], status: i32, errors: &str) -> Result<Vec<Option<Details>>, Problem> {
        let names = ["tank/a@x", "tank/a@y 1"];
        let snapshots: Vec<_> = names
            .iter()
            .zip([7, 8])
            .map(|(name, guid)| (SnapshotName::parse(name).unwrap(), Guid(guid)))
            .collect();
        let mut reader = DetailsReader::default();
        lines.iter().try_for_each(|line| reader.take(line))?;
        reader.finish(
            &snapshots,
            &names.map(str::to_owned),
            CompletedCommand { status, errors: errors.to_owned() },
        )
    }

    const X: &[u8] = b"tank/a@x\t7\t2\ton\t5\t6";
    const Y: &[u8] = b"tank/a@y 1\t8\t0\toff\t0\t9";

    #[test]
    fn each_snapshot_gets_its_own_details() {
        let x = Details { used_bytes: 5, written_bytes: 6, holds: 2, is_destroy_deferred: true };
        let y = Details { used_bytes: 0, written_bytes: 9, holds: 0, is_destroy_deferred: false };
        assert_eq!(ask(&[Y, X], 0, "").unwrap(), [Some(x), Some(y)]);
        let gone = "cannot open 'tank/a@y 1': dataset does not exist";
        assert_eq!(ask(&[X], 1, gone).unwrap(), [Some(x), None]);
        let other: &[u8] = b"tank/a@y 1\t9\t0\toff\t0\t9";
        assert_eq!(ask(&[X, other], 0, "").unwrap(), [Some(x), None], "the name is another's by now");
    }

    #[test]
    fn an_answer_with_holes_is_an_error() {
        let gone = "cannot open 'tank/a@y 1': dataset does not exist";
        let bad: [(&[&[u8]], i32, &str); 7] = [
            (&[X], 0, ""),
            (&[X], 1, ""),
            (&[X], 1, "cannot open 'tank/a@z': dataset does not exist"),
            (&[X], 1, &format!("{gone}; internal error")),
            (&[X], 2, gone),
            (&[X, Y], 1, gone),
            (&[], 1, "permission denied"),
        ];
        for (lines, status, errors) in bad {
            let result = ask(lines, status, errors);
            assert!(result.is_err(), "{status} {errors:?}: {result:?}");
        }
    }

    #[test]
    fn lines_that_lie_are_refused_with_their_number() {
        let bad: [(&[u8], &str); 5] = [
            (b"tank/a@y 1", "1 columns"),
            (b"tank/a@y 1\t8\t-1\toff\t0\t9", "\"-1\" is not a number"),
            (b"tank/a@y 1\t8\t0\tmaybe\t0\t9", "defer_destroy is \"maybe\""),
            (b"tank/\xff@y\t8\t0\toff\t0\t9", "not UTF-8"),
            (X, "listed before"),
        ];
        for (line, why) in bad {
            let text = ask(&[X, line], 0, "").unwrap_err().to_string();
            assert!(text.contains(why) && text.contains("line 2"), "{text}");
        }
    }
}
