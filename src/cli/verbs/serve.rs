//! `anchord serve`: the daemon with one session and without a configuration file, like `serve` of AWS's tool.
//!
//! It imitates the metadata service on one port of 127.0.0.1. It serves a Unix socket or container credentials only if
//! flags turn them on.

use std::fs::Permissions;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use clap::ArgMatches;
use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use tempfile::TempDir;

use super::run;
use super::run::Hangup;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper::FlagValues;
use crate::cli::grammar::helper::HelperArguments;
use crate::cli::grammar::helper::OFF_UNLESS_GIVEN;
use crate::cli::grammar::helper::ProgramName;
use crate::cli::output;
use anchord_config::Environment;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_runtime::daemon;

const PORT: u16 = 9911;
const HOP_LIMIT: u32 = 64;

pub(super) fn run(matches: &ArgMatches, name: ProgramName, surroundings: &mut Surroundings<'_>) -> Exit {
    let words = FlagValues(matches);
    let port = words.get("port").and_then(|text| text.parse().ok()).unwrap_or(PORT);
    let hop_limit = words.get("hop-limit").and_then(|text| text.parse().ok()).unwrap_or(HOP_LIMIT);
    let (folder, temporary) = folder(&words, port, surroundings.environment);
    let own = own_flags(&words, port, folder.as_deref());
    let settled = HelperArguments::read(matches, name, surroundings.environment, own)
        .and_then(|line| line.settings().map(|settings| (line, settings)));
    let (line, settings) = match settled {
        Ok(settled) => settled,
        Err(mistakes) => return output::report_mistakes(&mistakes, surroundings),
    };
    output::warn(&line.warnings, surroundings);
    if let (Some(kept), Some(_)) = (kept_folder(port, surroundings.environment), &temporary) {
        output::warn(&[cannot_keep(&kept)], surroundings);
    }
    let listener = match listen(port, hop_limit) {
        Ok(listener) => listener,
        Err(error) => return output::report(&cannot_listen(port, &error), surroundings),
    };
    let passed = daemon::Passed { own: vec![listener], ..daemon::Passed::default() };
    let again = settings.clone();
    let read = Box::new(move || Ok(again.clone()));
    let hangup = if is_hangup_ignored() { Hangup::Reloads } else { Hangup::Ends };
    let temporary = temporary.as_ref().map(|folder| folder.path().to_owned());
    run::start(run::DaemonStart { settings, passed, read, announce, hangup, temporary }, surroundings)
}

/// Whether SIGHUP is ignored, as `nohup` has it: the process is then meant to outlive the terminal.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & HANGUP != 0))
}

/// What `serve` serves, as anchord's own flags. Flags on the command line take precedence.
fn own_flags(words: &FlagValues<'_>, port: u16, folder: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut flags = vec![("imds-enabled", "true".to_owned()), ("listen", format!("127.0.0.1:{port}"))];
    if words.get("imds-allow").is_none() {
        flags.push(("imds-allow", "any".to_owned()));
    }
    for (flag, _) in OFF_UNLESS_GIVEN {
        if words.get(flag).is_none() {
            flags.push((flag, "false".to_owned()));
        }
    }
    flags.extend(folder.map(|folder| ("runtime-directory", folder.display().to_string())));
    flags
}

/// The directory for the key of the tokens: one for each port in the user's runtime directory, or a temporary one if
/// that directory does not exist or belongs to another user. If nothing can be written, it is a directory that does not
/// exist, and the daemon keeps the key in memory. `None` if a flag names the directory.
fn folder(
    words: &FlagValues<'_>,
    port: u16,
    environment: &Environment,
) -> (Option<PathBuf>, Option<TempDir>) {
    if words.has("runtime-directory") {
        return (None, None);
    }
    let kept = kept_folder(port, environment);
    if let Some(kept) = kept.clone().filter(|kept| is_usable(kept)) {
        return (Some(kept), None);
    }
    match temporary() {
        Ok(temporary) => (Some(temporary.path().to_owned()), Some(temporary)),
        Err(_) => (Some(kept.unwrap_or_else(|| Path::new(ROOTS).join(format!("serve-{port}")))), None),
    }
}

const ROOTS: &str = "/run/anchord";

/// The directory that outlives the process. `None` for port 0, because the next process gets another port.
fn kept_folder(port: u16, environment: &Environment) -> Option<PathBuf> {
    let base = match first_folder("RUNTIME_DIRECTORY", environment) {
        Some(folder) => folder,
        None if environment.uid() == 0 => PathBuf::from(ROOTS),
        None => first_folder("XDG_RUNTIME_DIR", environment)?.join("anchord"),
    };
    if !base.is_absolute() || port == 0 {
        return None;
    }
    Some(base.join(format!("serve-{port}")))
}

/// The first directory in a variable that may list several.
fn first_folder(variable: &str, environment: &Environment) -> Option<PathBuf> {
    environment.get(variable)?.split(':').next().map(PathBuf::from)
}

/// The daemon logs a similar warning for a key that is only in memory.
fn cannot_keep(folder: &Path) -> Notice {
    let what =
        format!("cannot write to `{}`; a restart invalidates the tokens of IMDS clients", folder.display());
    Notice::new(what).hinting("name another directory with --runtime-directory")
}

/// Whether the directory exists or can be created, and is writable.
fn is_usable(folder: &Path) -> bool {
    daemon::make_runtime_directory(folder).is_ok()
        && rustix::fs::accessat(CWD, folder, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn temporary() -> io::Result<TempDir> {
    // Writable in a container with a read-only root file system.
    const SHARED_MEMORY: &str = "/dev/shm";
    let mut private = tempfile::Builder::new();
    private.prefix("anchord-").permissions(Permissions::from_mode(0o700));
    private.tempdir().or_else(|error| private.tempdir_in(SHARED_MEMORY).map_err(|_| error))
}

/// Responses have `hop_limit` as their time to live, because connections inherit it from the listener.
fn listen(port: u16, hop_limit: u32) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_ttl(hop_limit)?;
    Ok(listener)
}

fn cannot_listen(port: u16, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("`ss -ltnp` shows the process that uses port {port}; choose another port with --port")
        }
        _ => "choose another port with --port".into(),
    };
    let message = format!("cannot listen on 127.0.0.1:{port}: {error}");
    Failure::of(Reason::InvalidSetting, message, Some(hint.into()))
}

/// The variable to set for SDKs. No slash at the end: the Java SDK would request paths that begin with two.
fn announce(bound: &daemon::Bound) -> Option<String> {
    let address = bound.http.first()?;
    Some(format!("For SDKs, set\nexport AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}\n"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::cli::grammar::helper;

    #[test]
    fn responses_have_the_hop_limit_that_was_asked_for() {
        let listener = listen(0, 2).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let (accepted, _) = listener.accept().unwrap();

        assert_eq!(accepted.ttl().unwrap(), 2);
    }

    #[test]
    fn each_port_has_a_folder_of_its_own_and_a_free_port_a_temporary_one() {
        let own = tempfile::tempdir().unwrap();
        let environment = Environment::from_iter([("XDG_RUNTIME_DIR", own.path().to_str().unwrap())]);
        let matches = helper::subcommand("serve", ProgramName::Helper).get_matches_from(["serve"]);
        let words = FlagValues(&matches);

        let (named, none) = folder(&words, 9911, &environment);
        let (made, temporary) = folder(&words, 0, &environment);

        assert_eq!(named.unwrap(), own.path().join("anchord/serve-9911"));
        assert!(none.is_none());
        let temporary = temporary.unwrap();
        assert_eq!(made.unwrap(), temporary.path());
        // Whatever the umask: a daemon refuses a directory that others may write to.
        assert_eq!(fs_err::metadata(temporary.path()).unwrap().mode() & 0o777, 0o700);
    }

    /// After `su` the variable names another user's directory; in a container `/run` may be read-only.
    #[test]
    fn where_the_usual_folder_cannot_be_made_a_temporary_one_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let environment = Environment::from_iter([("XDG_RUNTIME_DIR", file.path().to_str().unwrap())]);
        let matches = helper::subcommand("serve", ProgramName::Helper).get_matches_from(["serve"]);

        let (made, temporary) = folder(&FlagValues(&matches), 9911, &environment);

        assert_eq!(made.unwrap(), temporary.expect("one that goes with the process").path());
    }
}
