//! The line that `credential_process` prints.

use serde::Serialize;

use super::document;
use crate::clock;
use crate::credentials::Credentials;
use crate::secret::Secret;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

/// One line of JSON without the line's end, complete before a byte of it is written anywhere: Go prints output
/// that it cannot parse.
pub fn render(credentials: &Credentials) -> Secret<String> {
    let line = Line {
        version: 1,
        access_key_id: credentials.access_key_id(),
        secret_access_key: credentials.secret_access_key().expose(),
        session_token: credentials.session_token().expose(),
        expiration: clock::rfc3339(credentials.expires_at()),
        account_id: credentials.account_id(),
    };
    let json = document::write_json(&line);
    Secret::new(String::from_utf8_lossy(json.expose()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::support;

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
    fn the_process_line_is_one_line_whatever_the_token_holds() {
        let line = render(&support::credentials_with_token("a\\n\"c"));

        assert!(line.expose().contains(r#""SessionToken":"a\\n\"c""#), "escaped, not raw");
        assert!(!line.expose().contains('\n'));
        assert!(!render(&support::credentials_without_account()).expose().contains("AccountId"));
    }
}
