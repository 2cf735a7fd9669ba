//! Warns of Regions that are in no known partition. They are accepted, because AWS adds Regions more often than users
//! upgrade anchord. But most of them are misspelled, and would only fail later because the endpoint's host does not
//! exist.

use std::fmt;

use super::CredentialSource;
use super::SessionSettings;
use super::values::nearest;
use anchord_core::arn::Region;

/// A warning about a Region that is in no known partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The Region.
    pub region: Region,
    /// A sentence without a full stop.
    pub what: String,
    /// The most similar Region, or an example.
    pub hint: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; hint: {}", self.what, self.hint)
    }
}

/// A warning about a Region; `None` if a known partition has it.
pub fn doubt_about(region: &Region) -> Option<Doubt> {
    if region.is_known() {
        return None;
    }
    let hint = match nearest(region.as_str(), Region::KNOWN.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "Regions are called such as us-east-1".into(),
    };
    let what = format!("no partition of AWS knows the Region {region}");
    Some(Doubt { region: region.clone(), what, hint })
}

/// The warnings about the Regions of a session, one for each Region.
pub fn doubts_of(session: &SessionSettings) -> Vec<Doubt> {
    let mut regions: Vec<(&str, Region)> = Vec::new();
    if let CredentialSource::RolesAnywhere(source) = &session.source {
        regions.push(("trust_anchor_arn", source.first.trust_anchor.region()));
        regions.push(("roles_anywhere_region", source.first.region.clone()));
        let fallback = source.fallback.as_ref();
        regions.extend(fallback.map(|second| ("fallback_trust_anchor_arn", second.trust_anchor.region())));
    }
    regions.push(("region", session.region.clone()));
    regions.push(("sts_region", session.sts.region.clone()));
    regions.extend(session.chain.iter().map(|step| ("assume_role", step.sts.region.clone())));
    let mut doubts: Vec<Doubt> = Vec::new();
    for (option, region) in regions {
        if let Some(doubt) = doubt_about(&region)
            && doubts.iter().all(|told| told.region != region)
        {
            let what = format!("session {}, `{option}`: {}", session.name, doubt.what);
            doubts.push(Doubt { what, ..doubt });
        }
    }
    doubts
}
