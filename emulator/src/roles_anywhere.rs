//! Roles Anywhere: a request in, a session or a refusal out. No sockets, no state, and the time is an argument.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use serde_json::json;
use time::Duration;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use crate::canonical::Incoming;
use crate::chain;
use crate::encode;
use crate::input::Arn;
use crate::input::Input;
use crate::keyring::IssuedCredentials;
use crate::keyring::Principal;
use crate::log::Facts;
use crate::names;
use crate::reply::Cause;
use crate::reply::Refusal;
use crate::setup::Profile;
use crate::setup::Setup;
use crate::setup::TrustAnchor;
use crate::sigv4::Claim;
use crate::verify;
use crate::verify::Authorization;
use crate::verify::Certificates;

/// A session that was granted and awaits its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) principal: Principal,
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    source_identity: String,
    subject_arn: String,
    pub(crate) expires_at: OffsetDateTime,
}

/// What a request says, for the log.
pub(crate) fn facts(incoming: &Incoming) -> Facts {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let in_query = incoming.parameters().into_iter().find(|(name, _)| name == "roleArn");
    let in_body = body["roleArn"].as_str().map(str::to_owned);
    Facts {
        action: is_create_session(incoming).then(|| "CreateSession".to_owned()),
        scope_region: Claim::of(incoming).map(|claim| claim.region),
        duration_seconds: body["durationSeconds"].as_u64(),
        role_arn: in_body.or(in_query.map(|(_, value)| value)),
        ..Facts::default()
    }
}

fn is_create_session(incoming: &Incoming) -> bool {
    (incoming.method.as_str(), incoming.path.as_str()) == ("POST", "/sessions")
}

/// Decides a request. Who it is comes before what is asked for: a stranger learns nothing about profiles and roles.
pub(crate) fn decide(setup: &Setup, incoming: &Incoming, now: OffsetDateTime) -> Result<Grant, Refusal> {
    if !is_create_session(incoming) {
        let reason = format!("{} {} is no operation", incoming.method, incoming.path);
        return Err(Refusal::new(404, "UnknownOperationException", "Unknown operation", reason));
    }
    let authorization = Authorization::of(incoming)?;
    let certificates = Certificates::of(incoming)?;
    let leaf = chain::parse(&certificates.leaf)?;
    verify::check(incoming, &authorization, &leaf, &setup.region, now)?;

    setup.readings.check_arns(incoming)?;
    let input = Input::of(incoming)?;
    let anchor = trust_anchor(setup, &input.trust_anchor)?;
    let profile = profile(setup, &input.profile)?;
    check_trust(setup, anchor, &leaf, &certificates.intermediates, now)?;
    check_profile(profile, &input)?;
    check_role(setup, profile, &input.role)?;
    let seconds = setup.readings.length(input.duration_seconds, profile.duration_seconds);
    if seconds > setup.max_session_seconds {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role";
        return Err(Refusal::invalid(message));
    }
    Ok(grant(setup, &input, &leaf, now + Duration::seconds(i64::from(seconds))))
}

/// The answer that carries the credentials of a grant.
pub(crate) fn answer(grant: &Grant, issued: &IssuedCredentials, expiration: &str) -> Value {
    json!({
        "credentialSet": [{
            "assumedRoleUser": {
                "arn": grant.principal.arn,
                "assumedRoleId": grant.principal.user_id,
            },
            "credentials": {
                "accessKeyId": issued.access_key_id,
                "secretAccessKey": issued.secret_access_key,
                "sessionToken": issued.session_token,
                "expiration": expiration,
            },
            "packedPolicySize": 10,
            "roleArn": grant.role_arn,
            "sourceIdentity": grant.source_identity,
        }],
        "subjectArn": grant.subject_arn,
    })
}

/// The certificates of a PEM file.
pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

fn trust_anchor<'a>(setup: &'a Setup, arn: &Arn) -> Result<&'a TrustAnchor, Refusal> {
    check_home(setup, "Trust anchor", arn)?;
    let found = setup.trust_anchors.iter().find(|anchor| anchor.arn == arn.text);
    match found {
        Some(anchor) if anchor.enabled => Ok(anchor),
        Some(_) => Err(Refusal::not_found("Trust anchor", format!("`{}` is disabled", arn.text))
            .because(Cause::Disabled)),
        None => Err(Refusal::not_found("Trust anchor", format!("`{}` does not exist", arn.text))),
    }
}

fn profile<'a>(setup: &'a Setup, arn: &Arn) -> Result<&'a Profile, Refusal> {
    check_home(setup, "Profile", arn)?;
    let found = setup.profiles.iter().find(|profile| profile.arn == arn.text);
    match found {
        Some(profile) if profile.enabled => Ok(profile),
        Some(_) => {
            Err(Refusal::not_found("Profile", format!("`{}` is disabled", arn.text)).because(Cause::Disabled))
        }
        None => Err(Refusal::not_found("Profile", format!("`{}` does not exist", arn.text))),
    }
}

fn check_home(setup: &Setup, what: &str, arn: &Arn) -> Result<(), Refusal> {
    if arn.region == setup.region && arn.account_id == setup.account_id {
        return Ok(());
    }
    Err(Refusal::not_found(what, format!("`{}` is of another Region or account", arn.text)))
}

fn check_trust(
    setup: &Setup,
    anchor: &TrustAnchor,
    leaf: &X509Certificate<'_>,
    intermediates: &[Vec<u8>],
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let bundle = certificates(&anchor.certificate_pem);
    let anchors: Vec<_> = bundle.iter().map(|der| chain::parse(der)).collect::<Result<_, _>>()?;
    let mut intermediates: Vec<_> =
        intermediates.iter().map(|der| chain::parse(der)).collect::<Result<_, _>>()?;
    if setup.readings.chain_top_first {
        intermediates.reverse();
    }
    chain::check_leaf(leaf, &setup.readings, now)?;
    chain::check_path(leaf, &intermediates, &anchors, now)?;
    let serial = leaf.tbs_certificate.serial.to_string();
    if setup.revoked_serials.contains(&serial) {
        return Err(Refusal::untrusted(format!("serial {serial} is revoked")));
    }
    Ok(())
}

fn check_profile(profile: &Profile, input: &Input) -> Result<(), Refusal> {
    if input.role_session_name.is_some() && !profile.accept_role_session_name {
        let message = "Not authorized to set roleSessionName.";
        let reason = "the profile does not accept role session names";
        return Err(Refusal::new(403, "AccessDeniedException", message, reason));
    }
    if profile.require_instance_properties && !input.has_instance_properties {
        return Err(Refusal::invalid("instanceProperties is missing, and the profile requires it"));
    }
    Ok(())
}

fn check_role(setup: &Setup, profile: &Profile, role: &Arn) -> Result<(), Refusal> {
    let complaint = if role.account_id != setup.account_id {
        "is of another account"
    } else if !profile.roles.is_empty() && !profile.roles.contains(&role.text) {
        "is not one of the profile's"
    } else if setup.trust_policy_refusals.contains(&role.text) {
        "has a trust policy that refuses"
    } else {
        return Ok(());
    };
    Err(Refusal::role(format!("`{}` {complaint}", role.text)))
}

fn grant(setup: &Setup, input: &Input, leaf: &X509Certificate<'_>, expires_at: OffsetDateTime) -> Grant {
    let serial = encode::hex(&leaf.tbs_certificate.serial.to_bytes_be());
    let common_name = leaf.subject().iter_common_name().next().and_then(names::text);
    let session_name = input.role_session_name.clone().unwrap_or_else(|| serial.clone());
    // A source identity has at most 64 characters, and the prefix is three of them.
    let source_identity = match common_name.as_deref() {
        Some(name) if name.len() <= 61 => format!("CN={name}"),
        Some(name) if name.len() <= 64 => name.to_owned(),
        Some(_) | None => format!("ID={serial}"),
    };
    let subject = digest::digest(&digest::SHA256, leaf.subject().as_raw());
    let mut principal = Principal::role_session(&input.role.text, &session_name);
    principal.source_identity = Some(source_identity.clone());
    Grant {
        principal,
        role_arn: input.role.text.clone(),
        session_name,
        source_identity,
        subject_arn: setup.arn(&format!("subject/{}", encode::uuid(subject.as_ref()))),
        expires_at,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    /// The recorded requests carry certificates that another tool made; this is an account that trusts them.
    fn account(vectors: &[Value]) -> Setup {
        let input: Value = serde_json::from_str(vectors[0]["body"].as_str().unwrap()).unwrap();
        let mut setup = Setup::empty("us-east-1", "000000000000");
        setup.trust_anchors = vec![TrustAnchor {
            arn: input["trustAnchorArn"].as_str().unwrap().to_owned(),
            certificate_pem: vectors.iter().filter_map(|vector| vector["chain_pem"][0].as_str()).collect(),
            enabled: true,
        }];
        setup.profiles = vec![Profile {
            arn: input["profileArn"].as_str().unwrap().to_owned(),
            duration_seconds: 7200,
            accept_role_session_name: false,
            enabled: true,
            roles: Vec::new(),
            require_instance_properties: false,
        }];
        setup
    }

    #[test]
    fn the_recorded_requests_get_sessions() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/vectors/create-session.json")).unwrap();
        let setup = account(&vectors);
        for vector in &vectors {
            let grant = decide(&setup, &verify::tests::incoming(vector), NOW).unwrap();

            assert_eq!(grant.expires_at, NOW + Duration::HOUR, "{}", vector["label"]);
            let arn = format!(
                "arn:aws:sts::000000000000:assumed-role/Example+S3,Write.Role@x_y-z/{}",
                grant.session_name
            );
            assert_eq!(grant.principal.arn, arn);
        }
    }
}
