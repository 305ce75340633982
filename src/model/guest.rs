//! A guest: one virtual machine or container, and the volumes that are its disks.

use std::fmt;

use serde::Serialize;

use super::PointName;

/// The number that Proxmox VE gives a guest (`VMID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GuestId(pub u32);

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a guest's config says of its disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its number.
    pub id: GuestId,
    /// The last components of its volumes' names, for example `vm-100-disk-0`.
    pub volumes: Vec<String>,
    /// Volumes that `backup=0` (or, for a container's mount point, the lack of `backup=1`) leaves out.
    pub excluded_volumes: Vec<String>,
    /// Snapshots that the guest's config lists: Proxmox VE's own, never ours to touch, whatever their names.
    pub snapshots: Vec<PointName>,
}
