//! A send under way in a call process.

use std::io::{self, PipeReader};
use std::time::Instant;

use super::process::Process;
use super::wire::{self, Call, Reply};
use super::{Calls, GRACE, LOOK, hangs, unexpected};
use crate::host::liveness::is_suspended;
use crate::model::{Hang, pool_of};
use crate::zfs::{Cause, Error, Operation, PIPE_BYTES, SendRequest};

/// The call behind a stream. Dropped before its end was asked for, it is ended.
#[derive(Debug)]
pub(in crate::host) struct SendCall<'a> {
    calls: &'a Calls,
    /// `None` once it has ended.
    process: Option<Process>,
    object: String,
    outcome: Option<Result<(), Error>>,
}

impl Calls {
    /// Starts the stream: the kernel writes into the pipe, whose end alone does not show success.
    pub(in crate::host) fn send(&self, request: &SendRequest) -> Result<(PipeReader, SendCall<'_>), Error> {
        let object = request.snapshot.to_string();
        let refused = |error: io::Error| unexpected(Operation::Send, &object, &error);
        let (reader, writer) = io::pipe().map_err(refused)?;
        // Before the first byte: growing a pipe with data in it can lose a wake-up (openzfs #13232). Refused where the user's
        // pipes take too much memory already; a small pipe works too.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES) {
            tracing::debug!("a pipe stays small: {error}");
        }
        let process = self.begin(Operation::Send, &object, &Call::Send { request: request.clone() })?;
        wire::pass(&process.socket, &writer).map_err(refused)?;
        let call = SendCall { calls: self, process: Some(process), object, outcome: None };
        Ok((reader, call))
    }
}

impl SendCall<'_> {
    /// How the call ended: `Ok` only if the kernel wrote all of the stream. The reading end must be at its end or closed.
    pub(in crate::host) fn join(&mut self) -> Result<(), Error> {
        if let Some(outcome) = &self.outcome {
            return outcome.clone();
        }
        let outcome = self.wait();
        self.outcome = Some(outcome.clone());
        outcome
    }

    /// Whether its pool is suspended, so that nothing more will come.
    pub(in crate::host) fn is_hanging(&self) -> Option<Error> {
        is_suspended(pool_of(&self.object)).then(|| hangs(Operation::Send, &self.object, Hang::Suspended))
    }

    fn wait(&mut self) -> Result<(), Error> {
        let stuck = |error: io::Error| unexpected(Operation::Send, &self.object, &error);
        let Some(process) = self.process.take() else {
            return Err(stuck(io::Error::other("its end was asked for twice; this is a bug")));
        };
        let started = Instant::now();
        loop {
            match process.reply_within(LOOK).map_err(stuck)? {
                Some(Reply::Failed { error }) => {
                    self.calls.keep(process);
                    return Err(error);
                }
                Some(_) => {
                    self.calls.keep(process);
                    return Ok(());
                }
                None if started.elapsed() < GRACE => {}
                None => return Err(self.is_hanging().unwrap_or_else(|| self.stuck())),
            }
        }
    }

    fn stuck(&self) -> Error {
        Error::new(Operation::Send, &self.object, Cause::Stuck { seconds: GRACE.as_secs() })
    }
}
