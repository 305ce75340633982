//! Guests that a run freezes: where that is noted, and what an earlier run, or this one, has left frozen.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::exit_code::Code;
use super::lock::Directory;
use super::output;
use super::render::escape;
use crate::execute::Freezing;
use crate::host::freezing::{LeftFrozen, is_frozen, left_frozen, thaw_left_over};
use crate::model::GuestId;
use crate::plan::{Action, Plan};
use crate::policy::Policy;

/// How long a run waits at its end for guests to be thawed.
const END_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Where it is noted which guests are frozen: beside the lock. `None` where this user has no such directory.
fn directory(policy: &Policy) -> Option<PathBuf> {
    if let Some(lock) = &policy.lock {
        return lock.parent().map(Path::to_owned);
    }
    match Directory::open() {
        Ok(directory) => Some(directory.path().to_owned()),
        Err(error) => {
            tracing::debug!("no directory for notes of frozen guests: {error}");
            None
        }
    }
}

/// How this run freezes `guests`, if there are any.
pub(super) fn settings(policy: &Policy, guests: &[GuestId]) -> Option<Freezing> {
    let limit = policy.freeze.and_then(|limit| Duration::try_from(limit).ok())?;
    if guests.is_empty() {
        return None;
    }
    let directory = directory(policy);
    if directory.is_none() {
        tracing::warn!("no guest is frozen: XDG_RUNTIME_DIR is not set, and only root may write to /run");
    }
    Some(Freezing { limit, directory: directory? })
}

/// The guests that a plan freezes.
pub(super) fn guests(plan: &Plan) -> Vec<GuestId> {
    let mut guests = Vec::new();
    for step in &plan.steps {
        if let Action::Snapshot { freeze: Some(guest), .. } = step.action {
            guests.push(guest);
        }
    }
    guests
}

/// Thaws what a run has left frozen that was killed with all its processes. Gives whether nothing of that is frozen any more.
pub(super) fn thaw_left_frozen(policy: &Policy) -> bool {
    let Some(directory) = directory(policy) else { return true };
    let left = thaw_left_over(&directory).unwrap_or_else(|error| {
        tracing::warn!("cannot read in {} which guests were left frozen: {error}", directory.display());
        Vec::new()
    });
    let mut is_all = true;
    for LeftFrozen { guest, why } in left {
        is_all &= why.is_none();
        match why {
            None => {
                tracing::warn!("guest {guest} was left frozen by a run that was killed: it is thawed now");
            }
            Some(why) => tracing::warn!(
                "guest {guest} may have been left frozen by a run that was killed: {}; next: {}",
                escape(&why),
                next(guest)
            ),
        }
    }
    is_all
}

/// The code of a run that has frozen `guests` and would end with `code`: a guest that is still frozen is worse than a backup that
/// failed. Waits a while for those that are about to be thawed.
pub(super) fn check_thawed(policy: &Policy, guests: &[GuestId], code: Code) -> Code {
    let Some(directory) = directory(policy) else { return code };
    let until = Instant::now() + END_LIMIT;
    let still = loop {
        let still: Vec<&GuestId> = guests.iter().filter(|guest| is_frozen(&directory, **guest)).collect();
        if still.is_empty() || Instant::now() >= until {
            break still;
        }
        std::thread::sleep(PAUSE);
    };
    for guest in &still {
        output::complain(&format!("error: guest {guest} may still be frozen\n  next: {}\n", next(**guest)));
    }
    if still.is_empty() { code } else { at_least_failed(code) }
}

/// The code of a run that leaves something undone which no step of its plan is.
pub(super) fn at_least_failed(code: Code) -> Code {
    if matches!(code, Code::Done | Code::Blocked) { Code::Failed } else { code }
}

/// What to do with one that may be frozen.
pub(super) fn next(guest: GuestId) -> String {
    format!(
        "`qm guest cmd {guest} fsfreeze-status`, and where that says frozen `qm guest cmd {guest} fsfreeze-thaw`"
    )
}

/// Those that killed runs have left frozen.
pub(super) fn left(policy: &Policy) -> Vec<GuestId> {
    directory(policy).and_then(|directory| left_frozen(&directory).ok()).unwrap_or_default()
}
