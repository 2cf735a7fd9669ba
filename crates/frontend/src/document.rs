//! The JSON document with credentials that IMDS and container clients read.

use std::sync::Once;

use serde::Serialize;

use super::Reply;
use anchord_core::clock;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_core::secret::Secret;

/// The AWS Common Runtime, which several SDKs use, rejects longer responses of the container endpoint (aws-c-auth, ECS
/// provider).
const SHORTEST_LIMIT_OF_ANY_CLIENT: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsDocument<'a> {
    code: &'static str,
    last_updated: String,
    r#type: &'static str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

/// 200 with the document. Warns once if some SDKs cannot read it.
pub(super) fn reply(credentials: &Credentials) -> Reply {
    let body = render(credentials);
    let bytes = body.expose().len();
    if bytes >= SHORTEST_LIMIT_OF_ANY_CLIENT {
        // AWS decides how long a session token is, and most clients can read this document. All documents of the
        // session have this length, so the warning is logged once.
        static WARNED: Once = Once::new();
        WARNED.call_once(|| {
            let limit = SHORTEST_LIMIT_OF_ANY_CLIENT;
            tracing::warn!(
                event = event::CREDENTIALS_TOO_LONG,
                bytes,
                limit,
                "The credentials document is larger than some SDKs accept"
            );
        });
    }
    Reply::json(http::StatusCode::OK, body)
}

/// The document with its members in the case that all SDKs read.
pub(super) fn render(credentials: &Credentials) -> Secret<Vec<u8>> {
    let document = CredentialsDocument {
        code: "Success",
        last_updated: clock::rfc3339(credentials.obtained_at()),
        r#type: "AWS-HMAC",
        access_key_id: credentials.access_key_id(),
        secret_access_key: credentials.secret_access_key().expose(),
        // Some SDKs require this member. Only few (for Rust, for Java) send an empty token to AWS.
        token: credentials.session_token().map_or("", |token| token.expose()),
        expiration: clock::rfc3339(credentials.expires_at()),
        account_id: credentials.account_id(),
    };
    write_json(&document)
}

/// Writes JSON into a buffer that is large enough for usual credentials. A buffer that grows leaves copies of secrets
/// in memory.
pub(super) fn write_json(value: &impl Serialize) -> Secret<Vec<u8>> {
    let mut json = Vec::with_capacity(SHORTEST_LIMIT_OF_ANY_CLIENT);
    serde_json::to_writer(&mut json, value)
        .expect("strings are always JSON, and writing to memory never fails");
    Secret::new(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support;

    #[test]
    fn the_document_has_every_field_that_any_sdk_asks_for() {
        let body = render(&support::credentials());

        assert_eq!(
            std::str::from_utf8(body.expose()).unwrap(),
            concat!(
                r#"{"Code":"Success","LastUpdated":"2026-03-11T12:00:00Z","Type":"AWS-HMAC","#,
                r#""AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"canary-secret-key","#,
                r#""Token":"canary-session-token","Expiration":"2026-03-11T13:00:00Z","#,
                r#""AccountId":"123456789012"}"#
            )
        );
    }

    #[test]
    fn an_unknown_account_is_left_out() {
        let body = render(&support::credentials_without_account());

        assert!(!String::from_utf8(body.expose().clone()).unwrap().contains("AccountId"));
    }

    #[test]
    fn a_token_of_the_usual_size_fits_the_smallest_client() {
        let body = render(&support::credentials_with_token(&"t".repeat(4096)));

        assert!(body.expose().len() < SHORTEST_LIMIT_OF_ANY_CLIENT);
    }
}
