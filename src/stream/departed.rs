//! A target that has gone while nothing was left to give it.
//!
//! `zfs receive` ends at the end record of its stream, which may be before the sending process has closed the stream. That is an
//! error only if data is left for it. Whether the receive succeeded, its exit status shows.

use std::io;
use std::time::{Duration, Instant};

use super::supervise::PumpError;

/// How long after its target has gone a source may take to end: it has only its process to end.
pub(super) const END_GRACE: Duration = Duration::from_secs(10);

/// Since when the target has been gone.
#[derive(Debug, Default)]
pub(super) struct Departed(Option<Instant>);

impl Departed {
    /// To be asked while nothing is left to write: fails when the source has had its time to end.
    pub(super) fn check(&mut self, is_gone: bool) -> Result<(), PumpError> {
        if is_gone && self.0.get_or_insert_with(Instant::now).elapsed() >= END_GRACE {
            return Err(broken());
        }
        Ok(())
    }
}

/// The target has gone, and there is data for it.
pub(super) fn broken() -> PumpError {
    PumpError::Target(io::ErrorKind::BrokenPipe.into())
}
