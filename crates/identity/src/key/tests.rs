//! Keys as files hold them: what signs, and what is wrong with those that do not.

use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use proptest::prelude::*;

use super::*;
use crate::support::Folder;
use crate::support::leaf_of;
use crate::support::root;

fn origin() -> Origin {
    Origin::file("key.pem".as_ref())
}

/// The DER of the only section of a PEM text.
fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::pem::SectionKind;
    <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()).unwrap().1
}

fn refusal(result: Result<Arc<dyn SigningKey>, Error>) -> String {
    result.unwrap_err().to_string()
}

/// The public key and a signature over `message`, which all of these keys make deterministically.
fn proof(key: &dyn SigningKey, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (key.public_key().to_vec(), key.sign(message).unwrap())
}

#[test]
fn an_ml_dsa_key_is_the_same_key_in_each_of_its_forms() {
    let root = root();
    for kind in [KeyKind::MlDsa44, KeyKind::MlDsa65, KeyKind::MlDsa87] {
        let leaf = leaf_of(&root, kind);
        let proofs: Vec<_> = [KeyForm::Pkcs8, KeyForm::Expanded, KeyForm::SeedAndExpanded]
            .map(|form| from_pkcs8(&origin(), &der(&leaf.key_pem(form).unwrap())).unwrap())
            .iter()
            .map(|key| proof(&**key, b"string to sign"))
            .collect();

        assert!(proofs[0] == proofs[1] && proofs[1] == proofs[2], "{kind}");
    }
}

#[test]
fn a_seed_beside_another_keys_expansion_is_refused() {
    let root = root();
    let both = || der(&leaf_of(&root, KeyKind::MlDsa44).key_pem(KeyForm::SeedAndExpanded).unwrap());
    let (mut ours, other) = (both(), both());
    // The expanded key's 2560 bytes are the end of the file.
    let at = ours.len() - 2560;
    ours[at..].copy_from_slice(&other[at..]);

    assert_eq!(
        refusal(from_pkcs8(&origin(), &ours)),
        "the private key in `key.pem` holds a seed and an expanded ML-DSA key that do not match"
    );
}

/// Its parts are the public seed, a random key, the public key's hash, s1 and s2, t0.
#[test]
fn an_expanded_ml_dsa_key_with_a_wrong_part_is_refused() {
    let root = root();
    for (kind, length) in [(KeyKind::MlDsa44, 2560), (KeyKind::MlDsa65, 4032), (KeyKind::MlDsa87, 4896)] {
        let good = der(&leaf_of(&root, kind).key_pem(KeyForm::Expanded).unwrap());
        let start = good.len() - length;
        // A byte of ones is out of range for s1 and s2, where the library would panic.
        for at in [0, 64, 128, 128 + 767] {
            let mut bad = good.clone();
            bad[start + at] ^= if at < 128 { 1 } else { !bad[start + at] };

            assert_eq!(
                refusal(from_pkcs8(&origin(), &bad)),
                "the private key in `key.pem` is not a valid expanded ML-DSA key",
                "{kind} at {at}"
            );
        }
    }
}

#[test]
fn an_ml_dsa_key_of_the_wrong_length_or_form_is_refused() {
    let root = root();
    let seed = der(&leaf_of(&root, KeyKind::MlDsa65).key_pem(KeyForm::Pkcs8).unwrap());
    let expanded_44 = der(&leaf_of(&root, KeyKind::MlDsa44).key_pem(KeyForm::Expanded).unwrap());
    let position = |der: &[u8]| der.windows(3).position(|bytes| bytes == [4, 3, 17]);
    let mut called_65 = expanded_44.clone();
    called_65[position(&expanded_44).unwrap() + 2] = 18;
    let mut tagged_1 = seed.clone();
    let tag = seed.len() - 34;
    tagged_1[tag] = 0x81;

    assert!(
        refusal(from_pkcs8(&origin(), &called_65))
            .ends_with("has an expanded ML-DSA key of the wrong length")
    );
    assert!(refusal(from_pkcs8(&origin(), &tagged_1)).ends_with("neither a seed nor an expanded key"));
}

/// ring checks much of an RSA key, but not whether dP and dQ belong to it: such a key would be taken and never sign.
#[test]
fn an_rsa_key_that_does_not_sign_is_refused() {
    let leaf = leaf_of(&root(), KeyKind::Rsa2048);
    let good = der(&leaf.key_pem(KeyForm::Pkcs1).unwrap());
    // dP, dQ and qInv are at the end: 128 bytes each, with three or four of tag and length before them.
    for from_end in [64, 64 + 132, 64 + 264] {
        let mut bad = good.clone();
        let at = bad.len() - from_end;
        bad[at] ^= 2;

        let text = refusal(rsa::from_pkcs1(&origin(), &bad));

        assert!(text.starts_with("the private key in `key.pem` is not a valid RSA key ("), "{text}");
    }
}

proptest! {
    #[test]
    fn no_der_whatever_makes_reading_a_key_panic(der in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_pkcs8(&origin(), &der);
        let _ = rsa::from_pkcs1(&origin(), &der);
        let _ = ec::from_sec1(&origin(), &der);
    }
}

/// A key of each kind in each form.
fn keys() -> Vec<Vec<u8>> {
    let root = root();
    let kinds =
        [KeyKind::Rsa2048, KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::MlDsa44, KeyKind::MlDsa65];
    let leaves = kinds.map(|kind| leaf_of(&root, kind));
    let forms = |leaf: &Leaf| KeyForm::ALL.map(|form| leaf.key_pem(form).ok());
    leaves.iter().flat_map(forms).flatten().map(String::into_bytes).collect()
}

/// Files that were good once, with bytes changed: in the text, and in what it encodes.
#[test]
fn no_damage_to_a_good_key_file_makes_loading_it_panic() {
    use base64::Engine as _;
    use proptest::test_runner::TestRunner;
    let (folder, root, keys) = (Folder::new(), root(), keys());
    let certificate = leaf_of(&root, KeyKind::P256).certificate_pem().to_owned();
    let change =
        (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u8>(), any::<bool>());
    let changes = proptest::collection::vec(change, 1..4);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });

    runner
        .run(&changes, |changes| {
            let mut file = keys[changes[0].0.index(keys.len())].clone();
            if changes[0].3 {
                let label = String::from_utf8(file.clone()).unwrap();
                let label = label.lines().next().unwrap().replace("-----", "").replace("BEGIN ", "");
                let mut der = der(&String::from_utf8(file).unwrap());
                for (_, at, byte, _) in &changes {
                    let at = at.index(der.len());
                    der[at] = *byte;
                }
                let body = base64::engine::general_purpose::STANDARD.encode(der);
                file = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes();
            } else {
                for (_, at, byte, _) in &changes {
                    let at = at.index(file.len());
                    file[at] = *byte;
                }
            }
            // It may be good still: what counts is that it comes back.
            let _ = folder.load(&certificate, file);
            Ok(())
        })
        .unwrap();
}
