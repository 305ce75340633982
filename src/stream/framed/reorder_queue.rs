//! Where compressed frames wait for a connection: many threads put them in, each in its place, and connections take them in order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{LOOK, wait};
use crate::stream::cancel::{Cancel, Cancelled};
use crate::stream::frame::{Header, Kind, Totals};
use crate::stream::ring::Chunk;

/// A frame with data, ready to be written.
#[derive(Debug)]
pub(super) enum Ready {
    /// Data as it is: it follows the header.
    Raw(Header, Chunk),
    /// Compressed data, with its header in front.
    Compressed(Chunk),
}

/// How the stream ended at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its last byte.
    Complete,
    /// For this reason.
    Failed(String),
}

/// The next action of a connection.
#[derive(Debug)]
pub(super) enum QueuePoll {
    Frame(Ready),
    /// Nothing came for this long.
    Nothing,
    /// All data has been taken: write this frame and stop.
    Last(Header, Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    /// Number of the frame that is to be taken next.
    next: u64,
    /// Frames from `next` on, as far as they are there.
    waiting: VecDeque<Option<Ready>>,
    totals: Totals,
    /// Set when the source has ended: how, and with how many chunks.
    end: Option<(Ending, u64)>,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct ReorderQueue {
    stream: u32,
    capacity: usize,
    state: Mutex<State>,
    has_changed: Condvar,
    has_room: Condvar,
}

impl ReorderQueue {
    /// Room for `capacity` frames; for more, whoever brings them waits.
    pub(super) fn new(stream: u32, capacity: usize) -> Self {
        let (state, has_changed, has_room) = Default::default();
        Self { stream, capacity, state, has_changed, has_room }
    }

    /// Puts a frame into its place.
    pub(super) fn put(&self, header: &Header, frame: Ready, cancel: &Cancel) -> Result<(), Cancelled> {
        let mut state = self.lock();
        let place = loop {
            cancel.check()?;
            let place = usize::try_from(header.sequence.saturating_sub(state.next)).unwrap_or(usize::MAX);
            // The frame that is next always has room, so this ends.
            if place < self.capacity {
                break place;
            }
            state = wait(&self.has_room, state, LOOK);
        };
        if state.waiting.len() <= place {
            state.waiting.resize_with(place + 1, || None);
        }
        state.waiting[place] = Some(frame);
        state.totals.add(header);
        drop(state);
        if place == 0 {
            self.has_changed.notify_all();
        }
        Ok(())
    }

    /// Counts a frame that a connection made by itself.
    pub(super) fn count(&self, header: &Header) {
        let mut state = self.lock();
        state.totals.add(header);
        if state.end.is_some() {
            self.has_changed.notify_all();
        }
    }

    /// The source has ended after this number of chunks.
    pub(super) fn end(&self, ending: Ending, chunks: u64) {
        self.lock().end = Some((ending, chunks));
        self.has_changed.notify_all();
    }

    /// The next frame for a connection, waiting for it at most for `limit`.
    pub(super) fn next(&self, limit: Duration, cancel: &Cancel) -> Result<QueuePoll, Cancelled> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            cancel.check()?;
            if let Some(frame) = state.waiting.front_mut().and_then(Option::take) {
                state.waiting.pop_front();
                state.next += 1;
                let follows = state.waiting.front().is_some_and(Option::is_some);
                drop(state);
                self.has_room.notify_all();
                if follows {
                    self.has_changed.notify_one();
                }
                return Ok(QueuePoll::Frame(frame));
            }
            let last = state.end.as_ref().filter(|(_, chunks)| state.totals.chunks == *chunks);
            // Frames made by connections themselves never wait here.
            if let Some((ending, chunks)) = last
                && state.waiting.is_empty()
            {
                return Ok(self.last(ending, *chunks, &state.totals));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(QueuePoll::Nothing);
            }
            state = wait(&self.has_changed, state, left.min(LOOK));
        }
    }

    fn last(&self, ending: &Ending, chunks: u64, totals: &Totals) -> QueuePoll {
        let (kind, payload) = match ending {
            Ending::Complete => (Kind::End, totals.encode().to_vec()),
            Ending::Failed(text) => (Kind::Failed, text.clone().into_bytes()),
        };
        QueuePoll::Last(Header::plain(kind, self.stream, chunks, &payload), payload)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
