//! Requests that botocore signed, and what is said of them once something is changed.

use serde_json::Value;
use time::macros::datetime;

use super::*;
use crate::keyring::Principal;

const NOW: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

pub(crate) fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/sigv4.json")).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A recorded request, as it would come off the wire.
pub(crate) fn incoming(vector: &Value) -> Incoming {
    let headers = vector["headers"].as_object().unwrap();
    Incoming {
        method: text(&vector["method"]),
        path: text(&vector["path"]),
        query: text(&vector["query"]),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: text(&vector["body"]).into_bytes(),
        ..Incoming::default()
    }
}

/// The key that signed the recorded requests, for as long as the test says.
pub(crate) fn key(access_key_id: &str, expires_at: Option<OffsetDateTime>) -> Key {
    let golden = golden();
    Key {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: text(&golden["secret_access_key"]),
        session_token: access_key_id.starts_with("ASIA").then(|| text(&golden["session_token"])),
        expires_at,
        principal: Principal::role_session("arn:aws:iam::123456789012:role/Golden", "golden"),
    }
}

fn check(incoming: &Incoming, service: &str, now: OffsetDateTime) -> Result<Key, Complaint> {
    let find = |id: &str| Some(key(id, Some(datetime!(2026-03-11 13:00 UTC))));
    verify(incoming, find, Expected { service, region: "us-east-1" }, now)
}

fn one(label: &str) -> (Incoming, String) {
    let golden = golden();
    let all = golden["requests"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["label"] == label).unwrap();
    (incoming(vector), text(&vector["service"]))
}

fn set(incoming: &mut Incoming, name: &str, value: &str) {
    incoming.headers.retain(|(other, _)| other != name);
    incoming.headers.push((name.to_owned(), value.to_owned()));
}

#[test]
fn everything_that_botocore_signed_verifies() {
    let golden = golden();
    let all = golden["requests"].as_array().unwrap();
    assert_eq!(all.len(), 6);
    for vector in all {
        let key = check(&incoming(vector), vector["service"].as_str().unwrap(), NOW);
        assert_eq!(key.unwrap().access_key_id, vector["access_key_id"], "{}", vector["label"]);
    }
}

#[test]
fn nothing_verifies_once_path_query_header_or_body_is_another() {
    let golden = golden();
    for vector in golden["requests"].as_array().unwrap() {
        let changes: [fn(&mut Incoming); 5] = [
            |incoming| incoming.path += "x",
            |incoming| incoming.query += "&x=y",
            |incoming| incoming.body.push(b' '),
            |incoming| incoming.method = "PUT".to_owned(),
            |incoming| set(incoming, "host", "example.com"),
        ];
        for change in changes {
            let mut changed = incoming(vector);
            change(&mut changed);
            let complaint = check(&changed, vector["service"].as_str().unwrap(), NOW).unwrap_err();
            assert_eq!(complaint.reason, "the signature does not verify", "{}", vector["label"]);
            assert_eq!(complaint.kind, ComplaintKind::Mismatch);
        }
    }
}

#[test]
fn another_secret_or_token_is_refused() {
    let (mut incoming, service) = one("a session asks STS");
    let expected = Expected { service: &service, region: "us-east-1" };
    let mut other = key("ASIAEXAMPLEEXAMPLE22", None);
    other.secret_access_key.push('x');
    let complaint = verify(&incoming, |_| Some(other.clone()), expected, NOW).unwrap_err();
    assert_eq!(complaint.reason, "the signature does not verify");

    let complaint = verify(&incoming, |_| None, expected, NOW).unwrap_err();
    assert_eq!(complaint.kind, ComplaintKind::Unknown);

    set(&mut incoming, "x-amz-security-token", "another");
    assert!(check(&incoming, &service, NOW).unwrap_err().reason.contains("another token"));
    incoming.headers.retain(|(name, _)| name != "x-amz-security-token");
    assert!(check(&incoming, &service, NOW).unwrap_err().reason.contains("without its token"));
    let (mut incoming, service) = one("a user asks STS");
    set(&mut incoming, "x-amz-security-token", "token");
    assert!(check(&incoming, &service, NOW).unwrap_err().reason.contains("long-term"));
}

#[test]
fn a_signature_lives_five_minutes_either_way_and_no_longer_than_its_key() {
    let (incoming, service) = one("a session asks STS");
    let at = |now| check(&incoming, &service, now).map(|_| ());

    assert_eq!((at(NOW + TOLERANCE), at(NOW - TOLERANCE)), (Ok(()), Ok(())));
    let late = at(NOW + TOLERANCE + Duration::SECOND).unwrap_err().message;
    assert_eq!(
        late,
        "Signature expired: 20260311T120000Z is now earlier than 20260311T120001Z (20260311T120501Z - 5 min.)"
    );
    let early = at(NOW - TOLERANCE - Duration::SECOND).unwrap_err().message;
    assert!(early.starts_with("Signature not yet current: "), "{early}");
    assert_eq!(at(datetime!(2026-03-11 13:00 UTC)).unwrap_err().kind, ComplaintKind::Expired);
}

#[test]
fn a_signed_query_lives_as_long_as_it_says() {
    let (mut incoming, service) = one("a presigned question to STS");
    let long_lived = |id: &str| Some(key(id, None));
    let expected = Expected { service: &service, region: "us-east-1" };
    let at = |incoming: &Incoming, now| verify(incoming, long_lived, expected, now).map(|_| ());

    assert_eq!(at(&incoming, NOW + Duration::HOUR), Ok(()));
    let late = at(&incoming, NOW + Duration::HOUR + Duration::SECOND).unwrap_err();
    assert_eq!(late.kind, ComplaintKind::Stale);
    incoming.query = incoming.query.replace("X-Amz-Expires=3600", "X-Amz-Expires=604801");
    assert_eq!(at(&incoming, NOW).unwrap_err().kind, ComplaintKind::Incomplete);
}

#[test]
fn the_scope_must_name_day_region_and_service() {
    let (incoming, service) = one("a session lists models");
    let find = |id: &str| Some(key(id, None));
    let elsewhere =
        verify(&incoming, find, Expected { service: &service, region: "us-west-2" }, NOW).unwrap_err();
    assert_eq!(elsewhere.message, "Credential should be scoped to a valid region.");
    let another = check(&incoming, "sts", NOW).unwrap_err();
    assert_eq!(another.message, "Credential should be scoped to correct service: 'sts'.");

    let mut changed = incoming;
    for (_, value) in changed.headers.iter_mut().filter(|(name, _)| name == "authorization") {
        *value = value.replace("/20260311/", "/20260312/");
    }
    let yesterday = check(&changed, &service, NOW).unwrap_err();
    assert!(yesterday.message.starts_with("Date in Credential scope"), "{yesterday:?}");
}

#[test]
fn every_amz_header_and_the_host_are_signed() {
    let (incoming, service) = one("a session asks STS");
    let mut more = incoming.clone();
    set(&mut more, "x-amz-target", "unsigned");
    assert!(check(&more, &service, NOW).unwrap_err().message.contains("x-amz-target"));

    for (from, to, told) in [
        ("host;x-amz-date", "x-amz-date", "'Host'"),
        ("content-type;host", "host;content-type", "sorted"),
        ("content-type;host", "accept;content-type;host", "absent"),
    ] {
        let mut changed = incoming.clone();
        for (_, value) in changed.headers.iter_mut().filter(|(name, _)| name == "authorization") {
            *value = value.replace(from, to);
        }
        let complaint = check(&changed, &service, NOW).unwrap_err();
        assert!(complaint.message.contains(told), "{complaint:?}");
    }
}

#[test]
fn what_is_no_signature_is_missing_or_incomplete() {
    let (incoming, service) = one("a user asks STS");
    let with = |value: &str| {
        let mut changed = incoming.clone();
        set(&mut changed, "authorization", value);
        check(&changed, &service, NOW).unwrap_err().kind
    };
    let mut without = incoming.clone();
    without.headers.retain(|(name, _)| name != "authorization");

    assert_eq!(check(&without, &service, NOW).unwrap_err().kind, ComplaintKind::Missing);
    for bad in [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=s",
        "AWS4-X509-RSA-SHA256 Credential=1/20260311/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=s",
        "Bearer token",
    ] {
        assert_eq!(with(bad), ComplaintKind::Incomplete, "{bad}");
    }
    let mut undated = incoming.clone();
    set(&mut undated, "x-amz-date", "2026-03-11");
    assert_eq!(check(&undated, &service, NOW).unwrap_err().kind, ComplaintKind::Incomplete);
    let mut doubled = incoming.clone();
    doubled.headers.push(("x-amz-date".to_owned(), "20260311T120000Z".to_owned()));
    assert_eq!(check(&doubled, &service, NOW).unwrap_err().kind, ComplaintKind::Incomplete);
    let mut hashed = incoming;
    set(&mut hashed, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(check(&hashed, &service, NOW).unwrap_err().kind, ComplaintKind::Mismatch);
}
