//! Checks which sessions there are, and the options of each.

use super::CertificateSource;
use super::CredentialSource;
use super::SessionSettings;
use super::check::Check;
use super::check::NONE;
use super::check::no_session;
use super::check::quoted;
use super::layers::SessionLayer;
use super::options::Fallback;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::setting::Setting;
use super::setting::Value;
use super::step::StepContext;
use super::values;
use super::values::Fault;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Sts;
use anchord_core::arn::ProfileArn;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::arn::TrustAnchorArn;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

impl<'a> Check<'a> {
    /// The layers of all sessions, and which of them flags and variables apply to.
    pub(super) fn sessions<'n>(&mut self, picked: &'n Value<String>) -> Vec<SessionLayer<'n>>
    where
        'a: 'n,
    {
        let layers = self.layers;
        let (tables, flags) = (&layers.file.sessions, layers.session_flags());
        let picked_name = picked.get().map(String::as_str);
        if tables.is_empty() && !flags.is_empty() {
            let name = picked_name.unwrap_or("default");
            return vec![SessionLayer { name, table: None, takes_flags: true }];
        }
        if tables.is_empty() && !layers.file.incomplete && self.sessions_are_needed() {
            self.report_no_sessions();
        }
        let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
        if let (Setting::Absent, [_, _, ..], Some(first)) = (picked, names.as_slice(), flags.first()) {
            let given: Vec<_> = flags.iter().map(Origin::to_string).collect();
            let fault = Fault::new(format!(
                "{} could apply to any of the sessions {}",
                given.join(", "),
                names.join(", ")
            ));
            self.report(first.clone(), fault.hint("select one with --session or ANCHORD_SESSION"));
        }
        let mut sessions = Vec::new();
        for table in tables {
            let takes_flags = tables.len() == 1 || picked_name == Some(table.name.as_str());
            sessions.push(SessionLayer { name: &table.name, table: Some(table), takes_flags });
        }
        sessions
    }

    fn report_no_sessions(&mut self) {
        // Most certificates are files, and most keys are in a file of their own.
        let is_usual =
            |spec: &&OptionSpec| spec.fallback == Fallback::Required || spec.key == "session.private_key";
        let required: Vec<_> = OPTIONS.iter().filter(is_usual).collect();
        let keys: Vec<_> = required.iter().map(|spec| spec.name()).collect();
        let flags: Vec<_> = required.iter().map(|spec| format!("--{}", spec.flag)).collect();
        let flags = flags.join(", ");
        let hint = match self.layers.reads_a_file {
            true => format!(
                "write [session.NAME] with {} to {}, or give {flags}",
                keys.join(", "),
                self.file_to_write()
            ),
            false => format!("give {flags}; a settings file is for `anchord run`"),
        };
        self.report(self.file_origin(), Fault::new("no session is defined").hint(hint));
    }

    pub(super) fn check_picked(&mut self, picked: &Value<String>, names: &[&str]) {
        if let Setting::There((name, origin)) = picked
            && !names.contains(&name.as_str())
            && !names.is_empty()
            && !self.layers.file.incomplete
        {
            self.report(origin.clone(), no_session(name, names));
        }
    }

    /// Checks one session; `None` after a mistake.
    pub(super) fn session(&mut self, layer: &SessionLayer<'_>, variant: Variant) -> Option<SessionSettings> {
        let scope = Some(layer);
        // Fixes the order of options in reports, whatever the order of checks.
        for spec in OPTIONS.iter().filter(|spec| spec.table() == "session") {
            self.note_default(spec.key, scope, NONE);
        }
        match self.one("session.source", scope, values::source) {
            Setting::There((values::SourceKind::AccessKeys, _)) => self.session_of_keys(layer, variant),
            Setting::There((values::SourceKind::RolesAnywhere, _)) => {
                self.warn_of_keys(layer);
                self.session_of_certificate(layer, variant)
            }
            Setting::Absent | Setting::Reported => None,
        }
    }

    fn session_of_certificate(
        &mut self,
        layer: &SessionLayer<'_>,
        variant: Variant,
    ) -> Option<SessionSettings> {
        let scope = Some(layer);
        let source = self.certificate_source(layer, variant);
        let anchor = source.anchor.get().cloned();
        let region = self.one("session.region", scope, values::region);
        self.report_missing(layer, &required_options());
        if let (Setting::Absent, Some(anchor)) = (&region, &anchor) {
            self.note_default("session.region", scope, &quoted(anchor.region().as_str()));
        }
        if let Some(anchor) = &anchor {
            self.check_region(anchor, &region);
        }
        let region = region.optional()?.or_else(|| anchor.as_ref().map(TrustAnchorArn::region));
        let sts = self.sts(layer, region.clone(), variant);
        let usual = region.clone().map(|region| Sts { region, endpoint: None, variant });
        let context = StepContext {
            partition: anchor.as_ref().map(TrustAnchorArn::partition),
            sts: sts.as_ref().or(usual.as_ref())?,
            begins_with_a_user: false,
        };
        let chain = self.chain(layer, context);
        if source.whole.as_ref().is_some_and(|source| source.fallback.is_some()) {
            self.warn_of_sts(layer, chain.as_deref().unwrap_or_default());
        }
        Some(SessionSettings {
            name: layer.name.into(),
            source: CredentialSource::RolesAnywhere(Box::new(source.whole?)),
            chain: chain?,
            region: region?,
            sts: sts?,
            variant,
        })
    }

    /// Warns if a session with a second endpoint still depends on STS in one Region.
    fn warn_of_sts(&mut self, layer: &SessionLayer<'_>, chain: &[AssumeRole]) {
        let Some(step) = chain.first() else { return };
        let what = format!(
            "session {} can fall back to another Region's Roles Anywhere, but its roles are assumed with STS in {}",
            layer.name, step.sts.region
        );
        let hint = [Say("set "), Key("sts_region"), Say(" to a Region other than the first endpoint's")];
        self.warnings.push(Notice::new(what).hinting(Text::of(&hint)));
    }

    /// Checks the certificate and its CreateSession calls.
    fn certificate_source(&mut self, layer: &SessionLayer<'_>, variant: Variant) -> CheckedSource {
        let scope = Some(layer);
        let identity = self.identity(layer);
        let trust_anchor = self.one("session.trust_anchor_arn", scope, values::trust_anchor);
        let profile = self.one("session.profile_arn", scope, values::profile);
        let role = self.one("session.role_arn", scope, values::role);
        let role_session_name = self.one("session.role_session_name", scope, values::role_session_name);
        let asked_region = self.one("session.roles_anywhere_region", scope, values::region_or_auto);
        let endpoint = self.one("session.endpoint", scope, values::endpoint);
        let fallback = self.fallback(layer, &trust_anchor);

        self.check_profile(&trust_anchor, &profile, "");
        self.check_asked_region(layer, &trust_anchor, &asked_region);
        self.check_role(&trust_anchor, &role);
        let duration = self.one("session.duration", scope, values::session_duration);
        let anchor = trust_anchor.clone();
        let whole = || {
            let (trust_anchor, asked_region) = (trust_anchor.required()?, asked_region.required()?);
            let first = CreateSession {
                region: asked_region.unwrap_or_else(|| trust_anchor.region()),
                trust_anchor,
                profile: profile.required()?,
                role: role.required()?,
                duration: duration.required()?,
                role_session_name: role_session_name.optional()?,
                endpoint: endpoint.optional()?,
                variant,
            };
            let fallback = fallback?.map(|second| second.call(&first));
            Some(CertificateSource { identity: identity?, first, fallback })
        };
        CheckedSource { whole: whole(), anchor }
    }

    pub(super) fn report_missing(&mut self, layer: &SessionLayer<'_>, required: &[&OptionSpec]) {
        let is_missing = |spec: &&&OptionSpec| matches!(self.layers.find(spec, Some(layer)), Setting::Absent);
        let missing: Vec<_> = required.iter().filter(is_missing).collect();
        if missing.is_empty() || self.layers.file.incomplete {
            return;
        }
        let list = |write: fn(&OptionSpec) -> String| {
            missing.iter().map(|s| write(s)).collect::<Vec<_>>().join(", ")
        };
        let keys = list(|spec| format!("`{}`", spec.name()));
        let (origin, fault) = match layer.table {
            Some(table) => {
                let origin = Origin::File { path: self.layers.file.shown.clone(), line: table.line };
                (origin, Fault::new(format!("[session.{}] lacks {keys}", layer.name)))
            }
            None => {
                let flags = list(|spec| format!("--{}", spec.flag));
                let fault = Fault::new(format!("session `{}` lacks {keys}", layer.name));
                (Origin::Default, fault.hint(format!("give {flags}, or their variables")))
            }
        };
        self.report(origin, fault);
    }

    /// `which` is a prefix of both names in messages: empty, or `fallback `.
    pub(super) fn check_profile(
        &mut self,
        trust_anchor: &Value<TrustAnchorArn>,
        profile: &Value<ProfileArn>,
        which: &str,
    ) {
        let (Some(anchor), Setting::There((profile, origin))) = (trust_anchor.get(), profile) else { return };
        let pairs = [
            ("partition", profile.partition().to_owned(), anchor.partition().to_owned()),
            ("Region", profile.region().to_string(), anchor.region().to_string()),
            ("account", profile.account_id().to_owned(), anchor.account_id().to_owned()),
        ];
        for (what, of_profile, of_anchor) in pairs {
            if of_profile != of_anchor {
                let both =
                    format!("the {which}profile and the {which}trust anchor must be in the same {what}");
                let hint = format!("the profile's is {of_profile}, the trust anchor's {of_anchor}");
                self.report(origin.clone(), Fault::new(both).hint(hint));
            }
        }
    }

    fn check_asked_region(
        &mut self,
        layer: &SessionLayer<'_>,
        trust_anchor: &Value<TrustAnchorArn>,
        asked: &Value<Option<Region>>,
    ) {
        let Setting::There((anchor, anchor_origin)) = trust_anchor else { return };
        let (home, partition) = (anchor.region(), anchor.partition());
        if let Setting::There((Some(asked), origin)) = asked
            && *asked != home
        {
            let name = &layer.name;
            let what =
                format!("is not the Region of the trust anchor of session `{name}`, which is in {home}");
            let fault = Fault::of(asked.as_str(), what);
            self.report(origin.clone(), fault.hint("leave it out; `region` is what clients use"));
        }
        if home.partition().as_str() != partition {
            let fault = Fault::new(format!("the trust anchor's ARN names partition {partition}"))
                .hint(format!("its Region {home} belongs to {}", home.partition()));
            self.report(anchor_origin.clone(), fault);
        }
    }

    fn check_region(&mut self, anchor: &TrustAnchorArn, region: &Value<Region>) {
        let (home, partition) = (anchor.region(), anchor.partition());
        if home.partition().as_str() == partition
            && let Setting::There((region, origin)) = region
            && region.partition().as_str() != partition
        {
            let fault = Fault::new(format!("Region {region} is in partition {}", region.partition())).hint(
                format!("the ARNs are of {partition}, and its credentials are not valid in other partitions"),
            );
            self.report(origin.clone(), fault);
        }
    }

    fn check_role(&mut self, trust_anchor: &Value<TrustAnchorArn>, role: &Value<RoleArn>) {
        let (Some(anchor), Setting::There((role, origin))) = (trust_anchor.get(), role) else { return };
        if role.partition() != anchor.partition() {
            let fault = Fault::new("the role and the trust anchor must be in the same partition").hint(
                format!("the role's is {}, the trust anchor's {}", role.partition(), anchor.partition()),
            );
            self.report(origin.clone(), fault);
        }
    }
}

/// A session's certificate source, if all of it is valid, and its trust anchor, even if another part is invalid.
struct CheckedSource {
    whole: Option<CertificateSource>,
    anchor: Value<TrustAnchorArn>,
}

fn required_options() -> Vec<&'static OptionSpec> {
    OPTIONS.iter().filter(|spec| spec.fallback == Fallback::Required).collect()
}
