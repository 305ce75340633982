//! Pages read ahead of the target without copying them: pipes in a row, first in, first out.
//!
//! Its limit is the configured buffer, or less where the system gives smaller or fewer pipes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, splice};

use super::endpoint::pipe;
use super::ring::AdaptiveLimit;

/// The store consists of this many pipes: few descriptors, and moderate kernel allocations for each.
const VESSELS: usize = 8;
/// Where large pipes are not allowed (`/proc/sys/fs/pipe-max-size`, without `CAP_SYS_RESOURCE`), it consists of
/// more and smaller pipes: at most this many, which may be less than the configured buffer.
const VESSELS_MAX: usize = 32;
/// A store of smaller pipes is not worth its descriptors.
const PIPE_BYTES_MIN: usize = 64 << 10;
/// The most that one system call moves: between two of them the thread looks at everything else.
pub(super) const MOVE_BYTES: usize = 1 << 20;

/// The outcome of one attempt to move bytes.
pub(super) enum MoveOutcome {
    Bytes(usize),
    End,
    WouldBlock,
}

pub(super) fn try_move(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    limit_bytes: usize,
) -> Result<MoveOutcome, Errno> {
    loop {
        match splice(from, None, to, None, limit_bytes, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(0) => return Ok(MoveOutcome::End),
            Ok(bytes) => return Ok(MoveOutcome::Bytes(bytes)),
            Err(Errno::AGAIN) => return Ok(MoveOutcome::WouldBlock),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// One pipe of the store.
#[derive(Debug)]
struct SplicePipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    size_bytes: usize,
    held_bytes: usize,
}

impl SplicePipe {
    fn new(wanted_bytes: usize) -> Option<Self> {
        let (read_end, write_end) = pipe(wanted_bytes).ok()?;
        let size_bytes = fcntl_getpipe_size(&write_end).ok()?;
        (size_bytes >= PIPE_BYTES_MIN).then_some(Self { read_end, write_end, size_bytes, held_bytes: 0 })
    }
}

/// Pages read ahead of the target: first in, first out.
#[derive(Debug)]
pub(super) struct SplicePipes {
    /// Vessels that hold bytes, oldest first; only the last one is filled.
    held: VecDeque<SplicePipe>,
    empty: Vec<SplicePipe>,
    pipe_bytes: usize,
    pipes: usize,
    pipes_max: usize,
    held_bytes: usize,
    pub(super) adaptive_limit: AdaptiveLimit,
    /// All pipes are full, although they may hold less than is allowed (pages can be partly used).
    is_full: bool,
    /// The limit was reached: nothing is read until a quarter is free again, to read in large pieces.
    is_paused: bool,
}

impl SplicePipes {
    /// A store of at most `buffer_bytes`. `None`: this system gives us no pipes that are large enough.
    pub(super) fn new(buffer_bytes: u64) -> Option<Self> {
        let buffer_bytes = usize::try_from(buffer_bytes).ok()?;
        let wanted_bytes = (buffer_bytes / VESSELS).max(PIPE_BYTES_MIN);
        // Pipe sizes are powers of two: round down, so that all of them stay within the buffer.
        let first = SplicePipe::new(1 << wanted_bytes.ilog2())?;
        let pipe_bytes = first.size_bytes;
        let pipes_max = (buffer_bytes / pipe_bytes).clamp(1, VESSELS_MAX);
        Some(Self {
            held: VecDeque::new(),
            empty: vec![first],
            pipe_bytes,
            pipes: 1,
            pipes_max,
            held_bytes: 0,
            adaptive_limit: AdaptiveLimit::new(0, pipe_bytes * pipes_max),
            is_full: false,
            is_paused: false,
        })
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.pipe_bytes * self.pipes_max
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.pipe_bytes * self.pipes
    }

    fn find_pipe(&mut self) -> Option<SplicePipe> {
        if let Some(pipe) = self.empty.pop() {
            return Some(pipe);
        }
        if self.pipes == self.pipes_max {
            return None;
        }
        // The system may refuse more (descriptors, pages of pipes per user): then this is all there is.
        let pipe = SplicePipe::new(self.pipe_bytes).filter(|pipe| pipe.size_bytes == self.pipe_bytes);
        if pipe.is_some() {
            self.pipes += 1;
        } else {
            self.pipes_max = self.pipes;
        }
        pipe
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether something may be read ahead.
    pub(super) fn has_room(&mut self) -> bool {
        let allowed_bytes = self.adaptive_limit.bytes;
        let resume_bytes = if self.is_paused { allowed_bytes / 4 * 3 } else { allowed_bytes };
        self.is_paused = self.held_bytes >= resume_bytes;
        if self.is_paused || self.is_full {
            self.adaptive_limit.note_reached();
        }
        !(self.is_paused || self.is_full)
    }

    /// Takes what `source` has. The store is at its limit when the source has something and nothing fits.
    pub(super) fn fill(
        &mut self,
        source: BorrowedFd<'_>,
        is_readable: impl Fn() -> bool,
    ) -> Result<MoveOutcome, Errno> {
        let limit_bytes = MOVE_BYTES.min(self.adaptive_limit.bytes.saturating_sub(self.held_bytes));
        if let Some(last) = self.held.back_mut() {
            match try_move(source, last.write_end.as_fd(), limit_bytes)? {
                MoveOutcome::Bytes(bytes) => {
                    last.held_bytes += bytes;
                    self.held_bytes += bytes;
                    return Ok(MoveOutcome::Bytes(bytes));
                }
                MoveOutcome::WouldBlock if !is_readable() => return Ok(MoveOutcome::WouldBlock),
                MoveOutcome::End => return Ok(MoveOutcome::End),
                MoveOutcome::WouldBlock => {}
            }
        }
        let Some(mut pipe) = self.find_pipe() else {
            self.is_full = true;
            return Ok(MoveOutcome::WouldBlock);
        };
        let moved = try_move(source, pipe.write_end.as_fd(), limit_bytes);
        if let Ok(MoveOutcome::Bytes(bytes)) = moved {
            pipe.held_bytes = bytes;
            self.held_bytes += bytes;
            self.held.push_back(pipe);
        } else {
            self.empty.push(pipe);
        }
        moved
    }

    /// Gives the oldest bytes to `target`, at most `limit_bytes`. Never asked while empty.
    pub(super) fn drain(&mut self, target: BorrowedFd<'_>, limit_bytes: usize) -> Result<MoveOutcome, Errno> {
        let Some(first) = self.held.front_mut() else {
            return Ok(MoveOutcome::WouldBlock);
        };
        let moved = try_move(first.read_end.as_fd(), target, limit_bytes.min(first.held_bytes))?;
        if let MoveOutcome::Bytes(bytes) = moved {
            first.held_bytes -= bytes;
            self.held_bytes -= bytes;
            if first.held_bytes == 0
                && let Some(pipe) = self.held.pop_front()
            {
                self.is_full = false;
                self.empty.push(pipe);
            }
        }
        Ok(moved)
    }
}
