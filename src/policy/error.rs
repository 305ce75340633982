//! Errors in a policy, worded so that an admin can correct them.

/// Why a policy cannot be used: the place, what is wrong there, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}; {fix}")]
pub struct PolicyError {
    place: String,
    what: String,
    fix: String,
}

impl PolicyError {
    /// `place` is `FILE:LINE: KEY` or a flag.
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), fix: fix.into() }
    }
}
