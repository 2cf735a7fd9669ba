//! The text of names in certificates, as the service puts it into sessions.

use x509_parser::x509::AttributeTypeAndValue;

/// The text of a value by its tag; `None` where it is no text. TeletexString is Latin-1, as Java reads it.
pub(crate) fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag().0 {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString
        12 | 18 | 19 | 22 | 26 => std::str::from_utf8(bytes).ok().map(str::to_owned),
        // TeletexString
        20 => Some(bytes.iter().map(|byte| *byte as char).collect()),
        // UniversalString
        28 => {
            let letters = bytes.chunks(4).map(|four| four.try_into().ok().map(u32::from_be_bytes));
            letters.map(|letter| char::from_u32(letter?)).collect()
        }
        // BMPString
        30 => {
            let units = bytes.chunks(2).map(|two| two.try_into().ok().map(u16::from_be_bytes));
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::FromDer as _;
    use x509_parser::prelude::X509Certificate;

    use crate::Authority;
    use crate::KeyKind;
    use crate::LeafRequest;

    #[test]
    fn a_common_name_is_read_from_every_kind_of_string() {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        let leaf = root.leaf(&LeafRequest::new("", KeyKind::P256)).unwrap();
        for (tag, content, expected) in [
            (0x0c, "Müller".as_bytes(), Some("Müller")),
            (0x13, b"robot-7", Some("robot-7")),
            (0x14, b"M\xfcller", Some("Müller")),
            (0x1c, b"\0\0\0M\0\0\0\xfc", Some("Mü")),
            (0x1e, b"\0M\0\xfc", Some("Mü")),
            (0x1e, b"\0M\0", None),
            (0x03, b"\0M", None),
        ] {
            let leaf = root.with_subject(&leaf, &[(&[0x55, 4, 3], tag, content)]).unwrap();
            let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();

            let name = certificate.subject().iter_common_name().next().and_then(super::text);

            assert_eq!(name.as_deref(), expected, "{tag:#x}");
        }
    }
}
