//! The steps about a session's certificate and key, which need no network.

use time::OffsetDateTime;

use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_core::clock;
use anchord_core::failure::Failure;
use anchord_identity::AlternativeName;
use anchord_identity::CertificateRole;
use anchord_identity::Inspection;
use anchord_identity::Source;
use anchord_identity::life_left;

/// The steps about the certificate, and its data for later steps.
pub(super) struct Examined {
    pub(super) steps: Vec<Step>,
    /// The certificates to send; `None` if the key cannot sign.
    pub(super) sent: Option<Sent>,
}

/// The certificates that anchord sends to AWS.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// In the format of the settings.
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Subject alternative names.
    pub(super) names: Vec<AlternativeName>,
    /// The subjects of the intermediates.
    pub(super) intermediates: Vec<String>,
    /// The issuers at which the chain ends, for messages.
    pub(super) ends_at: String,
}

/// The subject of the first step, which the other steps need.
pub(super) fn subject() -> Subject {
    Subject::new("certificate", "certificate")
}

/// Inspects and loads the identity. Blocks.
pub(super) fn examine(source: &Source, now: OffsetDateTime) -> Examined {
    let inspection = match source.inspect(now) {
        Ok(inspection) => inspection,
        Err(error) => {
            let step = subject().failed("cannot be read", &error.into());
            return Examined { steps: vec![step], sent: None };
        }
    };
    let mut steps = described(&inspection, now);
    steps.extend(inspection.refusals.iter().map(|refusal| acceptance().failed("cannot be used", refusal)));
    match source.load(now) {
        Ok(loaded) => {
            let warnings = loaded.warnings;
            steps.extend(warnings.iter().map(|warning| acceptance().warned(warning)));
            if warnings.is_empty() && inspection.refusals.is_empty() {
                steps.push(acceptance().ok("match; no problems found"));
            }
        }
        Err(error) if inspection.refusals.is_empty() => {
            steps.push(acceptance().failed("cannot be used", &Failure::from(error)));
        }
        // A refusal has already been reported.
        Err(_) => {}
    }
    let is_good = !steps.iter().any(Step::is_failed);
    Examined { sent: sent(&inspection).filter(|_| is_good), steps }
}

fn acceptance() -> Subject {
    Subject::new("identity", "certificate and key")
}

fn described(inspection: &Inspection, now: OffsetDateTime) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut sent: Vec<_> = inspection.certificates.iter().collect();
    sent.retain(|seen| seen.role != CertificateRole::NotSent);
    if let Some(leaf) = sent.iter().find(|seen| seen.role == CertificateRole::Leaf) {
        steps.push(subject().ok(format!("{} from {}, {}", leaf.subject, leaf.origin, leaf.key)));
    }
    let validity = Subject::new("validity", "validity");
    let endings = inspection.endings(now);
    steps.extend(endings.iter().map(|text| validity.warned(text)));
    // An expired certificate, and one that is not yet valid, is reported as a refusal instead.
    if let Some(first) = sent.iter().min_by_key(|seen| seen.not_after)
        && sent.iter().all(|seen| seen.not_before <= now && now <= seen.not_after)
        && endings.is_empty()
    {
        let (end, role) = (clock::rfc3339(first.not_after), first.role);
        let left = life_left(first.not_after, now);
        steps.push(validity.ok(format!("{left} left; the {role} expires at {end}")));
    }
    if let Some(anchors) = inspection.anchors() {
        sent.retain(|seen| seen.role == CertificateRole::Intermediate);
        let subjects: Vec<_> = sent.iter().map(|seen| format!("`{}`", seen.subject)).collect();
        let list = match subjects.as_slice() {
            [] => "no intermediate is sent".to_owned(),
            subjects => format!("sent with {}", subjects.join(", ")),
        };
        let chain = Subject::new("chain", "chain");
        steps.push(chain.ok(format!("{list}; the trust anchor must be {anchors}, or an issuer of it")));
    }
    steps
}

fn sent(inspection: &Inspection) -> Option<Sent> {
    let of = |role| inspection.certificates.iter().filter(move |seen| seen.role == role);
    let leaf = of(CertificateRole::Leaf).next()?;
    Some(Sent {
        subject: leaf.subject.clone(),
        issuer: leaf.issuer.clone(),
        names: leaf.names.clone(),
        intermediates: of(CertificateRole::Intermediate).map(|seen| seen.subject.clone()).collect(),
        ends_at: inspection.anchors()?,
    })
}
