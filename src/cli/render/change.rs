//! One change to a target in words: what is to be done, and what was done.

use super::count;
use crate::model::{Change, Guid, SetAside};
use crate::plan::ToDestroy;

/// A change to a target that is to be made.
pub(super) fn change_line(change: &Change<ToDestroy>) -> String {
    match change {
        Change::CreateContainer { dataset, .. } => format!("create container {dataset}"),
        Change::AbortReceive { dataset, .. } => format!("drop the partial receive of {dataset}"),
        Change::DestroySnapshots { dataset, snapshots } => match snapshots.as_slice() {
            [one] => format!("destroy {dataset}@{}", one.name),
            several => format!("destroy {} of {dataset}", count(several.len(), "snapshot")),
        },
        Change::Rollback { dataset, to, .. } => format!("roll {dataset} back to @{to}"),
        Change::RenameDataset { from, to, .. } => format!("rename {from} to {to}"),
        Change::RenameSnapshot { dataset, from, to, .. } => format!("rename {dataset}@{from} to @{to}"),
        Change::DestroyDataset { dataset, snapshots, .. } => {
            format!("destroy {dataset} with its {}", count(snapshots.len(), "snapshot"))
        }
        Change::SetAside(SetAside { dataset, base: Some(base), .. }) => {
            format!("set aside what {dataset} has after @{}", base.name)
        }
        Change::SetAside(SetAside { dataset, base: None, .. }) => format!("set aside {dataset} as a whole"),
        Change::StoreConfig { dataset, snapshot, .. } => {
            format!("store the guest's configuration on {dataset}@{snapshot}")
        }
        Change::MarkVerified { dataset, snapshot, .. } => format!("mark {dataset}@{snapshot} as verified"),
        Change::BeginHealing { dataset, .. } => format!("begin to heal {dataset}"),
        Change::EndHealing { dataset } => format!("end the healing of {dataset}"),
        Change::Claim { dataset, writer, .. } => format!("claim {dataset} for {}", writer.label),
    }
}

/// The same once it is done, with GUIDs; `None` where nothing was removed or moved.
pub(super) fn change_done(change: &Change<ToDestroy>) -> Option<String> {
    match change {
        Change::CreateContainer { .. }
        | Change::StoreConfig { .. }
        | Change::MarkVerified { .. }
        | Change::BeginHealing { .. }
        | Change::EndHealing { .. } => None,
        Change::AbortReceive { dataset, .. } => Some(format!("aborted the partial receive of {dataset}")),
        Change::DestroySnapshots { dataset, snapshots } => {
            let snapshots = (snapshots.len(), list('@', snapshots));
            Some(format!("destroyed {} of {dataset}: {}", count(snapshots.0, "snapshot"), snapshots.1))
        }
        Change::Rollback { dataset, to, guid } => {
            Some(format!("rolled {dataset} back to @{to} {}", named(*guid)))
        }
        Change::RenameDataset { from, guid, to } => Some(format!("renamed {from} {} to {to}", named(*guid))),
        Change::RenameSnapshot { dataset, from, guid, to } => {
            Some(format!("renamed {dataset}@{from} {} to @{to}", named(*guid)))
        }
        Change::DestroyDataset { dataset, guid, snapshots } => {
            Some(format!("destroyed {dataset} {} with its snapshots: {}", named(*guid), list('@', snapshots)))
        }
        Change::SetAside(SetAside { dataset, guid, base: Some(base), .. }) => Some(format!(
            "set aside what {dataset} {} had after @{} {}",
            named(*guid),
            base.name,
            named(base.guid)
        )),
        Change::SetAside(SetAside { dataset, guid, base: None, .. }) => {
            Some(format!("set aside {dataset} {} as a whole", named(*guid)))
        }
        Change::Claim { dataset, writer, .. } => Some(format!("claimed {dataset} for {}", writer.label)),
    }
}

fn named(guid: Guid) -> String {
    format!("(GUID {guid})")
}

/// Names and GUIDs, each with its mark.
pub(super) fn list(mark: char, points: &[ToDestroy]) -> String {
    let points = points.iter().map(|point| format!("{mark}{} {}", point.name, named(point.guid)));
    points.collect::<Vec<_>>().join(", ")
}
