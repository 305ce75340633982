//! The listening end: waits for its caller, and is not kept from it by whoever else comes.
//!
//! Over TLS a caller speaks first: who says nothing for a second is dropped, and sooner where many wait; the oldest silent one
//! makes way.
//! Who speaks shakes hands on a thread of its own and within a time of its own; who cannot is dropped, and never gets a byte
//! of a stream. The number of handshakes at once is limited (`PENDING_MAX`).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::connection::{Carrier, Connection};
use super::error::ConnectionError;
use super::exchange::{Greeting, Offer, Secret, Token};
use super::socket::{Deadline, Socket};
use super::{tcp, tls};
use crate::model::PortRange;
use crate::stream::threads::beside;
use crate::stream::{Cancel, Cancelled};

/// How long a newcomer may take to show who it is.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How many may try at once.
const PENDING_MAX: usize = 32;
/// How long a newcomer may be silent.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(1);
/// How many may be silent at once.
const SILENT_MAX: usize = 128;
/// How often finished handshakes are collected while no caller connects.
const LOOK: Duration = Duration::from_millis(5);

/// A port that is open for one caller.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    local: SocketAddr,
    handshake: Handshake,
}

/// How this end shows who it is.
#[derive(Debug)]
enum Handshake {
    Tls(tls::Listener),
    Tcp(tcp::Key),
}

impl Listening {
    /// Opens one of `ports` on `address` and no other, for the caller who sent `greeting`. The offer is to be sent back to
    /// it, over ssh and nothing else.
    pub fn open(
        greeting: &Greeting,
        address: IpAddr,
        ports: PortRange,
    ) -> Result<(Self, Offer), ConnectionError> {
        let secret = Secret::new(greeting.kind())?;
        let handshake = match (&secret, &greeting.caller) {
            (Secret::Tls(identity), Token::Tls(certificate)) => {
                Handshake::Tls(tls::Listener::new(identity, certificate)?)
            }
            (Secret::Tcp(half), Token::Tcp(other)) => Handshake::Tcp(tcp::Key::new(other, half.bytes())?),
            // `secret` has the caller's kind: it is created above.
            (Secret::Tls(_), Token::Tcp(_)) | (Secret::Tcp(_), Token::Tls(_)) => {
                return Err(ConnectionError::Nonsense("two kinds of connections at once"));
            }
        };
        let listener = bind(address, ports)?;
        listener.set_nonblocking(true).map_err(ConnectionError::Setup)?;
        let local = listener.local_addr().map_err(ConnectionError::Setup)?;
        let offer = Offer { address, port: local.port(), listener: secret.token() };
        Ok((Self { listener, local, handshake }, offer))
    }

    /// Waits for `limit` at most until the caller has opened all `connections`; then closes the port in any case.
    pub fn accept(
        self,
        connections: usize,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Vec<Connection>, ConnectionError> {
        let mut gathering = Gathering {
            connections: (0..connections).map(|_| None).collect(),
            pending: 0,
            strangers: 0,
            last: None,
        };
        // Those who still try when all connections are there are cut off.
        let done = cancel.child().map_err(ConnectionError::setup)?;
        let (report, reports) = channel();
        let gathered = thread::scope(|scope| {
            let gathered = self.gather(scope, &mut gathering, limit, &done, (&report, &reports));
            done.request();
            gathered
        });
        cancel.check()?;
        match gathered {
            Ok(true) => Ok(gathering.connections.into_iter().flatten().collect()),
            Ok(false) => Err(ConnectionError::TooFew {
                local: self.local,
                came: gathering.connections.iter().flatten().count(),
                connections,
                limit,
                strangers: gathering.strangers,
                last: gathering.last.map(Box::new),
            }),
            Err(error) => Err(ConnectionError::setup(error)),
        }
    }

    /// Whether all connections came before the limit.
    fn gather<'s, 'e>(
        &'e self,
        scope: &'s thread::Scope<'s, 'e>,
        gathering: &mut Gathering,
        limit: Duration,
        cancel: &'e Cancel,
        (report, reports): (&Sender<Shaken>, &Receiver<Shaken>),
    ) -> io::Result<bool> {
        let until = Instant::now() + limit;
        let mut silent = Silent::default();
        loop {
            cancel.check()?;
            for shaken in reports.try_iter() {
                gathering.note(shaken);
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_complete = gathering.connections.iter().all(Option::is_some);
            if is_complete || left.is_zero() {
                return Ok(is_complete);
            }
            let is_busy = gathering.pending > 0 || !silent.waiting.is_empty();
            let pause = if is_busy { LOOK.min(left) } else { left };
            if let Some((stream, peer)) = self.newcomer(cancel, pause)? {
                gathering.strangers += silent.add(stream, peer);
            }
            if self.hears_first() {
                gathering.strangers += silent.drop_late();
            }
            while gathering.pending < PENDING_MAX
                && let Some((stream, peer)) = silent.take_next(self.hears_first())
            {
                gathering.pending += 1;
                let report = report.clone();
                // A report that cannot be sent is of a connection that came after all others were there.
                beside(scope, "handshake", move || drop(report.send(self.shake(stream, peer, cancel))))?;
            }
        }
    }

    /// Whether a caller speaks before this end does: over TLS.
    fn hears_first(&self) -> bool {
        matches!(self.handshake, Handshake::Tls(_))
    }

    fn newcomer(&self, cancel: &Cancel, pause: Duration) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.listener.accept() {
            Ok(newcomer) => return Ok(Some(newcomer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                cancel.wait_for(&self.listener, PollFlags::IN, Some(pause))?;
            }
            // Gone again before it was accepted; or there is no descriptor left, which may change.
            Err(_) => cancel.sleep(LOOK)?,
        }
        Ok(None)
    }

    fn shake(&self, stream: TcpStream, peer: SocketAddr, cancel: &Cancel) -> Shaken {
        let limit = HANDSHAKE_LIMIT;
        let deadline = Deadline::within(cancel, Some(limit));
        let socket = Socket::accepted(stream, peer).map_err(ConnectionError::setup)?;
        match &self.handshake {
            Handshake::Tls(listener) => {
                let connection = listener.shake(socket, limit, deadline)?;
                Ok((None, Connection::new(Carrier::Tls(Box::new(connection)))))
            }
            Handshake::Tcp(key) => {
                let first_byte = Deadline::within(cancel, Some(FIRST_BYTE_LIMIT));
                let (number, connection) = key.answer(socket, limit, (first_byte, deadline))?;
                Ok((Some(number), Connection::new(Carrier::Tcp(Box::new(connection)))))
            }
        }
    }
}

/// Those who have not said anything yet, the oldest first.
#[derive(Debug, Default)]
struct Silent {
    waiting: VecDeque<(TcpStream, SocketAddr, Instant)>,
}

impl Silent {
    /// Lets one wait for its first byte. Gives how many had to make way.
    fn add(&mut self, stream: TcpStream, peer: SocketAddr) -> usize {
        if stream.set_nonblocking(true).is_err() {
            return 1;
        }
        self.waiting.push_back((stream, peer, Instant::now()));
        let too_many = self.waiting.len().saturating_sub(SILENT_MAX);
        self.waiting.drain(..too_many).count()
    }

    /// Drops those who have been silent for too long. Gives how many.
    fn drop_late(&mut self) -> usize {
        let is_late = |since: &Instant| since.elapsed() >= FIRST_BYTE_LIMIT;
        let late = self.waiting.iter().take_while(|(stream, _, since)| is_late(since) && is_silent(stream));
        let late = late.count();
        self.waiting.drain(..late).count()
    }

    /// Takes the oldest one, or, where it has to speak first, who has said something or has gone.
    fn take_next(&mut self, must_speak: bool) -> Option<(TcpStream, SocketAddr)> {
        let place = self.waiting.iter().position(|(stream, ..)| !must_speak || !is_silent(stream))?;
        let (stream, peer, _) = self.waiting.remove(place)?;
        stream.set_nonblocking(false).ok()?;
        Some((stream, peer))
    }
}

fn is_silent(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The outcome of a handshake: a connection and its number, if it has one.
type Shaken = Result<(Option<u32>, Connection), ConnectionError>;

/// The connections so far.
struct Gathering {
    connections: Vec<Option<Connection>>,
    pending: usize,
    strangers: usize,
    last: Option<ConnectionError>,
}

impl Gathering {
    fn note(&mut self, shaken: Shaken) {
        self.pending = self.pending.saturating_sub(1);
        match shaken {
            Ok((number, connection)) => {
                let place = match number {
                    Some(number) => {
                        usize::try_from(number).ok().and_then(|number| self.connections.get_mut(number))
                    }
                    None => self.connections.iter_mut().find(|place| place.is_none()),
                };
                // A number that came before is no second connection.
                if let Some(place @ None) = place {
                    *place = Some(connection);
                }
            }
            Err(ConnectionError::Cancelled(Cancelled)) => {}
            Err(error) => {
                tracing::debug!("turned away: {}", crate::stream::chain(&error));
                self.strangers += 1;
                self.last = Some(error);
            }
        }
    }
}

fn bind(address: IpAddr, ports: PortRange) -> Result<TcpListener, ConnectionError> {
    for port in ports.ports() {
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(ConnectionError::Listen { address, ports, error }),
        }
    }
    Err(ConnectionError::PortsTaken { address, ports })
}
