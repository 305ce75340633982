//! Writing to a target: all of it, counted, and no faster than the rate limit allows.

use super::cancel::Cancel;
use super::clock::{StageClock, StageState};
use super::endpoint::ByteSink;
use super::meter::Meters;
use super::rate::RateLimit;
use super::supervise::PumpError;

/// The meters, limit and cancel of a writing thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeteredWriter<'a> {
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) meters: &'a Meters,
    pub(super) clock: &'a StageClock,
    pub(super) cancel: &'a Cancel,
}

impl MeteredWriter<'_> {
    /// Writes all of `bytes`.
    pub(super) fn write(
        &self,
        target: &mut (impl ByteSink + ?Sized),
        mut bytes: &[u8],
    ) -> Result<(), PumpError> {
        while !bytes.is_empty() {
            let mut allowed_bytes = bytes.len();
            if let Some(rate) = self.rate {
                self.clock.enter(StageState::WaitRate);
                allowed_bytes = rate.take(bytes.len(), self.cancel)?;
            }
            self.clock.enter(StageState::WaitOutput);
            let (mut slice, rest) = bytes.split_at(allowed_bytes.min(bytes.len()));
            while !slice.is_empty() {
                let written_bytes = target.write_some(slice).map_err(PumpError::target)?;
                self.meters.count_output(written_bytes);
                slice = &slice[written_bytes..];
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Writes a few bytes that are none of the stream's: they are not counted, and not limited.
    pub(super) fn write_sign(
        &self,
        target: &mut (impl ByteSink + ?Sized),
        mut bytes: &[u8],
    ) -> Result<(), PumpError> {
        self.clock.enter(StageState::WaitOutput);
        while !bytes.is_empty() {
            let written_bytes = target.write_some(bytes).map_err(PumpError::target)?;
            bytes = bytes.get(written_bytes..).unwrap_or_default();
        }
        Ok(())
    }
}
