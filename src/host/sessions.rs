//! The worker sessions to one machine: opened when needed, kept for the next use.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Problem;
use super::session::{Answer, Limits, Session};
use super::worker;
use crate::channel::Ssh;
use crate::stream::Cancel;

/// Where a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// This machine.
    Local,
    /// Another one, through ssh.
    Ssh(Ssh),
}

/// A busy sshd drops connections that have not logged in yet (`MaxStartups`): how long to wait before the next try.
const RETRIES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];

/// The sessions to one machine.
#[derive(Debug)]
pub(super) struct Sessions {
    machine: Machine,
    idle: Mutex<Vec<Session>>,
    limits: Limits,
    stop: Cancel,
}

impl Sessions {
    pub(super) fn new(machine: Machine, limits: Limits, stop: &Cancel) -> Self {
        Self { machine, idle: Mutex::new(Vec::new()), limits, stop: stop.clone() }
    }

    /// An idle session, or a new one. One that died while it was idle is replaced.
    pub(super) fn take(&self) -> Result<Session, Problem> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut session) = idle else {
                return self.open();
            };
            if session.is_usable() {
                return Ok(session);
            }
        }
    }

    /// Keeps a session whose last answer was complete.
    pub(super) fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Runs one `zfs` and hands each line of its output to `take`.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<Answer, Problem> {
        let mut session = self.take()?;
        let answer = session.run(arguments, take)?;
        self.give_back(session);
        Ok(answer)
    }

    fn open(&self) -> Result<Session, Problem> {
        let mut retries = RETRIES.iter();
        loop {
            let opened = Session::open(self.command(), self.is_remote(), self.limits, &self.stop);
            match (opened, retries.next()) {
                (Err(Problem::Unreachable(text)), Some(pause)) if is_dropped(&text) => {
                    self.stop.sleep(*pause).map_err(|_| Problem::Cancelled)?;
                }
                (opened, _) => return opened,
            }
        }
    }

    /// Whether a network lies between.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.machine, Machine::Ssh(_))
    }

    fn command(&self) -> Command {
        match &self.machine {
            Machine::Local => worker::local_command(),
            Machine::Ssh(ssh) => ssh.command(worker::remote_command()),
        }
    }
}

/// Whether sshd hung up before the login.
fn is_dropped(text: &str) -> bool {
    ["kex_exchange_identification", "Connection closed by", "Connection reset by"]
        .iter()
        .any(|phrase| text.contains(phrase))
}
