//! Reads a session's standard error on a thread of its own, so that whoever fills it cannot block the stream.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};

use crossbeam_channel::Sender;

use super::session_words::trailer;
use crate::model::printable;

/// How much of one answer's text is kept: its first lines, which may be the cause, and its last ones, which say how it
/// ended. The text between them is read and dropped.
const HEAD_BYTES_MAX: usize = 4 << 10;
const TAIL_BYTES_MAX: usize = 12 << 10;

/// Lines of a text that may be too long.
#[derive(Debug, Default)]
struct Excerpt {
    head: Vec<u8>,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
    is_cut: bool,
}

impl Excerpt {
    fn add(&mut self, line: Vec<u8>) {
        if self.tail.is_empty() && !self.is_cut && self.head.len() + line.len() < HEAD_BYTES_MAX {
            self.head.extend_from_slice(&line);
            self.head.push(b'\n');
            return;
        }
        self.tail_bytes += line.len() + 1;
        self.tail.push_back(line);
        while self.tail_bytes > TAIL_BYTES_MAX
            && let Some(dropped) = self.tail.pop_front()
        {
            self.tail_bytes -= dropped.len() + 1;
            self.is_cut = true;
        }
    }

    /// The text, printable and on one line; nothing is left.
    fn take(&mut self) -> String {
        let Self { mut head, tail, is_cut, .. } = std::mem::take(self);
        if is_cut {
            head.extend_from_slice(b"[...]\n");
        }
        for line in tail {
            head.extend_from_slice(&line);
            head.push(b'\n');
        }
        printable(&head)
    }
}

/// The text on standard error up to a trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The text, printable and on one line.
    pub(super) text: String,
    /// False: the child closed its standard error instead.
    pub(super) is_complete: bool,
}

/// Reads until the end or until `records` has no receiver.
pub(super) fn read_errors(mut errors: impl Read, key: &str, records: &Sender<Record>) {
    let mut buffer = vec![0; 8 << 10];
    let (mut text, mut line) = (Excerpt::default(), Vec::new());
    loop {
        let read = match errors.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in buffer.iter().take(read) {
            if byte != b'\n' {
                if line.len() < TAIL_BYTES_MAX {
                    line.push(byte);
                }
                continue;
            }
            let is_end = trailer(&line, key).is_some() || line.ends_with(key.as_bytes());
            let line = std::mem::take(&mut line);
            if !is_end {
                text.add(line);
                continue;
            }
            let record = Record { text: text.take(), is_complete: true };
            if records.send(record).is_err() {
                return;
            }
        }
    }
    if !line.is_empty() {
        text.add(line);
    }
    // `records` has no receiver where the session is being dropped.
    drop(records.send(Record { text: text.take(), is_complete: false }));
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    fn records(input: &[u8]) -> Vec<(String, bool)> {
        let (sender, receiver) = unbounded();
        read_errors(input, "abc", &sender);
        drop(sender);
        receiver.iter().map(|record| (record.text, record.is_complete)).collect()
    }

    #[test]
    fn text_goes_to_the_trailer_that_follows_it() {
        let input =
            b"Welcome\nzhaul-worker 1 abc\n\nabc 0\ncannot open 'x':\n dataset does not exist\n\nabc 1\nbye";
        let expected = [
            ("Welcome", true),
            ("", true),
            ("cannot open 'x':; dataset does not exist", true),
            ("bye", false),
        ];
        assert_eq!(records(input), expected.map(|(text, is_complete)| (text.to_owned(), is_complete)));
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let mut input = b"the cause\n".to_vec();
        input.extend((0..10_000).flat_map(|n| format!("line {n}\n").into_bytes()));
        input.extend(b"how it ended\n\nabc 1\n");
        let (text, _) = &records(&input)[0];
        assert!(
            text.starts_with("the cause") && text.ends_with("how it ended") && text.contains("[...]"),
            "{text}"
        );
        assert!(text.len() < 20 << 10, "{}", text.len());
    }

    #[test]
    fn endless_text_is_cut_and_made_printable() {
        let mut input = b"\x1b[2J\xff\n".to_vec();
        input.extend(vec![b'x'; 1 << 20]);
        input.extend(b"\nlast\n\nabc 1\n");
        let records = records(&input);
        assert_eq!(records.len(), 2);
        let (text, is_complete) = &records[0];
        assert!(is_complete);
        assert!(text.starts_with("\\u{1b}[2J\u{fffd}") && text.len() < 20 << 10, "{}", text.len());
    }
}
