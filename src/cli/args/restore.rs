//! `zhaul list`, `restore` and `rollback` as a person types them.

use std::fmt;
use std::num::NonZeroU64;

use clap::Args;

use super::super::when::TimeArgument;
use super::{LogArgs, PolicyArgs, parse_guest, parse_rate};
use crate::model::{DatasetName, GuestId, PointName};
use crate::plan::restore::What;

/// `zhaul list`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ListArgs {
    /// A guest's number, or a dataset as it is or was called here
    #[arg(value_name = "GUEST|DATASET", value_parser = parse_what)]
    pub(in crate::cli) what: Option<What>,
    /// Which policy.
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Judge ages as of another time
    #[arg(long, value_name = "TIME", hide = true)]
    pub(in crate::cli) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(in crate::cli) log: LogArgs,
}

/// `zhaul restore`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line")]
pub(in crate::cli) struct RestoreArgs {
    /// A guest's number, or a dataset as it is or was called here; or a copy as it is called on the target
    #[arg(value_name = "GUEST|DATASET", value_parser = parse_what, required_unless_present = "all")]
    pub(in crate::cli) what: Option<What>,
    /// Restore every guest and dataset that is not on this host, one after the other: after the loss of the host
    #[arg(long, conflicts_with_all = ["what", "to", "new_id", "disks", "unique", "link_down", "replace", "abandon", "put_back"])]
    pub(in crate::cli) all: bool,
    /// Restore from this backup or archive, or from `here` [default: the nearest that has the point]
    #[arg(long, value_name = "TARGET")]
    pub(in crate::cli) from: Option<String>,
    /// Restore the newest point that is not newer than this time, or the point of this name [default: the newest]
    #[arg(long, value_name = "TIME|POINT", value_parser = parse_at)]
    pub(in crate::cli) at: Option<AtArg>,
    /// Restore to this dataset instead of the one it was
    #[arg(long, value_name = "DATASET", value_parser = DatasetName::new)]
    pub(in crate::cli) to: Option<DatasetName>,
    /// Give the restored guest this number instead of its own, and with it new MAC addresses and UUIDs
    #[arg(long = "as", value_name = "VMID", value_parser = parse_guest, conflicts_with = "to")]
    pub(in crate::cli) new_id: Option<GuestId>,
    /// Put the disks on this storage of Proxmox VE instead of their own; with OLD= only those that were on this storage, or in this
    /// dataset. May be given again
    #[arg(long, value_name = "[OLD=]STORAGE", value_parser = parse_storage, value_delimiter = ',', conflicts_with = "to")]
    pub(in crate::cli) storage: Vec<StorageArg>,
    /// Restore only this disk of the guest: its line in the guest's file, for example scsi1, or its volume or dataset; may be given
    /// again. The guest's file is not written
    #[arg(long = "disk", value_name = "DISK", conflicts_with_all = ["abandon", "put_back"])]
    pub(in crate::cli) disks: Vec<String>,
    /// Give the guest new MAC addresses and UUIDs, also where it keeps its number
    #[arg(long)]
    pub(in crate::cli) unique: bool,
    /// Restore in the place of a guest or dataset that exists: it is set aside, and can be put back
    #[arg(long, conflicts_with_all = ["new_id", "abandon"])]
    pub(in crate::cli) replace: bool,
    /// Disconnect the guest's network cards
    #[arg(long)]
    pub(in crate::cli) link_down: bool,
    /// Show what would be received, with sizes, and change nothing
    #[arg(short = 'n', long, visible_alias = "dryrun", conflicts_with = "abandon")]
    pub(in crate::cli) dry_run: bool,
    /// Limit the transfer to SIZE per second, for example 20MiB [default: unlimited; the policy's rate does not apply]
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(in crate::cli) rate: Option<NonZeroU64>,
    /// Give up an interrupted restore: destroy what it has received
    #[arg(long, conflicts_with_all = ["from", "at"])]
    pub(in crate::cli) abandon: bool,
    /// Put back what was set aside with this stamp; what is there now is set aside in turn
    #[arg(long, value_name = "STAMP", conflicts_with_all = ["from", "at", "to", "new_id", "storage", "abandon"])]
    pub(in crate::cli) put_back: Option<String>,
    /// State that nothing uses the disks, where neither qm nor pct can say that the guest is stopped
    #[arg(long)]
    pub(in crate::cli) stopped: bool,
    /// Which policy.
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Plan as of another time; for tests.
    #[arg(long, value_name = "TIME", hide = true)]
    pub(in crate::cli) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(in crate::cli) log: LogArgs,
}

/// `zhaul rollback`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line")]
pub(in crate::cli) struct RollbackArgs {
    /// A guest's number, or a dataset
    #[arg(value_name = "GUEST|DATASET", value_parser = parse_what)]
    pub(in crate::cli) what: What,
    /// Roll back to the newest point that is not newer than this time, or to the point of this name [default: the newest]
    #[arg(long, value_name = "TIME|POINT", value_parser = parse_at)]
    pub(in crate::cli) to: Option<AtArg>,
    /// Keep what is there now: it is set aside with all newer points, and a clone of the point takes its place
    #[arg(long)]
    pub(in crate::cli) keep: bool,
    /// Leave the guest's configuration and firewall file as they are
    #[arg(long)]
    pub(in crate::cli) keep_config: bool,
    /// State that nothing uses the disks, where neither qm nor pct can say that the guest is stopped
    #[arg(long)]
    pub(in crate::cli) stopped: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    pub(in crate::cli) dry_run: bool,
    /// Which policy.
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// Judge ages as of another time
    #[arg(long, value_name = "TIME", hide = true)]
    pub(in crate::cli) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(in crate::cli) log: LogArgs,
}

/// A restore point as a person types it.
#[derive(Debug, Clone)]
pub(in crate::cli) enum AtArg {
    /// A time.
    Time(TimeArgument),
    /// A point's name.
    Point(PointName),
}

/// As it can be typed.
impl fmt::Display for AtArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(TimeArgument::Instant(time)) => time.fmt(f),
            Self::Time(TimeArgument::Civil(time)) => time.fmt(f),
            Self::Point(name) if name.as_str().contains(' ') => write!(f, "'{name}'"),
            Self::Point(name) => name.fmt(f),
        }
    }
}

/// The storage that disks go to, and the one that they were on if it is of some alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct StorageArg {
    pub(in crate::cli) of: Option<String>,
    pub(in crate::cli) to: String,
}

/// As it can be typed.
impl fmt::Display for StorageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(of) = &self.of {
            write!(f, "{of}=")?;
        }
        self.to.fmt(f)
    }
}

/// Neither the id of a storage nor the name of a dataset has an equals sign or a comma.
#[expect(clippy::unnecessary_wraps, reason = "clap's form of a parser that may fail")]
fn parse_storage(text: &str) -> Result<StorageArg, String> {
    let (of, to) = match text.split_once('=') {
        Some((of, to)) => (Some(of.to_owned()), to),
        None => (None, text),
    };
    Ok(StorageArg { of, to: to.to_owned() })
}

/// A plain number is a guest's.
pub(super) fn parse_what(text: &str) -> Result<What, String> {
    if text.bytes().all(|c| c.is_ascii_digit()) {
        return parse_guest(text).map(What::Guest);
    }
    DatasetName::new(text).map(What::Dataset).map_err(|error| error.to_string())
}

/// A word that parses as a time is a time: no snapshot of zhaul has such a name.
fn parse_at(text: &str) -> Result<AtArg, String> {
    if let Ok(when) = text.parse() {
        return Ok(AtArg::Time(when));
    }
    let point = text.trim_start_matches('@');
    PointName::new(point).map(AtArg::Point).map_err(|error| error.to_string())
}
