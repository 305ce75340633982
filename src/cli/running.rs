//! Whether a guest is stopped: by what `qm` and `pct` print, never by their exit codes, and never waiting for them for ever.

use std::time::Duration;

use crate::host::program;
use crate::model::GuestId;

/// `qm` takes a second; on a node that waits for its cluster it may never end.
const LIMIT: Duration = Duration::from_secs(20);

/// Whether a guest is running, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Running {
    /// Neither program is installed.
    NoPrograms,
    /// One of them says that it is stopped.
    Stopped,
    /// One of them says something else, in its words.
    Says(String),
    /// They say nothing that helps, with what they did instead.
    Unknown(String),
}

/// Asks both programs.
pub(super) fn ask(id: GuestId) -> Running {
    let (mut has_any, mut silent) = (false, Vec::new());
    for program in ["qm", "pct"] {
        let Some(answer) = answer(program, &["status", &id.to_string()]) else { continue };
        has_any = true;
        match answer {
            Ok(text) if text == "status: stopped" => return Running::Stopped,
            Ok(text) if text.starts_with("status:") => {
                return Running::Says(format!("{program} says {text}"));
            }
            Ok(text) if text.is_empty() => silent.push(format!("{program} says nothing")),
            Ok(text) => silent.push(format!("{program} says {text}")),
            Err(why) => silent.push(format!("{program} {why}")),
        }
    }
    if has_any { Running::Unknown(silent.join("; ")) } else { Running::NoPrograms }
}

/// The standard output of a program, whatever its exit code, within 20 s. `None` where it is not installed.
pub(super) fn answer(program: &str, arguments: &[&str]) -> Option<Result<String, String>> {
    let answer = program::answer(program, arguments, LIMIT)?;
    Some(answer.map(|answer| answer.output))
}
