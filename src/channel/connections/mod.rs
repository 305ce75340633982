//! Connections beside the ssh session, over which the frames of transfers travel.
//!
//! ssh pays for every byte with one core at either end. Connections do not: there are as many as asked for, encrypted by TLS
//! 1.3 or, only by explicit word, not at all. ssh proves the identities: before the first connection is opened, each
//! end sends its peer over ssh an identity made for this one use.
//!
//! 1. The calling end makes a [`Caller`] and sends its [`Greeting`].
//! 2. The listening end opens a [`Listening`] for that caller alone, and answers with an [`Offer`].
//! 3. [`Caller::connect`] and [`Listening::accept`] meet; strangers who come to the same port are turned away, and
//!    cost no more than a little patience. When all connections are there, the port is closed.
//!
//! A [`Connection`] carries one transfer after another, in either direction: [`stream::framed`](crate::stream::framed) reads
//! nothing behind the End frame. After any other ending, unread data may be left in the connection: drop it.
//! How a connection ends says nothing about a stream; End frames do.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `exchange` | what goes over ssh |
//! | `listen` | the listening end |
//! | `connect` | the calling end |
//! | `socket` | a connection whose every wait hears a cancel |
//! | `tls` | connections with TLS |
//! | `tcp` | connections with nothing but proof of where each byte comes from |
//! | `error` | what can go wrong, in an admin's words |

mod connect;
mod connection;
mod error;
mod exchange;
mod listen;
mod socket;
mod tcp;
mod tls;

#[cfg(test)]
mod connections_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod strangers_tests;
#[cfg(test)]
mod waits_tests;

pub use connection::Connection;
pub use error::ConnectionError;
pub use exchange::{Caller, ConnectionKind, Greeting, Offer};
pub use listen::Listening;
