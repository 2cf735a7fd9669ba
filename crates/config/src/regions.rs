//! Regions that no partition knows. They are taken all the same, since AWS adds Regions more often than this program is
//! upgraded; but most of them are slips of the fingers, which would be met as a host that does not exist.

use std::fmt;

use super::Session;
use super::Source;
use super::values::nearest;
use anchord_core::arn::Region;

/// A Region that no partition knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The Region.
    pub region: Region,
    /// A sentence without a full stop.
    pub what: String,
    /// The Region that is nearest, or what a Region is called.
    pub hint: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; hint: {}", self.what, self.hint)
    }
}

/// What is doubtful about a Region; `None` for one that some partition knows.
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

/// The same for each Region of a session, once.
pub fn doubts_of(session: &Session) -> Vec<Doubt> {
    let mut regions: Vec<(&str, Region)> = Vec::new();
    if let Source::RolesAnywhere(source) = &session.source {
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
