//! A dataset's properties beyond those that identify it: settings that ZFS knows, and user properties of zhaul's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DatasetName, HEALING_PROPERTY, LAST_DRILL_PROPERTY, LAST_VERIFIED_PROPERTY, LINEAGE_PROPERTY};

/// Leaves a dataset and what is below it out of backups where it is `off`, and where it is `never` without a warning that it
/// was backed up before.
pub const BACKUP_PROPERTY: &str = "zhaul:backup";
/// On a copy: the source that writes it. Counts only where it is local.
pub const WRITER_PROPERTY: &str = "zhaul:writer";
/// On a copy that was set aside: when, why and from what. Counts only where it is local.
pub const SET_ASIDE_PROPERTY: &str = "zhaul:set-aside";
/// On what `zhaul restore` has not finished: what is being restored. Counts only where it is local.
pub const RESTORE_PROPERTY: &str = "zhaul:restore";

/// The name of the dataset below which restores are received. Proxmox VE takes nothing below it for a volume of a
/// guest.
pub const INCOMING_NAME: &str = "zhaul-incoming";
/// The value of [`RESTORE_PROPERTY`] on that dataset.
pub const INCOMING_MARK: &str = "incoming";
/// The name of the dataset below which this host keeps datasets that a restore or a rollback has replaced.
pub const ASIDE_NAME: &str = "zhaul-aside";
/// The value of [`RESTORE_PROPERTY`] on that dataset.
pub const ASIDE_MARK: &str = "aside";
/// The beginning of the value of [`RESTORE_PROPERTY`] on a dataset that is being put back; its stamp follows.
pub const PUT_BACK_MARK: &str = "put-back ";

/// The user properties that a listing asks for: each one more is a line here.
pub const USER_PROPERTIES: [&str; 8] = [
    BACKUP_PROPERTY,
    WRITER_PROPERTY,
    SET_ASIDE_PROPERTY,
    RESTORE_PROPERTY,
    LINEAGE_PROPERTY,
    LAST_VERIFIED_PROPERTY,
    LAST_DRILL_PROPERTY,
    HEALING_PROPERTY,
];

/// Native properties that decide how a dataset behaves, as `zfs get -p` prints them. A text is `-` where the property does
/// not apply to this kind of dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `on`, `off` or `noauto`.
    pub canmount: String,
    /// A path, `none` or `legacy`; bytes that are not UTF-8 are replaced.
    pub mountpoint: String,
    /// `default`, `full`, `geom`, `dev` or `none`.
    pub volmode: String,
    /// `hidden` or `visible`.
    pub snapdev: String,
    /// When the dataset was created or first received, in seconds since 1970 by the clock of its host.
    pub created_seconds: u64,
    /// The size of a volume; 0 for a file system.
    pub volume_bytes: u64,
    /// `recordsize` or `volblocksize`.
    pub block_bytes: u64,
    /// `available` or `unavailable`; `-` where it is not encrypted.
    pub key_status: String,
    /// The dataset whose key encrypts this one.
    pub encryption_root: Option<DatasetName>,
}

/// A user property as a dataset has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserProperty {
    /// Whatever an admin has set: line breaks, tabs and control characters are possible; bytes that are not UTF-8 are
    /// replaced, and empty lines are left out.
    pub value: String,
    /// Whether it was set on this dataset, as opposed to inherited or received.
    pub is_local: bool,
}

/// Those of [`USER_PROPERTIES`] that a dataset has, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserProperties(BTreeMap<String, UserProperty>);

impl UserProperties {
    /// The property of this name, wherever it was set.
    pub fn get(&self, name: &str) -> Option<&UserProperty> {
        self.0.get(name)
    }

    /// The value of a mark: a property that counts only where it was set on the dataset itself.
    pub fn local(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|property| property.is_local).map(|property| property.value.as_str())
    }

    /// Notes a property.
    pub fn insert(&mut self, name: &str, property: UserProperty) {
        self.0.insert(name.to_owned(), property);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &UserProperty)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property))
    }
}
