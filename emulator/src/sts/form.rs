//! The parameters of a call, from body or query, within their limits.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::canonical;
use crate::canonical::Incoming;
use crate::reply::Refusal;
use crate::sts::validation;

/// How many bytes of policies and tags there is room for.
const PACKED_ROOM: usize = 4096;

/// Decoded parameters, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// The form in the body, else the query; what belongs to a signature is not part of it.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        let body = String::from_utf8_lossy(&incoming.body);
        let text = if body.is_empty() { incoming.query.as_str().into() } else { body };
        let mut pairs = canonical::pairs(&text.replace('+', "%20"));
        pairs.retain(|(name, _)| !name.starts_with("X-Amz-"));
        Self(pairs)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All of it but what must not be kept: the code of a second factor.
    pub(crate) fn for_log(&self) -> Vec<(String, String)> {
        self.0.iter().filter(|(name, _)| name != "TokenCode").cloned().collect()
    }

    /// `DurationSeconds`, if given and within its limits.
    pub(crate) fn duration(&self, limits: RangeInclusive<i64>) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get("DurationSeconds") else { return Ok(None) };
        let seconds: i64 = text.parse().map_err(|_| constraint(text, "durationSeconds", "be a number"))?;
        if seconds < *limits.start() {
            let limit = format!("have value greater than or equal to {}", limits.start());
            return Err(constraint(text, "durationSeconds", &limit));
        }
        if seconds > *limits.end() {
            let limit = format!("have value less than or equal to {}", limits.end());
            return Err(constraint(text, "durationSeconds", &limit));
        }
        Ok(Some(seconds))
    }

    /// The members of `prefix.member.N.suffix`, from 1 up to the first gap.
    fn members(&self, prefix: &str, suffix: &str) -> Vec<&str> {
        (1..).map_while(|number| self.get(&format!("{prefix}.member.{number}{suffix}"))).collect()
    }
}

/// What `AssumeRole` is asked, well-formed but not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssumeRole {
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    pub(crate) external_id: Option<String>,
    pub(crate) seconds: i64,
    pub(crate) policy: Option<String>,
    pub(crate) policy_arns: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) transitive_keys: Vec<String>,
    pub(crate) source_identity: Option<String>,
}

impl AssumeRole {
    pub(crate) fn of(form: &Form) -> Result<Self, Refusal> {
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        let (keys, values) = (form.members("Tags", ".Key"), form.members("Tags", ".Value"));
        if keys.len() != values.len() {
            return Err(constraint("null", "tags", "have a value for each key"));
        }
        let pairs = keys.iter().zip(values).map(|(key, value)| ((*key).to_owned(), value.to_owned()));
        let input = Self {
            role_arn: required(form, "RoleArn", "roleArn", 20..=2048, any)?,
            session_name: required(form, "RoleSessionName", "roleSessionName", 2..=64, is_name)?,
            external_id: optional(form, "ExternalId", "externalId", 2..=1224, |character| {
                is_name(character) || ":/".contains(character)
            })?,
            seconds: form.duration(900..=43_200)?.unwrap_or(3600),
            policy: optional(form, "Policy", "policy", 1..=2048, any)?,
            policy_arns: owned(form.members("PolicyArns", ".arn")),
            tags: pairs.collect(),
            transitive_keys: owned(form.members("TransitiveTagKeys", "")),
            source_identity: optional(form, "SourceIdentity", "sourceIdentity", 2..=64, is_name)?,
        };
        input.check()?;
        Ok(input)
    }

    fn check(&self) -> Result<(), Refusal> {
        let role_arn = &self.role_arn;
        let parts: Vec<&str> = role_arn.splitn(6, ':').collect();
        let is_role = matches!(
            parts.as_slice(),
            ["arn", _, "iam", "", account_id, resource]
                if is_account(account_id) && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        );
        if !is_role {
            return Err(validation(&format!("{role_arn} is invalid")));
        }
        if let Some(policy) = &self.policy {
            let document: Option<Value> = serde_json::from_str(policy).ok();
            if document.is_none_or(|document| document.get("Statement").is_none()) {
                let message = "Syntax errors in policy.";
                return Err(Refusal::new(400, "MalformedPolicyDocument", message, message));
            }
        }
        if self.policy_arns.len() > 10 {
            return Err(constraint("...", "policyArns", "have length less than or equal to 10"));
        }
        if let Some(arn) = self.policy_arns.iter().find(|arn| !arn.contains(":iam::")) {
            return Err(validation(&format!("{arn} is invalid")));
        }
        self.check_tags()
    }

    fn check_tags(&self) -> Result<(), Refusal> {
        if self.tags.len() > 50 {
            return Err(constraint("...", "tags", "have length less than or equal to 50"));
        }
        for (index, (key, value)) in self.tags.iter().enumerate() {
            if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
                let member = format!("tags.{}.member", index + 1);
                return Err(constraint(
                    key,
                    &member,
                    "have a key of 1 to 128 and a value of 0 to 256 characters",
                ));
            }
            if self.tags.iter().filter(|(other, _)| other.eq_ignore_ascii_case(key)).count() > 1 {
                let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
                return Err(Refusal::new(400, "InvalidParameterValue", message, message));
            }
        }
        match self.transitive_keys.iter().find(|key| !self.tags.iter().any(|(other, _)| other == *key)) {
            None => Ok(()),
            Some(key) => Err(validation(&format!("The transitive tag key {key} is not among the tags."))),
        }
    }

    pub(crate) fn transitive_tags(&self) -> impl Iterator<Item = (String, String)> {
        self.tags.iter().filter(|(key, _)| self.transitive_keys.contains(key)).cloned()
    }

    /// Policies and tags in per cent of the room there is; the service compresses them first.
    pub(crate) fn packed_policy_size(&self) -> Option<usize> {
        let tags: usize = self.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        let arns: usize = self.policy_arns.iter().map(String::len).sum();
        let bytes = tags + arns + self.policy.as_ref().map_or(0, String::len);
        (bytes > 0).then(|| (bytes * 100).div_ceil(PACKED_ROOM))
    }
}

fn required(
    form: &Form,
    name: &str,
    member: &str,
    length: RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
) -> Result<String, Refusal> {
    optional(form, name, member, length, allowed)?.ok_or_else(|| constraint("null", member, "not be null"))
}

fn optional(
    form: &Form,
    name: &str,
    member: &str,
    length: RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
) -> Result<Option<String>, Refusal> {
    let Some(text) = form.get(name) else { return Ok(None) };
    let count = text.chars().count();
    if count < *length.start() {
        let limit = format!("have length greater than or equal to {}", length.start());
        return Err(constraint(text, member, &limit));
    }
    if count > *length.end() {
        let limit = format!("have length less than or equal to {}", length.end());
        return Err(constraint(text, member, &limit));
    }
    if !text.chars().all(allowed) {
        return Err(constraint(text, member, "satisfy regular expression pattern: [\\w+=,.@-]*"));
    }
    Ok(Some(text.to_owned()))
}

fn any(_: char) -> bool {
    true
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn constraint(value: &str, member: &str, must: &str) -> Refusal {
    validation(&format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {must}"
    ))
}
