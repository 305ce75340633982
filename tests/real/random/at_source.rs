//! What admins, guests and other tools do to the datasets that are backed up.

use std::process::{Command, Stdio};

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

/// What pvesr does after a failover and back: the replica goes on, and comes back with `recv -F`.
pub(super) fn replica_back(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let base = stage.a_snapshot(&guest)?;
    let point = base.rsplit('@').next().unwrap().to_owned();
    let replica = stage.world.beside(&format!("replica-{}", stage.random.below(100_000)));
    let pipe = |script: &str, words: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(words).stderr(Stdio::null()).status().unwrap().success()
    };
    pipe("zfs send -p \"$1\" | zfs receive \"$2\"", &[&base, &replica]).then_some(())?;
    conditions::write(stage, &replica);
    let back = format!("{replica}@__replicate_{}", stage.random.below(100_000));
    zfs(&["snapshot", &back]);
    let words = [&format!("@{point}"), back.as_str(), guest.as_str()];
    let is_back = pipe("zfs send -p -i \"$1\" \"$2\" | zfs receive -F \"$3\"", &words);
    attempt(&["destroy", "-R", &replica]);
    is_back.then(|| format!("zfs send -i @{point} {back} | zfs receive -F {guest}"))
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

pub(super) fn recreate(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    attempt(&["destroy", "-r", &guest]).then_some(())?;
    stage.world.filesystem(guest.rsplit('/').next().unwrap(), 1);
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
    is_new.then(|| format!("zfs create {}", stage.world.filesystem(&name, 1)))
}

pub(super) fn name_like_set_aside(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let infix = [".superseded-2025-09-01-030000", ".branch-test", ".diverged-2025-01-01-000000"];
    let name = format!("{}{}", guest.rsplit('/').next().unwrap(), infix[stage.random.below(3)]);
    let is_new = !look::exists(&stage.world.guest(&name));
    is_new.then(|| format!("zfs create {}", stage.world.filesystem(&name, 1)))
}
