//! Carries a plan out, step by step; chooses nothing.

mod observer;
mod report;

pub use observer::{Observer, Silent};
pub use report::{Outcome, Report};
