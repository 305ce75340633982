//! A point: a snapshot or a bookmark, and what identifies and orders it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PointName;

/// The `guid` property: identifies a dataset, or a point wherever it is kept. A snapshot that was received, renamed or
/// bookmarked keeps it (zfsprops(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub u64);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// As text: most readers of JSON keep numbers as doubles and would round a 64-bit GUID.
impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Guid {
    /// Six hexadecimal digits that distinguish two points of one name.
    pub fn short(self) -> String {
        format!("{:06x}", self.0 & 0xff_ffff)
    }
}

/// The `createtxg` property: the transaction group in which a point was made. Orders the points of one pool, and means
/// nothing across pools. A bookmark has its snapshot's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Txg(pub u64);

/// Which of the two a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PointKind {
    /// Holds data; can be sent, and can be a base.
    Snapshot,
    /// Holds only a place in history; can be a base at the source.
    Bookmark,
}

impl PointKind {
    /// The character between the dataset's name and the point's.
    pub fn separator(self) -> char {
        match self {
            Self::Snapshot => '@',
            Self::Bookmark => '#',
        }
    }
}

/// One snapshot or bookmark as a host listed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Snapshot or bookmark.
    pub kind: PointKind,
    /// Its name within the dataset: for people, and to address it; never to identify it.
    pub name: PointName,
    /// The GUID, which identifies it.
    pub guid: Guid,
    /// The transaction group, which orders it within its pool.
    pub createtxg: Txg,
    /// How many clones depend on a snapshot and keep it from being destroyed.
    pub clones: u32,
    /// Details of a snapshot that ZFS reports only slowly, so a listing leaves them out: `None` until they are needed
    /// and asked for. Nothing is ever destroyed without them.
    pub details: Option<Details>,
}

/// Details that are only asked of the snapshots for which they matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The `used` property: bytes that only this snapshot keeps, so what destroying it alone frees.
    pub used_bytes: u64,
    /// The `written` property: bytes written between the one before it and this one.
    pub written_bytes: u64,
    /// The `userrefs` property: how many user holds keep it from being destroyed.
    pub holds: u32,
    /// Marked by `zfs destroy -d`: will vanish when its last hold or clone goes, so nothing may build on it.
    pub is_destroy_deferred: bool,
}

impl Details {
    /// Those of every bookmark: it takes no space, and nothing keeps it.
    pub const BOOKMARK: Self = Self { used_bytes: 0, written_bytes: 0, holds: 0, is_destroy_deferred: false };
}

impl Point {
    /// Whether this is a snapshot that can be built on, as far as is known.
    pub fn is_snapshot(&self) -> bool {
        self.kind == PointKind::Snapshot && !self.is_destroy_deferred()
    }

    /// Whether it is known to vanish by itself.
    pub fn is_destroy_deferred(&self) -> bool {
        self.details.is_some_and(|details| details.is_destroy_deferred)
    }

    /// Whether ZFS itself would refuse to destroy it now; so would zhaul where that is not known.
    pub fn is_held_or_cloned(&self) -> bool {
        self.is_held_or_cloned_but_for(0)
    }

    /// The same as soon as `clones` of its clones are gone.
    pub fn is_held_or_cloned_but_for(&self, clones: u32) -> bool {
        self.clones > clones || self.details.is_none_or(|details| details.holds > 0)
    }
}
