//! A small signer and a raw TLS client, written for these tests alone.
//!
//! The signer signs whatever it is given, right or wrong; the client writes bytes and reads bytes.

use std::io;
use std::sync::Arc;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use anchord_emulator::Setup;
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

pub(crate) const REGION: &str = "eu-central-1";

/// A root, a good leaf below it, and an emulator that trusts the root.
pub(crate) struct World {
    pub(crate) root: Authority,
    pub(crate) leaf: Leaf,
    pub(crate) emulator: Emulator,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        let leaf = root.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
        let mut setup = Setup::sample(REGION, &root);
        change(&mut setup);
        Self { root, leaf, emulator: Emulator::start(setup).await.unwrap() }
    }

    /// A good request of the good leaf.
    pub(crate) fn draft(&self) -> Draft {
        Draft::new(&self.emulator, &self.leaf, &[])
    }

    pub(crate) async fn send(&self, draft: &Draft) -> Answer {
        self.deliver(&draft.sign()).await
    }

    pub(crate) async fn deliver(&self, request: &Signed) -> Answer {
        Client::connect(&self.emulator).await.unwrap().send(request).await.unwrap()
    }

    /// Sends and expects "Invalid signature", for this reason.
    pub(crate) async fn invalid_signature(&self, request: &Signed, reason: &str) {
        self.refused(request, (403, "AccessDeniedException", "Invalid signature"), reason).await;
    }

    /// Sends and expects "Untrusted Signing Certificate", for this reason.
    pub(crate) async fn untrusted(&self, draft: &Draft, reason: &str) {
        let expected = (403, "AccessDeniedException", "Untrusted Signing Certificate");
        self.refused(&draft.sign(), expected, reason).await;
    }

    pub(crate) async fn refused(&self, request: &Signed, expected: (u16, &str, &str), reason: &str) {
        let issued = self.emulator.sessions_created();
        let answer = self.deliver(request).await;
        let logged = self.emulator.requests().pop().unwrap();

        let logged_reason = logged.reason.unwrap_or_default();
        assert!(logged_reason.contains(reason), "`{logged_reason}` does not tell of `{reason}`");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, answer.header("x-amzn-errortype"), message.as_str()), expected);
        assert_eq!((logged.status, logged.error_type.as_deref()), (Some(expected.0), Some(expected.1)));
        assert_eq!(self.emulator.sessions_created(), issued);
    }
}

/// A request before it is signed; every part may be bent.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) leaf: Leaf,
    pub(crate) algorithm: String,
    pub(crate) serial: String,
    pub(crate) stamp: String,
    pub(crate) scope: String,
    pub(crate) headers: Vec<(String, String)>,
    /// All headers, sorted, unless given.
    pub(crate) signed_headers: Option<Vec<String>>,
    pub(crate) query: String,
    pub(crate) canonical_query: String,
    pub(crate) body: String,
}

impl Draft {
    pub(crate) fn new(emulator: &Emulator, leaf: &Leaf, chain: &[&[u8]]) -> Self {
        let sample = Setup::empty(REGION, "123456789012");
        let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();
        let algorithm = match leaf.kind() {
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => "AWS4-X509-RSA-SHA256",
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => "AWS4-X509-ECDSA-SHA256",
            KeyKind::MlDsa44 | KeyKind::MlDsa65 | KeyKind::MlDsa87 => "AWS4-X509-MLDSA",
        };
        let mut draft = Self {
            leaf: leaf.clone(),
            algorithm: algorithm.to_owned(),
            serial: certificate.tbs_certificate.serial.to_string(),
            stamp: String::new(),
            scope: String::new(),
            headers: Vec::new(),
            signed_headers: None,
            query: String::new(),
            canonical_query: String::new(),
            body: json!({
                "durationSeconds": 900,
                "profileArn": sample.profile_arn(),
                "roleArn": sample.role_arn(),
                "trustAnchorArn": sample.trust_anchor_arn(),
            })
            .to_string(),
        };
        draft.set("content-type", "application/json");
        draft.set("host", &emulator.address().to_string());
        draft.set("x-amz-x509", &STANDARD.encode(leaf.certificate_der()));
        if !chain.is_empty() {
            let chain: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
            draft.set("x-amz-x509-chain", &chain.join(","));
        }
        draft.at(emulator.now())
    }

    pub(crate) fn at(mut self, instant: OffsetDateTime) -> Self {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        self.stamp = instant.format(format).unwrap();
        let stamp = self.stamp.clone();
        self.set("x-amz-date", &stamp);
        self.scope = format!("{}/{REGION}/rolesanywhere/aws4_request", &stamp[..8]);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Sets a member of the body; `null` removes it.
    pub(crate) fn member(mut self, name: &str, value: Value) -> Self {
        let mut body: Value = serde_json::from_str(&self.body).unwrap();
        let members = body.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.to_owned(), value)
        };
        self.body = body.to_string();
        self
    }

    pub(crate) fn signed_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        self.signed_headers.clone().unwrap_or(names)
    }

    pub(crate) fn canonical_request(&self) -> String {
        let names = self.signed_names();
        let mut text = format!("POST\n/sessions\n{}\n", self.canonical_query);
        for name in &names {
            let lower = name.to_lowercase();
            let value = self.headers.iter().find(|(other, _)| *other == lower);
            text += &format!("{lower}:{}\n", value.map_or("", |(_, value)| value));
        }
        text + &format!("\n{}\n{}", names.join(";"), sha256(self.body.as_bytes()))
    }

    pub(crate) fn sign(&self) -> Signed {
        let hash = sha256(self.canonical_request().as_bytes());
        let string_to_sign = [self.algorithm.as_str(), &self.stamp, &self.scope, &hash].join("\n");
        self.carry(&hex(&sign(&self.leaf, string_to_sign.as_bytes())))
    }

    /// The request with this signature, whatever it is.
    pub(crate) fn carry(&self, signature: &str) -> Signed {
        let authorization = format!(
            "{} Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.algorithm,
            self.serial,
            self.scope,
            self.signed_names().join(";"),
        );
        let mut headers = self.headers.clone();
        headers.push(("authorization".to_owned(), authorization));
        let target = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        Signed { line: format!("POST /sessions{target}"), headers, body: self.body.clone() }
    }
}

/// A request as it goes over the wire; to change it now is to tamper.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Signed {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn value(&self, name: &str) -> String {
        self.headers.iter().find(|(other, _)| other == name).unwrap().1.clone()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} HTTP/1.1\r\n", self.line);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }
}

pub(crate) fn sign(leaf: &Leaf, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let ec = |algorithm| {
        let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, leaf.key_pkcs8_der()).unwrap();
        key.sign(&random, message).unwrap().as_ref().to_vec()
    };
    let ml_dsa = |algorithm: &'static signature::PqdsaSigningAlgorithm| {
        let key = signature::PqdsaKeyPair::from_pkcs8(algorithm, leaf.key_pkcs8_der()).unwrap();
        let mut signature = vec![0; algorithm.signature_len()];
        key.sign(message, &mut signature).unwrap();
        signature
    };
    match leaf.kind() {
        KeyKind::P256 => ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        // SHA-384, which the service does not take: this library cannot do otherwise on this curve.
        KeyKind::P384 => ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyKind::P521 => ec(&signature::ECDSA_P521_SHA256_ASN1_SIGNING),
        KeyKind::MlDsa44 => ml_dsa(&signature::ML_DSA_44_SIGNING),
        KeyKind::MlDsa65 => ml_dsa(&signature::ML_DSA_65_SIGNING),
        KeyKind::MlDsa87 => ml_dsa(&signature::ML_DSA_87_SIGNING),
        _ => {
            let key = signature::RsaKeyPair::from_pkcs8(leaf.key_pkcs8_der()).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
            signature
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One TLS connection.
pub(crate) struct Client(TlsStream<TcpStream>);

impl Client {
    pub(crate) async fn connect(emulator: &Emulator) -> io::Result<Self> {
        tls(emulator, &[]).await.map(Self)
    }

    pub(crate) async fn reach(address: &str, ca_pem: &str, name: &'static str) -> io::Result<Self> {
        connect(address, ca_pem, name, &[]).await.map(Self)
    }

    pub(crate) async fn send(&mut self, request: &Signed) -> io::Result<Answer> {
        self.write(request).await?;
        self.read().await
    }

    pub(crate) async fn write(&mut self, request: &Signed) -> io::Result<()> {
        self.0.write_all(&request.bytes()).await?;
        self.0.flush().await
    }

    pub(crate) async fn read(&mut self) -> io::Result<Answer> {
        let mut answer = self.read_head().await?;
        let length: usize = answer.header("content-length").parse().unwrap();
        while answer.body.len() < length {
            self.more(&mut answer.body).await?;
        }
        Ok(answer)
    }

    /// The answer with all that comes until the connection ends.
    pub(crate) async fn read_to_end(&mut self) -> io::Result<Answer> {
        let mut answer = self.read_head().await?;
        while self.more(&mut answer.body).await.is_ok() {}
        Ok(answer)
    }

    async fn read_head(&mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more(&mut bytes).await?;
        };
        let body = bytes.split_off(head + 4);
        let mut lines = std::str::from_utf8(&bytes[..head]).unwrap().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Answer { status, headers: lines.filter_map(pair).collect(), body })
    }

    /// Whether the other side has closed.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.more(&mut Vec::new()).await.is_err()
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self.0.read_buf(bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A connection that offers these protocols, or none.
pub(crate) async fn tls(emulator: &Emulator, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    connect(&emulator.address().to_string(), emulator.tls_ca_pem(), "127.0.0.1", protocols).await
}

async fn connect(
    address: &str,
    ca_pem: &str,
    name: &'static str,
    protocols: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
