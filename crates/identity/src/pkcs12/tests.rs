//! Files of OpenSSL and others (`make-fixtures` beside this), opened and refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::Loaded;
use crate::Locator;
use crate::Passphrase;
use crate::Source;
use crate::support::Folder;
use anchord_core::failure::Failure;

const FIXTURES: &str = include_str!("fixtures.txt");

/// The file of that name.
fn fixture(name: &str) -> Vec<u8> {
    let (_, file) = FIXTURES.split_once(&format!("= {name}\n")).unwrap();
    STANDARD.decode(file.lines().next().unwrap()).unwrap()
}

/// What the files are that can be opened and hold one key.
const GOOD: [&str; 9] = [
    "openssl default",
    "openssl legacy",
    "3des",
    "2des and rc2-128",
    "aes-128 and sha-512",
    "sha-384 mac",
    "not encrypted",
    "pbmac1",
    "open lengths",
];

fn origin() -> Origin {
    Origin::file("leaf.p12".as_ref())
}

fn secret(text: impl AsRef<[u8]>) -> Secret<Vec<u8>> {
    Secret::new(text.as_ref().to_vec())
}

fn password() -> Secret<Vec<u8>> {
    secret("Grüße 👋")
}

fn open_with(name: &str, password: Option<&Secret<Vec<u8>>>) -> Result<Contents, Error> {
    open(&origin(), &fixture(name), password)
}

/// What the log would say.
fn refusal(result: Result<Contents, Error>) -> String {
    Failure::from(result.unwrap_err()).to_string()
}

fn assert_is_whole(contents: &Contents, name: &str) {
    assert_eq!(contents.keys, [secret(fixture("key"))], "{name}");
    assert_eq!(contents.certificates, [fixture("leaf"), fixture("root")], "{name}");
}

#[test]
fn key_and_chain_are_found_however_they_are_protected() {
    for name in GOOD {
        let contents = open_with(name, Some(&password())).unwrap();

        assert_is_whole(&contents, name);
        assert_eq!(contents.warnings, [], "{name}");
    }
}

#[test]
fn an_empty_password_is_one_and_so_is_none() {
    for name in ["empty password", "empty password, legacy", "null password", "pyca, no password"] {
        for password in [None, Some(secret(""))] {
            let contents = open_with(name, password.as_ref()).unwrap();

            assert_is_whole(&contents, name);
        }
        assert!(
            refusal(open_with(name, Some(&password()))).contains("cannot be opened with this passphrase"),
            "{name}"
        );
    }
}

#[test]
fn several_keys_and_nested_bags_come_in_their_order() {
    let contents = open_with("several keys", Some(&password())).unwrap();

    assert_eq!(contents.keys, [secret(fixture("key")), secret(fixture("other key"))]);
    assert_eq!(contents.certificates, [fixture("other leaf"), fixture("root"), fixture("leaf")]);
}

#[test]
fn a_file_without_a_mac_is_opened_with_a_warning() {
    for name in ["no mac", "neither"] {
        let contents = open_with(name, Some(&password())).unwrap();

        assert_is_whole(&contents, name);
        assert_eq!(
            contents.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["the PKCS#12 file `leaf.p12` has no MAC, so its integrity cannot be checked; \
              hint: `openssl pkcs12 -export` without `-nomac` adds one"]
        );
    }
}

#[test]
fn without_a_password_or_with_a_wrong_one_it_is_said_what_to_set() {
    for name in GOOD.into_iter().chain(["no mac", "several keys"]) {
        assert_eq!(
            refusal(open_with(name, Some(&secret("battery staple")))),
            "the PKCS#12 file `leaf.p12` cannot be opened with this passphrase; \
             hint: correct what `passphrase` names; `openssl pkcs12 -in … -noout` tests a password",
            "{name}"
        );
        assert_eq!(
            refusal(open_with(name, None)),
            "the PKCS#12 file `leaf.p12` has a password, and no passphrase is set; \
             hint: set `passphrase`, such as `passphrase = \"file:/etc/anchord/passphrase\"`",
            "{name}"
        );
    }
    // Not UTF-8 at all.
    assert!(refusal(open_with("openssl legacy", Some(&secret([0xff, 0xfe])))).contains("cannot be opened"));
}

#[test]
fn what_is_not_read_is_named_with_what_converts_it() {
    let cases = [
        ("rc4", "pbeWithSHA1And128BitRC4"),
        ("des", "3DES-CBC (DES-EDE3-CBC)"),
        ("sha-224 mac", "2.16.840.1.101.3.4.2.4"),
        ("pbmac1 with sha-1", "1.2.840.113549.2.7"),
        ("signed", "a signature in place of a MAC"),
    ];
    for (name, scheme) in cases {
        assert_eq!(
            refusal(open_with(name, Some(&password()))),
            format!(
                "the PKCS#12 file `leaf.p12` is protected with {scheme}, which anchord does not read; hint: convert it: \
                 `openssl pkcs12 -in … -out all.pem`, then `openssl pkcs12 -export -in all.pem -out …`"
            )
        );
    }
}

#[test]
fn a_file_that_asks_for_absurd_work_is_refused_before_it_is_done() {
    for name in ["mac bomb", "pbmac1 bomb"] {
        assert_eq!(
            refusal(open_with(name, Some(&password()))).split(';').next().unwrap(),
            "the PKCS#12 file `leaf.p12` takes more than 2000000 rounds of key derivation to open",
            "{name}"
        );
    }
}

/// Or a file of a thousand parts would take a thousand times as long.
#[test]
fn the_limit_is_on_the_sum_of_all_parts() {
    // 2048 rounds for each of MAC, certificates and key.
    let file = fixture("openssl default");
    let pfx = Pfx::parse(&file).unwrap();
    let password = &Password::candidates(Some(&password()))[0];

    assert!(pfx.open(password, &mut Budget::of(3 * 2048)).is_ok());
    assert_eq!(pfx.open(password, &mut Budget::of(3 * 2048 - 1)).unwrap_err(), Pkcs12Fault::TooCostly);
}

#[test]
fn a_damaged_file_is_told_from_a_wrong_password() {
    let good = fixture("openssl default");
    let damaged = "the PKCS#12 file `leaf.p12` is damaged; hint: copy the file again, as binary";

    assert_eq!(refusal(open(&origin(), &good[..good.len() - 1], Some(&password()))), damaged);
    assert_eq!(refusal(open(&origin(), b"\x30\x03\x02\x01\x03", Some(&password()))), damaged);
    assert_eq!(refusal(open_with("mac overflow", Some(&password()))), damaged);
    // A line break behind it is what base64 tools leave.
    let longer = [&good, &b"\n"[..]].concat();
    assert!(open(&origin(), &longer, Some(&password())).is_ok());
}

#[test]
fn pkcs12_is_known_by_its_first_bytes() {
    for name in GOOD {
        let file = fixture(name);
        assert!(is_pfx(&file) && is_pfx(&file[..40]), "{name}");
    }
    for name in ["key", "leaf"] {
        assert!(!is_pfx(&fixture(name)), "{name}");
    }
    for bytes in [&b""[..], b"\x30", b"\x30\xff", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x05\x02\x01\x01"] {
        assert!(!is_pfx(bytes), "{bytes:?}");
    }
}

#[test]
fn open_lengths_do_not_lead_astray() {
    // Without an end, with one too many, and deeper than needed.
    assert_eq!(Element::first(b"\x30\x80\x04\x01a"), None);
    assert_eq!(Element::first(b"\x30\x80\x00\x00\x00\x00").unwrap().1, b"\x00\x00");
    assert_eq!(Element::first(&[0x30, 0x80].repeat(100_000)), None);
    assert_eq!(Element::first(b"\x04\x80\x00\x00"), None, "a string that is not in pieces has a length");
    assert_eq!(Element::first(b"\x30\x84\xff\xff\xff\xff\x00"), None);
}

#[test]
fn contents_print_no_key() {
    let contents = open_with("not encrypted", Some(&password())).unwrap();

    assert!(format!("{contents:?}").contains("keys: [[redacted]]"));
}

/// A source of files that hold what these fixtures do; PEM where the name says so.
fn load(certificate: &str, private_key: Option<&str>) -> Result<Loaded, crate::Error> {
    let folder = Folder::new();
    let place = |name: &str| {
        let content = match name.strip_suffix(".pem") {
            Some("key") => pem("PRIVATE KEY", &fixture("key")).into_bytes(),
            Some(name) => pem("CERTIFICATE", &fixture(name)).into_bytes(),
            None => fixture(name),
        };
        Locator::File(folder.write(name, content))
    };
    let source = Source {
        certificate: place(certificate),
        private_key: private_key.map(place),
        passphrase: Some(Passphrase::Given(Secret::new("Grüße 👋".into()))),
        ..Source::of_files("", "")
    };
    source.load(datetime!(2026-11-21 12:00 UTC))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn a_file_is_an_identity_alone_or_half_of_one() {
    for (certificate, private_key) in [
        ("openssl default", None),
        ("openssl default", Some("openssl default")),
        ("openssl default", Some("key alone")),
        ("certificates alone", Some("openssl legacy")),
        ("certificates alone", Some("key.pem")),
        ("leaf.pem", Some("key alone")),
    ] {
        let loaded = load(certificate, private_key).unwrap();

        assert_eq!(loaded.identity.leaf(), fixture("leaf"), "{certificate} {private_key:?}");
        assert_eq!(loaded.warnings, [], "{certificate} {private_key:?}");
    }
    assert_eq!(load("no mac", None).unwrap().warnings.len(), 1);
}

#[test]
fn of_several_keys_the_one_of_the_best_leaf_signs() {
    let loaded = load("several keys", None).unwrap();

    let leaf = loaded.identity.leaf().to_vec();
    assert!([fixture("leaf"), fixture("other leaf")].contains(&leaf));
}

#[test]
fn a_file_that_lacks_what_it_is_named_for_is_refused() {
    let text = |result: Result<Loaded, crate::Error>| {
        let text = Failure::from(result.unwrap_err()).to_string();
        text.split_once("` ").unwrap().1.to_owned()
    };

    assert_eq!(
        text(load("certificates alone", None)),
        "holds no private key, only PKCS#12 with certificates; hint: name the file with the private key in `private_key`"
    );
    assert_eq!(
        text(load("key alone", None)),
        "holds no certificate, only PKCS#12 with private keys; hint: name the file that holds the certificate"
    );
}

proptest! {
    #[test]
    fn no_bytes_whatever_make_opening_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        head in proptest::sample::select(vec![&b""[..], b"\x30\x80\x02\x01\x03", b"\x30\x82\x01\x00\x02\x01\x03\x30"]),
    ) {
        let bytes = [head, &bytes].concat();
        let _ = is_pfx(&bytes);
        prop_assert!(open(&origin(), &bytes, Some(&password())).is_err());
    }

    /// Those without a MAC get past the first door.
    #[test]
    fn no_damage_to_a_good_file_makes_opening_panic(
        name in proptest::sample::select(vec!["neither", "no mac", "open lengths", "openssl legacy", "pbmac1"]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = fixture(name);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        // Work is limited far below what a file may ask for, or this would take hours.
        if let Some(pfx) = Pfx::parse(&file) {
            let candidates = Password::candidates(Some(&password()));
            let _ = pfx.open(&candidates[0], &mut Budget::of(5000));
        }
    }
}
