//! Who signed this request with a secret key, if anybody did: SigV4 with HMAC, in the header or in the query.
//!
//! What is wrong is told as a [`Complaint`]; each service has its own words for it.

use aws_lc_rs::constant_time;
use aws_lc_rs::hmac;
use time::Duration;
use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::macros::format_description;

use crate::canonical;
use crate::canonical::Incoming;
use crate::encode;
use crate::keyring::Key;
use crate::verify::Authorization;

/// The algorithm, in the header as in the query.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far `X-Amz-Date` may be from the service's clock.
const TOLERANCE: Duration = Duration::minutes(5);
/// The longest life of a signature in a query.
const LONGEST_PRESIGNED: i64 = 604_800;

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) kind: ComplaintKind,
    /// What the caller is told.
    pub(crate) message: String,
    /// For the log only.
    pub(crate) reason: String,
}

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComplaintKind {
    /// There is no signature.
    Missing,
    /// Parts of the signature are missing.
    Incomplete,
    /// Nobody has that key, or not with that token.
    Unknown,
    /// The credentials have ended.
    Expired,
    /// A signed query has ended.
    Stale,
    /// It was signed for something else or with something else.
    Mismatch,
}

impl Complaint {
    fn new(kind: ComplaintKind, message: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: reason.into() }
    }

    fn mismatch(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(ComplaintKind::Mismatch, message.clone(), message)
    }

    fn incomplete(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(ComplaintKind::Incomplete, message.clone(), message)
    }

    fn unknown(reason: impl Into<String>) -> Self {
        let message = "The security token included in the request is invalid.";
        Self::new(ComplaintKind::Unknown, message, reason)
    }
}

/// The service and the Region that a scope must name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
}

/// What a request says about its signature, believed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key_id: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    terminator: String,
}

impl Claim {
    /// The claim of the header, else of the query.
    pub(crate) fn of(incoming: &Incoming) -> Option<Self> {
        let header = Authorization::of(incoming).ok().map(|parts| parts.credential.to_owned());
        Self::parse(&header.or_else(|| parameter(incoming, "X-Amz-Credential"))?)
    }

    fn parse(credential: &str) -> Option<Self> {
        let mut parts = credential.splitn(5, '/').map(str::to_owned);
        Some(Self {
            access_key_id: parts.next()?,
            date: parts.next()?,
            region: parts.next()?,
            service: parts.next()?,
            terminator: parts.next()?,
        })
    }

    fn scope(&self) -> String {
        [&self.date, &self.region, &self.service, &self.terminator].map(String::as_str).join("/")
    }
}

/// The signature of a request with all that belongs to it.
struct Proof {
    claim: Claim,
    signed_headers: Vec<String>,
    signature: String,
    stamp: String,
    token: Option<String>,
    /// How long it is good for; only a signature in the query says so.
    life: Option<Duration>,
}

impl Proof {
    fn of(incoming: &Incoming) -> Result<Self, Complaint> {
        if incoming.has("authorization") {
            return Self::of_header(incoming);
        }
        if parameter(incoming, "X-Amz-Algorithm").is_some() {
            return Self::of_query(incoming);
        }
        let message = "Request is missing Authentication Token";
        Err(Complaint::new(ComplaintKind::Missing, message, "there is no signature"))
    }

    fn of_header(incoming: &Incoming) -> Result<Self, Complaint> {
        let header = only(incoming, "authorization")?.unwrap_or_default();
        let parts =
            Authorization::parse(&header).filter(|parts| parts.algorithm == ALGORITHM).ok_or_else(|| {
                Complaint::incomplete("Authorization header is not AWS4-HMAC-SHA256 with its three parts.")
            })?;
        let claim = Claim::parse(parts.credential).ok_or_else(|| {
            Complaint::incomplete("Credential must have exactly 5 slash-delimited elements.")
        })?;
        let stamp = only(incoming, "x-amz-date")?.ok_or_else(|| {
            Complaint::incomplete("Authorization header requires existence of an 'X-Amz-Date' header.")
        })?;
        Ok(Self {
            claim,
            signed_headers: parts.signed_headers.iter().map(|name| (*name).to_owned()).collect(),
            signature: parts.signature.to_owned(),
            stamp,
            token: only(incoming, "x-amz-security-token")?,
            life: None,
        })
    }

    fn of_query(incoming: &Incoming) -> Result<Self, Complaint> {
        let get = |name: &str| {
            parameter(incoming, name).ok_or_else(|| {
                Complaint::incomplete(format!("AWS query-string parameters must include '{name}'."))
            })
        };
        if get("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Complaint::incomplete("X-Amz-Algorithm is not AWS4-HMAC-SHA256."));
        }
        let claim = Claim::parse(&get("X-Amz-Credential")?).ok_or_else(|| {
            Complaint::incomplete("Credential must have exactly 5 slash-delimited elements.")
        })?;
        let seconds =
            get("X-Amz-Expires")?.parse().ok().filter(|seconds| (1..=LONGEST_PRESIGNED).contains(seconds));
        let seconds = seconds.ok_or_else(|| {
            Complaint::incomplete("X-Amz-Expires must be a number of seconds up to a week.")
        })?;
        Ok(Self {
            claim,
            signed_headers: get("X-Amz-SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: get("X-Amz-Signature")?,
            stamp: get("X-Amz-Date")?,
            token: parameter(incoming, "X-Amz-Security-Token"),
            life: Some(Duration::seconds(seconds)),
        })
    }
}

/// Whose request it is. Keys come first, then the time, then what was signed, and the signature last.
pub(crate) fn verify(
    incoming: &Incoming,
    find: impl Fn(&str) -> Option<Key>,
    expected: Expected<'_>,
    now: OffsetDateTime,
) -> Result<Key, Complaint> {
    let proof = Proof::of(incoming)?;
    let key = find(&proof.claim.access_key_id)
        .ok_or_else(|| Complaint::unknown(format!("nobody has the key {}", proof.claim.access_key_id)))?;
    check_token(&key, proof.token.as_deref())?;
    if key.expires_at.is_some_and(|end| end <= now) {
        let message = "The security token included in the request is expired";
        let reason = format!("the credentials {} ended at {:?}", key.access_key_id, key.expires_at);
        return Err(Complaint::new(ComplaintKind::Expired, message, reason));
    }
    check_date(&proof, now)?;
    check_scope(&proof, expected)?;
    check_signed_headers(incoming, &proof.signed_headers)?;
    check_signature(incoming, &proof, &key)?;
    Ok(key)
}

fn check_token(key: &Key, token: Option<&str>) -> Result<(), Complaint> {
    let reason = match (&key.session_token, token) {
        (None, None) => return Ok(()),
        (Some(of_key), Some(sent)) if is_equal(of_key.as_bytes(), sent.as_bytes()) => return Ok(()),
        (Some(_), Some(_)) => "came with another token than its own",
        (Some(_), None) => "came without its token",
        (None, Some(_)) => "is a long-term key and came with a token",
    };
    Err(Complaint::unknown(format!("{} {reason}", key.access_key_id)))
}

fn check_date(proof: &Proof, now: OffsetDateTime) -> Result<(), Complaint> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let stamp = &proof.stamp;
    let signed_at = PrimitiveDateTime::parse(stamp, format)
        .ok()
        .filter(|_| stamp.len() == 16)
        .ok_or_else(|| Complaint::incomplete("Date must be in ISO-8601 'basic format'."))?
        .assume_utc();
    let date = &stamp[..8];
    if proof.claim.date != date {
        let found = &proof.claim.date;
        return Err(Complaint::mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{found}' != '{date}', from '{stamp}'."
        )));
    }
    let text =
        |instant: OffsetDateTime| instant.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default();
    if signed_at > now + TOLERANCE {
        let (latest, now) = (text(now + TOLERANCE), text(now));
        return Err(Complaint::mismatch(format!(
            "Signature not yet current: {stamp} is still later than {latest} ({now} + 5 min.)"
        )));
    }
    match proof.life {
        None if signed_at < now - TOLERANCE => {
            let (earliest, now) = (text(now - TOLERANCE), text(now));
            Err(Complaint::mismatch(format!(
                "Signature expired: {stamp} is now earlier than {earliest} ({now} - 5 min.)"
            )))
        }
        Some(life) if signed_at + life < now => {
            let message =
                format!("Signature expired: {} is now earlier than {}", text(signed_at + life), text(now));
            Err(Complaint::new(ComplaintKind::Stale, message.clone(), message))
        }
        _ => Ok(()),
    }
}

fn check_scope(proof: &Proof, expected: Expected<'_>) -> Result<(), Complaint> {
    let Claim { region, service, terminator, .. } = &proof.claim;
    let (message, found) = if region != expected.region {
        ("Credential should be scoped to a valid region.".to_owned(), region)
    } else if service != expected.service {
        (format!("Credential should be scoped to correct service: '{}'.", expected.service), service)
    } else if terminator != "aws4_request" {
        ("Credential should be scoped with a valid terminator: 'aws4_request'.".to_owned(), terminator)
    } else {
        return Ok(());
    };
    let reason =
        format!("{message} It is `{found}`; expected are {} and {}", expected.region, expected.service);
    Err(Complaint::new(ComplaintKind::Mismatch, message, reason))
}

fn check_signed_headers(incoming: &Incoming, signed: &[String]) -> Result<(), Complaint> {
    let reason = if !signed.is_sorted_by(|one, next| one < next) {
        "the signed headers are not sorted".to_owned()
    } else if let Some(name) = signed.iter().find(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())) {
        format!("the signed header `{name}` is not in lower case")
    } else if let Some(name) = signed.iter().find(|name| !incoming.has(name)) {
        format!("`{name}` is signed but absent")
    } else {
        let names = incoming.headers.iter().map(|(name, _)| name.as_str());
        let host = if signed.iter().any(|name| name == ":authority") { ":authority" } else { "host" };
        let mut needed = names.filter(|name| name.starts_with("x-amz-")).chain([host]);
        match needed.find(|needed| !signed.iter().any(|name| name == needed)) {
            None => return Ok(()),
            Some("host") => {
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned()
            }
            Some(name) => format!("There were headers present in the request which were not signed: {name}"),
        }
    };
    Err(Complaint::mismatch(reason))
}

fn check_signature(incoming: &Incoming, proof: &Proof, key: &Key) -> Result<(), Complaint> {
    let said = only(incoming, "x-amz-content-sha256")?;
    if said.is_some_and(|hash| hash != encode::sha256_hex(&incoming.body)) {
        return Err(Complaint::mismatch("x-amz-content-sha256 is not the hash of the body."));
    }
    let (request, string_to_sign) = signed(incoming, proof);
    let right = encode::hex(&mac(&signing_key(&key.secret_access_key, &proof.claim), &string_to_sign));
    if is_equal(right.as_bytes(), proof.signature.as_bytes()) {
        return Ok(());
    }
    Err(does_not_match(&request, &string_to_sign))
}

/// The complaint about a signature that may well be good.
pub(crate) fn refuse_anyway(incoming: &Incoming) -> Complaint {
    match Proof::of(incoming) {
        Ok(proof) => {
            let (request, string_to_sign) = signed(incoming, &proof);
            does_not_match(&request, &string_to_sign)
        }
        Err(complaint) => complaint,
    }
}

/// The canonical request and the string to sign.
fn signed(incoming: &Incoming, proof: &Proof) -> (String, String) {
    let names: Vec<&str> = proof.signed_headers.iter().map(String::as_str).collect();
    let request = canonical::request_v4(incoming, &names);
    let hash = encode::sha256_hex(request.as_bytes());
    let string_to_sign = [ALGORITHM, &proof.stamp, &proof.claim.scope(), &hash].join("\n");
    (request, string_to_sign)
}

/// What should have been signed has the session token in it: who shows this message shows a secret.
fn does_not_match(request: &str, string_to_sign: &str) -> Complaint {
    let message = format!(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details.\n\n\
         The Canonical String for this request should have been\n'{request}'\n\n\
         The String-to-Sign should have been\n'{string_to_sign}'\n"
    );
    Complaint::new(ComplaintKind::Mismatch, message, "the signature does not verify")
}

fn signing_key(secret: &str, claim: &Claim) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    let steps = [&claim.date, &claim.region, &claim.service, &claim.terminator];
    steps.into_iter().fold(first, |key, step| mac(&key, step))
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

fn is_equal(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// The value of a header that must not come twice.
fn only(incoming: &Incoming, name: &str) -> Result<Option<String>, Complaint> {
    let values: Vec<&str> = incoming.values(name).collect();
    match values.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some((*value).to_owned())),
        _ => Err(Complaint::incomplete(format!("'{name}' comes twice."))),
    }
}

fn parameter(incoming: &Incoming, name: &str) -> Option<String> {
    incoming.parameters().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

#[cfg(test)]
pub(crate) mod tests;
