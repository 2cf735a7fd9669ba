//! Golden requests made by an independent implementation, and aws-sigv4 as an oracle for the canonical form.

use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::sign::v4::SigningParams;
use proptest::prelude::*;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use anchord_core::arn::Region;
use anchord_core::digest::hex;
use anchord_identity::Source;

const SIGNED_AT: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

#[derive(Deserialize)]
struct Vector {
    label: String,
    region: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    canonical_request: String,
    string_to_sign: String,
    authorization: String,
    cert_pem: String,
    chain_pem: Vec<String>,
    key_pem: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../../tests/vectors/create-session.json")).unwrap()
}

fn identity(vector: &Vector) -> anchord_identity::Identity {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, private_key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    // Intermediates first: the order in the file must not matter.
    fs_err::write(&certificate, format!("{}{}", vector.chain_pem.concat(), vector.cert_pem)).unwrap();
    fs_err::write(&private_key, &vector.key_pem).unwrap();
    Source::of_files(certificate, private_key).load(SIGNED_AT).unwrap().identity
}

fn scope(vector: &Vector) -> CredentialScope {
    CredentialScope::new(SIGNED_AT, Region::parse(&vector.region).unwrap(), "rolesanywhere")
}

fn signed(vector: &Vector, identity: &anchord_identity::Identity) -> Headers {
    let request = X509Request {
        method: "POST",
        path: "/sessions",
        host: &vector.headers["host"],
        body: vector.body.as_bytes(),
    };
    sign(request, identity, &scope(vector)).unwrap()
}

#[test]
fn rsa_and_p256_vectors_are_reproduced_byte_for_byte() {
    // P-256's vectors are exact as well, because both sides sign by RFC 6979.
    let is_exact = |vector: &Vector| ["rsa2048", "p256"].iter().any(|kind| vector.label.starts_with(kind));
    let exact: Vec<Vector> = vectors().into_iter().filter(is_exact).collect();
    assert_eq!(exact.len(), 4);
    for vector in exact {
        for (name, value) in signed(&vector, &identity(&vector)) {
            let expected =
                if name == "authorization" { &vector.authorization } else { &vector.headers[name] };
            assert_eq!(&value, expected, "{}: {name}", vector.label);
        }
    }
}

#[test]
fn p384_and_ml_dsa_vectors_differ_in_the_signature_alone_and_it_verifies() {
    let judges: [(&str, &dyn VerificationAlgorithm); 2] = [
        ("p384", &aws_lc_rs::signature::ECDSA_P384_SHA256_ASN1),
        ("mldsa65", &aws_lc_rs::signature::ML_DSA_65),
    ];
    let of_kind = |kind| move |vector: &Vector| vector.label.starts_with(kind);
    let judged: Vec<_> = judges
        .into_iter()
        .flat_map(|(kind, judge)| {
            vectors().into_iter().filter(of_kind(kind)).map(move |vector| (vector, judge))
        })
        .collect();
    assert_eq!(judged.len(), 4);
    for (vector, judge) in judged {
        let identity = identity(&vector);
        for (name, value) in signed(&vector, &identity) {
            if name != "authorization" {
                assert_eq!(value, vector.headers[name], "{}: {name}", vector.label);
                continue;
            }
            let (head, signature) = value.rsplit_once('=').unwrap();
            assert_eq!(head, vector.authorization.rsplit_once('=').unwrap().0, "{}", vector.label);
            UnparsedPublicKey::new(judge, identity.key().public_key())
                .verify(vector.string_to_sign.as_bytes(), &unhex(signature))
                .unwrap();
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn canonical_request_and_string_to_sign_match_the_vectors() {
    for vector in vectors() {
        let headers: Vec<(&str, &str)> =
            vector.headers.iter().rev().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let canonical = CanonicalRequest::new("POST", "/sessions", "", &headers, vector.body.as_bytes());
        let algorithm = vector.authorization.split(' ').next().unwrap();

        assert_eq!(canonical.text(), vector.canonical_request, "{}", vector.label);
        assert_eq!(
            scope(&vector).string_to_sign(algorithm, &canonical),
            vector.string_to_sign,
            "{}",
            vector.label
        );
    }
}

#[test]
fn without_intermediates_there_is_no_chain_header() {
    let vector = vectors().into_iter().find(|vector| vector.chain_pem.is_empty()).unwrap();
    let request = X509Request { method: "POST", path: "/sessions", host: "localhost:1", body: b"{}" };

    let headers = sign(request, &identity(&vector), &scope(&vector)).unwrap();

    assert!(headers.iter().all(|(name, _)| *name != "x-amz-x509-chain"));
}

/// Our canonical form signed with the HMAC of ordinary Signature Version 4.
fn our_hmac_signature(headers: &[(&str, &str)], body: &[u8]) -> String {
    let hmac = |key: &[u8], text: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let canonical = CanonicalRequest::new("POST", "/sessions", "", headers, body);
    let scope = CredentialScope::new(SIGNED_AT, Region::parse("us-east-1").unwrap(), "rolesanywhere");
    let day = hmac(b"AWS4secret", "20260311");
    let key = hmac(&hmac(&hmac(&day, "us-east-1"), "rolesanywhere"), "aws4_request");
    hex(&hmac(&key, &scope.string_to_sign("AWS4-HMAC-SHA256", &canonical)))
}

fn oracle_signature(headers: &[(&str, &str)], body: &[u8]) -> String {
    let identity = Credentials::new("AKID", "secret", None, None, "test").into();
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(SIGNED_AT.unix_timestamp().unsigned_abs());
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("rolesanywhere")
        .time(signed_at)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let request = SignableRequest::new(
        "POST",
        "https://rolesanywhere.us-east-1.amazonaws.com/sessions",
        headers.iter().copied(),
        SignableBody::Bytes(body),
    )
    .unwrap();
    aws_sigv4::http_request::sign(request, &params).unwrap().signature().to_owned()
}

proptest! {
    #[test]
    fn the_canonical_form_is_the_one_aws_sigv4_makes(
        value in "[!-~]([ -~]{0,30}[!-~])?",
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let plain = [
            ("Content-Type", "application/json"),
            ("host", "rolesanywhere.us-east-1.amazonaws.com"),
            ("X-Amz-Test", value.as_str()),
        ];
        let mut dated = plain.to_vec();
        // aws-sigv4 adds the date itself.
        dated.push(("x-amz-date", "20260311T120000Z"));

        prop_assert_eq!(our_hmac_signature(&dated, &body), oracle_signature(&plain, &body));
    }
}
