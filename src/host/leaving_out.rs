//! Calls on many objects that the kernel makes for all of them or for none: what fails is left out, and the rest is tried
//! again.

use super::Problem;
use super::kernel_errors::of_cause;
use crate::zfs::{self, Cause};

/// The objects that were left out of a call, with the cause of each.
pub(super) type NotMadeOf<T> = Vec<(T, Problem)>;

/// Makes `call` with `all`, then without what the kernel names in its error, until it succeeds or nothing is left. Where it
/// names nothing, each half is tried by itself, unless the cause is one of the whole pool: that is the error.
pub(super) fn leaving_out<T>(
    all: Vec<T>,
    name: &impl Fn(&T) -> String,
    call: &impl Fn(&[T]) -> Result<(), zfs::Error>,
) -> Result<NotMadeOf<T>, zfs::Error> {
    let mut not_made = Vec::new();
    let mut open = vec![all];
    while let Some(mut group) = open.pop().filter(|group| !group.is_empty()) {
        let Err(error) = call(&group) else { continue };
        let before = group.len();
        let mut rest = Vec::with_capacity(before);
        for one in group.drain(..) {
            let full = name(&one);
            match error.entries().iter().find(|entry| entry.name == full) {
                Some(entry) => not_made.push((one, of_cause(&entry.cause))),
                None => rest.push(one),
            }
        }
        if rest.len() < before {
            open.push(rest);
        } else if is_of_the_pool(error.cause()) {
            return Err(error);
        } else if before == 1 {
            not_made.extend(rest.into_iter().map(|one| (one, of_cause(error.cause()))));
        } else {
            let other = rest.split_off(before / 2);
            open.extend([rest, other]);
        }
    }
    Ok(not_made)
}

/// Whether a smaller call would fail as well.
fn is_of_the_pool(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::PermissionDenied
            | Cause::PoolSuspended
            | Cause::PoolHangs(_)
            | Cause::Cancelled
            | Cause::ReadOnly
            | Cause::FeatureUnsupported
            | Cause::Interrupted
            | Cause::Unexpected(_)
    )
}
