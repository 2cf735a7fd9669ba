//! Keys in a TPM: swtpm holds them, tpm2-tools and tpm2-openssl make them.

mod daemon;
pub(crate) mod swtpm;

use std::sync::Arc;

use anchord_core::failure::Failure;
use anchord_core::secret::Secret;
use anchord_identity::SigningKey;
use anchord_identity::tpm;
use anchord_identity::tpm::Device;
use anchord_identity::tpm::KeyLocation;
use anchord_identity::tpm::tss2;
use swtpm::Kind;
use swtpm::Made;
use swtpm::Swtpm;

pub(crate) const OWNER: u32 = 0x4000_0001;
pub(crate) const HANDLE: &str = "0x81000007";

fn file(pem: &str) -> KeyLocation {
    KeyLocation::File(tss2::TpmKeyFile::from_der(&swtpm::der(pem)).unwrap())
}

fn open(address: &str, key: &KeyLocation, auth: &str) -> Result<Arc<dyn SigningKey>, tpm::Error> {
    let device: Device = address.parse().unwrap();
    let auth = (!auth.is_empty()).then(|| Secret::new(auth.as_bytes().to_vec()));
    tpm::open(&device, key, auth.as_ref())
}

fn assert_signs(tpm: &Swtpm, key: &dyn SigningKey, made: &Made) {
    for message in [&b"one"[..], &[7; 5000]] {
        swtpm::verify(&tpm.path(""), &made.public_key, message, &key.sign(message).unwrap());
    }
    // The end of a SubjectPublicKeyInfo is the content of its bit string.
    assert!(made.public_key.ends_with(key.public_key()));
    assert_eq!(tpm.loaded(), 0);
}

fn trouble(key: &dyn SigningKey) -> String {
    Failure::new(&key.sign(b"message").unwrap_err()).to_string()
}

#[test]
fn every_kind_of_key_signs_from_a_handle_and_from_a_file() {
    let mut tpm = Swtpm::start();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        for (half, auth) in ["", "s3cret"].into_iter().enumerate() {
            let made = tpm.make(kind, auth);
            let handle = format!("{:#x}", 0x8100_0010 + 2 * number + half);
            tpm.persist(&made, &handle);

            let persistent =
                open(&tpm.address(), &KeyLocation::Persistent(tpm::handle(&handle).unwrap()), auth).unwrap();
            let from_file = open(&tpm.address(), &file(&tpm.key_file(&made, OWNER)), auth).unwrap();

            assert_signs(&tpm, &*persistent, &made);
            assert_signs(&tpm, &*from_file, &made);
        }
    }
    assert_eq!(tpm.lockout_counter(), 0);
}

#[test]
fn key_files_of_openssl_and_of_tpm2_tools_are_read() {
    let mut tpm = Swtpm::start();
    for (auth, options) in
        [("", "EC -pkeyopt group:P-384"), ("s3cret", "RSA -pkeyopt bits:2048 -pkeyopt user-auth:s3cret")]
    {
        let providers = "-provider tpm2 -provider default";
        tpm.tool(&format!("openssl genpkey {providers} -algorithm {options} -out key.pem"));

        let key = open(&tpm.address(), &file(&read(&tpm, "key.pem")), auth).unwrap();

        key.sign(b"message").unwrap();
    }
    // tpm2_encodeobject writes `emptyAuth` the wrong way round, which must not matter.
    for (auth, option) in [("", ""), ("s3cret", "-p")] {
        let made = tpm.make(Kind::P256, auth);
        tpm.encode(&made, option, "encoded.pem");

        let key = open(&tpm.address(), &file(&read(&tpm, "encoded.pem")), auth).unwrap();

        assert_signs(&tpm, &*key, &made);
    }
    assert_eq!(tpm.lockout_counter(), 0);
}

fn read(tpm: &Swtpm, name: &str) -> String {
    fs_err::read_to_string(tpm.path(name)).unwrap()
}

#[test]
fn a_file_may_name_a_persistent_parent_and_an_rsa_root_is_found() {
    let mut tpm = Swtpm::start();
    let under_rsa = tpm.make_under_rsa(Kind::P256);
    let made = tpm.make(Kind::P256, "");
    tpm.tool("tpm2_evictcontrol -Q -C o -c root.ctx 0x81000001");

    let persistent = open(&tpm.address(), &file(&tpm.key_file(&made, 0x8100_0001)), "").unwrap();
    let rsa = open(&tpm.address(), &file(&tpm.key_file(&under_rsa, OWNER)), "").unwrap();

    assert_signs(&tpm, &*persistent, &made);
    assert_signs(&tpm, &*rsa, &under_rsa);
}

#[test]
fn a_wrong_authorization_value_costs_one_attempt_however_often_it_is_used() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "s3cret");
    tpm.persist(&made, HANDLE);
    let handle = KeyLocation::Persistent(tpm::handle(HANDLE).unwrap());
    let from_file = file(&tpm.key_file(&made, OWNER));

    for key in [&handle, &from_file, &handle] {
        let wrong = open(&tpm.address(), key, "wrong").unwrap();
        for _ in 0..3 {
            let trouble = trouble(&*wrong);
            assert!(trouble.contains("authorization value") && trouble.contains("`passphrase`"), "{trouble}");
        }
    }
    assert_eq!(tpm.lockout_counter(), 1);

    assert!(trouble(&*open(&tpm.address(), &handle, "").unwrap()).contains("none is set"));
    assert_eq!(tpm.lockout_counter(), 2);
    assert_signs(&tpm, &*open(&tpm.address(), &handle, "s3cret").unwrap(), &made);
}

#[test]
fn a_tpm_in_lockout_says_so_and_signs_when_it_is_over() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "s3cret");
    tpm.persist(&made, HANDLE);
    let handle = KeyLocation::Persistent(tpm::handle(HANDLE).unwrap());
    let key = open(&tpm.address(), &handle, "s3cret").unwrap();
    tpm.tool("tpm2_dictionarylockout -s -n 1 -t 1000 -l 1000");
    trouble(&*open(&tpm.address(), &handle, "mistaken").unwrap());

    let told = trouble(&*key);
    tpm.tool("tpm2_dictionarylockout -c");

    assert!(told.contains("in lockout") && told.contains("tpm2_dictionarylockout"), "{told}");
    assert_signs(&tpm, &*key, &made);
}

#[test]
fn keys_that_cannot_sign_for_roles_anywhere_are_refused_with_their_reason() {
    let mut tpm = Swtpm::start();
    let common = "fixedtpm|fixedparent|sensitivedataorigin";
    for (algorithm, options, words) in [
        ("ecc256:ecdsa-sha256:null", format!("-a {common}|userwithauth|sign|restricted"), "is restricted"),
        ("ecc256", format!("-a {common}|userwithauth|decrypt"), "may not sign"),
        ("ecc256", format!("-a {common}|sign"), "policy"),
        ("ecc256:ecdsa-sha384", String::new(), "another signing scheme"),
        ("rsa2048:rsapss-sha256:null", String::new(), "another signing scheme"),
        ("rsa1024", String::new(), "fewer than 2048 bits"),
        ("ecc224", String::new(), "a curve that Roles Anywhere does not accept"),
        ("hmac", String::new(), "neither an RSA nor an elliptic curve"),
    ] {
        let made = tpm.make_any(algorithm, &options);

        let error = open(&tpm.address(), &file(&tpm.key_file(&made, OWNER)), "").unwrap_err();

        assert!(error.to_string().contains(words), "{algorithm}: {error}");
    }
}

#[test]
fn keys_bound_to_our_scheme_sign() {
    let mut tpm = Swtpm::start();
    for algorithm in ["ecc256:ecdsa-sha256", "rsa2048:rsassa-sha256"] {
        let made = tpm.make_with(algorithm, "", "");

        let key = open(&tpm.address(), &file(&tpm.key_file(&made, OWNER)), "").unwrap();

        assert_signs(&tpm, &*key, &made);
    }
}

#[test]
fn a_tpm_that_is_killed_and_started_again_signs_again_with_the_same_key() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "s3cret");
    tpm.persist(&made, HANDLE);
    let keys = [KeyLocation::Persistent(tpm::handle(HANDLE).unwrap()), file(&tpm.key_file(&made, OWNER))]
        .map(|key| open(&tpm.address(), &key, "s3cret").unwrap());

    tpm.kill();
    for key in &keys {
        assert!(trouble(&**key).contains("start the emulator"));
    }
    tpm.restart();

    for key in &keys {
        assert_signs(&tpm, &**key, &made);
    }
}

#[test]
fn a_unix_socket_carries_the_same() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "");
    let key_file = file(&tpm.key_file(&made, OWNER));
    let address = tpm.restart_on_a_unix_socket();

    let key = open(&address, &key_file, "").unwrap();

    // More often than there are slots.
    for _ in 0..8 {
        swtpm::verify(&tpm.path(""), &made.public_key, b"message", &key.sign(b"message").unwrap());
    }
}

#[test]
fn a_key_file_of_another_tpm_and_a_handle_of_nothing_are_said() {
    let mut tpm = Swtpm::start();
    let mut other = Swtpm::start();
    let made = other.make(Kind::P256, "");

    let stranger = open(&tpm.address(), &file(&other.key_file(&made, OWNER)), "").unwrap_err();
    let nothing =
        open(&tpm.address(), &KeyLocation::Persistent(tpm::handle(HANDLE).unwrap()), "").unwrap_err();

    assert!(matches!(stranger, tpm::Error::NotLoadable { .. }), "{stranger}");
    assert!(matches!(nothing, tpm::Error::NoSuchHandle { .. }), "{nothing}");
    assert_eq!(tpm.loaded(), 0);
    tpm.kill();
}

#[test]
fn an_owner_with_an_authorization_value_is_said() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "");
    tpm.tool("tpm2_changeauth -c owner owner-secret");

    let error = open(&tpm.address(), &file(&tpm.key_file(&made, OWNER)), "").unwrap_err();

    assert!(matches!(error, tpm::Error::ParentLocked { counted: false, .. }), "{error}");
}

#[test]
fn slots_filled_by_others_are_said() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "");
    let key = open(&tpm.address(), &file(&tpm.key_file(&made, OWNER)), "").unwrap();
    tpm.fill();

    assert!(trouble(&*key).contains("no slot left"));
    tpm.tool("tpm2_flushcontext -t");

    assert_signs(&tpm, &*key, &made);
}

#[test]
fn many_signers_share_one_tpm() {
    let mut tpm = Swtpm::start();
    let made = tpm.make(Kind::P256, "s3cret");
    tpm.persist(&made, HANDLE);
    let keys = [KeyLocation::Persistent(tpm::handle(HANDLE).unwrap()), file(&tpm.key_file(&made, OWNER))]
        .map(|key| open(&tpm.address(), &key, "s3cret").unwrap());

    std::thread::scope(|scope| {
        for signer in 0..16 {
            let key = &keys[signer % 2];
            scope.spawn(move || (0..10).for_each(|_| drop(key.sign(b"message").unwrap())));
        }
    });

    assert_signs(&tpm, &*keys[0], &made);
    assert_eq!(tpm.lockout_counter(), 0);
}
