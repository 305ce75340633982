//! Changes that people and other tools make to copies.

use super::Stage;
use super::conditions::{self, attempt};
use crate::look;
use crate::pool::{property, zfs};

pub(super) fn foreign_snapshot(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let point = format!("{copy}@manual-{}", stage.random.below(1000));
    attempt(&["snapshot", &point]).then(|| format!("zfs snapshot {point}"))
}

pub(super) fn write(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    write_to(stage, &copy)
}

/// Into one that has got a dataset below it by the run before.
pub(super) fn write_parent(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    attempt(&["create", &format!("{guest}/under")]).then_some(())?;
    stage.story.push(format!("zfs create {guest}/under"));
    stage.pass(24);
    stage.run();
    let below = guest.strip_prefix(&stage.world.source())?;
    let copy = format!("{}{below}", stage.world.backup_root());
    look::exists(&format!("{copy}/under")).then_some(())?;
    write_to(stage, &copy)
}

fn write_to(stage: &mut Stage, copy: &str) -> Option<String> {
    (property("type", copy) == "filesystem" && !look::snapshots(copy).is_empty()).then_some(())?;
    zfs(&["set", "readonly=off", copy]);
    let is_mounted = attempt(&["mount", copy]);
    if is_mounted {
        conditions::write_file(copy, &format!("by-hand-{}", stage.random.below(9)));
        zfs(&["unmount", copy]);
    }
    zfs(&["set", "readonly=on", copy]);
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
    let to = format!("{copy}{}by-hand", ["-", "."][stage.random.below(2)]);
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

/// Into the copy of a volume, and it is made safe again.
pub(super) fn write_volume(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    (property("type", &copy) == "volume" && !look::snapshots(&copy).is_empty()).then_some(())?;
    (property("encryption", &copy) == "off").then_some(())?;
    zfs(&["set", "readonly=off", &copy]);
    zfs(&["set", "volmode=default", &copy]);
    conditions::write_volume(&copy, 0, &format!("{}", stage.random.any()));
    // In this order: OpenZFS 2.4.4 crashes where readonly is set while the device is being removed (zvol_set_ro).
    zfs(&["set", "readonly=on", &copy]);
    zfs(&["set", "volmode=none", &copy]);
    Some(format!("{copy} is written to"))
}

/// On the archive.
pub(super) fn month_by_hand(stage: &mut Stage) -> Option<String> {
    let copy = an_archived_copy(stage)?;
    take_month(stage, &copy)
}

/// On the archive, on a dataset that somebody has made beside a copy and called as its lineages are.
pub(super) fn month_beside(stage: &mut Stage) -> Option<String> {
    let beside = format!("{}.branch-{}", an_archived_copy(stage)?, stage.random.below(100));
    attempt(&["create", &beside]).then_some(())?;
    take_month(stage, &beside).map(|what| format!("zfs create {beside}; {what}"))
}

fn an_archived_copy(stage: &mut Stage) -> Option<String> {
    let archive = stage.world.archive_root();
    let copies: Vec<String> =
        [stage.a_copy(), stage.a_copy(), stage.a_copy()].into_iter().flatten().collect();
    copies.into_iter().find(|copy| copy.starts_with(&archive))
}

/// Of this month, or of the next one, which then begins.
fn take_month(stage: &mut Stage, copy: &str) -> Option<String> {
    let ahead = i64::try_from(stage.random.below(2)).unwrap();
    let month = stage.now.saturating_add(jiff::SignedDuration::from_hours(24 * 31 * ahead)).unwrap();
    let point = format!("{copy}@{}", month.strftime("%Y-%b"));
    attempt(&["snapshot", &point]).then_some(())?;
    stage.pass(24 * 31 * ahead);
    Some(format!("zfs snapshot {point}; {ahead} months pass"))
}

pub(super) fn make_unsafe(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let setting = match (stage.random.below(2), property("type", &copy).as_str()) {
        (0, _) => "readonly=off",
        (_, "volume") => "volmode=full",
        (_, _) => "canmount=on",
    };
    attempt(&["set", setting, &copy]).then(|| format!("zfs set {setting} {copy}"))
}

/// Makes every copy safe.
pub(super) fn make_safe(stage: &mut Stage) {
    for root in [stage.world.backup_root(), stage.world.archive_root()] {
        let copies = if look::exists(&root) { look::datasets(&root) } else { Vec::new() };
        for copy in copies.into_iter().filter(|copy| *copy != root) {
            let safe = if property("type", &copy) == "volume" { "volmode=none" } else { "canmount=noauto" };
            zfs(&["set", "readonly=on", &copy]);
            zfs(&["set", safe, &copy]);
        }
    }
}
