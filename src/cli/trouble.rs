//! Something that is to be mended, with the command that mends it: what `doctor` and `verify` print.

use std::fmt::Write as _;

use serde::Serialize;

use super::exit_code::Code;
use super::render::{Style, count, escape};
use crate::plan::Severity;

/// Something that is to be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Trouble {
    pub(super) severity: Severity,
    /// A stable word for programs.
    pub(super) kind: &'static str,
    /// The dataset, guest or pool.
    pub(super) about: String,
    pub(super) what: String,
    pub(super) next: String,
}

/// The worst first.
pub(super) fn sort(troubles: &mut [Trouble]) {
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.severity));
}

/// The exit code for sorted troubles.
pub(super) fn code(troubles: &[Trouble]) -> Code {
    match troubles.first().map(|trouble| trouble.severity) {
        Some(Severity::Failed) => Code::Failed,
        Some(Severity::Blocked) => Code::Blocked,
        Some(Severity::Warning | Severity::Note) | None => Code::Done,
    }
}

/// A line each, and what mends it; `nothing` is said where there are none but notes.
pub(super) fn text(troubles: &[Trouble], nothing: &str, style: Style) -> String {
    let mut text = String::new();
    for trouble in troubles {
        let label = match trouble.severity {
            Severity::Failed => style.red("failed"),
            Severity::Blocked => style.red("blocked"),
            Severity::Warning => style.yellow("warning"),
            Severity::Note => "note".to_owned(),
        };
        let _ = writeln!(text, "{label}: {}: {}", escape(&trouble.about), escape(&trouble.what));
        let _ = writeln!(text, "  next: {}", escape(&trouble.next));
    }
    let is_bad = |trouble: &&Trouble| trouble.severity != Severity::Note;
    let bad = troubles.iter().filter(is_bad).count();
    let _ = match bad {
        0 => writeln!(text, "{nothing}"),
        bad => writeln!(text, "{} to be mended", count(bad, "trouble")),
    };
    text
}
