//! How many bytes a second may be sent, by time of day.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use jiff::civil::Time;
use thiserror::Error;

use super::ByteCount;

/// A rate for a part of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateWindow {
    /// First moment of the window, local time.
    pub from: Time,
    /// First moment after it. Not after `from`: the window spans midnight (equal: the whole day).
    pub to: Time,
    /// The limit in that window; `None` is unlimited.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl RateWindow {
    fn covers(&self, time: Time) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}

/// Rates by time of day: the first window that covers the moment counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateSchedule {
    /// The windows, most important first.
    pub windows: Vec<RateWindow>,
    /// The limit outside all windows; `None` is unlimited.
    pub otherwise: Option<NonZeroU64>,
}

impl RateSchedule {
    /// Whether there is no limit at any time.
    pub fn is_unlimited(&self) -> bool {
        self.otherwise.is_none() && self.windows.iter().all(|window| window.bytes_per_second.is_none())
    }

    /// The same limit at any time.
    pub fn constant(bytes_per_second: NonZeroU64) -> Self {
        Self { windows: Vec::new(), otherwise: Some(bytes_per_second) }
    }

    /// The limit at a local time of day; `None` is unlimited.
    pub fn rate_at(&self, time: Time) -> Option<NonZeroU64> {
        let window = self.windows.iter().find(|window| window.covers(time));
        window.map_or(self.otherwise, |window| window.bytes_per_second)
    }
}

/// A text that is no window: what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no part of a day with its rate: {why}")]
pub struct RateWindowError {
    text: String,
    why: &'static str,
}

impl FromStr for RateWindow {
    type Err = RateWindowError;

    /// Reads `08:00-18:00 50MiB` or `18:00-08:00 unlimited`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| RateWindowError { text: text.to_owned(), why };
        let (span, rate) =
            text.trim().split_once(' ').ok_or_else(|| wrong("it has no rate after a space"))?;
        let (from, to) = span.split_once('-').ok_or_else(|| wrong("it has no '-' between two times"))?;
        let from = time(from).ok_or_else(|| wrong("the first time is not HH:MM"))?;
        let to = time(to).ok_or_else(|| wrong("the second time is not HH:MM"))?;
        let rate = rate.trim();
        let bytes_per_second = if rate == "unlimited" {
            None
        } else {
            let size: ByteCount = rate
                .strip_suffix("/s")
                .unwrap_or(rate)
                .parse()
                .map_err(|_| wrong("the rate is no size, such as 50MiB, nor \"unlimited\""))?;
            Some(NonZeroU64::new(size.0).ok_or_else(|| wrong("a rate of 0 would never end"))?)
        };
        Ok(Self { from, to, bytes_per_second })
    }
}

/// `HH:MM`; `24:00` is midnight.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i8>().ok().filter(|_| is_number)
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl fmt::Display for RateSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |rate: Option<NonZeroU64>| {
            rate.map_or_else(|| "unlimited".to_owned(), |rate| format!("at most {}/s", ByteCount(rate.get())))
        };
        for window in &self.windows {
            let (from, to) = (window.from.strftime("%H:%M"), window.to.strftime("%H:%M"));
            write!(f, "{from}-{to} {}, ", rate(window.bytes_per_second))?;
        }
        let otherwise = if self.windows.is_empty() { "" } else { "otherwise " };
        write!(f, "{otherwise}{}", rate(self.otherwise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_the_first_that_covers_counts() {
        let windows = ["08:00-18:00 50MiB/s", "17:00-20:00 1MiB", "22:00-24:00 unlimited"];
        let windows: Vec<RateWindow> = windows.iter().map(|text| text.parse().unwrap()).collect();
        let schedule = RateSchedule { windows, otherwise: NonZeroU64::new(7) };
        let at = |hour| schedule.rate_at(Time::new(hour, 30, 0, 0).unwrap()).map(NonZeroU64::get);
        let rates = [7, 8, 17, 18, 20, 23].map(at);
        assert_eq!(rates, [Some(7), Some(50 << 20), Some(50 << 20), Some(1 << 20), Some(7), None]);
        assert_eq!(
            schedule.to_string(),
            "08:00-18:00 at most 50.0 MiB/s, 17:00-20:00 at most 1.00 MiB/s, 22:00-00:00 unlimited, \
             otherwise at most 7 B/s"
        );
        assert!(!schedule.is_unlimited() && RateSchedule::default().is_unlimited());
        assert_eq!(RateSchedule::default().to_string(), "unlimited");
    }

    #[test]
    fn what_is_no_window_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no rate"),
            ("08:00-18:00", "no rate"),
            ("08:00 50MiB", "no '-'"),
            ("8:00-18:00 50MiB", "first time"),
            ("08:00-25:00 50MiB", "second time"),
            ("08:00-18:60 50MiB", "second time"),
            ("+8:00-18:00 50MiB", "first time"),
            ("08:00-18:00 fast", "no size"),
            ("08:00-18:00 0B", "never end"),
        ] {
            let error = text.parse::<RateWindow>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
