//! The files of this node's guests, as they are to be stored with their snapshots.

use std::path::Path;

use super::cluster;
use super::files::{self, Text};
use super::guest_file::Kind;
use crate::model::{GuestConfig, GuestId, GuestKind};

/// The files of `guests` that can be read.
pub(super) fn read(directory: &Path, guests: &[GuestId]) -> Vec<GuestConfig> {
    let members = cluster::members(directory).unwrap_or_default();
    let node = cluster::node(directory, &members);
    let mut configs = Vec::new();
    for id in guests.iter().copied() {
        for (kind, stored) in [(Kind::Machine, GuestKind::Machine), (Kind::Container, GuestKind::Container)] {
            let name = format!("{id}.conf");
            let usual = directory.join(kind.directory());
            let of_node = directory.join("nodes").join(&node).join(kind.directory());
            let text = [usual, of_node].iter().find_map(|place| text(&place.join(&name)));
            let Some(text) = text else { continue };
            let firewall = self::text(&directory.join("firewall").join(format!("{id}.fw")));
            configs.push(GuestConfig::new(stored, id, &node, &text, firewall));
        }
    }
    configs
}

fn text(path: &Path) -> Option<String> {
    match files::text(path) {
        Text::Read(text) => Some(text),
        Text::Missing | Text::Unreadable(_) => None,
    }
}
