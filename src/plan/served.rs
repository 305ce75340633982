//! A plan's findings on the selection: datasets in doubt, and those that were served before and are not now. A run that
//! was asked for something that does not exist is refused.

use super::builder::Builder;
use super::left_out::LeftOutReason;
use super::select::Selection;
use super::{FindingKind, Place, PlanError, Request, Severity};
use crate::model::{Inventory, Listing, ProxmoxState};
use crate::policy::Policy;

/// Adds the findings, and notes what is left out.
pub(super) fn report(builder: &mut Builder, inventory: &Inventory, selection: &Selection<'_>) {
    let mut find = |severity, dataset, kind| builder.find(severity, dataset, Place::Source, kind);
    if let ProxmoxState::InDoubt(cause) = &inventory.proxmox.state {
        find(Severity::Failed, None, FindingKind::ConfigInDoubt { cause: cause.clone() });
    }
    for (guest, cause) in &inventory.proxmox.unreadable {
        let kind = FindingKind::GuestUnreadable { guest: *guest, cause: cause.clone() };
        find(Severity::Failed, None, kind);
    }
    for one in selection.left_out.iter().filter(|one| one.was_served) {
        if one.reason != LeftOutReason::NotAskedFor {
            let kind = FindingKind::NotServedAnyMore { because: one.reason.clone() };
            find(Severity::Warning, Some(&one.dataset), kind);
        }
    }
    for (dataset, guest) in &selection.of_unknown_guests {
        find(Severity::Note, Some(*dataset), FindingKind::UnknownGuest { guest: *guest });
    }
    if selection.selected.is_empty() {
        find(Severity::Warning, None, FindingKind::NothingSelected);
    }
    builder.leave_out(selection.left_out.clone());
}

/// Refuses a run for guests or datasets of which nothing is selected: most likely a slip, and never "done".
pub(super) fn check_request(
    policy: &Policy,
    inventory: &Inventory,
    request: &Request,
    selection: &Selection<'_>,
    source: &Listing,
) -> Result<(), PlanError> {
    // The dataset asked for may be among those that could not be listed; that is reported, and the run fails.
    let is_complete = source.unlisted().next().is_none();
    for guest in request.guests.iter().filter(|_| is_complete) {
        if selection.selected.iter().any(|one| one.guest_id == Some(*guest)) {
            continue;
        }
        let node = inventory.proxmox.elsewhere.get(guest).cloned();
        let is_known = inventory.proxmox.guest(*guest).is_some();
        return Err(match node {
            Some(node) => PlanError::GuestOnOtherNode { guest: *guest, node },
            None if is_known => PlanError::GuestNotSelected { guest: *guest },
            None => PlanError::NoSuchGuest { guest: *guest },
        });
    }
    for dataset in &policy.selected {
        let is_known = source.why_unlisted(dataset).is_none();
        if is_known && !selection.selected.iter().any(|one| one.dataset.name.is_within(dataset)) {
            let is_there = selection.left_out.iter().any(|one| one.dataset.is_within(dataset));
            let dataset = dataset.clone();
            return Err(if is_there {
                PlanError::DatasetLeftOut { dataset }
            } else {
                PlanError::NoSuchDataset { dataset }
            });
        }
    }
    Ok(())
}
