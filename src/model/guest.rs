//! A guest: one virtual machine or container, and the volumes that are its disks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PointName;

/// The number that Proxmox VE gives a guest (`VMID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestId(pub u32);

impl GuestId {
    /// `100`; `None` for what Proxmox VE does not take for a number of a guest, for example `0100`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
        if is_plain { text.parse().ok().map(Self) } else { None }
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One guest of this node, as its configuration file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its number.
    pub id: GuestId,
    /// `lock:` of its file: the word of an operation that is under way, or was left off.
    pub lock: Option<String>,
    /// `template: 1`.
    pub is_template: bool,
    /// Whether its agent is to freeze file systems for a snapshot: `agent: 1` without `freeze-fs=0`.
    pub is_freezable: bool,
    /// Every line of the file that names a volume.
    pub disks: Vec<DiskLine>,
    /// Snapshots that the guest's config lists: Proxmox VE's own, never ours to touch, whatever their names.
    pub snapshots: Vec<PointName>,
}

/// A line of a guest's configuration that names a volume: `scsi0: local-zfs:vm-100-disk-0,backup=0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLine {
    /// Where it is written, for example `qemu-server/100.conf line 7 (scsi1)`.
    pub place: String,
    /// The storage's id.
    pub storage: String,
    /// The volume on it, for example `vm-100-disk-0`: of a linked clone without its template.
    pub volume: String,
    /// Whether it says what holds now, not what held when a snapshot was taken.
    pub is_current: bool,
    /// Whether the guest only keeps it (`unused0` and its like).
    pub is_unused: bool,
    /// False where `backup=0` (or, for a container's mount point, the lack of `backup=1`) leaves the volume out.
    pub is_backed_up: bool,
}

impl DiskLine {
    /// Whether the lines of this key (`unused0` and its like) name volumes that the guest only keeps.
    pub fn is_unused_key(key: &str) -> bool {
        key.strip_prefix("unused").is_some_and(|number| number.bytes().all(|c| c.is_ascii_digit()))
    }
}
