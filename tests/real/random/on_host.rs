//! What happens to hosts: full and unreachable ones, clocks, odd properties, Proxmox VE's files, and runs that are killed.

use std::fs;
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
    let of = stage.a_dataset()?;
    let values = ["a\nb", "tab\there", "x\ttype\tvolume\n", "\u{202e}z", "off\nzhaul:writer\t7\tlocal"];
    let value = values[stage.random.below(values.len())];
    let key = ["note:text", "zhaul:note", "zhaul:backup"][stage.random.below(3)];
    let setting = format!("{key}={value}");
    attempt(&["set", &setting, &of]).then(|| format!("zfs set {setting:?} {of}"))
}

pub(super) fn hold(stage: &mut Stage) -> Option<String> {
    let of = stage.a_dataset()?;
    let held = stage.a_snapshot(&of)?;
    attempt(&["hold", "test", &held]).then(|| format!("zfs hold test {held}"))
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn clock_back(stage: &mut Stage) -> Option<String> {
    stage.pass(-30);
    Some("the clock goes back by 30 hours".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn clock_ahead(stage: &mut Stage) -> Option<String> {
    stage.pass(24 * 40);
    Some("40 days pass".to_owned())
}

pub(super) fn killed(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    conditions::write(stage, &guest);
    let delay = 200 + stage.random.any() % 1500;
    let mut run = stage.world.start(&stage.now.to_string(), &[]);
    thread::sleep(Duration::from_millis(delay));
    run.kill().unwrap();
    run.wait().unwrap();
    stage.world.wait_for_quiet();
    stage.pass(1);
    Some(format!("a run is killed after {delay} ms"))
}

#[expect(clippy::unnecessary_wraps, reason = "one of a table")]
pub(super) fn unreachable(stage: &mut Stage) -> Option<String> {
    stage.world.policy.backup_at = Some(("offline".to_owned(), stage.world.backup_root()));
    Some("nfs8 does not answer".to_owned())
}

pub(super) fn reachable(stage: &mut Stage) {
    if stage.world.policy.archive_host.is_some() {
        stage.world.back_up_locally();
    } else {
        stage.world.policy.backup_at = None;
    }
}

pub(super) fn full(stage: &mut Stage) -> Option<String> {
    let root = stage.world.backup_root();
    look::exists(&root).then_some(())?;
    look::sync();
    let used: u64 = property("used", &root).parse().unwrap();
    zfs(&["set", &format!("quota={}", used + 200_000), &root]);
    Some(format!("{root} is full"))
}

pub(super) fn roomy(stage: &mut Stage) {
    zfs(&["set", "quota=none", &stage.world.backup_root()]);
}

/// Makes every guest's file readable again.
pub(super) fn mend_guest_files(stage: &Stage) {
    let files = stage.world.directory().join("pve/lxc");
    for file in fs::read_dir(files).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let guest = file.file_stem().unwrap().to_str().unwrap();
        fs::remove_dir(&file).ok();
        fs::write(&file, format!("rootfs: z:subvol-{guest}-disk-0,size=8G\n")).unwrap();
    }
}

/// Proxmox VE's file of a guest: sound, empty, half written, or no file at all.
pub(super) fn guest_file(stage: &mut Stage) -> Option<String> {
    let guest = stage.a_guest()?;
    let name = guest.rsplit('/').next().unwrap();
    let id: u32 = name.split('-').nth(1)?.parse().ok()?;
    let path = format!("lxc/{id}.conf");
    let storages = format!("zfspool: z\n\tpool {}\n\tcontent images,rootdir\n", stage.world.source());
    let text = format!("rootfs: z:{name},size=8G\n[pve:pending]\nmp0: z:x,backup=1\n");
    let file = stage.world.directory().join("pve").join(&path);
    fs::remove_dir(&file).ok();
    let pve = stage.world.guest_configs(&[("storage.cfg", &storages), (&path, &text)]);
    let what = match stage.random.below(4) {
        0 => "sound",
        1 => {
            fs::write(&file, "").unwrap();
            "empty"
        }
        2 => {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
            "a directory"
        }
        _ => {
            fs::write(&file, b"\xff\0[[[\nrootfs: :\n").unwrap();
            "garbage"
        }
    };
    let keep = stage.world.policy.source.lines().next().unwrap_or_default().to_owned();
    stage.world.policy.source = format!("{keep}\nguest-config = \"{}\"", pve.display());
    Some(format!("{} is {what}", file.display()))
}
