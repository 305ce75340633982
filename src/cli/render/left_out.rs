//! The words for the reason that leaves a dataset out, and how to have the dataset backed up anyway.

use std::fmt::Write as _;

use super::{count, escape};
use crate::model::{DatasetName, VolumeRole};
use crate::plan::{LeftOut, LeftOutReason, Orphan};

/// The reason that leaves a dataset out.
pub(in crate::cli) fn left_out_text(reason: &LeftOutReason) -> String {
    match reason {
        LeftOutReason::Container => "it is a root with children, and include-root is not set".to_owned(),
        LeftOutReason::Excluded { pattern } => format!("the policy excludes {pattern:?}"),
        LeftOutReason::OptedOut { set_on: Some(dataset) } => format!("zhaul:backup is off on {dataset}"),
        LeftOutReason::OptedOut { set_on: None } => {
            "zhaul:backup is off, inherited from above or received".to_owned()
        }
        LeftOutReason::NotBackedUp { volume, lines } => {
            format!("{volume} is not to be backed up by {}", lines.join(" and "))
        }
        LeftOutReason::OnOtherNode { guest, node } => {
            format!("guest {guest} is on node {node}: a replica, or left behind by a migration")
        }
        LeftOutReason::NoDisk { guest, role } => {
            format!("it is {} of guest {guest}, no disk", role_text(*role))
        }
        LeftOutReason::GuestUnreadable { guest } => {
            format!(
                "the configuration of guest {guest} cannot be read, and the volume was not backed up before"
            )
        }
        LeftOutReason::InDoubt { guest } => format!(
            "whether guest {guest} is on this node is in doubt, and the newest snapshot was not taken here"
        ),
        LeftOutReason::BeingRestored => {
            "a restore or a rollback of it was interrupted (zhaul:restore)".to_owned()
        }
        LeftOutReason::GuestBeingRestored { guest } => {
            format!(
                "a restore or a rollback of guest {guest} was interrupted (zhaul:restore on another volume)"
            )
        }
        LeftOutReason::Locked { guest, lock } => {
            format!("guest {guest} is locked ({lock}): its disks may be half of something")
        }
        LeftOutReason::NotAskedFor => "not asked for in this run".to_owned(),
    }
}

fn role_text(role: VolumeRole) -> &'static str {
    match role {
        VolumeRole::Disk => "a disk",
        VolumeRole::State => "the saved memory",
        VolumeRole::Fleecing => "the fleecing volume",
        VolumeRole::CloudInit => "the cloud-init drive",
    }
}

/// The next action if it should be backed up.
pub(super) fn left_out_next(dataset: Option<&DatasetName>, reason: &LeftOutReason) -> String {
    let how = match reason {
        LeftOutReason::Container => "set include-root = true".to_owned(),
        LeftOutReason::Excluded { .. } => "change `exclude`".to_owned(),
        LeftOutReason::OptedOut { set_on: Some(on) } => format!("zfs inherit zhaul:backup {on:#}"),
        LeftOutReason::OptedOut { set_on: None } => {
            format!("zfs set zhaul:backup=on {}", word(dataset))
        }
        LeftOutReason::NotBackedUp { .. } => "set backup=1 there".to_owned(),
        LeftOutReason::OnOtherNode { node, .. } => {
            return format!("see that zhaul on {node} backs the guest up");
        }
        LeftOutReason::NoDisk { .. } => {
            "give the dataset another name, or name it in the guest's configuration".to_owned()
        }
        LeftOutReason::GuestUnreadable { .. } | LeftOutReason::InDoubt { .. } => {
            return "see what is reported of Proxmox VE's configuration".to_owned();
        }
        LeftOutReason::BeingRestored | LeftOutReason::GuestBeingRestored { .. } => {
            return "run the interrupted command again, which continues it".to_owned();
        }
        LeftOutReason::Locked { guest, .. } => {
            return format!(
                "if `zhaul restore` or `zhaul rollback` of it was interrupted, the same command again; else wait for the task \
                 that locked it; if none is active any more, `qm unlock {guest}` or `pct unlock {guest}`"
            );
        }
        LeftOutReason::NotAskedFor => return String::new(),
    };
    let dataset = word(dataset);
    format!("to back it up: {how}; if it is left out on purpose: zfs set zhaul:backup=never {dataset}")
}

/// As a word of a command.
fn word(dataset: Option<&DatasetName>) -> String {
    dataset.map(|dataset| format!("{dataset:#}")).unwrap_or_default()
}

/// Copies that nothing is sent to any more, a line each.
pub(in crate::cli) fn orphan_lines(orphans: &[Orphan]) -> String {
    let mut text = String::new();
    for one in orphans {
        let of = match &one.source {
            Some(source) => format!("copy of {source}, which is left out"),
            None => "no source below the roots".to_owned(),
        };
        let newest = one.newest.as_ref().map(|name| format!(", the newest @{name}")).unwrap_or_default();
        let partial = if one.is_partial { ", a partial receive" } else { "" };
        let snapshots = count(one.snapshots, "snapshot");
        let _ = writeln!(text, "  {}:{}  {of}; {snapshots}{newest}{partial}", one.target, one.copy);
    }
    text
}

/// Each dataset that is left out with the reason, a line each; those that a run was merely not asked for are counted, and
/// roots that are containers are no news.
pub(in crate::cli) fn left_out_lines(left_out: &[LeftOut]) -> String {
    let mut text = String::new();
    let (unasked, named): (Vec<_>, Vec<_>) =
        left_out.iter().partition(|one| one.reason == LeftOutReason::NotAskedFor);
    let is_news = |one: &&&LeftOut| one.was_served || one.reason != LeftOutReason::Container;
    for one in named.iter().filter(is_news) {
        let _ = writeln!(text, "  {}  {}", one.dataset, escape(&left_out_text(&one.reason)));
    }
    if !unasked.is_empty() {
        let _ = writeln!(text, "  {} not asked for in this run", count(unasked.len(), "other dataset"));
    }
    text
}
