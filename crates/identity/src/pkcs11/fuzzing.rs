//! What `fuzz/` throws bytes at: URIs, and what comes from the process that holds a module.

use super::Uri;
use super::candidate::Candidate;
use super::der;
use super::protocol;
use super::protocol::Answer;
use super::protocol::Object;
use super::protocol::Reply;
use super::protocol::Request;
use anchord_core::failure::Classify as _;

/// A URI, which prints as what would be read as the same again, but for its PIN.
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

/// Frames of both directions as they come, and in a frame of ours, so that JSON is reached without a length.
pub fn frames(bytes: &[u8]) {
    read_all(bytes);
    let length = u32::try_from(bytes.len()).expect("libFuzzer's inputs are small").to_be_bytes();
    read_all(&[&length[..], &[0; 4], bytes].concat());
}

fn read_all(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(_)) = protocol::read::<Request>(&mut rest) {}
    let mut rest = bytes;
    while let Ok(Some((reply, _))) = protocol::read::<Reply>(&mut rest) {
        match &reply.result {
            Ok(Answer::Tokens { library, tokens }) => {
                let uri = Uri::default();
                let _ = uri.fits_library(library);
                for token in tokens {
                    let _ = (uri.fits_token(token), token.place().token.to_string());
                }
            }
            Ok(Answer::Objects(objects)) => objects.iter().for_each(convert),
            Ok(Answer::Signature(signature)) => drop(der::ecdsa_signature(&signature.0)),
            Err(fault) => drop(format!("{fault:?}")),
        }
        let mut written = Vec::new();
        protocol::write(&mut written, &reply, None).expect("what was read can be written");
        let again = protocol::read::<Reply>(&mut &*written).expect("what was written can be read");
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
