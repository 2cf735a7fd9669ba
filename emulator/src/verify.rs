//! Who signed this request, if anybody did.
//!
//! Every check here ends in the same answer, "Invalid signature", as it does at the service; the log knows which it was.

use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::Duration;
use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::macros::format_description;
use x509_parser::certificate::X509Certificate;

use crate::canonical;
use crate::canonical::Equals;
use crate::canonical::Incoming;
use crate::chain;
use crate::chain::PublicKey;
use crate::encode;
use crate::reply::Cause;
use crate::reply::Refusal;

/// How far `X-Amz-Date` may be from the service's clock.
const TOLERANCE: Duration = Duration::minutes(5);

/// An `Authorization` header, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) algorithm: &'a str,
    /// Serial and scope.
    pub(crate) credential: &'a str,
    pub(crate) signed_headers: Vec<&'a str>,
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(crate) fn of(incoming: &'a Incoming) -> Result<Self, Refusal> {
        let header = only(incoming, "authorization").map_err(|_| {
            let reason = "there is not one Authorization header";
            Refusal::new(403, "MissingAuthenticationTokenException", "Missing Authentication Token", reason)
        })?;
        Self::parse(header).ok_or_else(|| Refusal::signature("the Authorization header cannot be read"))
    }

    pub(crate) fn parse(header: &'a str) -> Option<Self> {
        let (algorithm, rest) = header.split_once(' ')?;
        let mut parts = rest.split(',').map(str::trim);
        let credential = parts.next()?.strip_prefix("Credential=")?;
        let signed_headers = parts.next()?.strip_prefix("SignedHeaders=")?.split(';').collect();
        let signature = parts.next()?.strip_prefix("Signature=")?;
        parts.next().is_none().then_some(Self { algorithm, credential, signed_headers, signature })
    }
}

/// The certificates that came along, as DER.
pub(crate) struct Certificates {
    pub(crate) leaf: Vec<u8>,
    pub(crate) intermediates: Vec<Vec<u8>>,
}

impl Certificates {
    pub(crate) fn of(incoming: &Incoming) -> Result<Self, Refusal> {
        let leaf = decode("x-amz-x509", only(incoming, "x-amz-x509")?)?;
        if !incoming.has("x-amz-x509-chain") {
            return Ok(Self { leaf, intermediates: Vec::new() });
        }
        let chain = only(incoming, "x-amz-x509-chain")?;
        if chain.is_empty() {
            return Err(Refusal::signature("x-amz-x509-chain is empty"));
        }
        let intermediates: Vec<Vec<u8>> =
            chain.split(',').map(|part| decode("x-amz-x509-chain", part)).collect::<Result<_, _>>()?;
        if intermediates.len() > chain::MOST_INTERMEDIATES {
            let reason = format!("x-amz-x509-chain has {} certificates", intermediates.len());
            return Err(Refusal::signature(reason));
        }
        Ok(Self { leaf, intermediates })
    }
}

/// Checks all that the signature covers and the signature itself against the leaf's key.
pub(crate) fn check(
    incoming: &Incoming,
    authorization: &Authorization<'_>,
    leaf: &X509Certificate<'_>,
    region: &str,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let algorithm = request_algorithm(authorization.algorithm, leaf)?;
    check_signed_headers(incoming, &authorization.signed_headers)?;
    let stamp = only(incoming, "x-amz-date")?;
    check_date(stamp, now)?;
    let scope = check_credential(authorization.credential, leaf, &stamp[..8], region)?;
    let signature = encode::unhex(authorization.signature)
        .ok_or_else(|| Refusal::signature("the signature is not lower-case hexadecimal"))?;

    let key = UnparsedPublicKey::new(algorithm, &leaf.public_key().subject_public_key.data);
    let genuine = [Equals::Once, Equals::Twice].into_iter().any(|equals| {
        let request = canonical::request(incoming, &authorization.signed_headers, equals);
        let hash = encode::sha256_hex(request.as_bytes());
        let string_to_sign = [authorization.algorithm, stamp, scope, &hash].join("\n");
        key.verify(string_to_sign.as_bytes(), &signature).is_ok()
    });
    if genuine { Ok(()) } else { Err(Refusal::signature("the signature does not verify")) }
}

/// The verification that an algorithm's name means for the leaf's key: always SHA-256, on every curve.
fn request_algorithm(
    name: &str,
    leaf: &X509Certificate<'_>,
) -> Result<&'static dyn VerificationAlgorithm, Refusal> {
    let key = PublicKey::of(leaf.public_key());
    Ok(match (name, key) {
        ("AWS4-X509-RSA-SHA256", Some(PublicKey::Rsa)) => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("AWS4-X509-ECDSA-SHA256", Some(PublicKey::P256)) => &signature::ECDSA_P256_SHA256_ASN1,
        ("AWS4-X509-ECDSA-SHA256", Some(PublicKey::P384)) => &signature::ECDSA_P384_SHA256_ASN1,
        ("AWS4-X509-ECDSA-SHA256", Some(PublicKey::P521)) => &signature::ECDSA_P521_SHA256_ASN1,
        ("AWS4-X509-MLDSA", Some(PublicKey::MlDsa(algorithm))) => algorithm,
        _ => return Err(Refusal::signature(format!("`{name}` does not go with the leaf's key ({key:?})"))),
    })
}

fn check_signed_headers(incoming: &Incoming, signed: &[&str]) -> Result<(), Refusal> {
    if !signed.is_sorted_by(|one, next| one < next) {
        return Err(Refusal::signature("the signed headers are not sorted"));
    }
    let lower = |name: &&str| name.bytes().all(|byte| !byte.is_ascii_uppercase());
    if !signed.iter().all(lower) {
        return Err(Refusal::signature("a signed header is not in lower case"));
    }
    if let Some(absent) = signed.iter().find(|name| !incoming.has(name)) {
        return Err(Refusal::signature(format!("`{absent}` is signed but absent")));
    }
    let optional = ["content-type", "x-amz-x509-chain"].into_iter().filter(|name| incoming.has(name));
    let mut needed = ["host", "x-amz-date", "x-amz-x509"].into_iter().chain(optional);
    match needed.find(|name| !signed.contains(name)) {
        None => Ok(()),
        Some(missing) => Err(Refusal::signature(format!("`{missing}` is not signed"))),
    }
}

fn check_date(stamp: &str, now: OffsetDateTime) -> Result<(), Refusal> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed_at = PrimitiveDateTime::parse(stamp, format)
        .ok()
        .filter(|_| stamp.len() == 16)
        .ok_or_else(|| Refusal::signature("x-amz-date is not YYYYMMDDTHHMMSSZ"))?
        .assume_utc();
    if (now - signed_at).abs() > TOLERANCE {
        return Err(
            Refusal::signature(format!("x-amz-date is {stamp}, but it is {now}")).because(Cause::Skew)
        );
    }
    Ok(())
}

/// Checks `serial/date/region/rolesanywhere/aws4_request` and gives back the scope, all after the serial.
fn check_credential<'a>(
    credential: &'a str,
    leaf: &X509Certificate<'_>,
    date: &str,
    region: &str,
) -> Result<&'a str, Refusal> {
    let (serial, scope) =
        credential.split_once('/').ok_or_else(|| Refusal::signature("the credential has no scope"))?;
    let expected = leaf.tbs_certificate.serial.to_string();
    if serial != expected {
        return Err(Refusal::signature(format!(
            "the credential's serial is {serial}, the leaf's {expected}"
        )));
    }
    let expected = format!("{date}/{region}/rolesanywhere/aws4_request");
    if scope != expected {
        return Err(Refusal::signature(format!("the scope is {scope}, it should be {expected}")));
    }
    Ok(scope)
}

/// The value of a header that must come exactly once.
fn only<'a>(incoming: &'a Incoming, name: &'a str) -> Result<&'a str, Refusal> {
    let mut values = incoming.values(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Refusal::signature(format!("`{name}` is absent"))),
        (Some(_), Some(_)) => Err(Refusal::signature(format!("`{name}` comes twice"))),
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::signature(format!("`{name}` is not base64 in one line")))
}

#[cfg(test)]
pub(crate) mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::Value;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn vectors() -> Vec<Value> {
        serde_json::from_str(include_str!("../../tests/vectors/create-session.json")).unwrap()
    }

    fn text(vector: &Value, name: &str) -> String {
        vector[name].as_str().unwrap().to_owned()
    }

    /// The request of a vector, as it would come off the wire.
    pub(crate) fn incoming(vector: &Value) -> Incoming {
        let headers = vector["headers"].as_object().unwrap();
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        headers.push(("authorization".to_owned(), text(vector, "authorization")));
        Incoming {
            method: text(vector, "method"),
            path: text(vector, "path"),
            query: text(vector, "query"),
            headers,
            body: text(vector, "body").into_bytes(),
            ..Incoming::default()
        }
    }

    fn verify(vector: &Value, incoming: &Incoming, region: &str, now: OffsetDateTime) -> Result<(), Refusal> {
        let certificates = Certificates::of(incoming)?;
        assert_eq!(
            certificates.leaf,
            CertificateDer::from_pem_slice(text(vector, "cert_pem").as_bytes()).unwrap().as_ref()
        );
        let leaf = chain::parse(&certificates.leaf)?;
        check(incoming, &Authorization::of(incoming)?, &leaf, region, now)
    }

    #[test]
    fn every_vector_verifies_and_its_canonical_request_is_rebuilt() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 8);
        for vector in &vectors {
            let incoming = incoming(vector);
            let authorization = Authorization::of(&incoming).unwrap();
            let rebuilt = canonical::request(&incoming, &authorization.signed_headers, Equals::Once);

            assert_eq!(rebuilt, text(vector, "canonical_request"), "{}", vector["label"]);
            assert_eq!(verify(vector, &incoming, "us-east-1", NOW), Ok(()), "{}", vector["label"]);
        }
    }

    #[test]
    fn no_vector_verifies_with_another_body_or_another_vectors_signature() {
        let vectors = vectors();
        for (index, vector) in vectors.iter().enumerate() {
            let mut changed = incoming(vector);
            changed.body.push(b' ');
            let refusal = verify(vector, &changed, "us-east-1", NOW).unwrap_err();
            assert_eq!(refusal.reason, "the signature does not verify", "{}", vector["label"]);

            // Its neighbour has the same key, and one more or less signed header.
            let mut changed = incoming(vector);
            let other = text(&vectors[index ^ 1], "signature_hex");
            for (_, value) in changed.headers.iter_mut().filter(|(name, _)| name == "authorization") {
                *value = value.replace(&text(vector, "signature_hex"), &other);
            }
            let refusal = verify(vector, &changed, "us-east-1", NOW).unwrap_err();
            assert_eq!(refusal.reason, "the signature does not verify", "{}", vector["label"]);
        }
    }

    #[test]
    fn a_vector_is_good_for_its_region_and_five_minutes_either_way() {
        let vector = &vectors()[0];
        let incoming = incoming(vector);
        let at = |now| verify(vector, &incoming, "us-east-1", now);

        assert!(at(NOW + TOLERANCE).is_ok() && at(NOW - TOLERANCE).is_ok());
        assert!(at(NOW + TOLERANCE + Duration::SECOND).unwrap_err().reason.contains("x-amz-date is"));
        assert!(at(NOW - TOLERANCE - Duration::SECOND).unwrap_err().reason.contains("x-amz-date is"));
        let elsewhere = verify(vector, &incoming, "us-east-2", NOW).unwrap_err();
        assert!(elsewhere.reason.starts_with("the scope is"), "{elsewhere:?}");
    }

    #[test]
    fn an_authorization_header_has_exactly_its_three_parts() {
        assert!(Authorization::parse("A Credential=c, SignedHeaders=h;i, Signature=s").is_some());
        assert!(Authorization::parse("A Credential=c,SignedHeaders=h,Signature=s").is_some());
        for bad in [
            "",
            "A",
            "A Credential=c, SignedHeaders=h",
            "A SignedHeaders=h, Credential=c, Signature=s",
            "A Credential=c, SignedHeaders=h, Signature=s, More=m",
            "Bearer token",
        ] {
            assert_eq!(Authorization::parse(bad), None, "{bad}");
        }
    }
}
