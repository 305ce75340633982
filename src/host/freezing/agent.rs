//! The QEMU guest agent of a virtual machine, through `qm guest cmd`, and what its answers mean.
//!
//! `qm` exits with 0 also where the agent refuses, and prints the agent's error object then: only what it prints counts.

use std::time::Duration;

use crate::host::program;
use crate::model::GuestId;

/// What the agent says of the guest's file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Thawed,
    Frozen,
}

/// Why there is no answer that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// The guest is stopped: nothing of it is frozen.
    NotRunning,
    /// The agent refuses, in its words: it has done nothing.
    Refused(String),
    /// What `qm` or the agent said instead.
    Words(String),
}

/// Whether file systems are frozen.
pub(super) fn status(guest: GuestId, limit: Duration) -> Result<Status, Silence> {
    let said = ask(guest, "fsfreeze-status", limit)?;
    match said.trim_matches('"') {
        "thawed" => Ok(Status::Thawed),
        "frozen" => Ok(Status::Frozen),
        _ => Err(Silence::Words(format!("fsfreeze-status says {said:?}"))),
    }
}

/// Freezes them. Gives how many.
pub(super) fn freeze(guest: GuestId, limit: Duration) -> Result<u64, Silence> {
    count(guest, "fsfreeze-freeze", limit)
}

/// Thaws them. Gives how many were frozen.
pub(super) fn thaw(guest: GuestId, limit: Duration) -> Result<u64, Silence> {
    count(guest, "fsfreeze-thaw", limit)
}

fn count(guest: GuestId, command: &str, limit: Duration) -> Result<u64, Silence> {
    let said = ask(guest, command, limit)?;
    said.parse().map_err(|_| Silence::Words(format!("{command} says {said:?}")))
}

/// The text that the agent gives to a command.
fn ask(guest: GuestId, command: &str, limit: Duration) -> Result<String, Silence> {
    let number = guest.to_string();
    let words = |text: String| Err(Silence::Words(text));
    match program::answer("qm", &["guest", "cmd", &number, command], limit) {
        None => words("qm is not installed".to_owned()),
        Some(Err(why)) => words(format!("qm guest cmd {number} {command} {why}")),
        Some(Ok(answer)) if answer.output.is_empty() => {
            // Nothing else proves it: the agent may not be running, or the guest's file be away for a moment.
            if answer.errors.contains(&format!("VM {number} is not running")) {
                return Err(Silence::NotRunning);
            }
            let last = answer.errors.lines().next_back().unwrap_or("it says nothing");
            words(format!("qm guest cmd {number} {command}: {last}"))
        }
        Some(Ok(answer)) => match error(&answer.output) {
            Some(refusal) => Err(Silence::Refused(format!("the guest agent refuses {command}: {refusal}"))),
            None => Ok(answer.output),
        },
    }
}

/// The words of the agent's error object, if it is one.
fn error(output: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(output).ok()?;
    let error = object.get("error")?;
    let said = error.get("desc").unwrap_or(error);
    Some(said.as_str().map_or_else(|| said.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_agent_is_found_in_what_qm_prints() {
        for (output, words) in [
            ("3", None),
            ("\"thawed\"", None),
            (
                "{\"error\":{\"class\":\"GenericError\",\"desc\":\"failed to freeze\"}}",
                Some("failed to freeze"),
            ),
            ("{\n  \"error\": \"no\"\n}", Some("no")),
            ("{\"error\":7}", Some("7")),
            ("{\"result\":3}", None),
            ("[]", None),
            ("{", None),
        ] {
            assert_eq!(error(output).as_deref(), words, "{output}");
        }
    }
}
