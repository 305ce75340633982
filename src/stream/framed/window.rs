//! Where chunks that came over several connections are put in order again.
//!
//! A chunk is admitted only if it is less than a window ahead of what was written last; a connection that is further ahead
//! waits. Its chunk is not read until then, so memory is bounded whatever the peer sends. No thread waits for ever: the
//! numbers on each connection increase, so a chunk whose number all connections have passed never arrives.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{LOOK, wait};
use crate::stream::cancel::Cancel;
use crate::stream::frame::{FrameError, Header, Totals};
use crate::stream::meter::Meters;
use crate::stream::ring::{AdaptiveLimit, CHUNK_BYTES, Chunk};
use crate::stream::supervise::PumpError;

/// A chunk's place.
#[derive(Debug)]
enum Place {
    /// Has not come yet.
    Empty,
    /// Is being read or decompressed.
    Coming,
    /// Can be written.
    Here(Chunk),
}

#[derive(Debug)]
struct State {
    /// Number of the chunk to be written next.
    next: u64,
    places: VecDeque<Place>,
    /// For each connection, the lowest number that it can still bring; `u64::MAX` after its end.
    connections: Vec<u64>,
    /// One more than the highest number seen.
    seen: u64,
    totals: Totals,
    /// The number of chunks and the totals of the first End frame.
    end: Option<(u64, [u8; 16])>,
    /// Why a connection broke off.
    broken: Option<PumpError>,
    adaptive_limit: AdaptiveLimit,
}

/// The result of [`Window::take`].
#[derive(Debug)]
pub(super) enum WindowPoll {
    Chunk(Chunk),
    Nothing,
    /// Everything has been taken, and the totals are right.
    End,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Window<'a> {
    state: Mutex<State>,
    has_come: Condvar,
    has_room: Condvar,
    meters: &'a Meters,
    cancel: &'a Cancel,
}

impl<'a> Window<'a> {
    /// A window for this number of connections: small at first, and of at most `most_chunks`.
    pub(super) fn new(
        connections: usize,
        first_chunks: usize,
        most_chunks: usize,
        meters: &'a Meters,
        cancel: &'a Cancel,
    ) -> Self {
        let state = State {
            next: 0,
            places: VecDeque::new(),
            connections: vec![0; connections],
            seen: 0,
            totals: Totals::default(),
            end: None,
            broken: None,
            adaptive_limit: AdaptiveLimit::new(first_chunks * CHUNK_BYTES, most_chunks * CHUNK_BYTES),
        };
        let (has_come, has_room) = Default::default();
        Self { state: Mutex::new(state), has_come, has_room, meters, cancel }
    }

    /// Waits until `header`'s chunk, which `connection` is about to read, may come.
    pub(super) fn admit(&self, connection: usize, header: &Header) -> Result<(), PumpError> {
        let number = header.sequence;
        let mut state = self.lock();
        if number < state.connections[connection] {
            return Err(FrameError::Repeated(number).into());
        }
        // Not one more: while it waits for room, this is what it can still bring.
        state.connections[connection] = number;
        state.seen = state.seen.max(number.saturating_add(1));
        if state.end.is_some_and(|(chunks, _)| number >= chunks) {
            return Err(FrameError::WrongTotals.into());
        }
        loop {
            self.cancel.check()?;
            let Some(ahead) = number.checked_sub(state.next) else {
                return Err(FrameError::Repeated(number).into());
            };
            let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
            if ahead < state.adaptive_limit.bytes / CHUNK_BYTES {
                state.connections[connection] = number.saturating_add(1);
                return state.claim(number, ahead);
            }
            state.check_missing()?;
            state.adaptive_limit.note_reached();
            state = wait(&self.has_room, state, LOOK);
        }
    }

    /// Brings a chunk that was admitted.
    pub(super) fn put(&self, header: &Header, chunk: Chunk) {
        self.meters.gauge.add(chunk.filled().len());
        let mut state = self.lock();
        state.totals.add(header);
        let ahead = header.sequence.saturating_sub(state.next);
        let place = usize::try_from(ahead).ok().and_then(|ahead| state.places.get_mut(ahead));
        // It was claimed, so it is there.
        if let Some(place) = place {
            *place = Place::Here(chunk);
        }
        drop(state);
        if ahead == 0 {
            self.has_come.notify_one();
        }
    }

    /// `connection` has brought its End frame.
    pub(super) fn end(&self, connection: usize, header: &Header, totals: [u8; 16]) -> Result<(), PumpError> {
        let mut state = self.lock();
        let end = (header.sequence, totals);
        if state.end.is_some_and(|known| known != end) || state.seen > header.sequence {
            return Err(FrameError::WrongTotals.into());
        }
        state.end = Some(end);
        state.connections[connection] = u64::MAX;
        state.check_missing()?;
        drop(state);
        self.has_come.notify_one();
        Ok(())
    }

    /// `connection` broke off, perhaps in the middle of a chunk. The data received before is still written, so that the
    /// stream can be resumed behind it.
    pub(super) fn break_off(&self, connection: usize, coming: Option<u64>, why: PumpError) {
        let mut state = self.lock();
        state.connections[connection] = u64::MAX;
        let place = coming.and_then(|number| usize::try_from(number.checked_sub(state.next)?).ok());
        if let Some(place) = place.and_then(|place| state.places.get_mut(place)) {
            *place = Place::Empty;
        }
        state.broken.get_or_insert(why);
        drop(state);
        self.has_come.notify_one();
    }

    /// The next chunk in order, waiting for it at most for `limit`.
    pub(super) fn take(&self, limit: Duration) -> Result<WindowPoll, PumpError> {
        let asked = Instant::now();
        let mut state = self.lock();
        loop {
            self.cancel.check()?;
            match state.places.pop_front() {
                Some(Place::Here(chunk)) => {
                    state.next += 1;
                    state.adaptive_limit.note_pause(asked.elapsed());
                    drop(state);
                    self.has_room.notify_all();
                    return Ok(WindowPoll::Chunk(chunk));
                }
                Some(Place::Coming) => state.places.push_front(Place::Coming),
                not_here => {
                    if !state.may_still_come()
                        && let Some(why) = state.broken.take()
                    {
                        return Err(why);
                    }
                    if not_here.is_some() {
                        state.places.push_front(Place::Empty);
                    }
                    if state.is_over()? {
                        return Ok(WindowPoll::End);
                    }
                }
            }
            let left = limit.saturating_sub(asked.elapsed());
            if left.is_zero() {
                return Ok(WindowPoll::Nothing);
            }
            state = wait(&self.has_come, state, left.min(LOOK));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn claim(&mut self, number: u64, ahead: usize) -> Result<(), PumpError> {
        if self.places.len() <= ahead {
            self.places.resize_with(ahead + 1, || Place::Empty);
        }
        if !matches!(self.places[ahead], Place::Empty) {
            return Err(FrameError::Repeated(number).into());
        }
        self.places[ahead] = Place::Coming;
        self.check_missing()
    }

    /// Whether earlier chunks may still arrive on other connections: after a Failed frame on one connection they may.
    /// After any other break, nothing more can be relied on.
    fn may_still_come(&self) -> bool {
        matches!(self.broken, Some(PumpError::Peer(_)))
            && self.connections.iter().any(|lowest| *lowest <= self.next)
    }

    /// Whether the chunk that is to be written next can still come.
    fn check_missing(&self) -> Result<(), PumpError> {
        let is_there = !matches!(self.places.front(), None | Some(Place::Empty));
        let is_end = self.end.is_some_and(|(chunks, _)| self.next == chunks);
        let can_come = self.connections.iter().any(|lowest| *lowest <= self.next);
        if is_there || is_end || can_come || self.broken.is_some() {
            Ok(())
        } else {
            Err(FrameError::Missing(self.next).into())
        }
    }

    /// Whether all connections have ended and all chunks been taken.
    fn is_over(&self) -> Result<bool, PumpError> {
        self.check_missing()?;
        let Some((chunks, totals)) = self.end else { return Ok(false) };
        if self.next != chunks || self.connections.iter().any(|lowest| *lowest != u64::MAX) {
            return Ok(false);
        }
        if self.totals.encode() == totals { Ok(true) } else { Err(FrameError::WrongTotals.into()) }
    }
}
