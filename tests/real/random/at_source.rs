//! Changes that admins, guests and other tools make to the datasets that are backed up.

use super::Stage;
use super::conditions::{self, attempt};
use crate::look;
use crate::pool::zfs;

pub(super) fn write(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    conditions::write(stage, &guest);
    Some(format!("write to {guest}"))
}

pub(super) fn roll_back(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let to = stage.a_snapshot(&guest)?;
    attempt(&["rollback", "-r", &to]).then_some(())?;
    conditions::write(stage, &guest);
    Some(format!("zfs rollback -r {to}, then write"))
}

pub(super) fn promote(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let of = stage.a_snapshot(&guest)?;
    let clone = format!("{guest}-clone");
    attempt(&["clone", &of, &clone]).then_some(())?;
    attempt(&["promote", &clone]);
    Some(format!("zfs clone {of} {clone}; zfs promote {clone}"))
}

pub(super) fn rename(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let to = format!("{}/renamed-{}", stage.world.source(), stage.random.below(1000));
    attempt(&["rename", &guest, &to]).then(|| format!("zfs rename {guest} {to}"))
}

/// Two guests change places.
pub(super) fn swap(stage: &mut Stage) -> Option<String> {
    let (one, other) = (stage.a_guest()?, stage.a_guest()?);
    let aside = format!("{}/swapped", stage.world.source());
    (one != other && !one.starts_with(&other) && !other.starts_with(&one)).then_some(())?;
    attempt(&["rename", &one, &aside]).then_some(())?;
    let is_renamed = attempt(&["rename", &other, &one]);
    let to = if is_renamed { &other } else { &one };
    zfs(&["rename", &aside, to]);
    is_renamed.then(|| format!("{one} and {other} change their names"))
}

/// Another snapshot gets the name of one that was destroyed.
pub(super) fn take_again(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let snapshot = stage.a_snapshot(&guest)?;
    attempt(&["destroy", &snapshot]).then_some(())?;
    conditions::write(stage, &guest);
    zfs(&["snapshot", &snapshot]);
    Some(format!("zfs destroy {snapshot}; zfs snapshot {snapshot}"))
}

pub(super) fn foreign_bookmark(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let snapshot = stage.a_snapshot(&guest)?;
    let names = ["mine".to_owned(), format!("2026-0{}-11-030000", 1 + stage.random.below(9))];
    let bookmark = format!("{guest}#{}", names[stage.random.below(2)]);
    attempt(&["bookmark", &snapshot, &bookmark]).then(|| format!("zfs bookmark {snapshot} {bookmark}"))
}

pub(super) fn newest_destroyed(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let newest = format!("{guest}@{}", look::snapshots(&guest).pop()?);
    attempt(&["destroy", &newest]).then_some(())?;
    conditions::write(stage, &guest);
    Some(format!("zfs destroy {newest}"))
}

pub(super) fn child(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let child = format!("{guest}/below");
    attempt(&["create", &child]).then(|| format!("zfs create {child}"))
}

pub(super) fn recreate(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    attempt(&["destroy", "-r", &guest]).then_some(())?;
    conditions::new_guest(stage, guest.rsplit('/').next().unwrap());
    Some(format!("zfs destroy -r {guest}; zfs create {guest}"))
}

pub(super) fn foreign_snapshot(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let point = format!("{guest}@manual-{}", stage.random.below(1000));
    attempt(&["snapshot", &point]).then(|| format!("zfs snapshot {point}"))
}

pub(super) fn only_bookmarks_left(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    for point in look::snapshots(&guest) {
        attempt(&["destroy", &format!("{guest}@{point}")]);
    }
    Some(format!("every snapshot of {guest} is destroyed"))
}

pub(super) fn bookmarks_destroyed(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    for point in look::bookmarks(&guest) {
        zfs(&["destroy", &format!("{guest}#{point}")]);
    }
    Some(format!("every bookmark of {guest} is destroyed"))
}

pub(super) fn guest_destroyed(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    attempt(&["destroy", "-r", &guest]).then(|| format!("zfs destroy -r {guest}"))
}

pub(super) fn new_guest(stage: &mut Stage) -> Option<String> {
    let name = format!("subvol-{}-disk-0", 200 + stage.random.below(1000));
    let is_new = !look::exists(&stage.world.guest(&name));
    is_new.then(|| format!("zfs create {}", conditions::new_guest(stage, &name)))
}

pub(super) fn name_like_set_aside(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let infix = [".superseded-2025-09-01-030000", ".branch-test", ".diverged-2025-01-01-000000"];
    let name = format!("{}{}", guest.rsplit('/').next().unwrap(), infix[stage.random.below(3)]);
    let is_new = !look::exists(&stage.world.guest(&name));
    is_new.then(|| format!("zfs create {}", conditions::new_guest(stage, &name)))
}
