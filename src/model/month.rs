//! A calendar month, and its name on the archive.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::Point;

/// English in every locale: a name must not depend on who runs the backup.
const NAMES: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026-Jan`
const MONTH_BYTES: usize = 8;

/// One month of one year; prints as the archive names it, `2026-Jan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month in which `at` falls in time zone `zone`.
    pub fn of(at: Timestamp, zone: &TimeZone) -> Self {
        let date = zone.to_datetime(at).date();
        Self { year: date.year(), month: date.month() }
    }

    /// Reads `2026-Jan`, exactly as it prints.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, name) = text.split_once('-')?;
        if year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let month = NAMES.iter().position(|known| *known == name)?;
        Some(Self { year: year.parse().ok()?, month: i8::try_from(month + 1).ok()? })
    }

    /// Reads a forced archive's name, `2026-Jan-15`.
    pub fn parse_day(text: &str) -> Option<(Self, i8)> {
        let (month, day) = text.rsplit_once('-')?;
        let month = Self::parse(month)?;
        let number: i8 = day.parse().ok()?;
        let valid = day.len() == 2 && Date::new(month.year, month.month, number).is_ok();
        valid.then_some((month, number))
    }

    /// The month in the name of an archive's snapshot: `2026-Jan`, `2026-Jan.2`, `2026-Jan-15`, `2026-Jan-15-2`.
    pub fn in_name(name: &str) -> Option<Self> {
        let (month, rest) = (Self::parse(name.get(..MONTH_BYTES)?)?, name.get(MONTH_BYTES..)?);
        (rest.is_empty() || rest.starts_with(['.', '-'])).then_some(month)
    }

    /// The month of another snapshot with which a snapshot of this month would be out of order: of an older one that is of a
    /// later month, or of a newer one of an earlier month. `all` are a dataset's, oldest first; the one that `is_it`, or one on
    /// top of all, is to be of this month. Months that `is_to_come` count for nothing.
    pub fn out_of_order<'a>(
        self,
        all: impl IntoIterator<Item = &'a Point>,
        is_it: impl Fn(&Point) -> bool,
        is_to_come: impl Fn(Self) -> bool,
    ) -> Option<Self> {
        let mut is_older = true;
        all.into_iter().find_map(|point| {
            if is_it(point) {
                is_older = false;
                return None;
            }
            let month = Self::in_name(point.name.as_str()).filter(|month| !is_to_come(*month))?;
            let is_wrong = if is_older { month > self } else { month < self };
            is_wrong.then_some(month)
        })
    }

    /// The month after this one.
    #[must_use]
    pub fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { month: self.month + 1, ..self }
        }
    }

    /// The first instant of the month in `zone`.
    pub fn start(self, zone: &TimeZone) -> Timestamp {
        let first = Date::new(self.year, self.month, 1).unwrap_or(Date::MAX);
        zone.to_timestamp(first.to_datetime(jiff::civil::Time::midnight())).unwrap_or(Timestamp::MAX)
    }

    /// Whether `at` falls into this month in `zone`.
    pub fn contains(self, at: Timestamp, zone: &TimeZone) -> bool {
        Self::of(at, zone) == self
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.month - 1).ok().and_then(|i| NAMES.get(i)).unwrap_or(&"???");
        write!(f, "{:04}-{name}", self.year)
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_round_trip() {
        for month in ["2026-Jan", "1999-Dec"] {
            assert_eq!(Month::parse(month).unwrap().to_string(), month);
        }
        for other in ["2026-jan", "2026-Oca", "26-Jan", "2026-Jan-01", "2026-", "+026-Jan"] {
            assert_eq!(Month::parse(other), None, "{other}");
        }
        assert_eq!(
            Month::parse_day("2026-Feb-28").map(|(m, d)| (m.to_string(), d)),
            Some(("2026-Feb".to_owned(), 28))
        );
        assert_eq!(Month::parse_day("2026-Feb-30"), None);
        assert_eq!(Month::parse_day("2026-Feb-1"), None);
    }

    #[test]
    fn the_zone_decides_which_month_it_is() {
        let at: Timestamp = "2026-01-31T23:30:00Z".parse().unwrap();
        assert_eq!(Month::of(at, &TimeZone::UTC).to_string(), "2026-Jan");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(Month::of(at, &berlin).to_string(), "2026-Feb");
        assert_eq!(Month::parse("2026-Feb").unwrap().start(&berlin), "2026-01-31T23:00:00Z".parse().unwrap());
        assert_eq!(Month::parse("2026-Dec").unwrap().next().to_string(), "2027-Jan");
    }
}
