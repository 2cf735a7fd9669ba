//! Errors of loading an identity: where, what, and what to do.
//!
//! The readers of files, keys and certificates have their own errors. This type gathers them, and adds the errors of
//! certificate and key together.

use time::OffsetDateTime;

use super::FileError;
use super::Origin;
use super::key;
use super::leaf::LeafFault;
use super::passphrase;
use super::pem;
use super::pkcs11;
#[cfg(feature = "pkcs12")]
use super::pkcs12;
use super::reading;
use super::selection::Fingerprint;
use super::spiffe;
use super::tpm;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// Why an identity could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, or a variable or pipe in its place.
    #[error(transparent)]
    File(#[from] FileError),
    /// PEM, or a certificate in it.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(key::Error),
    /// The passphrase of a key is missing.
    #[error(transparent)]
    Passphrase(#[from] passphrase::Error),
    /// Reading timed out, found no free thread, or panicked.
    #[error(transparent)]
    Reading(#[from] reading::Error),
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
    /// A PKCS#12 file that cannot be opened.
    #[cfg(feature = "pkcs12")]
    #[error(transparent)]
    Pkcs12(#[from] pkcs12::Error),
    /// A place that has keys only.
    #[error("{origin} holds no certificates")]
    NoCertificates {
        /// Where they were looked for.
        origin: Origin,
    },
    /// No certificate belongs to the key.
    #[error("no certificate in {certificate} belongs to the private key in {private_key}")]
    Mismatch {
        /// Where the certificates are.
        certificate: Origin,
        /// Where the key is.
        private_key: Origin,
    },
    /// No certificate of the key matches the selected subject, issuer and serial number.
    #[error(
        "no certificate of the private key in {origin} has the selected subject, issuer or serial number"
    )]
    NotSelected {
        /// Where the certificates are.
        origin: Origin,
    },
    /// The certificate's fingerprint is not pinned.
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
        fault: LeafFault,
    },
    /// An intermediate that is expired or not yet valid.
    #[error("the intermediate `{subject}` in {origin} {fault}")]
    Intermediate {
        /// Where.
        origin: Origin,
        /// Which.
        subject: String,
        /// Why.
        fault: LeafFault,
    },
    /// An intermediate that may not sign certificates.
    #[error("the intermediate `{subject}` in {origin} has no key usage keyCertSign")]
    NoCertSign {
        /// Where.
        origin: Origin,
        /// Which.
        subject: String,
    },
    /// More intermediates than Roles Anywhere accepts.
    #[error("{origin} needs {length} intermediates; Roles Anywhere accepts at most 5")]
    ChainTooLong {
        /// Where.
        origin: Origin,
        /// How many there are.
        length: usize,
    },
}

impl Error {
    /// An instant at which the certificate is valid, if it is only expired or not yet valid.
    pub(super) fn would_do_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Leaf { fault: LeafFault::NotYetValid { not_before }, .. } => Some(*not_before),
            Self::Leaf { fault: LeafFault::Expired { not_after }, .. } => Some(*not_after),
            _ => None,
        }
    }

    /// The reason if the error is not that of a part.
    fn own_reason(&self) -> Reason {
        match self {
            Self::Mismatch { .. } => Reason::KeyMismatch,
            Self::NoCertificates { .. } => Reason::InvalidSetting,
            _ => Reason::CertificateUnusable,
        }
    }

    /// The error of the part that failed, which knows its reason and hint.
    fn of_part(&self) -> Option<&dyn Classify> {
        match self {
            Self::File(error) => Some(error),
            Self::Pem(error) => Some(error),
            Self::Key(error) => Some(error),
            Self::Passphrase(error) => Some(error),
            Self::Reading(error) => Some(error),
            Self::Agent(error) => Some(error),
            Self::Token(error) => Some(error),
            Self::Tpm { source, .. } => Some(source),
            #[cfg(feature = "pkcs12")]
            Self::Pkcs12(error) => Some(error),
            _ => None,
        }
    }
}

/// An error of the PEM file or the passphrase stays what it is.
impl From<key::Error> for Error {
    fn from(error: key::Error) -> Self {
        match error {
            key::Error::Pem(error) => error.into(),
            key::Error::Passphrase(error) => error.into(),
            key::Error::Unusable { .. } => Self::Key(error),
        }
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        self.of_part().map_or_else(|| self.own_reason(), Classify::reason)
    }

    fn hint(&self) -> Option<Text> {
        if let Some(part) = self.of_part() {
            return part.hint();
        }
        let hint = match self {
            Self::NoCertificates { .. } => {
                return Some(Text::of(&[
                    Say("name the file that has the certificate in "),
                    Key("certificate"),
                    Say(", and the key's location in "),
                    Key("private_key"),
                ]));
            }
            Self::Mismatch { .. } => {
                "the two must come from the same request; renew both together or name the right pair"
            }
            Self::NotSelected { .. } => {
                return Some(Text::of(&[
                    Say("compare "),
                    Key("certificate_subject"),
                    Say(", "),
                    Key("certificate_issuer"),
                    Say(" and "),
                    Key("certificate_serial"),
                    Say(" with what `anchord certificate show` prints"),
                ]));
            }
            Self::NotPinned { .. } => {
                return Some(Text::of(&[
                    Say("if you trust this certificate, add its fingerprint to "),
                    Key("certificate_fingerprint"),
                ]));
            }
            Self::Leaf { fault, .. } => fault.hint(),
            Self::Intermediate { .. } => {
                "put the renewed intermediate where the old one is; check this host's clock"
            }
            Self::NoCertSign { .. } => "reissue the CA's certificate with keyUsage keyCertSign",
            Self::ChainTooLong { .. } => "register a CA closer to the leaf as the trust anchor",
            _ => return None,
        };
        Some(hint.into())
    }
}
