//! The arguments of `zhaul prune`.

use clap::Args;
use jiff::SignedDuration;

use super::super::when::TimeArgument;
use super::LogArgs;
use crate::model::{DatasetName, NameFormat};
use crate::policy::parse_duration;

/// `zhaul prune`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct PruneArgs {
    /// The dataset below which the copies lie
    #[arg(value_name = "DATASET", value_parser = DatasetName::new)]
    pub(in crate::cli) root: DatasetName,
    /// Keep the newest N snapshots of each copy
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_last: Option<u32>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_hourly: Option<u32>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_daily: Option<u32>,
    /// Keep the newest snapshot of each of the last N weeks that have one
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_weekly: Option<u32>,
    /// Keep the newest snapshot of each of the last N months that have one
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_monthly: Option<u32>,
    /// Keep the newest snapshot of each of the last N years that have one
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep_yearly: Option<u32>,
    /// Destroy copies that were set aside this long ago, for example 90d [default: they stay]
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(in crate::cli) keep_superseded: Option<SignedDuration>,
    /// How the sources name their snapshots, if not as zhaul does by default
    #[arg(long, value_name = "FORMAT", value_parser = NameFormat::new)]
    pub(in crate::cli) name: Option<NameFormat>,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    pub(in crate::cli) dry_run: bool,
    /// Print one JSON object instead of text: with --dry-run the plan, otherwise the report
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Prune as if it were this time; for tests.
    #[arg(long, value_name = "TIME", hide = true)]
    pub(in crate::cli) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(in crate::cli) log: LogArgs,
}
