//! The error messages for a command line that cannot be parsed: what is wrong, and the nearest line that is right.
//!
//! A message never repeats what the user wrote: it may be a passphrase or a key in the wrong place, and programs log our
//! output. A message consists of the grammar's own words and of the names of existing sessions.

use std::ffi::OsString;

use clap::Arg;
use clap::Command;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

use super::command_line::CommandLine;
use super::command_line::any;
use super::command_line::name_of;
use super::help;
use super::helper;
use anchord_config as config;
use anchord_config::nearest;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Looks up the names of sessions. A function, because the lookup takes time and few messages need it.
pub(in crate::cli) type Sessions<'a> = &'a dyn Fn() -> Vec<String>;

/// The error message for a line that the parser refuses.
pub(super) fn answer(error: &clap::Error, line: &CommandLine, sessions: Sessions<'_>) -> Failure {
    let flag = || flag_of(error, ContextKind::InvalidArg, line);
    let lists = format!("`{} --help` lists its flags", line.called());
    let (what, hint) = match error.kind() {
        ErrorKind::UnknownArgument => unknown(&text_of(error, ContextKind::InvalidArg), line, sessions),
        ErrorKind::InvalidSubcommand => unknown_verb(&text_of(error, ContextKind::InvalidSubcommand), line),
        ErrorKind::MissingSubcommand => needs_a_verb(line),
        ErrorKind::InvalidValue => {
            let flag = flag();
            let hint = format!("write `{flag} VALUE`, or `{flag}=VALUE` if the value looks like a flag");
            (format!("{flag} has no value"), hint)
        }
        ErrorKind::TooManyValues => {
            let flag = flag();
            (format!("{flag} takes no value"), format!("write `{flag}` alone"))
        }
        ErrorKind::ValueValidation => {
            // Only our own value parsers make this text, and none of them repeats the value.
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            (format!("{}: {why}", flag()), lists)
        }
        ErrorKind::ArgumentConflict => conflict(error, line),
        ErrorKind::MissingRequiredArgument => missing(error, line),
        ErrorKind::InvalidUtf8 => ("an argument is not valid UTF-8".into(), "write it in UTF-8".into()),
        _ => ("cannot parse the command line".into(), lists),
    };
    Failure::of(Reason::InvalidSetting, what, Some(hint.into()))
}

/// The error message for a line that has a key or a certificate instead of its path. The text for a model, and the command
/// of `exec`, may contain anything.
pub(super) fn pem_in(line: &CommandLine) -> Option<Failure> {
    const BEGIN: &[u8] = b"-----BEGIN";
    const FREE: [&str; 3] = ["body", "message", "var"];
    let words = if line.verbs == ["exec"] { line.own_words() } else { &line.words };
    let holds = |word: &OsString| word.as_encoded_bytes().windows(BEGIN.len()).any(|part| part == BEGIN);
    let mut flag = None;
    for word in words {
        let text = word.to_string_lossy();
        let own = name_of(&text).filter(|name| is_known(name, line)).map(str::to_owned);
        flag = own.clone().or(flag);
        if holds(word) && !flag.as_deref().is_some_and(|flag| FREE.contains(&flag)) {
            let place = flag.map_or_else(|| "an argument".into(), |flag| format!("--{flag}:"));
            let what = format!("{place} holds PEM text");
            return Some(Failure::of(Reason::InvalidSetting, what, Some("give the path of a file".into())));
        }
        if own.is_none() {
            flag = None;
        }
    }
    None
}

fn text_of(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// The flag that an error is about, as the grammar spells it.
fn flag_of(error: &clap::Error, kind: ContextKind, line: &CommandLine) -> String {
    let text = text_of(error, kind);
    let name = text.split([' ', '=', '[']).next().and_then(name_of).filter(|name| is_known(name, line));
    if let Some(name) = name {
        return format!("--{name}");
    }
    // The parser shows positional arguments as help does, such as `<COMMAND>...`.
    let shown = text.trim_matches(|letter: char| "<>[].".contains(letter));
    let mut of_verb = line.command().get_positionals();
    let is_meant = |argument: &Arg| {
        argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == shown))
    };
    if of_verb.any(is_meant) { shown.to_owned() } else { "an argument".into() }
}

/// Whether any verb has this flag, under either name.
fn is_known(name: &str, line: &CommandLine) -> bool {
    let is_option = config::SELECTORS.iter().chain(config::OPTIONS).any(|option| option.flag == name);
    is_option || helper::has_flag(name) || any(&line.grammar, &|argument| argument.get_long() == Some(name))
}

fn has(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(flag))
}

fn conflict(error: &clap::Error, line: &CommandLine) -> (String, String) {
    let (one, other) =
        (flag_of(error, ContextKind::InvalidArg, line), flag_of(error, ContextKind::PriorArg, line));
    if one == other {
        return (format!("{one} is given twice"), "give it once".into());
    }
    (format!("{one} and {other} cannot be given together"), "leave one of them out".into())
}

fn missing(error: &clap::Error, line: &CommandLine) -> (String, String) {
    let called = line.called();
    if line.verbs == ["exec"] && text_of(error, ContextKind::InvalidArg).contains("COMMAND") {
        let hint = format!("write the command after `--`: `{called} -- COMMAND`");
        return ("no command to run".into(), hint);
    }
    let flag = flag_of(error, ContextKind::InvalidArg, line);
    let is_always = line
        .command()
        .get_arguments()
        .any(|own| own.is_required_set() && own.get_long().is_some_and(|long| flag == format!("--{long}")));
    if is_always {
        return (format!("{flag} is missing"), format!("`{called} --help` lists the flags"));
    }
    let given: Vec<_> = line.own_words().iter().filter_map(|word| name_of(word.to_str()?)).collect();
    let given = given.iter().filter(|name| is_known(name, line)).map(|name| format!("--{name}"));
    let given = match given.collect::<Vec<_>>().as_slice() {
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    };
    let what = format!("{given} needs {flag}, which is missing");
    (what, format!("leave it out, or add {flag}; `{called} --help` explains both"))
}

const SECRET: &str = "not shown; it may be a secret";

/// The message for an argument that the verb does not have.
fn unknown(text: &str, line: &CommandLine, sessions: Sessions<'_>) -> (String, String) {
    let called = line.called();
    if !text.starts_with('-') {
        let what = format!("unexpected argument ({SECRET}); quote values that contain spaces");
        return (what, nearest_line(text, line, sessions));
    }
    let lacks_a_verb = line.command().has_subcommands();
    let flags = if lacks_a_verb { flags_below(line.command()) } else { flags(line.command()) };
    match name_of(text).or_else(|| after_one_dash(text, line)) {
        Some(name) if lacks_a_verb && is_known(name, line) => match line.in_place_of_a_verb() {
            Some(word) => unknown_verb(word, line),
            None => needs_a_verb(line),
        },
        Some(name) if text.starts_with("--") && is_known(name, line) => (
            format!("`{called}` does not use --{name}"),
            format!("leave it out; `{called} --help` lists its flags"),
        ),
        name => {
            let what = format!("`{called}` has no such flag ({SECRET})");
            let hint = match name.and_then(|name| meant_by(name, flags)) {
                Some(meant) => format!("did you mean --{meant}?"),
                None => format!(
                    "`{called} --help` lists its flags; write a value that begins with `-` directly after its flag"
                ),
            };
            (what, hint)
        }
    }
}

/// The flag that is most similar, or else the shortest one that begins with the name.
fn meant_by<'a>(name: &str, flags: Vec<&'a str>) -> Option<&'a str> {
    nearest(name, flags.iter().copied()).or_else(|| {
        let begins = |flag: &&str| flag.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        flags.into_iter().filter(begins).min_by_key(|flag| flag.len())
    })
}

fn flags(command: &Command) -> Vec<&str> {
    command.get_arguments().filter_map(Arg::get_long).collect()
}

/// The flags of a command and of those below it.
fn flags_below(command: &Command) -> Vec<&str> {
    let below = command.get_subcommands().filter(|verb| !verb.is_hide_set()).flat_map(flags_below);
    flags(command).into_iter().chain(below).collect()
}

/// The name in `-name`. The parser's error has only its first letter.
fn after_one_dash<'a>(text: &str, line: &'a CommandLine) -> Option<&'a str> {
    let mut words = line.own_words().iter().filter_map(|word| word.to_str());
    let name = words.find(|word| word.starts_with(text))?.strip_prefix('-')?;
    name.split('=').next().filter(|name| name.len() > 1 && !name.starts_with('-'))
}

/// Whether an unexpected word looks like the path of a settings file.
pub(in crate::cli) fn is_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

/// The line that the user of this unexpected word most likely meant.
fn nearest_line(word: &str, line: &CommandLine, sessions: Sessions<'_>) -> String {
    let (called, verb) = (line.called(), line.verbs.join(" "));
    let is_file = is_file(word);
    let session = || sessions().into_iter().find(|name| name == word);
    // Word processors replace two hyphens with a dash.
    if let Some(name) = word.strip_prefix(['\u{2013}', '\u{2014}']) {
        let meant = nearest(name.split('=').next().unwrap_or_default(), flags(line.command()));
        return format!("a flag begins with two hyphens: `--{}`", meant.unwrap_or("FLAG"));
    }
    let other_verb = line.grammar.find_subcommand(word).filter(|other| !other.has_subcommands());
    if let Some(other) = other_verb.filter(|_| verb != "exec" && session().is_none()) {
        return format!("give one verb only: `{} {}`", line.grammar.get_name(), other.get_name());
    }
    match verb.as_str() {
        "exec" => {
            let name = session().unwrap_or_else(|| "NAME".into());
            if name == "NAME" && !line.words.iter().any(|word| word == "--") {
                return format!("write `--` before the command: `{called} -- COMMAND`");
            }
            format!(
                "name a session with --session, and write `--` before the command: `{called} --session {name} -- COMMAND`"
            )
        }
        "serve" if word.parse::<u16>().is_ok() => format!("write `{called} --port PORT`"),
        "run" | "config check" => match session() {
            Some(name) if !is_file => {
                format!("`{called}` covers all sessions, also `{name}`: leave the name out")
            }
            _ => format!("name a settings file with its flag: `{called} --config FILE`"),
        },
        "bedrock invoke" => match session() {
            Some(name) => format!("name a session with its flag: `{called} --session {name}`"),
            None => format!("write `{called} --model-id ID --body TEXT`, or `--converse --message TEXT`"),
        },
        "read-certificate-data" => format!("write `{called} --certificate PATH`"),
        "sign-string" => format!("write `{called} --private-key PATH`"),
        "check" => format!("check one session with `{called} NAME`, or all with `{called}`"),
        "version" => format!("write `{called}`"),
        _ if matches!(word, "true" | "false") => {
            format!("write a switch's value after `=`: `--FLAG={word}`")
        }
        "update" if is_file && !word.ends_with(".toml") => {
            format!("name the file to write with its flag: `{called} --credentials-file PATH`")
        }
        _ if is_file && has(line.command(), "config") => {
            format!("name a settings file with its flag: `{called} --config FILE`")
        }
        _ if has(line.command(), "session") => {
            let name = session().unwrap_or_else(|| "NAME".into());
            format!("name a session with its flag: `{called} --session {name}`")
        }
        _ => format!("`{called} --help` lists its flags"),
    }
}

fn needs_a_verb(line: &CommandLine) -> (String, String) {
    (format!("`{}` needs a verb", line.called()), format!("`{} --help` lists them", line.called()))
}

fn unknown_verb(word: &str, line: &CommandLine) -> (String, String) {
    let (called, command) = (line.called(), line.command());
    let anchords = help::command();
    let of_anchord = || anchords.find_subcommand(word).filter(|verb| !verb.is_hide_set());
    let below: Vec<&Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
    let deeper = || below.iter().find(|verb| verb.find_subcommand(word).is_some());
    let meant = nearest(word, below.iter().map(|verb| verb.get_name()));
    let hint = match (meant, below.as_slice(), deeper()) {
        (Some(verb), ..) => format!("did you mean `{called} {verb}`?"),
        // Safe to show: the word is a verb of the grammar.
        (None, _, Some(verb)) => format!("did you mean `{called} {} {word}`?", verb.get_name()),
        (None, [only], None) => format!("write `{called} {}`", only.get_name()),
        (None, ..) if word.ends_with(".toml") && command.find_subcommand("run").is_some() => {
            format!("write `{called} run --config FILE`")
        }
        (None, ..) => match of_anchord() {
            Some(verb) => format!("did you mean `anchord {}`?", verb.get_name()),
            None => format!("`{called} --help` lists the verbs"),
        },
    };
    (format!("`{called}` has no such verb ({SECRET})"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar;
    use crate::cli::grammar::Unparsed;
    use crate::cli::grammar::helper::Name;

    const CANARY: &str = "hunter2";
    const NAMES: [Name; 2] = [Name::Anchord, Name::Helper];

    /// What the program called by `name` says of these words, where the session `bedrock` exists.
    fn told_by(name: Name, words: &[&str]) -> Option<String> {
        told_with(grammar::of(name), name, words)
    }

    fn told_with(grammar: Command, name: Name, words: &[&str]) -> Option<String> {
        let program = if name == Name::Anchord { "anchord" } else { "aws_signing_helper" };
        let words = std::iter::once(&program).chain(words).map(OsString::from).collect();
        let line = CommandLine::of(grammar, words);
        match grammar::parse(&line, &|| vec!["bedrock".into()]).err()? {
            Unparsed::Shown { text, .. } => Some(text),
            Unparsed::HoldsPem(failure) | Unparsed::Misused(failure) => Some(failure.to_string()),
        }
    }

    fn told(words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        told_by(Name::Anchord, &words).unwrap_or_else(|| panic!("{words:?} is no mistake"))
    }

    /// The verbs of a grammar, each as the words that call it.
    fn verbs(command: &Command, above: &[String]) -> Vec<Vec<String>> {
        let mut all = vec![above.to_vec()];
        for below in command.get_subcommands() {
            let path = [above, &[below.get_name().to_owned()]].concat();
            all.extend(verbs(below, &path));
        }
        all
    }

    /// The flags of all verbs under both names, without dashes.
    fn flags() -> Vec<String> {
        fn of(command: &Command, all: &mut Vec<String>) {
            all.extend(command.get_arguments().filter_map(Arg::get_long).map(str::to_owned));
            command.get_subcommands().for_each(|below| of(below, all));
        }
        let mut all = vec!["no-such-flag".to_owned()];
        NAMES.iter().for_each(|name| of(&grammar::of(*name), &mut all));
        all.sort();
        all.dedup();
        all
    }

    const VALUES: [&str; 8] = [
        "hunter2",
        "-hunter2",
        "--hunter2",
        "--hunter2=hunter2",
        "/hunter2.toml",
        "a hunter2",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        "-----BEGIN",
    ];

    /// A line around `--flag` and `value`, in the way of this number.
    fn spelled(way: usize, verb: &[String], flag: &str, value: &str) -> Vec<String> {
        let (flag, joined) = (format!("--{flag}"), format!("--{flag}={value}"));
        let words: Vec<String> = match way {
            0 => vec![flag, value.into()],
            1 => vec![joined],
            2 => vec![flag, value.into(), value.into(), CANARY.into()],
            3 => vec![value.into(), flag, value.into()],
            4 => vec![flag.clone(), value.into(), flag, CANARY.into()],
            5 => return [vec![flag, value.into()], verb.to_vec()].concat(),
            _ => return [vec![value.into()], verb.to_vec(), vec![joined]].concat(),
        };
        [verb.to_vec(), words].concat()
    }

    #[test]
    fn no_parsing_error_repeats_a_value_of_any_verb_name_flag_or_spelling() {
        let flags = flags();
        let mut turn = 0;
        for name in NAMES {
            let whole = grammar::of(name);
            for verb in verbs(&whole, &[]) {
                // The other verbs' grammar would only take time.
                let grammar = alone(&whole, &verb);
                for flag in &flags {
                    for way in 0..7 {
                        // Each value comes about as often in each way.
                        turn += 1;
                        let words = spelled(way, &verb, flag, VALUES[turn % VALUES.len()]);
                        let words: Vec<&str> = words.iter().map(String::as_str).collect();
                        let told = told_with(grammar.clone(), name, &words).unwrap_or_default();
                        assert!(!told.contains(CANARY), "{words:?}: {told}");
                    }
                }
            }
        }
    }

    /// The grammar with this verb and those below it.
    fn alone(command: &Command, verb: &[String]) -> Command {
        let Some((first, deeper)) = verb.split_first() else { return command.clone() };
        let below = command.find_subcommand(first).unwrap();
        let name: &'static str = command.get_name().to_owned().leak();
        Command::new(name).subcommand(alone(below, deeper))
    }

    #[test]
    fn a_key_in_the_place_of_its_path_is_answered_alike_in_every_spelling() {
        let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
        let joined = format!("--private-key={key}");
        let expected = "--private-key: holds PEM text; hint: give the path of a file";
        for name in NAMES {
            for verb in ["credential-process", "serve", "update", "sign-string"] {
                for words in [
                    &[verb, "--private-key", key][..],
                    &[verb, &joined],
                    &[verb, "--debug", "--private-key", "-----BEGIN", "PRIVATE", "KEY-----", "hunter2"],
                    &["--private-key", key, verb],
                    &[verb, "--no-such-flag", "--private-key", key],
                ] {
                    assert_eq!(told_by(name, words).as_deref(), Some(expected), "{words:?}");
                }
            }
        }
        let stray = told_by(Name::Anchord, &["certificate", "show", key]);
        assert_eq!(stray.as_deref(), Some("an argument holds PEM text; hint: give the path of a file"));
        assert_eq!(told_by(Name::Anchord, &["bedrock", "invoke", "--model-id=m", "--body", key]), None);
        assert_eq!(told_by(Name::Anchord, &["exec", "--", "openssl", key]), None);
    }

    #[test]
    fn a_passphrase_that_begins_with_a_dash_is_taken() {
        for name in NAMES {
            for flag in ["--passphrase", "--pkcs8-password", "--tpm-key-password"] {
                for value in ["-s3cret", "--s3cret", "-hunter2", "-V"] {
                    let told = told_by(name, &["sign-string", "--private-key", "k", flag, value]);
                    assert_eq!(told, None, "{flag} {value}");
                }
            }
        }
    }

    #[test]
    fn a_mistake_is_named_in_the_words_of_the_grammar() {
        for (words, expected) in [
            (
                "run --sesion x",
                "`anchord run` has no such flag (not shown; it may be a secret); hint: did you mean --session?",
            ),
            ("run --session", "--session has no value; hint: write `--session VALUE`"),
            ("run --certificate --private-key k", "--certificate has no value; hint: "),
            ("status --json=yes", "--json takes no value; hint: write `--json` alone"),
            ("status --json --json", "--json is given twice; hint: give it once"),
            ("serve --port 99999", "--port: expected a whole number from 0 to 65535; hint: "),
            (
                "bedrock invoke --model-id m --retries 11",
                "--retries: expected a whole number from 0 to 10; hint: ",
            ),
            ("bedrock invoke", "--model-id is missing; hint: "),
            (
                "bedrock invoke --model-id m --body a --message b --converse",
                "--body and --message cannot be given together; hint: ",
            ),
            (
                "exec --session bedrock --ttl 1h -- ls",
                "one of --session, --ttl needs --bedrock-api-key, which is missing; hint: ",
            ),
            ("config", "`anchord config` needs a verb; hint: "),
            ("status --port 1", "`anchord status` does not use --port; hint: leave it out"),
            ("--config f.toml", "`anchord` needs a verb; hint: `anchord --help` lists them"),
            ("bedrock --session s", "`anchord bedrock` needs a verb; hint: "),
        ] {
            let told = told(words);
            assert!(told.starts_with(expected), "{words}: {told}");
        }
    }

    /// Which flags of settings each verb takes; `run` shows that all the others are there to be refused.
    #[test]
    fn a_flag_that_a_verb_does_not_use_is_refused_by_name() {
        let served =
            ["listen", "imds-enabled", "imds-session", "container-enabled", "socket-enabled", "socket-mode"];
        let logs = ["log-level", "log-format"];
        let of_sessions = ["duration", "role-arn", "endpoint", "sts-region"];
        let upstream = ["ca-file", "read-timeout", "use-fips-endpoint"];
        let cases: [(&str, &[&[&str]]); 7] = [
            ("status", &[&served, &logs, &of_sessions, &upstream, &["certificate"]]),
            ("credential-process", &[&served, &logs]),
            ("update", &[&served]),
            ("bedrock models", &[&served, &logs]),
            ("bedrock api-key", &[&served, &logs]),
            ("certificate show", &[&served, &logs, &of_sessions, &upstream, &["socket-path"]]),
            ("exec", &[&served, &logs]),
        ];
        for (verb, unused) in cases {
            for flag in unused.iter().flat_map(|flags| flags.iter()) {
                let told = told(&format!("{verb} --{flag} x"));
                let expected = format!("`anchord {verb}` does not use --{flag}; hint: leave it out");
                assert!(told.starts_with(&expected), "{told}");
                for whole in ["run", "check", "config check"] {
                    let flag = format!("--{flag}=x");
                    let words: Vec<&str> = whole.split(' ').chain([flag.as_str()]).collect();
                    assert_eq!(told_by(Name::Anchord, &words), None, "{words:?}");
                }
            }
        }
        let told = told("exec --ca-file x -- ls");
        assert!(told.starts_with("--ca-file needs --bedrock-api-key"), "{told}");
    }

    #[test]
    fn what_was_named_twice_in_two_ways_is_refused() {
        for words in [
            "certificate show leaf.pem --certificate other.pem",
            "certificate show leaf.pem --session s",
            "check s --session t",
        ] {
            assert!(told(words).contains("cannot be given together"), "{words}: {}", told(words));
        }
    }

    #[test]
    fn a_stray_word_gets_the_nearest_right_line() {
        for (words, expected) in [
            ("exec ls", "write `--` before the command: `anchord exec -- COMMAND`"),
            ("exec ls -l", "write `--` before the command: `anchord exec -- COMMAND`"),
            ("exec bedrock -- ls", "`anchord exec --session bedrock -- COMMAND`"),
            ("exec bedrock ls", "`anchord exec --session bedrock -- COMMAND`"),
            ("exec hunter2 -- ls", "`anchord exec --session NAME -- COMMAND`"),
            ("exec", "write the command after `--`: `anchord exec -- COMMAND`"),
            ("status bedrock", "`anchord status --session bedrock`"),
            ("status hunter2", "`anchord status --session NAME`"),
            ("status /etc/hunter2.toml", "`anchord status --config FILE`"),
            ("credential-process bedrock", "`anchord credential-process --session bedrock`"),
            ("update bedrock", "`anchord update --session bedrock`"),
            ("bedrock models bedrock", "`anchord bedrock models --session bedrock`"),
            ("bedrock invoke --model-id m hello", "--body TEXT`, or `--converse --message TEXT`"),
            ("run hunter2.toml", "`anchord run --config FILE`"),
            ("run hunter2", "`anchord run --config FILE`"),
            ("run bedrock", "`anchord run` covers all sessions, also `bedrock`"),
            ("config check hunter2.toml", "`anchord config check --config FILE`"),
            ("config hunter2.toml", "write `anchord config check`"),
            ("hunter2.toml", "write `anchord run --config FILE`"),
            ("read-certificate-data leaf.pem", "`anchord read-certificate-data --certificate PATH`"),
            ("sign-string key.pem", "`anchord sign-string --private-key PATH`"),
            ("serve --debug true", "write a switch's value after `=`: `--FLAG=true`"),
            ("stauts", "did you mean `anchord status`?"),
            ("credential_process", "did you mean `anchord credential-process`?"),
            ("invoke", "did you mean `anchord bedrock invoke`?"),
            ("certificate leaf.pem", "write `anchord certificate show`"),
            ("--config hunter2.toml stauts", "did you mean `anchord status`?"),
            ("--certifcate hunter2 run", "did you mean --certificate?"),
            ("bedrock --sesion hunter2 models", "did you mean --session?"),
            ("run -config hunter2.toml", "did you mean --config?"),
            ("-certificate=hunter2 run", "did you mean --certificate?"),
            ("run --trust-anchor hunter2", "did you mean --trust-anchor-arn?"),
            ("bedrock invoke --model hunter2", "did you mean --model-id?"),
            ("run \u{2014}config hunter2.toml", "a flag begins with two hyphens: `--config`"),
            ("run \u{2013}hunter2", "a flag begins with two hyphens: `--FLAG`"),
            ("run status", "give one verb only: `anchord status`"),
            ("status run", "give one verb only: `anchord run`"),
            ("serve 9911", "write `anchord serve --port PORT`"),
            ("update /home/hunter2/.aws/credentials", "`anchord update --credentials-file PATH`"),
            ("update hunter2.toml", "`anchord update --config FILE`"),
        ] {
            let told = told(words);
            assert!(told.contains(expected) && !told.contains(CANARY), "{words}: {told}");
        }
        let told = told_by(Name::Helper, &["status"]).unwrap();
        assert!(told.contains("did you mean `anchord status`?"), "{told}");
    }
}
