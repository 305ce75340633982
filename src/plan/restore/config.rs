//! A guest's stored configuration as it is to be written for what was restored. Pure: random numbers come in.
//!
//! As Proxmox VE's own restore: snapshots, pending changes, locks and unused disks are dropped, a virtual machine gets a new
//! `vmgenid`; another number also means new MAC addresses and another `smbios1` UUID.

use super::{FormerPlaces, VolumeRestore};
use crate::model::{
    DatasetName, GuestConfig, GuestId, Proxmox, VolumeName, is_of_template, is_template_snapshot,
};

/// The changes beside the disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    /// The guest's new number, if it gets one.
    pub id: Option<GuestId>,
    /// Give it an identity of its own: MAC addresses and UUIDs.
    pub is_unique: bool,
    /// Take the network cards off the network.
    pub is_link_down: bool,
}

/// Keys of a moment of the guest that is over: its lock, its saved snapshots, what was running.
pub(super) const OF_A_MOMENT: [&str; 8] = [
    "lock",
    "parent",
    "snaptime",
    "snapstate",
    "vmstate",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
];

/// Whether what was restored is a template.
pub fn is_template(restored: &[VolumeRestore]) -> bool {
    !restored.is_empty() && restored.iter().all(|one| one.is_template)
}

/// The file's text, and the disks that neither were restored nor are here: their lines are kept as comments. `former` says where volumes
/// were: [`super::former_places`].
pub fn restored_config(
    stored: &GuestConfig,
    (restored, former): (&[VolumeRestore], &FormerPlaces),
    proxmox: &Proxmox,
    (changes, is_here): (ConfigChanges, &dyn Fn(&DatasetName) -> bool),
    random: &mut dyn FnMut() -> u64,
) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut left_out = Vec::new();
    // A guest of another number has none of the disks that are here.
    let stays = |(storage, volume): (&str, &str)| {
        changes.id.is_none() && proxmox.dataset_of(storage, volume).is_some_and(|dataset| is_here(&dataset))
    };
    let main = || stored.config.lines().take_while(|line| !line.trim_start().starts_with('['));
    for line in main() {
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
            if !line.trim().is_empty() {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let value = value.trim();
        let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
        // Without its disks' @__base__ it is none that Proxmox VE can make clones of.
        let is_no_template = key == "template" && !is_template(restored);
        if OF_A_MOMENT.contains(&key) || is_no_template || stem == "unused" {
            continue;
        }
        let written = match (stem, volume_of(value)) {
            ("net", _) => Some(network(value, changes, random)),
            (_, Some(named)) => match place_of(named, restored, proxmox, former) {
                Some(place) => Some(replaced(value, &place)),
                None if value.contains("cloudinit") => {
                    let storage = storage_here(named.0, (restored, former), proxmox);
                    Some(cloud_init(value, storage, changes))
                }
                None if stays(named) => Some(value.to_owned()),
                None => None,
            },
            _ if key == "vmgenid" && value != "0" => Some(uuid(random)),
            _ if key == "smbios1" && changes.is_unique => Some(with_option(value, "uuid", &uuid(random))),
            _ => Some(value.to_owned()),
        };
        if written.is_none() {
            left_out.push(format!("{key}: {value}"));
            text.push('#');
        }
        text.extend([key, ": ", written.as_deref().unwrap_or(value), "\n"]);
    }
    (text, left_out)
}

/// The storage and volume that a line names; `None` for what is no volume of a guest.
pub(super) fn volume_of(value: &str) -> Option<(&str, &str)> {
    let mut options = value.split(',').map(str::trim);
    let first = options.clone().find_map(|one| one.strip_prefix("file=").or(one.strip_prefix("volume=")));
    let (storage, volume) = first.or(options.next())?.split_once(':')?;
    let volume = volume.rsplit('/').next()?;
    VolumeName::parse(volume).map(|_| (storage, volume))
}

/// The lines of what holds now, without comments.
pub fn main_lines(config: &str) -> impl Iterator<Item = &str> {
    config.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'))
}

/// The volumes that the lines of what holds now name, each with its storage.
pub fn volumes_of(config: &str) -> Vec<(&str, &str)> {
    main_lines(config).filter_map(|line| volume_of(line.split_once(':')?.1.trim())).collect()
}

/// The volumes that the lines of what holds now name, each with its storage, and the sizes that these say, in bytes. None is without a limit.
pub fn volume_sizes(config: &str) -> Vec<((&str, &str), u64)> {
    main_lines(config)
        .filter_map(|line| {
            let value = line.split_once(':')?.1.trim();
            let size = value.split(',').find_map(|option| option.trim().strip_prefix("size="))?;
            Some((volume_of(value)?, bytes(size)?)).filter(|(_, bytes)| *bytes > 0)
        })
        .collect()
}

/// `8G` and its like, as Proxmox VE reads it.
fn bytes(size: &str) -> Option<u64> {
    let (digits, shift) = match size.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(digits) => (digits, 10 * (1 + "KMGT".find(size.chars().last()?)?)),
        None => (size, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift)
}

/// The volume's present name: `STORAGE:VOLUME`.
fn place_of(
    (storage, volume): (&str, &str),
    restored: &[VolumeRestore],
    proxmox: &Proxmox,
    former: &FormerPlaces,
) -> Option<String> {
    let dataset = proxmox.dataset_of(storage, volume);
    let here = dataset.as_ref().and_then(|dataset| restored.iter().find(|one| is_same(&one.volume, dataset)));
    let found = if let Some(found) = here {
        // A disk of another storage may have been restored to this one, under the name of the disk that is meant.
        let was = former.get(&found.volume);
        was.is_none_or(|was| was.is_of((storage, volume))).then_some(found)?
    } else {
        // The storage is another host's. Where this one has its id, what is on a storage of this host is not meant.
        let is_of_line = |one: &&VolumeRestore| {
            former.get(&one.volume).is_some_and(|was| was.is_of((storage, volume)))
                && (dataset.is_none() || proxmox.storage_of(&one.volume).is_none())
        };
        restored.iter().find(is_of_line)?
    };
    let storage = proxmox.storage_of(&found.to).map_or(storage, |storage| storage.id.as_str());
    // As Proxmox VE lists a linked clone (`ZFSPoolPlugin.pm`).
    let template = found.origin.as_ref().filter(|origin| {
        is_template_snapshot(origin.dataset(), origin.name())
            && origin.dataset().parent() == found.to.parent()
    });
    let template = template.map(|origin| format!("{}/", origin.dataset().last())).unwrap_or_default();
    Some(format!("{storage}:{template}{}", found.to.last()))
}

/// Whether these are the names of one volume. The disks of a guest that becomes a template get other prefixes.
fn is_same(one: &DatasetName, other: &DatasetName) -> bool {
    one == other || one.parent() == other.parent() && plain(one.last()) == plain(other.last())
}

/// The name that the disk of a template had before its guest became one.
pub(super) fn plain(name: &str) -> String {
    let rest = name.strip_prefix("base").filter(|_| is_of_template(name)).map(|rest| {
        match rest.strip_prefix("vol") {
            Some(rest) => format!("subvol{rest}"),
            None => format!("vm{rest}"),
        }
    });
    rest.unwrap_or_else(|| name.to_owned())
}

/// `value` with another volume; every other option stays.
fn replaced(value: &str, place: &str) -> String {
    let is_place = |option: &str| {
        let bare = option.strip_prefix("file=").or(option.strip_prefix("volume=")).unwrap_or(option);
        volume_of(bare).is_some()
    };
    let options: Vec<String> = value
        .split(',')
        .map(|option| if is_place(option.trim()) { place.to_owned() } else { option.to_owned() })
        .collect();
    options.join(",")
}

/// The storage, or where this host has none of this id, the one that a disk which was there is on now, or else any disk.
fn storage_here<'a>(
    storage: &'a str,
    (restored, former): (&[VolumeRestore], &FormerPlaces),
    proxmox: &'a Proxmox,
) -> &'a str {
    if proxmox.storages.iter().flatten().any(|here| here.id == storage) {
        return storage;
    }
    let beside =
        restored.iter().filter(|one| former.get(&one.volume).is_some_and(|was| was.storage == storage));
    let found = beside.chain(restored).find_map(|one| proxmox.storage_of(&one.to));
    found.map_or(storage, |found| found.id.as_str())
}

/// Proxmox VE creates the image again at the next start.
fn cloud_init(value: &str, storage: &str, changes: ConfigChanges) -> String {
    let Some((_, volume)) = volume_of(value) else { return value.to_owned() };
    let id = VolumeName::parse(volume).map(|volume| volume.guest);
    let id = changes.id.or(id).map_or_else(String::new, |id| id.to_string());
    replaced(value, &format!("{storage}:vm-{id}-cloudinit"))
}

fn network(value: &str, changes: ConfigChanges, random: &mut dyn FnMut() -> u64) -> String {
    let is_mac = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
    };
    let options = value.split(',').map(|option| match option.split_once('=') {
        Some((key, mac)) if changes.is_unique && is_mac(mac) => format!("{key}={}", mac_address(random)),
        _ => option.to_owned(),
    });
    let value = options.collect::<Vec<_>>().join(",");
    if changes.is_link_down { with_option(&value, "link_down", "1") } else { value }
}

/// `value` with `key=word` in the place of any other `key=`.
fn with_option(value: &str, key: &str, word: &str) -> String {
    let others = value.split(',').filter(|option| option.split_once('=').is_none_or(|(name, _)| name != key));
    let mut options: Vec<String> = others.map(str::to_owned).collect();
    options.push(format!("{key}={word}"));
    options.join(",")
}

/// One of Proxmox VE's own range of addresses.
fn mac_address(random: &mut dyn FnMut() -> u64) -> String {
    let bytes = random().to_be_bytes();
    let [a, b, c, ..] = bytes;
    format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn uuid(random: &mut dyn FnMut() -> u64) -> String {
    let (high, low) = (random() & !0xf000 | 0x4000, random() & !(3 << 62) | 2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The name of a volume when its guest has another number.
pub(super) fn renumbered(volume: &str, id: GuestId) -> Option<String> {
    let old = VolumeName::parse(volume)?.guest.to_string();
    let (prefix, rest) = volume.split_once('-')?;
    let rest = rest.strip_prefix(&old)?;
    // A template's disk becomes one of an ordinary guest under its own name only by hand.
    Some(format!("{prefix}-{id}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        DatasetKind, Encryption, GuestKind, Guid, PointName, ProxmoxState, SnapshotName, Storage,
    };
    use crate::plan::restore::{FormerPlace, Stage};

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    fn restored(volume: &str, to: &str) -> VolumeRestore {
        VolumeRestore {
            volume: name(volume),
            to: name(to),
            incoming: name("x/y"),
            copy: SnapshotName::parse("t/x@a").unwrap(),
            point: PointName::new("a").unwrap(),
            guid: Guid(1),
            kind: DatasetKind::Volume,
            encryption: Encryption::Off,
            is_thick: false,
            origin: None,
            is_template: false,
            replaces: None,
            volume_bytes: 0,
            is_container: false,
            stage: Stage::Receive,
            streams: Vec::new(),
        }
    }

    fn proxmox() -> Proxmox {
        let storage = |id: &str, at: &str| Storage { id: id.to_owned(), dataset: name(at), is_sparse: true };
        let storages = vec![storage("fast", "tank/vm"), storage("z", "rpool/data")];
        Proxmox { state: ProxmoxState::Whole, storages: Some(storages), ..Proxmox::default() }
    }

    const TEXT: &str = "#notes: kept\nboot: order=scsi0\nlock: backup\nide2: z:vm-100-cloudinit,media=cdrom\n\
        net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nparent: snap\nscsi0: z:vm-100-disk-0,size=4M\n\
        scsi1: fast:vm-100-disk-0,backup=0,size=1G\nscsi2: local:iso/x.iso,media=cdrom\nsmbios1: uuid=old,x=1\n\
        unused0: z:vm-100-disk-7\nvmgenid: 1\n\n[PENDING]\nmemory: 1\n\n[snap]\nscsi0: z:vm-100-disk-0\n";

    fn written(volumes: &[VolumeRestore], changes: ConfigChanges) -> (String, Vec<String>) {
        written_with(volumes, &[], changes)
    }

    /// With the ids of the storages that volumes were on.
    fn written_with(
        volumes: &[VolumeRestore],
        former: &[(&str, &str)],
        changes: ConfigChanges,
    ) -> (String, Vec<String>) {
        let stored = GuestConfig::new(GuestKind::Machine, GuestId(100), "pve0", TEXT, None);
        let place = |id: &str| FormerPlace { storage: id.to_owned(), volume: "vm-100-disk-0".to_owned() };
        let former = former.iter().map(|(volume, id)| (name(volume), place(id))).collect();
        let volumes = (volumes, &former);
        restored_config(&stored, volumes, &proxmox(), (changes, &|_| false), &mut || 0x0102_0304_0506_0708)
    }

    #[test]
    fn the_same_guest_keeps_its_identity_but_for_vmgenid_and_loses_what_was_not_restored() {
        let volumes = [restored("rpool/data/vm-100-disk-0", "rpool/data/vm-100-disk-0")];
        let (text, left_out) = written(&volumes, ConfigChanges::default());
        assert_eq!(
            text,
            "#notes: kept\nboot: order=scsi0\nide2: z:vm-100-cloudinit,media=cdrom\n\
             net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nscsi0: z:vm-100-disk-0,size=4M\n\
             scsi1: z:vm-100-disk-0,backup=0,size=1G\n"
                .replace("scsi1: z:vm-100-disk-0", "#scsi1: fast:vm-100-disk-0")
                + "scsi2: local:iso/x.iso,media=cdrom\nsmbios1: uuid=old,x=1\n\
                   vmgenid: 01020304-0506-4708-8102-030405060708\n"
        );
        assert_eq!(left_out, ["scsi1: fast:vm-100-disk-0,backup=0,size=1G"]);
    }

    #[test]
    fn another_number_and_storage_mean_another_identity() {
        let volumes = [
            restored("rpool/data/vm-100-disk-0", "tank/vm/vm-200-disk-0"),
            restored("tank/vm/vm-100-disk-0", "tank/vm/vm-200-disk-1"),
        ];
        let changes = ConfigChanges { id: Some(GuestId(200)), is_unique: true, is_link_down: true };
        let (text, left_out) = written(&volumes, changes);
        for line in [
            "ide2: z:vm-200-cloudinit,media=cdrom\n",
            "net0: virtio=BC:24:11:01:02:03,bridge=vmbr0,firewall=1,link_down=1\n",
            "scsi0: fast:vm-200-disk-0,size=4M\n",
            "scsi1: fast:vm-200-disk-1,backup=0,size=1G\n",
            "smbios1: x=1,uuid=01020304-0506-4708-8102-030405060708\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(left_out, Vec::<String>::new());
        assert_eq!(renumbered("subvol-100-disk-0", GuestId(7)), Some("subvol-7-disk-0".to_owned()));
        assert_eq!(renumbered("data", GuestId(7)), None);
    }

    #[test]
    fn disks_of_another_host_are_found_by_the_storages_that_they_were_on() {
        // This host has storages of the same ids on other pools.
        let volumes = [
            restored("old/data/vm-100-disk-0", "tank/vm/vm-100-disk-0"),
            restored("old/fast/vm-100-disk-0", "rpool/data/vm-100-disk-0"),
        ];
        let former = [("old/data/vm-100-disk-0", "z"), ("old/fast/vm-100-disk-0", "fast")];
        let (text, left_out) = written_with(&volumes, &former, ConfigChanges::default());
        assert!(
            text.contains("scsi0: fast:vm-100-disk-0,size=4M\nscsi1: z:vm-100-disk-0,backup=0"),
            "{text}"
        );
        assert!(text.contains("ide2: z:vm-100-cloudinit") && left_out.is_empty(), "{text}");
        // Restored again, once they are here: what is called like the disk of a line was the other one.
        let again = [
            restored("tank/vm/vm-100-disk-0", "tank/vm/vm-100-disk-0"),
            restored("rpool/data/vm-100-disk-0", "rpool/data/vm-100-disk-0"),
        ];
        let former = [("tank/vm/vm-100-disk-0", "z"), ("rpool/data/vm-100-disk-0", "fast")];
        let (text, left_out) = written_with(&again, &former, ConfigChanges::default());
        assert!(text.contains("#scsi0: z:") && text.contains("#scsi1: fast:"), "{text}");
        assert_eq!(left_out.len(), 2, "no line gets the wrong disk");
        // What is not certain is no disk's.
        let (_, left_out) = written(&volumes, ConfigChanges::default());
        assert_eq!(left_out.len(), 2);
    }

    #[test]
    fn a_line_of_a_disk_that_is_here_stays_and_a_disk_of_before_the_template_is_found() {
        let stored = GuestConfig::new(GuestKind::Machine, GuestId(100), "pve0", TEXT, None);
        let is_here = |dataset: &DatasetName| dataset.as_str() == "tank/vm/vm-100-disk-0";
        let volumes = [restored("rpool/data/base-100-disk-0", "rpool/data/base-100-disk-0")];
        let none = FormerPlaces::new();
        let write =
            |changes| restored_config(&stored, (&volumes, &none), &proxmox(), (changes, &is_here), &mut || 0);
        let (text, left_out) = write(ConfigChanges::default());
        assert!(
            text.contains("scsi0: z:base-100-disk-0,size=4M\nscsi1: fast:vm-100-disk-0,backup=0"),
            "{text}"
        );
        assert_eq!(left_out, Vec::<String>::new());
        let (_, left_out) = write(ConfigChanges { id: Some(GuestId(200)), ..ConfigChanges::default() });
        assert_eq!(left_out.len(), 1, "another guest has none of this one's disks");
    }

    #[test]
    fn sizes_are_read_as_proxmox_ve_writes_them() {
        let text = "rootfs: z:subvol-1-disk-0,size=8G\nmp0: z:subvol-1-disk-1,mp=/a,size=512M\nmp1: z:subvol-1-disk-2,mp=/b\n\
            mp2: z:subvol-1-disk-3,size=0\nmp3: z:subvol-1-disk-4,size=99999999999T\n#mp4: z:subvol-1-disk-5,size=1G\n\
            mp5: z:subvol-1-disk-6,size=1048576\n[s]\nrootfs: z:subvol-1-disk-0,size=1G\n";
        let found =
            [("subvol-1-disk-0", 8 << 30), ("subvol-1-disk-1", 512 << 20), ("subvol-1-disk-6", 1 << 20)];
        assert_eq!(volume_sizes(text), found.map(|(volume, bytes)| (("z", volume), bytes)));
    }
}
