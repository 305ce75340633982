//! A certificate for one use, and the ciphers.

use std::fmt;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::channel::connections::error::ConnectionError;

/// One end's certificate and private key; neither is ever written to a disk.
pub(in crate::channel::connections) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    pub(in crate::channel::connections) fn new() -> Result<Self, ConnectionError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(setup)?;
        let params = CertificateParams::new(vec!["zhaul".to_owned()]).map_err(setup)?;
        let certificate = params.self_signed(&key).map_err(setup)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// In DER.
    pub(in crate::channel::connections) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// The ciphers of TLS 1.3, the cheapest for this machine first; the calling end's order decides.
pub(super) fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let mut cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    if !has_aes() {
        cipher_suites.rotate_right(1);
    }
    Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
}

/// Whether the processor knows AES; without that, it costs several times as much as `ChaCha20`.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    has_aes
}

/// The error for a call that cannot fail with this module's own input.
pub(super) fn setup(error: impl std::error::Error + Send + Sync + 'static) -> ConnectionError {
    ConnectionError::Setup(io::Error::other(error))
}
