//! Everything that exists on all hosts at one moment: the planner decides from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ASIDE_NAME, BACKUP_PROPERTY, DatasetName, Guid, History, INCOMING_NAME, LINEAGE_PROPERTY, LineHistory,
    LineageMark, Listing, Proxmox, RESTORE_PROPERTY, Settings, SnapshotName, Txg, UserProperties,
};

/// How a copy is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyEncryption {
    /// As its stream is: raw with the source's key, or not at all.
    #[default]
    AsSent,
    /// A plain stream into a dataset that the target encrypts with a key of its own. It must have no embedded blocks
    /// (`recv_begin_check_feature_flags_impl`).
    ByTarget,
    /// A plain stream below a raw copy, whose key is not there: not encrypted, which has to be said (`-o encryption=off`).
    Off,
}

/// The type of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// A file system: a container's root, or a mere container of datasets.
    Filesystem,
    /// A volume (zvol): a virtual machine's disk.
    Volume,
}

/// Whether and how a dataset is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Plain.
    Off,
    /// Encrypted; a raw send needs no key.
    On,
}

/// One file system or volume and its points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its full name.
    pub name: DatasetName,
    /// The GUID identifies it across renames.
    pub guid: Guid,
    /// The transaction group in which it was created; points that are older came with `zfs promote`.
    pub createtxg: Txg,
    /// File system or volume.
    pub kind: DatasetKind,
    /// Decides between a plain and a raw send.
    pub encryption: Encryption,
    /// The `referenced` property: bytes that a full send has to read, roughly.
    pub referenced_bytes: u64,
    /// The `written` property: bytes written since the newest snapshot; 0 on an untouched target.
    pub written_bytes: u64,
    /// The `readonly` property, which received copies have on: nothing but a receive or a rollback changes them.
    pub is_readonly: bool,
    /// The `receive_resume_token` property: a receive that broke off and can be resumed.
    pub resume_token: Option<String>,
    /// The snapshot it was cloned from.
    pub origin: Option<SnapshotName>,
    /// How it behaves.
    pub settings: Settings,
    /// The user properties of zhaul's own.
    pub user: UserProperties,
    /// Its snapshots and bookmarks.
    pub history: History,
    /// The lineage marks of its snapshots, as far as they were read; only of a source.
    #[serde(skip)]
    pub lineage: BTreeMap<Guid, LineageMark>,
    /// When it left its line, if that was read; only of a source.
    #[serde(skip)]
    pub line_history: Option<LineHistory>,
}

impl Dataset {
    /// One of which nothing is known but what it is.
    pub fn new(name: DatasetName, guid: Guid, kind: DatasetKind) -> Self {
        Self {
            name,
            guid,
            createtxg: Txg(0),
            kind,
            encryption: Encryption::Off,
            referenced_bytes: 0,
            written_bytes: 0,
            is_readonly: false,
            resume_token: None,
            origin: None,
            settings: Settings::default(),
            user: UserProperties::default(),
            history: History::default(),
            lineage: BTreeMap::new(),
            line_history: None,
        }
    }

    /// Whether zhaul has taken a snapshot of it that is marked with its lineage.
    pub fn has_lineage(&self) -> bool {
        self.user.local(LINEAGE_PROPERTY).is_some()
    }

    /// Whether the user property `zhaul:backup=off` or `never`, set here, inherited or received, excludes it.
    pub fn is_opted_out(&self) -> bool {
        self.is_never() || self.user.get(BACKUP_PROPERTY).is_some_and(|property| property.value == "off")
    }

    /// Whether the dataset holds, or begins to hold, a copy: it has a snapshot, or a partial receive.
    pub fn has_begun(&self) -> bool {
        self.history.newest_snapshot().is_some() || self.resume_token.is_some()
    }

    /// Whether it is no more than a receive that broke off: ZFS destroys it where that is given up.
    pub fn is_only_begun(&self) -> bool {
        self.resume_token.is_some() && self.history.newest_snapshot().is_none()
    }

    /// Whether a restore is receiving it, or keeps received data there, or has put it aside: it is not a source.
    pub fn is_being_restored(&self) -> bool {
        let places = [INCOMING_NAME, ASIDE_NAME];
        let is_below = self.name.as_str().split('/').any(|part| places.contains(&part));
        is_below && self.user.get(RESTORE_PROPERTY).is_some()
    }

    /// Whether `zhaul:backup=never` says that it is left out on purpose, whatever else leaves it out.
    pub fn is_never(&self) -> bool {
        self.user.get(BACKUP_PROPERTY).is_some_and(|property| property.value == "never")
    }
}

/// A host's answer to "what have you got?". An empty listing and no answer are different things: only the first may
/// lead to a full send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The datasets that exist there, possibly none, and those that could not be listed.
    Listed(Listing),
    /// Nothing is known of the host; the text says why.
    CouldNotAsk(String),
}

/// A target's name in plans, logs and status: the host's name as the policy has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TargetName(pub String);

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Everything that exists on the source and on every target at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// The datasets under the source roots.
    pub source: Answer,
    /// The datasets under each target's root.
    pub targets: BTreeMap<TargetName, Answer>,
    /// The guests and storages in this node's Proxmox VE configuration.
    pub proxmox: Proxmox,
    /// The source's name of its own.
    pub host: String,
    /// The targets that destroy and roll back nothing (`zhaul agent --append-only`).
    pub append_only: BTreeSet<TargetName>,
}
