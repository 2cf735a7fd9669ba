//! Prepares a command line for the parser: moves the verbs to the front, and joins a value that begins with `-` to its flag.
//!
//! AWS's tool accepts flags before its verb, and takes the word after a flag as its value, whatever it is. A passphrase may
//! begin with `-`, and PEM text does; without this step clap would report an unknown flag.

use std::ffi::OsStr;
use std::ffi::OsString;

use clap::Arg;
use clap::ArgMatches;
use clap::Command;

use anchord_config::nearest;

/// The words of a command line, split by the grammar.
pub(in crate::cli) struct CommandLine {
    /// The grammar of the whole program.
    pub(super) grammar: Command,
    /// The verbs, such as `bedrock` and `invoke`.
    pub(in crate::cli) verbs: Vec<String>,
    /// All other words.
    pub(super) words: Vec<OsString>,
    program: OsString,
}

impl CommandLine {
    /// The first of `arguments` is the program's name.
    pub(in crate::cli) fn of(grammar: Command, arguments: Vec<OsString>) -> Self {
        let mut words = arguments.into_iter();
        let program = words.next().unwrap_or_default();
        let mut line = Self { grammar, verbs: Vec::new(), words: words.collect(), program };
        while let Some(at) = line.next_verb() {
            let verb = line.words.remove(at);
            line.verbs.push(verb.to_string_lossy().into_owned());
        }
        line.words = joined(line.command(), &line.words);
        line
    }

    /// The grammar of the verb.
    pub(super) fn command(&self) -> &Command {
        let found = self.verbs.iter().try_fold(&self.grammar, |command, verb| command.find_subcommand(verb));
        found.unwrap_or(&self.grammar)
    }

    /// The program's name and the verbs.
    pub(super) fn called(&self) -> String {
        std::iter::once(self.grammar.get_name())
            .chain(self.verbs.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn parse(&self) -> Result<ArgMatches, clap::Error> {
        let program = std::iter::once(self.program.clone());
        let verbs = self.verbs.iter().map(OsString::from);
        self.grammar.clone().try_get_matches_from(program.chain(verbs).chain(self.words.iter().cloned()))
    }

    /// The words before `--`, which are anchord's own.
    pub(super) fn own_words(&self) -> &[OsString] {
        let end = self.words.iter().position(|word| word == END);
        &self.words[..end.unwrap_or(self.words.len())]
    }

    /// The last value of a flag that takes one.
    pub(in crate::cli) fn value_of(&self, flag: &str) -> Option<&str> {
        let (apart, joined) = (format!("--{flag}"), format!("--{flag}="));
        let words = self.own_words();
        let mut found = None;
        for (at, word) in words.iter().enumerate() {
            let Some(text) = word.to_str() else { continue };
            if text == apart {
                found = words.get(at + 1).and_then(|value| value.to_str());
            }
            found = text.strip_prefix(&joined).or(found);
        }
        found
    }

    /// The index of the next verb among the words.
    fn next_verb(&self) -> Option<usize> {
        let is_verb = |at: &usize| self.command().find_subcommand(&self.words[*at]).is_some();
        self.first_word().filter(is_verb)
    }

    /// The word in the place of a verb, whether it is a verb or not.
    pub(super) fn in_place_of_a_verb(&self) -> Option<&str> {
        self.words[self.first_word()?].to_str()
    }

    /// The index of the first word that is neither a flag nor a flag's value.
    fn first_word(&self) -> Option<usize> {
        let mut at = 0;
        while let Some(word) = self.words.get(at) {
            let text = word.to_str()?;
            if text == END || ASKS.contains(&text) {
                return None;
            }
            if !text.starts_with('-') {
                return Some(at);
            }
            at += if any(&self.grammar, &|argument| takes_next(argument, word)) { 2 } else { 1 };
        }
        None
    }
}

/// Ends the flags.
const END: &str = "--";
/// Flags after which the parser ignores verbs.
const ASKS: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Whether `is_meant` is true for an argument of this command or of one of its subcommands.
pub(super) fn any(command: &Command, is_meant: &dyn Fn(&Arg) -> bool) -> bool {
    command.get_arguments().any(is_meant) || command.get_subcommands().any(|below| any(below, is_meant))
}

/// Whether `word` is this flag and the next word is its value.
fn takes_next(argument: &Arg, word: &OsStr) -> bool {
    let is_meant = argument.get_long().is_some_and(|long| word.to_str() == Some(&format!("--{long}")));
    is_meant && argument.get_action().takes_values() && !argument.is_require_equals_set()
}

/// Joins each value that begins with `-` to its flag. If the next word is a flag of the same verb, the flag before it has
/// no value.
fn joined(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut all = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        all.push(word.clone());
        if word == END {
            break;
        }
        let Some(flag) = command.get_arguments().find(|argument| takes_next(argument, word)) else {
            continue;
        };
        let Some(value) = rest.clone().next() else { break };
        let has_dash = value.as_encoded_bytes().starts_with(b"-") && value != "-";
        if !has_dash || flag.is_allow_hyphen_values_set() {
            all.push(value.clone());
        } else if value == END || is_flag(command, value) {
            continue;
        } else if let Some(word) = all.last_mut() {
            word.push("=");
            word.push(value);
        }
        rest.next();
    }
    all.extend(rest.cloned());
    all
}

/// Whether the word is a flag of the verb, perhaps misspelled.
fn is_flag(command: &Command, word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    let Some(name) = name_of(text) else { return text == "-h" };
    name == "help" || nearest(name, command.get_arguments().filter_map(Arg::get_long)).is_some()
}

/// The name in `--name` and `--name=value`.
pub(super) fn name_of(text: &str) -> Option<&str> {
    let name = text.strip_prefix("--")?;
    Some(name.split_once('=').map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar::help;

    fn line(words: &[&str]) -> CommandLine {
        CommandLine::of(
            help::command(),
            std::iter::once(&"anchord").chain(words).map(OsString::from).collect(),
        )
    }

    #[test]
    fn a_verb_is_found_behind_its_flags() {
        for (words, verbs, rest) in [
            (&["--config", "run", "run"][..], "run", &["--config", "run"][..]),
            (&["--debug", "serve", "--port=0"], "serve", &["--debug", "--port=0"]),
            (&["bedrock", "--session", "s", "invoke"], "bedrock invoke", &["--session", "s"]),
            (&["--session=s", "bedrock", "models"], "bedrock models", &["--session=s"]),
            (&["--help", "run"], "", &["--help", "run"]),
            (&["nonsense", "run"], "", &["nonsense", "run"]),
            (&["exec", "--", "run"], "exec", &["--", "run"]),
        ] {
            let line = line(words);

            assert_eq!(
                (line.verbs.join(" ").as_str(), line.words),
                (verbs, rest.iter().map(OsString::from).collect())
            );
        }
    }

    #[test]
    fn a_value_that_begins_with_a_dash_is_a_value_and_a_flag_is_none() {
        for (words, expected) in [
            (&["run", "--passphrase", "-s3cret"][..], &["--passphrase=-s3cret"][..]),
            (&["run", "--passphrase", "-hunter2"], &["--passphrase=-hunter2"]),
            (&["run", "--private-key", "-----BEGIN A-----"], &["--private-key=-----BEGIN A-----"]),
            (&["run", "--certificate", "--private-key", "k"], &["--certificate", "--private-key", "k"]),
            (&["run", "--certificate", "--privte-key", "k"], &["--certificate", "--privte-key", "k"]),
            (&["run", "--certificate", "-"], &["--certificate", "-"]),
            (&["exec", "--session", "--", "-x"], &["--session", "--", "-x"]),
            (&["exec", "--", "--session", "-x"], &["--", "--session", "-x"]),
            (&["serve", "--pkcs8-password", "--port"], &["--pkcs8-password", "--port"]),
            (&["run", "--certificate"], &["--certificate"]),
        ] {
            assert_eq!(line(words).words, expected.iter().map(OsString::from).collect::<Vec<_>>());
        }
    }
}
