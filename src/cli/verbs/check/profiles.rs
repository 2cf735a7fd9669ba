//! Reads the SDKs' own files: which profile gives which kind of credentials. Keeps no secrets.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use anchord_config::Environment;
use anchord_core::content;

/// The two files of profiles.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Profiles {
    /// `~/.aws/credentials`, or the file that AWS_SHARED_CREDENTIALS_FILE names.
    pub(in crate::cli) credentials: File,
    /// `~/.aws/config`, or the file that AWS_CONFIG_FILE names.
    pub(in crate::cli) config: File,
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct File {
    /// `None` if HOME is not set.
    pub(in crate::cli) path: Option<PathBuf>,
    profiles: BTreeMap<String, Profile>,
    /// Why an existing file cannot be read.
    pub(in crate::cli) fault: Option<String>,
}

/// The settings of a profile in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Profile {
    pub(in crate::cli) has_keys: bool,
    /// `role_arn` with a source of its own, or a web identity.
    pub(in crate::cli) has_role: bool,
    pub(in crate::cli) has_web_identity: bool,
    /// IAM Identity Center, or `aws login`.
    pub(in crate::cli) has_login: bool,
    /// Its `credential_process`. The arguments may be secret.
    pub(in crate::cli) process: Option<String>,
    pub(in crate::cli) region: Option<String>,
}

impl Profile {
    /// The kind of credentials that the profile gives, for messages; `None` if it gives none.
    pub(in crate::cli) fn gives(&self) -> Option<&'static str> {
        let kinds = [
            (self.has_web_identity, "a web identity"),
            (self.has_role, "a role"),
            (self.has_keys, "access keys"),
            (self.has_login, "a login (SSO)"),
            (self.process.is_some(), "a credential_process"),
        ];
        kinds.into_iter().find(|(has, _)| *has).map(|(_, kind)| kind)
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "aws_access_key_id" => self.has_keys = true,
            "role_arn" => self.has_role = true,
            "web_identity_token_file" => self.has_web_identity = true,
            "sso_session" | "sso_start_url" | "sso_account_id" | "login_session" => self.has_login = true,
            "credential_process" => self.process = Some(value.to_owned()),
            "region" => self.region = Some(value.to_owned()),
            _ => {}
        }
    }
}

impl Profiles {
    /// Reads the files that an SDK with this environment would read.
    pub(in crate::cli) fn read(environment: &Environment) -> Self {
        let home = environment.get("HOME").map(PathBuf::from);
        let place = |variable, name| {
            let named = environment.get(variable).map(|path| environment.current_dir().join(path));
            named.or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
        };
        Self {
            credentials: File::read(place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), plain_name),
            config: File::read(place("AWS_CONFIG_FILE", "config"), config_name),
        }
    }

    /// Whether either file has a profile of that name.
    pub(in crate::cli) fn has(&self, name: &str) -> bool {
        [&self.credentials, &self.config].into_iter().any(|file| file.profile(name).is_some())
    }
}

impl File {
    pub(in crate::cli) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    fn read(path: Option<PathBuf>, name_of: fn(&str) -> Option<&str>) -> Self {
        let Some(path) = path else { return Self::default() };
        match text_of(&path) {
            Ok(text) => Self { profiles: parse(&text, name_of), path: Some(path), fault: None },
            Err(content::ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                Self { path: Some(path), ..Self::default() }
            }
            Err(fault) => {
                let fault = format!("cannot read `{}`: {fault}", path.display());
                Self { path: Some(path), fault: Some(fault), ..Self::default() }
            }
        }
    }
}

/// The file's text, which is wiped after use because it may hold keys. Text that is not UTF-8 is an error, as in SDKs.
fn text_of(path: &Path) -> Result<Zeroizing<String>, content::ReadError> {
    let bytes = content::read_text(path, MAX_BYTES)?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(content::ReadError::System(io::ErrorKind::InvalidData.into())),
    }
}

/// Far above any file of profiles.
const MAX_BYTES: u64 = 4 << 20;

fn plain_name(section: &str) -> Option<&str> {
    Some(section)
}

/// The profile's name in `[default]` or `[profile NAME]`; other sections are not profiles.
fn config_name(section: &str) -> Option<&str> {
    match section {
        "default" => Some(section),
        section => {
            section.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim)
        }
    }
}

fn parse(text: &str, name_of: fn(&str) -> Option<&str>) -> BTreeMap<String, Profile> {
    let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        // An indented line belongs to the setting above it.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name_of(section.trim()).map(|name| name.trim_matches(['"', '\'']).to_owned());
            current = name.map(|name| profiles.entry(name).or_default());
        } else if let (Some(profile), Some((name, value))) = (&mut current, line.split_once('=')) {
            profile.take(&name.trim().to_ascii_lowercase(), value.trim());
        }
    }
    profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_tells_what_it_gives_and_no_secret() {
        let text = "[default]\nregion = eu-west-1\n# aws_access_key_id = AKIA\n\n[ profile \"two words\" ]\n\
             role_arn=arn\nsource_profile = default\n[profile keys]\nAWS_ACCESS_KEY_ID = AKIA\n\
             aws_secret_access_key = canary\n[profile sso]\nsso_session = corp\n[sso-session corp]\n\
             sso_start_url = https://…\n[profile ours]\ncredential_process = anchord credential-process\n\
             s3 =\n  aws_access_key_id = x\n";

        let profiles = parse(text, config_name);

        let gives = |name: &str| profiles[name].gives();
        assert_eq!((gives("default"), profiles["default"].region.as_deref()), (None, Some("eu-west-1")));
        assert_eq!(gives("two words"), Some("a role"));
        assert_eq!(gives("keys"), Some("access keys"));
        assert_eq!(gives("sso"), Some("a login (SSO)"));
        assert_eq!(gives("ours"), Some("a credential_process"));
        assert_eq!(profiles.len(), 5);
        assert!(!format!("{profiles:?}").contains("canary"));
    }

    #[test]
    fn the_credentials_file_has_bare_names() {
        let profiles = parse("[work]\naws_access_key_id = AKIA\n", plain_name);

        assert_eq!(profiles["work"].gives(), Some("access keys"));
    }
}
