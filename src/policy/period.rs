//! In which hour, day, ISO week, month and year a moment falls, as numbers, for a long row of moments.
//!
//! A plan asks this for a million snapshots, nearly all of which share a UTC offset and a month with the one before, so
//! both are remembered until a moment falls outside.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 86_400;

/// The kinds of calendar period that a keep rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    IsoWeek,
    Month,
    Year,
}

/// Numbers the periods of one time zone; a later moment never has a smaller number, except where a clock was set back
/// across midnight.
#[derive(Debug)]
pub(super) struct Calendar<'a> {
    zone: &'a TimeZone,
    offset: Stretch,
    month: Stretch,
}

/// A value that holds for every number from `from` to before `to`.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
    value: i64,
}

impl Stretch {
    const EMPTY: Self = Self { from: 0, to: 0, value: 0 };

    fn find(&self, at: i64) -> Option<i64> {
        (self.from..self.to).contains(&at).then_some(self.value)
    }
}

impl<'a> Calendar<'a> {
    pub(super) fn new(zone: &'a TimeZone) -> Self {
        Self { zone, offset: Stretch::EMPTY, month: Stretch::EMPTY }
    }

    /// The number of the period of this kind that `at` falls in.
    pub(super) fn number(&mut self, period: Period, at: Timestamp) -> i64 {
        let local = self.local_second(at);
        let day = local.div_euclid(DAY_SECONDS);
        match period {
            Period::Hour => local.div_euclid(HOUR_SECONDS),
            Period::Day => day,
            // Weeks begin on Monday; day 0, 1970-01-01, was a Thursday.
            Period::IsoWeek => (day + 3).div_euclid(7),
            Period::Month => self.month(day, at),
            Period::Year => self.month(day, at).div_euclid(12),
        }
    }

    fn local_second(&mut self, at: Timestamp) -> i64 {
        let second = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
        if let Some(offset) = self.offset.find(second) {
            return second + offset;
        }
        // `preceding` is strict, so ask from just after `at`: a transition at `at` itself is in force.
        let after = at.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        let from = self.zone.preceding(after).find(|t| t.timestamp() <= at);
        let to = self.zone.following(at).next();
        self.offset = Stretch {
            from: from.map_or(i64::MIN, |t| t.timestamp().as_second()),
            to: to.map_or(i64::MAX, |t| t.timestamp().as_second()),
            value: i64::from(self.zone.to_offset(at).seconds()),
        };
        second + self.offset.value
    }

    fn month(&mut self, day: i64, at: Timestamp) -> i64 {
        if let Some(month) = self.month.find(day) {
            return month;
        }
        let date = self.zone.to_datetime(at).date();
        let from = day + 1 - i64::from(date.day());
        self.month = Stretch {
            from,
            to: from + i64::from(date.days_in_month()),
            value: i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
        };
        self.month.value
    }
}

#[cfg(test)]
mod tests;
