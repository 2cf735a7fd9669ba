//! `AWS4-X509-RSA-SHA256`, `AWS4-X509-ECDSA-SHA256` and `AWS4-X509-MLDSA`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::CanonicalRequest;
use super::CredentialScope;
use anchord_core::digest::hex;
use anchord_identity::Algorithm;
use anchord_identity::Identity;
use anchord_identity::SignFailure;

/// A JSON request to sign with a certificate's private key.
#[derive(Clone, Copy, Debug)]
pub struct X509Request<'a> {
    /// The method, `POST`.
    pub method: &'a str,
    /// The path, in canonical form.
    pub path: &'a str,
    /// The `Host` header, without the default port of the scheme.
    pub host: &'a str,
    /// The body, `application/json`.
    pub body: &'a [u8],
}

/// The names (lower case) and values of the headers that sign a request. The HTTP client adds `host`.
pub type Headers = Vec<(&'static str, String)>;

/// Signs `request` with `identity` for `scope`.
///
/// Without intermediates there is no chain header: the service refuses an empty one with "Invalid signature".
///
/// # Errors
/// If the private key cannot sign.
pub fn sign(
    request: X509Request<'_>,
    identity: &Identity,
    scope: &CredentialScope,
) -> Result<Headers, SignFailure> {
    let mut headers: Headers = vec![
        ("content-type", "application/json".into()),
        ("x-amz-date", scope.amz_date()),
        ("x-amz-x509", STANDARD.encode(identity.leaf())),
    ];
    if !identity.intermediates().is_empty() {
        let chain: Vec<String> = identity.intermediates().iter().map(|der| STANDARD.encode(der)).collect();
        headers.push(("x-amz-x509-chain", chain.join(",")));
    }

    let mut signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    signed.push(("host", request.host));
    let canonical = CanonicalRequest::new(request.method, request.path, "", &signed, request.body);

    let algorithm = name(identity.key().algorithm());
    let string_to_sign = scope.string_to_sign(algorithm, &canonical);
    let signature = identity.key().sign(string_to_sign.as_bytes())?;
    let authorization = format!(
        "{algorithm} Credential={serial}/{scope}, SignedHeaders={signed_headers}, Signature={signature}",
        serial = identity.serial(),
        signed_headers = canonical.signed_headers(),
        signature = hex(&signature),
    );
    headers.push(("authorization", authorization));
    Ok(headers)
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RsaSha256 => "AWS4-X509-RSA-SHA256",
        Algorithm::EcdsaSha256 => "AWS4-X509-ECDSA-SHA256",
        Algorithm::MlDsa => "AWS4-X509-MLDSA",
    }
}
