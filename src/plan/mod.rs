//! Decides: `(policy, inventory, request) → Plan`. Pure: no I/O, no clock, no logging.

mod finding;
mod step;

pub use finding::{Finding, Severity};
pub use step::{Action, Base, Doomed, NewBookmark, Place, Plan, Step, StepId, Transfer};

/// What this one run is asked for, beyond the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The moment to plan for.
    pub now: jiff::Timestamp,
    /// Take a snapshot first; false sends and prunes what exists.
    pub take_snapshot: bool,
    /// Archive now, due or not, as `YYYY-Mon-DD`.
    pub force_archive: bool,
    /// Only these guests; empty means all.
    pub guests: Vec<crate::model::GuestId>,
}
