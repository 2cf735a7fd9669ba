//! Finds the TOML file, reads it, and lists its values with their lines.
//!
//! Reading continues after each mistake. Messages name keys and types. They never repeat a line of the file, because it
//! may contain a misplaced secret.

mod location;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeString;
use toml::de::DeTable;
use toml::de::DeValue;

pub(super) use location::SYSTEM_CONFIGURATION;
pub(super) use location::SYSTEM_FILE;
use location::candidates;
pub(super) use location::first_place;
use location::is_absent;
pub(super) use location::is_the_systems;

use super::Consumer;
use super::environment::Environment;
use super::options::CREDENTIALS_FILE_KEYS;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::STEP_OPTIONS;
use super::options::ValueKind;
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

/// A value as text, before it is parsed, and its origin.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The values of a table, by the option's key. Options without a value are absent from the map.
pub(super) type Values = BTreeMap<&'static str, Setting<Vec<RawValue>>>;

/// The table `[session.NAME]`.
#[derive(Debug)]
pub(super) struct FileSession {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) values: Values,
    /// Its `[[session.NAME.assume_role]]` tables, in order.
    pub(super) steps: Vec<FileStep>,
}

/// One table `[[session.NAME.assume_role]]`.
#[derive(Clone, Debug)]
pub(super) struct FileStep {
    pub(super) line: usize,
    pub(super) values: Values,
}

/// The table `[credentials_file.NAME]`.
#[derive(Debug)]
pub(super) struct FileTable {
    pub(super) name: String,
    pub(super) table: FileStep,
}

/// The values of the file.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    /// The path as it was given, for messages.
    pub(super) shown: String,
    /// The absolute path; `None` if there is no file.
    pub(super) path: Option<PathBuf>,
    /// The origin of the path.
    pub(super) chosen_by: Option<Origin>,
    pub(super) values: Values,
    /// In the order of the file.
    pub(super) sessions: Vec<FileSession>,
    /// In the order of the file.
    pub(super) credentials_files: Vec<FileTable>,
    /// Whether some parts could not be read. Then no option may be reported as missing.
    pub(super) incomplete: bool,
    /// The host's file, if its permissions keep this user out and the client continues without it.
    pub(super) unread: Option<PathBuf>,
}

/// Finds and reads the file. A missing file is a mistake only if a flag or variable names it. A client continues
/// without the host's file if its user may not read it, because the daemon has read it.
pub(super) fn read(
    named: Option<&RawValue>,
    environment: &Environment,
    reader: Consumer,
    problems: &mut Vec<Notice>,
) -> FileLayer {
    let mut unread = None;
    for candidate in candidates(named, environment) {
        let path = environment.current_dir().join(&candidate);
        let shown = candidate.display().to_string();
        let chosen_by = named.map_or(Origin::Default, |given| given.origin.clone());
        if let Err(fault) = values::place(&shown) {
            problems.push(Notice { origin: chosen_by, what: fault.what.into(), hint: fault.hint });
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
                let hint = fault.hint(&path).unwrap_or_else(|| "name a file that this user can read".into());
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

fn may_be_left_out(reader: Consumer, path: &Path, error: &std::io::Error) -> bool {
    reader == Consumer::Client
        && path.starts_with(SYSTEM_CONFIGURATION)
        && error.kind() == std::io::ErrorKind::PermissionDenied
}

/// Far more than any settings file has.
const MAX_BYTES: u64 = 1 << 20;

/// Parses the content of a file. `shown` is the file's name in messages.
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
    let mut parser = FileParser {
        shown,
        line_starts: line_starts(text),
        broken_lines: BTreeSet::new(),
        problems,
        steps: Vec::new(),
    };
    parser.syntax_errors(&errors, text);
    layer.incomplete = !errors.is_empty();
    parser.root(root.get_ref(), &mut layer);
    layer
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct FileParser<'a> {
    shown: &'a str,
    line_starts: Vec<usize>,
    /// Lines with a syntax error. The parser guesses their content, so other mistakes in them are not reported.
    broken_lines: BTreeSet<usize>,
    problems: &'a mut Vec<Notice>,
    /// The steps of the session that is being read.
    steps: Vec<FileStep>,
}

impl FileParser<'_> {
    /// The hint for a line that is not TOML.
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

    /// Reports one error a line, because an error usually causes the next. If a table is defined twice, its duplicate
    /// keys are not reported either.
    fn syntax_errors(&mut self, errors: &[toml::de::Error], text: &str) {
        let mut second_table = 0..0;
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = self.line(span.start);
            let is_duplicate = error.message() == "duplicate key";
            if is_duplicate && !second_table.contains(&span.start) {
                let word = text.get(span.clone()).unwrap_or_default().trim();
                self.report(line, Fault::of(word, "is defined twice"));
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

    /// `named` is the table in messages, `header` its line in a file.
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
                let what = format!("{} must be in a named session", echo(name));
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
            // An unquoted dotted name made this table. It is not a credentials file.
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

    fn entry(&mut self, table: &str, place: &str, (key, value): KeyValue<'_, '_>, values: &mut Values) {
        let name = key.get_ref().as_ref();
        let Some(spec) = OPTIONS.iter().find(|spec| spec.table() == table && spec.name() == name) else {
            self.report(self.line_of(key), unknown(table, place, name, value.get_ref()));
            return;
        };
        if spec.kind == ValueKind::Steps
            && let DeValue::Array(items) = value.get_ref()
            && items.iter().any(|item| item.get_ref().is_table())
        {
            self.steps(place, items, values);
            return;
        }
        if let (ValueKind::Steps, DeValue::Table(_)) = (spec.kind, value.get_ref()) {
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

    /// Reads steps, each an ARN or a table. An ARN alone is a table with only `role_arn`.
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
                    let role = RawValue { text: text.as_ref().into(), origin: self.origin(line) };
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

    /// The value in the form that flags have, if its type is right.
    fn texts(
        &mut self,
        spec: &OptionSpec,
        place: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Vec<RawValue>> {
        let wrong = |expected: &str, value: &DeValue<'_>| {
            let found = found(value);
            Fault::new(format!("`{}` in {place}: expected {expected}, found {found}", spec.name()))
        };
        let given = |text: &str, line| RawValue { text: text.into(), origin: self.origin(line) };
        let line = self.line_of(value);
        match (spec.kind, value.get_ref()) {
            (
                ValueKind::Text(_) | ValueKind::Path | ValueKind::Place | ValueKind::Span | ValueKind::Limit,
                DeValue::String(text),
            ) => Some(vec![given(text, line)]),
            (ValueKind::Switch, DeValue::Boolean(on)) => Some(vec![given(&on.to_string(), line)]),
            // As a limit only -1 is valid. For other numbers the message of `values` asks for a unit.
            (ValueKind::Span | ValueKind::Limit, DeValue::Integer(number)) => {
                let decimal = i128::from_str_radix(number.as_str(), number.radix());
                Some(vec![given(&decimal.map_or_else(|_| number.to_string(), |n| n.to_string()), line)])
            }
            (ValueKind::Table, DeValue::Table(entries)) => self.pairs(spec, place, entries),
            (ValueKind::Principals, DeValue::String(text)) => Some(vec![given(text, line)]),
            (ValueKind::Principals, DeValue::Table(kinds)) => self.principals(spec, place, kinds),
            (ValueKind::List(_) | ValueKind::Steps | ValueKind::Principals, DeValue::Array(items)) => {
                let mut texts = Vec::new();
                for item in items {
                    let line = self.line_of(item);
                    match item.get_ref() {
                        DeValue::String(text) => {
                            texts.push(RawValue { text: text.as_ref().into(), origin: self.origin(line) });
                        }
                        other => {
                            self.report(line, wrong("a string", other));
                        }
                    }
                }
                // The strings of the list are still checked. If it has none, every entry has been reported.
                (items.is_empty() || !texts.is_empty()).then_some(texts)
            }
            (kind, other) => {
                self.report(line, wrong(kind.expected(), other));
                None
            }
        }
    }

    /// Each name of `users`, `groups` and `units` as `user:NAME`, `group:NAME` and `unit:NAME`.
    fn principals(&mut self, spec: &OptionSpec, place: &str, kinds: &DeTable<'_>) -> Option<Vec<RawValue>> {
        let mut principals = Vec::new();
        let mut is_whole = true;
        for (key, value) in kinds {
            let kind = key.get_ref().as_ref();
            let Some(prefix) = ["users", "groups", "units"].iter().find(|known| **known == kind) else {
                let what = format!("unknown key {} in `{}` of {place}", echo(kind), spec.name());
                self.report(self.line_of(key), Fault::new(what).hint("the keys are users, groups, units"));
                is_whole = false;
                continue;
            };
            let names = value.get_ref().as_array().map(|items| items.iter().collect::<Vec<_>>());
            for item in names.unwrap_or_else(|| vec![value]) {
                let line = self.line_of(item);
                if let (DeValue::String(name), true) = (item.get_ref(), value.get_ref().is_array()) {
                    let text = format!("{}:{name}", prefix.trim_end_matches('s'));
                    principals.push(RawValue { text, origin: self.origin(line) });
                } else {
                    let found = found(item.get_ref());
                    let what = format!(
                        "`{kind}` in `{}` of {place}: expected an array of strings, found {found}",
                        spec.name()
                    );
                    self.report(line, Fault::new(what));
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(principals)
    }

    /// Each entry as `name=value`.
    fn pairs(&mut self, spec: &OptionSpec, place: &str, entries: &DeTable<'_>) -> Option<Vec<RawValue>> {
        let mut pairs = Vec::new();
        for (key, value) in entries {
            let (name, line) = (key.get_ref().as_ref(), self.line_of(value));
            match value.get_ref() {
                DeValue::String(_) if name.contains('=') => {
                    let fault = Fault::new(format!("`{}` in {place}: a name contains `=`", spec.name()));
                    self.report(line, fault);
                    return None;
                }
                DeValue::String(text) => {
                    pairs.push(RawValue { text: format!("{name}={text}"), origin: self.origin(line) });
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

type KeyValue<'v, 'i> = (&'v Spanned<DeString<'i>>, &'v Spanned<DeValue<'i>>);

/// Tables with fixed names.
const TABLES: [&str; 6] = ["log", "http", "imds", "container", "socket", "upstream"];

fn found(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if matches!(kind, "array" | "integer") { "an" } else { "a" };
    format!("{article} {kind}")
}

fn shortened(name: &str) -> String {
    echo(name).trim_matches('`').into()
}

/// The hint for a table header that is not TOML. It does not repeat the header.
fn hint_of_header(written: &str) -> Option<Text> {
    let inner = written.trim_start_matches('[');
    let table = ["session", "credentials_file"].into_iter().find(|table| inner.starts_with(*table))?;
    let hint = session_name("").err()?.hint?;
    Some(format!("NAME in [{table}.NAME] must be one word: {hint}; a name with dots needs quotes").into())
}

/// The hint for a name with a dot and without quotes. TOML reads it as nested tables; the innermost table then has keys
/// out of `keys`, which belong to the table `place`.
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
