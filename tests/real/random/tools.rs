//! The work of other tools and other nodes: replication, restores, other backup programs, and properties that are false.

use std::process::{Command, Stdio};

use super::Stage;
use super::conditions::{self, attempt};
use crate::look;
use crate::pool::{property, zfs};

/// Runs a pipe of two `zfs`, for somebody who does not mind if it fails.
fn pipe(script: &str, words: &[&str]) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// pvesr after a failover and back: the replica continues, and comes back with `recv -F`.
pub(super) fn replica_back(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let base = stage.a_snapshot(&guest)?;
    let point = base.rsplit('@').next().unwrap().to_owned();
    let replica = stage.world.beside(&format!("replica-{}", stage.random.below(100_000)));
    pipe("zfs send -p \"$1\" | zfs receive \"$2\"", &[&base, &replica]).then_some(())?;
    conditions::write(stage, &replica);
    let back = format!("{replica}@__replicate_{}", stage.random.below(100_000));
    zfs(&["snapshot", &back]);
    let words = [&format!("@{point}"), back.as_str(), guest.as_str()];
    let is_back = pipe("zfs send -p -i \"$1\" \"$2\" | zfs receive -F \"$3\"", &words);
    attempt(&["destroy", "-R", &replica]);
    is_back.then(|| format!("zfs send -i @{point} {back} | zfs receive -F {guest}"))
}

/// A guest is taken back to what its backup has, over what is there.
pub(super) fn restored(stage: &mut Stage) -> Option<String> {
    let copy = stage.a_copy()?;
    let guest = stage.world.guest(copy.rsplit('/').next().unwrap());
    look::exists(&guest).then_some(())?;
    let snapshots = look::snapshots(&copy);
    let held = look::guids(&guest.clone()).into_values().collect::<Vec<_>>();
    let of = look::guids(&copy);
    let base = snapshots.iter().position(|name| held.contains(&of[name]))?;
    let last = snapshots.last()?;
    let from = &snapshots[base];
    (last != from).then_some(())?;
    let back = pipe(
        "zfs send -I \"$1\" \"$2\" | zfs receive -F \"$3\"",
        &[&format!("@{from}"), &format!("{copy}@{last}"), &guest],
    );
    back.then(|| format!("zfs send -I @{from} {copy}@{last} | zfs receive -F {guest}"))
}

/// Another backup program uses the same copy.
pub(super) fn another_tool_sends(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let copy = stage.world.backup(guest.rsplit('/').next().unwrap());
    let newest = look::snapshots(&copy).pop()?;
    let guid = look::guids(&copy).remove(&newest)?;
    let (base, _) = look::guids(&guest).into_iter().find(|(_, known)| *known == guid)?;
    conditions::write(stage, &guest);
    let mine = format!("{guest}@syncoid_pve0_{}", stage.random.below(10_000));
    attempt(&["snapshot", &mine]).then_some(())?;
    let is_sent =
        pipe("zfs send -i \"$1\" \"$2\" | zfs receive -u \"$3\"", &[&format!("@{base}"), &mine, &copy]);
    is_sent.then(|| format!("zfs send -i @{base} {mine} | zfs receive {copy}"))
}

/// A guest begins here under a name of which another node has a copy.
pub(super) fn copy_of_another_node(stage: &mut Stage) -> Option<String> {
    let name = format!("subvol-{}-disk-0", 1300 + stage.random.below(5000));
    let copy = stage.world.backup(&name);
    (look::exists(&stage.world.backup_root()) && !look::exists(&copy)).then_some(())?;
    let other = stage.world.beside(&name);
    zfs(&["create", &other]);
    look::write_file(&other, "other", 1);
    let snapshot = format!("{other}@2026-01-05-010000");
    zfs(&["snapshot", &snapshot]);
    let guid = property("guid", &other);
    let safe =
        "zfs send \"$1\" | zfs receive -u -o readonly=on -o canmount=noauto -o \"zhaul:writer=$3\" \"$2\"";
    let is_there = pipe(safe, &[&snapshot, &copy, &format!("{guid} pve9:rpool/data/{name}")]);
    zfs(&["destroy", "-r", &other]);
    is_there.then_some(())?;
    stage.known.of_another_node.insert((copy.clone(), property("guid", &copy)));
    let guest = conditions::new_guest(stage, &name);
    Some(format!("{copy} is of node pve9; zfs create {guest}"))
}

/// On a guest, where it says nothing, or on the target's root, from where every copy inherits it.
pub(super) fn forged_writer(stage: &mut Stage) -> Option<String> {
    let dataset = if stage.random.below(2) == 0 { stage.a_guest()? } else { stage.world.backup_root() };
    let setting = format!("zhaul:writer={} pve9:rpool/data/x", stage.random.any());
    attempt(&["set", &setting, &dataset]).then(|| format!("zfs set {setting:?} {dataset}"))
}

/// On a copy or a guest: of another dataset's GUID or name, or without either.
pub(super) fn forged_set_aside(stage: &mut Stage) -> Option<String> {
    let dataset = if stage.random.below(4) == 0 { stage.a_guest()? } else { stage.a_copy()? };
    let (guid, name) = match stage.random.below(2) {
        0 => (stage.random.any().to_string(), dataset.clone()),
        _ => (property("guid", &dataset), format!("{dataset}-elsewhere")),
    };
    let writer = property("zhaul:writer", &dataset);
    let writer = writer.split(' ').next().filter(|guid| guid.parse::<u64>().is_ok()).unwrap_or("1");
    let mark = format!(
        "{{\"version\":1,\"done\":true,\"of\":\"{dataset}\",\"name\":\"{name}\",\"guid\":\"{guid}\",\"at\":\"2020-01-01T00:00:00Z\",\
         \"cause\":\"diverged\",\"base\":null,\"writer\":\"{writer}\"}}"
    );
    attempt(&["set", &format!("zhaul:set-aside={mark}"), &dataset])
        .then(|| format!("zfs set zhaul:set-aside={mark} {dataset}"))
}

/// On a dataset, from where its snapshots inherit it: it proves nothing.
pub(super) fn forged_lineage(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let setting = "zhaul:lineage=1 0 - %Y-%m-%d-%H%M%S";
    attempt(&["set", setting, &guest]).then(|| format!("zfs set {setting:?} {guest}"))
}
