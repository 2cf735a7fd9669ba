//! The annotated sample file, `systemd/anchord.toml`.

use std::fmt::Write as _;

use super::options::CREDENTIALS_FILE_KEYS;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::STEP_OPTIONS;

/// A file with every option, its description and its default, all commented out. Lines that begin with `#` and no space
/// are settings.
pub fn sample() -> String {
    let mut text = String::from(HEAD);
    let mut table = "";
    for spec in OPTIONS {
        if spec.table() != table {
            table = spec.table();
            text.push_str(match table {
                "session" => SESSION,
                _ => "\n",
            });
            let header = if table == "session" { "#[session.bedrock]".into() } else { format!("[{table}]") };
            push(&mut text, &header);
        }
        push_option(&mut text, spec);
    }
    push_steps(&mut text);
    push_credentials_files(&mut text);
    text
}

/// Adds the tables with names of the user's choice as comments, because most users do not want one.
fn push_credentials_files(text: &mut String) {
    push(text, "");
    push(
        text,
        "# Profiles of shared credentials files that the daemon keeps fresh, for programs that read only such a file:",
    );
    push(
        text,
        "# systemd's unit does not let the daemon write to home directories; see README.md, \"Programs that read a file\".",
    );
    push(text, "#     [credentials_file.legacy]");
    for spec in CREDENTIALS_FILE_KEYS {
        push(text, &format!("#     {:42}  # {}", format!("{} = {}", spec.name(), spec.sample), spec.doc));
    }
}

/// Adds the long form of `assume_role` as comments, because a file cannot have both forms.
fn push_steps(text: &mut String) {
    push(text, "");
    push(text, "# If a role needs more than its ARN, write a table for each role instead:");
    push(text, "#     [[session.bedrock.assume_role]]");
    for spec in STEP_OPTIONS {
        push(text, &format!("#     {:42}  # {}", format!("{} = {}", spec.name(), spec.sample), spec.doc));
    }
}

fn push_option(text: &mut String, spec: &OptionSpec) {
    push(text, "");
    push(text, &format!("# {}.", spec.doc));
    push(text, &format!("# --{}, {}; {}.", spec.flag, spec.variable, spec.fallback));
    push(text, &format!("#{} = {}", spec.name(), spec.sample));
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all that is written");
}

const HEAD: &str = "\
# Settings of anchord. To change one, take the # off its line.
#
# Every option is also a flag and a variable. The first that is given applies: flag, variable, this file, default.
# Durations have units (ms, s, m, h). Relative paths are relative to this file's directory.
# `anchord config check` shows the resulting settings and all mistakes.
";

const SESSION: &str = "
# A session turns one certificate into one role's credentials. There may be several sessions. A name consists of
# a-z, 0-9, `.`, `_` and `-`. Flags and variables apply to the only session, or the one that --session names.
";
