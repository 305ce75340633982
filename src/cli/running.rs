//! Whether a guest is stopped: by what `qm` and `pct` print, never by their exit codes, and never waiting for them for ever.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("cannot be started: {error}"))),
    };
    Some(if ends_in_time(&mut child) {
        let mut text = String::new();
        // A few lines of text, so they are in the pipe already.
        let read = child.stdout.take().map(|mut out| out.by_ref().take(64 << 10).read_to_string(&mut text));
        match read {
            Some(Err(error)) => Err(format!("cannot be read: {error}")),
            Some(Ok(_)) | None => Ok(text.trim().to_owned()),
        }
    } else {
        Err(format!("does not answer within {} s", LIMIT.as_secs()))
    })
}

/// Waits for it, and ends it where that takes too long.
fn ends_in_time(child: &mut Child) -> bool {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return false,
        }
    }
    // It may have ended just now.
    drop(child.kill());
    drop(child.try_wait());
    false
}
