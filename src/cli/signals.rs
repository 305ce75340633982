//! INT, TERM and HUP: the first asks the program to stop in good order, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit_code::Code;
use crate::stream::threads::alone;

/// From now on says `words` and calls `stop` at the first of these signals, on a thread of its own.
pub(super) fn watch(words: &'static str, stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = vec![SIGINT, SIGTERM];
    // nohup(1) lets a run outlive its terminal by ignoring SIGHUP; a handler would undo that.
    let own_status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !is_ignored(&own_status, SIGHUP) {
        signals.push(SIGHUP);
    }
    let asked = Arc::new(AtomicBool::new(false));
    for signal in &signals {
        // The order counts: handlers run in it, so the first signal finds `asked` false and then sets it.
        let code = i32::from(Code::Interrupted.number());
        signal_hook::flag::register_conditional_shutdown(*signal, code, Arc::clone(&asked))?;
        signal_hook::flag::register(*signal, Arc::clone(&asked))?;
    }
    let mut arriving = Signals::new(signals)?;
    let watching = alone("signals", move || {
        if arriving.forever().next().is_some() {
            tracing::warn!("{words} (press Ctrl-C again to abort)");
            stop();
        }
    });
    watching.map(drop)
}

/// From now on none of these signals ends the process.
pub(super) fn ignore() -> io::Result<()> {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&seen))?;
    }
    Ok(())
}

/// Whether the process was started with `signal` ignored, as the `SigIgn` mask of proc(5) has it.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|rest| rest & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_seen() {
        let status = |mask: &str| format!("Name:\tzhaul\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\n");
        assert!(is_ignored(&status("0000000000000001"), SIGHUP));
        assert!(is_ignored(&status("0000000000001001"), SIGHUP));
        assert!(!is_ignored(&status("0000000000001000"), SIGHUP));
        assert!(is_ignored(&status("0000000000004000"), SIGTERM));
        assert!(!is_ignored("", SIGHUP));
    }
}
