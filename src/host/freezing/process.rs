//! The process that freezes a guest and thaws it again, whatever becomes of the run that started it.
//!
//! A Linux guest that is frozen stays so until somebody thaws it. So this process waits for the run's word, or for the end of
//! the run, whichever comes first, and never longer than the limit.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::agent::{self, Silence, Status};
use super::marker::{self, Marker};
use super::word::Word;
use crate::host::helper::is_readable;
use crate::model::GuestId;

/// How long the agent may take to say whether file systems are frozen. `qm` itself waits 5 s.
pub(super) const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// How long one attempt to thaw may take: Windows takes up to 3 min.
const THAW_LIMIT: Duration = Duration::from_secs(200);
/// How long one attempt may take of a run that finds a guest which an earlier one has left frozen.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(30);
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
    let mut marker = match Marker::lock(directory, guest) {
        Ok(Some(marker)) => marker,
        Ok(None) => {
            say(&Word::Not("another run has frozen it".to_owned()));
            return Ok(());
        }
        Err(error) => {
            say(&Word::Not(format!("it cannot be noted that it is frozen: {error}")));
            return Err(error);
        }
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
        // Another program may have frozen it meanwhile: that is not ours to end.
        Err(Silence::Refused(words)) => {
            marker.clear()?;
            say(&Word::Not(words));
            return Ok(());
        }
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
            drop(agent::thaw(guest, LEFT_OVER_LIMIT));
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
        Err(Silence::Words(words) | Silence::Refused(words)) => Word::Not(words),
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
        let thawed = agent::thaw(guest, THAW_LIMIT);
        if thawed == Err(Silence::NotRunning) {
            marker.clear()?;
            return Ok(None);
        }
        // An agent that refuses both commands has frozen nothing; one that says that it thawed may not have.
        let words = match (thawed, agent::status(guest, STATUS_LIMIT)) {
            (Ok(count), status) if status != Ok(Status::Frozen) => {
                marker.clear()?;
                return Ok(Some(count));
            }
            (_, Ok(Status::Thawed)) => {
                marker.clear()?;
                return Ok(None);
            }
            (Err(Silence::Words(words) | Silence::Refused(words)), _) => words,
            (Ok(_) | Err(Silence::NotRunning), _) => "it says that it is still frozen".to_owned(),
        };
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
    for guest in marker::guests(directory)? {
        match thaw_guest(directory, guest) {
            Ok(left) => found.extend(left),
            // A file that is not ours says nothing of the other guests.
            Err(error) => tracing::debug!("guest {guest}: {error}"),
        }
    }
    Ok(found)
}

/// The same for one guest.
pub(super) fn thaw_guest(directory: &Path, guest: GuestId) -> io::Result<Option<LeftFrozen>> {
    let Some(mut marker) = Marker::lock(directory, guest)? else { return Ok(None) };
    if !marker.is_left_over()? {
        return Ok(None);
    }
    let was_frozen = agent::status(guest, STATUS_LIMIT) == Ok(Status::Frozen);
    Ok(match make_ready(guest, &mut marker)? {
        Ok(()) => was_frozen.then_some(LeftFrozen { guest, why: None }),
        Err(Word::NotRunning) => None,
        Err(word) => Some(LeftFrozen { guest, why: Some(word.text()) }),
    })
}

/// The guests that killed runs have left frozen, as far as is known; those that a process has frozen now are not among them.
pub fn left_frozen(directory: &Path) -> io::Result<Vec<GuestId>> {
    let is_left = |guest: &GuestId| {
        let marker = Marker::lock(directory, *guest).ok().flatten();
        let is_noted = marker.is_some_and(|mut marker| marker.is_left_over().unwrap_or(false));
        is_noted
            && !matches!(agent::status(*guest, STATUS_LIMIT), Ok(Status::Thawed) | Err(Silence::NotRunning))
    };
    Ok(marker::guests(directory)?.into_iter().filter(is_left).collect())
}

/// Whether a guest may be frozen, by whatever run.
pub fn is_frozen(directory: &Path, guest: GuestId) -> bool {
    marker::is_set(directory, guest)
}

/// Why the agent of a guest that runs cannot be asked; `None` where it can, or the guest is stopped.
pub fn why_not_freezable(guest: GuestId) -> Option<String> {
    match agent::status(guest, STATUS_LIMIT) {
        Err(Silence::Words(why) | Silence::Refused(why)) => Some(why),
        Ok(_) | Err(Silence::NotRunning) => None,
    }
}
