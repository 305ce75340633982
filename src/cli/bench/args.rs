//! `zhaul bench` as a person types it.

use clap::Args;

use super::super::args::{LogArgs, PolicyArgs};
use crate::model::{ByteCount, SnapshotName};

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  zhaul bench --synthetic                  this machine alone, with a made stream
  zhaul bench nfs8                         the way to a target, with what a run would send
  zhaul bench nfs8 --receive --seconds 30  and its pool; what it writes there is destroyed again
  zhaul bench nfs8 --snapshot rpool/data/vm-100-disk-0@2026-01-10-010000 --json";

/// `zhaul bench`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BenchArgs {
    /// The target, as the policy calls it [default: loopback, both ends on this machine]
    pub(super) target: Option<String>,
    /// Which policy.
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Send this snapshot [default: the newest of the largest dataset that the policy selects]
    #[arg(long, value_name = "DATASET@NAME", value_parser = SnapshotName::parse)]
    pub(super) snapshot: Option<SnapshotName>,
    /// Send a made stream, half of which can be compressed; needs no ZFS
    #[arg(long, conflicts_with = "snapshot")]
    pub(super) synthetic: bool,
    /// End each measurement after so many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) seconds: u64,
    /// End each measurement after so much of the stream, e.g. 4GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) size: Option<ByteCount>,
    /// Let the target receive into ROOT/zhaul-bench-RANDOM, and destroy that again
    #[arg(long, requires = "target", conflicts_with = "synthetic")]
    pub(super) receive: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// What to log.
    #[command(flatten)]
    pub(super) log: LogArgs,
}

fn parse_size(text: &str) -> Result<ByteCount, String> {
    let size: ByteCount = text.parse().map_err(|error: crate::model::SizeError| error.to_string())?;
    if size.0 == 0 { Err("nothing can be measured with nothing".to_owned()) } else { Ok(size) }
}
