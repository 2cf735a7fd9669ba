//! Checks the options of a session's second endpoint, against each other and against the first endpoint.

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

/// A session's second endpoint.
pub(super) struct SecondEndpoint {
    trust_anchor: TrustAnchorArn,
    profile: ProfileArn,
    endpoint: Option<String>,
}

impl SecondEndpoint {
    /// The call to make there: as the call to the `first` endpoint, with this trust anchor and profile.
    pub(super) fn call(self, first: &CreateSession) -> CreateSession {
        let Self { trust_anchor, profile, endpoint } = self;
        CreateSession { region: trust_anchor.region(), trust_anchor, profile, endpoint, ..first.clone() }
    }
}

impl Check<'_> {
    /// `Some(None)` if there is no second endpoint, `None` after a mistake.
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

    /// If one of its options is given, the required ones must be given too.
    fn check_fallback_is_whole(&mut self, layer: &SessionLayer<'_>) {
        let find = |key: &str| self.layers.find(option(key), Some(layer));
        let mut given = None;
        for key in [ENDPOINT, PROFILE, TRUST_ANCHOR] {
            if let Setting::There(values) = find(key) {
                given = values.last().map(|value| value.origin.clone()).or(given);
            }
        }
        let mut lacking = Vec::new();
        for key in [TRUST_ANCHOR, PROFILE] {
            if matches!(find(key), Setting::Absent) {
                lacking.push(format!("`{}`", option(key).name()));
            }
        }
        let Some(origin) = given.filter(|_| !lacking.is_empty() && !self.layers.file.incomplete) else {
            return;
        };
        let fault = Fault::new(format!("session `{}` lacks {}", layer.name, lacking.join(", ")))
            .hint("a second endpoint needs a trust anchor and a profile; give both, or no option that begins with `fallback_`");
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
                .hint("name one of another Region, or give no option that begins with `fallback_`");
            self.report(origin.clone(), fault);
        } else if partition != first.partition() {
            let fault =
                Fault::new("the fallback trust anchor and the trust anchor must be in the same partition")
                    .hint(format!("the fallback's is {partition}, the first's {}", first.partition()));
            self.report(origin.clone(), fault);
        }
    }
}
