//! The agent's side of a session: answers requests from standard input, one after the other, until it ends.
//!
//! The agent acts through a [`TargetHost`] of its own machine, after the [`Restrictions`] have allowed the request. So
//! an agent does exactly what a shell would, checks again just before it acts, and cannot be made to do more.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use rustix::event::PollFlags;

use super::cage::Restrictions;
use super::exclusive::Exclusive;
use super::receiving;
use super::server::{Ended, Server, Service, lost};
use super::wire::{PROTOCOL, REFUSALS_MAX, Reply, Request, pieces, unlisted};
use crate::channel::connections::{Connection, ConnectionError, Greeting, Listening};
use crate::channel::message::{self, MessageError};
use crate::host::lines::{Line, Lines};
use crate::host::worker::AGENT_HELLO;
use crate::host::{Changed, HostError, Problem, ReadSpans, orphans};
use crate::model::PortRange;
use crate::stream::threads::beside;
use crate::stream::{ByteSink as _, Cancel, Cancelled, FdSource, FdTarget};

/// How long both ends try to bring connections about.
pub(in crate::host) const CONNECTIONS_LIMIT: Duration = Duration::from_secs(10);
/// Each connection is a thread: a caller must not fill this machine with threads.
const CONNECTIONS_MAX: usize = 64;
/// What a connection may hold beside the buffer of its stream: one record.
const CONNECTION_BYTES: u64 = 1 << 20;
/// As many are always taken: the most that a policy may ask for.
const CONNECTIONS_MIN: usize = 16;

/// How long to wait for the first line: who logs in to an agent is a program.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

/// After how long without a request a session ends: its caller may be gone without a word. Who needs another one logs in again.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Why an agent ended before its session did.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The caller did not greet: a person at a terminal, usually.
    #[error("no zhaul spoke to the agent: it is started by `zhaul run` on another machine, through ssh")]
    NoGreeting,
    /// A message could not be read or written.
    #[error("the message exchange with the caller failed")]
    Message(#[from] MessageError),
    /// Standard input or output cannot be used.
    #[error("the session broke off")]
    Io(#[from] io::Error),
}

/// Serves one session; returns when the caller closes it or `cancel` is requested. `greet` is where the greeting goes
/// besides `output`: standard error, whose reader waits for it.
pub fn serve(
    (input, output): (BorrowedFd<'_>, BorrowedFd<'_>),
    greet: &mut dyn io::Write,
    service: &Service<'_>,
    cancel: &Cancel,
) -> Result<(), ServeError> {
    let output = Mutex::new(FdTarget::new(output, cancel)?);
    let server = Server { input, output, service, connections: Mutex::default(), cancel };
    match server.serve(greet) {
        Err(ServeError::Io(error)) if Cancelled::is_in(&error) => Ok(()),
        Err(ServeError::Message(MessageError::Io(error))) if Cancelled::is_in(&error) => Ok(()),
        ended => ended,
    }
}

impl Server<'_> {
    fn serve(&self, greet: &mut dyn io::Write) -> Result<(), ServeError> {
        self.greet(greet)?;
        let mut source = FdSource::new(self.input, self.cancel)?;
        let mut is_introduced = false;
        loop {
            let limit = if is_introduced { IDLE_LIMIT } else { GREETING_LIMIT };
            let request: Request = match message::read(&mut source, Some(limit)) {
                Ok(Some(request)) => request,
                Ok(None) | Err(MessageError::Late(_)) => return Ok(()),
                Err(error) => {
                    self.reply(&Reply::Failed { problem: Problem::Protocol(error.to_string()) })?;
                    return Err(error.into());
                }
            };
            tracing::debug!("asked: {request:?}");
            let is_hello = matches!(request, Request::Hello { .. });
            if !is_hello && !is_introduced {
                // Only a hello is asked whether there is room, and whether both ends mean the same.
                let problem = Problem::Protocol("a session begins with a hello that was answered".to_owned());
                return Ok(self.reply(&Reply::Failed { problem })?);
            }
            let ended = match self.allow(&request) {
                Ok(exclusive) => self.carry_out(&request, exclusive),
                Err(problem) => Ended::Clean(Err(problem)),
            };
            is_introduced |= is_hello && matches!(ended, Ended::Clean(Ok(())));
            match ended {
                Ended::Clean(Ok(())) => self.reply(&Reply::Done)?,
                Ended::Clean(Err(problem)) => self.reply(&Reply::Failed { problem })?,
                Ended::Torn(problem) => return Ok(self.reply(&Reply::Failed { problem })?),
            }
        }
    }

    /// Refuses what its limits forbid. What it allows for the target's present state is done before another session may
    /// change that: as long as what it gives lives.
    fn allow(&self, request: &Request) -> Result<Option<Exclusive<'_>>, Problem> {
        let (cage, host) = (&self.service.cage, self.service.host);
        cage.check(request)?;
        let lock = self.service.lock.as_ref().filter(|_| cage.depends_on_state(request));
        let exclusive = lock.map(|lock| Exclusive::new(lock, self.cancel)).transpose()?;
        cage.check_state(request, host)?;
        Ok(exclusive)
    }

    /// Reads the key and says it again, on both outputs.
    fn greet(&self, errors: &mut dyn io::Write) -> Result<(), ServeError> {
        let mut lines = Lines::new(FdSource::new(self.input, self.cancel)?);
        let key = match lines.next(GREETING_LIMIT)? {
            Line::Text(key) if key.len() == 32 && key.iter().all(u8::is_ascii_hexdigit) => {
                String::from_utf8_lossy(key).into_owned()
            }
            Line::Text(_) | Line::End | Line::Late => return Err(ServeError::NoGreeting),
        };
        let hello = format!("{AGENT_HELLO} {PROTOCOL} {key}\n");
        errors.write_all(hello.as_bytes())?;
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = hello.as_bytes();
        while !rest.is_empty() {
            let written = output.write_some(rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn carry_out(&self, request: &Request, exclusive: Option<Exclusive<'_>>) -> Ended {
        let host = self.service.host;
        let done = match request {
            Request::Receive(receive) => return receiving::run(self, receive, exclusive),
            Request::Sink(sink) => return receiving::sink(self, sink),
            Request::OpenConnections { greeting, connections, ports } => {
                return Ended::Clean(self.open_connections(greeting, *connections, *ports));
            }
            // Who is refused does not stay.
            Request::Hello { protocol, version } => match self.introduce(*protocol, version) {
                Ok(()) => Ok(()),
                Err(problem) => return Ended::Torn(problem),
            },
            Request::EndOrphans { run } => {
                let orphans = orphans::end(*run, self.service.cage.is_confined());
                return Ended::Clean(self.reply(&Reply::Orphans { orphans }).map_err(|error| lost(&error)));
            }
            Request::List { root } => match self.while_caller_is_there(|| host.list(root)) {
                Ok(listing) => {
                    let cage = &self.service.cage;
                    let shown = |dataset| pieces(&cage.shown(dataset)).collect::<Vec<_>>();
                    let mut all = listing.datasets().flat_map(shown).chain(unlisted(&listing));
                    return Ended::Clean(
                        all.try_for_each(|piece| self.reply(&piece)).map_err(|error| lost(&error)),
                    );
                }
                Err(error) => Err(error),
            },
            Request::Details { snapshots } => match self.while_caller_is_there(|| host.details(snapshots)) {
                Ok(details) => {
                    return Ended::Clean(
                        self.reply(&Reply::Details { details }).map_err(|error| lost(&error)),
                    );
                }
                Err(error) => Err(error),
            },
            Request::State { root } => match self.while_caller_is_there(|| host.state(root)) {
                Ok(mut state) => {
                    self.service.cage.retain_inside(&mut state.pool.damaged);
                    return Ended::Clean(self.reply(&Reply::State { state }).map_err(|error| lost(&error)));
                }
                Err(error) => Err(error),
            },
            Request::Content(spec) => self.while_caller_is_there(|| {
                host.content(spec, self.cancel, &mut |ReadSpans { spans, bytes }| {
                    self.reply(&Reply::Content { spans, bytes }).map_err(|error| lost(&error))
                })
            }),
            Request::Change(change) => match self.while_caller_is_there(|| host.change(change)) {
                Ok(changed) => return Ended::Clean(self.report(changed).map_err(|error| lost(&error))),
                Err(error) => Err(error),
            },
        };
        Ended::Clean(done.map_err(|error: HostError| error.problem))
    }

    fn report(&self, Changed { mut refusals, set_aside, healing }: Changed) -> Result<(), MessageError> {
        while !refusals.is_empty() {
            let rest = refusals.split_off(refusals.len().min(REFUSALS_MAX));
            self.reply(&Reply::Refused { refusals: std::mem::replace(&mut refusals, rest) })?;
        }
        healing.map_or(Ok(()), |guid| self.reply(&Reply::Healing { guid }))?;
        set_aside.map_or(Ok(()), |mark| self.reply(&Reply::SetAside { mark }))
    }

    fn introduce(&self, protocol: u32, version: &str) -> Result<(), Problem> {
        let own = env!("CARGO_PKG_VERSION");
        if protocol != PROTOCOL {
            return Err(Problem::Protocol(format!(
                "zhaul {version} speaks version {protocol} of the agent's protocol, the agent there (zhaul {own}) \
                 version {PROTOCOL}: install the same zhaul on both"
            )));
        }
        if !self.service.has_room {
            return Err(Problem::Busy(
                "as many sessions as its agent may have are open (--sessions)".to_owned(),
            ));
        }
        let Restrictions { roots, append_only, .. } = self.service.cage.clone();
        self.reply(&Reply::Hello { protocol: PROTOCOL, version: own.to_owned(), roots, append_only })
            .map_err(|error| lost(&error))
    }

    /// Waits for connections. The caller sends nothing meanwhile; if it gives up and hangs up, the port is closed.
    fn accept(&self, listening: Listening, connections: usize) -> Result<Vec<Connection>, ConnectionError> {
        let waiting = self.cancel.child().map_err(ConnectionError::Setup)?;
        thread::scope(|scope| {
            beside(scope, "caller", || {
                if matches!(waiting.wait_for(self.input, PollFlags::IN, None), Ok(Some(_))) {
                    waiting.request();
                }
            })
            .map_err(ConnectionError::Setup)?;
            let came = listening.accept(connections, CONNECTIONS_LIMIT, &waiting);
            waiting.request();
            came
        })
    }

    /// Waits for the connections that the caller must open.
    fn open_connections(
        &self,
        greeting: &Greeting,
        connections: usize,
        ports: PortRange,
    ) -> Result<(), Problem> {
        let Some(address) = self.service.address else {
            return Err(Problem::Unreachable("the agent there was not started by sshd".to_owned()));
        };
        let most = connections_max(self.service.buffer_bytes_max);
        if !(1..=most).contains(&connections) {
            let why =
                format!("{connections} connections, instead of 1 to {most} (--buffer of the agent there)");
            return Err(Problem::Unreachable(why));
        }
        if self.service.cage.is_confined() && self.service.ports.is_none() && ports.is_privileged() {
            let why = "the agent there opens no port below 1024 of its caller's choice (--ports)";
            return Err(Problem::Unreachable(why.to_owned()));
        }
        let ports = self.service.ports.unwrap_or(ports);
        let (listening, offer) =
            Listening::open(greeting, address, ports).map_err(|error| no_connections(&error))?;
        self.reply(&Reply::Connections { offer }).map_err(|error| lost(&error))?;
        let came = self.accept(listening, connections).map_err(|error| no_connections(&error))?;
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) = came;
        Ok(())
    }
}

/// How many connections a caller gets where a stream gets a buffer of this many bytes.
fn connections_max(buffer_bytes: u64) -> usize {
    let fitting = usize::try_from(buffer_bytes / CONNECTION_BYTES).unwrap_or(usize::MAX);
    fitting.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Why the data cannot have connections of its own.
pub(in crate::host) fn no_connections(error: &ConnectionError) -> Problem {
    match error {
        ConnectionError::Cancelled(_) => Problem::Cancelled,
        error => Problem::Unreachable(crate::stream::chain(error)),
    }
}
