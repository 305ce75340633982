//! Findings about lineages that were set aside, or are to be. `cli/render` has the words.

use jiff::Timestamp;
use serde::Serialize;

use super::{FindingKind, Reason};
use crate::model::{ByteCount, DatasetName, Month, PointName};

/// One finding. Names are those of the finding's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AsideFinding {
    /// The lineage of a copy is set aside, and the copy continues.
    SetAside {
        /// The copy.
        copy: DatasetName,
        /// The snapshot from which the copy continues; `None` where it starts over.
        base: Option<PointName>,
        /// The snapshots that only the lineage that is set aside has.
        newer: Vec<PointName>,
        /// How much was written after the newest of them.
        written_bytes: ByteCount,
        /// Why.
        because: Reason,
        /// For how many hours it stays; `None`: for ever.
        keep_hours: Option<i64>,
    },
    /// A copy is to be set aside for the same cause again, after a short time: another program keeps changing it.
    SetAsideAgain {
        /// The copy.
        copy: DatasetName,
        /// The lineage that was set aside before.
        earlier: DatasetName,
        /// The snapshots that are not zhaul's.
        newer: Vec<PointName>,
    },
    /// A copy on an append-only target was set aside a short time ago, and is to be again.
    SetAsideTooSoon {
        /// The copy.
        copy: DatasetName,
        /// The lineage that was set aside before.
        earlier: DatasetName,
        /// When the target sets another one aside.
        until: Timestamp,
    },
    /// A copy whose setting aside this run finishes is to be set aside again.
    SetAsideUnfinished {
        /// The copy.
        copy: DatasetName,
    },
    /// The target's root is itself a copy that cannot continue, and it is never renamed.
    RootMisfit {
        /// The root.
        copy: DatasetName,
        /// Why it cannot continue.
        because: Reason,
    },
    /// The name of a copy is that of a lineage that was set aside.
    NameIsSetAside {
        /// The name.
        copy: DatasetName,
    },
    /// The source knows newer snapshots of a lineage that was set aside.
    KnownSetAside {
        /// The copy.
        copy: DatasetName,
        /// The lineage.
        aside: DatasetName,
        /// The newest one.
        snapshot: PointName,
    },
    /// Months that only a lineage has that was set aside.
    MonthsSetAside {
        /// Which, oldest first.
        months: Vec<Month>,
        /// The lineages.
        lineages: Vec<DatasetName>,
    },
    /// A lineage that an earlier zhaul renamed, and that carries no mark.
    UnmarkedLineage {
        /// The copy whose lineage it was, by its name.
        copy: DatasetName,
        /// The lineage.
        lineage: DatasetName,
        /// The mark that would let it expire.
        mark: String,
    },
    /// A lineage that was set aside has expired, but stays.
    ExpiredStays {
        /// The lineage.
        copy: DatasetName,
        /// Why.
        because: StaysBecause,
    },
}

impl From<AsideFinding> for FindingKind {
    fn from(finding: AsideFinding) -> Self {
        Self::Aside(finding)
    }
}

/// Why an expired lineage stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaysBecause {
    /// The copy has no complete snapshot of the same writer from after the lineage was set aside.
    NoSuccessor,
    /// A partial receive.
    PartialReceive,
    /// Other datasets are below it.
    Children,
    /// These points are not zhaul's.
    Foreign(Vec<PointName>),
    /// These snapshots are held or cloned.
    InUse(Vec<PointName>),
}
