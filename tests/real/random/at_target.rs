//! What people and other tools do to copies.

use super::Stage;
use super::conditions::attempt;
use crate::look;
use crate::pool::{property, zfs};

pub(super) fn foreign_snapshot(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let point = format!("{copy}@manual-{}", stage.random.below(1000));
    attempt(&["snapshot", &point]).then(|| format!("zfs snapshot {point}"))
}

pub(super) fn write(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    (property("type", &copy) == "filesystem" && !look::snapshots(&copy).is_empty()).then_some(())?;
    zfs(&["set", "readonly=off", &copy]);
    let is_mounted = attempt(&["mount", &copy]);
    if is_mounted {
        look::write_file(&copy, &format!("by-hand-{}", stage.random.below(9)), 1);
        zfs(&["unmount", &copy]);
    }
    zfs(&["set", "readonly=on", &copy]);
    is_mounted.then(|| format!("a file is written into {copy}"))
}

/// On the backup: on the archive the world's own check would take it for zhaul's doing.
pub(super) fn newest_destroyed(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    copy.starts_with(&stage.world.backup_root()).then_some(())?;
    let newest = format!("{copy}@{}", look::snapshots(&copy).pop()?);
    attempt(&["destroy", &newest]).then(|| format!("zfs destroy {newest}"))
}

pub(super) fn rename(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let to = format!("{copy}-by-hand");
    attempt(&["rename", &copy, &to]).then(|| format!("zfs rename {copy} {to}"))
}

pub(super) fn promote(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let of = stage.a_snapshot(&copy)?;
    let clone = format!("{copy}-look");
    attempt(&["clone", &of, &clone]).then_some(())?;
    attempt(&["promote", &clone]);
    Some(format!("zfs clone {of} {clone}; zfs promote {clone}"))
}
