//! The TOML file: finds it, reads it, and lists what it gives, with lines.
//!
//! Reading goes on behind every mistake. Messages name keys and types; they never repeat a line of the file,
//! which may hold a secret that somebody put there by accident.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeString;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Reader;
use super::environment::Environment;
use super::options::CREDENTIALS_FILE_KEYS;
use super::options::Kind;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::STEP_OPTIONS;
use super::setting::Setting;
use super::values;
use super::values::Fault;
use super::values::echo;
use super::values::nearest;
use super::values::session_name;
use anchord_core::content;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::text::Text;

/// A value as text, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What a table gives, by the option's key. What it does not give is absent from the map.
pub(super) type Values = BTreeMap<&'static str, Setting<Vec<Given>>>;

/// A `[session.NAME]`.
#[derive(Debug)]
pub(super) struct FileSession {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) values: Values,
    /// Its `[[session.NAME.assume_role]]`, in order.
    pub(super) steps: Vec<FileStep>,
}

/// A `[[session.NAME.assume_role]]`.
#[derive(Clone, Debug)]
pub(super) struct FileStep {
    pub(super) line: usize,
    pub(super) values: Values,
}

/// A `[credentials_file.NAME]`.
#[derive(Debug)]
pub(super) struct FileTable {
    pub(super) name: String,
    pub(super) table: FileStep,
}

/// What a file gives.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    /// The path as it was given, for messages.
    pub(super) shown: String,
    /// The absolute path; `None` when there is no file.
    pub(super) path: Option<PathBuf>,
    /// How it was chosen.
    pub(super) chosen_by: Option<Origin>,
    pub(super) values: Values,
    /// In the order of the file.
    pub(super) sessions: Vec<FileSession>,
    /// In the order of the file.
    pub(super) credentials_files: Vec<FileTable>,
    /// Whether parts could not be read, so that nothing may be called missing.
    pub(super) incomplete: bool,
    /// The host's file, where a client goes on without it because its user may not read it.
    pub(super) unread: Option<PathBuf>,
}

/// Finds and reads the file; no file is not a mistake unless one was named. A client does without a host's file that is
/// closed to its user, for the daemon has read it.
pub(super) fn read(
    named: Option<&Given>,
    environment: &Environment,
    reader: Reader,
    problems: &mut Vec<Notice>,
) -> FileLayer {
    let mut unread = None;
    for candidate in candidates(named, environment) {
        let path = environment.current_dir().join(&candidate);
        let shown = candidate.display().to_string();
        let chosen_by = named.map_or(Origin::Default, |given| given.origin.clone());
        if let Err(Fault { what, hint }) = values::place(&shown) {
            problems.push(Notice { origin: chosen_by, what: what.into(), hint });
            return FileLayer { incomplete: true, ..FileLayer::default() };
        }
        let mut layer = match content::read_text(&path, MAX_BYTES) {
            Ok(text) => parse(&shown, text.expose(), problems),
            Err(content::ReadError::System(error)) if named.is_none() && is_absent(&error) => continue,
            Err(content::ReadError::System(error))
                if named.is_none() && may_be_left_out(reader, &path, &error) =>
            {
                unread = Some(path);
                continue;
            }
            Err(fault) => {
                let hint = fault.hint(&path).unwrap_or_else(|| "name a file that this user may read".into());
                problems.push(Notice {
                    origin: chosen_by.clone(),
                    what: format!("cannot read {}: {fault}", echo(&shown)).into(),
                    hint: Some(hint),
                });
                FileLayer { shown, incomplete: true, ..FileLayer::default() }
            }
        };
        layer.path = Some(path);
        layer.chosen_by = Some(chosen_by);
        return layer;
    }
    FileLayer { unread, ..FileLayer::default() }
}

fn may_be_left_out(reader: Reader, path: &Path, error: &std::io::Error) -> bool {
    reader == Reader::Client
        && path.starts_with(SYSTEM_CONFIGURATION)
        && error.kind() == std::io::ErrorKind::PermissionDenied
}

/// Whether the file that would be read is the host's, and not one of the caller's own; also where it cannot be read.
pub(super) fn is_the_systems(named: Option<&Given>, environment: &Environment) -> bool {
    let candidates = candidates(named, environment).into_iter();
    let mut paths = candidates.map(|candidate| environment.current_dir().join(candidate));
    let is_there =
        |path: &PathBuf| named.is_some() || !fs_err::metadata(path).is_err_and(|error| is_absent(&error));
    paths.find(is_there).is_some_and(|path| path.starts_with(SYSTEM_CONFIGURATION))
}

fn candidates(named: Option<&Given>, environment: &Environment) -> Vec<PathBuf> {
    match named {
        Some(given) => vec![PathBuf::from(&given.text)],
        None => usual_places(environment),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Where a user's own file is looked for, else the system's.
pub(super) fn first_place(environment: &Environment) -> PathBuf {
    usual_places(environment).into_iter().next().unwrap_or_else(|| SYSTEM_FILE.into())
}

fn usual_places(environment: &Environment) -> Vec<PathBuf> {
    // The XDG specification has relative paths ignored.
    let absolute = |name| environment.get(name).map(Path::new).filter(|path| path.is_absolute());
    let home = absolute("XDG_CONFIG_HOME")
        .map(Path::to_path_buf)
        .or_else(|| absolute("HOME").map(|home| home.join(".config")));
    home.map(|folder| folder.join("anchord/anchord.toml"))
        .into_iter()
        .chain([PathBuf::from(SYSTEM_FILE)])
        .collect()
}

/// The folder of a whole host's settings.
pub(super) const SYSTEM_CONFIGURATION: &str = "/etc/anchord";
/// Where the file of a whole host is.
pub(super) const SYSTEM_FILE: &str = "/etc/anchord/anchord.toml";

/// Far above any settings.
const MAX_BYTES: u64 = 1 << 20;

/// Lists what the file's bytes give. `shown` is its name in messages.
pub(super) fn parse(shown: &str, bytes: &[u8], problems: &mut Vec<Notice>) -> FileLayer {
    let mut layer = FileLayer { shown: shown.into(), ..FileLayer::default() };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
            let origin = Origin::File { path: shown.into(), line };
            problems.push(Notice { origin, what: "the file is not UTF-8".into(), hint: None });
            layer.incomplete = true;
            return layer;
        }
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk {
        shown,
        line_starts: line_starts(text),
        broken_lines: BTreeSet::new(),
        problems,
        steps: Vec::new(),
    };
    walk.syntax_errors(&errors, text);
    layer.incomplete = !errors.is_empty();
    walk.root(root.get_ref(), &mut layer);
    layer
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Walk<'a> {
    shown: &'a str,
    line_starts: Vec<usize>,
    /// Lines with a syntax error: what the parser makes of them is a guess, and so is every complaint about it.
    broken_lines: BTreeSet<usize>,
    problems: &'a mut Vec<Notice>,
    /// Of the session that is being read.
    steps: Vec<FileStep>,
}

impl Walk<'_> {
    /// What to write in place of a line that is not TOML.
    fn hint_of_syntax(&self, line: usize, text: &str) -> Option<Text> {
        if self.text_of(line, text).contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2019}']) {
            return Some("write straight quotes (\"), not those of a word processor".into());
        }
        let written = text[self.line_starts[line - 1]..].trim_start();
        written.starts_with('[').then(|| hint_of_header(written)).flatten()
    }

    fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at)
    }

    fn line_of<T>(&self, spanned: &Spanned<T>) -> usize {
        self.line(spanned.span().start)
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File { path: self.shown.into(), line }
    }

    fn text_of<'t>(&self, line: usize, text: &'t str) -> &'t str {
        text[self.line_starts[line - 1]..].lines().next().unwrap_or_default()
    }

    fn report(&mut self, line: usize, fault: Fault) {
        if !self.broken_lines.contains(&line) {
            let origin = self.origin(line);
            self.problems.push(Notice { origin, what: fault.what.into(), hint: fault.hint });
        }
    }

    /// One a line: what follows the first is usually its echo. Keys of a table that is there twice are echoes too.
    fn syntax_errors(&mut self, errors: &[toml::de::Error], text: &str) {
        let mut second_table = 0..0;
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = self.line(span.start);
            let is_duplicate = error.message() == "duplicate key";
            if is_duplicate && !second_table.contains(&span.start) {
                let word = text.get(span.clone()).unwrap_or_default().trim();
                self.report(line, Fault::new(format!("{} is defined a second time", echo(word))));
                if self.text_of(line, text).trim_start().starts_with('[') {
                    let end = text[span.end..].find("\n[").map_or(text.len(), |length| span.end + length);
                    second_table = span.end..end;
                }
            } else if !is_duplicate {
                let fault = Fault::new(format!("not TOML: {}", error.message()));
                self.report(line, fault.maybe_hint(self.hint_of_syntax(line, text)));
            }
            self.broken_lines.insert(line);
        }
    }

    fn root(&mut self, root: &DeTable<'_>, layer: &mut FileLayer) {
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            if name == "session" {
                self.sessions(value, layer);
            } else if name == "credentials_file" {
                self.credentials_files(value, layer);
            } else if let Some(table) = TABLES.iter().find(|&&table| table == name) {
                if let Some(entries) = self.table(value, &format!("`{table}`"), &format!("[{table}]")) {
                    self.entries(table, &format!("[{table}]"), entries, &mut layer.values);
                }
            } else {
                self.entry("", "the file", (key, value), &mut layer.values);
            }
        }
        layer.sessions.sort_by_key(|session| session.line);
        layer.credentials_files.sort_by_key(|file| file.table.line);
    }

    /// `header` is how its table is written.
    fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
        named: &str,
        header: &str,
    ) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = found(value.get_ref());
            let fault = Fault::new(format!("{named}: expected a table, found {found}"));
            self.report(self.line_of(value), fault.hint(format!("write {header}")));
        }
        table
    }

    fn sessions(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut FileLayer) {
        let Some(sessions) = self.table(value, "`session`", "[session.NAME]") else {
            layer.incomplete = true;
            return;
        };
        for (key, value) in sessions {
            let (name, line) = (key.get_ref().as_ref(), self.line_of(key));
            if self.broken_lines.contains(&line) {
                continue;
            }
            let is_option = OPTIONS.iter().any(|spec| spec.table() == "session" && spec.name() == name);
            if is_option && !value.get_ref().is_table() {
                let what = format!("{} belongs to a session with a name", echo(name));
                self.report(line, Fault::new(what).hint("write [session.NAME]"));
                layer.incomplete = true;
                continue;
            }
            if let Err(fault) = session_name(name) {
                self.report(line, fault);
            }
            let mut values = Values::new();
            let place = format!("[session.{}]", shortened(name));
            match self.table(value, &format!("`session.{}`", shortened(name)), &place) {
                Some(entries) => {
                    self.entries("session", &place, entries, &mut values);
                    let steps = std::mem::take(&mut self.steps);
                    layer.sessions.push(FileSession { name: name.into(), line, values, steps });
                }
                None => layer.incomplete = true,
            }
        }
    }

    fn credentials_files(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut FileLayer) {
        let Some(files) = self.table(value, "`credentials_file`", "[credentials_file.NAME]") else { return };
        for (key, value) in files {
            let (name, line) = (key.get_ref().as_ref(), self.line_of(key));
            if self.broken_lines.contains(&line) {
                continue;
            }
            let place = format!("[credentials_file.{}]", shortened(name));
            if let Err(fault) = session_name(name) {
                self.report(line, fault);
            }
            let Some(entries) = self.table(value, &place, &place) else { continue };
            let mut table = FileStep { line, values: Values::new() };
            let mut is_whole = true;
            for (key, value) in entries {
                match CREDENTIALS_FILE_KEYS.iter().find(|spec| spec.key == key.get_ref().as_ref()) {
                    Some(spec) => self.value(spec, &place, value, &mut table.values),
                    None => {
                        let keys: Vec<_> = CREDENTIALS_FILE_KEYS.iter().map(|spec| spec.key).collect();
                        let what = format!("unknown key {} in {place}", echo(key.get_ref()));
                        let quotes = quotes_needed(&place, key.get_ref(), value.get_ref(), &keys);
                        is_whole &= quotes.is_none();
                        let hint = quotes.unwrap_or_else(|| format!("the keys are {}", keys.join(", ")));
                        self.report(self.line_of(key), Fault::new(what).hint(hint));
                    }
                }
            }
            // A part of a name is no table.
            if is_whole {
                layer.credentials_files.push(FileTable { name: name.into(), table });
            }
        }
    }

    fn entries(&mut self, table: &str, place: &str, entries: &DeTable<'_>, values: &mut Values) {
        for entry in entries {
            self.entry(table, place, entry, values);
        }
    }

    fn entry(&mut self, table: &str, place: &str, (key, value): Entry<'_, '_>, values: &mut Values) {
        let name = key.get_ref().as_ref();
        let Some(spec) = OPTIONS.iter().find(|spec| spec.table() == table && spec.name() == name) else {
            self.report(self.line_of(key), unknown(table, place, name, value.get_ref()));
            return;
        };
        if spec.kind == Kind::Steps
            && let DeValue::Array(items) = value.get_ref()
            && items.iter().any(|item| item.get_ref().is_table())
        {
            self.steps(place, items, values);
            return;
        }
        if let (Kind::Steps, DeValue::Table(_)) = (spec.kind, value.get_ref()) {
            let header = place.replace('[', "[[").replace(']', ".assume_role]]");
            let what = format!("`{name}` in {place}: expected an array, found a table");
            self.report(self.line_of(value), Fault::new(what).hint(format!("write {header}")));
            values.insert(spec.key, Setting::Reported);
            return;
        }
        self.value(spec, place, value, values);
    }

    fn value(&mut self, spec: &OptionSpec, place: &str, value: &Spanned<DeValue<'_>>, values: &mut Values) {
        let line = self.line_of(value);
        let texts = match self.broken_lines.contains(&line) {
            true => None,
            false => self.texts(spec, place, value),
        };
        values.insert(spec.key, texts.map_or(Setting::Reported, Setting::There));
    }

    /// Each an ARN or a table; an ARN is a table with nothing else.
    fn steps(&mut self, place: &str, items: &[Spanned<DeValue<'_>>], values: &mut Values) {
        let place = place.replace('[', "[[").replace(']', ".assume_role]]");
        for item in items {
            let line = self.line_of(item);
            let mut step = FileStep { line, values: Values::new() };
            match item.get_ref() {
                DeValue::Table(entries) => {
                    for (key, value) in entries {
                        match STEP_OPTIONS.iter().find(|spec| spec.key == key.get_ref().as_ref()) {
                            Some(spec) => self.value(spec, &place, value, &mut step.values),
                            None => {
                                let fault = unknown_of_step(&place, key.get_ref());
                                self.report(self.line_of(key), fault);
                            }
                        }
                    }
                }
                DeValue::String(text) => {
                    let role = Given { text: text.as_ref().into(), origin: self.origin(line) };
                    step.values.insert("role_arn", Setting::There(vec![role]));
                }
                other => {
                    let found = found(other);
                    let fault = Fault::new(format!("{place}: expected an ARN or a table, found {found}"));
                    self.report(line, fault);
                    values.insert("session.assume_role", Setting::Reported);
                }
            }
            self.steps.push(step);
        }
    }

    /// The value as flags would give it, if its type is right.
    fn texts(&mut self, spec: &OptionSpec, place: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<Given>> {
        let wrong = |expected: &str, value: &DeValue<'_>| {
            let found = found(value);
            Fault::new(format!("`{}` in {place}: expected {expected}, found {found}", spec.name()))
        };
        let given = |text: &str, line| Given { text: text.into(), origin: self.origin(line) };
        let line = self.line_of(value);
        match (spec.kind, value.get_ref()) {
            (Kind::Text(_) | Kind::Path | Kind::Place | Kind::Span | Kind::Limit, DeValue::String(text)) => {
                Some(vec![given(text, line)])
            }
            (Kind::Switch, DeValue::Boolean(on)) => Some(vec![given(&on.to_string(), line)]),
            // Of a limit only -1 is taken; of any other the values say which unit it lacks.
            (Kind::Span | Kind::Limit, DeValue::Integer(number)) => {
                let decimal = i128::from_str_radix(number.as_str(), number.radix());
                Some(vec![given(&decimal.map_or_else(|_| number.to_string(), |n| n.to_string()), line)])
            }
            (Kind::Table, DeValue::Table(entries)) => self.pairs(spec, place, entries),
            (Kind::List(_) | Kind::Steps, DeValue::Array(items)) => {
                let mut texts = Vec::new();
                for item in items {
                    let line = self.line_of(item);
                    match item.get_ref() {
                        DeValue::String(text) => {
                            texts.push(Given { text: text.as_ref().into(), origin: self.origin(line) });
                        }
                        other => {
                            self.report(line, wrong("a string", other));
                        }
                    }
                }
                // The rest of the list is still checked; a list without any string has been reported as such.
                (items.is_empty() || !texts.is_empty()).then_some(texts)
            }
            (kind, other) => {
                self.report(line, wrong(kind.expected(), other));
                None
            }
        }
    }

    /// `name=value` of each entry.
    fn pairs(&mut self, spec: &OptionSpec, place: &str, entries: &DeTable<'_>) -> Option<Vec<Given>> {
        let mut pairs = Vec::new();
        for (key, value) in entries {
            let (name, line) = (key.get_ref().as_ref(), self.line_of(value));
            match value.get_ref() {
                DeValue::String(_) if name.contains('=') => {
                    let fault = Fault::new(format!("`{}` in {place}: a name has `=`", spec.name()));
                    self.report(line, fault);
                    return None;
                }
                DeValue::String(text) => {
                    pairs.push(Given { text: format!("{name}={text}"), origin: self.origin(line) });
                }
                other => {
                    let found = found(other);
                    let what =
                        format!("`{}` in {place}: {} is {found}, not a string", spec.name(), echo(name));
                    self.report(line, Fault::new(what));
                    return None;
                }
            }
        }
        Some(pairs)
    }
}

fn unknown_of_step(place: &str, name: &str) -> Fault {
    let names = || STEP_OPTIONS.iter().map(|spec| spec.key);
    let fault = Fault::new(format!("unknown key {} in {place}", echo(name)));
    match nearest(name, names()) {
        Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
        None => fault.hint(format!("the keys are {}", names().collect::<Vec<_>>().join(", "))),
    }
}

type Entry<'v, 'i> = (&'v Spanned<DeString<'i>>, &'v Spanned<DeValue<'i>>);

/// The file's tables with fixed names.
const TABLES: [&str; 6] = ["log", "http", "imds", "container", "socket", "upstream"];

fn found(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if matches!(kind, "array" | "integer") { "an" } else { "a" };
    format!("{article} {kind}")
}

fn shortened(name: &str) -> String {
    echo(name).trim_matches('`').into()
}

/// What to write in place of a table's first line that is not TOML, which is not repeated.
fn hint_of_header(written: &str) -> Option<Text> {
    let inner = written.trim_start_matches('[');
    let table = ["session", "credentials_file"].into_iter().find(|table| inner.starts_with(*table))?;
    let hint = session_name("").err()?.hint?;
    Some(format!("in [{table}.NAME] the name is one: {hint}; a name with dots needs quotes").into())
}

/// The hint for a name with a dot and without quotes, which TOML takes for tables in each other: the innermost of them
/// has the `keys` of the table `place`.
fn quotes_needed(place: &str, name: &str, value: &DeValue<'_>, keys: &[&str]) -> Option<String> {
    let outer = place.strip_suffix(']')?;
    let (table, first) = outer.split_once('.')?;
    let rest = dotted(name, value.as_table()?, keys)?;
    Some(format!("a name with dots needs quotes: {table}.\"{first}.{rest}\"]"))
}

fn dotted(name: &str, table: &DeTable<'_>, keys: &[&str]) -> Option<String> {
    if table.iter().any(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
        return Some(shortened(name));
    }
    let mut deeper =
        table.iter().filter_map(|(key, value)| dotted(key.get_ref(), value.get_ref().as_table()?, keys));
    deeper.next().map(|rest| format!("{}.{rest}", shortened(name)))
}

fn unknown(table: &str, place: &str, name: &str, value: &DeValue<'_>) -> Fault {
    let here = OPTIONS.iter().filter(|spec| spec.table() == table).map(OptionSpec::name);
    if value.is_table() && table.is_empty() {
        let fault = Fault::new(format!("unknown table [{}]", shortened(name)));
        return match nearest(name, TABLES.into_iter().chain(["session"])) {
            Some("session") => fault.hint("did you mean [session.NAME]?"),
            Some(meant) => fault.hint(format!("did you mean [{meant}]?")),
            None => fault.hint(format!("the tables are {} and session.NAME", TABLES.join(", "))),
        };
    }
    let fault = Fault::new(format!("unknown key {} in {place}", echo(name)));
    let keys: Vec<_> = here.clone().collect();
    if let Some(quotes) = quotes_needed(place, name, value, &keys) {
        return fault.hint(quotes);
    }
    if let Some(meant) = nearest(name, here.clone()) {
        return fault.hint(format!("did you mean `{meant}`?"));
    }
    if let Some(elsewhere) = OPTIONS.iter().find(|spec| spec.name() == name) {
        return fault.hint(match elsewhere.table() {
            "" => format!("`{name}` belongs at the top of the file, before the first table"),
            "session" => format!("`{name}` belongs in [session.NAME]"),
            table => format!("`{name}` belongs in [{table}]"),
        });
    }
    if table == "session" && STEP_OPTIONS.iter().any(|spec| spec.key == name) {
        return fault.hint(format!("`{name}` belongs in [[session.NAME.assume_role]]"));
    }
    fault.hint(format!("the keys are {}", keys.join(", ")))
}
