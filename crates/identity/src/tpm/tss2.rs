//! Key files: PEM sections `TSS2 PRIVATE KEY` (draft-bottomley-tpm2-keys, "ASN.1 Specification for TPM 2.0 Key Files").
//!
//! The parser accepts known mistakes: tpm2-openssl writes BOOLEAN TRUE as 0x01, and some programs write parents above
//! 0x80000000 as negative numbers, without the leading zero. Unknown members are ignored.

use std::fmt;

use super::Error;
use super::address::PERSISTENT;
use super::wire::Unmarshaller;
use crate::asn1::Element;
use crate::asn1::INTEGER;
use crate::asn1::OBJECT_IDENTIFIER;
use crate::asn1::OCTET_STRING;
use crate::asn1::SEQUENCE;

/// The label of the PEM section.
pub const PEM_LABEL: &str = "TSS2 PRIVATE KEY";

/// `TPM_RH_OWNER`, the default parent.
const OWNER: u32 = 0x4000_0001;

/// `TPM_RH_NULL`, `TPM_RH_ENDORSEMENT`, `TPM_RH_PLATFORM`, besides the owner.
const HIERARCHIES: [u32; 4] = [OWNER, 0x4000_0007, 0x4000_000b, 0x4000_000c];

/// 2.23.133.10.1.3 without its last arc.
const TYPES: &[u8] = &[0x67, 0x81, 0x05, 0x0a, 0x01];

/// More than the public area and private blob of any key.
const MAX_PARTS: usize = 3072;

const BOOLEAN: u8 = 0x01;
const POLICY: u8 = 0xa1;
const AUTH_POLICY: u8 = 0xa3;
const RSA_PARENT: u8 = 0xa5;

const COPY_AGAIN: &str = "copy the file again, complete from the BEGIN line to the END line";

/// A key that is wrapped by a parent key, which never leaves the TPM.
///
/// The private part is not in a `Secret`, because only that TPM can decrypt it.
#[derive(Clone, PartialEq, Eq)]
pub struct TpmKeyFile {
    rsa_parent: bool,
    parent: u32,
    public: Vec<u8>,
    private: Vec<u8>,
}

impl TpmKeyFile {
    /// Reads the content of the PEM section.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let damaged = Error::KeyFile { what: "is damaged", hint: COPY_AGAIN };
        // Bytes after the structure are padding or a comment.
        let (key, _) = Element::definite(der).ok_or(damaged)?;
        if key.tag != SEQUENCE {
            return Err(Error::KeyFile { what: "holds no TPM key", hint: COPY_AGAIN });
        }
        KeyFileMembers::read(key.content)
            .ok_or(Error::KeyFile { what: "is damaged", hint: COPY_AGAIN })?
            .check()
    }

    /// Whether the primary key above it is RSA.
    pub(super) fn has_rsa_parent(&self) -> bool {
        self.rsa_parent
    }

    /// A persistent handle, or the hierarchy whose storage root key wraps the key.
    pub(super) fn parent(&self) -> u32 {
        self.parent
    }

    /// The `TPM2B_PUBLIC`.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The public area inside of it.
    pub(super) fn public_area(&self) -> &[u8] {
        self.public.get(2..).unwrap_or_default()
    }

    /// The `TPM2B_PRIVATE`.
    pub(super) fn private(&self) -> &[u8] {
        &self.private
    }
}

impl fmt::Debug for TpmKeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TpmKeyFile")
            .field("parent", &format_args!("{:#010x}", self.parent))
            .finish_non_exhaustive()
    }
}

/// The members of `TPMKey`, not checked yet.
#[derive(Default)]
struct KeyFileMembers<'a> {
    kind: &'a [u8],
    has_policy: bool,
    rsa_parent: bool,
    parent: Option<u32>,
    strings: Vec<&'a [u8]>,
}

impl<'a> KeyFileMembers<'a> {
    fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut members = Self::default();
        while !rest.is_empty() {
            let (Element { tag, content, .. }, after) = Element::definite(rest)?;
            rest = after;
            match tag {
                OBJECT_IDENTIFIER if members.kind.is_empty() => members.kind = content,
                POLICY | AUTH_POLICY => members.has_policy |= !is_empty_sequence(content),
                RSA_PARENT => members.rsa_parent = boolean(content)?,
                INTEGER if members.parent.is_none() => members.parent = Some(handle(content)?),
                OCTET_STRING => members.strings.push(content),
                _ => {}
            }
        }
        Some(members)
    }

    fn check(self) -> Result<TpmKeyFile, Error> {
        let wrong = |what, hint| Err(Error::KeyFile { what, hint });
        match self.kind.strip_prefix(TYPES) {
            Some([3]) => {}
            Some([4]) => {
                return wrong(
                    "is importable, which is not supported",
                    "load it once (`openssl`, `tpm2_import`) and store it as a loadable file or at a persistent handle",
                );
            }
            Some([5]) => return wrong("holds sealed data, not a key", "name the file of a signing key"),
            _ => return wrong("is of a type that is not known", "make a loadable key (2.23.133.10.1.3)"),
        }
        if self.has_policy {
            return wrong("needs a policy, which is not supported", "make the key without a policy");
        }
        let [public, private] = self.strings[..] else {
            return wrong("is damaged", COPY_AGAIN);
        };
        let Some(parent) = self.parent.map(|parent| if parent == 0 { OWNER } else { parent }) else {
            return wrong("is damaged", COPY_AGAIN);
        };
        if parent >> 24 != PERSISTENT && !HIERARCHIES.contains(&parent) {
            return wrong(
                "names a parent that is neither a hierarchy nor persistent",
                "make the key under the owner hierarchy (0x40000001) or a persistent parent (0x81…)",
            );
        }
        if !is_sized(public) || !is_sized(private) || public.len() + private.len() > MAX_PARTS {
            return wrong("is damaged", COPY_AGAIN);
        }
        Ok(TpmKeyFile {
            rsa_parent: self.rsa_parent,
            parent,
            public: public.to_vec(),
            private: private.to_vec(),
        })
    }
}

/// Whether it is exactly one `TPM2B`.
fn is_sized(bytes: &[u8]) -> bool {
    let mut reader = Unmarshaller::new(bytes);
    reader.sized().is_some_and(|content| !content.is_empty()) && reader.is_empty()
}

/// A BOOLEAN inside an explicit tag; any value but zero is true.
fn boolean(explicit: &[u8]) -> Option<bool> {
    match Element::definite(explicit)?.0 {
        Element { tag: BOOLEAN, content: [value], .. } => Some(*value != 0),
        _ => None,
    }
}

fn is_empty_sequence(explicit: &[u8]) -> bool {
    matches!(Element::definite(explicit), Some((Element { tag: SEQUENCE, content: [], .. }, _)))
}

/// A handle of 32 bits, with or without the leading zero.
fn handle(integer: &[u8]) -> Option<u32> {
    let significant = match integer {
        [0, rest @ ..] if rest.len() == 4 => rest,
        other => other,
    };
    if significant.is_empty() || significant.len() > 4 {
        return None;
    }
    Some(significant.iter().fold(0, |handle, byte| handle << 8 | u32::from(*byte)))
}
