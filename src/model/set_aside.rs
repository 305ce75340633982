//! The mark of what was set aside, and of who writes a copy: user properties that the target sets on itself.
//!
//! User properties are inherited by children and snapshots, and a receive can bring them along. So a mark counts only where
//! it is local and names the dataset's own GUID and name: a copy of a marked dataset, a child of one and one that somebody
//! renamed are not marked.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Dataset, DatasetName, Guid, PointName, SET_ASIDE_PROPERTY, WRITER_PROPERTY};

/// Grows with every change that an older zhaul would misunderstand.
const VERSION: u32 = 1;

/// For how long an append-only target sets no second lineage of one copy aside, whatever it is asked for: who holds its key
/// could otherwise do so again and again. Less than a day, so that a nightly run may come a little early.
pub const SET_ASIDE_PAUSE: SignedDuration = SignedDuration::from_hours(22);

/// Why the lineage of a copy was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetAsideCause {
    /// The source does not know the copy's newest snapshots: it was rolled back, most likely.
    Diverged,
    /// The copy has snapshots of another program after the base.
    Foreign,
    /// The copy was written to after its newest snapshot.
    Written,
    /// The source knows none of the copy's snapshots: it was recreated under the same name, or has lost them all.
    NothingInCommon,
}

impl SetAsideCause {
    /// The text between the copy's name and the date in the name that its lineage gets. For people: no decision rests
    /// on a name.
    pub fn infix(self) -> &'static str {
        match self {
            Self::Diverged | Self::Foreign | Self::Written => ".diverged-",
            Self::NothingInCommon => ".superseded-",
        }
    }
}

/// A snapshot by name and GUID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotId {
    /// Its name within the dataset.
    pub name: PointName,
    /// The snapshot's GUID.
    pub guid: Guid,
}

/// A request to set a dataset's lineage aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAside {
    /// The copy.
    pub dataset: DatasetName,
    /// The GUID of the copy as it is now. It goes with the lineage that is set aside.
    pub guid: Guid,
    /// The newest snapshot in common, from which the copy continues; `None`: the name becomes free.
    pub base: Option<SnapshotId>,
    /// Why.
    pub cause: SetAsideCause,
    /// Who writes the copy from now on.
    pub writer: Writer,
}

/// The value of [`SET_ASIDE_PROPERTY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideMark {
    version: u32,
    /// Whether every step of setting aside is done. One that is not is never destroyed.
    pub done: bool,
    /// The copy whose lineage it was.
    pub of: DatasetName,
    /// The dataset's own name since then.
    pub name: DatasetName,
    /// The dataset's own GUID.
    pub guid: Guid,
    /// When, by the clock of the machine that has the dataset.
    pub at: Timestamp,
    /// Why.
    pub cause: SetAsideCause,
    /// The snapshot from which the copy continues.
    pub base: Option<SnapshotId>,
    /// The GUID of the source dataset that writes the copy since.
    pub writer: Guid,
    /// What that is called: host and dataset. An earlier zhaul did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_label: Option<String>,
}

impl SetAsideMark {
    /// The mark of a lineage that is about to be renamed to `name`.
    pub fn begun(wish: &SetAside, name: DatasetName, at: Timestamp) -> Self {
        Self {
            version: VERSION,
            done: false,
            of: wish.dataset.clone(),
            name,
            guid: wish.guid,
            at,
            cause: wish.cause,
            base: wish.base.clone(),
            writer: wish.writer.guid,
            writer_label: Some(wish.writer.label.clone()).filter(|label| !label.is_empty()),
        }
    }

    /// Reads the property's value; `None` where it is none that this zhaul understands.
    pub fn parse(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok().filter(|mark: &Self| mark.version == VERSION)
    }

    /// Whether `now` is too soon after it for another lineage of the same copy, on an append-only target. A mark from the
    /// future is too.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < SET_ASIDE_PAUSE
    }

    /// The request that finishes it, by a writer of this label.
    pub fn wish(&self, label: &str) -> SetAside {
        SetAside {
            dataset: self.of.clone(),
            guid: self.guid,
            base: self.base.clone(),
            cause: self.cause,
            writer: Writer { guid: self.writer, label: label.to_owned() },
        }
    }
}

/// As the property's value.
impl fmt::Display for SetAsideMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Who writes a copy: the value of [`WRITER_PROPERTY`] is the GUID, a space and the label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    /// The GUID of the source dataset.
    pub guid: Guid,
    /// `host:dataset`, for people, and to know a dataset that was recreated in the same place.
    pub label: String,
}

impl Writer {
    /// Reads the property's value; `None` where it is none.
    pub fn parse(value: &str) -> Option<Self> {
        let (guid, label) = value.split_once(' ').unwrap_or((value, ""));
        Some(Self { guid: Guid(guid.parse().ok()?), label: label.to_owned() })
    }
}

/// As the property's value.
impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.guid, self.label)
    }
}

impl Dataset {
    /// The mark of a lineage that was set aside, if this dataset is one. Where a dataset above it was renamed since, with all
    /// datasets below, the mark is given as it would be there.
    pub fn set_aside(&self) -> Option<SetAsideMark> {
        let mark = self.set_aside_mark()?;
        if mark.name == self.name {
            return Some(mark);
        }
        let is_moved =
            mark.done && mark.name.last() == self.name.last() && mark.name.parent() == mark.of.parent();
        let of = self.name.parent().filter(|_| is_moved)?.child(mark.of.last()).ok()?;
        Some(SetAsideMark { of, name: self.name.clone(), ..mark })
    }

    /// When it was set aside as a lineage of `copy`, by what its mark says, or would say had a dataset above it not been renamed.
    /// Here a mark counts also where its own name is another by now: for the pause between two of one copy.
    pub fn set_aside_of(&self, copy: &DatasetName) -> Option<SetAsideMark> {
        self.set_aside().into_iter().chain(self.set_aside_mark()).find(|mark| mark.of == *copy)
    }

    /// Its mark as it was written, whatever its name is by now.
    pub fn set_aside_mark(&self) -> Option<SetAsideMark> {
        let mark = SetAsideMark::parse(self.user.local(SET_ASIDE_PROPERTY)?)?;
        (mark.guid == self.guid).then_some(mark)
    }

    /// Who writes it, if it is a marked copy.
    pub fn writer(&self) -> Option<Writer> {
        Writer::parse(self.user.local(WRITER_PROPERTY)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DatasetKind, UserProperty};

    fn mark() -> SetAsideMark {
        let wish = SetAside {
            dataset: DatasetName::new("tank/a b").unwrap(),
            guid: Guid(7),
            base: Some(SnapshotId { name: PointName::new("x y").unwrap(), guid: Guid(u64::MAX) }),
            cause: SetAsideCause::Diverged,
            writer: Writer { guid: Guid(9), label: "pve0:rpool/a b".to_owned() },
        };
        SetAsideMark::begun(&wish, DatasetName::new("tank/a b.diverged-1").unwrap(), Timestamp::UNIX_EPOCH)
    }

    fn dataset(name: &str, guid: u64, value: &str, is_local: bool) -> Dataset {
        let mut dataset = Dataset::new(DatasetName::new(name).unwrap(), Guid(guid), DatasetKind::Filesystem);
        let value = value.to_owned();
        dataset.user.insert(SET_ASIDE_PROPERTY, UserProperty { value, is_local });
        dataset
    }

    #[test]
    fn a_mark_counts_only_on_the_dataset_that_it_names() {
        let text = mark().to_string();
        let name = "tank/a b.diverged-1";
        assert_eq!(dataset(name, 7, &text, true).set_aside(), Some(mark()));
        assert_eq!(dataset(name, 7, &text, false).set_aside(), None, "inherited or received");
        assert_eq!(dataset(name, 8, &text, true).set_aside(), None, "copied from another dataset");
        assert_eq!(dataset("tank/other", 7, &text, true).set_aside(), None, "renamed by hand");
        assert_eq!(dataset("tank/a b", 7, &text, true).set_aside(), None, "not renamed yet");
        let done = SetAsideMark { done: true, ..mark() };
        let there = dataset("tank/above/a b.diverged-1", 7, &done.to_string(), true).set_aside();
        let (of, named) = ("tank/above/a b", "tank/above/a b.diverged-1");
        let moved = there.map(|mark| (mark.of.to_string(), mark.name.to_string()));
        assert_eq!(moved, Some((of.to_owned(), named.to_owned())), "a dataset above it was renamed");
        let begun = dataset("tank/above/a b.diverged-1", 7, &text, true);
        assert_eq!(begun.set_aside(), None, "not finished under another name");
        let is_of =
            |dataset: &Dataset, copy: &str| dataset.set_aside_of(&DatasetName::new(copy).unwrap()).is_some();
        let moved = dataset("tank/above/a b.diverged-1", 7, &done.to_string(), true);
        assert!(is_of(&moved, "tank/a b") && is_of(&moved, "tank/above/a b") && !is_of(&moved, "tank/above"));
        assert!(is_of(&begun, "tank/a b"));
        assert!(!is_of(&dataset("tank/other", 8, &text, true), "tank/a b"), "a mark of another dataset");
        for odd in ["", "1", "{}", &text.replace("\"version\":1", "\"version\":2"), &text[..40]] {
            assert_eq!(dataset(name, 7, odd, true).set_aside(), None, "{odd}");
        }
    }

    #[test]
    fn a_writer_reads_back() {
        let writer = Writer { guid: Guid(9), label: "pve0:rpool/a b".to_owned() };
        assert_eq!(Writer::parse(&writer.to_string()), Some(writer));
        assert_eq!(Writer::parse("9"), Some(Writer { guid: Guid(9), label: String::new() }));
        assert_eq!(Writer::parse("pve0"), None);
    }
}
