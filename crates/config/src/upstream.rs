//! Checks how to connect to AWS. Variables of the SDKs and of other tools apply here too.

use std::path::PathBuf;

use super::Consumer;
use super::Upstream;
use super::check::Check;
use super::check::NONE;
use super::check::quoted;
use super::report::without_login;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Origin;
use anchord_core::secret::Secret;

impl Check<'_> {
    pub(super) fn upstream(&mut self) -> Option<Upstream> {
        let connect_timeout = self.one("upstream.connect_timeout", None, values::timeout);
        let read_timeout = self.one("upstream.read_timeout", None, values::timeout);
        let ca_file = self.ca_file();
        // As in curl: lower case goes before upper case, and https before all.
        let proxy =
            self.proxy_variable("upstream.proxy", &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        let no_proxy = self.proxy_variable("upstream.no_proxy", &["no_proxy", "NO_PROXY"]);
        let variant = self.variant();
        Some(Upstream {
            connect_timeout: connect_timeout.required()?,
            read_timeout: read_timeout.required()?,
            ca_file: ca_file.optional()?,
            variant: variant?,
            proxy: proxy.settled()?.map(Secret::new),
            no_proxy: no_proxy.settled()?,
            verifies_servers: true,
        })
    }

    /// The variant of AWS's endpoints.
    fn variant(&mut self) -> Option<Variant> {
        let fips = self.endpoint_switch("upstream.use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT");
        let dual_stack =
            self.endpoint_switch("upstream.use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT");
        Some(Variant { fips: fips?, dual_stack: dual_stack? })
    }

    /// The CA bundle, from our option or else from the SDKs' variable.
    fn ca_file(&mut self) -> Value<PathBuf> {
        const SHARED: &str = "AWS_CA_BUNDLE";
        let own = self.path("upstream.ca_file", None);
        match (own, self.layers.environment.get(SHARED)) {
            (Setting::Absent, Some(text)) => {
                let origin = Origin::Variable(SHARED.into());
                if let Err(fault) = values::place(text) {
                    self.report(origin, fault);
                    return Setting::Reported;
                }
                let path = self.layers.environment.current_dir().join(text);
                self.note_path("upstream.ca_file".into(), &path, origin.clone());
                Setting::There((path, origin))
            }
            (own, _) => own,
        }
    }

    /// A switch from our option, or else from the SDKs' variable `shared`. SDKs ignore the case of its value.
    fn endpoint_switch(&mut self, key: &str, shared: &str) -> Option<bool> {
        let own = self.one(key, None, values::switch);
        match (own, self.layers.environment.get(shared)) {
            (Setting::Absent, Some(text)) => {
                let origin = Origin::Variable(shared.into());
                let parsed = values::plain(text).and_then(|text| values::switch(&text.to_ascii_lowercase()));
                match parsed {
                    Ok(on) => {
                        self.origins.note(key, on.to_string(), origin);
                        Some(on)
                    }
                    Err(fault) => {
                        self.report(origin, fault);
                        None
                    }
                }
            }
            (Setting::Absent, None) => {
                self.note_default(key, None, "false");
                Some(false)
            }
            (own, _) => own.required(),
        }
    }

    /// A variable that many tools share. It may contain a password, so no message repeats it.
    fn proxy_variable(&mut self, key: &str, names: &[&str]) -> Setting<String> {
        let environment = self.layers.environment;
        let Some((name, text)) = names.iter().find_map(|name| Some((*name, environment.get(name)?))) else {
            self.origins.note(key, NONE, Origin::Default);
            return Setting::Absent;
        };
        let origin = Origin::Variable(name.into());
        // A client may never need the proxy: it may ask a daemon, which has its own connection to AWS.
        let is_needed = self.reader == Consumer::Daemon;
        let proxy = if key == "upstream.proxy" { values::proxy(text) } else { Ok(text) };
        let is_malformed = proxy.is_err();
        let checked = values::plain(text).and_then(|text| if is_needed { proxy } else { Ok(text) });
        if let Err(fault) = checked {
            self.report(origin, fault);
            return Setting::Reported;
        }
        let shown = if is_malformed { "[redacted]".into() } else { without_login(text) };
        self.origins.note(key, quoted(&shown), origin);
        Setting::There(text.into())
    }
}
