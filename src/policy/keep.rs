//! Retention rules in Proxmox's notation, and which snapshots they keep.
//!
//! Semantics are those of `prune-backups` (Proxmox VE and Backup Server): the rules are applied in the order last, hourly,
//! daily, weekly, monthly, yearly; each one keeps the newest snapshot of each of its newest N periods, where a period
//! that an earlier rule already covers does not count against N.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// How many snapshots each rule keeps; `None` where the rule is not set. No rule at all keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// The newest N.
    pub last: Option<u32>,
    /// The newest of each of N hours.
    pub hourly: Option<u32>,
    /// The newest of each of N days.
    pub daily: Option<u32>,
    /// The newest of each of N ISO weeks.
    pub weekly: Option<u32>,
    /// The newest of each of N months.
    pub monthly: Option<u32>,
    /// The newest of each of N years.
    pub yearly: Option<u32>,
}

/// Why a snapshot stays: the rule that keeps it, and its place among those that the rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// `last`, `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
    pub rule: &'static str,
    /// 1 for the newest that the rule keeps.
    pub nth: u32,
    /// How many the rule keeps.
    pub of: u32,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.rule, self.nth, self.of)
    }
}

impl KeepRules {
    /// Whether no rule is set, so that nothing may be pruned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For each of `times` (newest first), the rule that keeps it, or `None` where no rule does. Calendar periods begin
    /// as `zone` says.
    pub fn select(&self, _times: &[Timestamp], _zone: &TimeZone, _now: Timestamp) -> Vec<Option<Keep>> {
        Vec::new() // the policy helper fills this in, with tests
    }
}
