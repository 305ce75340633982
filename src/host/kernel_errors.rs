//! Errors of the kernel's ZFS, as problems of this host.

use super::{HostError, Problem};
use crate::model::{Hang, HangingPool};
use crate::zfs::{self, Cause};

/// The name of this host in errors.
pub(super) const HOST: &str = "source";

/// An operation on this host that the kernel refused.
pub(super) fn of_zfs(operation: &'static str, error: &zfs::Error) -> HostError {
    let problem = if matches!(error.cause(), Cause::PoolSuspended) {
        Problem::PoolHangs(HangingPool::of(error.object(), Hang::Suspended))
    } else {
        of_cause(error.cause())
    };
    HostError::new(HOST, operation, error.object(), problem)
}

/// Why it did.
pub(super) fn of_cause(cause: &Cause) -> Problem {
    let text = cause.to_string();
    if let Cause::PoolHangs(hanging) = cause {
        Problem::PoolHangs(hanging.clone())
    } else if matches!(cause, Cause::Busy | Cause::BeingReceived) {
        Problem::Busy(text)
    } else if matches!(cause, Cause::Exists) {
        Problem::Exists
    } else if matches!(cause, Cause::Cloned) {
        Problem::Cloned
    } else if matches!(cause, Cause::NotFound) {
        Problem::NotFound
    } else if matches!(cause, Cause::NoSpace | Cause::Quota) {
        Problem::NoSpace(text)
    } else if matches!(cause, Cause::PermissionDenied) {
        Problem::Denied(text)
    } else if matches!(cause, Cause::Cancelled) {
        Problem::Cancelled
    } else {
        Problem::Other(text)
    }
}
