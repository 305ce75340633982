//! Reads a session's standard error on a thread of its own, so that whoever fills it cannot block the stream.

use std::io::{ErrorKind, Read};

use crossbeam_channel::Sender;

use super::session_words::trailer;
use crate::model::printable;

/// How much of one answer's text is kept; the rest is read and dropped.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What came on standard error up to a trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The text, printable and on one line.
    pub(super) text: String,
    /// False: the child closed its standard error instead.
    pub(super) is_complete: bool,
}

/// Reads until the end or until nobody listens.
pub(super) fn read_errors(mut errors: impl Read, key: &str, records: &Sender<Record>) {
    let mut buffer = vec![0; 8 << 10];
    let (mut text, mut line) = (Vec::new(), Vec::new());
    loop {
        let read = match errors.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in buffer.iter().take(read) {
            if byte != b'\n' {
                if line.len() < TEXT_BYTES_MAX {
                    line.push(byte);
                }
                continue;
            }
            let is_end = trailer(&line, key).is_some() || line.ends_with(key.as_bytes());
            if !is_end && text.len() + line.len() < TEXT_BYTES_MAX {
                text.extend_from_slice(&line);
                text.push(b'\n');
            }
            line.clear();
            if is_end {
                let record = Record { text: printable(&text), is_complete: true };
                text.clear();
                if records.send(record).is_err() {
                    return;
                }
            }
        }
    }
    text.extend_from_slice(&line);
    // Nobody listens where the session is being dropped.
    drop(records.send(Record { text: printable(&text), is_complete: false }));
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
