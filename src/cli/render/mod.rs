//! Plans and reports as text and JSON. Everything here writes into a buffer that the caller prints.

mod breach;
mod change;
mod changes;
mod columns;
mod finding;
mod json;
mod left_out;
mod plan;
mod reason;
mod report;
mod set_aside;
mod step;
mod summary;

#[cfg(test)]
pub(super) mod examples;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ByteCount, DatasetName, PointName, is_format_character};
use crate::plan::StepId;

pub(super) use breach::breaches_text;
pub(super) use changes::changes_text;
pub(super) use columns::aligned;
pub(super) use finding::{
    finding_next, finding_what, target_unlisted_advice, unlisted_here_next, unlisted_what,
};
pub use json::plan_json;
pub(super) use json::{report_json, serialize_findings};
pub(super) use left_out::{left_out_lines, left_out_text};
pub(super) use plan::{finding_text, plan_text, write_unserved};
pub(super) use report::{failures_text, report_text};
pub(super) use step::{dataset_label, step_line};

/// How many bytes each transfer is expected to send. A plan holds decisions only, so sizes lie beside it.
pub type Estimates = BTreeMap<StepId, ByteCount>;

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Write escape sequences.
    pub(super) is_coloured: bool,
}

impl Style {
    /// For failures.
    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For warnings.
    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A heading.
    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` on one line, with everything that could steer a terminal or forge a line written as `\u{…}`: texts come from
/// other machines too.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push(' '),
            c if c.is_control() || is_format_character(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// A duration as people say it: `0.4 s`, `12 s`, `2 min 3 s`, `3 h 20 min`, `5 d 2 h`.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=172_799 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A text that may be anything as one word of a command for a shell.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:=/@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The command that loads the key of `dataset`, which may be that of a dataset above it.
pub(super) fn load_key_command(dataset: &DatasetName) -> String {
    format!("zfs load-key \"$(zfs get -Ho value encryptionroot '{dataset}')\"")
}

/// `@a, @b`.
pub(super) fn list(snapshots: &[PointName]) -> String {
    snapshots.iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(", ")
}

/// `1 snapshot`, `2 snapshots`.
pub(super) fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_says_cannot_steer_the_terminal() {
        assert_eq!(
            escape("cannot receive:\n\x1b[2J\rfake \u{202e}txt\u{9b}1m"),
            "cannot receive:\\n\\u{1b}[2J\\u{d}fake \\u{202e}txt\\u{9b}1m"
        );
        assert_eq!(escape("grün ok"), "grün ok");
    }

    #[test]
    fn a_word_for_a_shell_is_one_word() {
        assert_eq!(shell_word("z:vm-100-disk-0,size=8G"), "z:vm-100-disk-0,size=8G");
        assert_eq!(shell_word("a b;$(reboot)"), "'a b;$(reboot)'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        let cases = [
            (450, "0.4 s"),
            (12_900, "12 s"),
            (123_000, "2 min 3 s"),
            (12_000_000, "3 h 20 min"),
            (442_800_000, "5 d 3 h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration_text(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn colour_is_only_written_where_it_is_wanted() {
        assert_eq!(Style { is_coloured: false }.red("error"), "error");
        assert_eq!(Style { is_coloured: true }.red("error"), "\x1b[1;31merror\x1b[0m");
    }
}
