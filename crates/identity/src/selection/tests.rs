//! Which certificates a selection means.

use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use proptest::prelude::*;
use x509_parser::prelude::FromDer as _;

use super::*;
use crate::name::MalformedName;
use crate::support::root;

fn leaf(serial: &[u8]) -> Vec<u8> {
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(serial.to_vec());
    root().leaf(&request).unwrap().certificate_der().to_vec()
}

fn names(selection: &LeafSelection, der: &[u8]) -> bool {
    selection.names(&X509Certificate::from_der(der).unwrap().1)
}

#[test]
fn a_fingerprint_is_what_openssl_prints() {
    let der = leaf(&[7]);
    let own = Fingerprint::of(&der);
    let digits = own.to_string().replace("sha256:", "").to_ascii_uppercase();
    let pairs: Vec<&str> =
        digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    let as_openssl = format!("sha256 Fingerprint={}", pairs.join(":"));
    assert_eq!(pairs.join(":").parse(), Ok(own));
    let pinned =
        LeafSelection { fingerprints: vec![as_openssl.parse().unwrap()], ..LeafSelection::default() };

    assert!(pinned.pins(&der));
    assert!(!pinned.pins(&leaf(&[7])), "another key, another certificate");
    assert!(LeafSelection::default().pins(&der));
}

#[test]
fn attributes_may_stand_anywhere_in_a_name_and_all_must_be_there() {
    let der = leaf(&[7]);
    let of =
        |subject: &str| LeafSelection { subject: Some(subject.parse().unwrap()), ..LeafSelection::default() };

    assert!(names(&of("CN=robot-7"), &der));
    assert!(names(&of(" cn = robot-7 "), &der));
    assert!(!names(&of("CN=robot-8"), &der));
    assert!(!names(&of("CN=robot-7,O=Acme"), &der));
    let issuer = LeafSelection { issuer: Some("CN=Test root".parse().unwrap()), ..LeafSelection::default() };
    assert!(names(&issuer, &der) && !names(&of("CN=Test root"), &der));
}

#[test]
fn a_serial_is_decimal_or_hexadecimal_after_0x() {
    let der = leaf(&[0x01, 0x00, 0xff]);
    let of =
        |serial: &str| LeafSelection { serial: Some(serial.parse().unwrap()), ..LeafSelection::default() };

    for same in ["65791", "0x0100ff", "0x100FF", "0x01:00:ff", "00065791", "0100ff", "0100FF"] {
        assert!(names(&of(same), &der), "{same}");
    }
    for other in ["65792", "0x65791", "100"] {
        assert!(!names(&of(other), &der), "{other}");
    }
}

#[test]
fn what_names_no_certificate_is_refused() {
    for text in [
        "",
        "sha256:",
        "sha1:00",
        "sha256 00",
        &format!("sha256:{}", "0".repeat(63)),
        &format!("sha256:{}", "0".repeat(66)),
    ] {
        assert_eq!(text.parse::<Fingerprint>(), Err(MalformedSelector::Fingerprint), "{text}");
    }
    for text in ["", "robot-7", "CN=", "=x", "CN=a,", "CN=a\\"] {
        assert_eq!(text.parse::<NameAttributes>(), Err(MalformedName), "{text}");
    }
    for text in ["", "0x", "fg", "-1", "1.0", "0xg0"] {
        assert_eq!(text.parse::<Serial>(), Err(MalformedSelector::Serial), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_one_panic(text in "\\PC{0,80}") {
        let _ = text.parse::<Fingerprint>();
        let _ = text.parse::<NameAttributes>();
        let _ = text.parse::<Serial>();
    }

    #[test]
    fn attributes_are_read_as_they_are_printed(value in "[a-z,\\\\ö]{0,10}[a-z]") {
        let printed = NameAttributes(vec![("CN".into(), value.clone()), ("O".into(), "x".into())]).to_string();
        prop_assert_eq!(printed.parse::<NameAttributes>().unwrap().0[0].1.clone(), value);
    }

    #[test]
    fn decimal_and_hexadecimal_mean_the_same(number in 1_u128..) {
        let decimal: Serial = number.to_string().parse().unwrap();
        prop_assert_eq!(decimal, format!("{number:#x}").parse().unwrap());
    }
}
