//! The two streams a command writes to: stdout for its result, stderr for everything else.
//!
//! A reader of stdout that has gone away (`zhaul status | head -1`) is no error: the rest is dropped quietly, and
//! a run continues.

use std::io::{self, IsTerminal, Write};

use super::render::{Style, escape};

/// Writes `text` to stdout.
pub(super) fn print(text: &str) -> io::Result<()> {
    quiet_when_gone(write_all(&mut io::stdout().lock(), text))
}

/// Writes `text` to stderr; if even that fails, no way is left to report it.
pub(super) fn complain(text: &str) {
    drop(write_all(&mut io::stderr().lock(), text));
}

/// An error and its causes, one a line.
pub(super) fn error_text(error: &anyhow::Error, style: Style) -> String {
    let mut text = format!("{}: ", style.red("error"));
    for (depth, cause) in error.chain().enumerate() {
        if depth > 0 {
            text.push_str("  because: ");
        }
        // Several lines are ours (a TOML excerpt); each is made safe on its own.
        for line in cause.to_string().trim_end().lines() {
            text.push_str(&escape(line));
            text.push('\n');
        }
    }
    text
}

fn write_all(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn quiet_when_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether a person reads stdout.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person watches stderr.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Colour for stdout, if a person reads it and `NO_COLOR` (no-color.org) is not set.
pub(super) fn stdout_style() -> Style {
    Style { is_coloured: stdout_is_terminal() && wants_colour() }
}

/// Colour for stderr, likewise.
pub(super) fn stderr_style() -> Style {
    Style { is_coloured: stderr_is_terminal() && wants_colour() }
}

fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_error_but_a_full_disk_is() {
        assert!(quiet_when_gone(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quiet_when_gone(Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn an_error_is_printed_with_each_cause_once() {
        let error = anyhow::anyhow!("no\x1b route").context("cannot reach nfs8").context("cannot list nfs8");
        assert_eq!(
            error_text(&error, Style::default()),
            "error: cannot list nfs8\n  because: cannot reach nfs8\n  because: no\\u{1b} route\n"
        );
    }
}
