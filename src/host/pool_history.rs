//! Reads `zpool history -i`, for when datasets left their lines.
//!
//! The pool keeps its history in a ring: what is from before the first command, `zpool create`, stays for ever, and what follows
//! may begin much later. So everything is known only after the first record that follows it. A line that matters looks like
//! one of these (`spa_history_log_internal_ds`):
//!
//! ```text
//! 2026-11-28.13:26:23 [txg:25] clone swap rpool/data/vm-100-disk-0/%rollback (140) parent=vm-100-disk-0
//! 2026-11-28.13:26:23 [txg:25] destroy rpool/data/vm-100-disk-0/%rollback (140) (bptree, mintxg=23)
//! 2026-11-28.13:26:23 [txg:27] rename rpool/data/vm-100-disk-0 (87) -> rpool/data/vm-200-disk-0
//! ```

use crate::model::{DatasetName, LineHistory, Txg};

/// An event of a dataset, by its name at that time without its pool, which may have been imported under another name.
#[derive(Debug)]
enum Event {
    /// It left all that was written after `since`.
    Left { dataset: String, since: Txg, txg: Txg },
    /// It got another name, and all below it with it.
    Renamed { from: String, to: String },
}

/// Takes the lines of a history one by one.
#[derive(Debug, Default)]
pub(super) struct HistoryReader {
    /// Whether the command that created the pool was read.
    is_created: bool,
    known_from: Option<Txg>,
    events: Vec<Event>,
}

impl HistoryReader {
    /// Takes one line; most say nothing of a line.
    pub(super) fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some((txg, what)) = record(&line) else {
            self.is_created |= is_creation(&line);
            return;
        };
        if self.is_created {
            // Other records of the same transaction group may have been overwritten.
            self.known_from.get_or_insert(Txg(txg.0.saturating_add(1)));
        }
        if let Some(swap) = what.strip_prefix("clone swap ") {
            if let Some(dataset) = hidden_clone(swap) {
                // The record of its destruction, which follows at once, says since when; until then all counts as left.
                self.events.push(Event::Left { dataset, since: Txg(0), txg });
            }
        } else if let Some(destroyed) = what.strip_prefix("destroy ") {
            self.note_start(destroyed, txg);
        } else if let Some(renamed) = what.strip_prefix("rename ")
            && let Some((from, to)) = renamed.rsplit_once(" -> ")
            && let Some((from, _)) = from.rsplit_once(" (")
            // That of a snapshot changes no dataset's name.
            && !to.contains('@')
        {
            self.events.push(Event::Renamed { from: in_pool(from).to_owned(), to: in_pool(to).to_owned() });
        }
    }

    /// Notes since when what a swap threw away was written.
    fn note_start(&mut self, destroyed: &str, at: Txg) {
        let Some(of) = hidden_clone(destroyed) else { return };
        let Some((_, start)) = destroyed.rsplit_once("mintxg=") else { return };
        let Ok(start) = start.trim_end_matches(')').parse() else { return };
        let mut swaps = self.events.iter_mut().rev();
        if let Some(Event::Left { since, .. }) = swaps
            .find(|event| matches!(event, Event::Left { dataset, txg, .. } if *dataset == of && *txg == at))
        {
            *since = Txg(start);
        }
    }

    /// The history of a dataset in all lines, by its present name.
    pub(super) fn of(&self, dataset: &DatasetName) -> LineHistory {
        let mut name = in_pool(dataset.as_str()).to_owned();
        let mut left = Vec::new();
        for event in self.events.iter().rev() {
            match event {
                Event::Left { dataset, since, txg } if *dataset == name => left.push((*since, *txg)),
                Event::Left { .. } => {}
                Event::Renamed { from, to } => {
                    let below = name.strip_prefix(to.as_str());
                    if let Some(rest) = below.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                        name = format!("{from}{rest}");
                    }
                }
            }
        }
        LineHistory { known_from: self.known_from, left }
    }
}

/// Whether this is the command that created the pool.
fn is_creation(line: &str) -> bool {
    let is_time = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    line.split_once(' ').is_some_and(|(time, what)| is_time(time) && what.starts_with("zpool create "))
}

/// The transaction group and the words of a record.
fn record(line: &str) -> Option<(Txg, &str)> {
    let (_time, rest) = line.split_once(' ')?;
    let (txg, what) = rest.strip_prefix("[txg:")?.split_once("] ")?;
    Some((Txg(txg.parse().ok()?), what))
}

/// The dataset of a hidden clone (`DATASET/%recv (OBJECT) …`).
fn hidden_clone(text: &str) -> Option<String> {
    let (dataset, hidden) = text.split_once("/%")?;
    hidden.contains(" (").then(|| in_pool(dataset).to_owned())
}

/// A dataset's name without its pool.
fn in_pool(name: &str) -> &str {
    name.split_once('/').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> HistoryReader {
        let mut reader = HistoryReader::default();
        for line in lines {
            reader.take(line.as_bytes());
        }
        reader
    }

    fn of(lines: &[&str], dataset: &str) -> LineHistory {
        read(lines).of(&DatasetName::new(dataset).unwrap())
    }

    /// As OpenZFS 2.4 writes them.
    const LINES: &[&str] = &[
        "History for 'old':",
        "2026-11-28.13:26:20 [txg:4] create pool version 5000; software version zfs-2.4.4",
        "2026-11-28.13:26:20 [txg:4] set feature@async_destroy=enabled",
        "2026-11-28.13:26:20 [txg:5] set old (54) mountpoint=/old",
        "2026-11-28.13:26:20 zpool create old /dev/vdb",
        "2026-11-28.13:26:22 [txg:11] receive old/h/p (99)  ",
        "2026-11-28.13:26:23 (3ms) ioctl snapshot",
        "    input:",
        "2026-11-28.13:26:23 [txg:19] finish receiving old/h/s s/%recv (118) snap=r2",
        "2026-11-28.13:26:23 [txg:19] clone swap old/h/s s/%recv (118) parent=s s",
        "2026-11-28.13:26:23 [txg:19] destroy old/h/s s/%recv (118) (bptree, mintxg=10)",
        "2026-11-28.13:26:23 [txg:22] rename old/h (79) -> old/i",
        "2026-11-28.13:26:23 [txg:25] clone swap old/i/s s/%rollback (140) parent=s s",
        "2026-11-28.13:26:23 [txg:25] destroy old/i/s s/%rollback (140) (bptree, mintxg=23)",
        "2026-11-28.13:26:23 [txg:27] rename old/i/s s (87) -> old/i/t",
        "2026-11-28.13:26:23 [txg:28] rename old/i/x@y (121) -> @t",
        "2026-11-28.13:26:23 [txg:29] clone swap old/i/tt/%rollback (150) parent=tt",
    ];

    #[test]
    fn each_swap_of_a_dataset_is_found_under_each_of_its_names() {
        let expected =
            LineHistory { known_from: Some(Txg(12)), left: vec![(Txg(23), Txg(25)), (Txg(10), Txg(19))] };
        assert_eq!(of(LINES, "rpool/i/t"), expected, "the pool has another name now");
        assert_eq!(of(LINES, "old/i/tt").left, [(Txg(0), Txg(29))], "nothing says since when");
        assert_eq!(
            of(LINES, "old/h/s s").left,
            [(Txg(10), Txg(19))],
            "what has this name now is another dataset"
        );
        assert!(of(LINES, "old").left.is_empty(), "a snapshot's new name is none of the pool's dataset");
    }

    #[test]
    fn a_history_that_says_nothing_is_not_known() {
        assert_eq!(of(&[], "p/a"), LineHistory::default());
        assert_eq!(of(&LINES[..5], "p/a").known_from, None, "what follows the creation may be years later");
        assert_eq!(of(&LINES[..6], "p/a").known_from, Some(Txg(12)));
        assert_eq!(of(&LINES[5..], "p/a").known_from, None, "the beginning of the history is unknown");
        for odd in [
            "x [txg:",
            "x y [txg:7] clone swap p/a/%recv (1)",
            "x [txg:y] clone swap p/a/%recv (1)",
            "x [txg:7] rename a",
            "x [txg:7] clone swap ",
        ] {
            assert!(of(&[odd], "p/a").left.is_empty(), "{odd}");
        }
    }
}
