//! The directory is read by a process of its own: `pmxcfs` may not answer for ever, and a thread that waits for it would keep
//! this process, with its lock, until the machine is rebooted.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::config;
use crate::host::Helper;
use crate::model::{GuestConfig, GuestId, Proxmox};

/// The hidden subcommand of zhaul that reads.
const SUBCOMMAND: &str = "read-guests";

/// How long reading may take: `pmxcfs` answers from memory, so what takes longer hangs.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// `pmxcfs` holds 128 MiB at most, and a cluster's guests are far less.
const BYTES_MAX: usize = 256 << 20;

/// Proxmox VE's configuration from `directory`, or why it cannot be read.
pub(super) fn known(directory: &Path) -> Result<Proxmox, String> {
    ask(directory, &[])
}

/// The configuration of every guest of this node that can be read. Never fails, and takes no longer than 20 s: what a guest's
/// snapshot lacks is no reason not to take it.
pub fn guest_configs(directory: &Path, known: &Proxmox) -> Vec<GuestConfig> {
    let guests: Vec<GuestId> = known.guests.iter().map(|guest| guest.id).collect();
    configs(directory, &guests).unwrap_or_else(|why| {
        tracing::warn!(
            "reading {} {why}: the snapshots of this run are without their guests' configuration",
            directory.display()
        );
        Vec::new()
    })
}

fn configs(directory: &Path, guests: &[GuestId]) -> Result<Vec<GuestConfig>, String> {
    if guests.is_empty() { Ok(Vec::new()) } else { ask(directory, guests) }
}

fn ask<T: DeserializeOwned>(directory: &Path, guests: &[GuestId]) -> Result<T, String> {
    // The process has another directory.
    let directory = std::path::absolute(directory).map_err(|error| failed(&error))?;
    let helper = Helper::with_output(SUBCOMMAND, |command| {
        command.arg(directory).args(guests.iter().map(ToString::to_string));
    });
    let helper = helper.map_err(|error| failed(&error))?;
    let read = helper.read_within(READ_LIMIT, BYTES_MAX).map_err(|error| error.to_string())?;
    serde_json::from_slice(&read).map_err(|error| failed(&error))
}

fn failed(error: &impl fmt::Display) -> String {
    format!("failed: {error}")
}

/// The work of the process: writes the configuration that it read to `out`; with `guests` their files.
pub fn read_guests(directory: &Path, guests: &[GuestId], mut out: impl io::Write) -> io::Result<()> {
    if guests.is_empty() {
        serde_json::to_writer(&mut out, &super::read(directory))?;
    } else {
        serde_json::to_writer(&mut out, &config::read(directory, guests))?;
    }
    out.flush()
}
