//! The calling end.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Carrier, Connection};
use super::error::ConnectionError;
use super::exchange::{Caller, Offer, Secret, Token};
use super::socket::{Deadline, Socket};
use super::{tcp, tls};
use crate::stream::Cancel;
use crate::stream::threads::beside_or_here;

impl Caller {
    /// Opens all `connections` at once to the end that made `offer`; within `limit` all of them are open, or none.
    pub fn connect(
        self,
        offer: &Offer,
        connections: usize,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Vec<Connection>, ConnectionError> {
        let call = Call {
            handshake: Handshake::new(&self.secret, &offer.listener)?,
            peer: SocketAddr::new(offer.address, offer.port),
            limit,
            until: Instant::now() + limit,
            // The first failure is that of all.
            cancel: cancel.child().map_err(ConnectionError::setup)?,
        };
        let call = &call;
        let made: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = (0..connections)
                .map(|connection| beside_or_here(scope, "connect", move || call.open(connection)))
                .collect();
            let died =
                || Err(ConnectionError::Nonsense("the thread that opens a connection died; this is a bug"));
            calls.into_iter().map(|call| call.join().unwrap_or_else(died)).collect()
        });
        cancel.check()?;
        // A connection that was only stopped because of another one does not say why.
        let (mut open, mut failures) = (Vec::new(), Vec::new());
        for connection in made {
            match connection {
                Ok(connection) => open.push(connection),
                Err(error) => failures.push(error),
            }
        }
        let root_cause = failures.iter().position(|error| !matches!(error, ConnectionError::Cancelled(_)));
        match root_cause {
            Some(at) => Err(failures.swap_remove(at)),
            None => Ok(open),
        }
    }
}

/// The state that all connections of one call share.
struct Call {
    handshake: Handshake,
    peer: SocketAddr,
    limit: Duration,
    until: Instant,
    cancel: Cancel,
}

impl Call {
    fn open(&self, connection: usize) -> Result<Connection, ConnectionError> {
        let deadline = Deadline { cancel: &self.cancel, until: Some(self.until) };
        let opened =
            Socket::connect(self.peer, self.limit, deadline).and_then(|socket| match &self.handshake {
                Handshake::Tls(caller) => caller
                    .shake(socket, self.limit, deadline)
                    .map(|connection| Connection::new(Carrier::Tls(Box::new(connection)))),
                Handshake::Tcp(key) => {
                    let number = u32::try_from(connection)
                        .map_err(|_| ConnectionError::Nonsense("far too many connections"))?;
                    key.call(socket, number, self.limit, deadline)
                        .map(|connection| Connection::new(Carrier::Tcp(Box::new(connection))))
                }
            });
        if opened.is_err() {
            self.cancel.request();
        }
        opened
    }
}

/// How this end shows who it is.
enum Handshake {
    Tls(tls::Caller),
    Tcp(tcp::Key),
}

impl Handshake {
    fn new(secret: &Secret, listener: &Token) -> Result<Self, ConnectionError> {
        match (secret, listener) {
            (Secret::Tls(identity), Token::Tls(certificate)) => {
                Ok(Self::Tls(tls::Caller::new(identity, certificate)?))
            }
            (Secret::Tcp(half), Token::Tcp(other)) => Ok(Self::Tcp(tcp::Key::new(half.bytes(), other)?)),
            (Secret::Tls(_), Token::Tcp(_)) | (Secret::Tcp(_), Token::Tls(_)) => {
                Err(ConnectionError::Nonsense("it offers another kind of connection than it was asked for"))
            }
        }
    }
}
