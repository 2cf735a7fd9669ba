//! The annotated sample file, `systemd/anchord.toml`.

use std::fmt::Write as _;

use super::options::CREDENTIALS_FILE_KEYS;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::STEP_OPTIONS;

/// A file with every option, its sentence and its default, all commented out. Settings are the lines that begin
/// with `#` and no space.
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

/// Tables with names of the user's own, which nobody has unless they are wanted: prose too.
fn push_credentials_files(text: &mut String) {
    push(text, "");
    push(
        text,
        "# Profiles of shared credentials files that are kept fresh, for programs that read nothing else:",
    );
    push(
        text,
        "# The unit of systemd lets no daemon write into homes; README.md, \"Programs that read a file\", has what does.",
    );
    push(text, "#     [credentials_file.legacy]");
    for spec in CREDENTIALS_FILE_KEYS {
        push(text, &format!("#     {:42}  # {}", format!("{} = {}", spec.name(), spec.sample), spec.doc));
    }
}

/// The long form of `assume_role`, which cannot stand beside the short one: it stays prose.
fn push_steps(text: &mut String) {
    push(text, "");
    push(text, "# Where a role needs more than its ARN, `assume_role` is a table for each:");
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
# Every option is a flag and a variable too; the order is flag, variable, this file, default.
# Durations have units (ms, s, m, h). Relative paths start at this file's folder.
# `anchord config check` tells what holds and all that is wrong.
";

const SESSION: &str = "
# A session turns one certificate into one role's credentials. Names are a-z, 0-9, `.`, `_` and `-`;
# there may be several. Flags and variables are about the only session, or the one --session names.
";
