//! zhaul: backup and archive of Proxmox VE guests on ZFS.

pub mod model;
