//! The answer of one host: the datasets that it has, and those of which nothing is known.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Dataset, DatasetName};

/// Why a dataset is not in a listing. It may exist or not: it is never taken for absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlisted {
    /// A root that does not exist, though its pool is there.
    Missing,
    /// A root whose pool is not imported.
    NoPool,
    /// A root whose pool has suspended all I/O.
    Suspended,
    /// It was created, destroyed or renamed each time it was listed.
    Changing,
    /// It, or a point of it, has a name that zhaul does not take: this one.
    BadName(String),
    /// What ZFS or the system said.
    Failed(String),
}

/// The datasets that a host listed, by name, and what it could not list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    datasets: BTreeMap<DatasetName, Dataset>,
    unlisted: BTreeMap<String, Unlisted>,
}

impl Listing {
    /// Collects datasets by name.
    pub fn new(datasets: impl IntoIterator<Item = Dataset>) -> Self {
        let datasets = datasets.into_iter().map(|dataset| (dataset.name.clone(), dataset)).collect();
        Self { datasets, unlisted: BTreeMap::new() }
    }

    /// The dataset of this name.
    pub fn get(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.get(name)
    }

    /// Puts a dataset in the place of its name.
    pub fn insert(&mut self, dataset: Dataset) {
        self.datasets.insert(dataset.name.clone(), dataset);
    }

    /// Takes a dataset out.
    pub fn remove(&mut self, name: &DatasetName) -> Option<Dataset> {
        self.datasets.remove(name)
    }

    /// The dataset of this name, to note what was learnt of its points.
    pub fn get_mut(&mut self, name: &DatasetName) -> Option<&mut Dataset> {
        self.datasets.get_mut(name)
    }

    /// Every dataset, parents before children.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.datasets.values()
    }

    /// The datasets below `root`, at any depth, without `root` itself.
    pub fn below(&self, root: &DatasetName) -> impl Iterator<Item = &Dataset> {
        self.starting_with(format!("{root}/"))
    }

    /// The datasets whose names start with `prefix`.
    pub fn starting_with(&self, prefix: String) -> impl Iterator<Item = &Dataset> {
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let range = self.datasets.range::<str, _>(from);
        range.take_while(move |(name, _)| name.as_str().starts_with(&prefix)).map(|(_, dataset)| dataset)
    }

    /// Whether any dataset is below `root`, or may be: one that could not be listed counts.
    pub fn has_children(&self, root: &DatasetName) -> bool {
        let prefix = format!("{root}/");
        let mut unlisted =
            self.unlisted.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        unlisted.next().is_some_and(|(name, _)| name.starts_with(&prefix))
            || self.below(root).next().is_some()
    }

    /// Notes that nothing is known of `name`, which may be one that zhaul does not take.
    pub fn mark_unlisted(&mut self, name: impl Into<String>, why: Unlisted) {
        let name = name.into();
        self.datasets.remove(name.as_str());
        self.unlisted.insert(name, why);
    }

    /// Everything that could not be listed, by name, and why. A dataset below such a one is not known either unless
    /// it is listed itself.
    pub fn unlisted(&self) -> impl Iterator<Item = (&str, &Unlisted)> {
        self.unlisted.iter().map(|(name, why)| (name.as_str(), why))
    }

    /// Why nothing is known of `name`; `None` where it is listed, or known not to exist.
    pub fn why_unlisted(&self, name: &DatasetName) -> Option<&Unlisted> {
        if self.datasets.contains_key(name) || self.unlisted.is_empty() {
            return None;
        }
        let mut at = Some(name.as_str());
        while let Some(name) = at {
            if let Some(why) = self.unlisted.get(name) {
                return Some(why);
            }
            at = name.rsplit_once('/').map(|(parent, _)| parent);
        }
        None
    }

    /// Drops all that is known of `root` and of the datasets below it.
    pub fn forget(&mut self, root: &DatasetName) {
        self.datasets.retain(|name, _| !name.is_within(root));
        let prefix = format!("{root}/");
        self.unlisted.retain(|name, _| name != root.as_str() && !name.starts_with(&prefix));
    }

    /// Takes in what another part of the same host answered.
    pub fn absorb(&mut self, other: Self) {
        self.datasets.extend(other.datasets);
        self.unlisted.extend(other.unlisted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DatasetKind, Guid};

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    #[test]
    fn what_is_not_listed_is_absent_only_where_nothing_above_it_is_unknown() {
        let dataset = |text| Dataset::new(name(text), Guid(1), DatasetKind::Filesystem);
        let mut listing = Listing::new([dataset("t"), dataset("t/a"), dataset("t/a/b"), dataset("t/c")]);
        listing.mark_unlisted("t/a", Unlisted::Changing);
        listing.mark_unlisted("t/\u{1b}", Unlisted::BadName("t/\u{1b}".to_owned()));
        assert_eq!(listing.get(&name("t/a")), None);
        let why = |listing: &Listing, text| listing.why_unlisted(&name(text)).cloned();
        assert_eq!(why(&listing, "t/a"), Some(Unlisted::Changing));
        assert_eq!(why(&listing, "t/a/x/y"), Some(Unlisted::Changing));
        for known in ["t/a/b", "t/c", "t/ab", "t/d"] {
            assert_eq!(why(&listing, known), None, "{known}");
        }
        assert_eq!(listing.unlisted().count(), 2);
        listing.mark_unlisted("t/c/new", Unlisted::Changing);
        assert!(listing.has_children(&name("t/c")), "there may be one");
        listing.forget(&name("t/c"));
        assert!(!listing.has_children(&name("t/c")) && listing.get(&name("t/c")).is_none());
        assert_eq!((why(&listing, "t/c/new"), listing.unlisted().count()), (None, 2));
    }
}
