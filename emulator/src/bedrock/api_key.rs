//! Short-term API keys: a presigned `CallWithBearerToken`, in base64, as a bearer token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use crate::canonical::Incoming;
use crate::keyring::Key;
use crate::reply::Refusal;
use crate::sigv4;
use crate::sigv4::Claim;
use crate::sigv4::ComplaintKind;
use crate::sigv4::Expected;

const PREFIX: &str = "bedrock-api-key-";
/// The host that is signed, whichever Region the key is for.
const HOST: &str = "bedrock.amazonaws.com";
/// The longest life of a key.
const LONGEST: u32 = 43_200;

/// The bearer token of a request.
pub(crate) fn bearer(incoming: &Incoming) -> Option<&str> {
    incoming.values("authorization").next()?.strip_prefix("Bearer ")
}

/// What the key of a request says about its signature, believed or not.
pub(crate) fn claim(incoming: &Incoming) -> Option<Claim> {
    Claim::of(&presigned(bearer(incoming)?)?)
}

/// Whose key it is.
pub(crate) fn verify(
    token: &str,
    find: impl Fn(&str) -> Option<Key>,
    region: &str,
    now: OffsetDateTime,
) -> Result<Key, Refusal> {
    let request = presigned(token).ok_or_else(|| invalid("it is no short-term key"))?;
    let parameter = |wanted: &str| {
        request.parameters().into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    if parameter("Action").as_deref() != Some("CallWithBearerToken") {
        return Err(invalid("it was signed for another action"));
    }
    let life = parameter("X-Amz-Expires").and_then(|seconds| seconds.parse::<u32>().ok());
    if life.is_none_or(|seconds| seconds > LONGEST) {
        return Err(invalid("it says to live for more than twelve hours"));
    }
    sigv4::verify(&request, find, Expected { service: "bedrock", region }, now).map_err(|complaint| {
        match complaint.kind {
            ComplaintKind::Expired | ComplaintKind::Stale => {
                refused("Bearer Token has expired", &complaint.reason)
            }
            _ => invalid(&complaint.reason),
        }
    })
}

/// The request that was presigned: what is in the key, without the version that was added to it afterwards.
fn presigned(token: &str) -> Option<Incoming> {
    let bytes = STANDARD.decode(token.strip_prefix(PREFIX)?).ok()?;
    let url = String::from_utf8(bytes).ok()?;
    let query = url.strip_prefix(HOST)?.strip_prefix("/?")?.strip_suffix("&Version=1")?;
    Some(Incoming {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: query.to_owned(),
        headers: vec![("host".to_owned(), HOST.to_owned())],
        ..Incoming::default()
    })
}

fn invalid(reason: &str) -> Refusal {
    refused("Authentication failed: Please make sure your API Key is valid.", reason)
}

fn refused(message: &str, reason: &str) -> Refusal {
    let reason = format!("API key: {reason}");
    Refusal { member: "Message", ..Refusal::new(403, "AccessDeniedException", message, reason) }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::sigv4::tests::golden;
    use crate::sigv4::tests::key;

    const NOW: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn check(token: &str, region: &str, now: OffsetDateTime) -> Result<String, String> {
        let find = |id: &str| Some(key(id, Some(NOW + Duration::hours(13))));
        verify(token, find, region, now).map(|key| key.access_key_id).map_err(|refusal| refusal.message)
    }

    fn token() -> String {
        golden()["api_key"].as_str().unwrap().to_owned()
    }

    /// The key with its inside changed.
    fn changed(from: &str, to: &str) -> String {
        let inside = STANDARD.decode(token().strip_prefix(PREFIX).unwrap()).unwrap();
        let inside = String::from_utf8(inside).unwrap();
        assert!(inside.contains(from), "{inside}");
        format!("{PREFIX}{}", STANDARD.encode(inside.replace(from, to)))
    }

    #[test]
    fn the_generators_key_is_good_for_its_region_and_twelve_hours() {
        let invalid = Err("Authentication failed: Please make sure your API Key is valid.".to_owned());
        let expired = Err("Bearer Token has expired".to_owned());

        assert_eq!(check(&token(), "us-east-1", NOW), Ok("ASIAEXAMPLEEXAMPLE22".to_owned()));
        assert_eq!(check(&token(), "us-west-2", NOW), invalid);
        assert!(check(&token(), "us-east-1", NOW + Duration::hours(12)).is_ok());
        assert_eq!(check(&token(), "us-east-1", NOW + Duration::hours(12) + Duration::SECOND), expired);
        assert_eq!(check(&token(), "us-east-1", NOW + Duration::hours(14)), expired);
    }

    #[test]
    fn a_key_with_another_inside_is_refused() {
        let changes = [
            ("X-Amz-Expires=43200", "X-Amz-Expires=43201"),
            ("X-Amz-Expires=43200", "X-Amz-Expires=900"),
            ("CallWithBearerToken", "InvokeModel"),
            ("&Version=1", ""),
            ("bedrock.amazonaws.com/", "example.com/"),
            ("us-east-1", "us-west-2"),
        ];
        for (from, to) in changes {
            assert!(check(&changed(from, to), "us-east-1", NOW).is_err(), "{from} -> {to}");
        }
        assert!(check("ABSKlong-term", "us-east-1", NOW).is_err());
    }
}
