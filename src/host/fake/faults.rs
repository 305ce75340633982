//! Faults that a test sets; and a record of all calls, so that a test can check which calls must not happen.
//!
//! All machines of a test share one [`SharedState`]: GUIDs are unique in it, and a crash of the program under test at its
//! n-th change hits whichever machine that change was meant for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::wire::Block;
use crate::host::Problem;
use crate::model::Guid;

/// When, relative to a change, the program under test dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it happened.
    Before,
    /// The change happened, but the program got no answer.
    After,
    /// For a transfer: after this number of blocks has arrived. For any other change the same as [`Moment::Before`].
    AfterBlocks(u64),
}

/// One call that a machine got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The machine.
    pub host: String,
    /// The trait's method, for example `destroy_snapshots`.
    pub verb: &'static str,
    /// The object of the call.
    pub object: String,
    /// Whether it could change anything.
    pub is_change: bool,
}

#[derive(Debug, Default)]
struct Inner {
    last_guid: u64,
    last_block: u64,
    now: Timestamp,
    changes: u64,
    crash: Option<(u64, Moment)>,
    is_crashed: bool,
    calls: Vec<Call>,
}

/// The state that all machines of one test share.
#[derive(Debug, Clone, Default)]
pub struct SharedState(Arc<Mutex<Inner>>);

/// The fate of a call that is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    /// The program dies when the call is done: its answer must be an error.
    pub(super) dies_after: bool,
    /// The program dies when this number of blocks of the stream has arrived.
    pub(super) dies_after_blocks: Option<u64>,
}

impl SharedState {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time on every machine; 1970 until it is set.
    pub(super) fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Sets every machine's clock.
    pub fn set_now(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// A GUID that no machine has seen; the same sequence in every test.
    pub(super) fn next_guid(&self) -> Guid {
        let mut inner = self.lock();
        inner.last_guid += 1;
        // splitmix64, a bijection: unique, and as wide and unordered as real GUIDs are
        let mut mixed = inner.last_guid.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Guid(mixed ^ (mixed >> 31))
    }

    /// Data that was never written before.
    pub(super) fn next_block(&self) -> Block {
        let mut inner = self.lock();
        inner.last_block += 1;
        Block(inner.last_block)
    }

    /// From now on, lets `changes` changes through and crashes the program under test at the next one: that one and
    /// every later call fail, on every machine, until [`SharedState::restart`].
    pub fn crash_at(&self, changes: u64, moment: Moment) {
        let mut inner = self.lock();
        inner.changes = 0;
        inner.crash = Some((changes, moment));
        inner.is_crashed = false;
    }

    /// Starts the program under test again: whatever was planned to crash it is forgotten.
    pub fn restart(&self) {
        let mut inner = self.lock();
        inner.crash = None;
        inner.is_crashed = false;
        inner.changes = 0;
    }

    /// Whether the crash that was asked for has happened.
    pub fn has_crashed(&self) -> bool {
        self.lock().is_crashed
    }

    /// Takes out what was called so far, on all machines, in order.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Marks the program as dead: a transfer came to the block at which it was to die.
    pub(super) fn crash(&self) {
        self.lock().is_crashed = true;
    }

    /// Records a call, and returns whether it may continue.
    pub(super) fn pass(&self, call: Call) -> Result<Passage, Problem> {
        let mut inner = self.lock();
        let is_change = call.is_change;
        let is_transfer = call.verb == "receive";
        inner.calls.push(call);
        if inner.is_crashed {
            return Err(crashed());
        }
        let mut passage = Passage { dies_after: false, dies_after_blocks: None };
        if !is_change {
            return Ok(passage);
        }
        let number = inner.changes;
        inner.changes += 1;
        let Some((_, moment)) = inner.crash.filter(|(changes, _)| *changes == number) else {
            return Ok(passage);
        };
        match moment {
            Moment::After => passage.dies_after = true,
            Moment::AfterBlocks(blocks) if is_transfer => passage.dies_after_blocks = Some(blocks),
            Moment::Before | Moment::AfterBlocks(_) => {
                inner.is_crashed = true;
                return Err(crashed());
            }
        }
        Ok(passage)
    }
}

/// The answer to every call once the program under test is dead.
pub(super) fn crashed() -> Problem {
    Problem::Unreachable("the fake has crashed".to_owned())
}
