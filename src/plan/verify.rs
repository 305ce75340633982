//! Whether each copy is what its source says: point by point by GUID, and whether a receive that broke off can resume.
//! Pure, from an inventory alone; no block is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::Selected;
use super::comparison::{Comparison, GuidIndex};
use super::status::{copy_of, selected_and_named};
use super::trust::Trust;
use crate::model::{
    ByteCount, Dataset, DatasetName, Guid, History, Inventory, NameFormat, PointName, ResumeToken, TargetName,
};
use crate::policy::Policy;

/// One dataset on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyCheck {
    /// The source dataset.
    pub dataset: DatasetName,
    /// The target.
    pub target: TargetName,
    /// The copy's name there; `None` where no copy exists, or none is known.
    pub copy: Option<DatasetName>,
    /// The state of its snapshots.
    #[serde(flatten)]
    pub chain: Chain,
    /// A receive that broke off.
    pub partial: Option<Partial>,
}

/// How the snapshots of a copy stand to the points of its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "chain", rename_all = "kebab-case")]
pub enum Chain {
    /// The target or the copy could not be listed.
    NotKnown {
        /// Why.
        why: String,
    },
    /// There is no snapshot of it.
    Nothing,
    /// No snapshot has the GUID of any point of the source.
    Diverged {
        /// How many there are.
        snapshots: usize,
    },
    /// It continues from a point that both have.
    GoesOn {
        /// The newest one.
        newest_common: PointName,
        /// How many snapshots the copy has.
        snapshots: usize,
        /// How many of them the source still knows by GUID, as a snapshot or a bookmark.
        known: usize,
        /// How many own snapshots of the source are newer.
        behind: usize,
        /// How many snapshots of the copy are newer, and unknown to the source.
        unknown: usize,
        /// Own snapshots of the copy that the source has under this name with another GUID: another moment.
        other_moments: Vec<PointName>,
        /// Snapshots that come before one which the source has before them.
        out_of_order: Vec<PointName>,
    },
}

/// A receive that broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Partial {
    /// Its token cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// The source has the snapshot no more.
    SourceGone {
        /// The snapshot, as it was called when the stream began.
        snapshot: String,
    },
    /// The copy has no snapshot any more on which the rest of the stream could be put.
    BaseGone {
        /// The snapshot, as it was called when the stream began.
        snapshot: String,
    },
    /// The next run resumes it.
    GoesOn {
        /// The snapshot, as it was called when the stream began.
        snapshot: String,
        /// The data that has arrived.
        received_bytes: ByteCount,
    },
}

/// Every copy of every dataset that the policy selects; `Err` says why the source could not be asked.
pub fn check_copies(
    policy: &Policy,
    inventory: &Inventory,
    now: Timestamp,
) -> Result<Vec<CopyCheck>, String> {
    let (selected, names) = selected_and_named(policy, inventory, now)?;
    let of = |one: &Selected<'_>| {
        let checks = policy.targets.iter().map(|target| {
            let found = copy_of(inventory, target, names.get(&target.name), one);
            let (copy, chain, partial) = match found {
                Err(why) => (None, Chain::NotKnown { why }, None),
                Ok(None) => (None, Chain::Nothing, None),
                Ok(Some(there)) => (
                    Some(there.name.clone()),
                    chain(&policy.name_format, one.dataset, there),
                    partial(one.dataset, there),
                ),
            };
            let (dataset, target) = (one.dataset.name.clone(), target.name.clone());
            CopyCheck { dataset, target, copy, chain, partial }
        });
        checks.collect::<Vec<_>>()
    };
    Ok(selected.iter().flat_map(of).collect())
}

fn chain(format: &NameFormat, source: &Dataset, copy: &Dataset) -> Chain {
    let snapshots = copy.history.snapshots().count();
    if snapshots == 0 {
        return Chain::Nothing;
    }
    let index = GuidIndex::new(&source.history);
    let comparison = Comparison::as_listed(&index, &Trust::new(source, format), &copy.history);
    let Some(common) = comparison.common.map(|common| common.source) else {
        return Chain::Diverged { snapshots };
    };
    let newer = source.history.snapshots().filter(|point| point.createtxg > common.createtxg);
    Chain::GoesOn {
        newest_common: common.name.clone(),
        snapshots,
        known: copy.history.snapshots().filter(|point| index.find(point.guid).is_some()).count(),
        behind: newer.filter(|point| format.is_own(&point.name)).count(),
        unknown: comparison.unknown.len(),
        other_moments: other_moments(format, &source.history, &copy.history),
        out_of_order: out_of_order(&index, &copy.history),
    }
}

/// Own names are moments, so one name with two GUIDs is a false one. Others may use a name of theirs again.
fn other_moments(format: &NameFormat, source: &History, copy: &History) -> Vec<PointName> {
    let here: BTreeMap<&PointName, Guid> =
        source.snapshots().map(|point| (&point.name, point.guid)).collect();
    let other = copy.snapshots().filter(|point| {
        format.is_own(&point.name) && here.get(&point.name).is_some_and(|guid| *guid != point.guid)
    });
    other.map(|point| point.name.clone()).collect()
}

fn out_of_order(index: &GuidIndex<'_>, copy: &History) -> Vec<PointName> {
    let known = copy.snapshots().filter_map(|point| Some((point, index.find(point.guid)?.createtxg)));
    let (mut latest, mut odd) = (None, Vec::new());
    for (point, txg) in known {
        if latest.is_some_and(|latest| txg < latest) {
            odd.push(point.name.clone());
        }
        latest = latest.max(Some(txg));
    }
    odd
}

fn partial(source: &Dataset, copy: &Dataset) -> Option<Partial> {
    let token = match ResumeToken::parse(copy.resume_token.as_deref()?) {
        Ok(token) => token,
        Err(error) => return Some(Partial::Unreadable { why: error.to_string() }),
    };
    let snapshot = token.to_name;
    let is_there = |history: &History, guid| history.find_snapshot(guid).is_some();
    Some(if !is_there(&source.history, token.to_guid) {
        Partial::SourceGone { snapshot }
    // What a clone begins at is in another dataset.
    } else if copy.origin.is_none() && token.from_guid.is_some_and(|guid| !is_there(&copy.history, guid)) {
        Partial::BaseGone { snapshot }
    } else {
        Partial::GoesOn { snapshot, received_bytes: ByteCount(token.received_bytes) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::history_with;
    use crate::model::DatasetKind;

    /// A dataset with these points: letters from `a` are days.
    fn dataset(text: &str) -> Dataset {
        let day = |letters: &str| {
            let day = letters.bytes().next().map_or(0, |letter| letter - b'a' + 1);
            format!("2026-01-{day:02}-030000")
        };
        let mut dataset =
            Dataset::new(DatasetName::new("rpool/data/x").unwrap(), Guid(1), DatasetKind::Volume);
        dataset.history = history_with(text, day).unwrap();
        dataset
    }

    fn summary(source: &str, copy: &str) -> String {
        let format = NameFormat::new(NameFormat::DEFAULT).unwrap();
        let days = |names: &[PointName]| names.iter().map(|name| name.as_str()[8..10].to_owned()).collect();
        match chain(&format, &dataset(source), &dataset(copy)) {
            Chain::NotKnown { why } => why,
            Chain::Nothing => "nothing".to_owned(),
            Chain::Diverged { snapshots } => format!("diverged {snapshots}"),
            Chain::GoesOn {
                newest_common,
                snapshots,
                known,
                behind,
                unknown,
                other_moments,
                out_of_order,
            } => {
                let (other, order): (Vec<String>, Vec<String>) = (days(&other_moments), days(&out_of_order));
                format!(
                    "{} {known}/{snapshots} -{behind} +{unknown} {} {}",
                    &newest_common.as_str()[8..10],
                    other.join(","),
                    order.join(",")
                )
            }
        }
    }

    #[test]
    fn a_copy_is_compared_point_by_point() {
        for (source, copy, expected) in [
            ("@a @b @c", "", "nothing"),
            ("@a @b @c", "@x @y", "diverged 2"),
            ("@a @b @c", "@a @b @c", "03 3/3 -0 +0  "),
            ("#a #b @c @d", "@a @b", "02 2/2 -2 +0  "),
            ("@b @c", "@a @b @y", "02 1/3 -1 +1  "),
            ("@a @b @c", "@b @a @c", "03 3/3 -0 +0  01"),
            ("@a @b @c", "@z=2026-01-01-030000 @b @c", "03 2/3 -0 +0 01 "),
            // Others may use a name of theirs again.
            ("@a=daily @b", "@z=daily @b", "02 1/2 -0 +0  "),
        ] {
            assert_eq!(summary(source, copy), expected, "{source} / {copy}");
        }
    }

    #[test]
    fn an_interrupted_receive_with_an_unreadable_token_is_reported() {
        let mut copy = dataset("@a");
        assert_eq!(partial(&dataset("@a"), &copy), None);
        copy.resume_token = Some("1-x".to_owned());
        assert!(matches!(partial(&dataset("@a"), &copy), Some(Partial::Unreadable { .. })));
    }
}
