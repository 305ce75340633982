//! The process that freezes a guest and thaws it again, whatever becomes of the run that started it.
//!
//! A Linux guest that is frozen stays so until somebody thaws it. So this process waits for the run's word, or for the end of
//! the run, whichever comes first, and never longer than the limit.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::agent::{self, Silence, Status};
use super::marker::Marker;
use super::word::Word;
use crate::host::helper::is_readable;
use crate::model::GuestId;

/// How long the agent may take to say whether file systems are frozen. `qm` itself waits 5 s.
pub(super) const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// How long one attempt to thaw may take: Windows takes up to 3 min.
const THAW_LIMIT: Duration = Duration::from_secs(200);
/// How long thawing is attempted; what is frozen after that is left to the next run, and to a person.
const ATTEMPTS_LIMIT: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_secs(1);

/// Freezes `guest`, says so on `said`, waits until `request` has something or ends, for at most `limit`, and thaws. What was
/// done is said in the lines of [`Word`]; that no process reads them any more stops nothing.
pub fn freeze_guest(
    guest: GuestId,
    limit: Duration,
    directory: &Path,
    request: impl AsFd + io::Read,
    mut said: impl Write,
) -> io::Result<()> {
    let mut say = |word: &Word| {
        // A run that was killed reads nothing.
        drop(writeln!(said, "{word}").and_then(|()| said.flush()));
    };
    let Some(mut marker) = Marker::lock(directory, guest)? else {
        say(&Word::Not("another run has frozen it".to_owned()));
        return Ok(());
    };
    if let Err(word) = make_ready(guest, &mut marker)? {
        say(&word);
        return Ok(());
    }
    marker.set()?;
    let until = Instant::now() + limit;
    let not_frozen = match agent::freeze(guest, limit) {
        Ok(0) => Some(Word::Not("it has no file system that can be frozen".to_owned())),
        Ok(_) => None,
        Err(Silence::NotRunning) => Some(Word::NotRunning),
        Err(Silence::Words(words)) => Some(Word::Not(words)),
    };
    let is_frozen = not_frozen.is_none();
    say(&not_frozen.unwrap_or(Word::Frozen));
    // Only who waits until the run has its snapshot knows that it was taken before the guest went on.
    let is_in_time = is_frozen && wait(request, until);
    let thawed = thaw(guest, &mut marker, &mut say)?;
    if is_frozen {
        say(&match (is_in_time, thawed) {
            (false, _) => Word::Not(format!("it had to be thawed after {} s", limit.as_secs_f64())),
            (true, None | Some(0)) => Word::Not("something else has thawed it meanwhile".to_owned()),
            (true, Some(_)) => Word::Held,
        });
    }
    Ok(())
}

/// Sees that nothing is frozen yet. What a killed process has left is thawed; what anything else has frozen is left alone.
fn make_ready(guest: GuestId, marker: &mut Marker) -> io::Result<Result<(), Word>> {
    let is_ours = marker.is_left_over()?;
    let status = match agent::status(guest, STATUS_LIMIT) {
        Ok(Status::Frozen) if is_ours => {
            drop(agent::thaw(guest, THAW_LIMIT));
            agent::status(guest, STATUS_LIMIT)
        }
        status => status,
    };
    let word = match status {
        Ok(Status::Thawed) => {
            marker.clear()?;
            return Ok(Ok(()));
        }
        Ok(Status::Frozen) if is_ours => {
            Word::Not("a run that was killed has left it frozen, and it cannot be thawed".to_owned())
        }
        Ok(Status::Frozen) => Word::Not("another program has frozen it".to_owned()),
        Err(Silence::NotRunning) => {
            marker.clear()?;
            Word::NotRunning
        }
        Err(Silence::Words(words)) => Word::Not(words),
    };
    Ok(Err(word))
}

/// Whether the request, or the end of the run, comes before `until`.
fn wait(mut request: impl AsFd + io::Read, until: Instant) -> bool {
    is_readable(&request, until).unwrap_or(false) && request.read(&mut [0]).is_ok_and(|count| count > 0)
}

/// Thaws until nothing is frozen. Gives how many file systems were, if that is known.
fn thaw(guest: GuestId, marker: &mut Marker, say: &mut impl FnMut(&Word)) -> io::Result<Option<u64>> {
    let until = Instant::now() + ATTEMPTS_LIMIT;
    let mut is_first = true;
    loop {
        let words = match agent::thaw(guest, THAW_LIMIT) {
            Ok(count) => {
                marker.clear()?;
                return Ok(Some(count));
            }
            Err(Silence::NotRunning) => {
                marker.clear()?;
                return Ok(None);
            }
            Err(Silence::Words(words)) => words,
        };
        // An agent that refuses both commands has frozen nothing.
        if agent::status(guest, STATUS_LIMIT) == Ok(Status::Thawed) {
            marker.clear()?;
            return Ok(None);
        }
        if is_first {
            say(&Word::Stuck(words));
        }
        is_first = false;
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// A guest that a run has left frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFrozen {
    /// Which.
    pub guest: GuestId,
    /// Why it could not be thawed; `None` where it was.
    pub why: Option<String>,
}

/// Thaws the guests that runs have left frozen which were killed together with the process that was to thaw them. Guests
/// that a process is about to thaw are left to that.
pub fn thaw_left_over(directory: &Path) -> io::Result<Vec<LeftFrozen>> {
    let mut found = Vec::new();
    for guest in super::marker::guests(directory)? {
        let Some(mut marker) = Marker::lock(directory, guest)? else { continue };
        if !marker.is_left_over()? {
            continue;
        }
        let was_frozen = agent::status(guest, STATUS_LIMIT) == Ok(Status::Frozen);
        match make_ready(guest, &mut marker)? {
            Ok(()) if was_frozen => found.push(LeftFrozen { guest, why: None }),
            Ok(()) | Err(Word::NotRunning) => {}
            Err(word) => found.push(LeftFrozen { guest, why: Some(word.text()) }),
        }
    }
    Ok(found)
}

/// Why the agent of a guest that runs cannot be asked; `None` where it can, or the guest is stopped.
pub fn why_not_freezable(guest: GuestId) -> Option<String> {
    match agent::status(guest, STATUS_LIMIT) {
        Err(Silence::Words(why)) => Some(why),
        Ok(_) | Err(Silence::NotRunning) => None,
    }
}

/// The guests that may be frozen now, by a run or left over from one.
pub fn frozen_guests(directory: &Path) -> io::Result<Vec<GuestId>> {
    let mut found = Vec::new();
    for guest in super::marker::guests(directory)? {
        if super::marker::is_set(directory, guest)? {
            found.push(guest);
        }
    }
    Ok(found)
}
