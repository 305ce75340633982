//! Whether a guest's disks may be taken from under it: what Proxmox VE refuses, whether it is stopped, who uses its disks.

use std::fmt::Write as _;

use anyhow::anyhow;

use super::exit_code::{Code, Failure, OrExit};
use super::render::escape;
use super::running::{self, Running};
use crate::host;
use crate::model::{DatasetKind, DatasetName, GuestId, Inventory, ProxmoxState};

fn refuse<T>(text: String) -> Result<T, Failure> {
    Err(anyhow!(text)).or_exit(Code::Blocked)
}

/// Refuses what Proxmox VE refuses, too: a template, a lock, a guest of another node or one that the HA manager starts.
/// `is_own` says that the lock in its file is this command's.
pub(super) fn check_guest(id: GuestId, inventory: &Inventory, is_own: bool) -> Result<(), Failure> {
    let proxmox = &inventory.proxmox;
    if let Some(node) = proxmox.elsewhere.get(&id) {
        return refuse(format!(
            "guest {id} is on node {node}: nothing was done\n  next: roll it back there; the datasets here are replicas"
        ));
    }
    if let Some(why) = proxmox.unreadable.get(&id) {
        return refuse(format!(
            "the file of guest {id} cannot be read: {}: nothing was done\n  next: mend it, then the same command again",
            escape(why)
        ));
    }
    let Some(guest) = proxmox.guest(id) else { return Ok(()) };
    if guest.is_template {
        return refuse(format!(
            "guest {id} is a template, whose disks its clones need: nothing was done\n  \
             next: `zhaul restore {id} --as VMID` makes a guest of an earlier point"
        ));
    }
    if let Some(lock) = guest.lock.as_deref().filter(|_| !is_own) {
        let meaning = if lock == "rollback" {
            "a rollback has not ended, or failed halfway: some disks may be rolled back and others not"
        } else {
            "another operation has not ended"
        };
        return refuse(format!(
            "guest {id} is locked ({}), since {meaning}: nothing was done\n  \
             next: wait for it to end; if no task is active any more (`pvenode task list --vmid {id}`), \
             `qm unlock {id}` or `pct unlock {id}`, then the same command again",
            escape(lock)
        ));
    }
    if let Some(state) = proxmox.managed.get(&id)
        && !["stopped", "ignored", "disabled"].contains(&state.as_str())
    {
        let is_container = guest.disks.iter().any(|disk| disk.place.starts_with("lxc/"));
        let kind = if is_container { "ct" } else { "vm" };
        return refuse(format!(
            "the HA manager starts guest {id} whenever it is stopped (state {}): nothing was done\n  \
             next: `ha-manager set {kind}:{id} --state stopped`, then the same command again; \
             afterwards `ha-manager set {kind}:{id} --state started`",
            escape(state)
        ));
    }
    Ok(())
}

/// A disk that is rolled back under a running guest is a broken file system: a guest is stopped only where that is said.
pub(super) fn check_stopped(id: GuestId, is_stated: bool, inventory: &Inventory) -> Result<(), Failure> {
    let said = match running::ask(id) {
        Running::Stopped => return Ok(()),
        Running::NoPrograms if inventory.proxmox.state == ProxmoxState::Absent => return Ok(()),
        Running::Says(said) => {
            return refuse(format!(
                "guest {id} may be running ({}): nothing was done\n  \
                 next: `qm shutdown {id}` or `pct shutdown {id}`, then the same command again",
                escape(&said)
            ));
        }
        Running::NoPrograms => "neither qm nor pct is installed".to_owned(),
        Running::Unknown(said) => said,
    };
    if is_stated {
        return Ok(());
    }
    refuse(format!(
        "guest {id} may be running, since nothing says that it is stopped ({}): nothing was done\n  \
         next: see that no process has the number {id} (`ps ax | grep -w {id}`); if nothing uses the disks, \
         the same command with --stopped",
        escape(&said)
    ))
}

/// Whatever is said: what a process has open is in use.
pub(super) fn check_unused<'a>(
    disks: impl Iterator<Item = (&'a DatasetName, DatasetKind)>,
) -> Result<(), Failure> {
    let mut used = String::new();
    for (dataset, kind) in disks {
        for user in host::users(dataset, kind) {
            let _ = write!(used, "\n  {dataset} by {}", escape(&user));
        }
    }
    if used.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "disks are in use: nothing was done{used}\n  next: stop the guest, or end what uses them; then the same command again"
    ))
}
