//! What is a PKCS#11 URI, and which tokens it fits.

use proptest::prelude::*;

use crate::pkcs11::ObjectType;
use crate::pkcs11::Uri;
use crate::pkcs11::UriError;
use crate::pkcs11::protocol::Library;
use crate::pkcs11::protocol::Token;
use crate::pkcs11::protocol::TokenName;
use anchord_core::failure::Classify as _;

const FULL: &str = "pkcs11:token=The%20robots;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=66fe;slot-id=17;\
                    slot-description=SoftHSM%20slot;slot-manufacturer=SoftHSM%20project;library-manufacturer=SoftHSM;\
                    library-description=Implementation%20of%20PKCS11;library-version=2.6;object=leaf%3b1;id=%01%AbZ;\
                    type=private;x-vendor=1?module-path=/usr/lib/x.so&pin-source=file:/etc/pin&x-more=2";

fn uri(text: &str) -> Uri {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> UriError {
    text.parse::<Uri>().expect_err(text)
}

fn token() -> Token {
    Token {
        slot: 17,
        name: TokenName {
            label: "The robots".into(),
            manufacturer: "SoftHSM project".into(),
            model: "SoftHSM v2".into(),
            serial: "66fe".into(),
        },
        slot_description: "SoftHSM slot".into(),
        slot_manufacturer: "SoftHSM project".into(),
    }
}

fn library() -> Library {
    Library {
        manufacturer: "SoftHSM".into(),
        description: "Implementation of PKCS11".into(),
        version: (2, 6),
    }
}

#[test]
fn every_attribute_of_the_standard_is_understood() {
    let uri = uri(FULL);

    assert!(uri.fits_token(&token()) && uri.fits_library(&library()));
    assert_eq!(
        (uri.object.as_deref(), uri.id.as_deref()),
        (Some("leaf;1"), Some([1, 0xab, b'Z'].as_slice()))
    );
    assert_eq!(uri.kind(), Some(ObjectType::PrivateKey));
    assert_eq!(uri.pin_source().unwrap().to_str(), Some("/etc/pin"));
    assert_eq!(uri.to_string(), FULL);
}

#[test]
fn what_is_shown_of_a_uri_means_the_same() {
    for (text, shown) in [
        ("pkcs11:", "pkcs11:"),
        ("pkcs11:?", "pkcs11:"),
        ("pkcs11:?pin-source=/p", "pkcs11:?pin-source=/p"),
        ("pkcs11:;;?pin-source=/p", "pkcs11:?pin-source=/p"),
        ("pkcs11:;token=a;?&pin-value=1&", "pkcs11:token=a"),
        ("pkcs11:?pin-value=1&module-path=/m.so", "pkcs11:?module-path=/m.so"),
    ] {
        assert_eq!(uri(text).to_string(), shown, "{text}");
        assert_eq!(uri(shown).to_string(), shown);
    }
}

#[test]
fn a_token_that_differs_in_one_attribute_does_not_fit() {
    for different in [
        "token=others",
        "manufacturer=x",
        "model=x",
        "serial=66ff",
        "slot-id=18",
        "slot-description=x",
        "slot-manufacturer=x",
    ] {
        assert!(!uri(&format!("pkcs11:{different}")).fits_token(&token()), "{different}");
    }
    for different in
        ["library-manufacturer=x", "library-description=x", "library-version=2", "library-version=3.6"]
    {
        assert!(!uri(&format!("pkcs11:{different}")).fits_library(&library()), "{different}");
    }
    assert!(uri("pkcs11:").fits_token(&token()) && uri("pkcs11:").fits_library(&library()));
}

#[test]
fn the_examples_of_the_standard_are_understood() {
    // RFC 7512, section 3.
    for text in [
        "pkcs11:",
        "pkcs11:object=my-pubkey;type=public",
        "pkcs11:object=my-key;type=private?pin-source=file:/etc/token",
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
        "pkcs11:object=my-sign-key;type=private?module-name=mypkcs11",
        "pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1",
        "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
        "pkcs11:slot-description=Sun%20Metaslot",
        "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
        "pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
    ] {
        uri(text);
    }
    assert!("pkcs11:token=A%20sub%XXd".parse::<Uri>().is_err());
}

#[test]
fn mistakes_are_reported_with_what_to_do() {
    for (text, said) in [
        ("/etc/key.pem", "begins with `pkcs11:`"),
        ("pkcs11:token", "token of the PKCS#11 URI has no value"),
        ("pkcs11:token=a%2", "`token` has a `%`"),
        ("pkcs11:id=%", "`id` has a `%`"),
        ("pkcs11:token=a;token=b", "has `token`, or an attribute of the same kind, twice"),
        (
            "pkcs11:?module-path=/a&module-name=b",
            "has `module-name`, or an attribute of the same kind, twice",
        ),
        ("pkcs11:tokne=a", "`tokne` is not an attribute of a PKCS#11 URI's path"),
        ("pkcs11:pin-value=1", "`pin-value` is not an attribute of a PKCS#11 URI's path"),
        ("pkcs11:?token=a", "`token` is not an attribute of a PKCS#11 URI's query"),
        ("pkcs11:slot-id=one", "`slot-id` is not a decimal number"),
        ("pkcs11:slot-id=99999999999999999999", "`slot-id` is not a decimal number"),
        ("pkcs11:library-version=2.300", "`library-version` is not a version"),
        ("pkcs11:type=key", "`type` is not cert, private"),
        ("pkcs11:object=%ff", "`object` is not text in UTF-8"),
        ("pkcs11:?pin-source=|cat%20/etc/pin", "`pin-source` is a program"),
        ("pkcs11:?pin-source=%7Ccat", "`pin-source` is a program"),
        ("pkcs11:?module-name=../../x", "`module-name` is not a file's name"),
        ("pkcs11:?module-path=", "`module-path` is not a path"),
        ("pkcs11:?pin-value=1&pin-source=/x", "both `pin-value` and `pin-source`"),
    ] {
        let error = refused(text);

        assert!(error.to_string().contains(said), "{text}: {error}");
        assert!(error.hint().is_some(), "{text}");
    }
}

#[test]
fn a_pin_in_the_uri_is_used_and_warned_of_and_never_shown() {
    let uri = uri("pkcs11:token=robots?pin-value=s%33cret&module-path=/x.so");

    assert_eq!(uri.pin_value().unwrap().expose(), b"s3cret");
    assert_eq!(uri.to_string(), "pkcs11:token=robots?module-path=/x.so");
    assert!(
        uri.warning()
            .unwrap()
            .what
            .contains("`pkcs11:token=robots?module-path=/x.so` has its PIN in `pin-value`")
    );
    assert!(!format!("{uri:?}{:?}", uri.warning()).contains("cret"));
    let slips =
        ["pkcs11:?pin-value=s3cret%", "pkcs11:?pin-value=a&s3cret", "pkcs11:?s3cret=1", "pkcs11:s3cret"];
    for slip in slips {
        let error = refused(slip);

        assert!(!format!("{error}{error:?}{:?}", error.hint()).contains("s3cret"), "{slip}: {error}");
    }
}

#[test]
fn a_pin_source_is_a_file_uri_or_a_path() {
    for source in ["file:/etc/pin", "file:///etc/pin", "file://localhost/etc/pin", "/etc/pin", "%2Fetc/pin"] {
        let uri = uri(&format!("pkcs11:?pin-source={source}"));

        assert_eq!(uri.pin_source().unwrap().to_str(), Some("/etc/pin"), "{source}");
    }
}

#[test]
fn the_scheme_is_told_without_regard_to_case() {
    assert!(
        Uri::has_scheme("PKCS11:token=a") && !Uri::has_scheme("pkcs11/token") && !Uri::has_scheme("tpm:1")
    );
    assert_eq!(uri("PKCS11:token=a").to_string(), "pkcs11:token=a");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Uri>();
        let _ = format!("pkcs11:{text}").parse::<Uri>();
    }

    #[test]
    fn no_change_of_a_good_uri_panics(at in 0..FULL.len(), with in "[;&?=%|a-f0-9é]{0,4}", length in 0..8_usize) {
        // FULL is ASCII, so that any byte is a boundary.
        let end = (at + length).min(FULL.len());
        let text = format!("{}{with}{}", &FULL[..at], &FULL[end..]);
        if let Ok(uri) = text.parse::<Uri>() {
            let shown = uri.to_string();
            prop_assert_eq!(shown.parse::<Uri>().map(|again| again.to_string()), Ok(shown));
        }
    }

    #[test]
    fn any_bytes_can_be_written_as_an_id(id in prop::collection::vec(any::<u8>(), 0..40)) {
        let written: String = id.iter().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(uri(&format!("pkcs11:id={written}")).id, Some(id));
    }
}
