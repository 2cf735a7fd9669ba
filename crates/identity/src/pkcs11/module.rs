//! Chooses the module: the URI's, the setting's, or p11-kit's proxy.

use std::path::Path;
use std::path::PathBuf;

use super::Error;
use super::uri::ModuleReference;
use super::uri::Uri;
use anchord_core::failure::system_reason;

/// p11-kit's proxy, which gives access to all configured modules.
const PROXY: &str = "p11-kit-proxy.so";

/// The file to load.
pub(super) fn choose(uri: &Uri, setting: Option<&Path>) -> Result<PathBuf, Error> {
    let path = path(uri, setting)?;
    let metadata = fs_err::metadata(&path)
        .map_err(|error| Error::ModuleMissing { path: path.clone(), source: system_reason(&error) })?;
    if !metadata.is_file() {
        return Err(Error::NotAModule { path, why: "it is not a regular file".into() });
    }
    Ok(path)
}

/// The path of the file, which need not exist.
pub(super) fn path(uri: &Uri, setting: Option<&Path>) -> Result<PathBuf, Error> {
    match (uri.module(), setting) {
        (Some(ModuleReference::Path(path)), _) => Ok(path.clone()),
        (Some(ModuleReference::Name(name)), _) => {
            find(&of_name(name)).ok_or_else(|| Error::NoModuleOfName { name: name.clone() })
        }
        (None, Some(path)) => Ok(path.into()),
        (None, None) => find(&in_folders(&folders(), PROXY)).ok_or(Error::NoModule),
    }
}

fn find(candidates: &[PathBuf]) -> Option<PathBuf> {
    candidates.iter().find(|path| path.is_file()).cloned()
}

/// The library folders of distributions: multiarch first (Debian), then the 64-bit folder of the others.
fn folders() -> Vec<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86" => "i386",
        other => other,
    };
    let multiarch = match architecture {
        "arm" => "arm-linux-gnueabihf".into(),
        other => format!("{other}-linux-gnu"),
    };
    [format!("/usr/lib/{multiarch}"), "/usr/lib64".into(), "/usr/lib".into(), "/usr/local/lib".into()]
        .into_iter()
        .map(PathBuf::from)
        .collect()
}

fn in_folders(folders: &[PathBuf], file: &str) -> Vec<PathBuf> {
    folders.iter().map(|folder| folder.join(file)).collect()
}

/// `module-name` is a file's name without `lib` in front and `.so` behind (RFC 7512, 2.4). Most distributions have a
/// folder for modules.
fn of_name(name: &str) -> Vec<PathBuf> {
    let folders: Vec<_> = folders()
        .into_iter()
        .flat_map(|folder| [folder.join("pkcs11"), folder.clone(), folder.join(name)])
        .collect();
    let files = [format!("{name}.so"), format!("lib{name}.so")];
    files.iter().flat_map(|file| in_folders(&folders, file)).collect()
}
