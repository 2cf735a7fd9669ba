//! The second endpoint of a session, and whether its parts agree with each other and with the first.

use super::check::Check;
use super::layers::SessionLayer;
use super::options::option;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use super::values::Fault;
use anchord_aws::upstream::CreateSession;
use anchord_core::arn::ProfileArn;
use anchord_core::arn::TrustAnchorArn;

const TRUST_ANCHOR: &str = "session.fallback_trust_anchor_arn";
const PROFILE: &str = "session.fallback_profile_arn";
const ENDPOINT: &str = "session.fallback_endpoint";

/// What a session says of its second endpoint.
pub(super) struct SecondEndpoint {
    trust_anchor: TrustAnchorArn,
    profile: ProfileArn,
    endpoint: Option<String>,
}

impl SecondEndpoint {
    /// What is asked there: the same as of the `first` endpoint.
    pub(super) fn call(self, first: &CreateSession) -> CreateSession {
        let Self { trust_anchor, profile, endpoint } = self;
        CreateSession { region: trust_anchor.region(), trust_anchor, profile, endpoint, ..first.clone() }
    }
}

impl Check<'_> {
    /// `Some(None)` when there is none, `None` when something is wrong with it.
    pub(super) fn fallback(
        &mut self,
        layer: &SessionLayer<'_>,
        first: &Value<TrustAnchorArn>,
    ) -> Option<Option<SecondEndpoint>> {
        let scope = Some(layer);
        let trust_anchor = self.one(TRUST_ANCHOR, scope, values::trust_anchor);
        let profile = self.one(PROFILE, scope, values::profile);
        let endpoint = self.one(ENDPOINT, scope, values::endpoint);

        self.check_fallback_is_whole(layer);
        self.check_profile(&trust_anchor, &profile, "fallback ");
        self.check_fallback_anchor(first, &trust_anchor);

        let (trust_anchor, profile) = (trust_anchor.optional()?, profile.optional()?);
        let endpoint = endpoint.optional()?;
        let pair = trust_anchor.zip(profile);
        Some(pair.map(|(trust_anchor, profile)| SecondEndpoint { trust_anchor, profile, endpoint }))
    }

    /// Whoever gives one of its options means all of it.
    fn check_fallback_is_whole(&mut self, layer: &SessionLayer<'_>) {
        let find = |key: &str| self.layers.find(option(key), Some(layer));
        let given = [TRUST_ANCHOR, PROFILE, ENDPOINT].into_iter().find_map(|key| match find(key) {
            Setting::There(values) => values.last().map(|value| value.origin.clone()),
            Setting::Absent | Setting::Reported => None,
        });
        let is_lacking = |key: &&str| matches!(find(key), Setting::Absent);
        let lacking: Vec<_> = [TRUST_ANCHOR, PROFILE].into_iter().filter(is_lacking).collect();
        let Some(origin) = given.filter(|_| !lacking.is_empty() && !self.layers.file.incomplete) else {
            return;
        };
        let lacking: Vec<_> = lacking.iter().map(|key| format!("`{}`", option(key).name())).collect();
        let fault = Fault::new(format!("session `{}` lacks {}", layer.name, lacking.join(", ")))
            .hint("a second endpoint is a trust anchor and a profile; give both, or nothing that begins with `fallback_`");
        self.report(origin, fault);
    }

    fn check_fallback_anchor(&mut self, first: &Value<TrustAnchorArn>, fallback: &Value<TrustAnchorArn>) {
        let Setting::There((fallback, origin)) = fallback else { return };
        let (home, partition) = (fallback.region(), fallback.partition());
        if home.partition().as_str() != partition {
            let fault = Fault::new(format!("the fallback trust anchor's ARN names partition {partition}"))
                .hint(format!("its Region {home} belongs to {}", home.partition()));
            self.report(origin.clone(), fault);
        }
        let Some(first) = first.get() else { return };
        if fallback == first {
            let fault = Fault::new("the fallback trust anchor is the session's own")
                .hint("name one of another Region, or give nothing that begins with `fallback_`");
            self.report(origin.clone(), fault);
        } else if partition != first.partition() {
            let fault =
                Fault::new("the fallback trust anchor and the trust anchor must share their partition")
                    .hint(format!("the fallback's is {partition}, the first's {}", first.partition()));
            self.report(origin.clone(), fault);
        }
    }
}
