//! Signature Version 4 with a secret access key (AWS General Reference, "Signature Version 4").

use std::time::Duration;
use std::time::SystemTime;

use aws_sigv4::http_request;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SignatureLocation;
use aws_sigv4::http_request::SigningInstructions;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::sign::v4::SigningParams;

use super::CredentialScope;
use super::Headers;
use anchord_core::credentials::Keys;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;

/// A request to sign with a secret access key.
#[derive(Clone, Copy, Debug)]
pub struct V4Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The whole URL as it is sent, percent-encoded once. Signing encodes its path a second time.
    pub url: &'a str,
    /// Further headers to sign besides `host` and those that signing adds. Names are in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// The request cannot be signed, because its URL or a header is malformed.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub struct Unsignable(String);

impl Classify for Unsignable {
    fn reason(&self) -> Reason {
        Reason::Bug
    }
}

/// The headers that sign the request: `authorization`, `x-amz-date`, and `x-amz-security-token` if the keys have a
/// token.
///
/// # Errors
/// If the URL or a header is malformed.
pub fn sign_v4(call: &V4Request<'_>, keys: &Keys, scope: &CredentialScope) -> Result<Headers, Unsignable> {
    let (headers, _) = instructions(call, keys, scope, SigningSettings::default())?.into_parts();
    Ok(headers.into_iter().map(|header| (header.name(), header.value().to_owned())).collect())
}

/// The query parameters that sign `url` for `lifetime`, without headers. Names and values are not yet encoded.
pub(super) fn presign_v4(
    url: &str,
    keys: &Keys,
    scope: &CredentialScope,
    lifetime: Duration,
) -> Result<Vec<(&'static str, String)>, Unsignable> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(lifetime);
    let call = V4Request { method: "POST", url, headers: &[], body: b"" };
    let (_, parameters) = instructions(&call, keys, scope, settings)?.into_parts();
    Ok(parameters.into_iter().map(|(name, value)| (name, value.into_owned())).collect())
}

fn instructions(
    call: &V4Request<'_>,
    keys: &Keys,
    scope: &CredentialScope,
    settings: SigningSettings,
) -> Result<SigningInstructions, Unsignable> {
    let unsignable = |error: &dyn std::error::Error| Unsignable(error.to_string());
    let token = keys.session_token.as_ref().map(|token| token.expose().clone());
    let identity = aws_credential_types::Credentials::new(
        &keys.access_key_id,
        keys.secret_access_key.expose(),
        token,
        None,
        "anchord",
    )
    .into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(scope.region())
        .name(scope.service())
        .time(SystemTime::from(scope.at()))
        .settings(settings)
        .build()
        .map_err(|error| unsignable(&error))?
        .into();
    let headers = call.headers.iter().copied();
    let request = SignableRequest::new(call.method, call.url, headers, SignableBody::Bytes(call.body))
        .map_err(|error| unsignable(&error))?;
    let signed = http_request::sign(request, &parameters).map_err(|error| unsignable(&error))?;
    Ok(signed.into_parts().0)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use anchord_core::arn::Region;
    use anchord_core::secret::Secret;

    /// Signed by botocore 1.44.5 with the same keys at the same instant.
    #[test]
    fn a_model_that_is_an_arn_is_signed_as_botocore_signs_it() {
        let keys = Keys {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("secret/key+with=signs".into()),
            session_token: Some(Secret::new("token//with+and=signs".into())),
        };
        let at = datetime!(2026-03-11 12:00:00 UTC);
        let scope = CredentialScope::new(at, Region::parse("us-east-1").unwrap(), "bedrock");
        let call = V4Request {
            method: "POST",
            url: "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1\
                  %3A123456789012%3Aapplication-inference-profile%2Fabc/converse",
            headers: &[("content-type", "application/json")],
            body: b"{}",
        };

        let headers = sign_v4(&call, &keys, &scope).unwrap();

        let value = |name| headers.iter().find(|(header, _)| *header == name).unwrap().1.as_str();
        assert_eq!(value("x-amz-date"), "20260311T120000Z");
        assert_eq!(value("x-amz-security-token"), "token//with+and=signs");
        assert_eq!(
            value("authorization"),
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260311/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=b03ea180fff5a35d63823b8f46c77bd2a13d641cea03d4f185c78c50086f63f3"
        );
    }

    #[test]
    fn what_is_not_a_url_is_refused_without_a_panic() {
        let keys = Keys {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: None,
        };
        let scope = CredentialScope::new(
            datetime!(2026-03-11 12:00:00 UTC),
            Region::parse("us-east-1").unwrap(),
            "sts",
        );

        let call = V4Request { method: "GET", url: "not a url", headers: &[], body: b"" };

        assert!(sign_v4(&call, &keys, &scope).is_err());
    }
}
