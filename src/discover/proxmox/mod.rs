//! Proxmox VE's configuration (`/etc/pve`): the guests of this node and of others, and where storages are.
//!
//! The directory is a FUSE file system that may be empty, read-only, half mounted or hung, and nothing of that may end a
//! run or change in silence what is backed up: an unreliable state is reported as [`ProxmoxState::InDoubt`], a file
//! that cannot be read concerns its guest alone.

mod apart;
mod cluster;
mod config;
mod files;
mod guest_file;
mod sections;
mod storage_cfg;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::model::{Guest, GuestId, Proxmox, ProxmoxState};
pub use apart::{guest_configs, read_guests};
use files::{Text, dangles, names};
use guest_file::Kind;

/// The mount point of the file system on every host with Proxmox VE, and the database behind it.
const MOUNT_POINT: &str = "/etc/pve";
const DATABASE: &str = "/var/lib/pve-cluster/config.db";

/// The configuration in `directory` (`/etc/pve`). Never fails, and takes no longer than 20 s.
pub fn proxmox(directory: &Path) -> Proxmox {
    apart::known(directory).unwrap_or_else(|why| in_doubt(format!("reading {} {why}", directory.display())))
}

fn in_doubt(why: String) -> Proxmox {
    Proxmox { state: ProxmoxState::InDoubt(why), ..Proxmox::default() }
}

/// The same, read by this process, which hangs where the directory does.
pub(crate) fn read(directory: &Path) -> Proxmox {
    let shown = directory.display();
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Only the usual place may be missing: a host without Proxmox VE has none.
            let is_expected = directory != Path::new(MOUNT_POINT) || Path::new(DATABASE).exists();
            return if is_expected {
                in_doubt(format!("{shown} does not exist"))
            } else {
                Proxmox::default()
            };
        }
        Err(error) => return in_doubt(format!("{shown} cannot be read: {error}")),
        Ok(_) => {}
    }
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return in_doubt(format!("{shown} is no directory")),
        Err(error) => return in_doubt(format!("{shown} cannot be read: {error}")),
    }
    Reader { directory, known: Proxmox { state: ProxmoxState::Whole, ..Proxmox::default() } }.read()
}

/// One pass over the directory.
struct Reader<'a> {
    directory: &'a Path,
    known: Proxmox,
}

impl Reader<'_> {
    fn read(mut self) -> Proxmox {
        let members = match cluster::members(self.directory) {
            Ok(members) => members,
            Err(why) => {
                self.doubt(why);
                cluster::Members::default()
            }
        };
        if members.is_quorate == Some(false) {
            self.doubt("the cluster is not quorate: its configuration may be out of date".to_owned());
        }
        if members.is_quorate == Some(true) {
            self.known.nodes.clone_from(&members.nodes);
        }
        let node = cluster::node(self.directory, &members);
        self.read_storages(&node);
        self.read_jobs();
        let mut has_any = false;
        for kind in [Kind::Machine, Kind::Container] {
            has_any |= self.read_guests(kind, &node);
        }
        if !has_any {
            let why = format!(
                "{} has neither qemu-server nor lxc: it is empty or half there",
                self.directory.display()
            );
            self.doubt(why);
        }
        self.known.guests.sort_by_key(|guest| guest.id);
        self.read_others(&node);
        self.known
    }

    /// Notes the first reason; one is enough.
    fn doubt(&mut self, why: String) {
        if !matches!(self.known.state, ProxmoxState::InDoubt(_)) {
            self.known.state = ProxmoxState::InDoubt(why);
        }
    }

    fn read_storages(&mut self, node: &str) {
        match files::text(&self.directory.join("storage.cfg")) {
            Text::Missing => {}
            Text::Read(text) => self.known.storages = Some(storage_cfg::parse(&text, node)),
            Text::Unreadable(why) => self.doubt(why),
        }
    }

    /// Who replicates a guest, and who starts it.
    fn read_jobs(&mut self) {
        match files::text(&self.directory.join("replication.cfg")) {
            Text::Read(text) => self.known.replicated = sections::replicated(&text),
            Text::Missing | Text::Unreadable(_) => {}
        }
        match files::text(&self.directory.join("ha/resources.cfg")) {
            Text::Read(text) => self.known.managed = sections::managed(&text),
            Text::Missing | Text::Unreadable(_) => {}
        }
    }

    /// Reads this node's guests of one kind. Gives whether there is a directory for them.
    fn read_guests(&mut self, kind: Kind, node: &str) -> bool {
        let usual = self.directory.join(kind.directory());
        if dangles(&usual) {
            self.doubt(format!("{} points to nothing", usual.display()));
        }
        let of_node = self.directory.join("nodes").join(node).join(kind.directory());
        let Some(directory) = [usual, of_node].into_iter().find(|path| path.exists()) else {
            return false;
        };
        match configs(&directory) {
            Ok(configs) => {
                for (id, path) in configs {
                    self.read_guest(kind, id, &path);
                }
            }
            Err(why) => self.doubt(why),
        }
        true
    }

    fn read_guest(&mut self, kind: Kind, id: GuestId, path: &Path) {
        match files::text(path) {
            Text::Read(text) => {
                let guest = guest_file::parse(id, kind, &text);
                match self.known.guests.iter_mut().find(|known| known.id == id) {
                    Some(known) => merge(known, guest),
                    None => self.known.guests.push(guest),
                }
            }
            Text::Unreadable(why) => {
                self.known.unreadable.insert(id, why);
            }
            // The guest was removed or has moved to another node since.
            Text::Missing => {}
        }
    }

    /// The guests of other nodes. A guest file on this node makes the guest this node's, whatever other files say.
    fn read_others(&mut self, node: &str) {
        let mut found = Vec::new();
        match cluster::listed(self.directory) {
            Ok(listed) => found.extend(listed),
            Err(why) => self.doubt(why),
        }
        match cluster::filed(self.directory, node, configs) {
            Ok(filed) => found.extend(filed),
            Err(why) => self.doubt(why),
        }
        for (id, on) in found {
            let is_here = self.known.guest(id).is_some() || self.known.unreadable.contains_key(&id);
            if is_here {
                if on != node {
                    self.known.disputed.insert(id);
                }
                continue;
            }
            if on == node {
                let why = format!(
                    "{} lists guest {id} on this node, but its file is not there",
                    self.directory.join(".vmlist").display()
                );
                self.known.unreadable.insert(id, why);
            } else {
                self.known.elsewhere.insert(id, on);
            }
        }
    }
}

/// A number that a machine and a container share: their volumes and snapshots are all that guest's.
fn merge(known: &mut Guest, other: Guest) {
    known.disks.extend(other.disks);
    known.snapshots.extend(other.snapshots);
}

/// The files `ID.conf` of a directory.
fn configs(directory: &Path) -> Result<Vec<(GuestId, PathBuf)>, String> {
    let id = |name: &str| GuestId::parse(name.strip_suffix(".conf")?);
    let named = names(directory)?;
    Ok(named.iter().filter_map(|name| Some((id(name)?, directory.join(name)))).collect())
}

#[cfg(test)]
mod tests;
