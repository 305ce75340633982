//! Freezes the file systems of a virtual machine while its snapshots are taken, through the QEMU guest agent.
//!
//! Another process does it (`process`), which thaws the guest when the run asks for that, when the run has ended however it
//! ended, or when the limit has passed. A guest that anything else has frozen is left alone.

mod agent;
mod marker;
mod process;
mod word;

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::helper::is_readable;
use crate::model::GuestId;
use word::Word;

pub use process::{LeftFrozen, freeze_guest, is_frozen, left_frozen, thaw_left_over, why_not_freezable};

/// The hidden subcommand of that process.
pub const SUBCOMMAND: &str = "freeze-guest";

/// How long the run waits to hear that the guest is thawed; the process itself continues for longer.
const THAW_WAIT: Duration = Duration::from_secs(10);
/// No line is longer.
const LINE_BYTES_MAX: usize = 4096;

/// A guest to freeze while its snapshots are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToFreeze {
    /// Which.
    pub guest: GuestId,
    /// For how long at most.
    pub limit: Duration,
    /// The directory for the notes of what is frozen; only this user can write to it.
    pub directory: PathBuf,
}

/// How a freeze ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Freeze {
    /// It was not asked for.
    #[default]
    Unwanted,
    /// All snapshots were taken while the guest was frozen.
    Held,
    /// The guest does not run.
    NotRunning,
    /// It was not frozen, or not all the time.
    Failed(String),
    /// It could not be thawed yet: somebody has to look.
    Stuck(String),
}

/// A guest that is frozen now. It is thawed when this is dropped.
#[derive(Debug)]
pub(super) struct Frozen {
    process: Child,
    wanted: ToFreeze,
}

/// Freezes a guest by a process of `zhaul`, the path of one. `Err` is why it is not frozen.
pub(super) fn freeze(zhaul: &Path, wanted: &ToFreeze) -> Result<Frozen, Freeze> {
    let process = start(zhaul, wanted)
        .map_err(|error| Freeze::Failed(format!("no process can be started that thaws it: {error}")))?;
    let mut frozen = Frozen { process, wanted: wanted.clone() };
    let until = Instant::now() + 2 * process::STATUS_LIMIT + wanted.limit;
    match frozen.word(until) {
        Some(Word::Frozen) => Ok(frozen),
        Some(other) => Err(outcome(other)),
        None => Err(frozen.ended()),
    }
}

/// With a process group of its own: a Ctrl-C is for the run, which then ends, and so the guest is thawed.
fn start(zhaul: &Path, wanted: &ToFreeze) -> io::Result<Child> {
    let mut command = Command::new(zhaul);
    command.arg0("zhaul").arg(SUBCOMMAND).arg(wanted.guest.to_string());
    command.arg(wanted.limit.as_millis().to_string()).arg(&wanted.directory);
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn()
}

fn outcome(word: Word) -> Freeze {
    match word {
        Word::Held => Freeze::Held,
        Word::NotRunning => Freeze::NotRunning,
        Word::Not(why) => Freeze::Failed(why),
        Word::Stuck(why) => Freeze::Stuck(why),
        Word::Frozen => Freeze::Failed("the process that froze it speaks out of turn".to_owned()),
    }
}

impl Frozen {
    /// To be called when the snapshots are taken: thaws the guest, and says whether it was frozen until now.
    pub(super) fn thaw(mut self) -> Freeze {
        let asked = self.process.stdin.take().map(|mut request| request.write_all(b"\n"));
        if !matches!(asked, Some(Ok(()))) {
            // It had to thaw before, and its word says why; or it was killed.
            tracing::debug!("guest {}: the process that froze it has ended", self.wanted.guest);
        }
        match self.word(Instant::now() + THAW_WAIT) {
            Some(word) => outcome(word),
            None => self.ended(),
        }
    }

    /// Where the process says nothing: thaws the guest in its place, if it was killed.
    fn ended(&self) -> Freeze {
        let ToFreeze { guest, directory, .. } = &self.wanted;
        match process::thaw_guest(directory, *guest) {
            Ok(Some(LeftFrozen { why: Some(why), .. })) => Freeze::Stuck(why),
            Ok(Some(_)) => Freeze::Failed("the process that froze it was killed; it is thawed".to_owned()),
            Ok(None) => Freeze::Failed("the process that froze it says nothing".to_owned()),
            Err(error) => Freeze::Failed(error.to_string()),
        }
    }

    /// The next line of the process.
    fn word(&mut self, until: Instant) -> Option<Word> {
        let output = self.process.stdout.as_mut()?;
        let mut line = Vec::new();
        while line.len() < LINE_BYTES_MAX && is_readable(output, until).ok()? {
            let mut byte = [0];
            if output.read(&mut byte).ok()? == 0 {
                return None;
            }
            if byte == *b"\n" {
                return Word::parse(&String::from_utf8_lossy(&line));
            }
            line.extend(byte);
        }
        None
    }
}
