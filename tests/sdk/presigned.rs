//! A URL that was signed with credentials (SigV4 in the query), judged by signing it again.

use anchord_emulator::IssuedCredentials;
use percent_encoding::percent_decode_str;
use ring::digest;
use ring::hmac;

/// The access key id in the URL.
pub(crate) fn id(url: &str) -> String {
    let credential = parameter(url, "X-Amz-Credential").unwrap_or_default();
    credential.split('/').next().unwrap_or_default().to_owned()
}

/// Whether the URL carries the id and the token, and was signed with the secret.
pub(crate) fn is_signed_with(url: &str, issued: &IssuedCredentials) -> bool {
    id(url) == issued.access_key_id
        && parameter(url, "X-Amz-Security-Token").is_some_and(|token| token == issued.session_token)
        && parameter(url, SIGNATURE)
            .is_some_and(|found| Some(found) == signature(url, &issued.secret_access_key))
}

const SIGNATURE: &str = "X-Amz-Signature";

fn parameter(url: &str, name: &str) -> Option<String> {
    let value = pairs(url).into_iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

fn pairs(url: &str) -> Vec<&str> {
    url.split_once('?').map(|(_, query)| query.split('&').collect()).unwrap_or_default()
}

fn signature(url: &str, secret: &str) -> Option<String> {
    let (host, path) = url.strip_prefix("https://")?.split('?').next()?.split_once('/')?;
    let mut query = pairs(url);
    query.retain(|pair| !pair.starts_with(SIGNATURE));
    query.sort_unstable();
    let request = format!("GET\n/{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", query.join("&"));

    let (at, credential) = (parameter(url, "X-Amz-Date")?, parameter(url, "X-Amz-Credential")?);
    let (_, scope) = credential.split_once('/')?;
    let hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{hash}");

    let start = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(start, |key, part| sign(&key, part));
    Some(hex(&sign(&key, &text)))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in "Authenticating Requests: Using Query Parameters" of the S3 API reference.
    const EXAMPLE: &str = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

    #[test]
    fn the_example_in_the_documentation_is_signed_with_its_secret_and_no_other() {
        let with = |secret| signature(EXAMPLE, secret);

        assert_eq!(with("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), parameter(EXAMPLE, SIGNATURE));
        assert_ne!(with("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEX"), parameter(EXAMPLE, SIGNATURE));
        assert_eq!(id(EXAMPLE), "AKIAIOSFODNN7EXAMPLE");
    }
}
