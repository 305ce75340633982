//! A guest's configuration file: which volumes it names, and which snapshots are Proxmox VE's own.
//!
//! Read as `pve-guest-common` writes it: `key: value` lines of what holds now, then `[PENDING]` (containers:
//! `[pve:pending]`), `[special:…]` and one `[NAME]` section per snapshot with the settings of that time. An unknown
//! line neither leaves a volume out nor is an error.

use crate::model::{DiskLine, Guest, GuestId, PointName, VolumeName};

/// Which kind of guest a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Machine,
    Container,
}

impl Kind {
    /// The directory that holds the files of this kind.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Machine => "qemu-server",
            Self::Container => "lxc",
        }
    }
}

/// Where in the file a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Current,
    /// The settings of a snapshot, or those after the next start.
    Other,
    /// Nothing of it is a guest's setting.
    Ignored,
}

/// Parses the file of guest `id`.
pub(super) fn parse(id: GuestId, kind: Kind, text: &str) -> Guest {
    let mut guest = Guest {
        id,
        lock: None,
        is_template: false,
        is_freezable: false,
        disks: Vec::new(),
        snapshots: Vec::new(),
    };
    let mut section = Section::Current;
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = section_of(name, &mut guest);
            continue;
        }
        if section == Section::Ignored {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if section == Section::Current {
            match key {
                "lock" => guest.lock = Some(value.trim().to_owned()),
                "template" => guest.is_template = value.trim() != "0",
                "agent" if kind == Kind::Machine => guest.is_freezable = is_freezable(value),
                _ => {}
            }
        }
        let place = || format!("{}/{id}.conf line {} ({key})", kind.directory(), index + 1);
        if let Some(disk) = disk(kind, key, value) {
            guest.disks.push(DiskLine {
                place: place(),
                storage: disk.storage.to_owned(),
                volume: disk.volume.to_owned(),
                is_current: section == Section::Current,
                is_unused: DiskLine::is_unused_key(key),
                is_backed_up: disk.is_backed_up,
            });
        }
    }
    guest
}

/// Section names compare without case, as in Proxmox VE.
fn section_of(name: &str, guest: &mut Guest) -> Section {
    let lower = name.to_ascii_lowercase();
    if lower == "pending" || lower == "pve:pending" {
        return Section::Other;
    }
    match PointName::new(name) {
        // A snapshot's name has no colon: `special:cloudinit` and its like.
        Ok(name) if !lower.contains(':') => {
            guest.snapshots.push(name);
            Section::Other
        }
        Ok(_) | Err(_) => Section::Ignored,
    }
}

/// The volume of one line.
#[derive(Debug, PartialEq, Eq)]
struct Disk<'a> {
    storage: &'a str,
    volume: &'a str,
    is_backed_up: bool,
}

/// `scsi0: local-zfs:vm-100-disk-0,backup=0,size=32G` and its like; `None` for every other line, and for what is no volume
/// (CD images, `none`, paths, bind mounts).
fn disk<'a>(kind: Kind, key: &str, value: &'a str) -> Option<Disk<'a>> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    // Keys beyond these limits are none to Proxmox VE, so they leave nothing out.
    let numbers = match (kind, stem) {
        (Kind::Machine, "scsi") => 0..31,
        (Kind::Machine, "virtio") => 0..16,
        (Kind::Machine, "sata") => 0..6,
        (Kind::Machine, "ide") => 0..4,
        (Kind::Machine, "efidisk" | "tpmstate") => 0..1,
        (Kind::Container, "mp") | (_, "unused") => 0..256,
        (Kind::Container, "rootfs") => 0..0,
        _ => return None,
    };
    let number = key.get(stem.len()..)?;
    let is_disk = if numbers.is_empty() {
        number.is_empty()
    } else {
        number.parse::<u32>().is_ok_and(|parsed| numbers.contains(&parsed) && parsed.to_string() == number)
    };
    if !is_disk {
        return None;
    }
    let options: Vec<&str> = value.split(',').map(str::trim).collect();
    let named = options.iter().find_map(|one| one.strip_prefix("file=").or(one.strip_prefix("volume=")));
    let location = named.or(options.first().copied())?;
    let (storage, volume) = location.split_once(':')?;
    // A linked clone names its template first: `base-100-disk-0/vm-101-disk-0`; `iso/x.iso` is no disk.
    let volume = match volume.split_once('/') {
        Some((template, clone)) if VolumeName::parse(template).is_some() && !clone.contains('/') => clone,
        // A file of a directory storage: `100/vm-100-disk-0.qcow2`.
        Some((id, file)) if GuestId::parse(id).is_some() && VolumeName::parse(file).is_some() => volume,
        Some(_) => return None,
        None => volume,
    };
    VolumeName::parse(volume.rsplit('/').next()?)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if storage.is_empty() || !volume.chars().all(allowed) || options.contains(&"media=cdrom") {
        return None;
    }
    Some(Disk { storage, volume, is_backed_up: is_backed_up(kind, stem, &options) })
}

/// `1`, or `enabled=1,freeze-fs=1`, with the older names of the second option, which is on by default.
fn is_freezable(value: &str) -> bool {
    let is_yes = |word: &str| ["1", "yes", "on", "true"].iter().any(|yes| word.eq_ignore_ascii_case(yes));
    let (mut is_enabled, mut is_wanted) = (false, true);
    for option in value.split(',').map(str::trim) {
        match option.split_once('=') {
            None => is_enabled = is_yes(option),
            Some(("enabled", word)) => is_enabled = is_yes(word),
            Some(("freeze-fs" | "freeze-fs-on-backup" | "guest-fsfreeze", word)) => is_wanted = is_yes(word),
            Some(_) => {}
        }
    }
    is_enabled && is_wanted
}

/// Only a clear word leaves a volume out: `backup=maybe` does not, nor do two words that contradict each other.
fn is_backed_up(kind: Kind, stem: &str, options: &[&str]) -> bool {
    let words = options.iter().filter_map(|option| option.strip_prefix("backup="));
    let is_no = |word: &str| ["0", "no", "off", "false"].iter().any(|no| word.eq_ignore_ascii_case(no));
    let (mut has_word, mut all_no) = (false, true);
    for word in words {
        has_word = true;
        all_no &= is_no(word);
    }
    match (kind, stem) {
        // Mount points of containers are left out unless they ask for it; the root never is.
        (Kind::Container, "mp") => has_word && !all_no,
        (Kind::Container, _) => true,
        (Kind::Machine, _) => !has_word || !all_no,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(guest: &Guest) -> Vec<String> {
        let line = |disk: &DiskLine| {
            let (now, backup) = (if disk.is_current { "" } else { " then" }, disk.is_backed_up);
            format!("{}:{}{now}{}", disk.storage, disk.volume, if backup { "" } else { " off" })
        };
        guest.disks.iter().map(line).collect()
    }

    fn machine(text: &str) -> Vec<String> {
        lines(&parse(GuestId(100), Kind::Machine, text))
    }

    fn container(text: &str) -> Vec<String> {
        lines(&parse(GuestId(101), Kind::Container, text))
    }

    #[test]
    fn a_machine_has_its_disks_and_its_snapshots() {
        let text = "#description: scsi9: local-zfs:vm-9-disk-9\n\
            boot: order=scsi0;ide2\n\
            efidisk0: local-zfs:vm-100-disk-1,efitype=4m,size=1M\n\
            ide2: local:iso/debian.iso,media=cdrom,size=600M\n\
            ide0: local-zfs:vm-100-cloudinit,media=cdrom\n\
            ide1: none,media=cdrom\n\
            net0: virtio=AA:BB:CC:DD:EE:FF,bridge=vmbr0\n\
            scsi0: local-zfs:base-9-disk-0/vm-100-disk-0,iothread=1,size=32G\n\
            scsi1: tank:vm-100-disk-0,backup=0,size=32G\n\
            scsi2: /dev/disk/by-id/ata-x,size=1G\n\
            scsihw: virtio-scsi-single\n\
            tpmstate0: local-zfs:vm-100-disk-3,size=4M,version=v2.0\n\
            unused0: local-zfs:vm-100-disk-4\n\
            parent: before-upgrade\n\
            \n\
            [PENDING]\n\
            scsi7: local-zfs:vm-100-disk-7,backup=0\n\
            \n\
            [before-upgrade]\n\
            scsi5: local-zfs:vm-100-disk-5,size=1G\n\
            snaptime: 1700000000\n\
            vmstate: local-zfs:vm-100-state-before-upgrade\n\
            [special:cloudinit]\n\
            scsi6: local-zfs:vm-100-disk-6\n";
        let guest = parse(GuestId(100), Kind::Machine, text);
        let expected = [
            "local-zfs:vm-100-disk-1",
            "local-zfs:vm-100-disk-0",
            "tank:vm-100-disk-0 off",
            "local-zfs:vm-100-disk-3",
            "local-zfs:vm-100-disk-4",
            "local-zfs:vm-100-disk-7 then off",
            "local-zfs:vm-100-disk-5 then",
        ];
        assert_eq!(lines(&guest), expected);
        assert_eq!(guest.disks[2].place, "qemu-server/100.conf line 9 (scsi1)");
        assert_eq!(guest.snapshots, [PointName::new("before-upgrade").unwrap()]);
    }

    #[test]
    fn a_container_leaves_mount_points_out_unless_asked() {
        let text = "rootfs: local-zfs:subvol-101-disk-0,size=8G,backup=0\r\n\
            mp0: local-zfs:subvol-101-disk-1,mp=/srv,backup=1,size=8G\n\
            mp1: volume=local-zfs:subvol-101-disk-2,mp=/cache,size=8G\n\
            mp2: /mnt/bind,mp=/bind\n\
            mp3: mp=/x,backup=Yes,volume=z:basevol-9-disk-0/subvol-101-disk-3\n\
            scsi0: local-zfs:vm-101-disk-9\n";
        let expected = [
            "local-zfs:subvol-101-disk-0",
            "local-zfs:subvol-101-disk-1",
            "local-zfs:subvol-101-disk-2 off",
            "z:subvol-101-disk-3",
        ];
        assert_eq!(container(text), expected);
    }

    #[test]
    fn sections_that_are_no_snapshots_are_none_whatever_their_case() {
        for name in
            ["PENDING", "pending", "pve:pending", "PVE:Pending", "special:cloudinit", "SPECIAL:x", "a:b"]
        {
            for kind in [Kind::Machine, Kind::Container] {
                let guest = parse(GuestId(1), kind, &format!("[{name}]\nunused1: z:vm-1-disk-0\n"));
                assert_eq!(guest.snapshots, [], "{name}");
                assert!(guest.disks.iter().all(|disk| !disk.is_current), "{name}");
            }
        }
        let guest = parse(GuestId(1), Kind::Machine, "[Before_1]\n[b-2]   \n");
        assert_eq!(guest.snapshots.len(), 2);
    }

    #[test]
    fn a_guest_is_frozen_where_its_agent_is_on_and_may_freeze() {
        for (value, is_freezable) in [
            ("1", true),
            (" enabled=1", true),
            ("on,fstrim_cloned_disks=1,type=virtio", true),
            ("enabled=1,freeze-fs=1", true),
            ("0", false),
            ("", false),
            ("type=virtio", false),
            ("1,freeze-fs=0", false),
            ("enabled=1, freeze-fs-on-backup=no", false),
            ("guest-fsfreeze=0,enabled=yes", false),
        ] {
            let text = format!("agent: {value}\n[before]\nagent: 1\n");
            assert_eq!(parse(GuestId(1), Kind::Machine, &text).is_freezable, is_freezable, "{value}");
            assert!(!parse(GuestId(1), Kind::Container, &text).is_freezable);
        }
    }

    #[test]
    fn only_a_clear_word_leaves_a_volume_out() {
        for (options, is_backed_up) in [
            ("", true),
            (",backup=1", true),
            (",backup=0", false),
            (", backup=Off ", false),
            (",backup=FALSE", false),
            (",backup=maybe", true),
            (",backup=", true),
            (",backup", true),
            (",nobackup=0", true),
            (",backup=0,backup=1", true),
            (",backup=0,backup=no", false),
        ] {
            let off = if is_backed_up { "" } else { " off" };
            let line = machine(&format!("scsi1: z:vm-100-disk-0{options}\n"));
            assert_eq!(line, [format!("z:vm-100-disk-0{off}")], "{options}");
        }
        assert_eq!(container("mp0: z:subvol-101-disk-0,backup=maybe\n"), ["z:subvol-101-disk-0"]);
    }

    #[test]
    fn files_of_directory_storages_are_volumes() {
        let text = "scsi0: local:1/vm-1-disk-0.qcow2,size=4G\nscsi1: local:iso/vm-1-disk-0.iso\nscsi2: local:1/x.raw\n";
        assert_eq!(machine(text), ["local:1/vm-1-disk-0.qcow2"]);
    }

    #[test]
    fn odd_input_is_left_out() {
        let text = "scsi0\nscsi0:\nscsi1: local-zfs:\nscsi2: local-zfs:vm-1-disk-0@x;rm\nscsi: a:vm-1-disk-1\n\
            scsi31: a:vm-1-disk-1\nscsi01: a:vm-1-disk-1\nsata6: a:vm-1-disk-1\n scsi3: a:vm-1-disk-1\n\
            scsi4 : a:vm-1-disk-1\nscsi5: :vm-1-disk-1\nscsi6: a:x/vm-1-disk-1\nscsi7: a:base-1-disk-0/b/vm-1-disk-1\n\
            [a/b]\nscsi3: a:vm-1-disk-2\n[unclosed\n[]\n\u{0}\n,,,:::\nvirtio0: a:b:vm-1-disk-3\n";
        let guest = parse(GuestId(1), Kind::Machine, text);
        assert_eq!((lines(&guest), guest.snapshots.len()), (vec![], 0));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_found_is_a_volume(text in "([a-z]{1,6}[0-9]{0,2}: ?|\\[|\\]|[ -~]{0,9}|a:vm-1-disk-[0-9]|,backup=[01]|\n|\\PC){0,40}") {
            for kind in [Kind::Machine, Kind::Container] {
                for disk in parse(GuestId(1), kind, &text).disks {
                    prop_assert!(disk.volume.rsplit('/').next().and_then(VolumeName::parse).is_some());
                    prop_assert!(!disk.storage.is_empty());
                }
            }
        }
    }
}
