//! The proof that an own snapshot gives for the bookmarks of its dataset.
//!
//! `zfs receive -F` destroys the snapshots of a dataset that are newer than the stream's base, but not their bookmarks, and
//! ZFS takes such a bookmark as an incremental source although the dataset has left it: the stream lacks what differs, and
//! the copy gets other bytes under the right GUID. Nothing in a bookmark shows that. Snapshots do: all that exist are
//! on the dataset's present line.
//!
//! So each own snapshot gets, in the very call that takes it, the user property [`LINEAGE_PROPERTY`]: every bookmark from
//! a transaction group on is an earlier point of its line. That holds as long as the snapshot exists, since its past cannot
//! change. The property counts only where it was set here: a snapshot that was received has it as `received`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Guid, Point, PointKind, Txg, UserProperty};

/// On an own snapshot: which bookmarks are earlier points of its line. On a source dataset: that its snapshots are marked so
/// from now on. Counts only where it is local.
pub const LINEAGE_PROPERTY: &str = "zhaul:lineage";

/// The form of the value.
const VERSION: &str = "1";

/// `zfs set` takes 8 KiB.
const VALUE_BYTES_MAX: usize = 6 << 10;

/// Bookmarks, of any name, that are earlier points of a snapshot's line: those from a transaction group on, with exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// The transaction group from which on.
    pub since: Txg,
    /// The transaction groups of bookmarks of which this is not certain.
    pub except: Vec<Txg>,
}

/// A snapshot's statement about its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineageMark {
    /// Nothing: it was not taken by zhaul, or before zhaul marked its snapshots.
    Absent,
    /// Nothing that counts: it was received, inherits the property, or cannot be read.
    Void,
    /// A proof: which bookmarks are earlier points of its line, as far as they are not newer than it.
    Proof(Claim),
}

impl LineageMark {
    /// Reads the property of a snapshot of the dataset with this GUID.
    pub fn read(property: Option<&UserProperty>, dataset: Guid) -> Self {
        let Some(property) = property else { return Self::Absent };
        let proof = Claim::read(&property.value, dataset).filter(|_| property.is_local);
        proof.map_or(Self::Void, Self::Proof)
    }
}

impl Claim {
    /// How many exceptions one may have.
    pub const EXCEPT_MAX: usize = 16;

    /// `SINCE`, or `SINCE-EXCEPTION-EXCEPTION`.
    fn write(&self) -> String {
        let numbers = [self.since].into_iter().chain(self.except.iter().copied());
        numbers.map(|txg| txg.0.to_string()).collect::<Vec<_>>().join("-")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|number| number.parse().ok().map(Txg));
        let since = numbers.next()??;
        let except: Vec<Txg> = numbers.collect::<Option<_>>()?;
        (except.len() <= Self::EXCEPT_MAX).then_some(Self { since, except })
    }

    /// The property's value for a call that takes snapshots of several datasets, given by their GUIDs: all of them get the
    /// same one. Where it would be too long, less is claimed.
    pub fn write_all(claims: &BTreeMap<Guid, Self>) -> String {
        let mut counts: BTreeMap<&Self, usize> = BTreeMap::new();
        for claim in claims.values() {
            *counts.entry(claim).or_default() += 1;
        }
        let common = counts.iter().max_by_key(|(_, count)| **count).map(|(claim, _)| (*claim).clone());
        let common = common.unwrap_or_default();
        let others = claims.iter().filter(|(_, claim)| **claim != common);
        let others: Vec<String> = others.map(|(guid, claim)| format!("{guid}={}", claim.write())).collect();
        let others = if others.is_empty() { "-".to_owned() } else { others.join(",") };
        let value = format!("{VERSION} {} {others}", common.write());
        if value.len() <= VALUE_BYTES_MAX {
            return value;
        }
        let latest = |claim: &Self| {
            claim.except.iter().map(|txg| Txg(txg.0.saturating_add(1))).max().max(Some(claim.since))
        };
        let since = claims.values().filter_map(latest).max().unwrap_or_default();
        format!("{VERSION} {} -", since.0)
    }

    /// The claim that the property's value makes for the dataset with this GUID.
    pub fn read(value: &str, dataset: Guid) -> Option<Self> {
        let [VERSION, common, others] = value.split(' ').collect::<Vec<_>>()[..] else { return None };
        let mut claim = Self::parse(common)?;
        for other in others.split(',').filter(|_| others != "-") {
            let (guid, own) = other.split_once('=')?;
            let (guid, own) = (Guid(guid.parse().ok()?), Self::parse(own)?);
            if guid == dataset {
                claim = own;
            }
        }
        Some(claim)
    }

    /// Whether `bookmark` is an earlier point of the line of `snapshot`, which has this proof, in a dataset that was created
    /// in `created`. Older points came with `zfs promote` from another dataset, of which the proof says nothing.
    pub fn covers(&self, created: Txg, snapshot: &Point, bookmark: &Point) -> bool {
        bookmark.kind == PointKind::Bookmark
            && self.since.max(created) <= bookmark.createtxg
            && !self.except.contains(&bookmark.createtxg)
            && bookmark.createtxg <= snapshot.createtxg
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PointName;

    fn point(kind: PointKind, name: &str, txg: u64) -> Point {
        let (name, guid) = (PointName::new(name).unwrap(), Guid(txg));
        Point { kind, name, guid, createtxg: Txg(txg), clones: 0, details: None }
    }

    fn claim(since: u64, except: &[u64]) -> Claim {
        Claim { since: Txg(since), except: except.iter().copied().map(Txg).collect() }
    }

    #[test]
    fn each_dataset_reads_its_own_claim() {
        let claims = BTreeMap::from([
            (Guid(1), claim(0, &[])),
            (Guid(2), claim(77, &[80, 90])),
            (Guid(3), claim(0, &[])),
        ]);
        let value = Claim::write_all(&claims);
        assert_eq!(value, "1 0 2=77-80-90");
        for (dataset, claim) in claims {
            assert_eq!(Claim::read(&value, dataset), Some(claim));
        }
        assert_eq!(Claim::write_all(&BTreeMap::new()), "1 0 -");
    }

    #[test]
    fn where_there_is_no_room_less_is_claimed() {
        let claims = (0..5_000).map(|n| (Guid(u64::MAX - n), claim(n % 7, &[n % 11])));
        let value = Claim::write_all(&claims.collect());
        assert!(value.len() < 8 << 10, "{}", value.len());
        assert_eq!(Claim::read(&value, Guid(u64::MAX)), Some(claim(11, &[])));
    }

    #[test]
    fn what_is_not_exactly_a_proof_is_none() {
        for bad in [
            "",
            "-",
            "1",
            "1 0",
            "1 0 - more",
            "2 0 -",
            "1 x -",
            "1 -1 -",
            "1 0- -",
            "1 0 7",
            "1 0 7=8,",
            "1  0 -",
        ] {
            assert_eq!(Claim::read(bad, Guid(1)), None, "{bad:?}");
        }
    }

    #[test]
    fn it_covers_bookmarks_between_its_start_and_its_snapshot() {
        let proof = claim(20, &[22]);
        let snapshot = point(PointKind::Snapshot, "2026-01-05-000000", 50);
        let covers = |created, name, txg| {
            proof.covers(Txg(created), &snapshot, &point(PointKind::Bookmark, name, txg))
        };
        let own = "2026-01-01-000000";
        let cases = [(19, false), (20, true), (22, false), (50, true), (51, false)];
        for (txg, expected) in cases {
            assert_eq!(covers(1, own, txg), expected, "{txg}");
        }
        assert!(!covers(30, own, 25) && covers(30, own, 30), "received from another dataset");
        assert!(
            covers(1, "syncoid_pve0_2026-01-01", 30),
            "a bookmark can be a copy of another one, under any name"
        );
    }
}
