//! PKCS#11 URIs (RFC 7512), which name a token and an object in it.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use super::protocol::Library;
use super::protocol::Token;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// A parsed `pkcs11:` URI. Displays as it was written, without the PIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    shown: String,
    library: LibraryPart,
    token: TokenPart,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    kind: Option<ObjectType>,
    pin_value: Option<Secret<Vec<u8>>>,
    pin_source: Option<PathBuf>,
    module: Option<ModuleReference>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LibraryPart {
    manufacturer: Option<String>,
    description: Option<String>,
    version: Option<(u8, u8)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TokenPart {
    label: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    slot_description: Option<String>,
    slot_manufacturer: Option<String>,
}

/// The value of `type` (RFC 7512, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// A certificate.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A public key.
    PublicKey,
    /// A secret key.
    SecretKey,
    /// A data object.
    Data,
}

/// The module that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModuleReference {
    /// `module-path`.
    Path(PathBuf),
    /// `module-name`, a file's name without folder and ending.
    Name(String),
}

impl Uri {
    /// Whether `text` has the scheme of such a URI.
    pub fn has_scheme(text: &str) -> bool {
        after_scheme(text).is_some()
    }

    /// The value of `type`.
    pub fn kind(&self) -> Option<ObjectType> {
        self.kind
    }

    /// The file that `pin-source` names.
    pub fn pin_source(&self) -> Option<&PathBuf> {
        self.pin_source.as_ref()
    }

    /// The value of `pin-value`.
    pub fn pin_value(&self) -> Option<&Secret<Vec<u8>>> {
        self.pin_value.as_ref()
    }

    pub(super) fn module(&self) -> Option<&ModuleReference> {
        self.module.as_ref()
    }

    /// A warning if a part is risky.
    pub fn warning(&self) -> Option<Notice> {
        self.pin_value.as_ref()?;
        let hint = [Say("put it into a file and name that in "), Key("passphrase")];
        let what = format!("`{self}` has its PIN in `pin-value`, where others may see it");
        Some(Notice::new(what).hinting(Text::of(&hint)))
    }

    /// The same URI, for an object with this `CKA_ID` in the same token.
    pub fn with_id(&self, id: &[u8]) -> Self {
        Self { object: None, id: Some(id.to_vec()), kind: None, ..self.clone() }
    }

    /// A name for its token without the object, to tell tokens apart. `module` counts if the URI names none.
    pub(crate) fn token_name(&self, module: Option<&Path>) -> String {
        format!("{:?} {module:?} {:?} {:?}", self.module, self.library, self.token)
    }

    /// Whether it names an object within its token.
    pub fn names_an_object(&self) -> bool {
        self.object.is_some() || self.id.is_some()
    }

    pub(super) fn fits_library(&self, library: &Library) -> bool {
        let part = &self.library;
        fits(&part.manufacturer, &library.manufacturer)
            && fits(&part.description, &library.description)
            && part.version.is_none_or(|version| version == library.version)
    }

    pub(super) fn fits_token(&self, token: &Token) -> bool {
        let part = &self.token;
        fits(&part.label, &token.name.label)
            && fits(&part.manufacturer, &token.name.manufacturer)
            && fits(&part.model, &token.name.model)
            && fits(&part.serial, &token.name.serial)
            && fits(&part.slot_description, &token.slot_description)
            && fits(&part.slot_manufacturer, &token.slot_manufacturer)
            && part.slot.is_none_or(|slot| slot == token.slot)
    }

    fn take(&mut self, place: UriComponent, name: &str, value: &[u8]) -> Result<(), UriError> {
        let text = |slot: &mut Option<String>| set(slot, name, utf8(name, value)?);
        match (place, name) {
            (UriComponent::Path, "token") => text(&mut self.token.label),
            (UriComponent::Path, "manufacturer") => text(&mut self.token.manufacturer),
            (UriComponent::Path, "model") => text(&mut self.token.model),
            (UriComponent::Path, "serial") => text(&mut self.token.serial),
            (UriComponent::Path, "slot-id") => set(&mut self.token.slot, name, number(name, value)?),
            (UriComponent::Path, "slot-description") => text(&mut self.token.slot_description),
            (UriComponent::Path, "slot-manufacturer") => text(&mut self.token.slot_manufacturer),
            (UriComponent::Path, "library-manufacturer") => text(&mut self.library.manufacturer),
            (UriComponent::Path, "library-description") => text(&mut self.library.description),
            (UriComponent::Path, "library-version") => {
                set(&mut self.library.version, name, version(name, value)?)
            }
            (UriComponent::Path, "object") => text(&mut self.object),
            (UriComponent::Path, "id") => set(&mut self.id, name, value.to_vec()),
            (UriComponent::Path, "type") => set(&mut self.kind, name, kind(value)?),
            (UriComponent::Query, "pin-value") => set(&mut self.pin_value, name, Secret::new(value.to_vec())),
            (UriComponent::Query, "pin-source") => set(&mut self.pin_source, name, pin_source(value)?),
            (UriComponent::Query, "module-path") => {
                set(&mut self.module, name, ModuleReference::Path(path(name, value)?))
            }
            (UriComponent::Query, "module-name") => {
                set(&mut self.module, name, ModuleReference::Name(module_name(value)?))
            }
            (_, vendors) if vendors.starts_with("x-") => Ok(()),
            _ => Err(UriError::Unknown { name: printable(name), place }),
        }
    }
}

/// PKCS#11 pads names with blanks, which cryptoki removes. `None` matches everything.
fn fits(wanted: &Option<String>, found: &str) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted.trim_end() == found.trim_end())
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = after_scheme(text).ok_or(UriError::Scheme)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let mut uri = Self::default();
        let mut shown = [String::new(), String::new()];
        let parts = [(UriComponent::Path, ";", path), (UriComponent::Query, "&", query.unwrap_or_default())];
        for (shown, (place, separator, part)) in shown.iter_mut().zip(parts) {
            let mut kept = Vec::new();
            for attribute in part.split(separator).filter(|attribute| !attribute.is_empty()) {
                let (name, value) = attribute.split_once('=').ok_or_else(|| missing_value(attribute))?;
                uri.take(place, name, &decode(name, value)?)?;
                if name != "pin-value" {
                    kept.push(attribute);
                }
            }
            *shown = kept.join(separator);
        }
        if uri.pin_value.is_some() && uri.pin_source.is_some() {
            return Err(UriError::TwoPins);
        }
        let [path, query] = shown;
        uri.shown = format!("pkcs11:{path}{}{query}", if query.is_empty() { "" } else { "?" });
        Ok(uri)
    }
}

/// Schemes are not case-sensitive (RFC 3986, 3.1).
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("pkcs11").then_some(rest)
}

/// Text without `=` may be part of a PIN that has a `&`. So the error shows it only if it is a known name.
fn missing_value(attribute: &str) -> UriError {
    let names =
        ["token", "object", "id", "type", "serial", "model", "manufacturer", "module-path", "pin-source"];
    let name = names.into_iter().find(|name| *name == attribute).unwrap_or("an attribute");
    UriError::NoValue { name: name.into() }
}

/// Percent-encodes a value, except letters, digits and `-._~`.
pub(super) fn encoded(value: &[u8]) -> String {
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encode(value, OTHERS).to_string()
}

/// The result may be a PIN, so it is wiped when dropped and its buffer does not grow.
fn decode(name: &str, value: &str) -> Result<Zeroizing<Vec<u8>>, UriError> {
    let bad = || UriError::Encoding { name: printable(name) };
    let mut bytes = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or_else(bad)?;
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(bad);
            let byte = digit(digits[0])? * 16 + digit(digits[1])?;
            bytes.push(u8::try_from(byte).map_err(|_| bad())?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    Ok(bytes)
}

fn set<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), UriError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice { name: name.into() }),
    }
}

fn invalid(name: &str, expected: &'static str) -> UriError {
    UriError::Value { name: name.into(), expected }
}

fn utf8(name: &str, value: &[u8]) -> Result<String, UriError> {
    String::from_utf8(value.to_vec()).map_err(|_| invalid(name, "text in UTF-8"))
}

fn number(name: &str, value: &[u8]) -> Result<u64, UriError> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| invalid(name, "a decimal number"))
}

/// `2` or `2.4`.
fn version(name: &str, value: &[u8]) -> Result<(u8, u8), UriError> {
    let bad = || invalid(name, "a version such as 2 or 2.4");
    let (major, minor) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, b"0".as_slice()),
    };
    let part =
        |digits| number(name, digits).ok().and_then(|number| u8::try_from(number).ok()).ok_or_else(bad);
    Ok((part(major)?, part(minor)?))
}

fn kind(value: &[u8]) -> Result<ObjectType, UriError> {
    match value {
        b"cert" => Ok(ObjectType::Certificate),
        b"private" => Ok(ObjectType::PrivateKey),
        b"public" => Ok(ObjectType::PublicKey),
        b"secret-key" => Ok(ObjectType::SecretKey),
        b"data" => Ok(ObjectType::Data),
        _ => Err(invalid("type", "cert, private, public, secret-key or data")),
    }
}

fn path(name: &str, value: &[u8]) -> Result<PathBuf, UriError> {
    let text = utf8(name, value)?;
    if text.is_empty() || text.contains('\0') {
        return Err(invalid(name, "a path"));
    }
    Ok(text.into())
}

/// A `file:` URI or a plain path (RFC 7512, 2.4); programs are not run for it.
fn pin_source(value: &[u8]) -> Result<PathBuf, UriError> {
    if value.first() == Some(&b'|') {
        return Err(UriError::Program);
    }
    let file = value.strip_prefix(b"file:").unwrap_or(value);
    let file = match file.strip_prefix(b"//") {
        // The host of a file URI is empty or this one (RFC 8089, 2).
        Some(rest) => rest.strip_prefix(b"localhost").unwrap_or(rest),
        None => file,
    };
    path("pin-source", file)
}

fn module_name(value: &[u8]) -> Result<String, UriError> {
    let name = utf8("module-name", value)?;
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(invalid("module-name", "a file's name without its directory"));
    }
    Ok(name)
}

/// A name that is safe in an error: a PIN in the wrong place must not be printed.
fn printable(name: &str) -> String {
    let is_plain = name.len() <= 24 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if is_plain { name.into() } else { "?".into() }
}

/// The component of a URI that an attribute is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriComponent {
    /// Before the question mark: identifies the object.
    Path,
    /// After the question mark: how to access it.
    Query,
}

impl fmt::Display for UriComponent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Path => "path",
            Self::Query => "query",
        })
    }
}

/// Why a text is not a PKCS#11 URI. It never contains a value, which may be a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It does not begin with `pkcs11:`.
    #[error("a PKCS#11 URI begins with `pkcs11:`")]
    Scheme,
    /// An attribute without a value.
    #[error("{name} of the PKCS#11 URI has no value")]
    NoValue {
        /// Its name, if it is a known one.
        name: String,
    },
    /// A percent sign without two hexadecimal digits.
    #[error("the PKCS#11 URI's `{name}` has a `%` that is not followed by two hexadecimal digits")]
    Encoding {
        /// The attribute.
        name: String,
    },
    /// An attribute occurs twice.
    #[error("the PKCS#11 URI has `{name}`, or an attribute of the same kind, twice")]
    Twice {
        /// The attribute.
        name: String,
    },
    /// An attribute that RFC 7512 does not define in this component.
    #[error("`{name}` is not an attribute of a PKCS#11 URI's {place}")]
    Unknown {
        /// The attribute.
        name: String,
        /// Where it stands.
        place: UriComponent,
    },
    /// A malformed value.
    #[error("the PKCS#11 URI's `{name}` is not {expected}")]
    Value {
        /// The attribute.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `pin-source` names a program.
    #[error("the PKCS#11 URI's `pin-source` is a program, which is not run")]
    Program,
    /// Both a PIN and a file for it.
    #[error("the PKCS#11 URI has both `pin-value` and `pin-source`")]
    TwoPins,
}

impl Classify for UriError {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Scheme | Self::NoValue { .. } => "write it as `pkcs11:token=NAME;object=NAME`",
            Self::Encoding { .. } => "a percent sign itself is written `%25`",
            Self::Twice { .. } => "name each once; `module-path` and `module-name` exclude each other",
            Self::Unknown { place: UriComponent::Path, .. } => {
                "attributes are separated by `;`, and `pin-source`, `module-path` and the like follow a `?`"
            }
            Self::Unknown { place: UriComponent::Query, .. } => {
                "after the `?` there may be pin-source, pin-value, module-path and module-name, separated by `&`"
            }
            Self::Value { .. } => "see RFC 7512, section 2.3, for what it may be",
            Self::Program => "write the PIN into a file and name that",
            Self::TwoPins => "leave one of them out",
        };
        Some(hint.into())
    }
}
