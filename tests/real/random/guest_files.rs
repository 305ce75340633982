//! Proxmox VE's files of guests: sound, damaged, of other storages and other nodes.

use std::fs;
use std::path::PathBuf;

use super::Stage;

/// A guest that Proxmox VE would take for a container's or a machine's volume, with its number.
fn a_volume(stage: &mut Stage) -> Option<(String, u32)> {
    let guest = stage.a_guest()?;
    let name = guest.rsplit('/').next().unwrap();
    let id = name.split('-').nth(1)?.parse().ok()?;
    (name == format!("subvol-{id}-disk-0") || name == format!("vm-{id}-disk-0")).then_some((guest, id))
}

/// Writes a guest's file, and a second storage beside the world's own.
fn write(stage: &mut Stage, id: u32, text: &str) -> PathBuf {
    let path = format!("lxc/{id}.conf");
    let (source, other) = (stage.world.source(), stage.world.beside("elsewhere"));
    let storages = format!("zfspool: z\n\tpool {source}\n\nzfspool: y\n\tpool {other}\n");
    let file = stage.world.directory().join("pve").join(&path);
    fs::remove_dir(&file).ok();
    stage.guest_config = Some(stage.world.guest_configs(&[("storage.cfg", &storages), (&path, text)]));
    file
}

/// Makes every guest's file sound.
pub(super) fn mend(stage: &mut Stage) {
    let files = stage.world.directory().join("pve/lxc");
    for file in fs::read_dir(files).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let guest = file.file_stem().unwrap().to_str().unwrap();
        fs::remove_dir(&file).ok();
        fs::write(&file, format!("rootfs: z:subvol-{guest}-disk-0,size=8G\n")).unwrap();
    }
    fs::remove_dir_all(stage.world.directory().join("pve/nodes")).ok();
    stage.known.unsound_guests.clear();
}

/// Sound, empty, half written, or no file at all.
pub(super) fn of_a_guest(stage: &mut Stage) -> Option<String> {
    let (guest, id) = a_volume(stage)?;
    let name = guest.rsplit('/').next().unwrap().to_owned();
    let file = write(stage, id, &format!("rootfs: z:{name},size=8G\n[pve:pending]\nmp0: z:x,backup=1\n"));
    stage.known.unsound_guests.insert(id);
    let what = match stage.random.below(4) {
        0 => {
            stage.known.unsound_guests.remove(&id);
            "sound"
        }
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
    Some(format!("{} is {what}", file.display()))
}

/// A volume of the same name on another storage is left out, or one of two lines leaves this one out: it is backed up.
pub(super) fn of_another_storage(stage: &mut Stage) -> Option<String> {
    let (guest, id) = a_volume(stage)?;
    let name = guest.rsplit('/').next().unwrap().to_owned();
    let text = match stage.random.below(3) {
        0 => format!("rootfs: z:{name}-other,size=8G\nmp0: y:{name},mp=/x,backup=0\n"),
        1 => format!("mp0: y:{name},mp=/x,backup=0\n"),
        _ => format!("rootfs: z:{name},size=8G\nmp0: z:{name},mp=/x,backup=0\n"),
    };
    write(stage, id, &text);
    stage.known.unsound_guests.remove(&id);
    Some(format!("guest {id}: {text:?}"))
}

/// The guest's own line leaves it out.
pub(super) fn left_out(stage: &mut Stage) -> Option<String> {
    let (guest, id) = a_volume(stage)?;
    let name = guest.rsplit('/').next().unwrap().to_owned();
    let text = format!("rootfs: y:{name},size=8G\nmp0: z:{name},mp=/x,backup=0\n");
    write(stage, id, &text);
    stage.known.unsound_guests.insert(id);
    Some(format!("guest {id}: {text:?}"))
}

/// The guest has moved to another node; what is here is a leftover.
pub(super) fn of_another_node(stage: &mut Stage) -> Option<String> {
    let (guest, id) = a_volume(stage)?;
    let file = write(stage, id, "");
    fs::remove_file(file).unwrap();
    let name = guest.rsplit('/').next().unwrap();
    let directory = stage.world.directory().join("pve/nodes/pve9/lxc");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{id}.conf")), format!("rootfs: z:{name},size=8G\n")).unwrap();
    stage.known.unsound_guests.insert(id);
    Some(format!("guest {id} is on node pve9"))
}
