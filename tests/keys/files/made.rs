//! Key files as others make them: by OpenSSL, and by aws-lc-rs where Debian's OpenSSL does not know the key (ML-DSA).

use std::path::Path;
use std::process::Command;

use anchord_emulator::KeyForm;
use anchord_emulator::Leaf;
use aws_lc_rs::cipher;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;

use anchord_testing::stage::Stage;

/// What every file here is encrypted with.
pub(super) const PASSPHRASE: &str = "Grüße 👋";

/// A way to keep a key in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Not encrypted.
    Pem,
    /// PKCS#8, encrypted with these options of `openssl pkcs8 -topk8`.
    Pkcs8(&'static [&'static str]),
    /// PKCS#12, with these options of `openssl pkcs12 -export`.
    Pkcs12(&'static [&'static str]),
}

impl Form {
    /// The lines of a session's table that lead to the files named by [`Form::write`].
    pub(super) fn table(self, name: &str) -> String {
        let passphrase = "passphrase = \"file:passphrase\"";
        match self {
            Self::Pem => format!("certificate = \"{name}.pem\"\nprivate_key = \"{name}.key\""),
            Self::Pkcs8(_) => {
                format!("certificate = \"{name}.pem\"\nprivate_key = \"{name}.key\"\n{passphrase}")
            }
            Self::Pkcs12(_) => format!("certificate = \"{name}.p12\"\n{passphrase}"),
        }
    }

    /// Writes `leaf` and its key in this form, in place of what is there.
    pub(super) fn write(self, stage: &Stage, name: &str, leaf: &Leaf) {
        match self {
            Self::Pem => {
                replace(stage, &format!("{name}.key"), leaf.key_pem(KeyForm::Pkcs8).unwrap().as_bytes());
            }
            Self::Pkcs8(options) => replace(stage, &format!("{name}.key"), &pkcs8(stage, leaf, options)),
            Self::Pkcs12(options) => replace(stage, &format!("{name}.p12"), &pkcs12(stage, leaf, options)),
        }
        if !matches!(self, Self::Pkcs12(_)) {
            replace(stage, &format!("{name}.pem"), leaf.certificate_pem().as_bytes());
        }
    }
}

/// Writes beside it and moves it there, as those do who renew certificates with care.
pub(super) fn replace(stage: &Stage, name: &str, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    let beside = stage.path(&format!(".{name}.new"));
    fs_err::write(&beside, content).unwrap();
    fs_err::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    fs_err::rename(beside, stage.path(name)).unwrap();
}

fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).args(["-passout", &format!("pass:{PASSPHRASE}")]).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn pkcs8(stage: &Stage, leaf: &Leaf, options: &[&str]) -> Vec<u8> {
    if leaf.kind().is_ml_dsa() {
        return pem("ENCRYPTED PRIVATE KEY", &locked(leaf.key_pkcs8_der())).into_bytes();
    }
    let folder = tempfile::tempdir_in(stage.path(".")).unwrap();
    fs_err::write(folder.path().join("key"), leaf.key_pem(KeyForm::Pkcs8).unwrap()).unwrap();
    openssl(folder.path(), &[&["pkcs8", "-topk8", "-in", "key"], options].concat())
}

fn pkcs12(stage: &Stage, leaf: &Leaf, options: &[&str]) -> Vec<u8> {
    if leaf.kind().is_ml_dsa() {
        return pfx(leaf);
    }
    let folder = tempfile::tempdir_in(stage.path(".")).unwrap();
    let key = leaf.key_pem(KeyForm::Pkcs8).unwrap();
    fs_err::write(folder.path().join("pair"), [&key, leaf.certificate_pem()].concat()).unwrap();
    fs_err::write(folder.path().join("root"), stage.root.certificate_pem()).unwrap();
    openssl(
        folder.path(),
        &[&["pkcs12", "-export", "-in", "pair", "-certfile", "root", "-name", "robot 7"], options].concat(),
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

const SALT: &[u8] = b"sixteen byte tin";
const ROUNDS: u32 = 2048;

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, low] = content.len().to_be_bytes();
    // Not as short as it could be only where it would be short anyway.
    let length = match content.len() {
        ..128 => vec![low],
        128..256 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

fn octets(content: &[u8]) -> Vec<u8> {
    der(4, &[content])
}

/// An object identifier below 1.2.840.113549, which is RSA's.
fn of_rsa(rest: &[u8]) -> Vec<u8> {
    der(6, &[b"\x2a\x86\x48\x86\xf7\x0d", rest])
}

/// PBKDF2 of RFC 8018 with a key length, and the key that it makes.
fn pbkdf2() -> (Vec<u8>, [u8; 32]) {
    let mut key = [0; 32];
    let rounds = std::num::NonZeroU32::new(ROUNDS).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA384, rounds, SALT, PASSPHRASE.as_bytes(), &mut key);
    let [.., high, low] = ROUNDS.to_be_bytes();
    let prf = sequence(&[&of_rsa(&[2, 10]), &[5, 0]]);
    let parameters = sequence(&[&octets(SALT), &[2, 2, high, low], &[2, 1, 32], &prf]);
    (sequence(&[&of_rsa(&[1, 5, 12]), &parameters]), key)
}

/// `EncryptedPrivateKeyInfo`: PBES2 with AES-256-CBC.
fn locked(pkcs8: &[u8]) -> Vec<u8> {
    let (kdf, key) = pbkdf2();
    let key = cipher::UnboundCipherKey::new(&cipher::AES_256, &key).unwrap();
    let mut data = pkcs8.to_vec();
    let iv = cipher::EncryptionContext::Iv128(FixedLength::from([7; 16]));
    cipher::PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap().less_safe_encrypt(&mut data, iv).unwrap();
    let aes = sequence(&[&der(6, &[b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a"]), &octets(&[7; 16])]);
    let scheme = sequence(&[&of_rsa(&[1, 5, 13]), &sequence(&[&kdf, &aes])]);
    sequence(&[&scheme, &octets(&data)])
}

/// PKCS#12 with a locked key, the leaf as it is, and a MAC of RFC 9579 over both.
fn pfx(leaf: &Leaf) -> Vec<u8> {
    let explicit = |content: &[u8]| der(0xa0, &[content]);
    let bag = |kind: u8, value: &[u8]| sequence(&[&of_rsa(&[1, 12, 10, 1, kind]), &explicit(value)]);
    let data = |content: &[u8]| sequence(&[&of_rsa(&[1, 7, 1]), &explicit(&octets(content))]);
    let certificate = sequence(&[&of_rsa(&[1, 9, 22, 1]), &explicit(&octets(leaf.certificate_der()))]);
    let bags = sequence(&[&bag(2, &locked(leaf.key_pkcs8_der())), &bag(3, &certificate)]);
    let content = sequence(&[&data(&bags)]);

    let (kdf, key) = pbkdf2();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &content);
    let scheme = sequence(&[&of_rsa(&[2, 9]), &[5, 0]]);
    let algorithm = sequence(&[&of_rsa(&[1, 5, 14]), &sequence(&[&kdf, &scheme])]);
    let mac = sequence(&[&sequence(&[&algorithm, &octets(mac.as_ref())]), &octets(b"not used")]);
    sequence(&[&[2, 1, 3], &data(&content), &mac])
}
