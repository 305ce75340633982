//! The log: lines on stderr that do not garble the progress display.

use std::io::{self, IsTerminal, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts the log. Level 0 writes warnings, 1 each step, 2 details, 3 everything; `quiet` only errors.
pub(super) fn start(level: u8, quiet: bool, screen: MultiProgress) {
    let filter = EnvFilter::new(directives(level, quiet));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(BelowLines { screen })
        .with_target(level > 1)
        // Else a line that cannot be written is reported on standard error, by a macro that panics if that is closed.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal() && super::output::stderr_style().is_coloured);
    // Fails only where a log was started before; that one stays.
    let started = if level == 0 { format.without_time().try_init() } else { format.try_init() };
    drop(started);
}

fn directives(level: u8, quiet: bool) -> &'static str {
    match (quiet, level) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,zhaul=info",
        (false, 2) => "info,zhaul=debug",
        (false, _) => "trace",
    }
}

/// Takes the progress lines off the screen while a line of the log is written.
#[derive(Debug, Clone)]
struct BelowLines {
    screen: MultiProgress,
}

impl Write for BelowLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.screen.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for BelowLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for level in 0..=4 {
            for quiet in [false, true] {
                assert!(EnvFilter::try_new(directives(level, quiet)).is_ok(), "{level} {quiet}");
            }
        }
    }
}
