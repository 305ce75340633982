//! The lab's progress on the terminal: one line per step on stderr, with its time. stdout belongs to the command
//! that runs in the lab.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

/// Prints one line. A closed stderr is no reason to stop.
pub(crate) fn line(text: impl Display) {
    drop(writeln!(std::io::stderr(), "lab: {text}"));
}

/// Prints a text as it is on stdout (help, summaries).
pub(crate) fn out(text: impl Display) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// `3.2 s`, `4 min 05 s`.
pub(crate) fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{}.{} s", seconds, took.subsec_millis() / 100)
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(time(Duration::from_millis(3250)), "3.2 s");
        assert_eq!(time(Duration::from_secs(245)), "4 min 05 s");
    }
}
