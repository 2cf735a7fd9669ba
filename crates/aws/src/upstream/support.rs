//! A transport that follows a script and STS's answers, for the tests of this stage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use http::Request;
use ring::hmac;
use time::OffsetDateTime;
use time::macros::datetime;

use super::Caller;
use super::HttpReply;
use super::Sts;
use super::Transport;
use super::TransportError;
use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Variant;
use anchord_core::issuer::BoxFuture;
use anchord_core::secret::Secret;

pub(super) const NOW: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);
/// An hour later.
pub(super) const ONE: &str = "2026-03-11T13:00:00Z";
pub(super) const TWO_HOURS_LATER: (&str, &str) = ("date", "Wed, 11 Mar 2026 14:00:00 GMT");

/// Answers from a list, and remembers what was asked.
#[derive(Default)]
pub(super) struct Script {
    replies: Mutex<VecDeque<HttpReply>>,
    requests: Mutex<Vec<Request<Bytes>>>,
}

impl Script {
    pub(super) fn new(replies: impl IntoIterator<Item = HttpReply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), ..Self::default() })
    }

    /// Calls by this, and takes it to be `NOW`.
    pub(super) fn caller(self: &Arc<Self>) -> Caller {
        Caller::new(Arc::clone(self) as Arc<dyn Transport>, Clock::manual(NOW))
    }

    /// The requests since the last call of this.
    pub(super) fn sent(&self) -> Vec<Request<Bytes>> {
        self.requests.lock().unwrap().drain(..).collect()
    }
}

impl Transport for Script {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>> {
        self.requests.lock().unwrap().push(request);
        let reply = self.replies.lock().unwrap().pop_front();
        Box::pin(async move { reply.ok_or(TransportError::TooLarge) })
    }
}

pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> HttpReply {
    let mut reply = http::Response::builder().status(status).header("x-amzn-requestid", "id-1");
    for (name, value) in headers {
        reply = reply.header(*name, *value);
    }
    reply.body(Secret::new(body.as_bytes().to_vec())).unwrap()
}

/// A captive portal's answer instead of AWS's.
pub(super) fn portal(status: u16) -> HttpReply {
    let reply = http::Response::builder().status(status).header("content-type", "text/html");
    reply.body(Secret::new(b"<html>log in</html>".to_vec())).unwrap()
}

pub(super) fn sent_header(request: &Request<Bytes>, name: &str) -> String {
    request.headers()[name].to_str().unwrap().to_owned()
}

pub(super) fn sts() -> Sts {
    Sts { region: Region::parse("us-east-1").unwrap(), endpoint: None, variant: Variant::default() }
}

pub(super) fn keys(id: &str, token: Option<&str>) -> Keys {
    Keys {
        access_key_id: id.into(),
        secret_access_key: Secret::new(format!("canary-secret-of-{id}")),
        session_token: token.map(|token| Secret::new(token.into())),
    }
}

/// What STS answers where `operation` gives credentials to be used as `id`.
pub(super) fn granted(operation: &str, id: &str, expiration: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <{operation}Result>\n\
         <Credentials>\n\
         <AccessKeyId>{id}</AccessKeyId>\n<SecretAccessKey>canary-secret-of-{id}</SecretAccessKey>\n\
         <SessionToken>canary-token-of-{id}</SessionToken>\n<Expiration>{expiration}</Expiration>\n\
         </Credentials>\n  </{operation}Result>\n\
         <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>\n</{operation}Response>\n"
    )
}

pub(super) fn refusal(kind: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n\
         <Code>{kind}</Code>\n    <Message>{message}</Message>\n  </Error>\n  <RequestId>id-1</RequestId>\n\
         </ErrorResponse>\n"
    )
}

/// The parameters of a form, decoded, in their order.
pub(super) fn parameters(request: &Request<Bytes>) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let body = std::str::from_utf8(request.body()).unwrap();
    let pair =
        |pair: &str| pair.split_once('=').map(|(name, value)| (decoded(name), decoded(value))).unwrap();
    body.split('&').map(pair).collect()
}

/// Whether a request is signed with `keys` for STS in us-east-1, by the letter of AWS's description.
pub(super) fn is_signed(request: &Request<Bytes>, keys: &Keys) -> bool {
    let authorization = sent_header(request, "authorization");
    let part = |name: &str| authorization.split(name).nth(1).unwrap().split(',').next().unwrap().to_owned();
    let stamp = sent_header(request, "x-amz-date");
    let scope = format!("{}/us-east-1/sts/aws4_request", &stamp[..8]);
    let headers = part("SignedHeaders=");
    let lines: String =
        headers.split(';').map(|name| format!("{name}:{}\n", sent_header(request, name))).collect();
    let digest = |bytes: &[u8]| hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    let canonical = format!("POST\n/\n\n{lines}\n{headers}\n{}", digest(request.body()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", digest(canonical.as_bytes()));
    let secret = format!("AWS4{}", keys.secret_access_key.expose()).into_bytes();
    let hmac = |key: Vec<u8>, text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes()).as_ref().to_vec()
    };
    let signature = hmac(scope.split('/').fold(secret, hmac), &to_sign);
    let must_be_signed = ["content-type", "host", "x-amz-date"].map(str::to_owned).to_vec();
    let token = keys.session_token.as_ref().map(|_| "x-amz-security-token".to_owned());
    let must_be_signed: Vec<String> = must_be_signed.into_iter().chain(token).collect();
    part("Credential=") == format!("{}/{scope}", keys.access_key_id)
        && part("Signature=") == hex(&signature)
        && headers == must_be_signed.join(";")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
