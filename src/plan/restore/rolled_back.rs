//! A guest's file after a rollback: what the point says of the guest, and of the present file what must not be lost. Pure.
//!
//! As Proxmox VE's own rollback does: description and snapshots stay as they are now, pending changes are dropped, a virtual
//! machine gets a new `vmgenid`. Volumes that the point does not name stay as unused disks, secrets as they are now.

use std::collections::BTreeSet;

use super::config::{OF_A_MOMENT, uuid, volume_of};
use crate::model::{DiskLine, GuestConfig};

/// Keys whose present values stay.
const KEPT: [&str; 2] = ["cipassword", "sshkeys"];

/// Whether a key is never taken from the point.
fn is_not_of_point(key: &str) -> bool {
    OF_A_MOMENT.contains(&key) || KEPT.contains(&key)
}

/// A file, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The whole file.
    pub text: String,
    /// Volumes that the point does not name, which stay as unused disks.
    pub unused: Vec<String>,
    /// Lines of the point whose volumes no longer exist, which are comments now.
    pub gone: Vec<String>,
}

/// The file that a guest gets whose present one is `current`, for a point with `stored`. `exists` says whether a volume, by
/// storage and name, is there.
pub fn rolled_back_config(
    current: &str,
    stored: &GuestConfig,
    exists: &dyn Fn(&str, &str) -> bool,
    random: &mut dyn FnMut() -> u64,
) -> RolledBack {
    let (now, sections) = split(current);
    let (then, _) = split(&stored.config);
    let mut rolled = RolledBack { text: String::new(), unused: Vec::new(), gone: Vec::new() };
    for line in now.lines().filter(|line| line.starts_with('#')) {
        rolled.text.extend([line, "\n"]);
    }
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for line in then.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            rolled.text.extend([line, "\n"]);
            continue;
        };
        let value = value.trim();
        if is_not_of_point(key) || DiskLine::is_unused_key(key) {
            continue;
        }
        if key == "vmgenid" && value != "0" {
            rolled.text.extend(["vmgenid: ", &uuid(random), "\n"]);
            continue;
        }
        if let Some((storage, volume)) = volume_of(value) {
            let is_regenerated = value.contains("cloudinit");
            if !is_regenerated && !exists(storage, volume) {
                rolled.gone.push(line.to_owned());
                rolled.text.extend(["#", line, "\n"]);
                continue;
            }
            used.insert((storage, volume));
        }
        rolled.text.extend([line, "\n"]);
    }
    add_present(&mut rolled, now, &used);
    let parent = then.lines().find_map(|line| line.strip_prefix("parent:")).map(str::trim);
    let has_section = |name: &str| sections.lines().any(|line| line.trim_end() == format!("[{name}]"));
    if let Some(parent) = parent.filter(|parent| has_section(parent)) {
        rolled.text.extend(["parent: ", parent, "\n"]);
    }
    rolled.text.push_str(&without_pending(sections));
    rolled
}

/// Adds the parts of the present file that stay: secrets, and volumes that the point does not name.
fn add_present<'a>(rolled: &mut RolledBack, now: &'a str, used: &BTreeSet<(&str, &str)>) {
    let lines = || now.lines().filter(|line| !line.starts_with('#'));
    for line in lines() {
        if line.split_once(':').is_some_and(|(key, _)| KEPT.contains(&key)) {
            rolled.text.extend([line, "\n"]);
        }
    }
    let mut kept: BTreeSet<(&'a str, &'a str)> = BTreeSet::new();
    let values = lines().filter_map(|line| Some(line.split_once(':')?.1.trim()));
    for value in values.filter(|value| !value.contains("media=cdrom") && !value.contains("cloudinit")) {
        if let Some(place) = volume_of(value).filter(|place| !used.contains(place) && kept.insert(*place)) {
            let (storage, volume) = place;
            let number = rolled.unused.len().to_string();
            rolled.text.extend(["unused", &number, ": ", storage, ":", volume, "\n"]);
            rolled.unused.push(format!("{storage}:{volume}"));
        }
    }
}

/// The present settings, and the sections after them.
fn split(text: &str) -> (&str, &str) {
    let start = if text.starts_with('[') { Some(0) } else { text.find("\n[").map(|at| at + 1) };
    text.split_at(start.unwrap_or(text.len()))
}

fn without_pending(sections: &str) -> String {
    let mut text = String::new();
    let mut is_pending = false;
    for line in sections.split_inclusive('\n') {
        let name = line.trim_end();
        if name.starts_with('[') && name.ends_with(']') {
            let lower = name.to_ascii_lowercase();
            is_pending = lower == "[pending]" || lower == "[pve:pending]";
            if !is_pending {
                text.push('\n');
            }
        }
        if !is_pending && !name.is_empty() {
            text.push_str(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GuestId, GuestKind};

    #[test]
    fn the_point_decides_and_what_it_cannot_know_stays() {
        let current = "#now\ncipassword: new\nlock: rollback\nmemory: 4096\nparent: late\n\
            scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nunused0: z:vm-100-disk-9\nide2: local:iso/x.iso,media=cdrom\n\
            \n[PENDING]\nmemory: 1\n\n[early]\nmemory: 512\nscsi0: z:vm-100-disk-0\n";
        let then = "#then\ncores: 2\nmemory: 1024\nparent: early\nscsi0: z:vm-100-disk-0\nscsi2: z:vm-100-disk-2\n\
            unused3: z:vm-100-disk-8\nvmgenid: old\n\n[early]\nmemory: 1\n";
        let stored = GuestConfig::new(GuestKind::Machine, GuestId(100), "pve0", then, None);
        let exists = |_: &str, volume: &str| volume != "vm-100-disk-2";
        let rolled = rolled_back_config(current, &stored, &exists, &mut || 0);
        let expected = "#now\ncores: 2\nmemory: 1024\nscsi0: z:vm-100-disk-0\n#scsi2: z:vm-100-disk-2\n\
            vmgenid: 00000000-0000-4000-8000-000000000000\ncipassword: new\nunused0: z:vm-100-disk-1\n\
            unused1: z:vm-100-disk-9\nparent: early\n\n[early]\nmemory: 512\nscsi0: z:vm-100-disk-0\n";
        assert_eq!(rolled.text, expected);
        assert_eq!(rolled.gone, ["scsi2: z:vm-100-disk-2"]);
        assert_eq!(rolled.unused, ["z:vm-100-disk-1", "z:vm-100-disk-9"]);
    }

    #[test]
    fn odd_files_do_not_panic() {
        for text in ["", "[", "[a]", "\n[a]\n", "x", "lxc.idmap = u 0 1 2\n", ":\n", "net0:\n[PENDING]"] {
            let stored = GuestConfig::new(GuestKind::Container, GuestId(1), "n", text, None);
            rolled_back_config(text, &stored, &|_, _| true, &mut || 0);
        }
    }
}
