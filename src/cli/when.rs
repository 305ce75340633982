//! A moment as a person types it.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// A moment on the command line; one without an offset is meant in the policy's time zone, which is not known before
/// the policy is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeArgument {
    /// With an offset: RFC 3339.
    Instant(Timestamp),
    /// A day or a day with a time, in the policy's time zone.
    Civil(DateTime),
}

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write for example 2026-02-01, \"2026-02-01 03:00\" or 2026-02-01T03:00:00+01:00")]
pub(super) struct WhenError;

impl FromStr for TimeArgument {
    type Err = WhenError;

    /// Takes RFC 3339 (`2026-02-01T03:00:00Z`), a day (its midnight), or a day and a time.
    fn from_str(text: &str) -> Result<Self, WhenError> {
        let text = text.trim();
        if let Ok(instant) = text.parse() {
            return Ok(Self::Instant(instant));
        }
        // jiff's own parser would take "2026-02-01[Europe/Berlin]" and leave the zone out.
        if !text.bytes().all(|c| c.is_ascii_digit() || b"-: T".contains(&c)) {
            return Err(WhenError);
        }
        let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, ""));
        let date: Date = date.parse().map_err(|_| WhenError)?;
        let time =
            if time.is_empty() { Time::midnight() } else { time.trim().parse().map_err(|_| WhenError)? };
        Ok(Self::Civil(date.to_datetime(time)))
    }
}

impl TimeArgument {
    /// The moment itself. Where a clock change skips or repeats the time, the earlier reading that exists is taken, as
    /// RFC 5545 has it.
    pub(super) fn in_zone(self, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
        match self {
            Self::Instant(at) => Ok(at),
            Self::Civil(at) => zone.to_timestamp(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        text.parse::<TimeArgument>().unwrap().in_zone(&zone).unwrap().to_string()
    }

    #[test]
    fn days_and_times_are_meant_in_the_policys_time_zone() {
        assert_eq!(resolved("2026-02-01"), "2026-01-31T23:00:00Z");
        assert_eq!(resolved("2026-02-01 03:00"), "2026-02-01T02:00:00Z");
        assert_eq!(resolved("2026-07-01T03:00:15"), "2026-07-01T01:00:15Z");
        assert_eq!(resolved("2026-03-29 02:30"), "2026-03-29T01:30:00Z", "an hour that does not exist");
    }

    #[test]
    fn rfc_3339_is_taken_as_it_says() {
        assert_eq!(resolved("2026-02-01T03:00:00Z"), "2026-02-01T03:00:00Z");
        assert_eq!(resolved("2026-02-01T03:00:00+05:00"), "2026-01-31T22:00:00Z");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "tomorrow", "2026-13-01", "2026-02-30", "03:00", "2026-02-01 25:00", "2026-02-01[UTC]"]
        {
            assert!(text.parse::<TimeArgument>().is_err(), "{text}");
        }
    }
}
