//! The limits of one answer. The peer is not trusted to end it: an endless answer must not fill the memory. Pieces that
//! bring nothing, or come one at a time, must not keep a run for ever.

use std::time::{Duration, Instant};

use super::Problem;

/// Pieces of one answer may come for this long after the first. Silence has a limit of its own.
const WHOLE: Duration = Duration::from_secs(4 * 60 * 60);

/// The same for the content of a snapshot, of which the largest disks have tens of terabytes.
const WHOLE_CONTENT: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Bytes that a piece counts beyond its text, so that empty pieces reach the limit, too.
const PIECE_BYTES: usize = 64;

/// The rest of an answer that may still come.
#[derive(Debug)]
pub(super) struct AnswerLimit {
    bytes_max: usize,
    bytes_left: usize,
    first: Option<Instant>,
    whole: Duration,
}

impl AnswerLimit {
    /// For a listing: more than that of any host. Millions of snapshots are some 100 MiB.
    pub(super) fn of_list() -> Self {
        Self::new(1 << 30)
    }

    /// For a pool's history, of which little is kept here: ZFS keeps 1 GiB of it at most, and writes that out at length.
    pub(super) fn of_history() -> Self {
        Self::new(4 << 30)
    }

    /// For the content of a snapshot, of which nothing is kept: a hundred bytes for each 16 MiB, and a piece every half second.
    pub(super) fn of_content() -> Self {
        Self { whole: WHOLE_CONTENT, ..Self::new(4 << 30) }
    }

    /// For everything else: the refusals of a thousand snapshots, with words on each, are 16 MiB.
    pub(super) fn of_words() -> Self {
        Self::new(32 << 20)
    }

    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes_left: bytes_max, first: None, whole: WHOLE }
    }

    /// Takes a piece of `bytes` into account.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Problem> {
        let left = self.bytes_left.checked_sub(bytes.saturating_add(PIECE_BYTES));
        self.bytes_left = left.ok_or_else(|| {
            let most = self.bytes_max >> 20;
            Problem::Protocol(format!("the peer answered more than {most} MiB, more than any answer has"))
        })?;
        if self.first.get_or_insert_with(Instant::now).elapsed() > self.whole {
            let hours = self.whole.as_secs() / 3600;
            return Err(Problem::Protocol(format!(
                "the peer did not finish its answer within {hours} hours"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_to_an_end_however_little_they_bring() {
        let mut words = AnswerLimit::of_words();
        let empty = (0..).take_while(|_| words.count(0).is_ok()).take(1 << 20).count();
        assert_eq!(empty, (32 << 20) / 64);
        let mut words = AnswerLimit::of_words();
        words.count(31 << 20).unwrap();
        let error = words.count(2 << 20).unwrap_err();
        assert!(error.to_string().contains("more than 32 MiB"), "{error}");
        AnswerLimit::of_list().count(33 << 20).unwrap();
        let first = Instant::now().checked_sub(WHOLE + Duration::from_secs(1));
        let mut late = AnswerLimit { first, ..AnswerLimit::of_list() };
        assert!(late.count(0).unwrap_err().to_string().contains("within 4 hours"));
    }
}
