//! The real issuer with simulated HTTP: it signs requests with certificates from files, and reads the responses.

use std::path::PathBuf;
use std::sync::Arc;

use anchord_aws::upstream::Caller;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::HttpReply;
use anchord_aws::upstream::RolesAnywhere;
use anchord_aws::upstream::Transport;
use anchord_aws::upstream::TransportError;
use anchord_core::arn::ProfileArn;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::arn::TrustAnchorArn;
use anchord_core::clock::rfc3339;
use anchord_core::endpoint::Variant;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_identity::Current;
use anchord_identity::Source;
use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::response;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::aws;
use crate::aws::Answer;
use crate::aws::Asked;
use crate::aws::Garbage;
use crate::aws::Outcome;
use crate::aws::RetryAfter;
use crate::aws::SILENCE;
use crate::aws::Set;
use crate::world::World;

/// Certificate and key as PEM, and a header that names the certificate.
#[derive(Deserialize)]
struct Pair {
    label: String,
    authorization: String,
    cert_pem: String,
    key_pem: String,
}

/// The files of a run.
pub(crate) struct Files {
    folder: tempfile::TempDir,
    /// One for RSA and one for P-256, which the certificates of a run use in turn.
    pairs: Vec<Pair>,
}

/// The number of key pairs that the certificates of a run use in turn.
pub(crate) const LEAVES: usize = 2;

impl Files {
    pub(crate) fn new() -> Self {
        let all: Vec<Pair> = serde_json::from_str(include_str!("../vectors/create-session.json")).unwrap();
        let is_wanted = |pair: &Pair| ["rsa2048/doc", "p256/doc"].contains(&pair.label.as_str());
        let pairs: Vec<Pair> = all.into_iter().filter(is_wanted).collect();
        assert_eq!(pairs.len(), LEAVES);
        Self { folder: tempfile::tempdir().unwrap(), pairs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a certificate and its key.
    pub(crate) fn write(&self, certificate: usize) {
        fs_err::write(self.path("key.pem"), &self.pairs[certificate % LEAVES].key_pem).unwrap();
        self.write_half(certificate);
    }

    /// Writes a certificate and leaves the key of another one.
    pub(crate) fn write_half(&self, certificate: usize) {
        fs_err::write(self.path("leaf.pem"), &self.pairs[certificate % LEAVES].cert_pem).unwrap();
    }

    /// What a process knows of the files when it starts.
    pub(crate) fn identity(&self) -> Arc<Current> {
        let (certificate, private_key) = (self.path("leaf.pem"), self.path("key.pem"));
        Arc::new(Current::new("bedrock", Source::of_files(certificate, private_key)))
    }

    /// The key pair of an `Authorization` header, by the serial number in it.
    fn pair_of(&self, authorization: &str) -> Option<usize> {
        let serial = |text: &str| text.split("Credential=").nth(1)?.split('/').next().map(str::to_owned);
        let asked = serial(authorization)?;
        self.pairs.iter().position(|pair| serial(&pair.authorization).as_ref() == Some(&asked))
    }
}

/// The issuer of one session. `identity` stays while the process runs.
pub(crate) fn issuer(world: &Arc<World>, files: &Arc<Files>, identity: Arc<Current>) -> Arc<dyn Issuer> {
    let arn = |rest: &str| format!("arn:aws:rolesanywhere:us-east-1:123456789012:{rest}");
    let asked = CreateSession {
        trust_anchor: TrustAnchorArn::parse(&arn("trust-anchor/a")).unwrap(),
        profile: ProfileArn::parse(&arn("profile/p")).unwrap(),
        role: RoleArn::parse("arn:aws:iam::123456789012:role/app").unwrap(),
        duration: world.life,
        role_session_name: None,
        region: Region::parse("us-east-1").unwrap(),
        endpoint: None,
        variant: Variant::default(),
    };
    let wire = Wire { world: Arc::clone(world), files: Arc::clone(files) };
    let caller = Caller::new(Arc::new(wire), world.times.clock.clone());
    Arc::new(RolesAnywhere::new(identity, asked, caller))
}

struct Wire {
    world: Arc<World>,
    files: Arc<Files>,
}

impl Transport for Wire {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>> {
        Box::pin(async move {
            let answer = aws::call(&self.world, self.read(&request)).await;
            reply(answer)
        })
    }
}

impl Wire {
    fn read(&self, request: &Request<Bytes>) -> Asked {
        const AMZ_DATE: &[BorrowedFormatItem<'_>] =
            format_description!("[year][month][day]T[hour][minute][second]Z");
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        let signed_at = PrimitiveDateTime::parse(header("x-amz-date"), AMZ_DATE).unwrap().assume_utc();
        let newest = self.world.lock().sky.certificate;
        let pair = self.files.pair_of(header("authorization")).unwrap();
        // Certificates use the pairs in turn, so the other pair belongs to the certificate before the newest.
        let certificate = if newest % LEAVES == pair { newest } else { newest.saturating_sub(1) };
        Asked { signed_at: Some(signed_at), certificate }
    }
}

fn http_date(at: OffsetDateTime) -> String {
    const IMF_FIXDATE: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.format(IMF_FIXDATE).unwrap()
}

fn reply(answer: Answer) -> Result<HttpReply, TransportError> {
    let mut head = http::Response::builder();
    if let Some(date) = answer.date {
        head = head.header("date", http_date(date));
    }
    match answer.outcome {
        Outcome::Issued(set) => {
            let body = document(&set.key_id(), set, &rfc3339(set.ends_at));
            Ok(with(head.status(StatusCode::CREATED), body))
        }
        Outcome::Refused { status, kind, message, retry_after } => {
            head = head.status(status).header("x-amzn-errortype", kind);
            head = match retry_after {
                RetryAfter::Absent => head,
                RetryAfter::Seconds(seconds) => head.header("retry-after", seconds),
                RetryAfter::Date(at) => head.header("retry-after", http_date(at)),
                RetryAfter::Nonsense => head.header("retry-after", "soon"),
            };
            Ok(with(head, json!({ "message": message }).to_string()))
        }
        Outcome::Garbled(garbage) => garbled(head, garbage),
        Outcome::Reset => Err(TransportError::Incomplete(incomplete())),
        Outcome::Silent => Err(TransportError::Silent(SILENCE)),
    }
}

/// Only reqwest can create its errors. Any of them serves here.
fn incomplete() -> reqwest::Error {
    let request = Request::builder().uri("/no-host").body(Bytes::new()).unwrap();
    reqwest::Request::try_from(request).unwrap_err()
}

fn with(head: response::Builder, body: String) -> HttpReply {
    head.body(Secret::new(body.into_bytes())).unwrap()
}

fn document(key_id: &str, set: Set, expiration: &str) -> String {
    let credentials = json!({
        "accessKeyId": key_id,
        "secretAccessKey": set.secret(),
        "sessionToken": set.token(),
        "expiration": expiration,
    });
    json!({ "credentialSet": [{ "credentials": credentials }], "subjectArn": "arn" }).to_string()
}

fn garbled(head: response::Builder, garbage: Garbage) -> Result<HttpReply, TransportError> {
    let set = Set { number: 0, ends_at: OffsetDateTime::UNIX_EPOCH };
    let head = head.status(StatusCode::CREATED);
    let later = "2036-03-11T12:00:00Z";
    Ok(match garbage {
        Garbage::Empty => with(head, String::new()),
        Garbage::Truncated => with(head, document("ASIA", set, later)[..60].to_owned()),
        Garbage::Portal => with(head.status(StatusCode::OK), "<html>Sign in</html>".into()),
        Garbage::Redirect => with(head.status(StatusCode::FOUND), String::new()),
        Garbage::NoSet => with(head, json!({ "credentialSet": [] }).to_string()),
        Garbage::EmptyKey => with(head, document("", set, later)),
        Garbage::NoDate => with(head, document("ASIA", set, "tomorrow")),
        Garbage::Immortal => with(head, document("ASIA", set, later)),
        Garbage::Oversized => return Err(TransportError::TooLarge),
    })
}
