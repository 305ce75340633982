//! Moves one stream, unchanged, without copying it: pages are passed from pipe to pipe.
//!
//! ```text
//! source pipe ──splice──────────────────────────────► target pipe or socket      while the target keeps up
//!        └─────splice─► store: pipes in a row ─splice──────┘                     while it does not
//! ```
//!
//! One thread does both. Bytes go straight through until it is clear that reading ahead would have helped (see
//! [`super::ring::AdaptiveLimit`]); from then on it reads ahead whenever the target blocks, up to the configured
//! buffer: the rhythm-breaker that the ring is, with the kernel's pages as its memory. Every byte is counted and
//! limited as it passes.
//!
//! Measured from pipe to pipe (1 MiB pipes, pieces as a send stream has them; two cores, busy with other work):
//! CPU of all three threads is 1.2 times that of producer and consumer on a bare pipe; the ring takes 2.5 times
//! as much, a plain loop of read and write 2.1 times, a bare loop of splice 1.2 times.
//!
//! It needs pipes or sockets on both sides, and nothing in between (no compression, no frames).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};

use super::cancel::{Cancel, Cancelled};
use super::clock::StageState;
use super::departed::{END_GRACE, broken};
use super::meter::Meters;
use super::rate::RateLimit;
use super::ring::AdaptiveLimit;
use super::splice_pipes::{MOVE_BYTES, MoveOutcome, SplicePipes, try_move};
use super::supervise::PumpError;

/// Whether splice(2) works with this descriptor as we use it.
pub(super) fn is_spliceable(fd: impl AsFd) -> bool {
    let Ok(status) = fstat(fd) else { return false };
    matches!(FileType::from_raw_mode(status.st_mode), FileType::Fifo | FileType::Socket)
}

/// Which side a straight move waits for: splice(2) does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// The means to watch and to control a transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Controls<'a> {
    pub(super) meters: &'a Meters,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) cancel: &'a Cancel,
}

/// The one stage of a direct transfer.
#[derive(Debug)]
pub(super) struct Mover<'a> {
    controls: Controls<'a>,
    source: BorrowedFd<'a>,
    target: BorrowedFd<'a>,
    store: SplicePipes,
    /// Bytes that the rate limit has granted and the target has not taken yet.
    granted_bytes: usize,
    /// The side that was waited for last: most likely the one to wait for again.
    guess: Side,
    /// Nothing moved since the last wait: the guess was wrong.
    is_stuck: bool,
    waited_for_target: Duration,
    has_ended: bool,
}

impl<'a> Mover<'a> {
    /// Both descriptors must be non-blocking.
    pub(super) fn new(
        controls: Controls<'a>,
        source: BorrowedFd<'a>,
        target: BorrowedFd<'a>,
        store: SplicePipes,
    ) -> Self {
        Self {
            controls,
            source,
            target,
            store,
            granted_bytes: 0,
            guess: Side::Source,
            is_stuck: false,
            waited_for_target: Duration::ZERO,
            has_ended: false,
        }
    }

    /// Moves `lead`, and then until the source has ended and the target has everything.
    pub(super) fn run(mut self, lead: &[u8]) -> Result<(), PumpError> {
        self.give_lead(lead)?;
        while !self.is_done() {
            self.controls.cancel.check()?;
            let has_given = self.give()?;
            // Straight ahead as long as that works; once something is stored, all must pass the store.
            let has_taken = (!has_given || !self.store.is_empty()) && self.take()?;
            if has_given || has_taken {
                self.is_stuck = false;
            } else if !self.is_done() {
                self.wait()?;
            }
        }
        self.meters().reader.enter(StageState::Idle);
        self.meters().writer.enter(StageState::Idle);
        Ok(())
    }

    /// Writes what was read of the source already.
    fn give_lead(&mut self, mut lead: &[u8]) -> Result<(), PumpError> {
        while !lead.is_empty() {
            self.controls.cancel.check()?;
            let granted = self.grant()?.min(lead.len());
            match rustix::io::write(self.target, lead.get(..granted).unwrap_or(lead)) {
                Ok(bytes) => {
                    self.granted_bytes = self.granted_bytes.saturating_sub(bytes);
                    self.meters().count_input(bytes);
                    self.meters().count_output(bytes);
                    lead = lead.get(bytes..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.wait_doing([None, Some((self.target, PollFlags::OUT))], StageState::WaitOutput)?;
                }
                Err(error) => return Err(PumpError::target(error.into())),
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.has_ended && self.store.is_empty()
    }

    fn meters(&self) -> &'a Meters {
        self.controls.meters
    }

    /// Moves something to the target, from the store or straight from the source. `false`: it could not.
    fn give(&mut self) -> Result<bool, PumpError> {
        let limit_bytes = self.grant()?;
        let is_straight = self.store.is_empty();
        let moved = if is_straight {
            try_move(self.source, self.target, limit_bytes)
        } else {
            self.store.drain(self.target, limit_bytes)
        };
        match moved {
            Ok(MoveOutcome::Bytes(bytes)) => {
                self.granted_bytes = self.granted_bytes.saturating_sub(bytes);
                if is_straight {
                    self.meters().count_input(bytes);
                } else {
                    self.meters().gauge.remove(bytes);
                }
                self.meters().count_output(bytes);
                Ok(true)
            }
            Ok(MoveOutcome::End) => {
                self.has_ended = true;
                Ok(false)
            }
            Ok(MoveOutcome::WouldBlock) => Ok(false),
            // To move nothing into a pipe without a reader fails too.
            Err(Errno::PIPE) if is_straight && self.is_exhausted() => {
                self.has_ended = true;
                Ok(false)
            }
            // Only a target fails in a way of its own (a pipe or connection whose reader has gone); a
            // connection that fails as source is rare enough to be named wrongly.
            Err(error) => Err(PumpError::target(error.into())),
        }
    }

    /// The source holds nothing: where a move into a pipe without a reader fails instead of waiting, it has ended.
    fn is_exhausted(&self) -> bool {
        ioctl_fionread(self.source).is_ok_and(|bytes| bytes == 0)
    }

    /// Bytes that may go to the target now; waits for its turn under a rate limit.
    fn grant(&mut self) -> Result<usize, Cancelled> {
        let Some(rate) = self.controls.rate else {
            return Ok(MOVE_BYTES);
        };
        if self.granted_bytes == 0 {
            self.meters().writer.enter(StageState::WaitRate);
            let asked = Instant::now();
            self.granted_bytes = rate.take(MOVE_BYTES, self.controls.cancel)?;
            self.meters().writer.enter(StageState::Work);
            self.note_target_wait(asked.elapsed());
        }
        Ok(self.granted_bytes)
    }

    /// Reads ahead into the store, if that is worth it. `false`: it is not, or nothing came.
    fn take(&mut self) -> Result<bool, PumpError> {
        if self.has_ended || self.store.adaptive_limit.bytes == 0 || !self.store.has_room() {
            return Ok(false);
        }
        let (cancel, source) = (self.controls.cancel, self.source);
        let is_readable =
            || matches!(cancel.wait_for(source, PollFlags::IN, Some(Duration::ZERO)), Ok(Some(_)));
        match self.store.fill(source, is_readable) {
            Ok(MoveOutcome::Bytes(bytes)) => {
                self.meters().count_input(bytes);
                self.meters().gauge.add(bytes);
                self.meters().gauge.set_allocated(self.store.allocated_bytes());
                Ok(true)
            }
            Ok(MoveOutcome::End) => {
                self.has_ended = true;
                Ok(false)
            }
            Ok(MoveOutcome::WouldBlock) => Ok(false),
            Err(error) => Err(PumpError::source(error.into())),
        }
    }

    /// Sleeps until the side that is waited for can go on.
    fn wait(&mut self) -> Result<(), PumpError> {
        let from_source = Some((self.source, PollFlags::IN));
        // Without an event to wait for, the target is still watched for having gone.
        let (for_target, target_only_watched) =
            (Some((self.target, PollFlags::OUT)), Some((self.target, PollFlags::empty())));
        if !self.store.is_empty() {
            // A source that is not to be read now is not watched: its hang-up would end every wait at once.
            let reads = !self.has_ended && self.store.has_room();
            let input = if reads { from_source } else { None };
            return self.wait_doing([input, for_target], StageState::WaitOutput);
        }
        if self.is_stuck {
            self.guess = if self.guess == Side::Source { Side::Target } else { Side::Source };
        }
        self.is_stuck = true;
        let asked = Instant::now();
        match self.guess {
            Side::Source => {
                self.wait_doing([from_source, target_only_watched], StageState::WaitInput)?;
                self.store.adaptive_limit.note_pause(asked.elapsed());
                self.waited_for_target = Duration::ZERO;
            }
            Side::Target => {
                self.wait_doing([None, for_target], StageState::WaitOutput)?;
                self.note_target_wait(asked.elapsed());
            }
        }
        Ok(())
    }

    fn wait_doing(
        &self,
        watched: [Option<(BorrowedFd<'_>, PollFlags)>; 2],
        doing: StageState,
    ) -> Result<(), PumpError> {
        let (reader, writer) = (&self.meters().reader, &self.meters().writer);
        // With something stored and room for more, both are waited for.
        reader.enter(if watched[0].is_some() { StageState::WaitInput } else { StageState::WaitOutput });
        writer.enter(doing);
        let seen = self.controls.cancel.wait_for_either(watched, None).map_err(PumpError::source)?;
        reader.enter(StageState::Work);
        writer.enter(StageState::Work);
        if seen.is_some_and(|[_, of_target]| of_target.contains(PollFlags::ERR)) {
            return self.wait_for_end();
        }
        Ok(())
    }

    /// The target has gone. Where nothing is stored, the source may have ended too, or be about to.
    fn wait_for_end(&self) -> Result<(), PumpError> {
        if !self.store.is_empty() {
            return Err(broken());
        }
        let seen = self.controls.cancel.wait_for(self.source, PollFlags::IN, Some(END_GRACE));
        seen.map_err(PumpError::source)?.map(drop).ok_or_else(broken)
    }

    /// The target, or the rate limit, held the source up: a pause of the source after that is a loss that
    /// reading ahead would have avoided.
    fn note_target_wait(&mut self, waited: Duration) {
        self.waited_for_target += waited;
        if self.waited_for_target >= AdaptiveLimit::PAUSE {
            self.store.adaptive_limit.note_reached();
        }
    }
}
