//! The snapshots that a replication sends, and how.

use super::Reason;
use crate::model::{Guid, Point, PointName, ResumePoint};

/// A snapshot at the source that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outbound<'a> {
    /// One that exists.
    Taken(&'a Point),
    /// The one that this run takes; newer than every other.
    Pending(&'a PointName),
}

impl<'a> Outbound<'a> {
    pub(super) fn name(self) -> &'a PointName {
        match self {
            Self::Taken(point) => &point.name,
            Self::Pending(name) => name,
        }
    }

    pub(super) fn guid(self) -> Option<Guid> {
        match self {
            Self::Taken(point) => Some(point.guid),
            Self::Pending(_) => None,
        }
    }
}

/// How a transfer is made.
#[derive(Debug)]
pub(super) struct How<'a> {
    pub(super) resume: Option<ResumePoint>,
    /// The snapshot that is sent if this run's cannot be taken.
    pub(super) fallback: Option<&'a Point>,
    pub(super) reason: Reason,
}

impl How<'_> {
    pub(super) fn new(reason: Reason) -> Self {
        Self { resume: None, fallback: None, reason }
    }
}
