//! TLS towards AWS: which roots are trusted, and whose clock judges certificates.

use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustls::ClientConfig;
use rustls::ConfigBuilder;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::WantsVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject as _;
use tracing::warn;

use crate::clock::Clock;
use crate::failure::Class;
use crate::failure::Classify;
use crate::failure::system_reason;

/// No trusted roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("cannot read the CA file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no usable certificate.
    #[error("the CA file `{}` holds no certificate in PEM", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// rustls refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl Classify for RootsError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } | Self::Empty { .. } => Class::Misconfigured,
            Self::Setup(_) => Class::Broken,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::Empty { .. } => {
                Some("set `upstream.ca_file` to a PEM file with the roots to trust, or leave it out".into())
            }
            Self::Setup(_) => None,
        }
    }
}

/// TLS 1.2 and 1.3 with ring, trusting the roots in `ca_file` alone or else the system's.
pub fn client_config(ca_file: Option<&Path>, clock: &Clock) -> Result<ClientConfig, RootsError> {
    let roots = match ca_file {
        Some(path) => roots_in(path)?,
        None => system_roots(),
    };
    Ok(builder(clock)?.with_root_certificates(roots).with_no_client_auth())
}

/// The same for whoever answers, proven or not: anybody on the way may then read and answer in AWS's place.
pub fn client_config_for_anybody(clock: &Clock) -> Result<ClientConfig, RootsError> {
    let verifier = Arc::new(Anybody(rustls::crypto::ring::default_provider()));
    Ok(builder(clock)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder(clock: &Clock) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, RootsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Setup)
}

/// Takes every certificate. The handshake's signature is looked at all the same: it costs nothing.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, RootsError> {
    let pem = read(path).map_err(|source| RootsError::Read { path: path.into(), source })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(RootsError::Empty { path: path.into() }) } else { Ok(roots) }
}

/// A pipe or a device in the file's place must not be waited for, nor read to its end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    const MAX_BYTES: u64 = 16 << 20;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs_err::OpenOptions::new();
    let opened = options.read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| system_reason(&error))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(io::Error::other("it is no file"));
    }
    let mut pem = Vec::new();
    let bytes = file.take(MAX_BYTES + 1).read_to_end(&mut pem).map_err(|error| system_reason(&error))?;
    if bytes as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than any file of roots"));
    }
    Ok(pem)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        // An image made from scratch has none; AWS's public endpoints chain to Mozilla's.
        warn!("The system has no trusted roots; using the built-in ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
