//! Where the settings file is.

use std::path::Path;
use std::path::PathBuf;

use super::RawValue;
use crate::environment::Environment;

/// Whether the file to read is the host's, and not the caller's own; also if it cannot be read.
pub(crate) fn is_the_systems(named: Option<&RawValue>, environment: &Environment) -> bool {
    for candidate in candidates(named, environment) {
        let path = environment.current_dir().join(candidate);
        if named.is_some() || !fs_err::metadata(&path).is_err_and(|error| is_absent(&error)) {
            return path.starts_with(SYSTEM_CONFIGURATION);
        }
    }
    false
}

pub(super) fn candidates(named: Option<&RawValue>, environment: &Environment) -> Vec<PathBuf> {
    match named {
        Some(given) => vec![PathBuf::from(&given.text)],
        None => usual_places(environment),
    }
}

pub(super) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// The usual path of a user's own file; without a home, the host's.
pub(crate) fn first_place(environment: &Environment) -> PathBuf {
    usual_places(environment).into_iter().next().unwrap_or_else(|| SYSTEM_FILE.into())
}

fn usual_places(environment: &Environment) -> Vec<PathBuf> {
    // The XDG Base Directory Specification says to ignore relative paths.
    let absolute = |name| environment.get(name).map(Path::new).filter(|path| path.is_absolute());
    let home = absolute("XDG_CONFIG_HOME")
        .map(Path::to_path_buf)
        .or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let mut places = Vec::new();
    if let Some(folder) = home {
        places.push(folder.join("anchord/anchord.toml"));
    }
    places.push(SYSTEM_FILE.into());
    places
}

/// The folder of the host's settings.
pub(crate) const SYSTEM_CONFIGURATION: &str = "/etc/anchord";
/// The path of the host's file.
pub(crate) const SYSTEM_FILE: &str = "/etc/anchord/anchord.toml";
