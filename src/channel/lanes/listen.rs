//! The listening end: waits for its caller, and is not kept from it by whoever else comes.
//!
//! Over TLS a caller speaks first: who says nothing for a second is dropped, and sooner where many wait; the oldest silent one
//! makes way.
//! Who speaks shakes hands on a thread of its own and within a time of its own; who cannot is dropped, and never gets a byte
//! of a stream. Only so many may try at once.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::error::LaneError;
use super::exchange::{Greeting, Offer, Secret, Token};
use super::lane::{Carrier, Lane};
use super::socket::{Patience, Socket};
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
/// How often the end of a handshake is looked for while nobody comes.
const LOOK: Duration = Duration::from_millis(5);

/// A port that is open for one caller.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    local: SocketAddr,
    shaker: Shaker,
}

/// How this end shows who it is.
#[derive(Debug)]
enum Shaker {
    Tls(tls::Listener),
    Tcp(tcp::Key),
}

impl Listening {
    /// Opens one of `ports` on `address` and no other, for the caller who sent `greeting`. The offer is to be sent back to
    /// it, over ssh and nothing else.
    pub fn open(greeting: &Greeting, address: IpAddr, ports: PortRange) -> Result<(Self, Offer), LaneError> {
        let secret = Secret::new(greeting.kind())?;
        let shaker = match (&secret, &greeting.caller) {
            (Secret::Tls(identity), Token::Tls(certificate)) => {
                Shaker::Tls(tls::Listener::new(identity, certificate)?)
            }
            (Secret::Tcp(half), Token::Tcp(other)) => Shaker::Tcp(tcp::Key::new(other, half.bytes())?),
            // Made of this kind three lines above.
            (Secret::Tls(_), Token::Tcp(_)) | (Secret::Tcp(_), Token::Tls(_)) => {
                return Err(LaneError::Nonsense("two kinds of lanes at once"));
            }
        };
        let listener = bind(address, ports)?;
        listener.set_nonblocking(true).map_err(LaneError::Setup)?;
        let local = listener.local_addr().map_err(LaneError::Setup)?;
        let offer = Offer { address, port: local.port(), listener: secret.token() };
        Ok((Self { listener, local, shaker }, offer))
    }

    /// Waits until the caller has opened so many lanes, at most for `limit`; the port is closed then in any case.
    pub fn accept(self, lanes: usize, limit: Duration, stop: &Cancel) -> Result<Vec<Lane>, LaneError> {
        let mut gathering =
            Gathering { lanes: (0..lanes).map(|_| None).collect(), pending: 0, strangers: 0, last: None };
        // Those who still try when all lanes are there are cut off.
        let done = stop.child().map_err(LaneError::setup)?;
        let (report, reports) = channel();
        let gathered = thread::scope(|scope| {
            let gathered = self.gather(scope, &mut gathering, limit, &done, (&report, &reports));
            done.request();
            gathered
        });
        stop.check()?;
        match gathered {
            Ok(true) => Ok(gathering.lanes.into_iter().flatten().collect()),
            Ok(false) => Err(LaneError::NobodyCame {
                local: self.local,
                came: gathering.lanes.iter().flatten().count(),
                lanes,
                limit,
                strangers: gathering.strangers,
                last: gathering.last.map(Box::new),
            }),
            Err(error) => Err(LaneError::setup(error)),
        }
    }

    /// Whether all lanes came before the limit.
    fn gather<'s, 'e>(
        &'e self,
        scope: &'s thread::Scope<'s, 'e>,
        gathering: &mut Gathering,
        limit: Duration,
        stop: &'e Cancel,
        (report, reports): (&Sender<Shaken>, &Receiver<Shaken>),
    ) -> io::Result<bool> {
        let until = Instant::now() + limit;
        let mut silent = Silent::default();
        loop {
            stop.check()?;
            for shaken in reports.try_iter() {
                gathering.note(shaken);
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_complete = gathering.lanes.iter().all(Option::is_some);
            if is_complete || left.is_zero() {
                return Ok(is_complete);
            }
            let is_busy = gathering.pending > 0 || !silent.waiting.is_empty();
            let pause = if is_busy { LOOK.min(left) } else { left };
            if let Some((stream, peer)) = self.newcomer(stop, pause)? {
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
                beside(scope, "handshake", move || drop(report.send(self.shake(stream, peer, stop))))?;
            }
        }
    }

    /// Whether a caller speaks before this end does: over TLS.
    fn hears_first(&self) -> bool {
        matches!(self.shaker, Shaker::Tls(_))
    }

    fn newcomer(&self, stop: &Cancel, pause: Duration) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.listener.accept() {
            Ok(newcomer) => return Ok(Some(newcomer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stop.wait_for(&self.listener, PollFlags::IN, Some(pause))?;
            }
            // Gone again before it was accepted; or there is no descriptor left, which may change.
            Err(_) => stop.sleep(LOOK)?,
        }
        Ok(None)
    }

    fn shake(&self, stream: TcpStream, peer: SocketAddr, stop: &Cancel) -> Shaken {
        let limit = HANDSHAKE_LIMIT;
        let patience = Patience::within(stop, Some(limit));
        let socket = Socket::accepted(stream, peer).map_err(LaneError::setup)?;
        match &self.shaker {
            Shaker::Tls(listener) => {
                let lane = listener.shake(socket, limit, patience)?;
                Ok((None, Lane::new(Carrier::Tls(Box::new(lane)))))
            }
            Shaker::Tcp(key) => {
                let first_byte = Patience::within(stop, Some(FIRST_BYTE_LIMIT));
                let (number, lane) = key.answer(socket, limit, (first_byte, patience))?;
                Ok((Some(number), Lane::new(Carrier::Tcp(Box::new(lane)))))
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

/// What came of a handshake: a lane and its number, if it has one.
type Shaken = Result<(Option<u32>, Lane), LaneError>;

/// The lanes so far.
struct Gathering {
    lanes: Vec<Option<Lane>>,
    pending: usize,
    strangers: usize,
    last: Option<LaneError>,
}

impl Gathering {
    fn note(&mut self, shaken: Shaken) {
        self.pending = self.pending.saturating_sub(1);
        match shaken {
            Ok((number, lane)) => {
                let place = match number {
                    Some(number) => {
                        usize::try_from(number).ok().and_then(|number| self.lanes.get_mut(number))
                    }
                    None => self.lanes.iter_mut().find(|place| place.is_none()),
                };
                // A number that came before is no second lane.
                if let Some(place @ None) = place {
                    *place = Some(lane);
                }
            }
            Err(LaneError::Cancelled(Cancelled)) => {}
            Err(error) => {
                tracing::debug!("turned away: {}", crate::stream::chain(&error));
                self.strangers += 1;
                self.last = Some(error);
            }
        }
    }
}

fn bind(address: IpAddr, ports: PortRange) -> Result<TcpListener, LaneError> {
    for port in ports.ports() {
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(LaneError::Listen { address, ports, error }),
        }
    }
    Err(LaneError::PortsTaken { address, ports })
}
