//! The files of this node's guests, as they are to be stored with their snapshots.

use std::path::Path;

use super::files::{self, Text};
use super::guest_file::Kind;
use super::{READ_LIMIT, cluster, within};
use crate::model::{GuestConfig, GuestKind, Proxmox};

/// The configuration of every guest of this node that can be read. Never fails, and takes no longer than 20 s: what a guest's
/// snapshot lacks is no reason not to take it.
pub fn guest_configs(directory: &Path, known: &Proxmox) -> Vec<GuestConfig> {
    let (directory, guests) = (directory.to_owned(), known.guests.clone());
    let read = within(READ_LIMIT, move || {
        let members = cluster::members(&directory).unwrap_or_default();
        let node = cluster::node(&directory, &members);
        let mut configs = Vec::new();
        for guest in guests {
            for (kind, stored) in
                [(Kind::Machine, GuestKind::Machine), (Kind::Container, GuestKind::Container)]
            {
                let name = format!("{}.conf", guest.id);
                let usual = directory.join(kind.directory());
                let of_node = directory.join("nodes").join(&node).join(kind.directory());
                let text = [usual, of_node].iter().find_map(|place| text(&place.join(&name)));
                let Some(text) = text else { continue };
                let firewall = self::text(&directory.join("firewall").join(format!("{}.fw", guest.id)));
                configs.push(GuestConfig::new(stored, guest.id, &node, &text, firewall));
            }
        }
        configs
    });
    read.unwrap_or_default()
}

fn text(path: &Path) -> Option<String> {
    match files::text(path) {
        Text::Read(text) => Some(text),
        Text::Missing | Text::Unreadable(_) => None,
    }
}
