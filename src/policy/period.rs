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
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn remembered_stretches_agree_with_jiff() {
        let zones = ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"];
        for zone in zones.map(|zone| TimeZone::posix(zone).unwrap()) {
            let mut calendar = Calendar::new(&zone);
            let mut at: Timestamp = "2024-12-20T00:00:00.5Z".parse().unwrap();
            for _ in 0..20_000 {
                at = at.checked_add(31.minutes().seconds(7)).unwrap();
                let local = zone.to_datetime(at);
                let (date, week) = (local.date(), local.date().iso_week_date());
                let day = i64::from(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days());
                assert_eq!(calendar.number(Period::Day, at), day, "{local}");
                assert_eq!(calendar.number(Period::Hour, at), day * 24 + i64::from(local.hour()));
                assert_eq!(calendar.number(Period::Year, at), i64::from(local.year()));
                assert_eq!(calendar.number(Period::Month, at) % 12, i64::from(local.month()) - 1, "{local}");
                let monday = week.first_of_week().unwrap().date();
                let monday = zone.to_timestamp(monday.at(0, 30, 0, 0)).unwrap();
                assert_eq!(calendar.number(Period::IsoWeek, at), calendar.number(Period::IsoWeek, monday));
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_of_questions_gives_the_same_answers(seconds in proptest::collection::vec(-3_000_000_000_i64..5_000_000_000, 1..20)) {
            let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
            let mut calendar = Calendar::new(&zone);
            for second in seconds {
                let at = Timestamp::from_second(second).unwrap();
                for period in [Period::Hour, Period::Day, Period::IsoWeek, Period::Month, Period::Year] {
                    prop_assert_eq!(calendar.number(period, at), Calendar::new(&zone).number(period, at));
                }
            }
        }
    }
}
