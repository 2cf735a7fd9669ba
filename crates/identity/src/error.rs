//! What can be wrong with an identity: which file, what, and what to do.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::Origin;
use super::leaf::Fault;
use super::pem::Damage;
use super::pkcs11;
#[cfg(feature = "pkcs12")]
use super::pkcs12::Fault as Pkcs12Fault;
use super::selection::Fingerprint;
use super::spiffe;
use super::tpm;
use anchord_core::content;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;

/// Why an identity could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("`{}` is {kind}, not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: content::Kind,
    },
    /// Text that nothing here reads.
    #[error("{origin} cannot be used: {source}")]
    WideText {
        /// Where.
        origin: Origin,
        /// What it is.
        source: content::WideText,
    },
    /// A place that this process was not given.
    #[error("{origin} gives nothing: {why}")]
    Absent {
        /// The place.
        origin: Origin,
        /// What is missing.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The system does not answer.
    #[error("{origin} could not be read within {} s", patience.as_secs())]
    Hanging {
        /// Where.
        origin: Origin,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Too much else is being read.
    #[error("{origin} was not read: too many readings are under way")]
    Crowded {
        /// Where.
        origin: Origin,
    },
    /// Reading panicked, which is a bug.
    #[error("reading {origin} panicked")]
    Panicked {
        /// Where.
        origin: Origin,
    },
    /// A file holds nothing.
    #[error("{origin} is empty")]
    Empty {
        /// The file.
        origin: Origin,
    },
    /// A file is larger than any certificate chain.
    #[error("{origin} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        origin: Origin,
        /// The most that is read.
        limit: u64,
    },
    /// A file holds no section of the kind that is needed.
    #[error("{origin} holds no {wanted}{}", found_text(found))]
    Missing {
        /// The file.
        origin: Origin,
        /// What was looked for.
        wanted: &'static str,
        /// The labels of the PEM sections that were found instead.
        found: Vec<String>,
        /// What to do.
        hint: String,
    },
    /// A PEM section cannot be decoded.
    #[error("{origin} is damaged in line {line}: {damage}")]
    BadPem {
        /// The file.
        origin: Origin,
        /// From 1.
        line: usize,
        /// How.
        damage: Damage,
    },
    /// A certificate cannot be parsed.
    #[error("certificate {position} in {origin} cannot be parsed: {why}")]
    BadCertificate {
        /// Where.
        origin: Origin,
        /// Which certificate of the file, from 1.
        position: usize,
        /// What the parser said.
        why: String,
    },
    /// A key of a kind that cannot be used.
    #[error("the private key in {origin} {what}")]
    UnusableKey {
        /// Where.
        origin: Origin,
        /// What is wrong with it, completing "the private key …".
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// An agent gave no SVID.
    #[error(transparent)]
    Agent(#[from] spiffe::Error),
    /// A token or its module.
    #[error(transparent)]
    Token(#[from] pkcs11::Error),
    /// A TPM, or a file for one.
    #[error("{origin} cannot be used")]
    Tpm {
        /// Where.
        origin: Origin,
        /// Why.
        source: tpm::Error,
    },
    /// A place that has keys alone.
    #[error("{origin} holds no certificates")]
    NoCertificates {
        /// Where they were looked for.
        origin: Origin,
    },
    /// A PKCS#12 file that cannot be opened.
    #[cfg(feature = "pkcs12")]
    #[error("the PKCS#12 file {origin} {fault}")]
    Pkcs12 {
        /// The file.
        origin: Origin,
        /// Why.
        fault: Pkcs12Fault,
    },
    /// No certificate belongs to the key.
    #[error("no certificate in {certificate} belongs to the private key in {private_key}")]
    Mismatch {
        /// Where the certificates are.
        certificate: Origin,
        /// Where the key is.
        private_key: Origin,
    },
    /// What should hold the passphrase is not there.
    #[error("there is no passphrase: {why}")]
    NoPassphrase {
        /// What is missing.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A passphrase that is to be typed in was not.
    #[error("the private key's passphrase has not been asked for")]
    NotAsked,
    /// Certificates that belong to the key are not the ones that are meant.
    #[error(
        "no certificate of the private key in {origin} has the subject, issuer or serial number that is asked for"
    )]
    NotSelected {
        /// Where the certificates are.
        origin: Origin,
    },
    /// The certificate is none of those that may be used.
    #[error("the leaf in {origin} has the fingerprint {found}, which is not pinned")]
    NotPinned {
        /// Where the certificates are.
        origin: Origin,
        /// What it is.
        found: Fingerprint,
    },
    /// Roles Anywhere would refuse the leaf.
    #[error("the leaf in {origin} {fault}")]
    Leaf {
        /// Where.
        origin: Origin,
        /// Why.
        fault: Fault,
    },
    /// An intermediate outside of its life.
    #[error("the intermediate `{subject}` in {origin} {fault}")]
    Intermediate {
        /// Where.
        origin: Origin,
        /// Which.
        subject: String,
        /// Why.
        fault: Fault,
    },
    /// An intermediate that may not have issued what is below it.
    #[error("the intermediate `{subject}` in {origin} has no key usage keyCertSign")]
    NoCertSign {
        /// Where.
        origin: Origin,
        /// Which.
        subject: String,
    },
    /// More intermediates than Roles Anywhere takes.
    #[error("{origin} leads through {length} intermediates; Roles Anywhere takes at most 5")]
    ChainTooLong {
        /// Where.
        origin: Origin,
        /// How many there are.
        length: usize,
    },
}

impl Error {
    /// Why a file's content is not to be had.
    pub(super) fn of_file(path: &Path, fault: content::Fault) -> Self {
        let origin = Origin::file(path);
        match fault {
            content::Fault::System(source) => Self::Read { path: path.into(), source },
            content::Fault::NotAFile(kind) => Self::NotAFile { path: path.into(), kind },
            content::Fault::TooLarge { limit } => Self::TooLarge { origin, limit },
            content::Fault::WideText(source) => Self::WideText { origin, source },
            content::Fault::Silent(why) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, format!("it is a pipe, and {why}"));
                Self::Read { path: path.into(), source }
            }
        }
    }

    /// An instant at which the certificate would do, where time alone speaks against it.
    pub(super) fn would_do_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Leaf { fault: Fault::NotYetValid { not_before }, .. } => Some(*not_before),
            Self::Leaf { fault: Fault::Expired { not_after }, .. } => Some(*not_after),
            _ => None,
        }
    }
}

fn found_text(labels: &[String]) -> String {
    match labels {
        [] => ": it has no PEM section at all".into(),
        labels => format!(", only {}", labels.join(", ")),
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Agent(error) => error.reason(),
            Self::Token(error) => error.reason(),
            Self::Tpm { source, .. } => source.reason(),
            Self::Hanging { origin, .. } if !origin.is_file() => Reason::KeySourceUnavailable,
            Self::Crowded { .. } => Reason::Busy,
            Self::Panicked { .. } => Reason::Bug,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Reason::FileForbidden
            }
            Self::Read { .. } | Self::Absent { .. } | Self::Hanging { .. } => Reason::FileUnreadable,
            Self::NoPassphrase { .. } | Self::NotAsked => Reason::SecretRefused,
            Self::Mismatch { .. } => Reason::KeyMismatch,
            Self::NotSelected { .. }
            | Self::NotPinned { .. }
            | Self::Leaf { .. }
            | Self::Intermediate { .. }
            | Self::NoCertSign { .. }
            | Self::ChainTooLong { .. } => Reason::CertificateUnusable,
            Self::NoCertificates { .. } => Reason::InvalidSetting,
            _ => Reason::FileUnusable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Agent(error) => return error.hint(),
            Self::Token(error) => return error.hint(),
            Self::Tpm { source, .. } => return source.hint(),
            Self::NoCertificates { .. } => {
                "name the file that has the certificate in `certificate`, and the key's place in `private_key`"
            }
            Self::Read { source, path } => return Some(read_hint(source, path)),
            Self::Hanging { origin, .. } if origin.is_file() => "see whether its file system still answers",
            Self::Hanging { .. } => "see whether it is there and answers; it is asked again",
            Self::Crowded { .. } => {
                "see whether what the other sessions read still answers; this is read again by itself"
            }
            Self::Panicked { .. } => return None,
            Self::NotAFile { kind: content::Kind::Pipe, .. } => content::PIPE_HINT,
            Self::NotAFile { .. } => "name the file itself",
            Self::WideText { source, .. } => return Some(source.hint()),
            Self::Empty { .. } => "it may still be being written; otherwise fill it",
            Self::TooLarge { .. } => "name the PEM file itself, not a bundle of all known roots",
            Self::Missing { hint, .. } => return Some(hint.clone()),
            Self::BadPem { damage, origin, .. } => damage.hint(origin),
            Self::BadCertificate { .. } => {
                "copy the file again, complete from the BEGIN line to the END line"
            }
            Self::UnusableKey { hint, .. } => hint,
            #[cfg(feature = "pkcs12")]
            Self::Pkcs12 { fault, .. } => fault.hint(),
            Self::Mismatch { .. } => {
                "the two must come from the same request; renew both together or name the right pair"
            }
            Self::NoPassphrase { hint, .. } | Self::Absent { hint, .. } => return Some(hint.clone()),
            Self::NotAsked => {
                "`passphrase = \"prompt\"` needs a terminal; a service takes it from a file or a systemd credential"
            }
            Self::NotSelected { .. } => {
                "compare `certificate_subject`, `certificate_issuer` and `certificate_serial` with what `anchord certificate show` prints"
            }
            Self::NotPinned { .. } => {
                "if this certificate is to be trusted, add its fingerprint to `certificate_fingerprint`"
            }
            Self::Leaf { fault, .. } => fault.hint(),
            Self::Intermediate { .. } => {
                "put the renewed intermediate where the old one is; check this host's clock"
            }
            Self::NoCertSign { .. } => "have the CA's certificate issued with keyUsage keyCertSign",
            Self::ChainTooLong { .. } => "register a CA closer to the leaf as the trust anchor",
        };
        Some(hint.into())
    }
}

fn read_hint(source: &io::Error, path: &Path) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => {
            content::spelling_hint(path).unwrap_or_else(|| "put the file there, or set the right path".into())
        }
        io::ErrorKind::PermissionDenied => {
            format!("let the daemon's user read it (and enter {})", path.parent().unwrap_or(path).display())
        }
        _ => "check the path and its file system".into(),
    }
}
