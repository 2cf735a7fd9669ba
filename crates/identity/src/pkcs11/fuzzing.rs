//! The entry points of `fuzz/`: URIs, and messages of the process that holds a module.

use super::Uri;
use super::candidate::Candidate;
use super::der;
use super::protocol;
use super::protocol::HostReply;
use super::protocol::HostRequest;
use super::protocol::Object;
use super::protocol::TokenResponse;
use anchord_core::failure::Classify as _;

/// Parses a URI. Its text without the PIN must parse to the same URI again.
pub fn uri(text: &str) {
    match text.parse::<Uri>() {
        Ok(uri) => {
            let shown = uri.to_string();
            let again: Uri = shown.parse().expect("what is shown can be read");
            assert_eq!(again.to_string(), shown);
            assert_eq!(again.with_id(b"1").to_string(), uri.with_id(b"1").to_string());
            let _ = (uri.warning(), uri.names_an_object(), uri.kind());
        }
        Err(error) => {
            let _ = (error.to_string(), error.hint());
        }
    }
}

/// Reads frames of both directions: the bytes as they are, and behind valid lengths, so that the JSON parser gets them.
pub fn frames(bytes: &[u8]) {
    read_all(bytes);
    let length = u32::try_from(bytes.len()).expect("libFuzzer's inputs are small").to_be_bytes();
    read_all(&[&length[..], &[0; 4], bytes].concat());
}

fn read_all(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(_)) = protocol::read::<HostRequest>(&mut rest) {}
    let mut rest = bytes;
    while let Ok(Some((reply, _))) = protocol::read::<HostReply>(&mut rest) {
        match &reply.result {
            Ok(TokenResponse::Tokens { library, tokens }) => {
                let uri = Uri::default();
                let _ = uri.fits_library(library);
                for token in tokens {
                    let _ = (uri.fits_token(token), token.place().token.to_string());
                }
            }
            Ok(TokenResponse::Objects(objects)) => objects.iter().for_each(convert),
            Ok(TokenResponse::Signature(signature)) => drop(der::ecdsa_signature(&signature.0)),
            Err(fault) => drop(format!("{fault:?}")),
        }
        let mut written = Vec::new();
        protocol::write(&mut written, &reply, None).expect("what was read can be written");
        let again = protocol::read::<HostReply>(&mut &*written).expect("what was written can be read");
        assert_eq!(format!("{reply:?}"), format!("{:?}", again.expect("a frame was written").0));
    }
}

fn convert(object: &Object) {
    let _ = der::rsa_public_key(&object.modulus.0, &object.exponent.0);
    let _ = der::ec_point(&object.point.0);
    let _ = der::key_of_certificate(&object.value.0);
    let _ = der::key_of_info(&object.public_key_info.0);
    if let Some(candidate) = Candidate::new(&object.public_key_info.0) {
        let _ = candidate.verifies(b"message", &object.value.0);
    }
}
