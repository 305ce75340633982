//! The buffer between two sides of different rhythm: a fixed set of recycled chunks.
//!
//! Full chunks go one way, empty ones come back, through two bounded queues. A chunk is allocated when one is
//! wanted and none is free, until the configured number exists; from then on whoever fills has to wait. So
//! memory is bounded by configuration, and a thousand idle transfers cost nothing. (Recycling instead of allocating is worth a factor of ten.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// How much of a buffer may be in use.
///
/// A target that is simply slower fills any buffer, and a full buffer only makes every byte go through cold
/// memory. A buffer pays when both sides pause in turn. So its use is small at first, and grows each time the
/// source pauses with nothing left in a buffer that has been at its limit since: then a larger one would have
/// helped.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdaptiveLimit {
    /// The limit now.
    pub(super) bytes: usize,
    most_bytes: usize,
    was_reached: bool,
}

impl AdaptiveLimit {
    const GROWTH: usize = 8;
    /// Shorter pauses are the scheduler's, and what is in the pipes bridges them.
    pub(super) const PAUSE: Duration = Duration::from_millis(30);

    pub(super) fn new(first_bytes: usize, most_bytes: usize) -> Self {
        Self { bytes: first_bytes.min(most_bytes), most_bytes, was_reached: false }
    }

    /// The target blocked, and no more could be read ahead.
    pub(super) fn note_reached(&mut self) {
        self.was_reached = true;
    }

    /// The source was waited for while the buffer was empty.
    pub(super) fn note_pause(&mut self, waited: Duration) {
        if self.was_reached && waited >= Self::PAUSE {
            let next_bytes = (self.bytes * Self::GROWTH).max(self.most_bytes / Self::GROWTH);
            self.bytes = next_bytes.min(self.most_bytes);
            self.was_reached = false;
        }
    }
}

/// Size of one chunk: large enough that passing it on costs nothing, small enough to be a grain of memory.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that a ring may use from the start: enough for both sides to work at the same time.
const FIRST_BYTES: usize = 4 * CHUNK_BYTES;

/// Two threads use a ring between a reader and a writer.
const USERS_MIN: usize = 2;

/// A buffer of fixed size of which the first part is in use.
#[derive(Debug)]
pub struct Chunk {
    buffer: BytesMut,
    filled_bytes: usize,
    number: u64,
}

impl Chunk {
    /// An empty one with room for `bytes`.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { buffer: BytesMut::zeroed(bytes), filled_bytes: 0, number: 0 }
    }

    /// Says that nothing in it is in use any more.
    pub(super) fn clear(&mut self) {
        self.filled_bytes = 0;
    }

    /// The bytes in use.
    pub fn filled(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }

    /// The room behind them.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled_bytes..]
    }

    /// Says that `bytes` of the room are in use now; never more than there is.
    pub fn advance(&mut self, bytes: usize) {
        self.filled_bytes = (self.filled_bytes + bytes).min(self.buffer.len());
    }

    /// Its place among the chunks that were passed on, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether there is no room left.
    pub fn is_full(&self) -> bool {
        self.filled_bytes == self.buffer.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.filled_bytes == 0
    }
}

/// How full a ring is; read by the meters while it runs.
#[derive(Debug, Default)]
pub struct Gauge {
    used_bytes: AtomicU64,
    allocated_bytes: AtomicU64,
}

impl Gauge {
    /// Bytes that are in the ring at this moment.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Memory taken for them so far: what has been full once is kept for the next time.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used_bytes.fetch_add(super::as_u64(bytes), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.used_bytes.fetch_sub(super::as_u64(bytes), Ordering::Relaxed);
    }

    pub(super) fn set_allocated(&self, bytes: usize) {
        self.allocated_bytes.store(super::as_u64(bytes), Ordering::Relaxed);
    }
}

/// Number of chunks that `buffer_bytes` of memory make; at least two.
pub fn chunk_count(buffer_bytes: u64) -> usize {
    let chunks = usize::try_from(buffer_bytes).unwrap_or(usize::MAX) / CHUNK_BYTES;
    chunks.max(USERS_MIN)
}

/// A ring of at most `buffer_bytes` (and at least two chunks): its filling and its draining end.
pub fn ring(buffer_bytes: u64, gauge: &Arc<Gauge>) -> (Filler, Drainer) {
    ring_for(USERS_MIN, buffer_bytes, gauge)
}

/// A ring for `users` threads, each of which may hold one chunk.
pub(super) fn ring_for(users: usize, buffer_bytes: u64, gauge: &Arc<Gauge>) -> (Filler, Drainer) {
    let capacity_chunks = chunk_count(buffer_bytes).max(users);
    let first_bytes = FIRST_BYTES.max((users + 1) * CHUNK_BYTES);
    let (full_in, full_out) = bounded(capacity_chunks);
    let (free_in, free_out) = bounded(capacity_chunks);
    let filler = Filler {
        free: free_out,
        full: full_in,
        adaptive_limit: AdaptiveLimit::new(first_bytes, capacity_chunks * CHUNK_BYTES),
        allocated_bytes: 0,
        passed: 0,
        gauge: Arc::clone(gauge),
    };
    let drainer = Drainer { full: full_out, free: free_in, gauge: Arc::clone(gauge) };
    (filler, drainer)
}

/// The end that takes empty chunks and passes them on full.
#[derive(Debug)]
pub struct Filler {
    free: Receiver<Chunk>,
    full: Sender<Chunk>,
    adaptive_limit: AdaptiveLimit,
    allocated_bytes: usize,
    passed: u64,
    gauge: Arc<Gauge>,
}

impl Filler {
    /// An empty chunk, as soon as there is one. `None`: the draining end has gone.
    pub fn take(&mut self) -> Option<Chunk> {
        match self.free.try_recv() {
            Ok(chunk) => return Some(chunk),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if self.allocated_bytes < self.adaptive_limit.bytes {
            self.allocated_bytes += CHUNK_BYTES;
            self.gauge.set_allocated(self.allocated_bytes);
            return Some(Chunk::with_room(CHUNK_BYTES));
        }
        self.adaptive_limit.note_reached();
        self.free.recv().ok()
    }

    /// The reader waited this long for the source, while nothing was left to be drained.
    pub fn note_pause(&mut self, waited: Duration) {
        self.adaptive_limit.note_pause(waited);
    }

    /// Passes a chunk on. `false`: the draining end has gone.
    pub fn pass(&mut self, mut chunk: Chunk) -> bool {
        chunk.number = self.passed;
        self.passed += 1;
        self.gauge.add(chunk.filled().len());
        // Never blocks: there are no more chunks than places in the queue.
        self.full.send(chunk).is_ok()
    }

    /// How many chunks were passed on so far.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether nothing waits to be drained: the draining end is, or will soon be, idle.
    pub fn is_drained(&self) -> bool {
        self.full.is_empty()
    }
}

/// The end that takes full chunks and gives them back empty. Clones share the work.
#[derive(Clone, Debug)]
pub struct Drainer {
    full: Receiver<Chunk>,
    free: Sender<Chunk>,
    gauge: Arc<Gauge>,
}

/// The result of [`Drainer::next`].
#[derive(Debug)]
pub enum RingPoll {
    /// The oldest full chunk.
    Chunk(Chunk),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing will come: the filling end has gone.
    End,
}

impl Drainer {
    /// The oldest full chunk, waiting for it at most for `limit`.
    pub fn next(&self, limit: Duration) -> RingPoll {
        match self.full.recv_timeout(limit) {
            Ok(chunk) => RingPoll::Chunk(chunk),
            Err(RecvTimeoutError::Timeout) => RingPoll::Nothing,
            Err(RecvTimeoutError::Disconnected) => RingPoll::End,
        }
    }

    /// Gives a chunk back for another round.
    pub fn recycle(&self, mut chunk: Chunk) {
        self.gauge.remove(chunk.filled().len());
        chunk.clear();
        // Fails only when the filling end has gone and needs no chunks any more.
        drop(self.free.send(chunk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(filler: &mut Filler, bytes: usize) {
        let mut chunk = filler.take().unwrap();
        chunk.advance(bytes);
        assert!(filler.pass(chunk));
    }

    #[test]
    fn memory_is_taken_only_when_needed_and_never_beyond_the_limit() {
        let gauge = Arc::new(Gauge::default());
        let (mut filler, drainer) = ring(4 << 20, &gauge);
        for _ in 0..50 {
            put(&mut filler, 10);
            let RingPoll::Chunk(chunk) = drainer.next(Duration::ZERO) else { panic!("a chunk was passed") };
            drainer.recycle(chunk);
        }
        assert_eq!(gauge.allocated_bytes(), 1 << 20, "a drained ring recycles one chunk");
        for _ in 0..4 {
            put(&mut filler, 10);
        }
        assert_eq!((gauge.allocated_bytes(), gauge.used_bytes()), (4 << 20, 40));
        let waiting = std::thread::spawn(move || filler.take().is_some());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished(), "a fifth chunk has to be waited for");
        let RingPoll::Chunk(chunk) = drainer.next(Duration::ZERO) else { panic!("the ring is full") };
        drainer.recycle(chunk);
        assert!(waiting.join().unwrap());
        assert_eq!(gauge.allocated_bytes(), 4 << 20);
    }

    #[test]
    fn each_end_sees_the_other_go() {
        let gauge = Arc::new(Gauge::default());
        let (mut filler, drainer) = ring(0, &gauge);
        put(&mut filler, 1);
        drop(filler);
        assert!(matches!(drainer.next(Duration::ZERO), RingPoll::Chunk(_)), "a passed chunk still arrives");
        assert!(matches!(drainer.next(Duration::ZERO), RingPoll::End));
        let (mut filler, drainer) = ring(0, &gauge);
        drop(drainer);
        assert!(filler.take().is_none());
    }
}
