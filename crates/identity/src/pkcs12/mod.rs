//! PKCS#12 files (RFC 7292): keys and certificates under one password.
//!
//! Both what OpenSSL 3, Java and Windows write today (PBES2) and what they wrote before: 3DES, and RC2 with 40 bits, which
//! is no protection worth its name; such a file is guarded by its mode, as an unencrypted key is. The structure is read
//! here and not by a library: those that exist leave plaintext keys in memory, know neither PBMAC1 nor what browsers
//! write, and limit the work that a part may ask for but not that of all parts.

mod cipher;
mod password;

use zeroize::Zeroizing;

use self::cipher::Algorithm;
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

/// What is in a file, in its order.
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
    fault: Fault,
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
pub enum Fault {
    /// Not what RFC 7292 says.
    #[error("is damaged")]
    Damaged,
    /// A scheme that is not read.
    #[error("is protected with {0}, which anchord does not read")]
    Unsupported(String),
    /// More work than anybody asks for in earnest.
    #[error("takes more than {MAX_ITERATIONS} rounds of key derivation to open")]
    TooCostly,
    /// It has a password, and none is set.
    #[error("has a password, and no passphrase is set")]
    NoPassword,
    /// The password is of another file.
    #[error("is not opened by this passphrase")]
    WrongPassword,
}

impl Fault {
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
                Say(" names; `openssl pkcs12 -in … -noout` tries a password out"),
            ]),
        }
    }
}

impl From<encrypted::Fault> for Fault {
    fn from(fault: encrypted::Fault) -> Self {
        match fault {
            encrypted::Fault::Unsupported(scheme) => Self::Unsupported(scheme),
            encrypted::Fault::Excessive(_) => Self::TooCostly,
            encrypted::Fault::NoPassphrase => Self::NoPassword,
            encrypted::Fault::WrongPassphrase => Self::WrongPassword,
            encrypted::Fault::Malformed | encrypted::Fault::Parameters => Self::Damaged,
        }
    }
}

/// Whether a file is, or began as, PKCS#12: a SEQUENCE with the version 3. PKCS#8 has 0 or 1 there, a certificate
/// another SEQUENCE, and PEM is text.
pub(super) fn is_pfx(bytes: &[u8]) -> bool {
    let [SEQUENCE, length, rest @ ..] = bytes else { return false };
    let digits = if *length > 0x80 { usize::from(length & 0x7f) } else { 0 };
    rest.get(digits..).is_some_and(|content| content.starts_with(&[INTEGER, 1, 3]))
}

/// Opens the file. No password and an empty one are the same: files of either kind exist, and both are tried.
pub(super) fn open(
    origin: &Origin,
    bytes: &[u8],
    password: Option<&Secret<Vec<u8>>>,
) -> Result<Contents, Error> {
    let fault = |fault| Error { origin: origin.clone(), fault };
    let file = Pfx::parse(bytes).ok_or(Fault::Damaged).map_err(fault)?;
    let mut budget = Budget::new();
    let mut contents = Err(Fault::WrongPassword);
    for candidate in Password::candidates(password) {
        contents = file.open(&candidate, &mut budget);
        if !matches!(contents, Err(Fault::WrongPassword)) {
            break;
        }
    }
    let mut contents = contents
        .map_err(|refused| match (refused, password) {
            (Fault::WrongPassword, None) => Fault::NoPassword,
            (refused, _) => refused,
        })
        .map_err(fault)?;
    if file.mac.is_none() {
        let what = format!("the PKCS#12 file {origin} has no MAC, so that nothing shows whether it is whole");
        let hint = "`openssl pkcs12 -export` without `-nomac` adds one";
        contents.warnings.push(Notice::new(what).hinting(hint));
    }
    Ok(contents)
}

/// The outermost structure: `PFX ::= SEQUENCE { version, authSafe, macData OPTIONAL }`.
struct Pfx<'a> {
    /// What is in `authSafe`, which the MAC covers.
    content: Content,
    mac: Option<Mac<'a>>,
}

enum Content {
    Data(Zeroizing<Vec<u8>>),
    Other(&'static str),
}

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";

impl<'a> Pfx<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Some programs leave a line break behind it.
        let (file, _) = Element::first(bytes)?;
        let mut members = file.members();
        let version = members.next(INTEGER)?;
        let (kind, explicit) = content_info(&members.next(SEQUENCE)?)?;
        let content = match kind {
            DATA => Content::Data(explicit.members().any()?.octets()?),
            SIGNED_DATA => Content::Other("a signature in place of a MAC"),
            _ => return None,
        };
        let mac = members.optional()?.map(|mac| Mac::of(&mac)).map_or(Some(None), |mac| mac.map(Some))?;
        (version.number() == Some(3)).then_some(Self { content, mac })
    }

    fn open(&self, password: &Password, budget: &mut Budget) -> Result<Contents, Fault> {
        let content = match &self.content {
            Content::Data(content) => content,
            Content::Other(what) => return Err(Fault::Unsupported((*what).to_owned())),
        };
        if let Some(mac) = &self.mac
            && !mac.verifies(content, password, budget)?
        {
            return Err(Fault::WrongPassword);
        }
        let is_proven = self.mac.is_some();
        let mut reader = Reader { password, is_proven, budget, contents: Contents::default() };
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

/// Bags may hold bags; nobody writes such.
const MAX_NESTING: usize = 4;

/// Collects what the bags of a file hold.
struct Reader<'a> {
    password: &'a Password,
    /// Whether the password is known to be right.
    is_proven: bool,
    budget: &'a mut Budget,
    contents: Contents,
}

impl Reader<'_> {
    /// `AuthenticatedSafe ::= SEQUENCE OF ContentInfo`
    fn safes(&mut self, content: &[u8]) -> Result<(), Fault> {
        let mut safes = Element::only(content, SEQUENCE).ok_or(Fault::Damaged)?.members();
        while !safes.is_empty() {
            let info = safes.next(SEQUENCE).ok_or(Fault::Damaged)?;
            let (kind, explicit) = content_info(&info).ok_or(Fault::Damaged)?;
            let content = explicit.members().any().ok_or(Fault::Damaged)?;
            match kind {
                DATA => {
                    let bags = content.octets().ok_or(Fault::Damaged)?;
                    self.bags(&bags, 0).ok_or(Fault::Damaged)??;
                }
                ENCRYPTED_DATA => {
                    let (algorithm, data) = encrypted_data(&content).ok_or(Fault::Damaged)?;
                    let bags = self.decrypt(&algorithm, &data)?;
                    self.bags(bags.expose(), 0).ok_or_else(|| self.noise())??;
                }
                ENVELOPED_DATA => return Err(Fault::Unsupported("a public key".into())),
                _ => return Err(Fault::Damaged),
            }
        }
        Ok(())
    }

    /// `SafeContents ::= SEQUENCE OF SafeBag`; `None` where it is none.
    fn bags(&mut self, content: &[u8], depth: usize) -> Option<Result<(), Fault>> {
        let mut bags = Element::only(content, SEQUENCE)?.members();
        while !bags.is_empty() {
            let mut bag = bags.next(SEQUENCE)?.members();
            let kind = bag.next(OBJECT_IDENTIFIER)?.content;
            let value = bag.next(CONTEXT_0)?.members().any()?;
            match kind.strip_prefix(BAG) {
                Some([1]) => self.contents.keys.push(Secret::new(value.whole.to_vec())),
                Some([2]) => {
                    let mut members = value.members();
                    let algorithm = Algorithm::of(&members.any()?)?;
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

    fn key(&mut self, algorithm: &Algorithm<'_>, data: &[u8]) -> Result<Secret<Vec<u8>>, Fault> {
        let key = self.decrypt(algorithm, data)?;
        let is_key = encrypted::is_sequence_with_version(key.expose());
        if is_key { Ok(key) } else { Err(self.noise()) }
    }

    fn decrypt(&mut self, algorithm: &Algorithm<'_>, data: &[u8]) -> Result<Secret<Vec<u8>>, Fault> {
        cipher::decrypt(algorithm, data, self.password, self.budget).map_err(|fault| match fault {
            Fault::WrongPassword => self.noise(),
            fault => fault,
        })
    }

    /// What it means that something decrypts to nonsense.
    fn noise(&self) -> Fault {
        if self.is_proven { Fault::Damaged } else { Fault::WrongPassword }
    }
}

/// `EncryptedData ::= SEQUENCE { version, SEQUENCE { contentType, algorithm, [0] IMPLICIT OCTET STRING } }` (RFC 5652,
/// section 8).
fn encrypted_data<'a>(data: &Element<'a>) -> Option<(Algorithm<'a>, Zeroizing<Vec<u8>>)> {
    let mut members = data.members();
    members.next(INTEGER)?;
    let mut info = members.next(SEQUENCE)?.members();
    info.next(OBJECT_IDENTIFIER)?;
    let algorithm = Algorithm::of(&info.any()?)?;
    let data = info.any().filter(|data| matches!(data.tag, CONTEXT_0 | CONTEXT_0_PRIMITIVE))?;
    Some((algorithm, data.octets()?))
}

#[cfg(test)]
mod tests;
