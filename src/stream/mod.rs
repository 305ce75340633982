//! The data plane: moves the bytes of one transfer and knows no datasets.
//!
//! Blocking threads and bounded queues, no async: the ioctl that sends, pipes and ssh all block. Memory is
//! bounded by configuration, every wait can be cancelled, and every wait is measured, so that the slow stage
//! can be named.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`pump`] | a stream moved unchanged |
//! | [`ring`] | through a buffer between a reader and a writer |
//! | `direct` | or without copying, from pipe to pipe or socket |
//! | `splice_pipes` | what that reads ahead |
//! | `departed` | a target that has ended before the source |
//! | [`framed`] | a stream compressed, cut into frames and spread over connections, and the reverse |
//! | [`frame`] | one frame |
//! | [`codec`] | compresses one chunk |
//! | [`endpoint`] | pipes and sockets that hear a cancel |
//! | [`lead`] | a source whose first bytes were read already |
//! | [`cancel`] | how blocked threads are stopped |
//! | [`clock`] | what each thread is doing, and for how long |
//! | [`meter`] | bytes, waits, and the bottleneck found from them |
//! | [`sample`] | what a screen shows of them |
//! | `metered_writer` | writing, counted and limited |
//! | [`rate`] | the smooth, shared rate limit with its time-of-day schedule |
//! | [`threads`] | threads that the system may refuse |
//! | `deadline` | how long a transfer in which nothing moves is waited for |
//! | [`supervise`] | the threads of a transfer together: first error, stall watchdog |

use std::error::Error;

pub mod cancel;
pub mod clock;
pub mod codec;
mod deadline;
mod departed;
mod direct;
pub mod endpoint;
pub mod frame;
pub mod framed;
pub mod lead;
pub mod meter;
mod metered_writer;
pub mod probe;
pub mod pump;
pub mod rate;
pub mod ring;
pub mod sample;
mod splice_pipes;
pub mod supervise;
pub mod threads;

pub use crate::model::Compression;
pub use cancel::{Cancel, Cancelled};
pub use endpoint::{ByteSink, ByteSource, FdSource, FdTarget, Plain};
pub use meter::Bottleneck;
pub use sample::Sample;

#[cfg(test)]
mod pump_tests;

/// Sizes in memory as counters hold them: `usize` always fits on the 64-bit machines that `OpenZFS` runs on.
fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// An error and its causes in one line, outermost first.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
