//! Warns of Regions that are in no known partition. They are accepted, because AWS adds Regions more often than users
//! upgrade anchord. But most of them are misspelled, and would only fail later because the endpoint's host does not
//! exist.

use super::CredentialSource;
use super::SessionSettings;
use super::values::nearest;
use anchord_core::arn::Region;
use anchord_core::notice::Notice;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// A warning about a Region; `None` if a known partition has it.
pub fn doubt_about(region: &Region) -> Option<Notice> {
    if region.is_known() {
        return None;
    }
    let hint = match nearest(region.as_str(), Region::KNOWN.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "a Region looks like us-east-1".into(),
    };
    Some(Notice::new(format!("no partition of AWS knows the Region {region}")).hinting(hint))
}

/// The warnings about the Regions of a session, one for each Region, with the Region.
pub fn doubts_of(session: &SessionSettings) -> Vec<(Region, Notice)> {
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
    let mut doubts: Vec<(Region, Notice)> = Vec::new();
    for (option, region) in regions {
        if let Some(doubt) = doubt_about(&region)
            && doubts.iter().all(|(known, _)| *known != region)
        {
            let begin = format!("session {}, ", session.name);
            let what = Text::of(&[Say(&begin), Key(option), Say(": ")]).then(&doubt.what);
            doubts.push((region, Notice { what, ..doubt }));
        }
    }
    doubts
}
