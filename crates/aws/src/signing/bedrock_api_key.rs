//! Short-term API keys of Bedrock: a presigned URL, encoded as a bearer token.
//!
//! The format is that of AWS's own generators (PyPI `aws-bedrock-token-generator`), byte for byte.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use time::OffsetDateTime;

use super::CredentialScope;
use super::Unsignable;
use super::v4::presign_v4;
use anchord_core::arn::Region;
use anchord_core::clock;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;

/// The longest life that AWS accepts: 12 hours.
pub const LONGEST_API_KEY: Duration = Duration::from_secs(43200);

/// The host of the presigned URL. It is the same in every Region and partition.
const HOST: &str = "bedrock.amazonaws.com";
const ACTION: &str = "Action=CallWithBearerToken";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The lifetime to sign a key with if it is to live for `asked` from `now` on. A key of temporary
/// credentials expires with them. A key of a user's own keys would outlive these, so it is cut to the time at which they
/// are read again.
pub fn api_key_lifetime(credentials: &Credentials, now: OffsetDateTime, asked: Duration) -> Duration {
    match credentials.session_token() {
        Some(_) => asked,
        None => asked.min(clock::until(now, credentials.expires_at())),
    }
}

/// A key for Bedrock in `region` that is valid from `at` for `lifetime`, but at most for [`LONGEST_API_KEY`]. It
/// expires earlier if the credentials of `keys` do.
///
/// # Errors
/// If the URL cannot be signed.
pub fn bedrock_api_key(
    keys: &Keys,
    region: &Region,
    at: OffsetDateTime,
    lifetime: Duration,
) -> Result<Secret<String>, Unsignable> {
    let scope = CredentialScope::new(at, region.clone(), "bedrock");
    let url = format!("https://{HOST}/?{ACTION}");
    let mut parameters = presign_v4(&url, keys, &scope, lifetime.min(LONGEST_API_KEY))?;
    // The order of AWS's generators. The signature does not depend on it.
    parameters.sort_by_key(|(name, _)| match *name {
        "X-Amz-Security-Token" => 1,
        "X-Amz-Signature" => 2,
        _ => 0,
    });
    // Allocated at full length: a string that grows leaves parts of the key in memory.
    let length = parameters.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum::<usize>();
    let mut presigned = zeroize::Zeroizing::new(String::with_capacity(HOST.len() + length + 64));
    presigned.push_str(HOST);
    presigned.push_str("/?");
    presigned.push_str(ACTION);
    for (name, value) in &mut parameters {
        presigned.extend(["&", name, "="]);
        presigned.extend(utf8_percent_encode(value, UNRESERVED));
        zeroize::Zeroize::zeroize(value);
    }
    presigned.push_str("&Version=1");
    let mut key = String::with_capacity("bedrock-api-key-".len() + presigned.len().div_ceil(3) * 4);
    key.push_str("bedrock-api-key-");
    STANDARD.encode_string(presigned.as_bytes(), &mut key);
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use anchord_core::clock::Moment;

    const AT: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    /// Made by aws-bedrock-token-generator with botocore 1.44.5 from the same input at the same instant.
    const OF_A_SESSION: &str = "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb249Q2FsbFdpdGhCZWFyZXJUb2tlbiZYLUFtei1BbGdvcml0aG09QVdTNC1ITUFDLVNIQTI1NiZYLUFtei1DcmVkZW50aWFsPUFTSUFFWEFNUExFJTJGMjAyNjAzMTElMkZ1cy1lYXN0LTElMkZiZWRyb2NrJTJGYXdzNF9yZXF1ZXN0JlgtQW16LURhdGU9MjAyNjAzMTFUMTIwMDAwWiZYLUFtei1FeHBpcmVzPTQzMjAwJlgtQW16LVNpZ25lZEhlYWRlcnM9aG9zdCZYLUFtei1TZWN1cml0eS1Ub2tlbj10b2tlbiUyRiUyRndpdGglMkJhbmQlM0RzaWducyZYLUFtei1TaWduYXR1cmU9ZjU4ZjY4ODJiYTA0MmFhNTllNWVhM2ZmYzRmYThkOWNkYjAzODQwYjY2ZDdlNWJjMTQ0MWNlNmUyZTg3NTY0YiZWZXJzaW9uPTE=";
    const OF_A_USER: &str = "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb249Q2FsbFdpdGhCZWFyZXJUb2tlbiZYLUFtei1BbGdvcml0aG09QVdTNC1ITUFDLVNIQTI1NiZYLUFtei1DcmVkZW50aWFsPUFLSUFFWEFNUExFJTJGMjAyNjAzMTElMkZldS13ZXN0LTElMkZiZWRyb2NrJTJGYXdzNF9yZXF1ZXN0JlgtQW16LURhdGU9MjAyNjAzMTFUMTIwMDAwWiZYLUFtei1FeHBpcmVzPTkwMCZYLUFtei1TaWduZWRIZWFkZXJzPWhvc3QmWC1BbXotU2lnbmF0dXJlPTg1ZDRhM2ExZDgyZWI5YWI5ZjEwNTQyNDlmZTUzZmNlYTc3ZmVlNmExYmQwNjU4MTZkYmVkYTFkOTVmNjdlNjgmVmVyc2lvbj0x";

    fn key(id: &str, secret: &str, token: Option<&str>, region: &str, seconds: u64) -> String {
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new(secret.into()),
            session_token: token.map(|token| Secret::new(token.into())),
        };
        let region = Region::parse(region).unwrap();
        bedrock_api_key(&keys, &region, AT, Duration::from_secs(seconds)).unwrap().expose().clone()
    }

    #[test]
    fn the_key_is_the_one_that_awss_generator_makes() {
        let token = Some("token//with+and=signs");

        assert_eq!(key("ASIAEXAMPLE", "secret/key+with=signs", token, "us-east-1", 43200), OF_A_SESSION);
        assert_eq!(key("AKIAEXAMPLE", "secret", None, "eu-west-1", 900), OF_A_USER);
    }

    #[test]
    fn a_key_of_keys_that_do_not_end_ends_when_these_are_to_be_read_again() {
        let made = |token: Option<&str>| {
            let keys = Keys {
                access_key_id: "AKIAEXAMPLE".into(),
                secret_access_key: Secret::new("secret".into()),
                session_token: token.map(|token| Secret::new(token.into())),
            };
            Credentials::new(
                keys,
                Moment { wall: AT, up: time::Duration::HOUR },
                AT + time::Duration::HOUR,
                None,
            )
            .unwrap()
        };
        let half_past = AT + time::Duration::minutes(30);
        let lifetime = |token| api_key_lifetime(&made(token), half_past, LONGEST_API_KEY);

        assert_eq!(lifetime(None), Duration::from_secs(1800));
        assert_eq!(lifetime(Some("token")), LONGEST_API_KEY);
    }

    #[test]
    fn no_key_is_made_that_aws_would_refuse_for_its_length() {
        let token = Some("token//with+and=signs");

        assert_eq!(key("ASIAEXAMPLE", "secret/key+with=signs", token, "us-east-1", 90_000), OF_A_SESSION);
    }
}
