//! Errors of a machine with ZFS, in an admin's words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{DatasetName, HangingPool, SafeProperty};
use crate::stream;

/// An operation on a host that failed: what was tried on what and where; the [`Problem`] is the cause.
#[derive(Debug, thiserror::Error)]
#[error("{host}: cannot {operation} {object}")]
pub struct HostError {
    /// The host's name.
    pub host: String,
    /// A verb phrase, for example `receive into`.
    pub operation: &'static str,
    /// The dataset, point or thing it was tried on.
    pub object: String,
    /// Why it failed.
    #[source]
    pub problem: Problem,
}

impl HostError {
    /// The error and its causes in one line, outermost first.
    pub fn chain(&self) -> String {
        stream::chain(self)
    }

    /// Puts the four together.
    pub fn new(
        host: impl fmt::Display,
        operation: &'static str,
        object: impl fmt::Display,
        problem: Problem,
    ) -> Self {
        Self { host: host.to_string(), operation, object: object.to_string(), problem }
    }
}

/// Why an operation failed. Callers match on the kind; the text is for people.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The host could not be reached, or the login was refused.
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
    /// The thing does not exist.
    #[error("it does not exist")]
    NotFound,
    /// A thing of that name exists.
    #[error("it exists already")]
    Exists,
    /// In use: held, mounted, being received into, opened by the kernel.
    #[error("it is in use: {0}")]
    Busy(String),
    /// A snapshot with holds.
    #[error("it is held (zfs holds names the tags)")]
    Held,
    /// A snapshot with clones.
    #[error("a clone depends on it")]
    Cloned,
    /// The pool or a quota is full.
    #[error("there is no space left: {0}")]
    NoSpace(String),
    /// The user may not do it.
    #[error("permission is missing: {0}")]
    Denied(String),
    /// The target is encrypted, and its key is not loaded there.
    #[error("its encryption key is not loaded there")]
    Locked,
    /// The target was written to since its newest snapshot.
    #[error("the target was changed since its newest snapshot")]
    Modified,
    /// The thing is not what the plan was made for.
    #[error("it has changed since the plan was made: {0}")]
    Changed(String),
    /// The data is there, but the copy is not safe: most likely a permission is missing.
    #[error("{0}")]
    Unsafe(Box<UnsafeCopy>),
    /// Interrupted by a person or a signal.
    #[error("it was interrupted")]
    Cancelled,
    /// A pool from which nothing more is expected: whatever is asked of it waits, or is refused.
    #[error("{0}")]
    PoolHangs(Box<HangingPool>),
    /// No byte moved for too long.
    #[error("no data moved for {0} seconds")]
    Stalled(u64),
    /// The peer sent an invalid answer.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// The target cannot receive this stream, today or tomorrow, as it is.
    #[error("the target can never receive this stream: {0}")]
    NeverReceivable(String),
    /// What ZFS or the system said, as it said it.
    #[error("{0}")]
    Other(String),
}

/// A property of a copy that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{dataset} is not a safe copy: {property} is {value} instead of {wanted}")]
pub struct UnsafeCopy {
    /// The copy.
    pub dataset: String,
    /// The property.
    pub property: String,
    /// The present value.
    pub value: String,
    /// The required value.
    pub wanted: String,
}

impl SafeProperty {
    /// The error for a copy that has this value.
    pub(super) fn complaint(&self, dataset: &DatasetName, value: &str) -> Problem {
        Problem::Unsafe(Box::new(UnsafeCopy {
            dataset: dataset.to_string(),
            property: self.name.to_owned(),
            value: value.to_owned(),
            wanted: self.value.to_owned(),
        }))
    }
}
