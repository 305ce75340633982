//! Retention rules in Proxmox's notation, and which snapshots they keep.
//!
//! Semantics are those of `prune-backups` (`prune_mark_backup_group` in Proxmox VE, `compute_prune_info` in Proxmox Backup
//! Server): the rules are applied in the order last, hourly, daily, weekly, monthly, yearly; each one keeps the newest
//! snapshot of each of its newest N periods, where a period that an earlier rule already covers does not count against N.
//! A rule passes over a snapshot if it keeps a newer one of the same period, and no later rule takes that snapshot up.
//! This shows only where weeks meet months or years. An hour that the end of summer time repeats is one hour.
//!
//! Two things are ours: snapshots dated in the future stay without using up any rule, so a wrong clock cannot push good
//! snapshots out; and rules that would keep nothing keep everything.

use std::cmp::Reverse;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::period::{Calendar, Period};

/// How many snapshots each rule keeps; `None` where the rule is not set. No rule at all keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
    /// `last`, `hourly`, `daily`, `weekly`, `monthly` or `yearly`; `future` where it is dated after now; `all` where no
    /// rule is set.
    pub rule: &'static str,
    /// 1 for the newest that the rule keeps.
    pub nth: u32,
    /// How many the rule keeps.
    pub of: u32,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            "all" => f.write_str("no rule is set"),
            "future" => f.write_str("dated in the future"),
            rule => write!(f, "{rule} {} of {}", self.nth, self.of),
        }
    }
}

/// As in a policy: `keep-last = 15, keep-daily = 7`.
impl fmt::Display for KeepRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calendar = self.calendar_rules().map(|(rule, _, count)| (rule, count));
        let set =
            [("last", self.last.unwrap_or(0))].into_iter().chain(calendar).filter(|(_, count)| *count > 0);
        for (place, (rule, count)) in set.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}keep-{rule} = {count}")?;
        }
        Ok(())
    }
}

/// The verdict of the rules so far on a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    Kept(Keep),
    PassedOver,
}

impl KeepRules {
    /// Only the newest `count`.
    pub fn last(count: u32) -> Self {
        Self { last: Some(count), ..Self::default() }
    }

    /// Whether no rule is set, so that nothing may be pruned.
    pub fn is_empty(&self) -> bool {
        let rules = self.calendar_rules();
        self.last.unwrap_or(0) == 0 && rules.iter().all(|(_, _, count)| *count == 0)
    }

    fn calendar_rules(&self) -> [(&'static str, Period, u32); 5] {
        [
            ("hourly", Period::Hour, self.hourly.unwrap_or(0)),
            ("daily", Period::Day, self.daily.unwrap_or(0)),
            ("weekly", Period::IsoWeek, self.weekly.unwrap_or(0)),
            ("monthly", Period::Month, self.monthly.unwrap_or(0)),
            ("yearly", Period::Year, self.yearly.unwrap_or(0)),
        ]
    }

    /// For each of `times`, the rule that keeps it, or `None` where no rule does. Calendar periods begin as `zone` says;
    /// what is dated after `now` stays. Expected newest first; other orders cost a sort, and of two equal times the
    /// first counts as newer.
    pub fn select(&self, times: &[Timestamp], zone: &TimeZone, now: Timestamp) -> Vec<Option<Keep>> {
        if times.is_sorted_by(|newer, older| newer >= older) {
            return self.select_sorted(times, zone, now);
        }
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|place| times.get(*place).map(|time| Reverse(*time)));
        let sorted: Vec<Timestamp> = order.iter().filter_map(|place| times.get(*place).copied()).collect();
        let mut selected = vec![None; times.len()];
        for (place, keep) in order.into_iter().zip(self.select_sorted(&sorted, zone, now)) {
            if let Some(slot) = selected.get_mut(place) {
                *slot = keep;
            }
        }
        selected
    }

    fn select_sorted(&self, times: &[Timestamp], zone: &TimeZone, now: Timestamp) -> Vec<Option<Keep>> {
        if self.is_empty() {
            return keep_all("all", times.len()).map(Some).collect();
        }
        let future = times.partition_point(|time| *time > now);
        let (_, past) = times.split_at(future);
        let mut marks = vec![Mark::Open; past.len()];
        let last = self.last.unwrap_or(0);
        for (mark, nth) in marks.iter_mut().zip(1..=last) {
            *mark = Mark::Kept(Keep { rule: "last", nth, of: last });
        }
        let mut calendar = Calendar::new(zone);
        for (rule, period, count) in self.calendar_rules() {
            if count > 0 {
                mark_periods(&mut marks, past, rule, count, |time| calendar.number(period, time));
            }
        }
        let past = marks.into_iter().map(|mark| match mark {
            Mark::Kept(keep) => Some(keep),
            Mark::Open | Mark::PassedOver => None,
        });
        keep_all("future", future).map(Some).chain(past).collect()
    }
}

fn keep_all(rule: &'static str, count: usize) -> impl Iterator<Item = Keep> {
    let of = u32::try_from(count).unwrap_or(u32::MAX);
    (1..=of).map(move |nth| Keep { rule, nth, of })
}

/// Applies one calendar rule: `times` are newest first, so the members of a period stand together.
fn mark_periods(
    marks: &mut [Mark],
    times: &[Timestamp],
    rule: &'static str,
    of: u32,
    mut number: impl FnMut(Timestamp) -> i64,
) {
    let (mut rest, mut times) = (marks, times);
    let mut kept = 0;
    while let Some(newest) = times.first() {
        let period = number(*newest);
        // `>=`: where a clock was set back across midnight, a period once left is not entered again.
        let members = 1 + times.iter().skip(1).take_while(|time| number(**time) >= period).count();
        let (group, older) = rest.split_at_mut(members);
        let is_covered = group.iter().any(|mark| matches!(mark, Mark::Kept(_)));
        let mut open = group.iter_mut().filter(|mark| **mark == Mark::Open);
        if !is_covered && let Some(first) = open.next() {
            if kept == of {
                return;
            }
            kept += 1;
            *first = Mark::Kept(Keep { rule, nth: kept, of });
            open.for_each(|mark| *mark = Mark::PassedOver);
        }
        (rest, times) = (older, times.split_at(members).1);
    }
}

#[cfg(test)]
mod tests;
