//! Cases that only TLS has: keys that are worn out, and a certificate without its key.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuiteCommon, ServerConfig, ServerConnection, SupportedCipherSuite, Tls13CipherSuite};

use super::pinned::Pinned;
use super::{Caller, Identity, Listener, TlsConnection, identity};
use crate::channel::connections::error::ConnectionError;
use crate::channel::connections::socket::{Deadline, Socket};
use crate::stream::Cancel;

const LIMIT: Duration = Duration::from_secs(10);

/// Two connected sockets: the caller's, and the listener's.
fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, peer) = listener.accept().unwrap();
    let near_peer = near.peer_addr().unwrap();
    (Socket::accepted(near, near_peer).unwrap(), Socket::accepted(far, peer).unwrap())
}

/// The first cipher, whose keys are good for `records` records only.
fn worn_out_after(records: u64) -> Arc<CryptoProvider> {
    let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let common = CipherSuiteCommon { confidentiality_limit: records, ..ring_common(suite) };
    let suite: &'static Tls13CipherSuite = Box::leak(Box::new(Tls13CipherSuite { common, ..*suite }));
    let cipher_suites = vec![SupportedCipherSuite::Tls13(suite)];
    Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
}

fn ring_common(suite: &Tls13CipherSuite) -> CipherSuiteCommon {
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit, .. } = suite.common;
    CipherSuiteCommon { suite, hash_provider, confidentiality_limit }
}

#[test]
fn keys_that_are_worn_out_are_changed_on_the_way() {
    // 2^24 records of 16 KiB are 256 GiB: a stream may well be longer.
    let (ours, theirs) = (Identity::new().unwrap(), Identity::new().unwrap());
    let caller = Caller::with_ciphers(worn_out_after(50), &ours, theirs.certificate()).unwrap();
    let listener = Listener::new(&theirs, ours.certificate()).unwrap();
    let (near, far) = sockets();
    let cancel = Cancel::new().unwrap();
    let deadline = || Deadline::within(&cancel, Some(LIMIT));
    let sent: Vec<u8> = (0..20_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = caller.shake(near, LIMIT, deadline()).unwrap();
            let mut left = &sent[..];
            while !left.is_empty() {
                let written = connection.write(left, &cancel).unwrap();
                left = &left[written..];
            }
            connection.flush(&cancel).unwrap();
            // The other direction continues with new keys, too.
            let mut answer = [0; 6];
            assert_eq!(connection.read(&mut answer, deadline()).unwrap(), Some(6));
            assert_eq!(&answer, b"thanks");
        });
        let mut connection = listener.shake(far, LIMIT, deadline()).unwrap();
        let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        while received.len() < sent.len() {
            let bytes = connection.read(&mut buffer, deadline()).unwrap().unwrap();
            assert!(bytes > 0);
            received.extend_from_slice(&buffer[..bytes]);
        }
        assert!(received == sent);
        connection.write(b"thanks", &cancel).unwrap();
        connection.flush(&cancel).unwrap();
    });
}

#[test]
fn the_right_certificate_without_its_key_is_worth_nothing() {
    let (ours, theirs, other) =
        (Identity::new().unwrap(), Identity::new().unwrap(), Identity::new().unwrap());
    let caller = Caller::new(&ours, theirs.certificate()).unwrap();
    // It shows the certificate, which anybody could have seen, and signs with a key of its own.
    let key = ring::sign::any_supported_type(&other.chain_and_key().1).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(theirs.chain_and_key().0, key));
    let config = ServerConfig::builder_with_provider(identity::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Pinned::new(ours.certificate())))
        .with_cert_resolver(Arc::new(shown));
    let (near, far) = sockets();
    let cancel = Cancel::new().unwrap();
    let deadline = || Deadline::within(&cancel, Some(LIMIT));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection =
                TlsConnection::new(far, ServerConnection::new(Arc::new(config)).unwrap().into());
            assert!(connection.shake(LIMIT, deadline()).is_err());
        });
        let error = caller.shake(near, LIMIT, deadline()).unwrap_err();
        assert!(matches!(error, ConnectionError::WrongCertificate { .. }), "{error}");
    });
}

#[test]
fn a_caller_without_certificate_gets_nothing() {
    let (ours, theirs) = (Identity::new().unwrap(), Identity::new().unwrap());
    let listener = Listener::new(&theirs, ours.certificate()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(identity::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned::new(theirs.certificate())))
        .with_no_client_auth();
    let (near, far) = sockets();
    let cancel = Cancel::new().unwrap();
    let deadline = || Deadline::within(&cancel, Some(LIMIT));
    thread::scope(|scope| {
        scope.spawn(|| {
            let tls = rustls::ClientConnection::new(Arc::new(config), "zhaul".try_into().unwrap()).unwrap();
            let mut connection = TlsConnection::new(near, tls.into());
            connection.shake(LIMIT, deadline()).unwrap();
            let error = connection.expect_welcome(LIMIT, deadline()).unwrap_err();
            assert!(matches!(error, ConnectionError::TurnedAway { .. }), "{error}");
        });
        let error = listener.shake(far, LIMIT, deadline()).unwrap_err();
        assert!(matches!(error, ConnectionError::NoCertificate { .. }), "{error}");
    });
}
