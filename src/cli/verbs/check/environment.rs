//! The steps about SDKs: the credentials that one would use in this environment, and what keeps it from the daemon.
//!
//! The order is that of each SDK's default chain. Values that could be secrets are never shown.

use std::net::IpAddr;
use std::net::SocketAddr;

use http::Uri;

use super::profiles::Profile;
use super::profiles::Profiles;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_config::Environment;
use anchord_core::content;

/// The daemon, as clients see it.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) sessions: Vec<String>,
    /// Whether it imitates EC2's metadata service.
    pub(super) has_imds: bool,
    /// Whether it serves container credentials.
    pub(super) has_container: bool,
    /// The Region of the first session to check.
    pub(super) region: Option<String>,
}

/// The default chain of credential providers that some SDKs share.
struct Chain {
    sdks: &'static [&'static str],
    links: &'static [Link],
    /// Whether a profile that a variable names takes precedence over keys in variables.
    minds_named_profile: bool,
    /// Whether the full URI takes precedence over the relative URI.
    takes_full_uri: bool,
}

#[derive(Clone, Copy)]
enum Link {
    Keys,
    /// A profile with a role.
    Role,
    Profile,
    WebIdentity,
    Container,
    Metadata,
}

const ROLE_FIRST: &[Link] =
    &[Link::Keys, Link::Role, Link::WebIdentity, Link::Profile, Link::Container, Link::Metadata];
const PROFILE_FIRST: &[Link] =
    &[Link::Keys, Link::Profile, Link::WebIdentity, Link::Container, Link::Metadata];
const IDENTITY_FIRST: &[Link] =
    &[Link::Keys, Link::WebIdentity, Link::Profile, Link::Container, Link::Metadata];

const CHAINS: [Chain; 5] = [
    Chain {
        sdks: &["the CLI", "Python"],
        links: ROLE_FIRST,
        minds_named_profile: true,
        takes_full_uri: false,
    },
    Chain { sdks: &["JavaScript"], links: PROFILE_FIRST, minds_named_profile: true, takes_full_uri: false },
    Chain {
        sdks: &["Rust", "CRT", "C++"],
        links: PROFILE_FIRST,
        minds_named_profile: false,
        takes_full_uri: false,
    },
    Chain {
        sdks: &["Java", ".NET"],
        links: IDENTITY_FIRST,
        minds_named_profile: false,
        takes_full_uri: false,
    },
    Chain { sdks: &["Go"], links: IDENTITY_FIRST, minds_named_profile: false, takes_full_uri: true },
];

/// The source of credentials that an SDK would choose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pick {
    is_ours: bool,
    /// Completes "SDKs take …".
    what: String,
    hint: String,
}

/// All steps; `token_fault` is the problem with the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, if it has one.
pub(super) fn steps(
    environment: &Environment,
    profiles: &Profiles,
    door: &Door,
    token_fault: Option<&str>,
) -> Vec<Step> {
    let scene = Scene { environment, profiles, door };
    let mut steps = scene.picks();
    steps.extend(scene.token(token_fault));
    steps.extend(scene.other_keys());
    steps.extend(scene.profile());
    steps.extend(scene.api_key());
    steps.extend(scene.region());
    steps.extend(scene.proxy());
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

fn environment_subject() -> Subject {
    Subject::new("environment", "environment")
}

struct Scene<'a> {
    environment: &'a Environment,
    profiles: &'a Profiles,
    door: &'a Door,
}

impl Scene<'_> {
    fn has(&self, name: &str) -> bool {
        self.environment.get(name).is_some()
    }

    /// A step for each source of credentials that SDKs would choose.
    fn picks(&self) -> Vec<Step> {
        let mut groups: Vec<(Pick, Vec<&str>)> = Vec::new();
        for chain in &CHAINS {
            let pick = self.pick(chain);
            match groups.iter_mut().find(|(known, _)| *known == pick) {
                Some((_, sdks)) => sdks.extend(chain.sdks),
                None => groups.push((pick, chain.sdks.to_vec())),
            }
        }
        let is_one = groups.len() == 1;
        let step = |(pick, sdks): (Pick, Vec<&str>)| {
            let who = if is_one { "SDKs started here".to_owned() } else { listed(&sdks) };
            let found = format!("{who} take {}", pick.what);
            if pick.is_ours {
                environment_subject().ok(found)
            } else {
                environment_subject().warning(found, pick.hint)
            }
        };
        groups.into_iter().map(step).collect()
    }

    fn pick(&self, chain: &Chain) -> Pick {
        let found = chain.links.iter().find_map(|link| match link {
            Link::Keys if chain.minds_named_profile && self.named_profile(chain).is_some() => None,
            Link::Keys => self.keys(),
            Link::Role => self.profile_pick(chain).filter(|(_, is_role)| *is_role).map(|(pick, _)| pick),
            Link::Profile => self.profile_pick(chain).map(|(pick, _)| pick),
            Link::WebIdentity => self.web_identity(),
            Link::Container => self.container(chain),
            Link::Metadata => Some(self.metadata()),
        });
        found.unwrap_or_else(|| self.metadata())
    }

    fn keys(&self) -> Option<Pick> {
        let both = self.has("AWS_ACCESS_KEY_ID") && self.has("AWS_SECRET_ACCESS_KEY");
        both.then(|| Pick {
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

    fn web_identity(&self) -> Option<Pick> {
        let both = self.has("AWS_WEB_IDENTITY_TOKEN_FILE") && self.has("AWS_ROLE_ARN");
        both.then(|| Pick {
            is_ours: false,
            what: "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE".into(),
            hint: format!("unset AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or {EXEC}"),
        })
    }

    /// The profile that a variable names. The CLI and Python read a second variable.
    fn named_profile(&self, chain: &Chain) -> Option<(&'static str, &str)> {
        let mut names = vec!["AWS_PROFILE"];
        if chain.sdks.contains(&"Python") {
            names.push("AWS_DEFAULT_PROFILE");
        }
        names.into_iter().find_map(|name| Some((name, self.environment.get(name)?)))
    }

    /// The profile's credentials, and whether they are a role's.
    fn profile_pick(&self, chain: &Chain) -> Option<(Pick, bool)> {
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
            None => format!("take it out of [default] in {}, or {EXEC}", path.display()),
        };
        Some((Pick { is_ours, what, hint }, profile.has_role))
    }

    /// Whether a command runs anchord, without a session or with one that the daemon has.
    fn is_served(&self, command: &str) -> bool {
        let mut words = command.split_whitespace().skip_while(|word| *word != "--session");
        let named = words.nth(1).map(|name| name.trim_matches(['"', '\'']));
        let is_known = |name: &str| self.door.sessions.iter().any(|known| known == name);
        is_this_program(command) && named.is_none_or(is_known)
    }

    fn container(&self, chain: &Chain) -> Option<Pick> {
        let relative = self.has(RELATIVE_URI).then(|| Pick {
            is_ours: false,
            what: format!("the credentials at {RELATIVE_URI}, which is never this daemon"),
            hint: format!("unset {RELATIVE_URI}"),
        });
        let full = self.environment.get(FULL_URI).map(|uri| self.full_uri(uri));
        if chain.takes_full_uri { full.or(relative) } else { relative.or(full) }
    }

    fn full_uri(&self, uri: &str) -> Pick {
        let uri: Uri = uri.parse().unwrap_or_default();
        let wanted = || format!("set {FULL_URI} to {}", self.container_uri());
        if !self.leads_here(&uri) {
            let place = uri.authority().map_or("nowhere", |authority| authority.as_str());
            let place = place.rsplit('@').next().unwrap_or_default();
            let what = format!("the credentials at {FULL_URI} ({place}), where this daemon does not listen");
            return Pick { is_ours: false, what, hint: wanted() };
        }
        if uri.scheme_str() == Some("https") {
            let what = format!("nothing: {FULL_URI} begins with https://, and this daemon speaks only http");
            return Pick { is_ours: false, what, hint: wanted() };
        }
        if !self.door.has_container {
            let what =
                format!("nothing: {FULL_URI} is this daemon's, but it serves no container credentials");
            return Pick { is_ours: false, what, hint: "set `enabled = true` in [container]".into() };
        }
        let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
        let name = path.strip_prefix("/v1/credentials").map(|name| name.trim_start_matches('/'));
        let is_known = |name: &str| name.is_empty() || self.door.sessions.iter().any(|known| known == name);
        if name.is_some_and(is_known) {
            let what = "credentials from this daemon, as a container does".to_owned();
            return Pick { is_ours: true, what, hint: String::new() };
        }
        let what = format!("nothing: the path in {FULL_URI} is not one of this daemon's");
        Pick { is_ours: false, what, hint: wanted() }
    }

    fn metadata(&self) -> Pick {
        const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
        let endpoint = self.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(METADATA);
        let is_ours = self.door.has_imds && self.leads_here(&endpoint.parse().unwrap_or_default());
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
            return Pick { is_ours: false, what, hint };
        }
        if is_ours {
            let what = "credentials from this daemon, as on EC2".to_owned();
            return Pick { is_ours, what, hint: String::new() };
        }
        let what = "the credentials of EC2's metadata service: nothing here names the daemon".to_owned();
        Pick { is_ours: false, what, hint: self.ways_here() }
    }

    fn ways_here(&self) -> String {
        format!("{EXEC}, or set {FULL_URI}={} and {TOKEN_FILE}", self.container_uri())
    }

    fn container_uri(&self) -> String {
        // With port 0 the daemon chooses a free port when it starts.
        let is_known = |address: &&SocketAddr| address.ip().is_loopback() && address.port() != 0;
        let loopback = self.door.listeners.iter().filter(is_known);
        match loopback.min_by_key(|address| address.is_ipv6()) {
            Some(address) => format!("http://{address}/v1/credentials"),
            None => "http://127.0.0.1:PORT/v1/credentials".into(),
        }
    }

    fn leads_here(&self, uri: &Uri) -> bool {
        let port = uri.port_u16().unwrap_or(80);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_host = |address: &SocketAddr| match host.parse::<IpAddr>() {
            Ok(ip) => address.ip() == ip,
            Err(_) => host.eq_ignore_ascii_case("localhost") && address.ip().is_loopback(),
        };
        self.door.listeners.iter().any(|address| address.port() == port && is_host(address))
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
        let has_one = self.has(TOKEN) || self.has(TOKEN_FILE);
        (!has_one).then(|| {
            let hint = format!("set {TOKEN_FILE} to the session's .token file in the runtime directory");
            subject.warning(format!("{FULL_URI} is set without a token: the daemon will refuse"), hint)
        })
    }

    fn profile(&self) -> Vec<Step> {
        let subject = Subject::new("environment.profile", "environment: profile");
        let files = [&self.profiles.credentials, &self.profiles.config];
        let faults = files.into_iter().filter_map(|file| file.fault.as_deref());
        let mut steps: Vec<_> = faults
            .map(|fault| subject.warning(fault, "allow these programs to read it, or remove it"))
            .collect();
        let variables = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].into_iter();
        let named = variables.filter_map(|variable| Some((variable, self.environment.get(variable)?)));
        for (variable, name) in named.filter(|(_, name)| !self.profiles.has(name)) {
            let found =
                format!("{variable} names the profile `{}`, which does not exist", name.escape_debug());
            let hint = format!("unset {variable}: SDKs that read it fail with such a profile");
            steps.push(subject.warning(found, hint));
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
        let region_of = |profile: &Profile| profile.region.is_some();
        let in_file = [&self.profiles.credentials, &self.profiles.config]
            .into_iter()
            .any(|file| file.profile(name).is_some_and(region_of));
        let (found, missing) = match (self.has("AWS_REGION"), self.has("AWS_DEFAULT_REGION")) {
            (true, true) => return None,
            _ if in_file => return None,
            (true, false) => ("only AWS_REGION is set, which Python does not read", "AWS_DEFAULT_REGION"),
            (false, true) => ("only AWS_DEFAULT_REGION is set, which most SDKs do not read", "AWS_REGION"),
            (false, false) => {
                ("no Region is set, and most SDKs have no default", "AWS_REGION and AWS_DEFAULT_REGION")
            }
        };
        let region = self.door.region.as_deref().unwrap_or("us-east-1");
        Some(subject.warning(found, format!("set {missing}, for example to {region}")))
    }

    fn proxy(&self) -> Option<Step> {
        let proxy = PROXIES.into_iter().find(|name| self.has(name))?;
        let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| self.environment.get(name));
        let is_excepted = |host: &str| {
            let mut all = exceptions.unwrap_or_default().split(',').map(str::trim);
            all.any(|exception| exception == host || exception == "*")
        };
        (!is_excepted("127.0.0.1")).then(|| {
            let found = format!(
                "{proxy} is set without an exception for 127.0.0.1: Rust, and Python with IMDS, would use the proxy to \
                 reach the daemon"
            );
            let hint = "add 127.0.0.1,localhost,::1 to NO_PROXY";
            Subject::new("environment.proxy", "environment: proxy").warning(found, hint)
        })
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
        let door = Door {
            listeners: vec!["127.0.0.1:9911".parse().unwrap(), "[::1]:9911".parse().unwrap()],
            sessions: vec!["web".into()],
            has_imds: true,
            has_container: true,
            region: None,
        };
        steps(&environment, &Profiles::read(&environment), &door, None)
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
                        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, which is never this daemon";
        let full = "Go take credentials from this daemon, as a container does";
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
