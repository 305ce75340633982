//! Which datasets the policy selects, and what leaves the others out.

use std::collections::BTreeSet;

use super::left_out::{LeftOut, LeftOutReason};
use super::owner::{Owner, Owners, Volume};
use crate::model::{
    BACKUP_PROPERTY, Dataset, DatasetName, Guest, GuestId, Inventory, Listing, NameFormat, RESTORE_PROPERTY,
};
use crate::plan::Request;
use crate::policy::{Policy, SourceRoot};

/// Words of `lock:` under which a guest's disks are half of something.
const HALF_MADE: [&str; 5] = ["migrate", "clone", "create", "rollback", "restore"];

/// A dataset that is to be backed up.
#[derive(Debug, Clone, Copy)]
pub struct Selected<'a> {
    /// The dataset as the source listed it.
    pub dataset: &'a Dataset,
    /// The root that selected it.
    pub root: &'a SourceRoot,
    /// Whether it is a root that has no children.
    pub is_leaf_root: bool,
    /// The guest it is a volume of, if one.
    pub guest_id: Option<GuestId>,
    /// The content of that guest's file, where it could be read.
    pub guest: Option<&'a Guest>,
    /// The nodes of a cluster that agree that this guest is on this one and uses the dataset: whichever it was on before, it
    /// is backed up from here now, and can leave again.
    pub cluster: Option<&'a BTreeSet<String>>,
    /// The limits on the work, since too little is known of the guest.
    pub caution: Caution,
}

/// How much is known of the guest whose volume a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caution {
    /// Enough.
    None,
    /// Its file cannot be read: nothing is pruned, since Proxmox VE's own snapshots are not known.
    KeepAll,
    /// The whole configuration is in doubt: datasets that were served before continue, nothing is pruned, and no new
    /// copy begins.
    ContinueOnly,
}

/// Every dataset below a root: it is served, or something leaves it out.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The datasets that are served, by name.
    pub selected: Vec<Selected<'a>>,
    /// The other datasets, by name.
    pub left_out: Vec<LeftOut>,
    /// Volumes that are named after a guest without a configuration on any node; they are served.
    pub of_unknown_guests: Vec<(&'a DatasetName, GuestId)>,
}

/// Applies `policy` and `request` to each dataset that `source` lists below a root.
pub fn select<'a>(
    policy: &'a Policy,
    inventory: &'a Inventory,
    source: &'a Listing,
    request: &Request,
) -> Selection<'a> {
    let owners = Owners::new(inventory);
    let mut selection =
        Selection { selected: Vec::new(), left_out: Vec::new(), of_unknown_guests: Vec::new() };
    let restored = restored_guests(policy, source, &owners);
    for root in &policy.roots {
        let has_children = source.has_children(&root.dataset);
        let within: Vec<_> =
            source.datasets().filter(|dataset| dataset.name.is_within(&root.dataset)).collect();
        let volumes: Vec<_> = within.iter().map(|one| owners.volume(&one.name, &root.dataset)).collect();
        let served = served_guests(&policy.name_format, &within, &volumes);
        for (dataset, volume) in within.into_iter().zip(volumes) {
            let is_root = dataset.name == root.dataset;
            let reason = if is_root && has_children && !root.include_root {
                Some(LeftOutReason::Container)
            } else {
                left_out_by_policy(policy, source, dataset)
                    .or_else(|| left_out_by_owner(&policy.name_format, dataset, volume.as_ref()?, &served))
                    .or_else(|| left_out_with_guest(volume.as_ref()?, &restored))
            };
            let cluster = volume.as_ref().and_then(|volume| volume.cluster);
            let owner = volume.map_or(Owner::NoGuest, |volume| volume.owner);
            let guest_id = owner.guest_id();
            let reason = reason.or_else(|| not_asked_for(policy, request, &dataset.name, guest_id));
            if let Some(reason) = reason {
                let was_served = was_served(&policy.name_format, dataset, &reason);
                selection.left_out.push(LeftOut { dataset: dataset.name.clone(), reason, was_served });
                continue;
            }
            let (guest, caution) = match owner {
                Owner::Guest(guest) => (Some(guest), Caution::None),
                Owner::Unreadable(_) => (None, Caution::KeepAll),
                Owner::InDoubt(_, guest) => (guest, Caution::ContinueOnly),
                Owner::UnknownGuest(id) => {
                    selection.of_unknown_guests.push((&dataset.name, id));
                    (None, Caution::None)
                }
                Owner::NoGuest | Owner::OnOtherNode(..) => (None, Caution::None),
            };
            let is_leaf_root = is_root && !has_children;
            let selected = Selected { dataset, root, is_leaf_root, guest_id, guest, cluster, caution };
            selection.selected.push(selected);
        }
    }
    selection.selected.sort_by(|a, b| a.dataset.name.cmp(&b.dataset.name));
    selection.left_out.sort_by(|a, b| a.dataset.cmp(&b.dataset));
    selection
}

/// Whether `dataset` was served before, and `zhaul:backup=never` does not end that on purpose. Snapshots of ours come
/// to a replica from the other node, too.
fn was_served(format: &NameFormat, dataset: &Dataset, reason: &LeftOutReason) -> bool {
    if dataset.is_never() {
        false
    } else if matches!(reason, LeftOutReason::OnOtherNode { .. }) {
        is_served_here(format, dataset)
    } else {
        is_served(format, dataset)
    }
}

/// Whether any point of `dataset` is ours.
fn is_served(format: &NameFormat, dataset: &Dataset) -> bool {
    dataset.history.points().any(|point| format.is_own(&point.name))
}

/// Whether the newest own snapshot was taken on this node, or seen to since: only here it has a bookmark. Replication
/// brings snapshots, but no bookmarks.
fn is_served_here(format: &NameFormat, dataset: &Dataset) -> bool {
    let history = &dataset.history;
    let newest = history.snapshots().rev().find(|point| format.is_own(&point.name));
    newest.is_some_and(|newest| history.bookmarks().any(|bookmark| bookmark.guid == newest.guid))
}

/// The guests of which some volume was served before.
fn served_guests(
    format: &NameFormat,
    datasets: &[&Dataset],
    volumes: &[Option<Volume<'_>>],
) -> BTreeSet<GuestId> {
    let served = datasets.iter().zip(volumes).filter(|(dataset, _)| is_served(format, dataset));
    served.filter_map(|(_, volume)| volume.as_ref()?.owner.guest_id()).collect()
}

/// The guests of which some volume, in its place below any root, is not ready for use.
fn restored_guests(policy: &Policy, source: &Listing, owners: &Owners<'_>) -> BTreeSet<GuestId> {
    let is_marked =
        |dataset: &&Dataset| dataset.user.local(RESTORE_PROPERTY).is_some() && !dataset.is_being_restored();
    let marked = source.datasets().filter(is_marked).flat_map(|dataset| {
        let roots = policy.roots.iter().filter(|root| dataset.name.is_within(&root.dataset));
        roots.map(|root| (&dataset.name, &root.dataset))
    });
    marked.filter_map(|(name, root)| guest_of(&owners.volume(name, root)?)).collect()
}

fn guest_of(volume: &Volume<'_>) -> Option<GuestId> {
    match volume.owner {
        Owner::UnknownGuest(id) => Some(id),
        Owner::NoGuest
        | Owner::Guest(_)
        | Owner::Unreadable(_)
        | Owner::OnOtherNode(..)
        | Owner::InDoubt(..) => volume.owner.guest_id(),
    }
}

/// As long as one disk of a guest is not ready for use, a point of the others would be half a guest.
fn left_out_with_guest(volume: &Volume<'_>, restored: &BTreeSet<GuestId>) -> Option<LeftOutReason> {
    let guest = guest_of(volume).filter(|guest| restored.contains(guest))?;
    Some(LeftOutReason::GuestBeingRestored { guest })
}

fn left_out_by_policy(policy: &Policy, source: &Listing, dataset: &Dataset) -> Option<LeftOutReason> {
    if let Some(pattern) = policy.exclude.iter().find(|pattern| pattern.matches(&dataset.name)) {
        return Some(LeftOutReason::Excluded { pattern: pattern.to_string() });
    }
    if dataset.is_opted_out() {
        return Some(LeftOutReason::OptedOut { set_on: opted_out_on(source, dataset) });
    }
    dataset.user.local(RESTORE_PROPERTY).is_some().then_some(LeftOutReason::BeingRestored)
}

/// Where the property is set: on the dataset or the nearest one above it that was listed.
fn opted_out_on(source: &Listing, dataset: &Dataset) -> Option<DatasetName> {
    let mut at = Some(dataset);
    while let Some(one) = at {
        if one.user.local(BACKUP_PROPERTY).is_some() {
            return Some(one.name.clone());
        }
        at = one.name.parent().and_then(|parent| source.get(&parent));
    }
    None
}

fn left_out_by_owner(
    format: &NameFormat,
    dataset: &Dataset,
    volume: &Volume<'_>,
    served: &BTreeSet<GuestId>,
) -> Option<LeftOutReason> {
    if !volume.leaving_out.is_empty() {
        let lines = volume.leaving_out.iter().map(|line| line.place.clone()).collect();
        return Some(LeftOutReason::NotBackedUp { volume: volume.dataset.clone(), lines });
    }
    if let Owner::OnOtherNode(guest, node) = volume.owner {
        return Some(LeftOutReason::OnOtherNode { guest, node: node.to_owned() });
    }
    if let Some((guest, role)) = volume.no_disk {
        return Some(LeftOutReason::NoDisk { guest, role });
    }
    match volume.owner {
        Owner::Guest(Guest { id, lock: Some(lock), .. }) if HALF_MADE.contains(&lock.as_str()) => {
            Some(LeftOutReason::Locked { guest: *id, lock: lock.clone() })
        }
        Owner::Unreadable(guest) if served.contains(&guest) && !is_served(format, dataset) => {
            Some(LeftOutReason::GuestUnreadable { guest })
        }
        Owner::InDoubt(guest, _) if !is_served_here(format, dataset) => {
            Some(LeftOutReason::InDoubt { guest })
        }
        Owner::NoGuest
        | Owner::UnknownGuest(_)
        | Owner::Guest(_)
        | Owner::Unreadable(_)
        | Owner::OnOtherNode(..)
        | Owner::InDoubt(..) => None,
    }
}

fn not_asked_for(
    policy: &Policy,
    request: &Request,
    dataset: &DatasetName,
    guest: Option<GuestId>,
) -> Option<LeftOutReason> {
    let is_asked_for = policy.is_selected(dataset)
        && (request.guests.is_empty() || guest.is_some_and(|guest| request.guests.contains(&guest)));
    (!is_asked_for).then_some(LeftOutReason::NotAskedFor)
}

#[cfg(test)]
mod tests;
