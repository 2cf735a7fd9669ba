//! Checks the values of all layers and turns them into [`Settings`]. Continues after each mistake.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use super::Consumer;
use super::LogSettings;
use super::SessionSettings;
use super::Settings;
use super::UnixSocket;
use super::environment::Environment;
use super::file;
use super::file::RawValue;
use super::file::SYSTEM_FILE;
use super::layers::Arguments;
use super::layers::Layers;
use super::layers::SessionLayer;
use super::options::Fallback;
use super::options::OptionSpec;
use super::options::SELECTORS;
use super::options::option;
use super::problem::Problems;
use super::regions;
use super::report::Origins;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use super::values::Fault;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_identity::Source;

/// Reads the file and checks everything.
pub(super) fn settle(
    arguments: Arguments,
    environment: &Environment,
    reader: Consumer,
) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let layers = Layers::read(arguments, environment, reader, &mut problems);
    settle_layers(&layers, reader, problems)
}

/// Checks flags and variables, without a file.
pub(super) fn settle_flags(
    arguments: Arguments,
    environment: &Environment,
    reader: Consumer,
) -> Result<Settings, Problems> {
    let layers = Layers::without_file(arguments, environment);
    settle_layers(&layers, reader, Vec::new())
}

/// Checks the flags and variables of a certificate and its key, without a file.
pub(super) fn settle_source(
    arguments: Arguments,
    environment: &Environment,
) -> Result<(Source, Vec<Notice>), Problems> {
    let layers = Layers::without_file(arguments, environment);
    let mut check = Check {
        layers: &layers,
        reader: Consumer::Client,
        problems: Vec::new(),
        origins: Origins::default(),
        warnings: Vec::new(),
    };
    let source = check.identity(&SessionLayer { name: "default", table: None, takes_flags: true });
    match (Problems::collect(check.problems), source) {
        (None, Some(source)) => Ok((source, check.warnings)),
        (Some(problems), _) => Err(problems),
        (None, None) => Err(Problems::unexplained()),
    }
}

/// Checks the values of `layers`; `problems` are the mistakes that were found while reading them.
pub(super) fn settle_layers(
    layers: &Layers<'_>,
    reader: Consumer,
    problems: Vec<Notice>,
) -> Result<Settings, Problems> {
    let mut check = Check { layers, reader, problems, origins: Origins::default(), warnings: Vec::new() };
    layers.check_variables(&mut check.problems);
    let settings = check.settings();
    match (Problems::collect(check.problems), settings) {
        (None, Some(settings)) => {
            Ok(Settings { origins: check.origins, warnings: check.warnings, ..settings })
        }
        (Some(problems), _) => Err(problems),
        // Every `None` above should have been reported. If one was not, refuse the settings instead of starting with a
        // part.
        (None, None) => Err(Problems::unexplained()),
    }
}

pub(super) struct Check<'a> {
    pub(super) layers: &'a Layers<'a>,
    pub(super) reader: Consumer,
    pub(super) problems: Vec<Notice>,
    pub(super) origins: Origins,
    /// Warnings about settings that are allowed but unwise.
    pub(super) warnings: Vec<Notice>,
}

pub(super) type SessionScope<'s, 'l> = Option<&'s SessionLayer<'l>>;

impl<'a> Check<'a> {
    fn settings(&mut self) -> Option<Settings> {
        self.note_file();
        let runtime_directory = self.runtime_directory();
        let access_group = self.access_group();
        let sandbox = self.one("sandbox", None, values::switch).required();
        let log = self.log();
        let listen = self.listen();
        let picked = self.picked();
        let layers = self.sessions(&picked);
        let names: Vec<_> = layers.iter().map(|layer| layer.name).collect();
        self.check_picked(&picked, &names);
        let imds = self.imds(&names);
        let imds_access = self.access("imds.allow", None).settled();
        let container = self.one("container.enabled", None, values::switch).required();
        let (imds_on, container_on) = (matches!(imds, Setting::There(_)), container == Some(true));
        self.check_listen(listen.as_deref(), imds_on, container_on);
        // The mode follows from the sessions; this fixes the order of reports.
        for key in ["socket.enabled", "socket.path", "socket.mode"] {
            self.note_default(key, None, NONE);
        }
        let upstream = self.upstream();
        let variant = upstream.as_ref().map(|upstream| upstream.variant).unwrap_or_default();
        let credentials_files = match self.reader {
            Consumer::Daemon => self.credentials_files(&names),
            // A client writes no credentials files.
            Consumer::Client => Some(Vec::new()),
        };
        let sessions: Vec<Option<SessionSettings>> =
            layers.iter().map(|layer| self.session(layer, variant)).collect();
        let access = access_group.and_then(|group| self.sessions_access(&layers, &group));
        let is_for_others = access.iter().flat_map(BTreeMap::values).any(|access| !access.is_for_none());
        let socket = self.socket(runtime_directory.as_deref(), is_for_others);
        for session in sessions.iter().flatten() {
            self.warnings.extend(regions::doubts_of(session).into_iter().map(|(_, doubt)| doubt));
        }
        self.check_imds_session(&imds, &sessions);
        if let (Some(imds_access), Some(access)) = (&imds_access, &access) {
            self.warn_of_open_sessions(&imds, imds_access.as_ref(), access);
        }
        Some(Settings {
            file: self.layers.file.path.clone(),
            unread_file: self.layers.file.unread.clone(),
            runtime_directory: runtime_directory?,
            sandbox: sandbox?,
            log: log?,
            listen: listen?,
            imds: imds.settled()?,
            imds_access: imds_access?,
            access: access?,
            container: container?,
            socket: socket?,
            upstream: upstream?,
            sessions: sessions.into_iter().collect::<Option<_>>()?,
            credentials_files: credentials_files?,
            picked: picked.optional()?,
            partial: None,
            origins: Origins::default(),
            warnings: Vec::new(),
        })
    }

    /// Reports a mistake. The message does not repeat the value of a flag, unless it may be a session's name.
    pub(super) fn report(&mut self, origin: Origin, fault: Fault) {
        let fault = match origin {
            Origin::Argument(flag) if !self.names_a_session(flag) => fault.without_value(),
            _ => fault,
        };
        self.problems.push(Notice { origin, what: fault.what.into(), hint: fault.hint });
    }

    fn names_a_session(&self, flag: &str) -> bool {
        let mut texts = self.layers.arguments.texts(flag).iter();
        flag == SELECTORS[1].flag && texts.all(|text| values::session_name(text).is_ok())
    }

    /// Reports a mistake in a value. For a value of the file the message also names the option; the origin of other
    /// values names it already.
    pub(super) fn report_value(
        &mut self,
        spec: &OptionSpec,
        scope: SessionScope<'_, '_>,
        origin: &Origin,
        fault: Fault,
    ) {
        let fault = match (origin, scope) {
            (Origin::File { .. }, Some(session)) => {
                fault.at(format_args!("`{}` in [session.{}]", spec.name(), session.name))
            }
            (Origin::File { .. }, None) if spec.table().is_empty() => {
                fault.at(format_args!("`{}`", spec.name()))
            }
            (Origin::File { .. }, None) => fault.at(format_args!("`{}` in [{}]", spec.name(), spec.table())),
            _ => fault,
        };
        self.report(origin.clone(), fault);
    }

    /// Parses the values of an option; `None` for each that is invalid.
    fn parse_all<T>(
        &mut self,
        spec: &OptionSpec,
        scope: SessionScope<'_, '_>,
        given: &[RawValue],
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<Option<T>> {
        let mut parsed = Vec::new();
        for value in given {
            let result = values::plain(&value.text).and_then(&parse);
            parsed.push(result.map_err(|fault| self.report_value(spec, scope, &value.origin, fault)).ok());
        }
        parsed
    }

    /// An option with one value.
    pub(super) fn one<T>(
        &mut self,
        key: &str,
        scope: SessionScope<'_, '_>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Value<T> {
        let spec = option(key);
        let given = match self.layers.find(spec, scope) {
            Setting::Absent => return self.absent(spec, scope),
            Setting::Reported => return Setting::Reported,
            Setting::There(given) => given,
        };
        match (self.parse_all(spec, scope, &given, parse).pop().flatten(), given.last()) {
            (Some(value), Some(given)) => {
                let shown = match given.text.as_str() {
                    text @ ("true" | "false") => text.into(),
                    text => quoted(text),
                };
                self.origins.note(full_key(spec, scope), shown, given.origin.clone());
                Setting::There((value, given.origin.clone()))
            }
            _ => Setting::Reported,
        }
    }

    /// An option with any number of values; `None` if one is invalid.
    pub(super) fn many<T>(
        &mut self,
        key: &str,
        scope: SessionScope<'_, '_>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let spec = option(key);
        let given = match self.layers.find(spec, scope) {
            Setting::Absent => return self.absent(spec, scope).settled().map(Option::unwrap_or_default),
            Setting::Reported => return None,
            Setting::There(given) => given,
        };
        let parsed: Vec<_> = self.parse_all(spec, scope, &given, parse).into_iter().collect::<Option<_>>()?;
        let shown: Vec<_> = given.iter().map(|given| quoted(&given.text)).collect();
        let origin = given.first().map_or(Origin::Default, |given| given.origin.clone());
        self.origins.note(full_key(spec, scope), format!("[{}]", shown.join(", ")), origin);
        Some(parsed)
    }

    /// An option that is a path, as an absolute path.
    pub(super) fn path(&mut self, key: &str, scope: SessionScope<'_, '_>) -> Value<PathBuf> {
        let spec = option(key);
        let given = match self.layers.find(spec, scope) {
            Setting::Absent => return self.absent(spec, scope),
            Setting::Reported => return Setting::Reported,
            Setting::There(given) => given,
        };
        let Some(given) = given.last() else { return Setting::Reported };
        if let Err(fault) = values::place(&given.text) {
            self.report_value(spec, scope, &given.origin, fault);
            return Setting::Reported;
        }
        let path = self.start_of(&given.origin).join(&given.text);
        self.note_path(full_key(spec, scope), &path, given.origin.clone());
        Setting::There((path, given.origin.clone()))
    }

    pub(super) fn start_of(&self, origin: &Origin) -> &'a Path {
        match (origin, &self.layers.file.path) {
            (Origin::File { .. }, Some(file)) => file.parent().unwrap_or(file),
            _ => self.layers.environment.current_dir(),
        }
    }

    /// Notes an option whose value may contain a secret. Reports show `shown` instead.
    pub(super) fn note_secret(&mut self, key: &str, layer: &SessionLayer<'_>, shown: &str, origin: Origin) {
        self.origins.note(full_key(option(key), Some(layer)), quoted(shown), origin);
    }

    /// Notes a session option whose value comes from a variable of other programs.
    pub(super) fn note_session_value(
        &mut self,
        key: &str,
        layer: &SessionLayer<'_>,
        value: &str,
        origin: Origin,
    ) {
        self.origins.note(full_key(option(key), Some(layer)), quoted(value), origin);
    }

    pub(super) fn note_path(&mut self, key: String, path: &Path, origin: Origin) {
        self.origins.note(key, quoted(&path.display().to_string()), origin);
    }

    /// Notes that an option is absent, so that reports show it in its place. A value that a rule gives later replaces
    /// the note.
    pub(super) fn absent<T>(&mut self, spec: &OptionSpec, scope: SessionScope<'_, '_>) -> Setting<T> {
        if spec.fallback != Fallback::Required {
            self.origins.note(full_key(spec, scope), NONE, Origin::Default);
        }
        Setting::Absent
    }

    /// Notes the value that a rule gives to an absent option.
    pub(super) fn note_default(&mut self, key: &str, scope: SessionScope<'_, '_>, value: &str) {
        self.origins.note(full_key(option(key), scope), value, Origin::Default);
    }

    fn note_file(&mut self) {
        let file = &self.layers.file;
        match (&file.path, &file.chosen_by) {
            (Some(path), Some(chosen_by)) => self.note_path("file".into(), path, chosen_by.clone()),
            _ => self.origins.note("file", NONE, Origin::Default),
        }
    }

    fn runtime_directory(&mut self) -> Option<PathBuf> {
        match self.path("runtime_directory", None) {
            Setting::There((path, _)) => return Some(path),
            Setting::Reported => return None,
            Setting::Absent => {}
        }
        let environment = self.layers.environment;
        let folder = |name| environment.get(name).and_then(|text| text.split(':').next());
        let (path, origin) = if let Some(path) = folder("RUNTIME_DIRECTORY") {
            (PathBuf::from(path), Origin::Variable("RUNTIME_DIRECTORY".into()))
        } else if environment.uid() == 0 {
            (PathBuf::from("/run/anchord"), Origin::Default)
        } else if let Some(path) = environment.get("XDG_RUNTIME_DIR") {
            (Path::new(path).join("anchord"), Origin::Variable("XDG_RUNTIME_DIR".into()))
        } else {
            (PathBuf::from(format!("/run/user/{}/anchord", environment.uid())), Origin::Default)
        };
        let known = origin != Origin::Default || environment.uid() == 0;
        if self.reader == Consumer::Daemon && !known && self.needs_a_place() {
            let fault = Fault::new("there is no runtime directory for the socket and the bearer files").hint(
                "set `runtime_directory`, --runtime-directory or ANCHORD_RUNTIME_DIRECTORY, or turn both off; \
                 systemd sets RUNTIME_DIRECTORY for `RuntimeDirectory=anchord`",
            );
            self.report(Origin::Default, fault);
            return None;
        }
        if !path.is_absolute() {
            self.report(origin, Fault::new("is not an absolute path"));
            return None;
        }
        self.note_path("runtime_directory".into(), &path, origin);
        Some(path)
    }

    /// Whether something has to be written: the Unix socket or bearers. Of IMDS there is a key, which can be in memory.
    fn needs_a_place(&self) -> bool {
        ["socket.enabled", "container.enabled"].iter().any(|key| {
            let found = self.layers.find(option(key), None);
            !matches!(found, Setting::There(given) if given.last().is_some_and(|given| given.text == "false"))
        })
    }

    fn log(&mut self) -> Option<LogSettings> {
        let level = self.one("log.level", None, values::level);
        let format = self.one("log.format", None, values::format);
        Some(LogSettings { level: level.required()?, format: format.required()? })
    }

    fn listen(&mut self) -> Option<Vec<SocketAddr>> {
        let spec = option("http.listen");
        let Setting::There(given) = self.layers.find(spec, None) else { return None };
        let parsed = self.parse_all(spec, None, &given, values::listen);
        let mut seen = BTreeSet::new();
        for (address, given) in parsed.iter().zip(&given) {
            if let Some(address) = address.filter(|address| address.port() != 0 && !seen.insert(*address)) {
                let fault = Fault::of(&address.to_string(), "is given twice");
                self.report_value(spec, None, &given.origin, fault);
            }
        }
        let addresses: Vec<_> = parsed.into_iter().collect::<Option<_>>()?;
        let shown: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let origin = given.first().map_or(Origin::Default, |given| given.origin.clone());
        self.origins.note(spec.key, format!("[{}]", shown.join(", ")), origin);
        Some(addresses)
    }

    /// Checks that front ends over HTTP have an address.
    fn check_listen(&mut self, listen: Option<&[SocketAddr]>, imds: bool, container: bool) {
        if !(imds || container) || listen.is_none_or(|addresses| !addresses.is_empty()) {
            return;
        }
        let origin = self.origins.of("http.listen").cloned().unwrap_or(Origin::Default);
        let fault =
            Fault::new("`listen` in [http]: is empty, so no client can reach IMDS or container credentials")
                .hint("give an address, or set `enabled = false` in [imds] and [container]");
        self.report(origin, fault);
    }

    /// The session that IMDS serves; absent if IMDS is disabled.
    fn imds(&mut self, names: &[&str]) -> Setting<String> {
        let enabled = self.one("imds.enabled", None, values::switch);
        let session = self.session_named("imds.session", names);
        match enabled.required() {
            Some(true) => {}
            Some(false) => return Setting::Absent,
            None => return Setting::Reported,
        }
        // A client does not serve IMDS, so it does not need the session.
        if self.reader == Consumer::Client {
            return session;
        }
        if let (Setting::Absent, several @ [_, _, ..]) = (&session, names) {
            let fault =
                Fault::new(format!("IMDS serves one session, but there are several: {}", several.join(", ")))
                    .hint("set `session` or `enabled = false` in [imds]");
            self.report(self.file_origin(), fault);
            return Setting::Reported;
        }
        session
    }

    /// IMDS clients reject credentials without a session token.
    fn check_imds_session(&mut self, imds: &Setting<String>, sessions: &[Option<SessionSettings>]) {
        let Setting::There(imds) = imds else { return };
        if let Some(session) = sessions.iter().flatten().find(|session| session.name == *imds)
            && !session.has_session_token()
            && self.reader == Consumer::Daemon
        {
            let name = &session.name;
            let fault = Fault::new(format!(
                "IMDS would serve session {name}, but its keys have no session token"
            ))
            .hint("set `get_session_token = true` or `assume_role` for it, or `enabled = false` in [imds]");
            let origin = self.origins.of(&format!("session.{name}.get_session_token")).cloned();
            self.report(origin.unwrap_or(Origin::Default), fault);
        }
    }

    /// The session that a front end's option names, or else the only one.
    fn session_named(&mut self, key: &str, names: &[&str]) -> Setting<String> {
        match self.one(key, None, values::text) {
            Setting::There((name, _)) if names.contains(&name.as_str()) => Setting::There(name),
            Setting::There((_, _)) if self.layers.file.incomplete => Setting::Reported,
            // The missing session itself has been reported.
            Setting::There((_, _)) if names.is_empty() && self.sessions_are_needed() => Setting::Reported,
            Setting::There((name, origin)) => {
                let fault = no_session(&name, names);
                self.report_value(option(key), None, &origin, fault);
                Setting::Reported
            }
            Setting::Reported => Setting::Reported,
            Setting::Absent => match names {
                [only] => {
                    self.note_default(key, None, &quoted(only));
                    Setting::There((*only).into())
                }
                _ => Setting::Absent,
            },
        }
    }

    /// `is_for_others`: whether a session is for users other than root and the daemon's.
    fn socket(
        &mut self,
        runtime_directory: Option<&Path>,
        is_for_others: bool,
    ) -> Option<Option<UnixSocket>> {
        let enabled = self.one("socket.enabled", None, values::switch);
        let path = self.path("socket.path", None);
        let mode = self.one("socket.mode", None, values::mode);
        let (path, origin) = match path {
            Setting::There((path, origin)) => (path, origin),
            Setting::Reported => return None,
            Setting::Absent => {
                let path = runtime_directory?.join("anchord.sock");
                self.note_path("socket.path".into(), &path, Origin::Default);
                (path, self.origins.of("runtime_directory").cloned().unwrap_or(Origin::Default))
            }
        };
        let length = path.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            let fault = Fault::new(format!("the socket's path is {length} bytes long")).hint(format!(
                "the kernel allows at most {LONGEST_SOCKET_PATH}; set a shorter `path` in [socket]"
            ));
            self.report(origin, fault);
            return None;
        }
        let mode = match mode {
            Setting::There((mode, _)) => mode,
            Setting::Reported => return None,
            Setting::Absent => {
                let mode = if is_for_others { 0o666 } else { 0o600 };
                self.note_default("socket.mode", None, &quoted(&format!("{mode:04o}")));
                mode
            }
        };
        Some(enabled.required()?.then_some(UnixSocket { path, mode }))
    }

    /// The origin of mistakes in the file as a whole, such as a missing option.
    pub(super) fn file_origin(&self) -> Origin {
        match &self.layers.file.path {
            Some(_) => Origin::File { path: self.layers.file.shown.clone(), line: 0 },
            None => Origin::Default,
        }
    }

    /// The path of the file that hints name.
    pub(super) fn file_to_write(&self) -> String {
        match &self.layers.file.path {
            Some(_) => self.layers.file.shown.clone(),
            // Only root can write to the host's file.
            None if self.layers.environment.uid() == 0 => SYSTEM_FILE.into(),
            None => file::first_place(self.layers.environment).display().to_string(),
        }
    }

    pub(super) fn sessions_are_needed(&self) -> bool {
        self.reader == Consumer::Daemon
    }

    fn picked(&mut self) -> Value<String> {
        let spec = &SELECTORS[1];
        let Some(given) = self.layers.given_outside_file(spec) else { return Setting::Absent };
        match (self.parse_all(spec, None, &given, values::session_name).pop().flatten(), given.last()) {
            (Some(name), Some(given)) => Setting::There((name, given.origin.clone())),
            _ => Setting::Reported,
        }
    }
}

/// The message for a name that no session has.
pub(super) fn no_session(name: &str, names: &[&str]) -> Fault {
    let fault = Fault::of(name, "is not the name of a session");
    match values::nearest(name, names.iter().copied()) {
        Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
        None if names.is_empty() => fault,
        None => fault.hint(format!("the sessions are {}", names.join(", "))),
    }
}

fn full_key(spec: &OptionSpec, scope: SessionScope<'_, '_>) -> String {
    match scope {
        Some(session) => format!("session.{}.{}", session.name, spec.name()),
        None => spec.key.into(),
    }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What reports show for an option without a value.
pub(super) const NONE: &str = "(none)";

/// `sun_path` (unix(7)) has 108 bytes; the last is a NUL.
const LONGEST_SOCKET_PATH: usize = 107;
