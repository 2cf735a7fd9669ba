//! The steps about SDKs: the credentials that one would use in this environment, and what keeps it from the daemon.
//!
//! The order is that of each SDK's default chain. Values that could be secrets are never shown.

use std::net::IpAddr;
use std::net::SocketAddr;

use http::Uri;

use super::profiles::Profiles;
use super::provider_chain::CHAINS;
use super::provider_chain::CredentialProvider;
use super::provider_chain::ProviderChain;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_config::Environment;
use anchord_core::content;

/// The daemon, as clients see it.
#[derive(Debug, Default)]
pub(super) struct LocalDaemon {
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) sessions: Vec<String>,
    /// Whether it imitates EC2's metadata service.
    pub(super) has_imds: bool,
    /// Whether it serves container credentials.
    pub(super) has_container: bool,
    /// The Region of the first session to check.
    pub(super) region: Option<String>,
}

/// The source of credentials that an SDK would choose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ChosenProvider {
    is_ours: bool,
    /// Completes "SDKs take …".
    what: String,
    hint: String,
}

/// All steps; `token_fault` is the problem with the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, if it has one.
pub(super) fn steps(
    environment: &Environment,
    profiles: &Profiles,
    daemon: &LocalDaemon,
    token_fault: Option<&str>,
) -> Vec<Step> {
    let check = EnvironmentCheck { environment, profiles, daemon };
    let mut steps = check.picks();
    steps.extend(check.token(token_fault));
    steps.extend(check.other_keys());
    steps.extend(check.profile());
    steps.extend(check.api_key());
    steps.extend(check.region());
    steps.extend(check.proxy());
    steps
}

/// The problem with the token file that the environment names, if it has one.
pub(super) fn token_fault(environment: &Environment) -> Option<String> {
    let path = environment.current_dir().join(environment.get(TOKEN_FILE)?);
    let shown = path.display().to_string();
    match content::read(&path, LONGEST_BEARER).map(|content| content.bytes) {
        Err(fault) => Some(format!("`{shown}` cannot be read: {fault}")),
        Ok(bearer) if bearer.expose().is_empty() => Some(format!("`{shown}` is empty")),
        Ok(bearer) if bearer.expose().iter().any(|byte| !byte.is_ascii_graphic()) => {
            Some(format!("`{shown}` has characters that SDKs refuse in a token, such as a line break"))
        }
        Ok(_) => None,
    }
}

/// Far above any token.
const LONGEST_BEARER: u64 = 64 << 10;
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
/// The address of EC2's metadata service.
const METADATA: &str = "http://169.254.169.254";
const EXEC: &str = "run programs with `anchord exec -- COMMAND`";

struct EnvironmentCheck<'a> {
    environment: &'a Environment,
    profiles: &'a Profiles,
    daemon: &'a LocalDaemon,
}

impl EnvironmentCheck<'_> {
    fn has(&self, name: &str) -> bool {
        self.environment.get(name).is_some()
    }

    /// A step for each source of credentials that SDKs would choose.
    fn picks(&self) -> Vec<Step> {
        let mut groups: Vec<(ChosenProvider, Vec<&str>)> = Vec::new();
        for chain in &CHAINS {
            let pick = self.pick(chain);
            match groups.iter_mut().find(|(known, _)| *known == pick) {
                Some((_, sdks)) => sdks.extend(chain.sdks),
                None => groups.push((pick, chain.sdks.to_vec())),
            }
        }
        let is_one = groups.len() == 1;
        let subject = Subject::new("environment", "environment");
        let mut steps = Vec::new();
        for (pick, sdks) in groups {
            let who = if is_one { "SDKs started here".to_owned() } else { listed(&sdks) };
            let found = format!("{who} take {}", pick.what);
            steps.push(if pick.is_ours { subject.ok(found) } else { subject.warning(found, pick.hint) });
        }
        steps
    }

    fn pick(&self, chain: &ProviderChain) -> ChosenProvider {
        let found = chain.providers.iter().find_map(|provider| match provider {
            CredentialProvider::Keys if chain.minds_named_profile && self.named_profile(chain).is_some() => {
                None
            }
            CredentialProvider::Keys => self.keys(),
            CredentialProvider::Role => {
                self.profile_pick(chain).filter(|(_, is_role)| *is_role).map(|(pick, _)| pick)
            }
            CredentialProvider::Profile => self.profile_pick(chain).map(|(pick, _)| pick),
            CredentialProvider::WebIdentity => self.web_identity(),
            CredentialProvider::Container => self.container(chain),
            CredentialProvider::Metadata => Some(self.metadata()),
        });
        found.unwrap_or_else(|| self.metadata())
    }

    fn keys(&self) -> Option<ChosenProvider> {
        let both = self.has("AWS_ACCESS_KEY_ID") && self.has("AWS_SECRET_ACCESS_KEY");
        both.then(|| ChosenProvider {
            is_ours: false,
            what: "the keys in AWS_ACCESS_KEY_ID".into(),
            hint: format!("unset AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or {EXEC}"),
        })
    }

    /// Steps about variables that only some SDKs read as keys, and about variables that make some SDKs fail.
    fn other_keys(&self) -> Vec<Step> {
        let subject = Subject::new("environment.keys", "environment: keys");
        let others = ["AWS_ACCESS_KEY", "AMAZON_ACCESS_KEY_ID"].into_iter().filter(|name| self.has(name));
        let mut steps: Vec<_> = others
            .map(|name| {
                let found = format!("{name} is set: Go or Ruby prefers its keys to the daemon's credentials");
                subject.warning(found, format!("unset it and the variables that belong to it, or {EXEC}"))
            })
            .collect();
        if self.has("AWS_ACCESS_KEY_ID") && !self.has("AWS_SECRET_ACCESS_KEY") {
            let found = "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY: the CLI and Python fail";
            steps.push(subject.warning(found, format!("unset it, or {EXEC}")));
        }
        steps
    }

    fn web_identity(&self) -> Option<ChosenProvider> {
        let both = self.has("AWS_WEB_IDENTITY_TOKEN_FILE") && self.has("AWS_ROLE_ARN");
        both.then(|| ChosenProvider {
            is_ours: false,
            what: "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE".into(),
            hint: format!("unset AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or {EXEC}"),
        })
    }

    /// The profile that a variable names. The CLI and Python read a second variable.
    fn named_profile(&self, chain: &ProviderChain) -> Option<(&'static str, &str)> {
        let mut names = vec!["AWS_PROFILE"];
        if chain.sdks.contains(&"Python") {
            names.push("AWS_DEFAULT_PROFILE");
        }
        names.into_iter().find_map(|name| Some((name, self.environment.get(name)?)))
    }

    /// The profile's credentials, and whether they are a role's.
    fn profile_pick(&self, chain: &ProviderChain) -> Option<(ChosenProvider, bool)> {
        let named = self.named_profile(chain);
        let name = named.map_or("default", |(_, name)| name);
        let files = [&self.profiles.credentials, &self.profiles.config];
        let given = files.into_iter().filter_map(|file| {
            let profile = file.profile(name)?;
            Some((profile, profile.gives()?, file.path.as_deref()?))
        });
        // A role takes precedence over keys, which may only be its source.
        let (profile, gives, path) = given.max_by_key(|(profile, ..)| profile.has_role)?;
        let is_ours = profile.process.as_deref().is_some_and(|line| self.is_served(line)) && gives == PROCESS;
        let what = match is_ours {
            true => format!("this program, as `credential_process` of profile `{}`", name.escape_debug()),
            false => {
                format!("{gives} of profile `{}` in {}", name.escape_debug(), path.display())
            }
        };
        let hint = match named {
            Some((variable, _)) => format!("unset {variable}, or {EXEC}"),
            None => format!("remove it from [default] in {}, or {EXEC}", path.display()),
        };
        Some((ChosenProvider { is_ours, what, hint }, profile.has_role))
    }

    /// Whether a command runs anchord, without a session or with one that the daemon has.
    fn is_served(&self, command: &str) -> bool {
        let mut words = command.split_whitespace().skip_while(|word| *word != "--session");
        is_this_program(command)
            && match words.nth(1) {
                Some(name) => self.has_session(name.trim_matches(['"', '\''])),
                None => true,
            }
    }

    fn has_session(&self, name: &str) -> bool {
        self.daemon.sessions.iter().any(|known| known == name)
    }

    fn container(&self, chain: &ProviderChain) -> Option<ChosenProvider> {
        let relative = self.has(RELATIVE_URI).then(|| ChosenProvider {
            is_ours: false,
            what: format!("the credentials at {RELATIVE_URI}, which never points to this daemon"),
            hint: format!("unset {RELATIVE_URI}"),
        });
        let full = self.environment.get(FULL_URI).map(|uri| self.full_uri(uri));
        if chain.takes_full_uri { full.or(relative) } else { relative.or(full) }
    }

    fn full_uri(&self, uri: &str) -> ChosenProvider {
        let uri: Uri = uri.parse().unwrap_or_default();
        let hint = format!("set {FULL_URI} to {}", self.container_uri());
        if !self.leads_here(&uri) {
            let place = uri.authority().map_or("nowhere", |authority| authority.as_str());
            let place = place.rsplit('@').next().unwrap_or_default();
            let what = format!("the credentials at {FULL_URI} ({place}), where this daemon does not listen");
            return ChosenProvider { is_ours: false, what, hint };
        }
        if uri.scheme_str() == Some("https") {
            let what = format!("nothing: {FULL_URI} begins with https://, and this daemon speaks only http");
            return ChosenProvider { is_ours: false, what, hint };
        }
        if !self.daemon.has_container {
            let what = format!(
                "nothing: {FULL_URI} points to this daemon, which does not serve container credentials"
            );
            return ChosenProvider {
                is_ours: false,
                what,
                hint: "set `enabled = true` in [container]".into(),
            };
        }
        let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
        let name = path.strip_prefix("/v1/credentials").map(|name| name.trim_start_matches('/'));
        if name.is_some_and(|name| name.is_empty() || self.has_session(name)) {
            let what = "credentials from this daemon (container endpoint)".to_owned();
            return ChosenProvider { is_ours: true, what, hint: String::new() };
        }
        let what = format!("nothing: the path in {FULL_URI} is not one of this daemon's");
        ChosenProvider { is_ours: false, what, hint }
    }

    fn metadata(&self) -> ChosenProvider {
        const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
        let endpoint = self.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(METADATA);
        let is_ours = self.daemon.has_imds && self.leads_here(&endpoint.parse().unwrap_or_default());
        let is_disabled =
            self.environment.get(DISABLED).is_some_and(|value| !value.eq_ignore_ascii_case("false"));
        if is_disabled {
            let (what, hint) = match is_ours {
                true => (
                    format!("nothing: {DISABLED} keeps them from using this daemon"),
                    format!("unset {DISABLED}"),
                ),
                false => (
                    format!("nothing: no variable names the daemon, and {DISABLED} is set"),
                    self.ways_here(),
                ),
            };
            return ChosenProvider { is_ours: false, what, hint };
        }
        if is_ours {
            let what = "credentials from this daemon (IMDS)".to_owned();
            return ChosenProvider { is_ours, what, hint: String::new() };
        }
        let what = "the credentials of EC2's metadata service: nothing here names the daemon".to_owned();
        ChosenProvider { is_ours: false, what, hint: self.ways_here() }
    }

    fn ways_here(&self) -> String {
        format!("{EXEC}, or set {FULL_URI}={} and {TOKEN_FILE}", self.container_uri())
    }

    fn container_uri(&self) -> String {
        // With port 0 the daemon chooses a free port when it starts.
        let loopback = self.daemon.listeners.iter().filter(|it| it.ip().is_loopback() && it.port() != 0);
        match loopback.min_by_key(|address| address.is_ipv6()) {
            Some(address) => format!("http://{address}/v1/credentials"),
            None => "http://127.0.0.1:PORT/v1/credentials".into(),
        }
    }

    fn leads_here(&self, uri: &Uri) -> bool {
        let port = uri.port_u16().unwrap_or(80);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let mut on_port = self.daemon.listeners.iter().filter(|address| address.port() == port);
        match host.parse::<IpAddr>() {
            Ok(ip) => on_port.any(|address| address.ip() == ip),
            Err(_) => host.eq_ignore_ascii_case("localhost") && on_port.any(|it| it.ip().is_loopback()),
        }
    }

    fn token(&self, fault: Option<&str>) -> Option<Step> {
        let uri = self.environment.get(FULL_URI)?;
        if !self.leads_here(&uri.parse().unwrap_or_default()) {
            return None;
        }
        let subject = Subject::new("environment.token", "environment: token");
        if let Some(fault) = fault {
            let hint = format!("set {TOKEN_FILE} to a file that these programs can read, or {EXEC}");
            return Some(subject.warning(fault, hint));
        }
        if self.has(TOKEN) || self.has(TOKEN_FILE) {
            return None;
        }
        let hint = format!("set {TOKEN_FILE} to the session's .token file in the runtime directory");
        Some(subject.warning(format!("{FULL_URI} is set without a token: the daemon will refuse"), hint))
    }

    fn profile(&self) -> Vec<Step> {
        let subject = Subject::new("environment.profile", "environment: profile");
        let mut steps = Vec::new();
        for file in [&self.profiles.credentials, &self.profiles.config] {
            if let Some(fault) = &file.fault {
                steps.push(subject.warning(fault, "allow these programs to read it, or remove it"));
            }
        }
        for variable in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"] {
            let Some(name) = self.environment.get(variable) else { continue };
            if !self.profiles.has(name) {
                let name = name.escape_debug();
                let found = format!("{variable} names the profile `{name}`, which does not exist");
                let hint = format!("unset {variable}: SDKs that read it fail with such a profile");
                steps.push(subject.warning(found, hint));
            }
        }
        steps
    }

    fn api_key(&self) -> Option<Step> {
        self.has("AWS_BEARER_TOKEN_BEDROCK").then(|| {
            let found = "AWS_BEARER_TOKEN_BEDROCK is set: Bedrock clients prefer it to credentials, and nothing \
                         renews it";
            let hint = format!("unset it, or {EXEC}");
            Subject::new("environment.bedrock-api-key", "environment: API key").warning(found, hint)
        })
    }

    fn region(&self) -> Option<Step> {
        let subject = Subject::new("environment.region", "environment: Region");
        let name = self.environment.get("AWS_PROFILE").unwrap_or("default");
        let files = [&self.profiles.credentials, &self.profiles.config];
        let in_file = files.iter().filter_map(|file| file.profile(name)).any(|it| it.region.is_some());
        let (found, missing) = match (self.has("AWS_REGION"), self.has("AWS_DEFAULT_REGION")) {
            (true, true) => return None,
            _ if in_file => return None,
            (true, false) => ("only AWS_REGION is set, which Python does not read", "AWS_DEFAULT_REGION"),
            (false, true) => ("only AWS_DEFAULT_REGION is set, which most SDKs do not read", "AWS_REGION"),
            (false, false) => {
                ("no Region is set, and most SDKs have no default", "AWS_REGION and AWS_DEFAULT_REGION")
            }
        };
        let region = self.daemon.region.as_deref().unwrap_or("us-east-1");
        Some(subject.warning(found, format!("set {missing}, for example to {region}")))
    }

    fn proxy(&self) -> Option<Step> {
        let proxy = PROXIES.into_iter().find(|name| self.has(name))?;
        let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| self.environment.get(name));
        let mut exceptions = exceptions.unwrap_or_default().split(',').map(str::trim);
        if exceptions.any(|exception| exception == "127.0.0.1" || exception == "*") {
            return None;
        }
        let found = format!(
            "{proxy} is set without an exception for 127.0.0.1: Rust, and Python with IMDS, would use the proxy to \
             reach the daemon"
        );
        let hint = "add 127.0.0.1,localhost to NO_PROXY";
        Some(Subject::new("environment.proxy", "environment: proxy").warning(found, hint))
    }
}

const PROCESS: &str = "a credential_process";

/// Whether a command line begins with anchord.
fn is_this_program(command: &str) -> bool {
    let program = command.split_whitespace().next().unwrap_or_default().trim_matches(['"', '\'']);
    program.rsplit('/').next() == Some("anchord")
}

fn listed(names: &[&str]) -> String {
    match names {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::check::report::State;

    /// The findings where these variables are set, and these files are at home.
    fn found(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<Step> {
        let home = tempfile::tempdir().unwrap();
        fs_err::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in files {
            fs_err::write(home.path().join(".aws").join(name), text).unwrap();
        }
        let region = "eu-west-1";
        let always =
            [("HOME", home.path().to_str().unwrap()), ("AWS_REGION", region), ("AWS_DEFAULT_REGION", region)];
        let variables = always.into_iter().chain(variables.iter().copied());
        let environment = Environment::from_iter(variables);
        let daemon = LocalDaemon {
            listeners: vec!["127.0.0.1:9911".parse().unwrap(), "[::1]:9911".parse().unwrap()],
            sessions: vec!["web".into()],
            has_imds: true,
            has_container: true,
            region: None,
        };
        steps(&environment, &Profiles::read(&environment), &daemon, None)
    }

    fn only(variables: &[(&str, &str)], files: &[(&str, &str)]) -> (State, String) {
        let steps = found(variables, files);
        let [step] = steps.as_slice() else { panic!("{steps:?}") };
        (step.state, step.detail.clone())
    }

    const HERE: (&str, &str) = (FULL_URI, "http://127.0.0.1:9911/v1/credentials/web");
    const BEARER: (&str, &str) = (TOKEN_FILE, "/run/anchord/web.token");
    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "AKIACANARY"), ("AWS_SECRET_ACCESS_KEY", "canary")];

    #[test]
    fn an_environment_that_leads_to_the_daemon_is_well() {
        let ours = |variables: &[(&str, &str)]| only(variables, &[]).0;
        let full = |uri: &'static str| [(FULL_URI, uri), BEARER];

        assert_eq!(ours(&[HERE, BEARER]), State::Ok);
        assert_eq!(ours(&full("http://localhost:9911/v1/credentials")), State::Ok);
        assert_eq!(ours(&full("http://[::1]:9911/v1/credentials/")), State::Ok);
        assert_eq!(ours(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9911")]), State::Ok);
        let process = "[default]\ncredential_process = /usr/bin/anchord credential-process\n";
        assert_eq!(only(&[], &[("config", process)]).0, State::Ok);
    }

    #[test]
    fn what_leads_elsewhere_is_named() {
        let (state, detail) = only(&[], &[]);
        assert_eq!(state, State::Warning);
        assert!(detail.contains("EC2's metadata service"), "{detail}");

        let elsewhere = [(FULL_URI, "http://u:canary@127.0.0.1:8080/creds?token=canary"), BEARER];
        let (_, detail) = only(&elsewhere, &[]);
        assert!(detail.contains("(127.0.0.1:8080), where this daemon does not listen"), "{detail}");
        assert!(!detail.contains("canary"), "{detail}");
        let wrong_path = [(FULL_URI, "http://127.0.0.1:9911/v1/credentials/wbe"), BEARER];
        assert!(only(&wrong_path, &[]).1.contains("not one of this daemon's"));
        let https = [(FULL_URI, "https://127.0.0.1:9911/v1/credentials"), BEARER];
        assert!(only(&https, &[]).1.contains("begins with https://, and this daemon speaks only http"));
        let unknown = "[default]\ncredential_process = anchord credential-process --session nope\n";
        assert!(only(&[], &[("config", unknown)]).1.contains("a credential_process of profile `default`"));
        let (_, detail) = only(&[("AWS_EC2_METADATA_DISABLED", "true")], &[]);
        assert!(detail.contains("AWS_EC2_METADATA_DISABLED is set"), "{detail}");
        let imds = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9911");
        let (_, detail) = only(&[("AWS_EC2_METADATA_DISABLED", "true"), imds], &[]);
        assert!(detail.contains("AWS_EC2_METADATA_DISABLED keeps them from using this daemon"), "{detail}");
    }

    #[test]
    fn what_goes_before_the_daemon_is_named_with_where_it_is() {
        let [id, secret] = KEYS;
        let (state, detail) = only(&[HERE, BEARER, id, secret], &[]);
        assert_eq!(
            (state, detail.as_str()),
            (State::Warning, "SDKs started here take the keys in AWS_ACCESS_KEY_ID")
        );

        let keys = "[default]\naws_access_key_id = AKIACANARY\naws_secret_access_key = canary\n";
        let (_, detail) = only(&[HERE, BEARER], &[("credentials", keys)]);
        assert!(
            detail.contains("access keys of profile `default` in ") && !detail.contains("anary"),
            "{detail}"
        );
        let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn"), HERE, BEARER];
        assert!(only(&identity, &[]).1.contains("the web identity in"));
    }

    #[test]
    fn where_sdks_differ_each_is_told() {
        let details = |variables: &[(&str, &str)], files: &[(&str, &str)]| {
            let steps = found(variables, files);
            steps.into_iter().map(|step| step.detail).collect::<Vec<_>>()
        };
        let both = [HERE, BEARER, (RELATIVE_URI, "/v2")];
        let relative = "the CLI, Python, JavaScript, Rust, CRT, C++, Java and .NET take the credentials at \
                        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, which never points to this daemon";
        let full = "Go take credentials from this daemon (container endpoint)";
        assert_eq!(details(&both, &[]), [relative, full]);

        let [id, secret] = KEYS;
        let sso = "[profile work]\nsso_session = corp\n";
        let mixed = details(&[id, secret, ("AWS_PROFILE", "work")], &[("config", sso)]);
        assert!(mixed[0].starts_with("the CLI, Python and JavaScript take a login (SSO) of profile `work`"));
        assert!(mixed[1].starts_with("Rust, CRT, C++, Java, .NET and Go take the keys"), "{mixed:?}");
    }

    #[test]
    fn what_else_ails_sdks_is_a_finding_of_its_own() {
        let ids = |variables: &[(&str, &str)]| {
            let steps = found(variables, &[]);
            steps.iter().skip(1).map(|step| step.subject.title().to_owned()).collect::<Vec<_>>()
        };

        assert_eq!(ids(&[HERE]), ["environment: token"]);
        assert_eq!(ids(&[("AWS_PROFILE", "gone")]), ["environment: profile"]);
        assert_eq!(ids(&[("AWS_DEFAULT_PROFILE", "gone")]), ["environment: profile"]);
        assert_eq!(ids(&[("AWS_ACCESS_KEY", "AKIA"), ("AWS_SECRET_KEY", "s")]), ["environment: keys"]);
        assert_eq!(ids(&[("AWS_ACCESS_KEY_ID", "AKIA")]), ["environment: keys"]);
        assert_eq!(ids(&[("AWS_DEFAULT_REGION", "")]), ["environment: Region"]);
        assert_eq!(ids(&[("AWS_BEARER_TOKEN_BEDROCK", "canary")]), ["environment: API key"]);
        assert_eq!(ids(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-west-1")]), ["environment: Region"]);
        assert_eq!(ids(&[("HTTP_PROXY", "http://p:1")]), ["environment: proxy"]);
        assert_eq!(ids(&[("HTTP_PROXY", "http://p:1"), ("no_proxy", "x,127.0.0.1")]), [""; 0]);
    }

    #[test]
    fn a_bearers_file_that_no_sdk_can_use_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let fault = |name: &str| token_fault(&Environment::from_iter([(TOKEN_FILE, path(name))]));
        fs_err::write(path("good"), "abc").unwrap();
        fs_err::write(path("empty"), "").unwrap();
        fs_err::write(path("broken"), "canary\n").unwrap();

        assert_eq!(fault("good"), None);
        assert!(fault("empty").is_some_and(|fault| fault.ends_with("is empty")));
        assert!(
            fault("broken").is_some_and(|fault| fault.contains("line break") && !fault.contains("canary"))
        );
        assert!(fault("").is_some(), "a directory");
        assert!(fault("gone").is_some());
    }
}
