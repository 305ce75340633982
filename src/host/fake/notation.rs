//! Histories as short texts, so that a planner test is one line: `history("#a @b @c")`.
//!
//! Words are points, oldest first. `@` is a snapshot, `#` a bookmark; the letters after it are its identity, so that `@b`
//! at the source and `@b` at the target are the same snapshot. After `=` its name, where it is not the one that the
//! letters stand for; after `!` marks: `h` held, `c` cloned, `d` with a deferred destroy.

use crate::model::{Details, Guid, History, NameError, Point, PointKind, PointName, Txg};

/// The history that `text` describes; a point's name is its letters.
pub fn history(text: &str) -> Result<History, NameError> {
    history_with(text, str::to_owned)
}

/// The history that `text` describes; `name` makes a point's name of its letters, for example a date.
pub fn history_with(text: &str, name: impl Fn(&str) -> String) -> Result<History, NameError> {
    let mut points: Vec<Point> = Vec::new();
    for word in text.split_whitespace() {
        let (body, marks) = word.split_once('!').unwrap_or((word, ""));
        let (identity, given) =
            body.split_once('=').map_or((body, None), |(identity, name)| (identity, Some(name)));
        let kind = if identity.starts_with('#') { PointKind::Bookmark } else { PointKind::Snapshot };
        let letters = identity.trim_start_matches(['@', '#']);
        let guid = guid_of(letters);
        let known = points.iter().find(|point| point.guid == guid).map(|point| point.createtxg);
        let createtxg = known.unwrap_or_else(|| Txg(10 * u64::try_from(points.len() + 1).unwrap_or(0)));
        points.push(Point {
            kind,
            name: PointName::new(&given.map_or_else(|| name(letters), str::to_owned))?,
            guid,
            createtxg,
            clones: u32::from(marks.contains('c')),
            details: Some(Details {
                holds: u32::from(marks.contains('h')),
                is_destroy_deferred: marks.contains('d'),
                ..Details::default()
            }),
        });
    }
    Ok(History::new(points))
}

/// The GUID that the letters stand for: their bytes, so that it reads back in a debugger.
fn guid_of(letters: &str) -> Guid {
    Guid(letters.bytes().fold(0, |guid, byte| (guid << 8) | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_point() {
        let parsed = history("#a @a @b=manual!h #b").unwrap();
        let seen: Vec<_> = parsed
            .points()
            .map(|point| (point.kind, point.name.as_str(), point.details.unwrap().holds))
            .collect();
        let (snapshot, bookmark) = (PointKind::Snapshot, PointKind::Bookmark);
        assert_eq!(
            seen,
            [(snapshot, "a", 0), (bookmark, "a", 0), (snapshot, "manual", 1), (bookmark, "b", 0)]
        );
        let guids: Vec<_> = parsed.points().map(|point| point.guid).collect();
        assert!(guids[0] == guids[1] && guids[2] == guids[3] && guids[1] != guids[2]);
    }
}
