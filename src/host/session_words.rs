//! The words that a session begins with and ends its answers with, and text of the other end made harmless.

use std::fs;
use std::io::Read as _;

use super::Problem;
use super::agent::wire::PROTOCOL;
use super::session::Speaks;
use super::worker::{AGENT_HELLO, HELLO};

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

/// Text from the other end, on one line and with nothing that a terminal would obey.
pub(super) fn printable(text: &[u8]) -> String {
    let mut printable = String::new();
    for line in String::from_utf8_lossy(text).lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !printable.is_empty() {
            printable.push_str("; ");
        }
        for c in line.chars() {
            if c.is_control() || crate::model::is_format_character(c) {
                printable.extend(c.escape_default());
            } else {
                printable.push(c);
            }
        }
    }
    printable
}

/// Thirty-two hexadecimal digits that nobody can guess.
pub(super) fn random_key() -> Result<String, Problem> {
    use std::fmt::Write as _;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|e| Problem::Other(format!("cannot read /dev/urandom: {e}")))?;
    let mut key = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}
