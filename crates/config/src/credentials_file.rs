//! Checks `[credentials_file.NAME]`: the profiles of shared credentials files that the daemon writes.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use super::CredentialsFile;
use super::check::Check;
use super::environment::Environment;
use super::file::FileTable;
use super::file::RawValue;
use super::setting::Setting;
use super::values;
use super::values::Fault;
use anchord_core::notice::Origin;
use anchord_core::profile::Profile;

impl Check<'_> {
    /// Checks all tables; `None` after a mistake in one.
    pub(super) fn credentials_files(&mut self, sessions: &[&str]) -> Option<Vec<CredentialsFile>> {
        let layers = self.layers;
        let mut files = Vec::new();
        let mut taken = BTreeSet::new();
        let mut is_whole = true;
        for table in &layers.file.credentials_files {
            let Some(file) = self.credentials_file(table, sessions) else {
                is_whole = false;
                continue;
            };
            if !taken.insert((file.path.clone(), file.profile.clone())) {
                let what =
                    format!("{}: another table writes the same profile of the same file", place(table));
                self.report(self.file_line(table.table.line), Fault::new(what));
                is_whole = false;
            }
            files.push(file);
        }
        is_whole.then_some(files)
    }

    fn credentials_file(&mut self, table: &FileTable, sessions: &[&str]) -> Option<CredentialsFile> {
        let origin = self.file_line(table.table.line);
        let path = self.text_of(table, "path");
        let profile = self.text_of(table, "profile");
        let session = self.text_of(table, "session");
        let (path, profile, session) = (path.settled()?, profile.settled()?, session.settled()?);
        let path = match path.map(|given| self.start_of(&given.origin).join(&given.text)) {
            Some(path) => Some(path),
            None => shared_credentials_file(None, self.layers.environment),
        };
        let Some(path) = path else {
            let what = format!("{}: `path` is not set, and HOME is not set either", place(table));
            self.report(origin, Fault::new(what).hint("set `path`"));
            return None;
        };
        let profile =
            match profile.as_ref().map_or(Profile::parse("default"), |given| Profile::parse(&given.text)) {
                Ok(profile) => profile,
                Err(error) => {
                    let origin = profile.map_or(origin, |given| given.origin);
                    self.report(
                        origin,
                        Fault::new(format!("{}: {error}", place(table))).hint("choose another name"),
                    );
                    return None;
                }
            };
        let session = match (session, sessions) {
            (Some(given), _) if sessions.contains(&given.text.as_str()) => given.text,
            (None, [only]) => (*only).into(),
            (Some(given), _) => {
                let what = format!("{}: there is no session {}", place(table), values::echo(&given.text));
                self.report(given.origin, Fault::new(what).hint("name one of [session.NAME]"));
                return None;
            }
            (None, _) => {
                let what =
                    format!("{}: `session` is not set, and there is not exactly one session", place(table));
                self.report(origin, Fault::new(what).hint("set `session`"));
                return None;
            }
        };
        let note = |check: &mut Self, key: &str, value: &str| {
            let key = format!("credentials_file.{}.{key}", table.name);
            check.origins.note(key, format!("\"{value}\""), origin.clone());
        };
        note(self, "path", &path.display().to_string());
        note(self, "profile", profile.as_str());
        note(self, "session", &session);
        Some(CredentialsFile { name: table.name.clone(), path, profile, session })
    }

    fn text_of(&mut self, table: &FileTable, key: &str) -> Setting<RawValue> {
        let given = match table.table.values.get(key) {
            None | Some(Setting::Absent) => return Setting::Absent,
            Some(Setting::Reported) => return Setting::Reported,
            Some(Setting::There(given)) => given.last(),
        };
        let Some(given) = given.cloned() else { return Setting::Reported };
        match values::plain(&given.text) {
            Ok(_) => Setting::There(given),
            Err(fault) => {
                self.report(given.origin, fault.at(format_args!("`{key}` in {}", place(table))));
                Setting::Reported
            }
        }
    }

    fn file_line(&self, line: usize) -> Origin {
        Origin::File { path: self.layers.file.shown.clone(), line }
    }
}

fn place(table: &FileTable) -> String {
    format!("[credentials_file.{}]", table.name)
}

/// The shared credentials file that SDKs read with `given` in AWS_SHARED_CREDENTIALS_FILE, or else with the variable's
/// value in `environment`. `None` if the path depends on HOME and HOME is not set.
pub fn shared_credentials_file(given: Option<&str>, environment: &Environment) -> Option<PathBuf> {
    let home = environment.get("HOME").map(Path::new);
    let path = match (given.or_else(|| environment.get("AWS_SHARED_CREDENTIALS_FILE")), home) {
        (Some(given), Some(home)) if given.starts_with("~/") => home.join(&given[2..]),
        (Some(given), _) => given.into(),
        (None, home) => home?.join(".aws/credentials"),
    };
    Some(environment.current_dir().join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_one_that_sdks_read() {
        let path = |given, variables: &[(&str, &str)]| {
            shared_credentials_file(given, &Environment::from_iter(variables.iter().copied()))
        };
        let home = ("HOME", "/home/me");
        let variable = ("AWS_SHARED_CREDENTIALS_FILE", "~/mine");

        assert_eq!(path(None, &[home]).unwrap(), Path::new("/home/me/.aws/credentials"));
        assert_eq!(path(None, &[home, variable]).unwrap(), Path::new("/home/me/mine"));
        assert_eq!(path(Some("/a/b"), &[home, variable]).unwrap(), Path::new("/a/b"));
        assert_eq!(path(None, &[]), None);
    }
}
