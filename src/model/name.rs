//! Names of datasets, snapshots and bookmarks: checked once, at the edge, and never mixed up after.
//!
//! The grammar is that of `zfs_namecheck.c` (OpenZFS): letters, digits and `-_.: `, at most 255 bytes for the
//! whole name, no empty component, a pool that starts with a letter. Names that only the kernel makes (`%recv`) are
//! refused. A part may start with `-` or a space: commands get full names, which start with the pool's letter.

use std::borrow::Borrow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// `ZFS_MAX_DATASET_NAME_LEN` less the terminating NUL: what a dataset, snapshot or bookmark name may take, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// `zfs_max_dataset_nesting`: how many components a dataset name may have.
const NESTING_MAX: usize = 50;

/// Why a text is not a name that ZFS would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a valid {kind} name: {why}")]
pub struct NameError {
    name: String,
    kind: &'static str,
    why: &'static str,
}

/// As text: the name, and why it is not valid.
impl Serialize for NameError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn check_component(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("a part of it is empty");
    }
    if text == "." || text == ".." {
        return Err("'.' and '..' are not names");
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.: ".contains(&c);
    if !text.bytes().all(allowed) {
        return Err("only letters, digits and '-_.: ' are allowed");
    }
    Ok(())
}

/// The full name of a file system or volume, for example `rpool/data/vm-100-disk-0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DatasetName(Box<str>);

impl DatasetName {
    /// Checks `text` against ZFS's grammar.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let err = |why| NameError { name: text.to_owned(), kind: "dataset", why };
        if text.len() > NAME_BYTES_MAX {
            return Err(err("it is longer than 255 bytes"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(err("a pool name starts with a letter"));
        }
        let mut depth = 0;
        for component in text.split('/') {
            check_component(component).map_err(err)?;
            depth += 1;
        }
        if depth > NESTING_MAX {
            return Err(err("it is nested deeper than 50 levels"));
        }
        Ok(Self(text.into()))
    }

    /// The name as ZFS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pool, that is the first component.
    pub fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The last component.
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The dataset above this one; a pool has none.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// The dataset called `relative` (one or more components) below this one.
    pub fn child(&self, relative: &str) -> Result<Self, NameError> {
        Self::new(&format!("{self}/{relative}"))
    }

    /// The rest of this name after `root/`; `None` if this is `root` itself or is elsewhere.
    pub fn below<'a>(&'a self, root: &Self) -> Option<&'a str> {
        self.0.strip_prefix(root.as_str())?.strip_prefix('/')
    }

    /// Whether this is `root` or is below it.
    pub fn is_within(&self, root: &Self) -> bool {
        self == root || self.below(root).is_some()
    }

    /// This dataset's snapshot called `name`.
    pub fn snapshot(&self, name: &PointName) -> Result<SnapshotName, NameError> {
        SnapshotName::new(self.clone(), name.clone())
    }

    /// This dataset's bookmark called `name`.
    pub fn bookmark(&self, name: &PointName) -> Result<BookmarkName, NameError> {
        BookmarkName::new(self.clone(), name.clone())
    }
}

/// Checked as [`DatasetName::new`] does: what comes from another machine is no more trusted than what a person types.
impl<'de> Deserialize<'de> for DatasetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Orders and compares as its text does, so that collections can be searched by text.
impl Borrow<str> for DatasetName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// With `{:#}` as a word of a shell's command: in quotes where it has a space, which ZFS allows in a name.
impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No other character of a name means anything to a shell.
        if f.alternate() && self.0.contains(' ') { write!(f, "'{}'", self.0) } else { f.write_str(&self.0) }
    }
}

impl fmt::Debug for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The name of a point within its dataset, after `@` or `#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PointName(Box<str>);

impl PointName {
    /// Checks `text` against ZFS's grammar.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_component(text).map_err(|why| NameError {
            name: text.to_owned(),
            kind: "snapshot or bookmark",
            why,
        })?;
        Ok(Self(text.into()))
    }

    /// The name as ZFS writes it, without `@` or `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PointName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for PointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

macro_rules! full_point_name {
    ($(#[$doc:meta])* $type:ident, $separator:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            dataset: DatasetName,
            name: PointName,
        }

        impl $type {
            /// Joins the two names; fails where the whole is longer than ZFS takes.
            pub fn new(dataset: DatasetName, name: PointName) -> Result<Self, NameError> {
                if dataset.as_str().len() + 1 + name.as_str().len() > NAME_BYTES_MAX {
                    let name = format!(concat!("{}", $separator, "{}"), dataset, name);
                    return Err(NameError { name, kind: $kind, why: "it is longer than 255 bytes" });
                }
                Ok(Self { dataset, name })
            }

            /// Takes the full name apart at its separator.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let (dataset, name) = text.split_once($separator).ok_or_else(|| NameError {
                    name: text.to_owned(),
                    kind: $kind,
                    why: concat!("it has no '", $separator, "'"),
                })?;
                Self::new(DatasetName::new(dataset)?, PointName::new(name)?)
            }

            /// The dataset it belongs to.
            pub fn dataset(&self) -> &DatasetName {
                &self.dataset
            }

            /// Its name within the dataset.
            pub fn name(&self) -> &PointName {
                &self.name
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $separator, "{}"), self.dataset, self.name)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

full_point_name!(
    /// The full name of a snapshot, for example `rpool/data/vm-100-disk-0@2026-01-31-010000`.
    SnapshotName,
    "@",
    "snapshot"
);
full_point_name!(
    /// The full name of a bookmark, for example `rpool/data/vm-100-disk-0#2026-01-31-010000`.
    BookmarkName,
    "#",
    "bookmark"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_space_is_one_word_of_a_command() {
        let written = |text: &str| format!("zfs rename {:#}", DatasetName::new(text).unwrap());
        assert_eq!(written("tank/a b"), "zfs rename 'tank/a b'");
        assert_eq!(written("tank/a-b_c.d:e"), "zfs rename tank/a-b_c.d:e");
    }

    #[test]
    fn zfs_grammar_is_enforced() {
        for good in
            ["rpool", "rpool/data/vm-100-disk-0", "tank/a b", "tank/x:y.z_w", "rpool/-rf", "rpool/ a "]
        {
            assert_eq!(DatasetName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "rpool/",
            "/rpool",
            "9pool",
            "rpool//a",
            "-rf",
            " rpool",
            "rpool/..",
            "rpool/a@b",
            "rpool/$(x)",
            "rpool/%recv",
            "rpool/a\nb",
            "rpool/ä",
            "rpool/;reboot",
        ] {
            assert!(DatasetName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn too_long_or_too_deep_is_refused() {
        let long = "p/".to_owned() + &"x".repeat(253);
        let dataset = DatasetName::new(&long).unwrap();
        assert!(DatasetName::new(&(long + "x")).is_err());
        assert!(dataset.snapshot(&PointName::new("s").unwrap()).is_err());
        assert!(DatasetName::new(&vec!["p"; 51].join("/")).is_err());
    }

    #[test]
    fn below_needs_a_whole_component() {
        let name = |text| DatasetName::new(text).unwrap();
        assert_eq!(name("rpool/data/a").below(&name("rpool/data")), Some("a"));
        assert_eq!(name("rpool/data2/a").below(&name("rpool/data")), None);
        assert!(name("rpool/data").is_within(&name("rpool/data")));
        assert!(!name("rpool/data2").is_within(&name("rpool/data")));
    }

    #[test]
    fn points_split_at_their_own_separator() {
        assert_eq!(SnapshotName::parse("a/b@c").unwrap().to_string(), "a/b@c");
        assert!(SnapshotName::parse("a/b#c").is_err());
        assert!(SnapshotName::parse("a/b@c@d").is_err());
        assert_eq!(BookmarkName::parse("a/b#c").unwrap().dataset().as_str(), "a/b");
    }
}
