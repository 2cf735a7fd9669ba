//! The table of flags in the README, which a test compares.

use std::fmt::Write as _;

use super::flags::ALL;
use super::flags::FLAGS;
use super::flags::Meaning;

/// Every flag of AWS's tool, and what it is here: a table in Markdown.
pub(super) fn table() -> String {
    let mut text = String::from(
        "| flag of `aws_signing_helper` | verbs | in anchord | what it does, and differences |\n|---|---|---|---|\n",
    );
    for flag in FLAGS {
        let verbs = match flag.verbs {
            verbs if verbs.len() == ALL.len() => "all".to_owned(),
            verbs => verbs.iter().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", "),
        };
        let meaning = match flag.meaning {
            Meaning::Same => "same",
            Meaning::Different => "different",
            Meaning::Refused => "refused",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| `--{}` | {verbs} | {meaning} | {} |", flag.name, flag.here);
    }
    text
}
