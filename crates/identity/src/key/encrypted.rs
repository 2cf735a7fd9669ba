//! Encrypted PKCS#8 (RFC 5958, section 3): PBES2 of RFC 8018 with AES-CBC, PBKDF2 or scrypt.
//!
//! Older schemes are refused by name: their ciphers and hashes are broken, and one command converts a file.

use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode as _;
use pkcs8::der::ErrorKind;
use pkcs8::der::Reader as _;
use pkcs8::der::SliceReader;
use pkcs8::der::Tag;
use pkcs8::der::Tagged as _;
use pkcs8::der::asn1::AnyRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::Error as Pkcs5Error;
use pkcs8::pkcs5::pbes2;
use pkcs8::pkcs5::pbes2::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use crate::passphrase;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// The most PBKDF2 iterations, which take a second or two with SHA-512. A damaged or hostile file must not keep a
/// thread busy for minutes, and loading has five seconds. OWASP recommends at most 1.4 million.
pub(crate) const MAX_ITERATIONS: u32 = 2_000_000;

/// The most memory that scrypt may use; OpenSSL's own limit is 32 MiB.
const MAX_SCRYPT_BYTES: u64 = 64 << 20;

/// The most mixing steps (N · r · p) that scrypt may take, about a second's worth: 16 times OpenSSL's default.
const MAX_SCRYPT_STEPS: u64 = 1 << 21;

/// What is wrong with an encrypted key, completing "the private key in …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecryptionFault {
    /// Not the structure of RFC 5958.
    #[error("is not valid encrypted PKCS#8")]
    Malformed,
    /// Parameters that are invalid or that no tool writes.
    #[error("is encrypted with parameters that cannot be used")]
    Parameters,
    /// An older or rarer scheme.
    #[error("is encrypted with {0}, which anchord does not decrypt")]
    Unsupported(String),
    /// A cost above the limits.
    #[error("takes {0}")]
    Excessive(Excess),
    /// No passphrase is set.
    #[error("is encrypted, and no passphrase is set")]
    NoPassphrase,
    /// The passphrase is wrong.
    #[error("cannot be decrypted with this passphrase")]
    WrongPassphrase,
}

impl DecryptionFault {
    /// What to do about it.
    pub(super) fn hint(&self) -> Text {
        match self {
            Self::Malformed => super::COPY_AGAIN.into(),
            Self::Parameters | Self::Unsupported(_) | Self::Excessive(_) => {
                "convert it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …`".into()
            }
            Self::NoPassphrase => Text::of(passphrase::SET_IT),
            Self::WrongPassphrase => Text::of(&[
                Say("correct what "),
                Key("passphrase"),
                Say(" names; `openssl pkey -in … -noout` tests a passphrase"),
            ]),
        }
    }
}

/// The cost that is above the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// PBKDF2's rounds.
    Iterations(u32),
    /// scrypt's memory or steps.
    Scrypt {
        /// N
        cost: u64,
        /// r
        block_size: u16,
        /// p
        parallelization: u16,
    },
}

impl std::fmt::Display for Excess {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Iterations(count) => {
                write!(
                    formatter,
                    "{count} iterations of PBKDF2 to unlock; anchord does at most {MAX_ITERATIONS}"
                )
            }
            Self::Scrypt { cost, block_size, parallelization } => write!(
                formatter,
                "scrypt with N={cost}, r={block_size}, p={parallelization} to unlock; anchord uses at most 64 MiB and N·r·p={MAX_SCRYPT_STEPS}"
            ),
        }
    }
}

/// A key that is encrypted with a supported scheme.
#[derive(Debug)]
pub(crate) struct Encrypted<'a> {
    parameters: pbes2::Parameters,
    data: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// Parses the structure and checks its cost; decrypts nothing yet.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, DecryptionFault> {
        let (algorithm, data) = outer(der).ok_or(DecryptionFault::Malformed)?;
        Self::new(algorithm, data)
    }

    /// The same for parts of PKCS#12, which have another outer structure.
    pub(crate) fn new(
        algorithm: AlgorithmIdentifierRef<'_>,
        data: &'a [u8],
    ) -> Result<Self, DecryptionFault> {
        if algorithm.oid != pbes2::PBES2_OID {
            return Err(DecryptionFault::Unsupported(scheme_name(algorithm.oid)));
        }
        let parameters = algorithm.parameters.ok_or(DecryptionFault::Malformed)?;
        let parameters = pbes2::Parameters::try_from(parameters).map_err(|error| match error.kind() {
            ErrorKind::OidUnknown { oid } => DecryptionFault::Unsupported(scheme_name(oid)),
            _ => DecryptionFault::Parameters,
        })?;
        match parameters.encryption {
            EncryptionScheme::Aes128Cbc { .. }
            | EncryptionScheme::Aes192Cbc { .. }
            | EncryptionScheme::Aes256Cbc { .. } => {}
            other => return Err(DecryptionFault::Unsupported(scheme_name(other.oid()))),
        }
        if !is_sane(&parameters.kdf) {
            return Err(DecryptionFault::Parameters);
        }
        check_cost(&parameters.kdf).map_err(DecryptionFault::Excessive)?;
        // CBC with padding: whole blocks, and one at least.
        if data.is_empty() || !data.len().is_multiple_of(16) {
            return Err(DecryptionFault::Malformed);
        }
        Ok(Self { parameters, data })
    }

    /// What it costs to derive the key, in rounds of PBKDF2; a step of scrypt takes about as long.
    #[cfg(feature = "pkcs12")]
    pub(crate) fn rounds(&self) -> u64 {
        match &self.parameters.kdf {
            Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count.into(),
            Kdf::Scrypt(scrypt) => {
                scrypt.cost_parameter * u64::from(scrypt.block_size) * u64::from(scrypt.parallelization)
            }
            _ => u64::MAX,
        }
    }

    /// Decrypts the PKCS#8 inside. Usually takes tens of milliseconds.
    pub(super) fn decrypt(&self, passphrase: &Secret<Vec<u8>>) -> Result<Secret<Vec<u8>>, DecryptionFault> {
        let plaintext = self.plaintext(passphrase)?;
        // One wrong passphrase in 256 gives bytes that look like valid padding.
        if is_sequence_with_version(plaintext.expose()) {
            Ok(plaintext)
        } else {
            Err(DecryptionFault::WrongPassphrase)
        }
    }

    /// Decrypts the content, which may be random bytes if the passphrase is wrong.
    pub(crate) fn plaintext(&self, passphrase: &Secret<Vec<u8>>) -> Result<Secret<Vec<u8>>, DecryptionFault> {
        let mut buffer = Zeroizing::new(self.data.to_vec());
        let length = self
            .parameters
            .decrypt_in_place(passphrase.expose(), &mut buffer)
            .map_err(|error| match error {
                Pkcs5Error::DecryptFailed => DecryptionFault::WrongPassphrase,
                _ => DecryptionFault::Parameters,
            })?
            .len();
        buffer.truncate(length);
        Ok(Secret::new(std::mem::take(&mut *buffer)))
    }
}

/// `EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING }`
fn outer(der: &[u8]) -> Option<(AlgorithmIdentifierRef<'_>, &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let members = reader.sequence(|members| {
        let algorithm = AlgorithmIdentifierRef::decode(members)?;
        let data: &OctetStringRef = members.decode()?;
        Ok::<_, pkcs8::der::Error>((algorithm, data.as_bytes()))
    });
    let members = members.ok()?;
    reader.finish().ok().map(|()| members)
}

/// Whether decrypted bytes begin like PKCS#8, with its version; random bytes hardly ever do.
pub(crate) fn is_sequence_with_version(der: &[u8]) -> bool {
    AnyRef::from_der(der).is_ok_and(|any| any.tag() == Tag::Sequence && any.value().starts_with(&[2, 1]))
}

/// Rejects meaningless costs, on some of which the library panics.
fn is_sane(kdf: &Kdf) -> bool {
    match kdf {
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count > 0,
        Kdf::Scrypt(scrypt) => {
            scrypt.cost_parameter > 1
                && scrypt.cost_parameter.is_power_of_two()
                && scrypt.block_size > 0
                && scrypt.parallelization > 0
        }
        _ => false,
    }
}

/// Checks the cost of deriving the key.
fn check_cost(kdf: &Kdf) -> Result<(), Excess> {
    match kdf {
        Kdf::Pbkdf2(pbkdf2) if pbkdf2.iteration_count > MAX_ITERATIONS => {
            Err(Excess::Iterations(pbkdf2.iteration_count))
        }
        Kdf::Scrypt(scrypt) => {
            let (cost, block_size, parallelization) =
                (scrypt.cost_parameter, scrypt.block_size, scrypt.parallelization);
            let (r, p) = (u64::from(block_size), u64::from(parallelization));
            // RFC 7914, sections 5 and 6: 128 · r bytes for each of N rows and p blocks.
            let bytes = cost.checked_add(p).and_then(|rows| rows.checked_mul(128 * r));
            let steps = cost.checked_mul(r * p);
            let within = |amount: Option<u64>, limit| amount.is_some_and(|amount| amount <= limit);
            if within(bytes, MAX_SCRYPT_BYTES) && within(steps, MAX_SCRYPT_STEPS) {
                Ok(())
            } else {
                Err(Excess::Scrypt { cost, block_size, parallelization })
            }
        }
        _ => Ok(()),
    }
}

/// Schemes that are in use and not supported, by OpenSSL's names (RFC 8018, appendix C, and RFC 7292, appendix C).
const SCHEMES: [(&str, &str); 19] = [
    ("1.2.840.113549.1.5.1", "pbeWithMD2AndDES-CBC"),
    ("1.2.840.113549.1.5.3", "pbeWithMD5AndDES-CBC"),
    ("1.2.840.113549.1.5.4", "pbeWithMD2AndRC2-CBC"),
    ("1.2.840.113549.1.5.6", "pbeWithMD5AndRC2-CBC"),
    ("1.2.840.113549.1.5.10", "pbeWithSHA1AndDES-CBC"),
    ("1.2.840.113549.1.5.11", "pbeWithSHA1AndRC2-CBC"),
    ("1.2.840.113549.1.5.14", "PBMAC1"),
    ("1.2.840.113549.1.12.1.1", "pbeWithSHA1And128BitRC4"),
    ("1.2.840.113549.1.12.1.2", "pbeWithSHA1And40BitRC4"),
    ("1.2.840.113549.1.12.1.3", "pbeWithSHA1And3-KeyTripleDES-CBC"),
    ("1.2.840.113549.1.12.1.4", "pbeWithSHA1And2-KeyTripleDES-CBC"),
    ("1.2.840.113549.1.12.1.5", "pbeWithSHA1And128BitRC2-CBC"),
    ("1.2.840.113549.1.12.1.6", "pbeWithSHA1And40BitRC2-CBC"),
    ("1.3.14.3.2.7", "DES-CBC"),
    ("1.2.840.113549.3.2", "RC2-CBC"),
    ("1.2.840.113549.3.7", "3DES-CBC (DES-EDE3-CBC)"),
    ("2.16.840.1.101.3.4.1.6", "AES-128-GCM"),
    ("2.16.840.1.101.3.4.1.26", "AES-192-GCM"),
    ("2.16.840.1.101.3.4.1.46", "AES-256-GCM"),
];

/// The name of a scheme, or its object identifier if it is not in the list.
pub(crate) fn scheme_name(oid: ObjectIdentifier) -> String {
    let digits = oid.to_string();
    SCHEMES.iter().find(|(known, _)| *known == digits).map_or(digits.clone(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests;
