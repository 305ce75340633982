//! A resumed stream that the target refuses again and again.
//!
//! The received data may be the cause of the refusal, and then no resume ever succeeds. ZFS counts no failed attempts,
//! so the run counts: after two refusals at the same place by `zfs receive` itself, the partial receive is dropped, and
//! the next run sends the snapshot from its beginning.

use super::transfer;
use super::work::{StepResult, Work};
use crate::host::{HostError, Problem, TargetHost};
use crate::model::{Change, ResumeToken};
use crate::plan::{Step, Transfer};

/// How `zfs receive` begins what it says of a stream that it refuses; whatever went wrong on the way does not.
const REFUSAL: &str = "cannot receive";
/// The messages about a stream that was cut, a pool that cannot be written to, and a receive that was stopped: another
/// attempt may succeed.
const PASSING: [&str; 4] =
    ["incomplete stream", "failed to read from stream", "I/O error", "was stopped or frozen"];

/// Runs the transfer.
pub(super) fn run(
    work: &Work<'_>,
    step: &Step,
    transfer: &Transfer,
    target: &dyn TargetHost,
) -> Result<StepResult, HostError> {
    let attempt = || transfer::run(work, step, transfer, target);
    let is_stuck = |ended: &Result<StepResult, HostError>| match ended {
        Err(error) if is_refusal(&error.problem) => unmoved_token(transfer, target),
        Ok(_) | Err(_) => None,
    };
    let first = attempt();
    if is_stuck(&first).is_none() {
        return first;
    }
    let second = attempt();
    let (Some(token), Err(error)) = (is_stuck(&second), &second) else { return second };
    let dataset = transfer.target.dataset().clone();
    let dropped = match target.change(&Change::AbortReceive { dataset, token }) {
        Ok(_) => {
            "what had arrived was dropped, and the next run sends the snapshot from its beginning".to_owned()
        }
        Err(failed) => format!("what had arrived could not be dropped: {}", failed.chain()),
    };
    let problem =
        Problem::Other(format!("{}; it was refused twice at the same place: {dropped}", error.problem));
    Err(HostError::new(&error.host, error.operation, &error.object, problem))
}

fn is_refusal(problem: &Problem) -> bool {
    if let Problem::Other(text) = problem {
        return text.contains(REFUSAL) && !PASSING.iter().any(|words| text.contains(words));
    }
    matches!(problem, Problem::NeverReceivable(_))
}

/// The token of the partial receive, if it still waits for exactly the data that this transfer continues with.
fn unmoved_token(transfer: &Transfer, target: &dyn TargetHost) -> Option<String> {
    let resume = transfer.resume.as_ref()?;
    let dataset = transfer.target.dataset();
    let listing = target.list(dataset).ok()?;
    let text = listing.get(dataset)?.resume_token.clone()?;
    let token = ResumeToken::parse(&text).ok()?;
    let is_same = Some(token.to_guid) == transfer.guid
        && (token.object, token.offset) == (resume.object, resume.offset);
    is_same.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_by_zfs_receive_counts() {
        let other = |text: &str| is_refusal(&Problem::Other(text.to_owned()));
        assert!(other("cannot receive resume stream: invalid backup stream"));
        assert!(is_refusal(&Problem::NeverReceivable("to match previous receive".to_owned())));
        assert!(!other("cannot receive resume stream: checksum mismatch or incomplete stream"));
        assert!(!other("cannot receive resume stream: I/O error"));
        assert!(!other("Connection reset by peer"));
        assert!(!other(
            "zfs receive was stopped or frozen there, and ended (cannot receive resume stream: dataset is busy)"
        ));
        assert!(!is_refusal(&Problem::NoSpace("cannot receive resume stream: out of space".to_owned())));
    }
}
