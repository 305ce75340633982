//! `zhaul verify` as a person types it.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;

use super::super::when::TimeArgument;
use super::restore::parse_what;
use super::{LogArgs, PolicyArgs, parse_age, parse_rate};
use crate::plan::restore::What;

/// `zhaul verify`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line")]
pub(in crate::cli) struct VerifyArgs {
    /// Only this guest, by its number, or this dataset and what is below it
    #[arg(value_name = "GUEST|DATASET", value_parser = parse_what, requires = "work")]
    pub(in crate::cli) what: Option<What>,
    /// Read the newest snapshot that copy and source have in common on both machines, and compare all of its content
    #[arg(long, group = "work", conflicts_with_all = ["drill", "heal", "dry_run"])]
    pub(in crate::cli) deep: bool,
    /// Restore the newest point of this guest or dataset from a target beside its place, compare it with the copy, open its file
    /// systems, and destroy it again
    #[arg(long, group = "work", requires = "what", conflicts_with_all = ["heal", "dry_run", "rate", "time"])]
    pub(in crate::cli) drill: bool,
    /// Rewrite the blocks that the pool of a target names as damaged, from this host or another target, and compare
    #[arg(long, group = "work", conflicts_with_all = ["rate", "time"])]
    pub(in crate::cli) heal: bool,
    /// With --heal: show what would be healed from where, and change nothing
    #[arg(short = 'n', long, visible_alias = "dryrun", requires = "heal")]
    pub(in crate::cli) dry_run: bool,
    /// With --deep or --heal: only the copies on this target; with --drill: from this one [default: the first of the policy]
    #[arg(long, value_name = "TARGET", requires = "work")]
    pub(in crate::cli) target: Option<String>,
    /// With --deep: read at most SIZE per second on each machine, for example 50MiB [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = parse_rate, requires = "deep")]
    pub(in crate::cli) rate: Option<NonZeroU64>,
    /// With --deep: begin no comparison after this time; the next call begins with those that were compared longest ago
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time, requires = "deep")]
    pub(in crate::cli) time: Option<Duration>,
    /// With --deep: leave out copies that were compared less than this ago, so that an interrupted command continues; 0 for none
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_again, requires = "deep")]
    pub(in crate::cli) again_after: SignedDuration,
    /// Which policy.
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// A pool whose last scrub is older than this is a warning; Debian scrubs each month
    #[arg(long, value_name = "AGE", default_value = "960h", value_parser = parse_age, conflicts_with = "work")]
    pub(in crate::cli) scrub_after: SignedDuration,
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

fn parse_time(text: &str) -> Result<Duration, String> {
    Duration::try_from(parse_age(text)?).map_err(|error| error.to_string())
}

fn parse_again(text: &str) -> Result<SignedDuration, String> {
    if text == "0" { Ok(SignedDuration::ZERO) } else { parse_age(text) }
}
