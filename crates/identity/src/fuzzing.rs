//! The entry points of `fuzz/`: every parser in this crate that reads outside bytes.
//!
//! They exist only in builds with `--cfg fuzzing`, which cargo-fuzz sets. Each function takes any bytes, and panics
//! only if a parser panics or breaks its promise.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::Error;
use super::FileContent;
use super::Fingerprint;
use super::Locator;
use super::NameAttributes;
use super::Origin;
use super::Passphrase;
use super::Source;
use super::file::IdentityFile;
use super::key;
use super::selection::Serial;
use super::source::Material;
use super::spiffe;
use super::tpm;
use anchord_core::failure::Classify;
use anchord_core::secret::Secret;

pub use super::pkcs11::fuzzing::frames as pkcs11_frames;
pub use super::pkcs11::fuzzing::uri as pkcs11_uri;
#[cfg(feature = "spiffe")]
pub use super::spiffe::fuzzing::message as spiffe_message;
#[cfg(feature = "spiffe")]
pub use super::spiffe::fuzzing::stream as spiffe_stream;
#[cfg(feature = "tpm")]
pub use super::tpm::fuzzing::responses as tpm_responses;

/// The passphrases of the committed fixtures.
const PEM: &str = "correct horse";
#[cfg(feature = "pkcs12")]
const PKCS12: &str = "Grüße 👋";

fn given(passphrase: &str) -> Passphrase {
    Passphrase::Given(Secret::new(passphrase.to_owned()))
}

/// Some day in the life of the committed certificates.
fn now() -> OffsetDateTime {
    time::macros::datetime!(2026-06-01 0:00 UTC)
}

/// A PEM or PKCS#12 file with certificates and keys, up to the identity and the inspection.
pub fn file(content: &[u8]) {
    let passphrase = given(PEM);
    let file = FileContent::new(Origin::file("leaf.pem".as_ref()), 0o600, Secret::new(content.to_vec()));
    let Ok(file) = file.map_err(tell) else { return };
    let Ok(file) = IdentityFile::of(file, Some(&passphrase)).map_err(tell) else { return };
    #[cfg(feature = "tpm")]
    if let Ok(Some(der)) = file.tss2().map_err(tell) {
        tss2(der.expose());
    }
    let source = Source { private_key: None, ..Source::of_files("leaf.pem", "") };
    let keys = file.keys(Some(&passphrase));
    let shown =
        Material { certificates: file.certificates().map_err(Error::from), keys, warnings: file.warnings() };
    let _ = source.view(shown, now()).map(|inspection| format!("{inspection:?}")).map_err(tell);
    let keys = file.keys(Some(&passphrase));
    let material =
        Material { certificates: file.certificates().map_err(Error::from), keys, warnings: file.warnings() };
    if let Ok(loaded) = source.prove(material, now()).map_err(tell) {
        loaded.identity.key().sign(b"string to sign").expect("a key that was taken signs");
    }
}

/// A key as PKCS#8, PKCS#1 and SEC1.
pub fn key(der: &[u8]) {
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        if let Ok(key) = key::from_pem(&section(label, der), None).map_err(tell) {
            key.sign(b"string to sign").expect("a key that was taken signs");
        }
    }
}

/// A key in encrypted PKCS#8.
pub fn encrypted_key(der: &[u8]) {
    let _ = key::from_pem(&section("ENCRYPTED PRIVATE KEY", der), Some(&given(PEM))).map_err(tell);
}

/// A PKCS#12 file, with a password and without one.
#[cfg(feature = "pkcs12")]
pub fn pkcs12(content: &[u8]) {
    let origin = Origin::named("a file".to_owned());
    let passphrase = Secret::new(PKCS12.as_bytes().to_vec());
    for passphrase in [Some(&passphrase), None] {
        let Ok(contents) = super::pkcs12::open(&origin, content, passphrase).map_err(tell) else { continue };
        for key in &contents.keys {
            let _ = key::from_pkcs8(&origin, key.expose()).map_err(tell);
        }
    }
}

/// A key file of a TPM.
#[cfg(feature = "tpm")]
pub fn tss2(der: &[u8]) {
    if let Ok(file) = tpm::tss2::TpmKeyFile::from_der(der).map_err(tell) {
        tpm::fuzzing::public(&file);
    }
}

/// Settings that name places, devices and leaves.
pub fn settings(text: &str) {
    let device = text.parse::<tpm::Device>();
    if let Ok(device) = &device {
        assert_eq!(device.to_string().parse::<tpm::Device>().ok().as_ref(), Some(device));
    }
    let _ = device.map_err(tell);
    let _ = tpm::handle(text).map_err(tell);
    let _ = text.parse::<spiffe::WorkloadEndpoint>().map_err(|error| error.to_string());
    let _ = spiffe::Choice::of_uri(text).map_err(|error| error.to_string());
    let _ = Locator::File(Path::new(text).into()).origin().to_string();
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().ok(), Some(fingerprint));
    }
    let _ = text.parse::<NameAttributes>().map(|attributes| attributes.to_string());
    let _ = text.parse::<Serial>().map(|serial| serial.to_string());
}

/// A file with one section.
fn section(label: &str, der: &[u8]) -> FileContent {
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    let file = FileContent::new(Origin::file("key.pem".as_ref()), 0o600, Secret::new(text.into_bytes()));
    file.expect("an input of libFuzzer's length makes a file of a permitted one")
}

/// Formats the error and its hint, which must not panic.
fn tell(error: impl Classify) -> (String, Option<String>) {
    (error.to_string(), error.hint().map(|hint| hint.to_string()))
}
