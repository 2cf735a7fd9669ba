//! The members of `CreateSession`, from body or query, within their limits.

use serde_json::Map;
use serde_json::Value;

use crate::canonical::Incoming;
use crate::reply::Refusal;

/// What is asked for, well-formed but not yet looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) trust_anchor: Arn,
    pub(crate) profile: Arn,
    pub(crate) role: Arn,
    pub(crate) duration_seconds: Option<u32>,
    pub(crate) role_session_name: Option<String>,
    pub(crate) has_instance_properties: bool,
}

impl Input {
    pub(crate) fn of(incoming: &Incoming) -> Result<Self, Refusal> {
        let body = body(incoming)?;
        let parameters = incoming.parameters();
        let arn = |name: &str, service: &str, resource: &str| {
            let text = member(name, &body, &parameters)?;
            Arn::parse(&text, service, resource)
                .ok_or_else(|| Refusal::invalid(format!("{name} is no valid ARN: `{text}`")))
        };
        Ok(Self {
            trust_anchor: arn("trustAnchorArn", "rolesanywhere", "trust-anchor/")?,
            profile: arn("profileArn", "rolesanywhere", "profile/")?,
            role: arn("roleArn", "iam", "role/")?,
            duration_seconds: duration(&body)?,
            role_session_name: role_session_name(&body)?,
            has_instance_properties: instance_properties(&body)?,
        })
    }
}

/// An ARN that has its six parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arn {
    pub(crate) text: String,
    pub(crate) region: String,
    pub(crate) account_id: String,
    /// The resource after its kind: `path/Name` of `role/path/Name`.
    pub(crate) resource: String,
}

impl Arn {
    fn parse(text: &str, service: &str, kind: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let well_formed = text.len() <= 1011
            && parts.next()? == "arn"
            && is_partition(parts.next()?)
            && parts.next()? == service;
        let (region, account_id) = (parts.next()?, parts.next()?);
        let resource = parts.next()?.strip_prefix(kind)?;
        (well_formed && !resource.is_empty()).then(|| Self {
            text: text.to_owned(),
            region: region.to_owned(),
            account_id: account_id.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

fn is_partition(text: &str) -> bool {
    text == "aws" || text.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty())
}

/// The body as far as it is a JSON object; for the log, which wants to see what was asked even if it was refused.
pub(crate) fn body(incoming: &Incoming) -> Result<Map<String, Value>, Refusal> {
    if incoming.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&incoming.body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => {
            let reason = "the body is no JSON object";
            Err(Refusal::new(400, "SerializationException", reason, reason))
        }
    }
}

/// A member that may stand in body or query, or in both if they agree.
fn member(name: &str, body: &Map<String, Value>, parameters: &[(String, String)]) -> Result<String, Refusal> {
    let in_body = match body.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(_) => return Err(Refusal::invalid(format!("{name} is not a string"))),
    };
    let in_query = parameters.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let mut all = in_query.chain(in_body);
    let first = all.next().ok_or_else(|| Refusal::invalid(format!("{name} is missing")))?;
    if all.any(|other| other != first) {
        return Err(Refusal::invalid(format!("{name} is given twice with different values")));
    }
    Ok(first.to_owned())
}

fn duration(body: &Map<String, Value>) -> Result<Option<u32>, Refusal> {
    match body.get("durationSeconds") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(seconds @ 900..=43_200) => Ok(Some(seconds)),
            _ => Err(Refusal::invalid(format!("durationSeconds is {value}, not 900 to 43200"))),
        },
    }
}

fn role_session_name(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    match body.get("roleSessionName") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if (2..=64).contains(&name.len()) && name.chars().all(allowed) => {
            Ok(Some(name.clone()))
        }
        Some(value) => {
            Err(Refusal::invalid(format!("roleSessionName {value} is not 2 to 64 of [\\w+=,.@-]")))
        }
    }
}

fn instance_properties(body: &Map<String, Value>) -> Result<bool, Refusal> {
    match body.get("instanceProperties") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Object(properties)) if properties.values().all(Value::is_string) => {
            Ok(!properties.is_empty())
        }
        Some(_) => Err(Refusal::invalid("instanceProperties is not a map of strings")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ANCHOR: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a";
    const PROFILE: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/p";
    const ROLE: &str = "arn:aws:iam::123456789012:role/path/R";

    fn good() -> Value {
        json!({ "trustAnchorArn": ANCHOR, "profileArn": PROFILE, "roleArn": ROLE })
    }

    fn read(body: &Value, query: &str) -> Result<Input, Refusal> {
        let incoming =
            Incoming { query: query.to_owned(), body: body.to_string().into_bytes(), ..Incoming::default() };
        Input::of(&incoming)
    }

    #[test]
    fn arns_come_from_body_or_query_or_from_both_if_they_agree() {
        let query = format!("trustAnchorArn={ANCHOR}&profileArn={PROFILE}&roleArn={ROLE}");

        let from_body = read(&good(), "").unwrap();
        let from_query = read(&json!({}), &query).unwrap();

        assert_eq!(from_body, from_query);
        assert_eq!(read(&good(), &query).unwrap(), from_body);
        assert_eq!(from_body.role.resource, "path/R");
        let refusal = read(&good(), "roleArn=arn:aws:iam::123456789012:role/Other").unwrap_err();
        assert_eq!((refusal.status, refusal.kind), (400, "ValidationException"));
        assert!(refusal.message.contains("twice"), "{refusal:?}");
    }

    #[test]
    fn each_member_has_its_limits() {
        let bad = [
            ("durationSeconds", json!(899)),
            ("durationSeconds", json!(43_201)),
            ("durationSeconds", json!("3600")),
            ("durationSeconds", json!(-1)),
            ("roleSessionName", json!("a")),
            ("roleSessionName", json!("a".repeat(65))),
            ("roleSessionName", json!("a b")),
            ("roleSessionName", json!("ümlaut")),
            ("instanceProperties", json!({ "a": 1 })),
            ("trustAnchorArn", json!(PROFILE)),
            ("profileArn", json!("arn:aws-:rolesanywhere:eu-west-1:123456789012:profile/p")),
            ("profileArn", json!("arn:aws:rolesanywhere:eu-west-1:123456789012:profile/")),
            ("profileArn", json!(format!("{PROFILE}{}", "p".repeat(1011)))),
            ("roleArn", json!("arn:aws:iam::123456789012:user/U")),
            ("roleArn", json!(7)),
            ("roleArn", Value::Null),
        ];
        for (name, value) in bad {
            let mut body = good();
            body[name] = value.clone();
            let refusal = read(&body, "").unwrap_err();
            assert_eq!(refusal.kind, "ValidationException", "{name} {value}");
            assert!(refusal.message.contains(name), "{refusal:?}");
        }
        for (name, value) in [
            ("durationSeconds", json!(900)),
            ("durationSeconds", json!(43_200)),
            ("roleSessionName", json!("ab")),
            ("roleSessionName", json!("A_z+=,.@-9".repeat(6))),
            ("instanceProperties", json!({ "a": "1" })),
            ("sessionName", json!("deprecated and ignored")),
            ("roleArn", json!("arn:aws-us-gov:iam::123456789012:role/R")),
        ] {
            let mut body = good();
            body[name] = value.clone();
            assert!(read(&body, "").is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        assert_eq!(read(&json!([]), "").unwrap_err().kind, "SerializationException");
    }
}
