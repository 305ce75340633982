//! Connections without encryption: only proof that each byte comes from the peer, in its place.
//!
//! The key is built from a random half of each end, exchanged over ssh. A handshake proves to either end that its peer
//! has the key, before anything else is read from that peer:
//!
//! | from | what |
//! | --- | --- |
//! | listener | [`MAGIC`], 32 random bytes |
//! | caller | [`MAGIC`], the connection's number (u32), 32 random bytes, its proof |
//! | listener | its proof, only if the caller's was right |
//!
//! A proof is HMAC-SHA256 with the key over who proves it, the connection's number and both random values, so an old one is
//! worth nothing. In the same way each direction of each connection gets a key of its own for its [`records`].

mod mac;
mod records;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use ring::hmac;

pub(super) use self::records::TcpConnection;
use super::error::ConnectionError;
use super::socket::{Deadline, Socket};
use crate::channel::random_bytes;

/// The first bytes from either end: the protocol and its version.
const MAGIC: [u8; 12] = *b"zhaul lane 1";
/// Length of a half of the key, of the random values and of a proof.
const SECRET_BYTES: usize = 32;

/// One end's half of the key.
pub(super) struct Half([u8; SECRET_BYTES]);

impl Half {
    pub(super) fn new() -> Result<Self, ConnectionError> {
        random_bytes().map(Self).map_err(ConnectionError::Setup)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Half")
    }
}

/// The key that both ends have.
#[derive(Debug)]
pub(super) struct Key(hmac::Key);

impl Key {
    pub(super) fn new(of_caller: &[u8], of_listener: &[u8]) -> Result<Self, ConnectionError> {
        if of_caller.len() != SECRET_BYTES || of_listener.len() != SECRET_BYTES {
            return Err(ConnectionError::Nonsense("half of a key has the wrong length"));
        }
        let both = [of_caller, of_listener].concat();
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &both)))
    }

    /// The calling end's side of the handshake.
    pub(super) fn call(
        &self,
        socket: Socket,
        connection: u32,
        limit: Duration,
        deadline: Deadline<'_>,
    ) -> Result<TcpConnection, ConnectionError> {
        let peer = socket.peer;
        let failed = |error| ConnectionError::handshake(peer, limit, error);
        let mut first = [0; MAGIC.len() + SECRET_BYTES];
        socket.read_all(&mut first, deadline).map_err(failed)?;
        let (magic, of_listener) = first.split_at(MAGIC.len());
        check_magic(peer, magic)?;
        let of_caller = random_bytes::<SECRET_BYTES>().map_err(ConnectionError::Setup)?;
        let session = Session { key: &self.0, connection, of_caller: &of_caller, of_listener };
        let proof = session.derive(Purpose::CallerProof);
        let connection_bytes = connection.to_le_bytes();
        let hello = [&MAGIC[..], &connection_bytes, &of_caller, proof.as_ref()].concat();
        socket.write_all(&mut [IoSlice::new(&hello)], deadline).map_err(failed)?;
        let mut proof = [0; SECRET_BYTES];
        socket.read_all(&mut proof, deadline).map_err(|error| {
            let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
            if is_end { ConnectionError::TurnedAway { peer } } else { failed(error) }
        })?;
        session.verify(Purpose::ListenerProof, &proof).map_err(|_| ConnectionError::WrongKey { peer })?;
        let (to, from) = (Purpose::CallerRecords, Purpose::ListenerRecords);
        TcpConnection::new(socket, session.derive(to).as_ref(), session.derive(from).as_ref())
    }

    /// The listening end's side of the handshake; also returns the number of the connection.
    pub(super) fn answer(
        &self,
        socket: Socket,
        limit: Duration,
        (first_byte, deadline): (Deadline<'_>, Deadline<'_>),
    ) -> Result<(u32, TcpConnection), ConnectionError> {
        let peer = socket.peer;
        let failed = |error| ConnectionError::handshake(peer, limit, error);
        let of_listener = random_bytes::<SECRET_BYTES>().map_err(ConnectionError::Setup)?;
        let mut first = [IoSlice::new(&MAGIC), IoSlice::new(&of_listener)];
        socket.write_all(&mut first, deadline).map_err(failed)?;
        let mut magic = [0; MAGIC.len()];
        socket.read_all(&mut magic, first_byte).map_err(failed)?;
        check_magic(peer, &magic)?;
        let (mut connection, mut of_caller, mut proof) = ([0; 4], [0; SECRET_BYTES], [0; SECRET_BYTES]);
        for room in [&mut connection[..], &mut of_caller, &mut proof] {
            socket.read_all(room, deadline).map_err(failed)?;
        }
        let connection = u32::from_le_bytes(connection);
        let session = Session { key: &self.0, connection, of_caller: &of_caller, of_listener: &of_listener };
        session.verify(Purpose::CallerProof, &proof).map_err(|_| ConnectionError::WrongKey { peer })?;
        let proof = session.derive(Purpose::ListenerProof);
        socket.write_all(&mut [IoSlice::new(proof.as_ref())], deadline).map_err(failed)?;
        let (to, from) = (Purpose::ListenerRecords, Purpose::CallerRecords);
        let opened = TcpConnection::new(socket, session.derive(to).as_ref(), session.derive(from).as_ref())?;
        Ok((connection, opened))
    }
}

fn check_magic(peer: SocketAddr, magic: &[u8]) -> Result<(), ConnectionError> {
    if magic == MAGIC {
        return Ok(());
    }
    Err(ConnectionError::NotZhaul {
        peer,
        why: "it speaks another protocol, or another version of it".to_owned(),
    })
}

/// The use of a value derived from the key.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    CallerProof,
    ListenerProof,
    CallerRecords,
    ListenerRecords,
}

/// The key, and what makes one handshake different from all others.
struct Session<'a> {
    key: &'a hmac::Key,
    connection: u32,
    of_caller: &'a [u8],
    of_listener: &'a [u8],
}

impl Session<'_> {
    fn derive(&self, purpose: Purpose) -> hmac::Tag {
        hmac::sign(self.key, &self.text(purpose))
    }

    /// In constant time.
    fn verify(&self, purpose: Purpose, proof: &[u8]) -> Result<(), ring::error::Unspecified> {
        hmac::verify(self.key, &self.text(purpose), proof)
    }

    /// Every part has a fixed length, so no two handshakes make the same text.
    fn text(&self, purpose: Purpose) -> Vec<u8> {
        let purpose = match purpose {
            Purpose::CallerProof => [1],
            Purpose::ListenerProof => [2],
            Purpose::CallerRecords => [3],
            Purpose::ListenerRecords => [4],
        };
        [&MAGIC[..], &purpose, &self.connection.to_le_bytes(), self.of_caller, self.of_listener].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_purposes_connections_or_handshakes_share_a_key() {
        let mut seen = BTreeSet::new();
        for halves in [[1, 2], [2, 1], [1, 1]] {
            let key = Key::new(&[halves[0]; 32], &[halves[1]; 32]).unwrap();
            for connection in 0..3 {
                for (of_caller, of_listener) in [(5, 6), (6, 5)] {
                    let (of_caller, of_listener) = (&[of_caller; 32][..], &[of_listener; 32][..]);
                    let session = Session { key: &key.0, connection, of_caller, of_listener };
                    for purpose in [
                        Purpose::CallerProof,
                        Purpose::ListenerProof,
                        Purpose::CallerRecords,
                        Purpose::ListenerRecords,
                    ] {
                        assert!(seen.insert(session.derive(purpose).as_ref().to_vec()));
                    }
                }
            }
        }
        assert_eq!(seen.len(), 3 * 3 * 2 * 4);
    }
}
