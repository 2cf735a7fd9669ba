//! PKCS#12 files (RFC 7292): keys and certificates under one password.
//!
//! Reads what OpenSSL 3, Java and Windows write today (PBES2), and what they wrote before: 3DES, and RC2 with 40 bits.
//! The latter protects nothing, so the file's mode must protect it, like an unencrypted key. The structure is parsed
//! here and not by a library. The existing ones leave plaintext keys in memory, do not support PBMAC1 and what browsers
//! write, and limit the work of each part but not of all parts.

mod cipher;
mod password;

use zeroize::Zeroizing;

use self::cipher::AlgorithmIdentifier;
use self::cipher::Budget;
use self::cipher::Mac;
use self::password::Password;
use super::Origin;
use super::key::encrypted;
use super::key::encrypted::MAX_ITERATIONS;
use crate::asn1::CONTEXT_0;
use crate::asn1::CONTEXT_0_PRIMITIVE;
use crate::asn1::Element;
use crate::asn1::INTEGER;
use crate::asn1::OBJECT_IDENTIFIER;
use crate::asn1::SEQUENCE;
use crate::passphrase;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// The content of a file, in order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Private keys, PKCS#8.
    pub(super) keys: Vec<Secret<Vec<u8>>>,
    /// Certificates, DER.
    pub(super) certificates: Vec<Vec<u8>>,
    /// Sentences without a full stop, each naming the file.
    pub(super) warnings: Vec<Notice>,
}

/// A file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the PKCS#12 file {origin} {fault}")]
pub struct Error {
    origin: Origin,
    fault: Pkcs12Fault,
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        Reason::FileUnusable
    }

    fn hint(&self) -> Option<Text> {
        Some(self.fault.hint())
    }
}

/// What is wrong with a file, completing "the PKCS#12 file …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Fault {
    /// It does not follow RFC 7292.
    #[error("is damaged")]
    Damaged,
    /// An unsupported scheme.
    #[error("is protected with {0}, which anchord does not read")]
    Unsupported(String),
    /// More key derivation than the limit allows.
    #[error("takes more than {MAX_ITERATIONS} rounds of key derivation to open")]
    TooCostly,
    /// It has a password, and no passphrase is set.
    #[error("has a password, and no passphrase is set")]
    NoPassword,
    /// The password is wrong.
    #[error("cannot be opened with this passphrase")]
    WrongPassword,
}

impl Pkcs12Fault {
    /// What to do about it.
    fn hint(&self) -> Text {
        match self {
            Self::Damaged => "copy the file again, as binary".into(),
            Self::Unsupported(_) | Self::TooCostly => {
                "convert it: `openssl pkcs12 -in … -out all.pem`, then `openssl pkcs12 -export -in all.pem -out …`"
                    .into()
            }
            Self::NoPassword => Text::of(passphrase::SET_IT),
            Self::WrongPassword => Text::of(&[
                Say("correct what "),
                Key("passphrase"),
                Say(" names; `openssl pkcs12 -in … -noout` tests a password"),
            ]),
        }
    }
}

impl From<encrypted::DecryptionFault> for Pkcs12Fault {
    fn from(fault: encrypted::DecryptionFault) -> Self {
        match fault {
            encrypted::DecryptionFault::Unsupported(scheme) => Self::Unsupported(scheme),
            encrypted::DecryptionFault::Excessive(_) => Self::TooCostly,
            encrypted::DecryptionFault::NoPassphrase => Self::NoPassword,
            encrypted::DecryptionFault::WrongPassphrase => Self::WrongPassword,
            encrypted::DecryptionFault::Malformed | encrypted::DecryptionFault::Parameters => Self::Damaged,
        }
    }
}

/// Whether a file begins like PKCS#12: a SEQUENCE with the version 3. PKCS#8 has 0 or 1 there, a certificate has
/// another SEQUENCE, and PEM is text.
pub(super) fn is_pfx(bytes: &[u8]) -> bool {
    let [SEQUENCE, length, rest @ ..] = bytes else { return false };
    let digits = if *length > 0x80 { usize::from(length & 0x7f) } else { 0 };
    rest.get(digits..).is_some_and(|content| content.starts_with(&[INTEGER, 1, 3]))
}

/// Opens the file. No password and an empty one mean the same here: files of both kinds exist, and both are tried.
pub(super) fn open(
    origin: &Origin,
    bytes: &[u8],
    password: Option<&Secret<Vec<u8>>>,
) -> Result<Contents, Error> {
    let fault = |fault| Error { origin: origin.clone(), fault };
    let file = Pfx::parse(bytes).ok_or(Pkcs12Fault::Damaged).map_err(fault)?;
    let mut budget = Budget::new();
    let mut contents = Err(Pkcs12Fault::WrongPassword);
    for candidate in Password::candidates(password) {
        contents = file.open(&candidate, &mut budget);
        if !matches!(contents, Err(Pkcs12Fault::WrongPassword)) {
            break;
        }
    }
    let mut contents = contents
        .map_err(|refused| match (refused, password) {
            (Pkcs12Fault::WrongPassword, None) => Pkcs12Fault::NoPassword,
            (refused, _) => refused,
        })
        .map_err(fault)?;
    if file.mac.is_none() {
        let what = format!("the PKCS#12 file {origin} has no MAC, so its integrity cannot be checked");
        let hint = "`openssl pkcs12 -export` without `-nomac` adds one";
        contents.warnings.push(Notice::new(what).hinting(hint));
    }
    Ok(contents)
}

/// The outermost structure: `PFX ::= SEQUENCE { version, authSafe, macData OPTIONAL }`.
struct Pfx<'a> {
    /// The content of `authSafe`, which the MAC covers.
    content: SafeContent,
    mac: Option<Mac<'a>>,
}

enum SafeContent {
    Data(Zeroizing<Vec<u8>>),
    Other(&'static str),
}

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";

impl<'a> Pfx<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Some programs add a line break at the end.
        let (file, _) = Element::first(bytes)?;
        let mut members = file.members();
        let version = members.next(INTEGER)?;
        let (kind, explicit) = content_info(&members.next(SEQUENCE)?)?;
        let content = match kind {
            DATA => SafeContent::Data(explicit.members().any()?.octets()?),
            SIGNED_DATA => SafeContent::Other("a signature in place of a MAC"),
            _ => return None,
        };
        let mac = members.optional()?.map(|mac| Mac::of(&mac)).map_or(Some(None), |mac| mac.map(Some))?;
        (version.number() == Some(3)).then_some(Self { content, mac })
    }

    fn open(&self, password: &Password, budget: &mut Budget) -> Result<Contents, Pkcs12Fault> {
        let content = match &self.content {
            SafeContent::Data(content) => content,
            SafeContent::Other(what) => return Err(Pkcs12Fault::Unsupported((*what).to_owned())),
        };
        if let Some(mac) = &self.mac
            && !mac.verifies(content, password, budget)?
        {
            return Err(Pkcs12Fault::WrongPassword);
        }
        let is_proven = self.mac.is_some();
        let mut reader = BagReader { password, is_proven, budget, contents: Contents::default() };
        reader.safes(content)?;
        Ok(reader.contents)
    }
}

/// `ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT }`
fn content_info<'a>(info: &Element<'a>) -> Option<(&'a [u8], Element<'a>)> {
    let mut members = info.members();
    let kind = members.next(OBJECT_IDENTIFIER)?;
    Some((kind.content, members.next(CONTEXT_0)?))
}

/// `bagtypes` of RFC 7292, appendix D, up to its last number.
const BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
const X509_CERTIFICATE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";

/// Bags may contain bags, but no known program writes that.
const MAX_NESTING: usize = 4;

/// Collects the content of a file's bags.
struct BagReader<'a> {
    password: &'a Password,
    /// Whether the password is known to be right.
    is_proven: bool,
    budget: &'a mut Budget,
    contents: Contents,
}

impl BagReader<'_> {
    /// `AuthenticatedSafe ::= SEQUENCE OF ContentInfo`
    fn safes(&mut self, content: &[u8]) -> Result<(), Pkcs12Fault> {
        let mut safes = Element::only(content, SEQUENCE).ok_or(Pkcs12Fault::Damaged)?.members();
        while !safes.is_empty() {
            let info = safes.next(SEQUENCE).ok_or(Pkcs12Fault::Damaged)?;
            let (kind, explicit) = content_info(&info).ok_or(Pkcs12Fault::Damaged)?;
            let content = explicit.members().any().ok_or(Pkcs12Fault::Damaged)?;
            match kind {
                DATA => {
                    let bags = content.octets().ok_or(Pkcs12Fault::Damaged)?;
                    self.bags(&bags, 0).ok_or(Pkcs12Fault::Damaged)??;
                }
                ENCRYPTED_DATA => {
                    let (algorithm, data) = encrypted_data(&content).ok_or(Pkcs12Fault::Damaged)?;
                    let bags = self.decrypt(&algorithm, &data)?;
                    self.bags(bags.expose(), 0).ok_or_else(|| self.noise())??;
                }
                ENVELOPED_DATA => return Err(Pkcs12Fault::Unsupported("a public key".into())),
                _ => return Err(Pkcs12Fault::Damaged),
            }
        }
        Ok(())
    }

    /// `SafeContents ::= SEQUENCE OF SafeBag`; `None` if it cannot be parsed.
    fn bags(&mut self, content: &[u8], depth: usize) -> Option<Result<(), Pkcs12Fault>> {
        let mut bags = Element::only(content, SEQUENCE)?.members();
        while !bags.is_empty() {
            let mut bag = bags.next(SEQUENCE)?.members();
            let kind = bag.next(OBJECT_IDENTIFIER)?.content;
            let value = bag.next(CONTEXT_0)?.members().any()?;
            match kind.strip_prefix(BAG) {
                Some([1]) => self.contents.keys.push(Secret::new(value.whole.to_vec())),
                Some([2]) => {
                    let mut members = value.members();
                    let algorithm = AlgorithmIdentifier::of(&members.any()?)?;
                    let data = members.any()?.octets()?;
                    match self.key(&algorithm, &data) {
                        Ok(key) => self.contents.keys.push(key),
                        Err(fault) => return Some(Err(fault)),
                    }
                }
                Some([3]) => {
                    let mut members = value.members();
                    let kind = members.next(OBJECT_IDENTIFIER)?.content;
                    let certificate = members.next(CONTEXT_0)?.members().any()?.octets()?;
                    if kind == X509_CERTIFICATE {
                        self.contents.certificates.push(certificate.to_vec());
                    }
                }
                Some([6]) if depth < MAX_NESTING => {
                    if let Err(fault) = self.bags(value.whole, depth + 1)? {
                        return Some(Err(fault));
                    }
                }
                // CRLs and other secrets.
                _ => {}
            }
        }
        Some(Ok(()))
    }

    fn key(
        &mut self,
        algorithm: &AlgorithmIdentifier<'_>,
        data: &[u8],
    ) -> Result<Secret<Vec<u8>>, Pkcs12Fault> {
        let key = self.decrypt(algorithm, data)?;
        let is_key = encrypted::is_sequence_with_version(key.expose());
        if is_key { Ok(key) } else { Err(self.noise()) }
    }

    fn decrypt(
        &mut self,
        algorithm: &AlgorithmIdentifier<'_>,
        data: &[u8],
    ) -> Result<Secret<Vec<u8>>, Pkcs12Fault> {
        cipher::decrypt(algorithm, data, self.password, self.budget).map_err(|fault| match fault {
            Pkcs12Fault::WrongPassword => self.noise(),
            fault => fault,
        })
    }

    /// The error if the decrypted bytes are random.
    fn noise(&self) -> Pkcs12Fault {
        if self.is_proven { Pkcs12Fault::Damaged } else { Pkcs12Fault::WrongPassword }
    }
}

/// `EncryptedData ::= SEQUENCE { version, SEQUENCE { contentType, algorithm, [0] IMPLICIT OCTET STRING } }` (RFC 5652,
/// section 8).
fn encrypted_data<'a>(data: &Element<'a>) -> Option<(AlgorithmIdentifier<'a>, Zeroizing<Vec<u8>>)> {
    let mut members = data.members();
    members.next(INTEGER)?;
    let mut info = members.next(SEQUENCE)?.members();
    info.next(OBJECT_IDENTIFIER)?;
    let algorithm = AlgorithmIdentifier::of(&info.any()?)?;
    let data = info.any().filter(|data| matches!(data.tag, CONTEXT_0 | CONTEXT_0_PRIMITIVE))?;
    Some((algorithm, data.octets()?))
}

#[cfg(test)]
mod tests;
