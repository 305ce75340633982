//! Whose a dataset is, by Proxmox VE's configuration: a guest's of this node, one's of another node, or no guest's.
//!
//! A volume is a dataset `POOL/VOLUME` that a guest's line means through its storage, or that Proxmox VE takes for a volume
//! by its name. It is never found by its last name alone: disks are numbered per storage, so that a guest has
//! `vm-100-disk-0` on each of them. A dataset below a volume is the volume's.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    DatasetName, DiskLine, Guest, GuestId, Inventory, Proxmox, ProxmoxState, VolumeName, VolumeRole,
};

/// Whose a dataset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// No volume of a guest.
    NoGuest,
    /// Named after a guest that has no configuration anywhere.
    UnknownGuest(GuestId),
    /// A guest's of this node.
    Guest(&'a Guest),
    /// A guest's of this node whose file cannot be read.
    Unreadable(GuestId),
    /// A guest's of another node.
    OnOtherNode(GuestId, &'a str),
    /// Named after a guest, while the configuration is in doubt.
    InDoubt(GuestId, Option<&'a Guest>),
}

impl Owner<'_> {
    /// The guest whose volumes are of one moment, with this one.
    pub(super) fn guest_id(&self) -> Option<GuestId> {
        match self {
            Self::Guest(guest) => Some(guest.id),
            Self::Unreadable(id) | Self::InDoubt(id, _) => Some(*id),
            Self::NoGuest | Self::UnknownGuest(_) | Self::OnOtherNode(..) => None,
        }
    }
}

/// A dataset's volume and its owner.
#[derive(Debug, Clone)]
pub(super) struct Volume<'a> {
    /// The volume: the dataset, or the nearest one above it.
    pub(super) dataset: DatasetName,
    pub(super) owner: Owner<'a>,
    /// Other than a disk: not worth a backup.
    pub(super) no_disk: Option<(GuestId, VolumeRole)>,
    /// The nodes of a cluster that agree that its guest is on this one and uses it.
    pub(super) cluster: Option<&'a BTreeSet<String>>,
    /// The lines that leave it out; empty where not all that mean it do.
    pub(super) leaving_out: Vec<&'a DiskLine>,
}

/// Every line of this node's guests, by the dataset that it means.
#[derive(Debug)]
pub(super) struct Owners<'a> {
    proxmox: &'a Proxmox,
    lines: BTreeMap<DatasetName, Vec<(&'a Guest, &'a DiskLine)>>,
    guests: BTreeMap<GuestId, &'a Guest>,
    /// The datasets directly below which volumes are.
    pools: BTreeSet<&'a DatasetName>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Self {
        let proxmox = &inventory.proxmox;
        let mut lines: BTreeMap<DatasetName, Vec<_>> = BTreeMap::new();
        for guest in &proxmox.guests {
            for disk in &guest.disks {
                if let Some(dataset) = proxmox.dataset_of(&disk.storage, &disk.volume) {
                    lines.entry(dataset).or_default().push((guest, disk));
                }
            }
        }
        let guests = proxmox.guests.iter().map(|guest| (guest.id, guest)).collect();
        let pools = proxmox.storages.iter().flatten().map(|storage| &storage.dataset).collect();
        Self { proxmox, lines, guests, pools }
    }

    /// The volume that `dataset`, below `root`, is or belongs to.
    pub(super) fn volume(&self, dataset: &DatasetName, root: &DatasetName) -> Option<Volume<'a>> {
        if self.proxmox.state == ProxmoxState::Absent {
            return None;
        }
        let mut at = Some(dataset.clone());
        while let Some(name) = at.filter(|name| name.is_within(root)) {
            if let Some(volume) = self.volume_at(&name) {
                return Some(volume);
            }
            at = name.parent();
        }
        None
    }

    fn volume_at(&self, name: &DatasetName) -> Option<Volume<'a>> {
        let lines = self.lines.get(name).map(Vec::as_slice).unwrap_or_default();
        let named = self.named(name);
        let by_line =
            lines.iter().find(|(_, line)| line.is_current).or(lines.first()).map(|(guest, _)| *guest);
        let id = by_line.map(|guest| guest.id).or(named.map(|named| named.guest))?;
        let no_disk = named.filter(|named| lines.is_empty() && named.role != VolumeRole::Disk);
        let no_disk = no_disk.map(|named| (named.guest, named.role));
        // The unreadable file may say anything of its own volume.
        let is_unreadable = named.is_some_and(|named| self.proxmox.unreadable.contains_key(&named.guest));
        let owner = match (&self.proxmox.state, by_line.or_else(|| self.guests.get(&id).copied())) {
            _ if by_line.is_none() && self.elsewhere(id).is_some() => self.elsewhere(id)?,
            (ProxmoxState::InDoubt(_), guest) => Owner::InDoubt(id, guest),
            _ if is_unreadable => Owner::Unreadable(named?.guest),
            (_, Some(guest)) => Owner::Guest(guest),
            (_, None) => Owner::UnknownGuest(id),
        };
        let current: Vec<&DiskLine> =
            lines.iter().map(|(_, line)| *line).filter(|line| line.is_current).collect();
        let is_left_out = !is_unreadable && current.iter().all(|line| !line.is_backed_up);
        let is_used = current.iter().any(|line| !line.is_unused);
        let is_agreed = is_used
            && !self.proxmox.nodes.is_empty()
            && matches!(owner, Owner::Guest(guest) if !self.proxmox.disputed.contains(&guest.id));
        let leaving_out = if is_left_out { current } else { Vec::new() };
        let cluster = is_agreed.then_some(&self.proxmox.nodes);
        Some(Volume { dataset: name.clone(), owner, no_disk, cluster, leaving_out })
    }

    fn elsewhere(&self, id: GuestId) -> Option<Owner<'a>> {
        self.proxmox.elsewhere.get(&id).map(|node| Owner::OnOtherNode(id, node))
    }

    /// The guest and role in the name, where Proxmox VE would take it for a volume: directly below a storage's dataset.
    /// Without storages, and for a volume of this node's that is on a storage that cannot be mapped, wherever it is.
    fn named(&self, name: &DatasetName) -> Option<VolumeName> {
        let named = VolumeName::parse(name.last())?;
        let is_certain = name.parent().is_some_and(|parent| self.pools.contains(&parent));
        let is_known = || {
            let guest = self.guests.get(&named.guest);
            guest.is_some_and(|guest| {
                let mut disks = guest.disks.iter();
                disks.any(|disk| {
                    disk.volume == name.last()
                        && self.proxmox.dataset_of(&disk.storage, &disk.volume).is_none()
                })
            })
        };
        let is_anywhere =
            || self.proxmox.storages.is_none() || matches!(self.proxmox.state, ProxmoxState::InDoubt(_));
        (is_certain || is_anywhere() || is_known()).then_some(named)
    }
}
