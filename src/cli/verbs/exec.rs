//! `anchord exec`: runs a command in an environment in which its SDKs use the daemon.

use std::ffi::OsString;
use std::io;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::ArgMatches;
use rustix::fs::OFlags;
use rustix::process::DumpableBehavior;

use super::bedrock;
use super::check::Profiles;
use super::credential_process;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::threads;
use anchord_aws::signing;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::content;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::failure::system_reason;
use anchord_core::secret::Secret;
use anchord_runtime::client;
use anchord_runtime::client::running;
use anchord_runtime::client::running::RunningDaemon;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let settings = match config::load_for_asking(matches, surroundings.environment) {
        Ok(settings) => settings,
        Err(problems) => return output::report_problems(&problems, surroundings),
    };
    let lifetime = matches.get_one::<String>("ttl").map(|text| bedrock::lifetime(text)).transpose();
    let lifetime = match lifetime {
        Ok(lifetime) => lifetime.unwrap_or(signing::LONGEST_API_KEY),
        Err(failure) => {
            output::report(&failure, surroundings);
            return Exit::Usage;
        }
    };
    let key_lifetime = matches.get_flag("bedrock-api-key").then_some(lifetime);
    let asked = ExecFlags { key_lifetime, token_file_only: matches.get_flag("token-file-only") };
    let changes = match changes(&asked, settings, surroundings) {
        Ok(changes) => changes,
        Err(failure) => return output::report(&failure, surroundings),
    };
    warn_of_regions(&changes, surroundings);
    let mut words = matches.get_many::<OsString>("command").into_iter().flatten();
    let Some(program) = words.next() else { return Exit::Usage };
    let mut command = Command::new(program);
    command.args(words).envs(changes.set);
    changes.removed.iter().for_each(|name| _ = command.env_remove(name));
    // Returns only if it fails.
    let error = command.exec();
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NoCommand } else { Exit::NotRun };
    let program = program.to_string_lossy();
    let program = match config::is_key_material(&program) {
        true => "the command (not shown: it contains key material)".to_owned(),
        false => format!("`{}`", program.escape_debug()),
    };
    // If stderr is closed, there is no other place for the error.
    let _ = writeln!(surroundings.stderr, "anchord: cannot run {program}: {error}");
    exit
}

/// Warns of unknown Regions: the command's SDKs would call a host that does not exist.
fn warn_of_regions(changes: &Changes, surroundings: &mut Surroundings<'_>) {
    let set = changes.set.iter().filter(|(name, _)| REGIONS.contains(name));
    let mut regions: Vec<String> = set.map(|(_, region)| region.to_string_lossy().into_owned()).collect();
    regions.extend(REGIONS.iter().filter_map(|name| surroundings.environment.get(name)).map(str::to_owned));
    regions.sort();
    regions.dedup();
    let known = regions.iter().filter_map(|region| Region::parse(region).ok());
    let doubts: Vec<_> = known.filter_map(|region| config::doubt_about(&region)).collect();
    output::warn(&doubts, surroundings);
}

/// The changes to the environment for the command.
#[derive(Debug, Default)]
struct Changes {
    set: Vec<(&'static str, OsString)>,
    removed: Vec<&'static str>,
}

/// The flags about the variables.
struct ExecFlags {
    /// The lifetime of the Bedrock API key, if one is requested.
    key_lifetime: Option<Duration>,
    /// Whether to leave the bearer token out of the environment.
    token_file_only: bool,
}

fn changes(
    asked: &ExecFlags,
    settings: Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Changes, Failure> {
    let environment = surroundings.environment;
    let named =
        settings.picked.clone().or_else(|| settings.the_session().map(|session| session.name.clone()));
    let runtime = threads::runtime()?;
    let running = runtime.block_on(running::find(&settings, named.as_deref()))?;
    let running = running.ok_or_else(|| client::no_daemon(&client::sockets(&settings)))?;
    let name = running::which(&running, named)?;
    let settings = Settings { picked: Some(name.clone()), ..settings };
    runtime.block_on(running.confirm(&settings, &name))?;
    let region = settings.the_session().map(|session| session.region.clone());
    not_dumpable();
    let (token_file, bearer) = match token_file(&settings, &running, &name) {
        Ok((file, bearer)) => (Some(file), bearer),
        // Another file is there, or the file alone was asked for.
        Err(unusable) if asked.token_file_only || unusable.reason() == Reason::FileUnusable => {
            return Err(unusable);
        }
        // Users who may use the session but not the daemon's files get the token from the daemon.
        Err(unreadable) => {
            let given = runtime.block_on(running.bearer(&settings, &name)).ok().and_then(printable);
            (None, given.ok_or(unreadable)?)
        }
    };
    let found = ContainerCredentials {
        uri: format!("{}/v1/credentials/{name}", listener(&running)?),
        token_file,
        bearer: Some(bearer).filter(|_| !asked.token_file_only),
        region: region.clone(),
    };
    let mut changes = found.changes(environment, &Profiles::read(environment));
    if let Some(lifetime) = asked.key_lifetime {
        let key = bedrock_api_key(&settings, region, lifetime, surroundings)?;
        changes.removed.retain(|name| *name != API_KEY);
        changes.set.push((API_KEY, key.expose().into()));
    }
    Ok(changes)
}

/// A listener that every SDK accepts for container credentials without TLS: on loopback, with IPv4 if possible.
fn listener(running: &RunningDaemon) -> Result<&str, Failure> {
    let mut v6 = None;
    for url in &running.status.listeners.http {
        match url.strip_prefix("http://").and_then(|address| address.parse().ok()) {
            Some(SocketAddr::V4(address)) if address.ip().is_loopback() => return Ok(url),
            Some(SocketAddr::V6(address)) if address.ip().is_loopback() => v6 = v6.or(Some(url)),
            _ => {}
        }
    }
    v6.map(String::as_str).ok_or_else(|| {
        let message = "the daemon serves no HTTP on loopback";
        let hint = "set `enabled = true` in [container] and a loopback address in `http.listen`";
        Failure::of(Reason::InvalidSetting, message, Some(hint.into()))
    })
}

/// Keeps other processes from reading the command's secrets in this process, until it becomes the command.
fn not_dumpable() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The path and the content of the token file, which SDKs read again for each request. It is in the daemon's runtime
/// directory: the one in the settings if they describe this daemon, else the directory of the socket.
fn token_file(
    settings: &Settings,
    running: &RunningDaemon,
    session: &str,
) -> Result<(PathBuf, Secret<String>), Failure> {
    let is_own = settings.socket.as_ref().is_some_and(|socket| socket.path == running.socket);
    let own = is_own.then_some(settings.runtime_directory.as_path());
    let folders = own.into_iter().chain(running.socket.parent());
    let mut paths: Vec<PathBuf> = folders.map(|folder| folder.join(format!("{session}.token"))).collect();
    paths.dedup();
    let mut fault = None;
    for path in paths {
        match bearer(&path) {
            Ok(Some(bearer)) => return Ok((path, bearer)),
            Ok(None) => fault = fault.or(Some(no_bearer(&path))),
            Err(why) => fault = fault.or(Some(unreadable(&path, session, &why))),
        }
    }
    Err(fault.unwrap_or_else(|| Failure::of(Reason::Bug, "the socket's path has no directory", None)))
}

/// Reads a bearer token; `None` if the file has characters that a header cannot carry.
///
/// Does not check owner and mode, because the daemon may give a group access. Refuses anything but a regular file.
fn bearer(path: &Path) -> Result<Option<Secret<String>>, content::ReadError> {
    /// Far above a token's length. The buffer has its full size from the start, because a growing buffer leaves copies.
    const LONGEST: u64 = 4096;
    let (file, _) = content::open(path, OFlags::NOFOLLOW)?;
    let mut read = Secret::new(String::with_capacity(8192));
    let length = match read.change(|text| file.take(LONGEST + 1).read_to_string(text)) {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(content::ReadError::System(system_reason(&error))),
    };
    Ok(Some(read).filter(|read| (1..=4096).contains(&length) && is_printable(read.expose().as_bytes())))
}

/// A token that the daemon has given, if a header can carry it.
fn printable(token: Secret<Vec<u8>>) -> Option<Secret<String>> {
    let text = is_printable(token.expose()).then(|| std::str::from_utf8(token.expose()).ok()).flatten()?;
    Some(Secret::new(text.to_owned()))
}

fn is_printable(token: &[u8]) -> bool {
    !token.is_empty() && token.iter().all(u8::is_ascii_graphic)
}

fn no_bearer(path: &Path) -> Failure {
    let message = format!("the token file `{}` does not contain a token", path.display());
    Failure::of(Reason::FileUnusable, message, Some(NEW_ONE.into()))
}

const NEW_ONE: &str = "remove it and restart the daemon, which creates a new one";

fn unreadable(path: &Path, session: &str, why: &content::ReadError) -> Failure {
    let mut reason = Reason::FileUnusable;
    let hint = match why {
        content::ReadError::System(error) if error.kind() == io::ErrorKind::NotFound => {
            reason = Reason::FileUnreadable;
            "make sure that the daemon serves container credentials (`enabled` in [container]), and give its \
             --runtime-directory if it is not the default"
                .to_owned()
        }
        content::ReadError::System(_) => {
            reason = Reason::FileForbidden;
            format!(
                "only the daemon's user may read it: run the command as that user, or give an AWS profile \
                 `credential_process = anchord credential-process --session {session}`"
            )
        }
        _ => NEW_ONE.to_owned(),
    };
    let message = format!("cannot read the token file `{}`: {why}", path.display());
    Failure::of(reason, message, Some(hint.into()))
}

fn bedrock_api_key(
    settings: &Settings,
    region: Option<Region>,
    lifetime: Duration,
    surroundings: &Surroundings<'_>,
) -> Result<Secret<String>, Failure> {
    let environment = surroundings.environment;
    let Some(region) = region_of(environment)?.or(region) else {
        let message = "the API key needs a Region, and none is set";
        return Err(Failure::of(Reason::InvalidSetting, message, Some("set AWS_REGION".into())));
    };
    let credentials = credential_process::credentials(settings, surroundings)?;
    let now = Clock::system().now();
    let lifetime = signing::api_key_lifetime(&credentials, now, lifetime);
    signing::bedrock_api_key(credentials.keys(), &region, now, lifetime)
        .map_err(|_| Failure::of(Reason::Bug, "cannot make an API key from these credentials", None))
}

/// The Region that a variable names. An invalid name is an error, because the command's SDKs would use it too.
fn region_of(environment: &Environment) -> Result<Option<Region>, Failure> {
    let Some((variable, text)) = REGIONS.iter().find_map(|name| Some((name, environment.get(name)?))) else {
        return Ok(None);
    };
    Region::parse(text).map(Some).map_err(|error| {
        let hint = format!("set {variable} to a Region, such as eu-west-1, or unset it");
        Failure::of(Reason::InvalidSetting, format!("{variable}: {error}"), Some(hint.into()))
    })
}

const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
/// Python reads the second, most SDKs the first, Go and the CLI both.
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// Variables that SDKs prefer to container credentials.
const SHADOWS: [&str; 17] = [
    // Go's and Ruby's other names for keys.
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AMAZON_ACCESS_KEY_ID",
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    TOKEN,
    API_KEY,
];
const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// What no proxy may be asked for when the daemon listens on 127.0.0.1. `::1` is added only if it listens there: the SDK
/// for Kotlin cannot read it in `NO_PROXY`, and fails.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
const LOOPBACK_V4: [&str; 2] = ["127.0.0.1", "localhost"];

/// The daemon's data for the command.
struct ContainerCredentials {
    uri: String,
    /// `None` if this user may not read it.
    token_file: Option<PathBuf>,
    /// For SDKs that do not know the file.
    bearer: Option<Secret<String>>,
    /// `None` if this user's settings do not define the session.
    region: Option<Region>,
}

impl ContainerCredentials {
    fn changes(&self, environment: &Environment, profiles: &Profiles) -> Changes {
        let mut set: Vec<(&'static str, OsString)> =
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", self.uri.as_str().into())];
        let mut removed = SHADOWS.to_vec();
        match &self.token_file {
            Some(file) => set.push((TOKEN_FILE, file.as_os_str().into())),
            None => removed.push(TOKEN_FILE),
        }
        let given = REGIONS.iter().find_map(|name| environment.get(name));
        let region = given.or(self.region.as_ref().map(Region::as_str));
        for name in REGIONS.into_iter().filter(|name| environment.get(name).is_none()) {
            set.extend(region.map(|region| (name, region.into())));
        }
        if PROXIES.iter().any(|name| environment.get(name).is_some()) {
            let (lower, upper) = (environment.get("no_proxy"), environment.get("NO_PROXY"));
            let loopback: &[&str] = if self.uri.contains("//[") { &LOOPBACK } else { &LOOPBACK_V4 };
            set.push(("no_proxy", with_names(lower.or(upper), loopback).into()));
            set.push(("NO_PROXY", with_names(upper.or(lower), loopback).into()));
        }
        let files =
            [("AWS_SHARED_CREDENTIALS_FILE", &profiles.credentials), ("AWS_CONFIG_FILE", &profiles.config)];
        for (name, file) in files {
            if file.profile("default").and_then(|profile| profile.gives()).is_some() {
                set.push((name, "/dev/null".into()));
            }
        }
        if let Some(bearer) = &self.bearer {
            removed.retain(|name| *name != TOKEN);
            set.push((TOKEN, bearer.expose().into()));
        }
        Changes { set, removed }
    }
}

/// Adds `names` to a list of proxy exceptions.
fn with_names(given: Option<&str>, names: &[&str]) -> String {
    let given: Vec<_> = given.unwrap_or_default().split(',').map(str::trim).collect();
    if given.contains(&"*") {
        return "*".into();
    }
    let more = names.iter().copied().filter(|name| !given.contains(name));
    let all: Vec<_> = given.iter().copied().filter(|name| !name.is_empty()).chain(more).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(environment: &Environment, name: &str) -> Option<String> {
        changed_for("127.0.0.1", environment, name)
    }

    fn changed_for(host: &str, environment: &Environment, name: &str) -> Option<String> {
        let found = ContainerCredentials {
            uri: format!("http://{host}:9911/v1/credentials/web"),
            token_file: Some("/run/anchord/web.token".into()),
            bearer: None,
            region: Region::parse("eu-west-1").ok(),
        };
        let changes = found.changes(environment, &Profiles::read(environment));
        let found = changes.set.iter().find(|(set, _)| *set == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    #[test]
    fn a_region_that_is_set_is_the_one_for_all() {
        let none = Environment::from_iter([("A", "b")]);
        let one = Environment::from_iter([("AWS_DEFAULT_REGION", "us-west-2")]);

        assert_eq!(changed(&none, "AWS_REGION").as_deref(), Some("eu-west-1"));
        assert_eq!(changed(&none, "AWS_DEFAULT_REGION").as_deref(), Some("eu-west-1"));
        assert_eq!(changed(&one, "AWS_REGION").as_deref(), Some("us-west-2"));
        assert_eq!(changed(&one, "AWS_DEFAULT_REGION"), None);
    }

    #[test]
    fn loopback_is_no_proxys_business() {
        let none = Environment::from_iter([("NO_PROXY", ".internal")]);
        let proxied =
            Environment::from_iter([("HTTPS_PROXY", "http://p"), ("NO_PROXY", ".internal, localhost")]);
        let all = Environment::from_iter([("http_proxy", "http://p"), ("no_proxy", "*")]);

        assert_eq!(changed(&none, "NO_PROXY"), None);
        for name in ["NO_PROXY", "no_proxy"] {
            assert_eq!(changed(&proxied, name).as_deref(), Some(".internal,localhost,127.0.0.1"));
            assert_eq!(changed(&all, name).as_deref(), Some("*"));
        }
    }

    #[test]
    fn ipv6_is_an_exception_of_the_proxy_only_where_the_user_or_the_daemon_names_it() {
        let proxied = Environment::from_iter([("HTTPS_PROXY", "http://p")]);
        let by_user = Environment::from_iter([("HTTPS_PROXY", "http://p"), ("NO_PROXY", "::1")]);

        let on_ipv6 = changed_for("[::1]", &proxied, "NO_PROXY");
        assert_eq!(on_ipv6.as_deref(), Some("127.0.0.1,localhost,::1"));
        assert_eq!(changed(&proxied, "NO_PROXY").as_deref(), Some("127.0.0.1,localhost"));
        assert_eq!(changed(&by_user, "NO_PROXY").as_deref(), Some("::1,127.0.0.1,localhost"));
    }

    #[test]
    fn the_listener_is_one_that_every_sdk_takes() {
        let running = |http: &[&str]| {
            let status = serde_json::json!({ "version": "1", "sessions": [], "listeners": { "http": http } });
            let status = serde_json::from_value(status).unwrap();
            RunningDaemon { socket: "/run/anchord/anchord.sock".into(), status }
        };
        let chosen = |http: &[&str]| listener(&running(http)).map(str::to_owned).ok();

        assert_eq!(chosen(&["http://169.254.169.254:80"]), None);
        assert_eq!(chosen(&["http://[::1]:1", "http://127.0.0.1:2"]).as_deref(), Some("http://127.0.0.1:2"));
    }
}
