//! Every scheme in files that OpenSSL wrote (`make-fixtures` beside this), read and refused.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::FileContent;
use crate::Passphrase;
use crate::SigningKey;
use crate::key;
use crate::key::Error;
use crate::support::Folder;
use anchord_core::failure::Failure;

const FIXTURES: &str = include_str!("fixtures.pem");

/// The file of that name.
fn fixture(name: &str) -> &'static str {
    let (_, file) = FIXTURES.split_once(&format!("= {name}\n")).unwrap();
    file.split("\n= ").next().unwrap()
}

fn names() -> impl Iterator<Item = &'static str> {
    FIXTURES.lines().filter_map(|line| line.strip_prefix("= "))
}

fn given(passphrase: &str) -> Passphrase {
    Passphrase::Given(Secret::new(passphrase.to_owned()))
}

fn load(pem: &str, passphrase: Option<&Passphrase>) -> Result<Arc<dyn SigningKey>, Error> {
    let folder = Folder::new();
    let path = folder.write("key.pem", pem);
    key::from_pem(&FileContent::read(&path).unwrap(), passphrase)
}

/// What the log would say, with the folder cut out.
fn refusal(pem: &str, passphrase: Option<&Passphrase>) -> String {
    let text = Failure::from(load(pem, passphrase).unwrap_err()).to_string();
    let (before, rest) = text.split_once('`').unwrap();
    let (path, after) = rest.split_once('`').unwrap();
    format!("{before}`{}`{after}", path.rsplit('/').next().unwrap())
}

#[test]
fn what_openssl_encrypts_with_pbes2_is_decrypted() {
    let plain = load(fixture("plain"), None).unwrap();
    let read = |name: &&str| name.starts_with("aes-") || name.ends_with(" with key length");
    let names: Vec<_> = names().filter(read).filter(|name| *name != "wrong key length").collect();
    assert_eq!(names.len(), 3 * 5 + 1 + 2);
    for name in names {
        let key = load(fixture(name), Some(&given("correct horse"))).unwrap();

        assert_eq!(key.public_key(), plain.public_key(), "{name}");
    }
}

#[test]
fn the_passphrase_may_be_in_a_file_with_a_line_break() {
    let folder = Folder::new();
    let passphrase = Passphrase::File(folder.write("passphrase", "correct horse\n"));

    assert!(load(fixture("aes-256-cbc hmacWithSHA256"), Some(&passphrase)).is_ok());
}

#[test]
fn a_key_in_memory_is_not_decrypted_again_and_opens_for_its_own_passphrase_alone() {
    let pem = fixture("aes-256-cbc hmacWithSHA256");

    let first = load(pem, Some(&given("correct horse"))).unwrap();
    let second = load(pem, Some(&given("correct horse"))).unwrap();

    assert!(Arc::ptr_eq(&first, &second));
    assert!(refusal(pem, Some(&given("wrong"))).contains("passphrase"));
    assert!(refusal(pem, None).contains("no passphrase is set"));
}

#[test]
fn without_a_passphrase_or_with_a_wrong_one_it_is_said_what_to_set() {
    let pem = fixture("aes-256-cbc hmacWithSHA256");

    assert_eq!(
        refusal(pem, None),
        "the private key in `key.pem` is encrypted, and no passphrase is set; \
         hint: set `passphrase`, such as `passphrase = \"file:/etc/anchord/passphrase\"`"
    );
    assert_eq!(
        refusal(pem, Some(&given("battery staple"))),
        "the private key in `key.pem` cannot be decrypted with this passphrase; \
         hint: correct what `passphrase` names; `openssl pkey -in … -noout` tests a passphrase"
    );
}

/// One in 256 decrypts to what ends like padding.
#[test]
fn no_wrong_passphrase_of_a_thousand_is_taken_for_a_damaged_file() {
    let encrypted = pkcs8_of(fixture("aes-128-cbc hmacWithSHA1"));
    let mut encrypted = Encrypted::parse(&encrypted).unwrap();
    // The passphrase is wrong in any case; one round makes it quick.
    let Kdf::Pbkdf2(pbkdf2) = &mut encrypted.parameters.kdf else { panic!("it is PBKDF2") };
    pbkdf2.iteration_count = 1;
    for number in 0..1000_u32 {
        let passphrase = Secret::new(number.to_string().into_bytes());

        assert_eq!(encrypted.decrypt(&passphrase).unwrap_err(), DecryptionFault::WrongPassphrase);
    }
}

#[test]
fn older_schemes_are_named_with_what_converts_them() {
    let cases = [
        ("PBE-MD5-DES", "pbeWithMD5AndDES-CBC"),
        ("PBE-SHA1-RC2-40", "pbeWithSHA1And40BitRC2-CBC"),
        ("PBE-SHA1-3DES", "pbeWithSHA1And3-KeyTripleDES-CBC"),
        ("des-ede3-cbc", "3DES-CBC (DES-EDE3-CBC)"),
    ];
    for (name, scheme) in cases {
        // Whether there is a passphrase or not: it would not help.
        for passphrase in [None, Some(given("correct horse"))] {
            assert_eq!(
                refusal(fixture(name), passphrase.as_ref()),
                format!(
                    "the private key in `key.pem` is encrypted with {scheme}, which anchord does not decrypt; \
                     hint: convert it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …`"
                )
            );
        }
    }
    assert_eq!(
        refusal("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n", None),
        "the private key in `key.pem` is encrypted in OpenSSL's old format; \
         hint: convert it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …`"
    );
}

#[test]
fn absurd_costs_are_refused_before_they_are_paid() {
    let cases = [
        (
            "too many iterations",
            "takes 2000000000 iterations of PBKDF2 to unlock; anchord does at most 2000000",
        ),
        (
            "too much memory",
            "takes scrypt with N=1073741824, r=8, p=1 to unlock; anchord uses at most 64 MiB and N·r·p=2097152",
        ),
        (
            "too many blocks",
            "takes scrypt with N=1024, r=8, p=60000 to unlock; anchord uses at most 64 MiB and N·r·p=2097152",
        ),
        ("no power of two", "is encrypted with parameters that cannot be used"),
        ("no cost", "is encrypted with parameters that cannot be used"),
        ("no iterations", "is encrypted with parameters that cannot be used"),
        ("wrong key length", "is encrypted with parameters that cannot be used"),
        // More than the library has room for.
        ("long salt", "is encrypted with parameters that cannot be used"),
    ];
    for (name, expected) in cases {
        let text = refusal(fixture(name), Some(&given("correct horse")));

        assert!(
            text.starts_with(&format!("the private key in `key.pem` {expected}; hint: convert")),
            "{text}"
        );
    }
}

#[test]
fn openssls_default_costs_and_owasps_advice_are_within_the_limits() {
    let scrypt = |cost_parameter, block_size, parallelization| {
        let salt = pbes2::Salt::new(b"salt").unwrap();
        check_cost(&Kdf::Scrypt(pbes2::ScryptParams {
            salt,
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        }))
    };
    let pbkdf2 = |count| check_cost(&pbes2::Pbkdf2Params::hmac_sha256(count, b"salt").unwrap().into());

    assert_eq!((scrypt(16384, 8, 1), scrypt(32768, 8, 3)), (Ok(()), Ok(())));
    assert_eq!((pbkdf2(1_400_000), pbkdf2(MAX_ITERATIONS)), (Ok(()), Ok(())));
    assert!(pbkdf2(MAX_ITERATIONS + 1).is_err());
    assert!(scrypt(1 << 63, u16::MAX, u16::MAX).is_err(), "the product does not fit");
    assert!(scrypt(2, 8, u16::MAX).is_err(), "each block takes memory, too");
}

#[test]
fn a_file_that_is_cut_or_continued_is_damaged() {
    let der = pkcs8_of(fixture("aes-256-cbc hmacWithSHA256"));
    let mut longer = der.clone();
    longer.push(0);

    for damaged in [&der[..der.len() - 1], &longer, &[], b"\x30\x00"] {
        assert_eq!(Encrypted::parse(damaged).unwrap_err(), DecryptionFault::Malformed);
    }
}

/// The DER of a file.
fn pkcs8_of(pem: &str) -> Vec<u8> {
    let folder = Folder::new();
    let file = FileContent::read(&folder.write("key.pem", pem)).unwrap();
    file.labelled("ENCRYPTED PRIVATE KEY").unwrap().unwrap().expose().clone()
}

proptest! {
    #[test]
    fn no_bytes_whatever_make_parsing_panic(der in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Encrypted::parse(&der).is_err());
    }

    #[test]
    fn no_damage_to_a_good_file_makes_decrypting_panic(
        name in proptest::sample::select(names().filter(|name| *name != "plain").collect::<Vec<_>>()),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut der = pkcs8_of(fixture(name));
        for (at, byte) in changes {
            // The parameters are in the first bytes; what comes after is random bytes.
            let at = at.index(der.len().min(130));
            der[at] = byte;
        }
        if let Ok(mut encrypted) = Encrypted::parse(&der) {
            // What it costs is not the question here.
            match &mut encrypted.parameters.kdf {
                Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count = 1,
                Kdf::Scrypt(scrypt) => scrypt.cost_parameter = 2,
                _ => {}
            }
            let _ = encrypted.decrypt(&Secret::new(b"correct horse".to_vec()));
        }
    }
}
