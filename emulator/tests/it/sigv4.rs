//! A signer with secret keys, written for these tests alone, and the calls that they make with it.

use anchord_emulator::AccessKey;
use anchord_emulator::Emulator;
use anchord_emulator::IssuedCredentials;
use aws_lc_rs::hmac;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::support::Answer;
use crate::support::Client;
use crate::support::REGION;
use crate::support::Signed;
use crate::support::hex;
use crate::support::sha256;

/// Credentials to sign with.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl Keys {
    pub(crate) fn of_user() -> Self {
        let AccessKey { access_key_id, secret_access_key, .. } = AccessKey::sample();
        Self { id: access_key_id, secret: secret_access_key, token: None }
    }

    pub(crate) fn of(issued: &IssuedCredentials) -> Self {
        Self {
            id: issued.access_key_id.clone(),
            secret: issued.secret_access_key.clone(),
            token: Some(issued.session_token.clone()),
        }
    }
}

/// A request before it is signed; every part may be bent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// The path encoded a second time, unless given.
    pub(crate) canonical_path: Option<String>,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) service: String,
    pub(crate) region: String,
    pub(crate) at: OffsetDateTime,
}

impl Call {
    /// A call of STS.
    pub(crate) fn sts(emulator: &Emulator, action: &str, parameters: &[(&str, &str)]) -> Self {
        let more: String =
            parameters.iter().map(|(name, value)| format!("&{name}={}", encode(value))).collect();
        let body = format!("Action={action}&Version=2011-06-15{more}");
        Self::new(emulator, "POST", "/", "sts", &body)
            .with("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    }

    pub(crate) fn new(
        emulator: &Emulator,
        method: &'static str,
        path: &str,
        service: &str,
        body: &str,
    ) -> Self {
        Self {
            method,
            path: path.to_owned(),
            canonical_path: None,
            query: String::new(),
            headers: vec![("host".to_owned(), emulator.address().to_string())],
            body: body.to_owned(),
            service: service.to_owned(),
            region: REGION.to_owned(),
            at: emulator.now(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn sign(&self, keys: &Keys) -> Signed {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let stamp = self.at.format(format).unwrap();
        let mut headers = self.headers.clone();
        headers.push(("x-amz-date".to_owned(), stamp.clone()));
        headers.extend(keys.token.iter().map(|token| ("x-amz-security-token".to_owned(), token.clone())));
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let path = self.canonical_path.clone().unwrap_or_else(|| self.path.replace('%', "%25"));
        let canonical =
            [self.method, &path, &self.query, &lines, &names, &sha256(self.body.as_bytes())].join("\n");
        let scope = format!("{}/{}/{}/aws4_request", &stamp[..8], self.region, self.service);
        let to_sign = ["AWS4-HMAC-SHA256", &stamp, &scope, &sha256(canonical.as_bytes())].join("\n");
        let secret = format!("AWS4{}", keys.secret).into_bytes();
        let key = scope.split('/').fold(secret, |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &to_sign));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            keys.id
        );
        headers.push(("authorization".to_owned(), authorization));
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        Signed { line: format!("{} {}{query}", self.method, self.path), headers, body: self.body.clone() }
    }

    pub(crate) async fn send(&self, emulator: &Emulator, keys: &Keys) -> Answer {
        deliver(emulator, &self.sign(keys)).await
    }
}

pub(crate) async fn deliver(emulator: &Emulator, request: &Signed) -> Answer {
    Client::connect(emulator).await.unwrap().send(request).await.unwrap()
}

/// The text of the first element of this name.
pub(crate) fn element(answer: &Answer, name: &str) -> Option<String> {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

pub(crate) fn encode(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}
