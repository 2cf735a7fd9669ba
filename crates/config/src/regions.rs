//! Regions that no partition knows. They are taken all the same, since AWS adds Regions more often than this program is
//! upgraded; but most of them are slips of the fingers, which would be met as a host that does not exist.

use super::Session;
use super::Source;
use super::values::nearest;
use anchord_core::arn::Region;
use anchord_core::notice::Notice;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// What is doubtful about a Region; `None` for one that some partition knows.
pub fn doubt_about(region: &Region) -> Option<Notice> {
    if region.is_known() {
        return None;
    }
    let hint = match nearest(region.as_str(), Region::KNOWN.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "Regions are called such as us-east-1".into(),
    };
    Some(Notice::new(format!("no partition of AWS knows the Region {region}")).hinting(hint))
}

/// The same for each Region of a session, once, with the Region.
pub fn doubts_of(session: &Session) -> Vec<(Region, Notice)> {
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
