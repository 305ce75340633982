//! How fast may be sent, and when.

use std::num::NonZeroU64;

use toml::Spanned;

use super::super::file::TransferSection;
use super::Checked;
use super::value::Checker;
use crate::model::{RateSchedule, RateWindow, RateWindowError};

/// Less is a forgotten unit.
const RATE_MIN: u64 = 16 << 10;

impl Checker<'_> {
    pub(super) fn rate(&self, written: &TransferSection) -> Checked<RateSchedule> {
        let otherwise = match &written.rate {
            None => None,
            Some(rate) => {
                let text = rate.get_ref();
                let bytes = self.size("rate", rate, text.strip_suffix("/s").unwrap_or(text))?;
                self.fast_enough("rate", rate, NonZeroU64::new(bytes.0), bytes.0)?
            }
        };
        let windows = written.rate_by_time.iter().map(|text| {
            let window: RateWindow = text.get_ref().parse().map_err(|e: RateWindowError| {
                let fix = "write for example \"08:00-18:00 50MiB\" or \"22:00-06:00 unlimited\"";
                self.error("rate-by-time", &text.span(), e.to_string(), fix)
            })?;
            let rate = window.bytes_per_second;
            self.fast_enough("rate-by-time", text, rate, rate.map_or(u64::MAX, NonZeroU64::get))?;
            Ok(window)
        });
        Ok(RateSchedule { windows: windows.collect::<Checked<_>>()?, otherwise })
    }

    fn fast_enough(
        &self,
        key: &str,
        at: &Spanned<String>,
        rate: Option<NonZeroU64>,
        bytes: u64,
    ) -> Checked<Option<NonZeroU64>> {
        if bytes >= RATE_MIN {
            return Ok(rate);
        }
        let what = format!("{} a second would move nothing in time", crate::model::ByteCount(bytes));
        let fix = "write at least 16KiB, with the unit, or remove the line for no limit";
        Err(self.error(key, &at.span(), what, fix))
    }
}
