//! Distinguished names as text, for every string type that CAs use.

use std::fmt;
use std::str::FromStr;

use x509_parser::asn1_rs::Tag;
use x509_parser::asn1_rs::ToDer as _;
use x509_parser::x509::AttributeTypeAndValue;
use x509_parser::x509::X509Name;

use anchord_core::digest::hex;

/// The text of an attribute's value. A value that is not text becomes `#` and its DER in hexadecimal (RFC 4514, 2.4).
///
/// TeletexString is read as Latin-1. T.61 differs, but CAs wrote Latin-1, and OpenSSL, NSS and Java read Latin-1.
pub fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let text = match value.tag() {
        Tag::BmpString => utf16(value.data),
        Tag::UniversalString => utf32(value.data),
        Tag::T61String => Some(latin1(value.data)),
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString
        | Tag::GeneralString
        | Tag::GraphicString
        | Tag::VideotexString
        | Tag::ObjectDescriptor => Some(utf8_or_latin1(value.data)),
        _ => None,
    };
    text.unwrap_or_else(|| format!("#{}", hex(&value.to_der_vec().unwrap_or_default())))
}

/// Attributes of a distinguished name: `CN=robot-7,O=Acme`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAttributes(pub(super) Vec<(String, String)>);

impl NameAttributes {
    /// All attributes of a name.
    pub(super) fn of(name: &X509Name<'_>) -> Self {
        Self(name.iter_attributes().map(attribute).collect())
    }

    /// Name and value of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether `name` has all of them, in any order.
    pub(super) fn are_in(&self, name: &X509Name<'_>) -> bool {
        let own = Self::of(name);
        self.0.iter().all(|wanted| own.0.contains(wanted))
    }
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> (String, String) {
    let oid = attribute.attr_type();
    let registry = x509_parser::objects::oid_registry();
    let name = x509_parser::objects::oid2abbrev(oid, registry);
    let name = name.map_or_else(|_| oid.to_id_string(), |name| name.to_ascii_uppercase());
    (name, attribute_text(attribute))
}

impl fmt::Display for NameAttributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{name}={}", value.replace('\\', "\\\\").replace(',', "\\,"))?;
        }
        Ok(())
    }
}

/// As RFC 4514 writes names: a comma between attributes, a backslash before a comma of a value.
impl FromStr for NameAttributes {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        let mut parts = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let part = parts.last_mut().ok_or(MalformedName)?;
            match letter {
                '\\' => part.push(letters.next().ok_or(MalformedName)?),
                ',' => parts.push(String::new()),
                other => part.push(other),
            }
        }
        let mut attributes = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(MalformedName)?;
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || value.is_empty() {
                return Err(MalformedName);
            }
            attributes.push((name.to_ascii_uppercase(), value.to_owned()));
        }
        Ok(Self(attributes))
    }
}

/// A text that is not a distinguished name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a name: it is attributes such as CN=robot-7,O=Acme")]
pub struct MalformedName;

/// A name as settings take it, on one line: its CA chose it, and it must not add lines to the output.
pub(super) fn shown(name: &X509Name<'_>) -> String {
    plain(&NameAttributes::of(name).to_string())
}

/// Text without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))).collect::<Result<_, _>>().ok()
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (letters, []) = bytes.as_chunks::<4>() else { return None };
    letters.iter().map(|letter| char::from_u32(u32::from_be_bytes(*letter))).collect()
}

/// Many CAs wrote Latin-1 letters into string types that allow ASCII only.
fn utf8_or_latin1(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_owned)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    /// A name with one common name, of this tag and content.
    fn name(tag: u8, content: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let attribute = [element(0x06, &[0x55, 4, 3]), element(tag, content)].concat();
        element(0x30, &element(0x31, &element(0x30, &attribute)))
    }

    fn text_of(tag: u8, content: &[u8]) -> String {
        let der = name(tag, content);
        shown(&X509Name::from_der(&der).unwrap().1)
    }

    #[test]
    fn a_name_is_shown_whatever_kind_of_string_it_is() {
        let utf16: Vec<u8> = "Müller 🤖".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf32: Vec<u8> = "Müller 🤖".chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect();

        for (tag, content, expected) in [
            (0x0c, "Müller 🤖".as_bytes(), "CN=Müller 🤖"),
            (0x13, b"robot-7", "CN=robot-7"),
            (0x13, b"M\xfcller", "CN=Müller"),
            (0x14, b"M\xfcller", "CN=Müller"),
            (0x14, "ü".as_bytes(), "CN=Ã¼"),
            (0x1a, b"robot-7", "CN=robot-7"),
            (0x1b, b"robot-7", "CN=robot-7"),
            (0x1c, &utf32, "CN=Müller 🤖"),
            (0x1e, &utf16, "CN=Müller 🤖"),
        ] {
            assert_eq!(text_of(tag, content), expected, "{tag:#x}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_in_hexadecimal_and_not_left_out() {
        assert_eq!(text_of(0x03, &[0, 0xa5]), "CN=#030200a5");
        assert_eq!(text_of(0x1e, &[0, 0x41, 0]), "CN=#1e03004100");
        assert_eq!(text_of(0x1e, &[0xd8, 0]), "CN=#1e02d800");
        assert_eq!(text_of(0x1c, &[0, 0x11, 0, 0]), "CN=#1c0400110000");
    }

    #[test]
    fn a_name_writes_no_lines_of_its_own() {
        assert_eq!(text_of(0x14, b"a\n\x85b"), "CN=a??b");
        assert_eq!(text_of(0x1e, &[0, 0x0a, 0, 0x41]), "CN=?A");
    }

    proptest! {
        #[test]
        fn no_value_vanishes(tag in 1_u8..31, content in prop::collection::vec(any::<u8>(), 1..40)) {
            let der = name(tag, &content);
            if let Ok((_, name)) = X509Name::from_der(&der) {
                prop_assert!(shown(&name).len() > "CN=".len());
            }
        }
    }
}
