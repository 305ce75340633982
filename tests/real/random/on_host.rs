//! Events on hosts: full and unreachable ones, clocks, odd properties, Proxmox VE's files, and runs that are killed.

use std::thread;
use std::time::Duration;

use super::Stage;
use super::conditions::{self, attempt};
use crate::look;
use crate::pool::{property, zfs};

impl Stage {
    /// A guest or a copy.
    fn a_dataset(&mut self) -> Option<String> {
        if self.random.below(2) == 0 { self.a_guest() } else { self.a_copy() }
    }
}

pub(super) fn odd_property(stage: &mut Stage) -> Option<String> {
    let dataset = stage.a_dataset()?;
    let values = ["a\nb", "tab\there", "x\ttype\tvolume\n", "\u{202e}z", "off\nzhaul:writer\t7\tlocal"];
    let value = values[stage.random.below(values.len())];
    let key = ["note:text", "zhaul:note", "zhaul:backup"][stage.random.below(3)];
    let setting = format!("{key}={value}");
    attempt(&["set", &setting, &dataset]).then(|| format!("zfs set {setting:?} {dataset}"))
}

pub(super) fn hold(stage: &mut Stage) -> Option<String> {
    let dataset = stage.a_dataset()?;
    let held = stage.a_snapshot(&dataset)?;
    attempt(&["hold", "test", &held]).then(|| format!("zfs hold test {held}"))
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn clock_back(stage: &mut Stage) -> Option<String> {
    // By more than passes until the next run.
    stage.pass(-50);
    Some("the clock goes back by 50 hours".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn clock_ahead(stage: &mut Stage) -> Option<String> {
    stage.pass(24 * 40);
    Some("40 days pass".to_owned())
}

pub(super) fn killed(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    conditions::write(stage, &guest);
    Some(kill(stage))
}

/// Most likely in the middle of a stream, which then can be resumed.
pub(super) fn killed_in_stream(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    for _ in 0..4 {
        conditions::write(stage, &guest);
    }
    "rate = \"2MiB\"".clone_into(&mut stage.world.policy.transfer);
    let killed = kill(stage);
    stage.world.policy.transfer.clear();
    Some(killed)
}

fn kill(stage: &mut Stage) -> String {
    stage.write_policy();
    let delay = 200 + stage.random.any() % 1500;
    let mut run = stage.world.start(&stage.now.to_string(), &[]);
    thread::sleep(Duration::from_millis(delay));
    run.kill().unwrap();
    run.wait().unwrap();
    stage.world.wait_for_quiet();
    stage.pass(1);
    format!("a run is killed after {delay} ms")
}

/// A volume with all its room reserved can get no snapshot where the quota above has none left.
pub(super) fn reserved(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_volume()?;
    // A snapshot needs room for what was written since the one before.
    conditions::write(stage, &guest);
    attempt(&["set", "refreservation=auto", &guest]).then_some(())?;
    let root = stage.world.source();
    look::sync(&root);
    let used: u64 = property("used", &root).parse().unwrap();
    let quota = format!("quota={}", used + 300_000);
    attempt(&["set", &quota, &root])
        .then(|| format!("zfs set refreservation=auto {guest}; zfs set {quota} {root}"))
}

pub(super) fn freed(stage: &mut Stage) {
    let root = stage.world.source();
    zfs(&["set", "quota=none", &root]);
    for guest in look::datasets(&root) {
        attempt(&["set", "refreservation=none", &guest]);
    }
}

pub(super) fn opted_out(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    attempt(&["set", "zhaul:backup=off", &guest]).then(|| format!("zfs set zhaul:backup=off {guest}"))
}

pub(super) fn opted_in(stage: &mut Stage) {
    zfs(&["inherit", "-r", "zhaul:backup", &stage.world.source()]);
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn keep_fewer(stage: &mut Stage) -> Option<String> {
    stage.known.keep_at_backup = 2;
    stage.known.keep_at_source = 2;
    Some("keep-last = 2".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn unreachable(stage: &mut Stage) -> Option<String> {
    stage.world.policy.backup_at = Some(("offline".to_owned(), stage.world.backup_root()));
    stage.known.is_unreachable = true;
    Some("nfs8 does not answer".to_owned())
}

pub(super) fn reachable(stage: &mut Stage) {
    stage.known.is_unreachable = false;
    if stage.world.policy.archive_host.is_some() {
        stage.world.back_up_locally();
    } else {
        stage.world.policy.backup_at = None;
    }
}

pub(super) fn full(stage: &mut Stage) -> Option<String> {
    let root = stage.world.backup_root();
    look::exists(&root).then_some(())?;
    // There is something to expire once an admin who sees it keeps less.
    look::datasets(&root).iter().any(|copy| look::snapshots(copy).len() > 2).then_some(())?;
    let keep = if stage.random.below(4) > 0 { keep_fewer(stage)? } else { "as before".to_owned() };
    look::sync(&root);
    let used: u64 = property("used", &root).parse().unwrap();
    zfs(&["set", &format!("quota={}", used + 200_000), &root]);
    // What is new does not fit before something has gone.
    for guest in stage.guests() {
        conditions::write(stage, &guest);
    }
    Some(format!("{root} is full, and every dataset has something new; {keep}"))
}

pub(super) fn roomy(stage: &mut Stage) {
    stage.keep_as_usual();
    zfs(&["set", "quota=none", &stage.world.backup_root()]);
}
