//! TLS: which roots are trusted, and which clock certificates are checked by.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::ConfigBuilder;
use rustls::DigitallySignedStruct;
use rustls::OtherError;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::WantsVerifier;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;
use tracing::warn;

use anchord_core::clock::Clock;
use anchord_core::content;
use anchord_core::event;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_identity::Authorities;
use anchord_identity::FileError;

/// Why there are no trusted roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("the CA file cannot be used")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The file contains no usable certificate.
    #[error("the CA file `{}` holds no certificate in PEM{}", path.display(), first_problem(unusable))]
    Empty {
        /// The file.
        path: PathBuf,
        /// The problems of its parts, a sentence each.
        unusable: Vec<Notice>,
        /// What to do.
        advice: Option<Text>,
    },
    /// rustls refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The first problem and the number of others: usually one mistake causes all.
fn first_problem(unusable: &[Notice]) -> String {
    match unusable {
        [] => String::new(),
        [one] => format!(" that can be used: {}", one.what),
        [first, others @ ..] => {
            format!(" that can be used: {} (and {} more)", first.what, others.len())
        }
    }
}

impl Classify for RootsError {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable { .. } => Reason::FileUnreadable,
            Self::Empty { .. } => Reason::FileUnusable,
            Self::Setup(_) => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<Text> {
        let usual = || {
            Text::of(&[
                Say("set "),
                Key("upstream.ca_file"),
                Say(" to a PEM file with the roots to trust, or leave it and AWS_CA_BUNDLE out"),
            ])
        };
        match self {
            Self::Unreadable { source: source @ FileError::WideText { .. }, .. } => source.hint(),
            Self::Unreadable { path, .. } => Some(content::spelling_hint(path).unwrap_or_else(usual)),
            Self::Empty { unusable, advice, .. } => {
                let more = unusable.first().map_or(advice, |first| &first.hint);
                Some(match more {
                    Some(more) => usual().then(&"; ".into()).then(more),
                    None => usual(),
                })
            }
            Self::Setup(_) => None,
        }
    }
}

/// TLS 1.2 and 1.3 with ring. It trusts only the roots in `ca_file`, or by default the system's roots.
///
/// # Errors
/// If the file cannot be read or contains no usable certificate.
pub fn client_config(ca_file: Option<&Path>, clock: &Clock) -> Result<ClientConfig, RootsError> {
    let Some(path) = ca_file else {
        return Ok(builder(clock)?.with_root_certificates(system_roots()).with_no_client_auth());
    };
    let verifier = CaFileVerifier::new(path)?;
    for part in &verifier.unusable {
        warn!(
            event = event::UPSTREAM_CA_FILE_WARNING,
            ca_file = %path.display(), hint = part.hint(), "A part of the CA file is not used: {}", part.what
        );
    }
    Ok(builder(clock)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The problems of the parts of a CA file that cannot be used. Empty if the whole file cannot be used.
pub fn ca_file_doubts(path: &Path) -> Vec<Notice> {
    let mut doubts = Vec::new();
    for part in roots_in(path).map(|(_, unusable)| unusable).unwrap_or_default() {
        let what = format!("a part of the CA file `{}` is not used: {}", path.display(), part.what);
        doubts.push(Notice { what: what.into(), ..part });
    }
    doubts
}

/// No CA in the file has issued the server's certificate.
#[derive(Debug, thiserror::Error)]
#[error("invalid peer certificate: {}, no CA in the CA file `{}` issued it{}{}", issuer.fault(), path.display(), issuer.more(), left_out(unusable))]
pub(super) struct NotInFile {
    issuer: IssuerMatch,
    path: PathBuf,
    unusable: Vec<Notice>,
}

/// The CA in the file that is closest to the issuer of a server's certificate.
#[derive(Clone, Copy, Debug)]
enum IssuerMatch {
    None,
    /// One of the issuer's name, with another key. Usually the CA has changed its key.
    NameOnly,
}

impl IssuerMatch {
    /// The name of rustls's error.
    fn fault(self) -> &'static str {
        match self {
            Self::None => "UnknownIssuer",
            Self::NameOnly => "BadSignature",
        }
    }

    fn more(self) -> &'static str {
        match self {
            Self::None => "",
            Self::NameOnly => ": the CA with the issuer's name has another key",
        }
    }
}

fn left_out(unusable: &[Notice]) -> String {
    match unusable {
        [] => String::new(),
        [first, ..] => {
            let plural = if unusable.len() == 1 { "" } else { "s" };
            let count = format!("{} certificate{plural} in the file", unusable.len());
            format!("; {count} cannot be used, the first at {}", first.what)
        }
    }
}

/// Verifies as rustls does. If no CA in the file has issued the server's certificate, the error names the file.
#[derive(Debug)]
struct CaFileVerifier {
    all: Arc<WebPkiServerVerifier>,
    path: PathBuf,
    unusable: Vec<Notice>,
}

impl CaFileVerifier {
    fn new(path: &Path) -> Result<Self, RootsError> {
        let (roots, unusable) = roots_in(path)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let all = built.map_err(|error| RootsError::Setup(rustls::Error::General(error.to_string())))?;
        Ok(Self { all, path: path.into(), unusable })
    }

    fn not_in_file(&self, issuer: IssuerMatch) -> rustls::Error {
        let error = NotInFile { issuer, path: self.path.clone(), unusable: self.unusable.clone() };
        // Not `CertificateError::Other`: rustls prints that with Debug.
        rustls::Error::Other(OtherError(Arc::new(error)))
    }
}

impl ServerCertVerifier for CaFileVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.all.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                self.not_in_file(IssuerMatch::None)
            }
            rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
                self.not_in_file(IssuerMatch::NameOnly)
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

/// TLS that accepts any server certificate. Anyone on the network path can then read requests and answer instead of
/// AWS.
///
/// # Errors
/// If rustls refuses its own defaults.
pub fn unverified_client_config(clock: &Clock) -> Result<ClientConfig, RootsError> {
    let verifier = Arc::new(AcceptAnyServer(rustls::crypto::ring::default_provider()));
    Ok(builder(clock)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder(clock: &Clock) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, RootsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Setup)
}

/// Accepts every certificate. It still verifies the handshake's signature, which costs nothing.
#[derive(Debug)]
struct AcceptAnyServer(CryptoProvider);

impl ServerCertVerifier for AcceptAnyServer {
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

/// The roots in a file, and the problems of the parts that cannot be used.
fn roots_in(path: &Path) -> Result<(RootCertStore, Vec<Notice>), RootsError> {
    let Authorities { certificates, mut unusable, advice } =
        Authorities::read(path).map_err(|source| RootsError::Unreadable { path: path.into(), source })?;
    let mut roots = RootCertStore::empty();
    for (line, der) in certificates {
        if roots.add(der.into()).is_err() {
            let what = format!("line {line}: the certificate that begins there cannot be parsed");
            unusable.push(Notice::new(what));
        }
    }
    if roots.is_empty() {
        return Err(RootsError::Empty { path: path.into(), unusable, advice });
    }
    Ok((roots, unusable))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        // A container image made from scratch has none. AWS's public endpoints chain to Mozilla's roots.
        warn!(
            event = event::UPSTREAM_BUILT_IN_ROOTS,
            "The system has no trusted roots; using the built-in ones"
        );
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use anchord_emulator::Authority;
    use anchord_emulator::KeyKind;

    use super::*;
    use crate::upstream::error::certificate_hint;

    /// Appliances that certify themselves present such certificates: OpenSSL accepts them, webpki does not.
    #[test]
    fn a_server_that_presents_a_ca_is_named_as_such() {
        let authority = Authority::root("proxy.example", KeyKind::P256).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), authority.certificate_pem()).unwrap();
        let Authorities { certificates, .. } = Authorities::read(file.path()).unwrap();
        let der = CertificateDer::from(certificates[0].1.clone());
        let name = ServerName::try_from("proxy.example").unwrap();

        let verifier = CaFileVerifier::new(file.path()).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let error = verifier.verify_server_cert(&der, &[], &name, &[], now).unwrap_err();

        let rustls::Error::InvalidCertificate(fault) = &error else { panic!("{error}") };
        assert!(
            certificate_hint(fault).starts_with("the server presents the certificate of a CA"),
            "{error}"
        );
    }
}
