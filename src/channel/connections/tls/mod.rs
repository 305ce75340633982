//! Connections with TLS 1.3: each end accepts only the one certificate whose every byte it received over ssh.
//!
//! There is no authority, no name and no date to be checked: the certificates are made for one use, and their contents
//! are never interpreted. TLS proves that the peer has the private key of the announced certificate.

mod connection;
mod identity;
mod pinned;

#[cfg(test)]
mod tls_tests;

use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

pub(super) use self::connection::TlsConnection;
pub(super) use self::identity::Identity;
use self::pinned::Pinned;
use super::error::ConnectionError;
use super::socket::{Deadline, Socket};

/// The calling end.
#[derive(Debug)]
pub(super) struct Caller {
    config: Arc<ClientConfig>,
}

impl Caller {
    /// For the listener with this certificate.
    pub(super) fn new(own: &Identity, listener: &[u8]) -> Result<Self, ConnectionError> {
        Self::with_ciphers(identity::provider(), own, listener)
    }

    fn with_ciphers(
        ciphers: Arc<CryptoProvider>,
        own: &Identity,
        listener: &[u8],
    ) -> Result<Self, ConnectionError> {
        let (chain, key) = own.chain_and_key();
        let mut config = ClientConfig::builder_with_provider(ciphers)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(identity::setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(listener)))
            .with_client_auth_cert(chain, key)
            .map_err(identity::setup)?;
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self { config: Arc::new(config) })
    }

    /// Runs the handshake until the peer has said that it accepts this end.
    pub(super) fn shake(
        &self,
        socket: Socket,
        limit: Duration,
        deadline: Deadline<'_>,
    ) -> Result<TlsConnection, ConnectionError> {
        let name = ServerName::try_from("zhaul").map_err(identity::setup)?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(identity::setup)?;
        let mut connection = TlsConnection::new(socket, tls.into());
        connection.shake(limit, deadline)?;
        connection.expect_welcome(limit, deadline)?;
        Ok(connection)
    }
}

/// The listening end.
#[derive(Debug)]
pub(super) struct Listener {
    config: Arc<ServerConfig>,
}

impl Listener {
    /// For the caller with this certificate.
    pub(super) fn new(own: &Identity, caller: &[u8]) -> Result<Self, ConnectionError> {
        let (chain, key) = own.chain_and_key();
        let mut config = ServerConfig::builder_with_provider(identity::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(identity::setup)?
            .with_client_cert_verifier(Arc::new(Pinned::new(caller)))
            .with_single_cert(chain, key)
            .map_err(identity::setup)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config) })
    }

    /// Shakes hands with whoever came, and welcomes the right one.
    pub(super) fn shake(
        &self,
        socket: Socket,
        limit: Duration,
        deadline: Deadline<'_>,
    ) -> Result<TlsConnection, ConnectionError> {
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(identity::setup)?;
        let mut connection = TlsConnection::new(socket, tls.into());
        connection.shake(limit, deadline)?;
        connection.welcome(limit, deadline)?;
        Ok(connection)
    }
}
