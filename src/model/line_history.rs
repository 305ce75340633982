//! The moments at which a dataset left its line, from its pool's history.

use super::{Point, Txg};

/// When a dataset left its line, as far as the history of its pool reaches back: each `zfs rollback` and each receive into it
/// swaps its contents, and `zpool history -i` records that (`clone swap`, `dsl_dataset_clone_swap_sync_impl`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineHistory {
    /// From when on every swap is known; `None` where nothing is.
    pub known_from: Option<Txg>,
    /// The data that each swap left: all that was written after the first and until the second transaction group.
    pub left: Vec<(Txg, Txg)>,
}

impl LineHistory {
    /// Whether it is recorded that the dataset left what was written in `txg`.
    pub fn left(&self, txg: Txg) -> bool {
        self.left.iter().any(|(after, until)| *after < txg && txg < *until)
    }

    /// Whether `bookmark` is an earlier point of the present line of a dataset that was created in `created`. Older points came
    /// with `zfs promote` from another dataset.
    pub fn proves(&self, created: Txg, bookmark: &Point) -> bool {
        let txg = bookmark.createtxg;
        let is_known = self.known_from.is_some_and(|from| from.max(created) <= txg);
        is_known && !self.left(txg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guid, PointKind, PointName};

    #[test]
    fn a_bookmark_is_on_the_line_where_no_swap_took_it() {
        let history = LineHistory { known_from: Some(Txg(10)), left: vec![(Txg(20), Txg(30))] };
        let proves = |created, txg| {
            let (name, guid) = (PointName::new("b").unwrap(), Guid(txg));
            let (kind, createtxg) = (PointKind::Bookmark, Txg(txg));
            let point = Point { kind, name, guid, createtxg, clones: 0, details: None };
            history.proves(Txg(created), &point)
        };
        let cases = [(9, false), (10, true), (20, true), (21, false), (29, false), (30, true), (99, true)];
        for (txg, expected) in cases {
            assert_eq!(proves(1, txg), expected, "{txg}");
        }
        assert!(!proves(16, 15), "it came from another dataset");
        assert!(!LineHistory::default().proves(
            Txg(0),
            &Point {
                kind: PointKind::Bookmark,
                name: PointName::new("b").unwrap(),
                guid: Guid(1),
                createtxg: Txg(5),
                clones: 0,
                details: None
            }
        ));
    }
}
