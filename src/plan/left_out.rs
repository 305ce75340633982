//! Datasets below a root that a run does not serve, each with the word of the policy, of ZFS or of Proxmox VE that says so.

use serde::Serialize;

use crate::model::{DatasetName, GuestId, VolumeRole};

/// A dataset below a root that is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The dataset.
    pub dataset: DatasetName,
    /// Why it is left out.
    #[serde(flatten)]
    pub reason: LeftOutReason,
    /// Whether it has points of ours, so that it was served before, and `zhaul:backup=never` does not say that this ended on
    /// purpose.
    pub was_served: bool,
}

/// Why a dataset is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum LeftOutReason {
    /// It is a root that has children, and `include-root` is not set.
    Container,
    /// A pattern of the policy's `exclude`.
    Excluded {
        /// The pattern.
        pattern: String,
    },
    /// The user property `zhaul:backup=off` or `never`.
    OptedOut {
        /// The dataset on which it is set: this one or one above it; `None` where it is set above all that was listed, or
        /// was received.
        set_on: Option<DatasetName>,
    },
    /// Every line of a guest's configuration that means the volume leaves it out: `backup=0`, or a container's mount point
    /// without `backup=1`.
    NotBackedUp {
        /// The volume: the dataset itself, or one above it.
        volume: DatasetName,
        /// Where each of these lines is.
        lines: Vec<String>,
    },
    /// A volume of a guest that is on another node: a replica, or left behind by a migration.
    OnOtherNode {
        /// The guest.
        guest: GuestId,
        /// The node.
        node: String,
    },
    /// Saved memory, a running `vzdump`'s data or a cloud-init drive: nothing that a restore needs.
    NoDisk {
        /// The guest.
        guest: GuestId,
        /// Its content.
        role: VolumeRole,
    },
    /// The guest's file cannot be read, and while its other volumes were served before, this one was not.
    GuestUnreadable {
        /// The guest.
        guest: GuestId,
    },
    /// Proxmox VE's configuration is in doubt, and nothing shows that this node has served the volume before.
    InDoubt {
        /// The guest after which it is named.
        guest: GuestId,
    },
    /// A restore or a rollback that has not ended has marked it (`zhaul:restore`).
    BeingRestored,
    /// The same of another volume of the guest: the guest is half of something.
    GuestBeingRestored {
        /// The guest.
        guest: GuestId,
    },
    /// The guest's file is locked by an operation that makes or changes its disks: what they hold now is half of something.
    Locked {
        /// The guest.
        guest: GuestId,
        /// The word of its `lock:`.
        lock: String,
    },
    /// This run was asked for other datasets or guests only.
    NotAskedFor,
}
