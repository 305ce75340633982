//! The checks on this host: locks, what was interrupted and set aside, points that stop Proxmox VE's rollback, and full
//! pools.

use std::collections::BTreeSet;

use super::super::freezing;
use super::super::render::count;
use super::super::restore::unended_of_guest;
use super::super::running;
use super::super::trouble::Trouble;
use super::interrupted;
use crate::host;
use crate::model::{Answer, Dataset, Guest, GuestId, Inventory, Listing, PointKind};
use crate::plan::Severity;
use crate::policy::Policy;

/// ZFS slows down, and a receive may not fit, long before a pool is full.
const FULL_PERCENT: u32 = 90;

pub(super) fn check(policy: &Policy, inventory: &Inventory) -> Vec<Trouble> {
    let nothing = Listing::default();
    let here = match &inventory.source {
        Answer::Listed(here) => here,
        Answer::CouldNotAsk(_) => &nothing,
    };
    let guests = inventory.proxmox.guests.iter();
    let locks = guests.filter_map(|guest| match unended_of_guest(policy, guest.id, here) {
        None => lock(guest),
        Some(unended) => interrupted::guest(guest.id, unended),
    });
    let mut troubles: Vec<Trouble> = locks.collect();
    troubles.extend(here.datasets().filter_map(|dataset| interrupted::dataset(policy, dataset, here)));
    troubles.extend(here.datasets().filter_map(|dataset| interrupted::set_aside(policy, dataset, here)));
    for guest in &inventory.proxmox.guests {
        troubles.extend(blocked_rollback(guest, inventory, here));
    }
    troubles.extend(frozen(policy));
    if policy.freeze.is_some() {
        troubles.extend(inventory.proxmox.guests.iter().filter_map(silent_agent));
    }
    let pools: BTreeSet<&str> = policy.roots.iter().map(|root| root.dataset.pool()).collect();
    troubles.extend(pools.into_iter().filter_map(full_pool));
    troubles
}

/// A lock that no process removes any more keeps a guest from being started and backed up.
fn lock(guest: &Guest) -> Option<Trouble> {
    let lock = guest.lock.as_ref()?;
    let id = guest.id;
    let is_rollback = lock == "rollback";
    Some(Trouble {
        severity: if is_rollback { Severity::Blocked } else { Severity::Warning },
        kind: "locked",
        about: format!("guest {id}"),
        what: format!("is locked ({lock}), and cannot be started or changed"),
        next: if is_rollback {
            format!(
                "if `zhaul rollback {id}` was interrupted, the same command again; if it was Proxmox VE's, `zhaul list {id}`, \
                 then `qm unlock {id}` or `pct unlock {id}`, and `zhaul rollback {id} --to POINT`"
            )
        } else {
            format!("if no task of it is active any more: `qm unlock {id}` or `pct unlock {id}`")
        },
    })
}

/// A run that was killed with all its processes has left a guest that writes nothing.
fn frozen(policy: &Policy) -> Vec<Trouble> {
    let trouble = |guest: GuestId| Trouble {
        severity: Severity::Failed,
        kind: "frozen",
        about: format!("guest {guest}"),
        what: "may be frozen by a run that was killed".to_owned(),
        next: freezing::next(guest),
    };
    freezing::left(policy).into_iter().map(trouble).collect()
}

/// The points of a guest whose agent does not answer are only crash-consistent.
fn silent_agent(guest: &Guest) -> Option<Trouble> {
    if !guest.is_freezable {
        return None;
    }
    let (id, why) = (guest.id, host::freezing::why_not_freezable(guest.id)?);
    Some(Trouble {
        severity: Severity::Note,
        kind: "agent-silent",
        about: format!("guest {id}"),
        what: format!("has `agent: 1`, but its file systems cannot be frozen: {why}"),
        next: format!("see that qemu-guest-agent runs in the guest, or `qm set {id} --agent 1,freeze-fs=0`"),
    })
}

/// Proxmox VE rolls back to the newest snapshot of a disk only, and does not look at bookmarks before it stops the guest.
fn blocked_rollback(guest: &Guest, inventory: &Inventory, here: &Listing) -> Option<Trouble> {
    let lines = guest.disks.iter().filter(|line| line.is_current);
    let disks: Vec<&Dataset> = lines
        .filter_map(|line| here.get(&inventory.proxmox.dataset_of(&line.storage, &line.volume)?))
        .collect();
    let (mut newest, mut points) = (None, [0_usize; 2]);
    for disk in disks {
        let of_guest = |name| guest.snapshots.contains(name);
        let Some(last) = disk.history.snapshots().rev().find(|point| of_guest(&point.name)) else { continue };
        newest = Some(last.name.clone());
        for point in disk.history.points().filter(|point| point.createtxg > last.createtxg) {
            let [snapshots, bookmarks] = &mut points;
            *(if point.kind == PointKind::Snapshot { snapshots } else { bookmarks }) += 1;
        }
    }
    let (newest, [snapshots, bookmarks]) = (newest?, points);
    if snapshots + bookmarks == 0 {
        return None;
    }
    let id = guest.id;
    let halfway = if snapshots == 0 {
        ", after it has stopped and locked the guest"
    } else {
        ", before it does anything"
    };
    Some(Trouble {
        severity: if snapshots == 0 { Severity::Warning } else { Severity::Note },
        kind: "blocked-rollback",
        about: format!("guest {id}"),
        what: format!(
            "{} and {} are newer than Proxmox VE's snapshot {newest}: its own rollback to it fails{halfway}",
            count(snapshots, "snapshot"),
            count(bookmarks, "bookmark")
        ),
        next: format!("to go back to it: `zhaul rollback {id} --to {newest}`"),
    })
}

/// How full the pool is; a program that is missing or does not answer is no trouble of its own.
fn full_pool(name: &str) -> Option<Trouble> {
    let said = running::answer("zpool", &["list", "-Hp", "-o", "capacity", name])?.ok()?;
    let percent: u32 = said.trim().trim_end_matches('%').parse().ok()?;
    (percent >= FULL_PERCENT).then(|| Trouble {
        severity: Severity::Warning,
        kind: "pool-full",
        about: format!("pool {name}"),
        what: format!("is {percent} % full"),
        next: format!(
            "`zfs list -o space -r {name}` shows what uses it; keep fewer snapshots at the source (keep-last)"
        ),
    })
}
