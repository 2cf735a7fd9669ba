//! The protocol between the daemon and the process that holds a module.
//!
//! A frame is two lengths (four bytes each, big-endian), JSON, and a secret. The PIN is not in the JSON, because the
//! JSON writer does not wipe its buffers. Requests have a number, and replies come in any order.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::de::Error as _;
use zeroize::Zeroizing;

use anchord_core::secret::Secret;

/// Far more than a token full of certificates.
const MAX_JSON: u32 = 8 << 20;

/// Far longer than any PIN.
const MAX_SECRET: u32 = 64 << 10;

/// The most objects of one class that are read from a token.
pub(super) const MAX_OBJECTS: usize = 1000;

/// A request of the daemon; the frame's secret is the PIN.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostRequest {
    pub(super) number: u64,
    pub(super) task: TokenOperation,
    /// Whether this PIN was sent before without an answer. Then it is not tried if the token counts a wrong PIN.
    pub(super) careful: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TokenOperation {
    /// Lists the tokens.
    Tokens,
    /// Lists objects in a token.
    Find { place: TokenSlot, class: ObjectClass, id: Option<Bytes>, label: Option<String>, login: bool },
    /// Signs with a key.
    Sign { place: TokenSlot, key: KeyName, message: Bytes },
}

impl TokenOperation {
    pub(super) fn place(&self) -> Option<&TokenSlot> {
        match self {
            Self::Tokens => None,
            Self::Find { place, .. } | Self::Sign { place, .. } => Some(place),
        }
    }
}

/// A token and its last known slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenSlot {
    pub(super) slot: u64,
    pub(super) token: TokenName,
}

/// What identifies a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct TokenName {
    pub(super) label: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) serial: String,
}

impl fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` (serial {}, {})", self.label, self.serial, self.model)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) slot: u64,
    pub(super) name: TokenName,
    pub(super) slot_description: String,
    pub(super) slot_manufacturer: String,
}

impl Token {
    pub(super) fn place(&self) -> TokenSlot {
        TokenSlot { slot: self.slot, token: self.name.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Library {
    pub(super) manufacturer: String,
    pub(super) description: String,
    pub(super) version: (u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ObjectClass {
    Certificate,
    PublicKey,
    PrivateKey,
}

/// The attributes of an object; those it does not have or show are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) label: String,
    pub(super) id: Bytes,
    /// `CKA_VALUE` of a certificate.
    pub(super) value: Bytes,
    pub(super) kind: Option<TokenKeyType>,
    pub(super) modulus: Bytes,
    pub(super) exponent: Bytes,
    /// `CKA_EC_PARAMS`
    pub(super) curve: Bytes,
    /// `CKA_EC_POINT`
    pub(super) point: Bytes,
    /// `CKA_PUBLIC_KEY_INFO`
    pub(super) public_key_info: Bytes,
    pub(super) always_authenticate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum TokenKeyType {
    Rsa,
    Ec,
    Other,
}

/// How to find a private key again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct KeyName {
    pub(super) id: Bytes,
    pub(super) label: String,
    pub(super) kind: TokenKeyType,
    pub(super) always_authenticate: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostReply {
    pub(super) number: u64,
    pub(super) pin: PinOutcome,
    pub(super) result: Result<TokenResponse, ModuleFault>,
}

/// The outcome of the PIN in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PinOutcome {
    /// The token did not get it.
    #[default]
    Untried,
    /// The token accepted it.
    Taken,
    /// The token refused it.
    Refused,
    /// The token got it and returned another error, or did not answer.
    Unknown,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TokenResponse {
    Tokens {
        library: Library,
        tokens: Vec<Token>,
    },
    Objects(Vec<Object>),
    /// As the token returned it: `r` and `s` for EC, the signature for RSA.
    Signature(Bytes),
}

/// An error of a module or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ModuleFault {
    /// The module cannot be loaded, or is not a PKCS#11 module.
    NotAModule(String),
    /// The module was loaded, but does not start.
    Initialize(String),
    /// The token is not in this slot.
    TokenGone,
    /// The key is not in this token.
    KeyGone,
    /// The token requires a PIN, and there is none.
    PinNeeded,
    /// The token refused the PIN.
    PinRefused(String),
    /// The PIN was not tried: the token has locked it.
    PinLocked,
    /// The PIN was not tried: the token would lock it if it were wrong.
    PinFinalTry,
    /// The PIN was not tried: it may be the one that the token has counted as wrong.
    PinUncertain,
    /// The token cannot sign in this way.
    Mechanism(String),
    /// More than [`MAX_OBJECTS`] objects match.
    TooMany,
    /// The session with the token was lost, twice.
    Lost(String),
    /// Anything else.
    Failed(String),
}

/// Bytes, as base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Writes one frame.
pub(super) fn write(
    to: &mut (impl Write + ?Sized),
    head: &impl Serialize,
    secret: Option<&Secret<Vec<u8>>>,
) -> io::Result<()> {
    let json = serde_json::to_vec(head)?;
    let secret = secret.map_or([].as_slice(), |secret| secret.expose().as_slice());
    to.write_all(&length(&json, MAX_JSON)?.to_be_bytes())?;
    to.write_all(&length(secret, MAX_SECRET)?.to_be_bytes())?;
    to.write_all(&json)?;
    to.write_all(secret)?;
    to.flush()
}

fn length(bytes: &[u8], limit: u32) -> io::Result<u32> {
    match u32::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Reads one frame; `None` if the other side has ended between two frames.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(T, Secret<Vec<u8>>)>> {
    let mut lengths = [0; 8];
    if from.read(&mut lengths[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut lengths[1..])?;
    let [a, b, c, d, e, f, g, h] = lengths;
    let (json, secret) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    if json > MAX_JSON || secret > MAX_SECRET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // The buffer grows with the received bytes; the announced length could be too large.
    let mut head = Vec::new();
    from.take(u64::from(json)).read_to_end(&mut head)?;
    if head.len() as u64 != u64::from(json) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // Not read_to_end: a growing vector leaves copies of the PIN in memory.
    let mut hidden = Zeroizing::new(vec![0; secret as usize]);
    from.read_exact(&mut hidden)?;
    Ok(Some((serde_json::from_slice(&head)?, Secret::new(std::mem::take(&mut *hidden)))))
}
