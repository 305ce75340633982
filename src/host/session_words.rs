//! The words that a session begins with and ends its answers with.

use super::Problem;
use super::agent::wire::PROTOCOL;
use super::worker::{AGENT_HELLO, HELLO};
use crate::channel::random_bytes;
use crate::model::printable;

/// The kind of peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// A shell that runs `zfs`.
    Worker,
    /// zhaul's agent.
    Agent,
}

/// Who greets.
pub(super) fn speaks(line: &[u8], key: &str) -> Result<Speaks, Problem> {
    if line == format!("{HELLO} {key}").as_bytes() {
        return Ok(Speaks::Worker);
    }
    let words = str::from_utf8(line).ok().and_then(|line| line.strip_prefix(AGENT_HELLO));
    match words.and_then(|words| words.trim().strip_suffix(key)).map(str::trim) {
        Some(protocol) if protocol == PROTOCOL.to_string() => Ok(Speaks::Agent),
        Some(protocol) => Err(Problem::Protocol(format!(
            "the zhaul there speaks version {protocol} of the agent's protocol, this one version {PROTOCOL}: \
             install the same zhaul on both"
        ))),
        None => {
            let text = printable(line);
            Err(Problem::Protocol(format!(
                "unexpected output from remote: {text:?}; the login shell's start files must print nothing"
            )))
        }
    }
}

/// The exit status in a trailer line.
pub(super) fn trailer(line: &[u8], key: &str) -> Option<i32> {
    let status = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
    str::from_utf8(status).ok()?.parse().ok()
}

/// Thirty-two random hexadecimal digits that no one can guess.
pub(super) fn random_key() -> Result<String, Problem> {
    use std::fmt::Write as _;
    let bytes = random_bytes::<16>().map_err(|error| Problem::Other(error.to_string()))?;
    let mut key = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}
