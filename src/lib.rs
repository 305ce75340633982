//! zhaul: backup and archive of Proxmox VE guests on ZFS.

pub mod bench;
pub mod channel;
pub mod cli;
pub mod discover;
pub mod execute;
pub mod host;
pub mod model;
pub mod plan;
pub mod policy;
pub mod stream;
pub mod zfs;
