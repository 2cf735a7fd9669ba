//! The environment of the process: variables, current folder, user, host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// A copy of the environment. `main` takes it once and passes it on, so that other code reads no globals and tests can
/// pass their own.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    not_text: Vec<String>,
    current_dir: PathBuf,
    uid: u32,
    host: String,
}

impl Environment {
    /// Copies the environment of this process.
    pub fn capture() -> Self {
        let environment = Self::copy_of(Self::inherited());
        // If the current folder was removed, relative paths stay relative and fail when they are used.
        let current_dir = std::env::current_dir().unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        environment.with_current_dir(current_dir).with_uid(uid).with_host(this_host())
    }

    /// All variables of this process, unchanged, for programs that it starts.
    pub fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader of the process's variables")]
        std::env::vars_os()
    }

    /// Copies variables. Of values that are not UTF-8 only the names are kept: if a name is ours, that is a mistake to
    /// report.
    pub(super) fn copy_of(pairs: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::from_iter(std::iter::empty::<(String, String)>());
        for (name, value) in pairs {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => _ = environment.variables.insert(name, value),
                Err(_) => environment.not_text.push(name),
            }
        }
        environment
    }

    /// Replaces the current folder, to which relative paths of flags and variables are relative.
    #[must_use]
    pub fn with_current_dir(mut self, current_dir: impl Into<PathBuf>) -> Self {
        self.current_dir = current_dir.into();
        self
    }

    /// Replaces the effective user id.
    #[must_use]
    pub fn with_uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// Replaces the host's identification.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Removes the variables that are `unwanted`.
    #[must_use]
    pub fn without(mut self, unwanted: impl Fn(&str) -> bool) -> Self {
        self.variables.retain(|name, _| !unwanted(name));
        self.not_text.retain(|name| !unwanted(name));
        self
    }

    /// A variable's value. An empty variable counts as unset, as in many Unix tools.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Why [`Self::get`] returns nothing. Completes the sentence "the variable `NAME` …".
    pub fn lack(&self, name: &str) -> &'static str {
        match self.variables.get(name) {
            Some(_) => "is empty",
            None if self.not_text.iter().any(|other| other == name) => "is not text in UTF-8",
            None => "is not set",
        }
    }

    /// The current folder, to which relative paths of flags and variables are relative.
    pub fn current_dir(&self) -> &Path {
        &self.current_dir
    }

    /// The effective user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Identifies this host among hosts that share folders, such as a home.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The names of all variables that are set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }

    /// The names of variables whose values are not UTF-8.
    pub(super) fn not_text(&self) -> &[String] {
        &self.not_text
    }
}

/// The machine's id and the host's name. Both are needed: machines that are copies of one image may have the same id
/// (machine-id(5)), and hosts may have the same name. A container without a machine id has the kernel's boot id
/// instead, and usually its own host name.
fn this_host() -> String {
    let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"];
    let id = ids.into_iter().find_map(identifying_text).unwrap_or_default();
    format!("{id} {}", identifying_text("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// The text of the file, unless it is empty or `uninitialized`, as machine-id(5) has it before the first boot.
fn identifying_text(path: &str) -> Option<String> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != "uninitialized")
}

/// An environment with these variables, for user 65534 in `/`, without a host.
impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, not_text: Vec::new(), current_dir: "/".into(), uid: 65534, host: String::new() }
    }
}

/// Shows only the names of variables, because values may be passwords.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("current_dir", &self.current_dir)
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::from_iter([("A", ""), ("B", "b")]);

        assert_eq!(
            (environment.get("A"), environment.get("B"), environment.get("C")),
            (None, Some("b"), None)
        );
        assert_eq!(environment.names().collect::<Vec<_>>(), ["B"]);
        assert_eq!((environment.lack("A"), environment.lack("C")), ("is empty", "is not set"));
    }

    #[test]
    fn debug_output_of_an_environment_shows_no_values() {
        let environment = Environment::from_iter([("HTTPS_PROXY", "http://u:hunter2@proxy")]);

        let shown = format!("{environment:?}");

        assert!(shown.contains("HTTPS_PROXY") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_value_that_is_not_text_is_remembered_by_name() {
        use std::os::unix::ffi::OsStringExt as _;
        let pairs = [("ANCHORD_LISTEN", b"\xff".to_vec()), ("ANCHORD_REGION", b"us-east-1".to_vec())];

        let environment = Environment::copy_of(
            pairs.into_iter().map(|(name, value)| (name.into(), OsString::from_vec(value))),
        );

        assert_eq!(environment.not_text(), ["ANCHORD_LISTEN"]);
        assert_eq!(environment.get("ANCHORD_REGION"), Some("us-east-1"));
        assert_eq!(environment.get("ANCHORD_LISTEN"), None);
        assert_eq!(environment.lack("ANCHORD_LISTEN"), "is not text in UTF-8");
    }

    #[test]
    fn capturing_copies_what_the_process_has() {
        let environment = Environment::capture();

        assert!(environment.get("PATH").is_some());
        assert!(environment.current_dir().is_absolute());
    }
}
