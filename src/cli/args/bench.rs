//! `zhaul bench` as a person types it.

use clap::Args;

use super::{LogArgs, PolicyArgs};
use crate::model::{ByteCount, SnapshotName};

/// `zhaul bench`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BenchArgs {
    /// The target, as the policy calls it [default: loopback, both ends on this machine]
    pub(in crate::cli) target: Option<String>,
    /// Which policy.
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// Send this snapshot [default: the newest of the largest dataset that the policy selects]
    #[arg(long, value_name = "DATASET@NAME", value_parser = SnapshotName::parse)]
    pub(in crate::cli) snapshot: Option<SnapshotName>,
    /// Send a synthetic stream, half of which can be compressed; needs no ZFS
    #[arg(long, conflicts_with = "snapshot")]
    pub(in crate::cli) synthetic: bool,
    /// End each measurement after this number of seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(in crate::cli) seconds: u64,
    /// End each measurement after so much of the stream, e.g. 4GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(in crate::cli) size: Option<ByteCount>,
    /// Let the target receive into ROOT/zhaul-bench-RANDOM, and destroy that again
    #[arg(long, requires = "target", conflicts_with = "synthetic")]
    pub(in crate::cli) receive: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// The log options.
    #[command(flatten)]
    pub(in crate::cli) log: LogArgs,
}

fn parse_size(text: &str) -> Result<ByteCount, String> {
    let size: ByteCount = text.parse().map_err(|error: crate::model::SizeError| error.to_string())?;
    if size.0 == 0 { Err("nothing can be measured with nothing".to_owned()) } else { Ok(size) }
}
