//! The words of a finding: what was found, its cause, what that means for the data, and the next action.
//!
//! Each next action helps, and leads to no loss: what is named is renamed, never destroyed, unless nothing of worth can
//! be in it.

use super::left_out::{left_out_next, left_out_text};
use super::reason::{fault_text, reason_text};
use super::{list, set_aside, shell_word};
use crate::channel::login_advice;
use crate::model::{PointName, Unlisted};
use crate::plan::{DiskElsewhere, Finding, FindingKind, KeptBy, Obstacle};

/// The finding, in one or two sentences.
#[expect(clippy::too_many_lines, reason = "a table: one arm of words for each kind")]
pub(in crate::cli) fn finding_what(finding: &Finding) -> String {
    match &finding.kind {
        FindingKind::ConfigInDoubt { cause } => format!(
            "Proxmox VE's configuration cannot be relied upon: {cause}; guests that this node backed up before are still \
             backed up, no copy of a guest begins, and nothing of a guest is pruned"
        ),
        FindingKind::GuestUnreadable { guest, cause } => format!(
            "the configuration of guest {guest} cannot be read: {cause}; volumes named after the guest that were backed up \
             before are still backed up, and nothing of them is pruned"
        ),
        FindingKind::NotServedAnyMore { because } => {
            format!("was backed up before, and is left out now: {}", left_out_text(because))
        }
        FindingKind::UnknownGuest { guest } => {
            format!("is named after guest {guest}, which has no configuration on any node; it is backed up")
        }
        FindingKind::DisksElsewhere { guest, disks } => {
            let disk = |disk: &DiskElsewhere| match &disk.dataset {
                Some(dataset) => format!("{dataset} ({})", disk.line),
                None => format!(
                    "{}:{}, on no ZFS storage of this node ({})",
                    disk.storage, disk.volume, disk.line
                ),
            };
            let disks: Vec<String> = disks.iter().map(disk).collect();
            format!("of guest {guest} this policy does not back up: {}", disks.join("; "))
        }
        FindingKind::NothingSelected => "no dataset is selected, so nothing is backed up".to_owned(),
        FindingKind::NoNewCopy { copy } => {
            format!(
                "nothing is sent: {copy} has not begun or has diverged, and Proxmox VE's configuration is in doubt"
            )
        }
        FindingKind::TargetNotListed { cause } => {
            format!("could not be listed, so nothing is sent to it: {cause}")
        }
        FindingKind::SourceNotListed { name, why } => {
            format!("not backed up, because {}", unlisted_what(name, why))
        }
        FindingKind::CopyNotListed { name, why, .. } => {
            format!("nothing is sent, because {}; the copy stays as it is", unlisted_what(name, why))
        }
        FindingKind::OddOptOut { value } => {
            format!("zhaul:backup is {value:?}, which excludes nothing; the dataset is backed up")
        }
        FindingKind::OriginMissing { copy, origin } => {
            format!("{copy} is sent in full, as it is a clone of {origin}, which the target does not have")
        }
        FindingKind::NameTaken { copy, by } => {
            format!("its copy is called {copy}, because {by} has the usual name")
        }
        FindingKind::CopyContested { copy, other, is_listed } => {
            let why = if *is_listed { "both have its newest snapshot" } else { "which could not be listed" };
            format!("{copy} could be the copy of this dataset or of {other}, {why}; nothing is sent to it")
        }
        FindingKind::CopyName { error } => format!("the copy cannot be named: {error}"),
        FindingKind::SnapshotName { error } => format!("no snapshot is taken: {error}"),
        FindingKind::ArchiveName { error } => format!("the archived snapshot cannot be named: {error}"),
        FindingKind::CannotBookmark { snapshot, error } => {
            format!("@{snapshot} is not pruned, because it can get no bookmark: {error}")
        }
        FindingKind::DoubtfulBookmark { bookmark, base } => {
            let instead = base.as_ref().map_or_else(
                || "everything is sent".to_owned(),
                |base| format!("the increment starts from {base}"),
            );
            format!(
                "#{bookmark} is not used as incremental source, because it is not certain that the dataset still \
                 contains it (its snapshot was destroyed, by hand or by zfs receive -F); {instead}"
            )
        }
        FindingKind::NotPruned { copy } => {
            format!("{copy} is not pruned: the holds and clones of its snapshots could not be read")
        }
        FindingKind::NotMarked { copy, snapshots } => format!(
            "{copy} is not pruned: it has {snapshots} snapshots that are named as zhaul's are, but no zhaul:writer says whose copy \
             it is"
        ),
        FindingKind::IsArchived { copy, month } => {
            format!("{copy} is not pruned: it has @{month}, which is named as the months of an archive are")
        }
        FindingKind::StaysInUse { snapshot, by } => {
            format!("@{snapshot} is kept by no rule, but {} keeps it", keeper(*by))
        }
        FindingKind::SetAsideName { copy } => {
            format!("{copy} must be renamed, but its name with a date would be too long")
        }
        FindingKind::Aside(aside) => set_aside::what(aside),
        FindingKind::OtherWriter { copy, writer, .. } => {
            format!(
                "{copy} is the copy of another source, {writer}; nothing is sent to it, and it stays as it is"
            )
        }
        FindingKind::UnclaimedCopy { copy, .. } => format!(
            "{copy} carries no mark of who writes it, and its newest snapshot is unknown to this source, so it may be the \
             copy of another one; nothing is sent to it, and it stays as it is"
        ),
        FindingKind::TakenOver { copy, from, has_newest: true } => {
            format!("{copy} was the copy of {from}; this source has its newest snapshot and continues it")
        }
        FindingKind::TakenOver { copy, from, has_newest: false } => format!(
            "{copy} was the copy of {from}; the guest is on this node now, without the newest snapshots of the copy, and \
             this source continues it"
        ),
        FindingKind::PromotedAway { copy, origin, is_continued } => format!(
            "{copy} is a clone of {origin}, which has its older snapshots: a clone of the copy was promoted{}",
            if *is_continued { "" } else { "; nothing is sent to it" }
        ),
        FindingKind::NotSafe { copy, property, value, wanted } => {
            format!("{copy} is not a safe copy: {property} is {value} instead of {wanted}")
        }
        FindingKind::RenamedAtSource { copy, from, is_followed: true } => {
            format!("the dataset was renamed at the source: its copy {from} is renamed to {copy}")
        }
        FindingKind::RenamedAtSource { copy, from, is_followed: false } => {
            format!(
                "the dataset was renamed at the source: {from} keeps what it has, and {copy} starts with a full stream"
            )
        }
        FindingKind::RenamedOnTarget { copy, old } => {
            format!(
                "its copy was renamed to {old}, which keeps what it has, and {copy} starts with a full stream"
            )
        }
        FindingKind::NoBase { copy } => {
            format!("{copy} has snapshots, but the source knows none of them; the copy stays as it is")
        }
        FindingKind::WrittenTo { copy, newest, written_bytes } => format!(
            "{copy} was written to after its newest snapshot {}: {written_bytes}; nothing is sent to it",
            at(newest.as_ref())
        ),
        FindingKind::UnknownData { copy } => {
            format!(
                "{copy} exists without a snapshot, so its data belongs to nothing known; nothing is sent to it"
            )
        }
        FindingKind::Diverged { copy, base, newer, .. } => format!(
            "{copy} has {} after the newest common snapshot @{base}, unknown to the source; the copy stays as it is",
            list(newer)
        ),
        FindingKind::ArchiveDiverged { copy, because } => {
            format!(
                "{copy} has diverged from the source: {}; an archive is never changed",
                reason_text(because)
            )
        }
        FindingKind::ForeignReceive { copy, fault } => format!(
            "{copy} holds a partial receive that is not of this policy: {}; nothing is sent to it",
            fault_text(fault)
        ),
        FindingKind::ParentMissing { parent } => {
            format!("nothing is sent: the parent {parent} does not exist and is not received in this run")
        }
        FindingKind::ParentIsVolume { parent } => {
            format!("nothing is sent: {parent} is a volume, and nothing can be received below a volume")
        }
        FindingKind::DetailsUnknown { copy } => {
            format!(
                "nothing is sent to {copy}: the holds and clones of its newest snapshots could not be read"
            )
        }
        FindingKind::PlainCopy { copy } => {
            format!(
                "{copy} is not encrypted, but its source is, and is only sent raw; the copy stays as it is"
            )
        }
        FindingKind::RawCopy { copy } => {
            format!(
                "{copy} is encrypted with the key of its source, but the source is not encrypted any more; the copy stays as it is"
            )
        }
        FindingKind::MonthOutOfOrder { snapshot, month, other } => {
            format!(
                "@{snapshot} has arrived, but does not get the name {month}: the agent there archives months in their order, \
                 and {other} is on the wrong side of it"
            )
        }
        FindingKind::MonthsLost { months } => {
            let which = match months.as_slice() {
                [first, .., last] => format!("{} months, {first} to {last},", months.len()),
                [month] => month.to_string(),
                [] => String::new(),
            };
            format!("{which} can no longer be archived: the source has no zhaul snapshot left from then")
        }
    }
}

/// The next action; `None` where none is needed.
#[expect(clippy::too_many_lines, reason = "a table: one arm of words for each kind")]
pub(in crate::cli) fn finding_next(finding: &Finding) -> Option<String> {
    let place = &finding.place;
    Some(match &finding.kind {
        FindingKind::ConfigInDoubt { .. } | FindingKind::NoNewCopy { .. } => {
            "check that pve-cluster runs and has quorum (systemctl status pve-cluster; pvecm status); set guest-config = \"\" \
             on a host without guests"
                .to_owned()
        }
        FindingKind::GuestUnreadable { guest, .. } => {
            format!("see whether `qm config {guest}` or `pct config {guest}` can read it")
        }
        FindingKind::NotServedAnyMore { because } => left_out_next(finding.dataset.as_ref(), because),
        FindingKind::DisksElsewhere { .. } => {
            "add the dataset above it to `datasets`, or move the disk to a ZFS storage; where it is to have no backup, say so with \
             `backup=0` in that line, or for a dataset in `exclude`"
                .to_owned()
        }
        FindingKind::NothingSelected => {
            "`zhaul config check --show-datasets` lists what leaves each dataset out".to_owned()
        }
        FindingKind::TargetNotListed { cause } => {
            format!("{}; the next run sends what is missing", target_unlisted_advice(cause))
        }
        FindingKind::SourceNotListed { name, why } => source_unlisted_next(name, why),
        FindingKind::CopyNotListed { name, why, .. } => unlisted_next(&format!("on {place}, "), name, why),
        FindingKind::OddOptOut { .. } => {
            "set it to off to exclude the dataset, or remove it (zfs inherit zhaul:backup)".to_owned()
        }
        FindingKind::CopyContested { other, is_listed: false, .. } => {
            format!("see what is reported of {other}; the next run that can list it decides")
        }
        FindingKind::CopyContested { copy, other, .. } => format!(
            "leave {other} or this dataset out (zfs set zhaul:backup=off), or on {place} rename {copy} (zfs rename): each then starts with a full \
             stream"
        ),
        FindingKind::CopyName { .. } => {
            "give the target a shorter `dataset`, or the source a shorter name".to_owned()
        }
        FindingKind::SnapshotName { .. } | FindingKind::CannotBookmark { .. } => {
            "give the dataset a shorter name (zfs rename)".to_owned()
        }
        FindingKind::ArchiveName { .. } => "give the snapshot a shorter name (zfs rename)".to_owned(),
        FindingKind::DoubtfulBookmark { .. } => {
            "leave the newest zhaul snapshot of each dataset in place; to free space, destroy older ones".to_owned()
        }
        FindingKind::NotPruned { .. } | FindingKind::DetailsUnknown { .. } => {
            "see the log for the cause; the next run reads them again".to_owned()
        }
        FindingKind::NotMarked { .. } => {
            "the next run of its source marks it, if it is the copy of a source that still sends; otherwise it is yours to keep or to destroy".to_owned()
        }
        FindingKind::IsArchived { .. } => {
            "prune backups only; if the copy is a backup's, give that snapshot another name (zfs rename)".to_owned()
        }
        FindingKind::StaysInUse { by: KeptBy::Hold, .. } => {
            "zfs holds names the tags; the first run after their release destroys it".to_owned()
        }
        FindingKind::StaysInUse { by: KeptBy::Clone, .. } => {
            "zfs get clones names the clones; the first run after they are gone destroys it".to_owned()
        }
        FindingKind::SetAsideName { copy } => format!("on {place}, rename {copy} (zfs rename)"),
        FindingKind::Aside(aside) => return set_aside::next(aside, place),
        FindingKind::OtherWriter { copy, mark, .. } | FindingKind::UnclaimedCopy { copy, mark } => format!(
            "give this source a target dataset of its own; or, if it is to write this copy from now on, on {place}: zfs set \
             'zhaul:writer={mark}' {copy:#} (the next run then sets aside what this source does not know)"
        ),
        FindingKind::PromotedAway { copy, .. } => format!("on {place}: zfs promote {copy:#}"),
        FindingKind::NotSafe { copy, property, wanted, .. } => format!(
            "on {place}, as root: zfs set {property}={wanted} {copy:#}; if zhaul logs in as another user: zfs allow -u USER \
             {property} on the target's dataset"
        ),
        FindingKind::RenamedOnTarget { copy, old } => format!(
            "nothing, if {old} is to stay; to go on with it instead, on {place}: zfs rename {copy:#} {copy:#}.new (if it exists), \
             then zfs rename {old:#} {copy:#}"
        ),
        FindingKind::NoBase { copy } => {
            format!("on {place}, rename {copy} (zfs rename), or set on-no-base = \"supersede\"")
        }
        FindingKind::WrittenTo { copy, newest, .. } => format!(
            "on {place}, to keep what was written: zfs rename {copy:#}; to discard it: zfs rollback {copy:#}{}",
            at(newest.as_ref())
        ),
        FindingKind::UnknownData { copy } => {
            format!("on {place}, rename {copy} (zfs rename); the next run sends everything")
        }
        FindingKind::Diverged { copy, obstacle, .. } => match obstacle {
            Obstacle::Policy => {
                format!("on {place}, rename {copy} (zfs rename), or set on-divergence = \"keep\"")
            }
            Obstacle::Foreign(foreign) => {
                format!("on {place}, {} is not zhaul's: rename {copy} (zfs rename)", list(foreign))
            }
            Obstacle::InUse(in_use) => {
                format!(
                    "on {place}, {} is held or cloned: zfs holds and zfs get clones name by what",
                    list(in_use)
                )
            }
        },
        FindingKind::ArchiveDiverged { .. } => {
            "set on-divergence = \"keep\"".to_owned()
        }
        FindingKind::ForeignReceive { copy, .. } => {
            format!("if no other program will resume it, on {place}: zfs receive -A {copy:#}")
        }
        FindingKind::ParentMissing { parent } => format!("see what is reported of {parent}"),
        FindingKind::ParentIsVolume { parent } => {
            format!("on {place}, rename {parent} (zfs rename); it stays until you destroy it")
        }
        FindingKind::PlainCopy { copy } => {
            format!("on {place}, rename {copy} (zfs rename); the next run sends everything raw")
        }
        FindingKind::RawCopy { copy } => {
            format!(
                "if everything may lie on {place} without encryption from now on, rename {copy} there (zfs rename); the next run \
                 sends everything"
            )
        }
        FindingKind::MonthOutOfOrder { other, .. } => {
            format!("on {place}, if the snapshot {other} was made by hand, give it another name (zfs rename)")
        }
        FindingKind::MonthsLost { .. }
        | FindingKind::RenamedAtSource { .. }
        | FindingKind::TakenOver { .. }
        | FindingKind::UnknownGuest { .. } | FindingKind::NameTaken { .. } | FindingKind::OriginMissing { .. } => return None,
    })
}

/// Why nothing is known of a dataset.
pub(in crate::cli) fn unlisted_what(name: &str, why: &Unlisted) -> String {
    let pool = name.split('/').next().unwrap_or_default();
    match why {
        Unlisted::Missing => format!("{name} does not exist"),
        Unlisted::NoPool => format!("the pool {pool} is not imported"),
        Unlisted::Suspended => format!("the pool {pool} has suspended all I/O"),
        Unlisted::Changing => {
            format!("{name} was created, destroyed or renamed each time it was listed")
        }
        Unlisted::BadName(bad) => format!("{bad:?} is not a name that zhaul takes"),
        Unlisted::Failed(cause) => format!("{name} cannot be listed: {cause}"),
    }
}

/// What makes a target answer that could not be listed.
pub(in crate::cli) fn target_unlisted_advice(cause: &str) -> &'static str {
    if cause.contains("is suspended after I/O errors") {
        return "zpool status there shows which devices do not answer; when they do again, zpool clear";
    }
    login_advice(cause).unwrap_or("check the host, its pool and its ssh login")
}

/// What makes it known again where it is on this host.
pub(in crate::cli) fn unlisted_here_next(name: &str, why: &Unlisted) -> String {
    let pool = shell_word(name.split('/').next().unwrap_or_default());
    match why {
        Unlisted::NoPool => format!("`zpool import {pool}`"),
        Unlisted::Suspended => {
            format!("`zpool status {pool}` names the cause, and `zpool clear {pool}` resumes I/O")
        }
        Unlisted::Changing => "wait a moment".to_owned(),
        Unlisted::BadName(bad) => format!("rename {bad:?} (`zfs rename`)"),
        Unlisted::Missing | Unlisted::Failed(_) => {
            format!("`zfs list -r -t all {}` shows what fails", shell_word(name))
        }
    }
}

fn source_unlisted_next(name: &str, why: &Unlisted) -> String {
    match why {
        Unlisted::Missing => {
            format!("correct `datasets` in the policy, or create {name}; zfs list shows what exists")
        }
        Unlisted::Changing => {
            "the next run tries again; if the dataset is temporary, exclude it (`exclude` in the policy)"
                .to_owned()
        }
        Unlisted::NoPool | Unlisted::Suspended | Unlisted::BadName(_) | Unlisted::Failed(_) => {
            unlisted_next("", name, why)
        }
    }
}

/// What makes it known; `on` is where, as it begins a sentence.
fn unlisted_next(on: &str, name: &str, why: &Unlisted) -> String {
    let pool = name.split('/').next().unwrap_or_default();
    match why {
        Unlisted::NoPool => format!("{on}zpool import {pool}"),
        Unlisted::Suspended => {
            format!("{on}zpool status {pool} names the cause; zpool clear {pool} resumes I/O")
        }
        Unlisted::BadName(bad) => format!("{on}rename {bad:?} (zfs rename)"),
        Unlisted::Changing => "the next run tries again".to_owned(),
        Unlisted::Missing | Unlisted::Failed(_) => format!("{on}see what fails: zfs list -r -t all {name}"),
    }
}

fn keeper(by: KeptBy) -> &'static str {
    match by {
        KeptBy::Hold => "a hold",
        KeptBy::Clone => "a clone",
    }
}

fn at(snapshot: Option<&PointName>) -> String {
    snapshot.map(|name| format!("@{name}")).unwrap_or_default()
}
