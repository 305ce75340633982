//! Datasets that `zhaul rollback --keep` and `zhaul restore --replace` put aside on this host, and the mark of one
//! under way.
//!
//! Such a dataset is renamed to `PARENT/zhaul-aside/NAME.STAMP`: one level below the storage's dataset, so that Proxmox
//! VE does not take it for a volume. It is left out of every run, and keeps its snapshots and bookmarks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ASIDE_NAME, DatasetKind, DatasetName, Guid, NameError, PointName};

/// The suffix of a stamp for the dataset that was put aside when the one with the plain stamp was put back.
const BACK: &str = "-back";

/// Where a dataset goes that is put aside.
pub fn aside_of(dataset: &DatasetName, stamp: &str) -> Result<Option<DatasetName>, NameError> {
    let Some(parent) = dataset.parent() else { return Ok(None) };
    parent.child(ASIDE_NAME)?.child(&format!("{}.{stamp}", dataset.last())).map(Some)
}

/// The name of the dataset that was put aside as `aside`, and its stamp; `None` where the name is not of that form.
pub fn aside_from(aside: &DatasetName) -> Option<(DatasetName, String)> {
    let place = aside.parent().filter(|place| place.last() == ASIDE_NAME)?;
    let (name, stamp) = aside.last().rsplit_once('.')?;
    Some((place.parent()?.child(name).ok()?, stamp.to_owned()))
}

/// The stamp of what is put aside when `stamp` is put back, so that putting that back gives the first again.
pub fn opposite(stamp: &str) -> String {
    stamp.strip_suffix(BACK).map_or_else(|| format!("{stamp}{BACK}"), str::to_owned)
}

/// The mark of a dataset that takes the place of another: a clone of a point of that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptMark {
    /// The name that it takes.
    pub of: DatasetName,
    /// The GUID of the dataset that has the name.
    pub old: Guid,
    /// Where that one goes.
    pub aside: DatasetName,
    /// The snapshot that it is a clone of.
    pub point: PointName,
    /// The snapshot's GUID.
    pub guid: Guid,
    /// File system or volume.
    pub kind: DatasetKind,
    /// The `canmount` of a file system, which it gets at the end.
    pub canmount: String,
}

impl KeptMark {
    /// Reads the property's value; `None` where it is another's.
    pub fn parse(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok()
    }
}

impl fmt::Display for KeptMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_aside_and_comes_back() {
        for name in ["rpool/data/vm-100-disk-0", "rpool/data/a.b", "rpool/x y"] {
            let dataset = DatasetName::new(name).unwrap();
            let aside = aside_of(&dataset, "2026-01-01-030000").unwrap().unwrap();
            assert_eq!(aside.parent().unwrap().last(), "zhaul-aside");
            assert_eq!(aside_from(&aside), Some((dataset, "2026-01-01-030000".to_owned())));
        }
        assert_eq!(aside_from(&DatasetName::new("rpool/data/vm.2026").unwrap()), None);
        assert_eq!(opposite("a"), "a-back");
        assert_eq!(opposite(&opposite("a")), "a");
    }

    #[test]
    fn only_a_mark_is_a_mark() {
        let name = |text: &str| DatasetName::new(text).unwrap();
        let mark = KeptMark {
            of: name("rpool/data/vm-1-disk-0"),
            old: Guid(1),
            aside: name("rpool/data/zhaul-aside/vm-1-disk-0.x"),
            point: PointName::new("p").unwrap(),
            guid: Guid(u64::MAX),
            kind: DatasetKind::Volume,
            canmount: "-".to_owned(),
        };
        assert_eq!(KeptMark::parse(&mark.to_string()), Some(mark));
        for other in ["", "incoming", "12345", "12345 2026", "{}", "[]"] {
            assert_eq!(KeptMark::parse(other), None, "{other}");
        }
    }
}
