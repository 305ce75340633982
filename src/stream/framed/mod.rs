//! The stream across a network: compressed, cut into frames, spread over one or more connections; and the reverse.
//!
//! ```text
//! source ─► read ─► ring ─► compress ×n ─► reorder  ─► connection ×k ═══► connection ×k ─► decompress ×n ─► window ─► write ─► target
//!           FramedSender                                                                          FramedReceiver
//! ```
//!
//! Each connection carries frames of increasing numbers; whichever connection is free takes the next frame. The window
//! at the receiver puts the chunks in order. All connections carry an End frame with the totals: one that ends
//! without it has failed. Nothing behind an End frame is read, so the connection can carry other messages afterwards.
//!
//! Memory is bounded at both ends by the buffer of the [`PumpSettings`](super::pump::PumpSettings) and a few chunks for
//! each connection and thread, whatever the peer sends.
//!
//! The sender's heartbeats say that it lives while its source is silent. The other direction is not ours: whoever keeps
//! the connection on which the target answers notes in the sender's meters that the receiver lives and what it awaits
//! ([`Meters::note_life`](super::meter::Meters::note_life), [`Meters::note_peer`](super::meter::Meters::note_peer)).

mod auto;
mod chunk_pool;
mod frame_reader;
#[cfg(test)]
mod framed_tests;
mod receive;
mod reorder_queue;
mod send;
mod window;

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

pub use receive::FramedReceiver;
pub use send::FramedSender;

/// How long a connection is silent before it says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a thread sleeps before it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);
/// More threads than this are not given to one transfer: each has working memory.
const WORKERS_MAX: usize = 8;

/// How many threads a transfer on this machine should have for compression: to be given to `Meters::new`.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

/// Waits for `on`, at most for `limit`. A thread that panicked while it held the lock is reported by its stage.
fn wait<'a, T>(on: &Condvar, state: MutexGuard<'a, T>, limit: Duration) -> MutexGuard<'a, T> {
    on.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
}
