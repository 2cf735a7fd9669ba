//! The emulator's own server certificate, and the CA that a client must trust to talk to it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::macros::datetime;

use crate::Error;
use crate::ca::Authority;
use crate::ca::AuthorityRequest;
use crate::ca::LeafRequest;
use crate::keys::KeyKind;

/// What the listener needs, and the PEM of the CA to trust.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

impl Tls {
    /// Valid for a century: clients whose clocks are set by tests must reach the service to be told that they are wrong.
    pub(crate) fn new(listen: SocketAddr) -> Result<Self, Error> {
        let (not_before, not_after) = (datetime!(2000-01-01 0:00 UTC), datetime!(2099-12-31 0:00 UTC));
        let mut request = AuthorityRequest::new("Emulator TLS CA", KeyKind::P256);
        (request.not_before, request.not_after) = (not_before, not_after);
        let authority = Authority::self_signed(&request)?;
        let mut request = LeafRequest::new("Emulator", KeyKind::P256);
        (request.not_before, request.not_after) = (not_before, not_after);
        request.dns_names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        if !listen.ip().is_loopback() && !listen.ip().is_unspecified() {
            request.dns_names.push(listen.ip().to_string());
        }
        let leaf = authority.leaf(&request)?;

        let certificate = CertificateDer::from(leaf.certificate_der().to_vec());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key_pkcs8_der().to_vec()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        // Who offers nothing gets HTTP/1.1.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), ca_pem: authority.certificate_pem().to_owned() })
    }
}
