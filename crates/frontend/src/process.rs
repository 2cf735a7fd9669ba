//! The output of a `credential_process`, as AWS's documentation of the shared config file defines it.

use super::document;
use anchord_core::clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;
use serde::Deserialize;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessOutput<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

/// One line of JSON without a line break. It is complete before any of it is printed, because the SDK for Go puts
/// output that it cannot parse into its error message.
pub fn render(credentials: &Credentials) -> Secret<String> {
    let output = ProcessOutput {
        version: 1,
        access_key_id: credentials.access_key_id(),
        secret_access_key: credentials.secret_access_key().expose(),
        session_token: credentials.session_token().map(|token| token.expose().as_str()),
        expiration: clock::rfc3339(credentials.expires_at()),
        account_id: credentials.account_id(),
    };
    let json = document::write_json(&output);
    Secret::new(String::from_utf8_lossy(json.expose()).into_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParsedOutput {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: String,
    account_id: Option<String>,
}

/// Reads the credentials from a line of [`render`], with `now` as the time at which they were obtained. `None` if the
/// line has another form.
pub fn read(line: &[u8], now: Moment) -> Option<Credentials> {
    let output: ParsedOutput = serde_json::from_slice(line).ok()?;
    let keys = Keys {
        access_key_id: output.access_key_id,
        secret_access_key: Secret::new(output.secret_access_key),
        session_token: output.session_token.map(Secret::new),
    };
    let expires_at = clock::parse_rfc3339(&output.expiration)?;
    Credentials::new(keys, now, expires_at, output.account_id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support;

    #[test]
    fn the_process_line_has_a_number_as_version_and_the_session_token_under_its_own_name() {
        assert_eq!(
            render(&support::credentials()).expose(),
            concat!(
                r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"canary-secret-key","#,
                r#""SessionToken":"canary-session-token","Expiration":"2026-03-11T13:00:00Z","#,
                r#""AccountId":"123456789012"}"#
            )
        );
    }

    #[test]
    fn what_was_printed_is_read_back() {
        let made = support::credentials();

        let read = read(render(&made).expose().as_bytes(), support::AT).unwrap();

        assert_eq!(read.access_key_id(), made.access_key_id());
        assert_eq!(read.secret_access_key(), made.secret_access_key());
        assert_eq!(read.session_token(), made.session_token());
        assert_eq!((read.expires_at(), read.account_id()), (made.expires_at(), made.account_id()));
        assert!(super::read(b"{}", support::AT).is_none());
    }

    #[test]
    fn the_process_line_is_one_line_whatever_the_token_holds() {
        let line = render(&support::credentials_with_token("a\\n\"c"));

        assert!(line.expose().contains(r#""SessionToken":"a\\n\"c""#), "escaped, not raw");
        assert!(!line.expose().contains('\n'));
        assert!(!render(&support::credentials_without_account()).expose().contains("AccountId"));
    }
}
