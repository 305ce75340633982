//! Disks of guests that no dataset of the policy holds: they are named, since nothing else says that they have no backup.

use super::builder::Builder;
use super::select::Selection;
use super::{DiskElsewhere, FindingKind, Place, Request, Severity};
use crate::model::{DiskLine, Guest, Inventory, Proxmox, ProxmoxState};
use crate::policy::Policy;

/// Adds a finding for each guest of this node with such disks. Where other disks of it are backed up, a restore would bring back
/// half a guest: that is a warning.
pub(super) fn report(
    builder: &mut Builder,
    policy: &Policy,
    inventory: &Inventory,
    request: &Request,
    selection: &Selection<'_>,
) {
    let proxmox = &inventory.proxmox;
    // A run for some datasets says nothing of others. Without storages nothing is known of where a disk is.
    if proxmox.state != ProxmoxState::Whole || proxmox.storages.is_none() || !policy.selected.is_empty() {
        return;
    }
    let is_asked_for = |guest: &&Guest| request.guests.is_empty() || request.guests.contains(&guest.id);
    for guest in proxmox.guests.iter().filter(is_asked_for) {
        let disks: Vec<DiskElsewhere> =
            guest.disks.iter().filter_map(|line| elsewhere(policy, proxmox, selection, line)).collect();
        if disks.is_empty() {
            continue;
        }
        let is_served = selection.selected.iter().any(|one| one.guest_id == Some(guest.id));
        let severity = if is_served { Severity::Warning } else { Severity::Note };
        builder.find(severity, None, Place::Source, FindingKind::DisksElsewhere { guest: guest.id, disks });
    }
}

/// The disk of a line, if the guest uses it, its configuration does not leave it out, and no dataset of the policy holds it.
fn elsewhere(
    policy: &Policy,
    proxmox: &Proxmox,
    selection: &Selection<'_>,
    line: &DiskLine,
) -> Option<DiskElsewhere> {
    if !line.is_current || !line.is_backed_up || line.is_unused {
        return None;
    }
    let dataset = proxmox.dataset_of(&line.storage, &line.volume);
    let is_known = if let Some(dataset) = &dataset {
        policy.roots.iter().any(|root| dataset.is_within(&root.dataset))
            || policy.exclude.iter().any(|pattern| pattern.matches(dataset))
    } else {
        // A volume of a storage that this node does not have is backed up by its name.
        let selected = selection.selected.iter().map(|one| &one.dataset.name);
        let mut names = selected.chain(selection.left_out.iter().map(|one| &one.dataset));
        names.any(|name| name.last() == line.volume)
    };
    (!is_known).then(|| DiskElsewhere {
        line: line.place.clone(),
        storage: line.storage.clone(),
        volume: line.volume.clone(),
        dataset,
    })
}
