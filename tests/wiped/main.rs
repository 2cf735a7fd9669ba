//! Private keys and passphrases are not left in memory: whatever held one is overwritten before it is given back.
//!
//! An allocator looks into each block that is freed while a key of each kind of file, and of a SPIFFE agent, is loaded,
//! signs and is dropped. What a library leaves is listed, exactly, so that it is noticed when one improves or another one
//! does not. Neither the stack nor registers can be looked into so; what is known of them is in SECURITY.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

#[cfg(feature = "spiffe")]
mod agent;
mod watch;

use std::path::PathBuf;

use anchord_core::clock::Clock;
use anchord_core::secret::Secret;
use anchord_emulator::Authority;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use anchord_identity::Passphrase;
use anchord_identity::Source;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use watch::Canary;
use watch::Found;
use watch::Watching;
use watch::found_in;
use watch::known_as;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Enough to be nobody else's.
const LENGTH: usize = 16;

/// `value` as it stands in files, and as numbers are held in memory, the least significant byte first.
fn both_ways(name: [&'static str; 2], value: &[u8]) -> [Canary; 2] {
    let bytes = value[value.len() - LENGTH..].to_vec();
    let reversed = bytes.iter().rev().copied().collect();
    [Canary { name: name[0], bytes }, Canary { name: name[1], bytes: reversed }]
}

/// The part of a PEM section's text that stands for `value`.
fn in_base64(der: &[u8], value: &[u8]) -> Canary {
    let at = der.windows(value.len()).position(|window| window == value).unwrap();
    let text = STANDARD.encode(der);
    // The first whole group of four letters in it, not across the end of a line of 64.
    let start = at.div_ceil(3) * 4;
    let start = if start % 64 + LENGTH > 64 { start.next_multiple_of(64) } else { start };
    Canary { name: "base64", bytes: text.as_bytes()[start..start + LENGTH].to_vec() }
}

fn passphrases(passphrase: &str) -> [Canary; 2] {
    let wide = passphrase.encode_utf16().flat_map(u16::to_be_bytes).collect();
    [
        Canary { name: "passphrase", bytes: passphrase.into() },
        Canary { name: "passphrase in UTF-16", bytes: wide },
    ]
}

/// What is in the elements of DER, one level deep.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [_, length, rest @ ..] = der {
        let digits = if *length < 0x80 { 0 } else { usize::from(length & 0x7f) };
        let long = rest[..digits].iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        let length = if *length < 0x80 { usize::from(*length) } else { long };
        let (content, after) = rest[digits..].split_at(length);
        found.push(content);
        der = after;
    }
    found
}

/// The content of PKCS#8's `privateKey`.
fn private_key(pkcs8: &[u8]) -> &[u8] {
    elements(elements(pkcs8)[0])[2]
}

fn scalar(pkcs8: &[u8]) -> &[u8] {
    elements(elements(private_key(pkcs8))[0])[1]
}

fn leaf(kind: KeyKind) -> Leaf {
    let root = Authority::root("root", KeyKind::P256).unwrap();
    root.leaf(&LeafRequest::new("robot", kind)).unwrap()
}

/// What is left of `canaries` after loading, signing and dropping all of it.
fn leaks_from(canaries: Vec<Canary>, source: &Source) -> Vec<Found> {
    let use_it = || {
        let loaded = source.load(Clock::system().now()).unwrap();
        loaded.identity.key().sign(b"string to sign").unwrap();
    };
    found_in(canaries, use_it).into_iter().collect()
}

/// The same with files of this content.
fn leaks(canaries: Vec<Canary>, certificate: &[u8], key: &[u8], passphrase: Option<&str>) -> Vec<Found> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path: PathBuf = folder.path().join(name);
        fs_err::write(&path, content).unwrap();
        path
    };
    let passphrase = passphrase.map(|passphrase| write("passphrase", passphrase.as_bytes()));
    let source = Source {
        passphrase: passphrase.map(Passphrase::File),
        ..Source::of_files(write("leaf.pem", certificate), write("key", key))
    };
    leaks_from(canaries, &source)
}

fn leaks_of(leaf: &Leaf, form: KeyForm, canaries: impl IntoIterator<Item = Canary>) -> Vec<Found> {
    let key = leaf.key_pem(form).unwrap();
    leaks(canaries.into_iter().collect(), leaf.certificate_pem().as_bytes(), key.as_bytes(), None)
}

fn der_of(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(text).unwrap()
}

#[test]
fn a_copy_that_is_not_overwritten_is_found() {
    let canary = || vec![Canary { name: "canary", bytes: b"0123456789abcdef".to_vec() }];
    let copy = || b"-0123456789abcdef-".to_vec();
    let names = |found: Vec<Found>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let of = |work: fn(Vec<u8>)| {
        let copy = copy();
        names(found_in(canary(), || work(copy)).into_iter().collect())
    };

    assert_eq!(of(drop), ["canary"]);
    assert_eq!(
        of(|mut grows| {
            grows.reserve(1000);
            drop(Secret::new(grows));
        }),
        ["canary"]
    );
    assert!(of(|copy| drop(Secret::new(copy))).is_empty());
}

#[test]
fn keys_on_curves_are_overwritten() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let leaf = leaf(kind);
        for form in [KeyForm::Pkcs8, KeyForm::Sec1] {
            let scalar = scalar(leaf.key_pkcs8_der());
            let base64 = in_base64(&der_of(&leaf.key_pem(form).unwrap()), scalar);
            let canaries = both_ways(["scalar", "scalar, reversed"], scalar).into_iter().chain([base64]);

            assert_eq!(leaks_of(&leaf, form, canaries), [], "{kind} {form}");
        }
    }
}

#[cfg(feature = "ml-dsa")]
#[test]
fn ml_dsa_keys_are_overwritten() {
    for kind in [KeyKind::MlDsa44, KeyKind::MlDsa65, KeyKind::MlDsa87] {
        let leaf = leaf(kind);
        for form in [KeyForm::Pkcs8, KeyForm::Expanded, KeyForm::SeedAndExpanded] {
            let seed = elements(private_key(leaf.key_pkcs8_der()))[0];
            let whole = der_of(&leaf.key_pem(KeyForm::SeedAndExpanded).unwrap());
            let expanded = elements(elements(private_key(&whole))[0])[1];
            // After the public seed there is K, and behind the public key's hash s1.
            let (random_key, s1) = (&expanded[32..64], &expanded[128..192]);
            let file = der_of(&leaf.key_pem(form).unwrap());
            let base64 = in_base64(&file, if form == KeyForm::Expanded { s1 } else { seed });
            let canaries = both_ways(["seed", "seed, reversed"], seed).into_iter();
            let canaries = canaries.chain(both_ways(["K", "K, reversed"], random_key));
            let canaries = canaries.chain(both_ways(["s1", "s1, reversed"], s1)).chain([base64]);

            assert_eq!(leaks_of(&leaf, form, canaries), [], "{kind} {form}");
        }
    }
}

/// ring overwrites nothing: it keeps the primes, and while it checks them the private exponent, as numbers.
#[test]
fn of_rsa_keys_ring_leaves_what_it_computes_with() {
    let leaf = leaf(KeyKind::Rsa2048);
    let pkcs1 = elements(private_key(leaf.key_pkcs8_der()))[0];
    let [_, _, _, d, p, q, ..] = elements(pkcs1)[..] else { panic!("two primes") };
    let values = [(["d", "d, reversed"], d), (["p", "p, reversed"], p), (["q", "q, reversed"], q)];
    let left = ["d, reversed", "p, reversed", "q, reversed"].map(|name| (name, known_as("ring")));
    for form in [KeyForm::Pkcs8, KeyForm::Pkcs1] {
        let base64 = in_base64(&der_of(&leaf.key_pem(form).unwrap()), p);
        let canaries = values.into_iter().flat_map(|(names, value)| both_ways(names, value)).chain([base64]);

        assert_eq!(leaks_of(&leaf, form, canaries), left, "{form}");
    }
}

/// One of the committed files: what stands under a line that names it.
fn fixture<'a>(all: &'a str, name: &str) -> &'a str {
    let start = all.find(&format!("= {name}\n")).unwrap() + name.len() + 3;
    all[start..].split("= ").next().unwrap()
}

/// The `SubjectPublicKeyInfo` of a P-256 key in PKCS#8.
fn public_key(pkcs8: &[u8]) -> Vec<u8> {
    const HEAD: &[u8] =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    [HEAD, elements(elements(private_key(pkcs8))[0])[2]].concat()
}

#[test]
fn neither_encrypted_keys_nor_their_passphrases_are_left() {
    const PASSPHRASE: &str = "correct horse";
    let all = include_str!("../../crates/identity/src/key/encrypted/fixtures.pem");
    let root = Authority::root("root", KeyKind::P256).unwrap();
    let key = der_of(fixture(all, "plain"));
    let certificate = root.leaf_for(&public_key(&key), &LeafRequest::new("robot", KeyKind::P256)).unwrap();
    for name in ["aes-128-cbc hmacWithSHA1", "aes-256-cbc hmacWithSHA512", "aes-256-cbc scrypt"] {
        let canaries = both_ways(["scalar", "scalar, reversed"], scalar(&key))
            .into_iter()
            .chain(passphrases(PASSPHRASE));
        let file = fixture(all, name).as_bytes();

        let found = leaks(canaries.collect(), certificate.pem().as_bytes(), file, Some(PASSPHRASE));

        assert_eq!(found, [], "{name}");
    }
}

#[cfg(feature = "pkcs12")]
#[test]
fn nothing_of_pkcs12_files_is_left() {
    const PASSWORD: &str = "Grüße 👋";
    let all = include_str!("../../crates/identity/src/pkcs12/fixtures.txt");
    let decoded = |name| STANDARD.decode(fixture(all, name).trim()).unwrap();
    let key = decoded("key");
    for name in ["openssl default", "openssl legacy", "not encrypted", "pbmac1", "open lengths"] {
        let canaries =
            both_ways(["scalar", "scalar, reversed"], scalar(&key)).into_iter().chain(passphrases(PASSWORD));
        let file = decoded(name);

        let found = leaks(canaries.collect(), &file, &file, Some(PASSWORD));

        assert_eq!(found, [], "{name}");
    }
}
