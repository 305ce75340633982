//! The calling end.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::error::LaneError;
use super::exchange::{Caller, Offer, Secret, Token};
use super::lane::{Carrier, Lane};
use super::socket::{Patience, Socket};
use super::{tcp, tls};
use crate::stream::Cancel;
use crate::stream::threads::beside_or_here;

impl Caller {
    /// Opens so many lanes to the end that made `offer`, all at once; all are there within `limit`, or none.
    pub fn connect(
        self,
        offer: &Offer,
        lanes: usize,
        limit: Duration,
        stop: &Cancel,
    ) -> Result<Vec<Lane>, LaneError> {
        let call = Call {
            shaker: Shaker::new(&self.secret, &offer.listener)?,
            peer: SocketAddr::new(offer.address, offer.port),
            limit,
            until: Instant::now() + limit,
            // The first failure is that of all.
            stop: stop.child().map_err(LaneError::setup)?,
        };
        let call = &call;
        let made: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> =
                (0..lanes).map(|lane| beside_or_here(scope, "connect", move || call.open(lane))).collect();
            let died = || Err(LaneError::Nonsense("the thread that opens a connection died; this is a bug"));
            calls.into_iter().map(|call| call.join().unwrap_or_else(died)).collect()
        });
        stop.check()?;
        // A lane that was only stopped because of another one does not say why.
        let (mut open, mut failures) = (Vec::new(), Vec::new());
        for lane in made {
            match lane {
                Ok(lane) => open.push(lane),
                Err(error) => failures.push(error),
            }
        }
        let telling = failures.iter().position(|error| !matches!(error, LaneError::Cancelled(_)));
        match telling {
            Some(at) => Err(failures.swap_remove(at)),
            None => Ok(open),
        }
    }
}

/// What all lanes of one call share.
struct Call {
    shaker: Shaker,
    peer: SocketAddr,
    limit: Duration,
    until: Instant,
    stop: Cancel,
}

impl Call {
    fn open(&self, lane: usize) -> Result<Lane, LaneError> {
        let patience = Patience { stop: &self.stop, until: Some(self.until) };
        let opened = Socket::connect(self.peer, self.limit, patience).and_then(|socket| match &self.shaker {
            Shaker::Tls(caller) => {
                caller.shake(socket, self.limit, patience).map(|lane| Lane::new(Carrier::Tls(Box::new(lane))))
            }
            Shaker::Tcp(key) => {
                let number = u32::try_from(lane).map_err(|_| LaneError::Nonsense("far too many lanes"))?;
                key.call(socket, number, self.limit, patience)
                    .map(|lane| Lane::new(Carrier::Tcp(Box::new(lane))))
            }
        });
        if opened.is_err() {
            self.stop.request();
        }
        opened
    }
}

/// How this end shows who it is.
enum Shaker {
    Tls(tls::Caller),
    Tcp(tcp::Key),
}

impl Shaker {
    fn new(secret: &Secret, listener: &Token) -> Result<Self, LaneError> {
        match (secret, listener) {
            (Secret::Tls(identity), Token::Tls(certificate)) => {
                Ok(Self::Tls(tls::Caller::new(identity, certificate)?))
            }
            (Secret::Tcp(half), Token::Tcp(other)) => Ok(Self::Tcp(tcp::Key::new(half.bytes(), other)?)),
            (Secret::Tls(_), Token::Tcp(_)) | (Secret::Tcp(_), Token::Tls(_)) => {
                Err(LaneError::Nonsense("it offers another kind of lane than it was asked for"))
            }
        }
    }
}
