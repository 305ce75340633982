//! The names that Proxmox VE gives to volumes, and the guest and role in each.

use serde::Serialize;

use super::{DatasetName, GuestId, PointName};

/// The snapshot of a template's disk that all its linked clones begin at (`ZFSPoolPlugin.pm`). On any other dataset it is a
/// snapshot like all that zhaul did not make: [`is_template_snapshot`].
pub const TEMPLATE_SNAPSHOT: &str = "__base__";

/// A name that Proxmox VE takes for a volume of a guest, where it is directly below a storage's dataset
/// (`ZFSPoolPlugin.pm`: `^(vm|base|subvol|basevol)-(\d+)-(\S+)$`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeName {
    /// The guest it is named after.
    pub guest: GuestId,
    /// The content that its name stands for.
    pub role: VolumeRole,
}

/// The content of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeRole {
    /// A disk, a container's file system, or a template's.
    Disk,
    /// The memory of a machine, saved with a snapshot or on hibernation.
    State,
    /// Blocks that a running `vzdump` sets aside.
    Fleecing,
    /// The cloud-init drive, which is generated at each start.
    CloudInit,
}

impl VolumeName {
    /// Reads the last component of a dataset's name; `None` for a name that Proxmox VE does not take for a volume.
    pub fn parse(name: &str) -> Option<Self> {
        let (prefix, rest) = name.split_once('-')?;
        if !["vm", "base", "subvol", "basevol"].contains(&prefix) {
            return None;
        }
        let (id, what) = rest.split_once('-')?;
        if what.is_empty() || what.contains(char::is_whitespace) {
            return None;
        }
        let role = match what {
            _ if prefix != "vm" => VolumeRole::Disk,
            "cloudinit" => VolumeRole::CloudInit,
            _ if what.starts_with("state-") => VolumeRole::State,
            _ if what.starts_with("fleece-") => VolumeRole::Fleecing,
            _ => VolumeRole::Disk,
        };
        Some(Self { guest: GuestId::parse(id)?, role })
    }
}

/// Whether a volume of this name is a template's.
pub fn is_of_template(name: &str) -> bool {
    ["base-", "basevol-"].iter().any(|prefix| name.starts_with(prefix)) && VolumeName::parse(name).is_some()
}

/// Whether linked clones of a template begin at this snapshot of `dataset`.
pub fn is_template_snapshot(dataset: &DatasetName, snapshot: &PointName) -> bool {
    snapshot.as_str() == TEMPLATE_SNAPSHOT && is_of_template(dataset.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_guest_and_role() {
        for (name, id, role) in [
            ("vm-100-disk-0", 100, VolumeRole::Disk),
            ("base-9-disk-1", 9, VolumeRole::Disk),
            ("subvol-101-disk-0", 101, VolumeRole::Disk),
            ("basevol-101-disk-0", 101, VolumeRole::Disk),
            ("vm-100-whatever.1", 100, VolumeRole::Disk),
            ("vm-100-state-before-upgrade", 100, VolumeRole::State),
            ("vm-100-fleece-0", 100, VolumeRole::Fleecing),
            ("vm-100-cloudinit", 100, VolumeRole::CloudInit),
            ("subvol-100-state-x", 100, VolumeRole::Disk),
            ("vm-100-cloudinit2", 100, VolumeRole::Disk),
        ] {
            assert_eq!(VolumeName::parse(name), Some(VolumeName { guest: GuestId(id), role }), "{name}");
        }
    }

    #[test]
    fn other_names_belong_to_no_guest() {
        for name in [
            "",
            "vm",
            "vm-",
            "vm-100",
            "vm-100-",
            "vm--disk-0",
            "vm-0100-disk-0",
            "vm-x-disk-0",
            "vm-99999999999-disk-0",
            "xvm-100-disk-0",
            "VM-100-disk-0",
            "vm-100-disk 0",
            "subvol_100-disk-0",
            "vm-+1-disk-0",
        ] {
            assert_eq!(VolumeName::parse(name), None, "{name}");
        }
    }
}
