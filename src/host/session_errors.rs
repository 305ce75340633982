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
mod tests;
