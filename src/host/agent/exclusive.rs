//! One session at a time decides what the present state of the target allows, and acts on it.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::host::Problem;
use crate::stream::Cancel;

/// Far more than a change takes that does not hang.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// While it lives, no other session with the same file is here; flock(2), so that it ends with its process.
pub(super) struct Exclusive<'a>(&'a File);

impl<'a> Exclusive<'a> {
    /// Waits for its turn.
    pub(super) fn new(file: &'a File, cancel: &Cancel) -> Result<Self, Problem> {
        let until = Instant::now() + LIMIT;
        while let Err(errno) = flock(file, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(Problem::Other(format!("the lock of the agent's changes: {errno}")));
            }
            if cancel.is_requested() {
                return Err(Problem::Cancelled);
            }
            if Instant::now() > until {
                let why = "another session of the agent there is making a change, and does not end";
                return Err(Problem::Busy(why.to_owned()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Self(file))
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        // Whatever fails here, the lock ends with the process.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}
