//! Checks the roles that a session assumes after it has its first credentials.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::Check;
use super::check::NONE;
use super::check::quoted;
use super::file::FileStep;
use super::file::RawValue;
use super::layers::SessionLayer;
use super::options::option;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use super::values::Fault;
use super::values::echo;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::Sts;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Origin;

const ASSUME_ROLE: &str = "session.assume_role";
/// The limit of AWS if a role assumes a role ("role chaining", STS API reference, AssumeRole).
const LONGEST_OF_A_CHAIN: Duration = Duration::from_secs(3600);

/// The limits of session tags and managed policies in one call (STS API reference, AssumeRole).
const MOST_TAGS: usize = 50;
const MOST_POLICIES: usize = 10;

/// The settings of the session that a step depends on.
#[derive(Clone, Copy)]
pub(super) struct StepContext<'a> {
    /// The partition of the session's ARNs.
    pub(super) partition: Option<&'a str>,
    /// The STS endpoint of steps without their own.
    pub(super) sts: &'a Sts,
    /// Whether the first credentials are a user's own. A user may assume the first role for more than an hour.
    pub(super) begins_with_a_user: bool,
}

impl Check<'_> {
    /// Checks the session's STS endpoint; `None` after a mistake.
    pub(super) fn sts(
        &mut self,
        layer: &SessionLayer<'_>,
        region: Option<Region>,
        variant: Variant,
    ) -> Option<Sts> {
        let scope = Some(layer);
        let asked = self.one("session.sts_region", scope, values::region);
        let endpoint = self.one("session.sts_endpoint", scope, values::endpoint);
        if let (Setting::There((asked, origin)), Some(region)) = (&asked, &region)
            && asked.partition() != region.partition()
        {
            let fault = Fault::new(format!("`sts_region` {asked} is in partition {}", asked.partition()))
                .hint(format!("the session's Region {region} is in {}", region.partition()));
            self.report(origin.clone(), fault);
            return None;
        }
        if let (Setting::Absent, Some(region)) = (&asked, &region) {
            self.note_default("session.sts_region", scope, &quoted(region.as_str()));
        }
        Some(Sts { region: asked.optional()?.or(region)?, endpoint: endpoint.optional()?, variant })
    }

    /// Checks all steps; `None` after a mistake in one.
    pub(super) fn chain(
        &mut self,
        layer: &SessionLayer<'_>,
        context: StepContext<'_>,
    ) -> Option<Vec<AssumeRole>> {
        let mut steps = Vec::new();
        for (index, step) in self.steps(layer)?.iter().enumerate() {
            steps.push(StepCheck { check: self, layer, index, step }.step(context));
        }
        steps.into_iter().collect()
    }

    /// The steps, from the file's tables or from a list of ARNs in any layer.
    fn steps(&mut self, layer: &SessionLayer<'_>) -> Option<Vec<FileStep>> {
        let tables = layer.table.map(|table| table.steps.as_slice()).unwrap_or_default();
        match self.layers.find(option(ASSUME_ROLE), Some(layer)) {
            Setting::There(given) => {
                // This only notes them for reports. Mistakes are reported later, with their step.
                self.many(ASSUME_ROLE, Some(layer), values::text)?;
                Some(given.into_iter().map(FileStep::of_role).collect())
            }
            Setting::Reported => None,
            Setting::Absent => {
                self.note_default(ASSUME_ROLE, Some(layer), NONE);
                Some(tables.to_vec())
            }
        }
    }
}

impl FileStep {
    /// A step with nothing but a role.
    fn of_role(role: RawValue) -> Self {
        Self { line: 0, values: BTreeMap::from([("role_arn", Setting::There(vec![role]))]) }
    }
}

/// One step being checked.
struct StepCheck<'c, 'a, 'l> {
    check: &'c mut Check<'a>,
    layer: &'c SessionLayer<'l>,
    index: usize,
    step: &'c FileStep,
}

impl StepCheck<'_, '_, '_> {
    fn step(&mut self, context: StepContext<'_>) -> Option<AssumeRole> {
        let role = self.one("role_arn", values::role);
        let session_name = self.one("session_name", values::role_session_name);
        let external_id = self.one("external_id", external_id);
        let duration = self.one("duration", values::session_duration);
        let policy = self.one("policy", policy);
        let policy_arns = self.many("policy_arns", policy_arn);
        let tags = self.many("tags", tag);
        let transitive_tags = self.many("transitive_tags", values::text);
        let source_identity = self.one("source_identity", values::role_session_name);
        let sts = self.sts(context);

        self.check_role(&role, context);
        let duration = self.duration(duration, context);
        self.check_number("policy_arns", policy_arns.as_deref(), MOST_POLICIES);
        self.check_number("tags", tags.as_deref(), MOST_TAGS);
        self.check_tag_names(tags.as_deref().unwrap_or_default());
        self.check_transitive(&tags, &transitive_tags);
        Some(AssumeRole {
            role: role.required()?,
            session_name: session_name.optional()?.unwrap_or_else(|| self.usual_session_name()),
            external_id: external_id.optional()?,
            duration: duration?,
            policy: policy.optional()?,
            policy_arns: policy_arns?,
            tags: tags?,
            transitive_tags: transitive_tags?,
            source_identity: source_identity.optional()?,
            sts: sts?,
        })
    }

    fn usual_session_name(&self) -> String {
        const LONGEST: usize = 64;
        format!("anchord-{}", self.layer.name).chars().take(LONGEST).collect()
    }

    fn given(&self, key: &'static str) -> Setting<Vec<RawValue>> {
        self.step.values.get(key).cloned().unwrap_or(Setting::Absent)
    }

    fn one<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Value<T> {
        let given = match self.given(key) {
            Setting::Absent => return Setting::Absent,
            Setting::Reported => return Setting::Reported,
            Setting::There(mut given) => given.pop(),
        };
        let Some(given) = given else { return Setting::Reported };
        match values::plain(&given.text).and_then(&parse) {
            Ok(value) => {
                let shown = if key == "external_id" { "[redacted]" } else { &given.text };
                self.note(key, quoted(shown), &given.origin);
                Setting::There((value, given.origin))
            }
            Err(fault) => {
                self.report(key, &given.origin, fault);
                Setting::Reported
            }
        }
    }

    fn many<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<Vec<T>> {
        let Some(given) = self.given(key).settled()? else { return Some(Vec::new()) };
        let mut parsed = Vec::new();
        for value in &given {
            match values::plain(&value.text).and_then(&parse) {
                Ok(value) => parsed.push(Some(value)),
                Err(fault) => {
                    self.report(key, &value.origin, fault);
                    parsed.push(None);
                }
            }
        }
        let shown: Vec<_> = given.iter().map(|given| quoted(&given.text)).collect();
        if let Some(first) = given.first() {
            self.note(key, format!("[{}]", shown.join(", ")), &first.origin);
        }
        parsed.into_iter().collect()
    }

    fn note(&mut self, key: &str, shown: String, origin: &Origin) {
        let key = format!("session.{}.assume_role.{}.{key}", self.layer.name, self.index + 1);
        self.check.origins.note(key, shown, origin.clone());
    }

    fn report(&mut self, key: &str, origin: &Origin, fault: Fault) {
        let fault = match origin {
            Origin::File { .. } => {
                fault.at(format_args!("`{key}` in [[session.{}.assume_role]]", self.layer.name))
            }
            _ => fault,
        };
        self.check.report(origin.clone(), fault);
    }

    fn sts(&mut self, context: StepContext<'_>) -> Option<Sts> {
        let region = self.one("sts_region", values::region);
        let endpoint = self.one("sts_endpoint", values::endpoint);
        if let (Setting::There((region, origin)), Some(partition)) = (&region, context.partition)
            && region.partition().as_str() != partition
        {
            let (fault, origin) =
                (Fault::new(format!("{region} is in partition {}", region.partition())), origin.clone());
            self.report("sts_region", &origin, fault.hint(format!("the session's ARNs are of {partition}")));
            return None;
        }
        let (region, endpoint) = (region.optional()?, endpoint.optional()?);
        // The session's endpoint is for the session's Region only.
        let usual = context.sts.endpoint.clone().filter(|_| region.is_none());
        Some(Sts {
            region: region.unwrap_or_else(|| context.sts.region.clone()),
            endpoint: endpoint.or(usual),
            variant: context.sts.variant,
        })
    }

    fn check_role(&mut self, role: &Value<RoleArn>, context: StepContext<'_>) {
        match (role, context.partition) {
            (Setting::Absent, _) => {
                let origin =
                    Origin::File { path: self.check.layers.file.shown.clone(), line: self.step.line };
                let fault =
                    Fault::new(format!("[[session.{}.assume_role]] lacks `role_arn`", self.layer.name));
                self.check.report(origin, fault);
            }
            (Setting::There((role, origin)), Some(partition)) if role.partition() != partition => {
                let fault =
                    Fault::new(format!("the role is in partition {}", role.partition())).hint(format!(
                        "the session is in {partition}, and its credentials are not valid in other partitions"
                    ));
                self.report("role_arn", &origin.clone(), fault);
            }
            _ => {}
        }
    }

    fn duration(&mut self, duration: Value<Duration>, context: StepContext<'_>) -> Option<Duration> {
        let is_free = context.begins_with_a_user && self.index == 0;
        match duration {
            Setting::There((duration, origin)) if duration > LONGEST_OF_A_CHAIN && !is_free => {
                let fault = Fault::new("AWS grants at most 1h if a role assumes a role")
                    .hint("leave out `duration`, or set at most 1h; sessions are renewed in any case");
                self.report("duration", &origin, fault);
                None
            }
            other => Some(other.optional()?.unwrap_or(LONGEST_OF_A_CHAIN)),
        }
    }

    fn check_number<T>(&mut self, key: &'static str, values: Option<&[T]>, most: usize) {
        let number = values.map_or(0, <[T]>::len);
        if number > most {
            let fault = Fault::new(format!("has {number} entries; STS accepts at most {most}"));
            self.report_list(key, fault);
        }
    }

    /// STS ignores the case of tag names.
    fn check_tag_names(&mut self, tags: &[(String, String)]) {
        let mut seen: Vec<(String, &str)> = Vec::new();
        for (name, _) in tags {
            let folded = name.to_lowercase();
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == folded) {
                let fault = Fault::of(other, format!("and {} are the same tag for AWS", echo(name)))
                    .hint("AWS ignores the case of tag names; leave one out");
                self.report_list("tags", fault);
                return;
            }
            seen.push((folded, name));
        }
    }

    /// Reports a mistake in a whole list at the line where the list begins.
    fn report_list(&mut self, key: &'static str, fault: Fault) {
        let origin = match self.given(key) {
            Setting::There(given) => given.first().map(|given| given.origin.clone()),
            Setting::Absent | Setting::Reported => None,
        };
        self.report(key, &origin.unwrap_or(Origin::Default), fault);
    }

    fn check_transitive(&mut self, tags: &Option<Vec<(String, String)>>, transitive: &Option<Vec<String>>) {
        let (Some(tags), Some(transitive)) = (tags, transitive) else { return };
        let Some(stray) = transitive.iter().find(|name| !tags.iter().any(|(tag, _)| tag == *name)) else {
            return;
        };
        let fault = Fault::of(stray, "is not one of the tags");
        self.report_list("transitive_tags", fault);
    }
}

/// STS API reference, AssumeRole: 2 to 1224 of `[\w+=,.@:\/-]`.
fn external_id(text: &str) -> Result<String, Fault> {
    let fits = (2..=1224).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b));
    if fits {
        return Ok(text.into());
    }
    Err(Fault::new("is not an external id").hint("use 2 to 1224 letters, digits and `_+=,.@:/-`"))
}

/// STS API reference, AssumeRole: `Policy` has 2048 characters at most, of U+0020 to U+00FF and spaces.
fn policy(text: &str) -> Result<String, Fault> {
    const LONGEST: usize = 2048;
    let length = text.chars().count();
    if length > LONGEST {
        return Err(Fault::new(format!("has {length} characters; STS accepts at most {LONGEST}"))
            .hint("remove spaces, or make it a managed policy and list its ARN in `policy_arns`"));
    }
    if let Some(stray) = text.chars().find(|c| u32::from(*c) > 0xff) {
        return Err(Fault::new(format!(
            "contains {}, which STS does not accept in a policy",
            echo(&stray.to_string())
        ))
        .hint(format!("write it as JSON's escape \\u{:04x}", u32::from(stray))));
    }
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(text.into()),
        Ok(_) => {
            Err(Fault::new("is not a policy").hint("write a JSON object with `Version` and `Statement`"))
        }
        Err(error) => {
            Err(Fault::new(format!("is not JSON at line {} column {}", error.line(), error.column())))
        }
    }
}

/// STS API reference, PolicyDescriptorType.
fn policy_arn(text: &str) -> Result<String, Fault> {
    if text.starts_with("arn:") && text.contains(":iam::") && text.contains(":policy/") && text.len() <= 2048
    {
        return Ok(text.into());
    }
    Err(Fault::of(text, "is not the ARN of a policy")
        .hint("expected arn:aws:iam::123456789012:policy/name or arn:aws:iam::aws:policy/name"))
}

/// STS API reference, Tag: `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
fn is_of_tags(c: char) -> bool {
    let is_space = c.is_whitespace() && !c.is_control();
    c.is_alphabetic() || c.is_numeric() || is_space || "_.:/=+-@".contains(c)
}

/// `name=value`, 128 and 256 characters at most.
fn tag(text: &str) -> Result<(String, String), Fault> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256 {
        return Err(Fault::of(name, "is too long or empty")
            .hint("a tag's name has 1 to 128 characters, its value at most 256"));
    }
    if let Some(stray) = name.chars().chain(value.chars()).find(|c| !is_of_tags(*c)) {
        let what = format!(
            "{} contains {}, which STS does not accept in a tag",
            echo(name),
            echo(&stray.to_string())
        );
        return Err(Fault::new(what).hint("use letters, digits, spaces and `_.:/=+-@`"));
    }
    if name.to_ascii_lowercase().starts_with("aws:") {
        return Err(Fault::of(name, "begins with `aws:`, which AWS reserves"));
    }
    Ok((name.into(), value.into()))
}
