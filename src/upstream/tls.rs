//! TLS towards AWS: which roots are trusted, and whose clock judges certificates.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
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
        source: std::io::Error,
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn roots_in(path: &Path) -> Result<RootCertStore, RootsError> {
    let pem = fs_err::read(path)
        .map_err(|error| RootsError::Read { path: path.into(), source: system_reason(&error) })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(RootsError::Empty { path: path.into() }) } else { Ok(roots) }
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
