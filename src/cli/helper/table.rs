//! The table of flags that people read.

use std::fmt::Write as _;

use super::flags::ALL;
use super::flags::FLAGS;

/// Every flag of AWS's tool, and what it is here: a table in Markdown.
pub fn table() -> String {
    let mut text = String::from(
        "| flag of `aws_signing_helper` | verbs | here | what it is here, and why |\n|---|---|---|---|\n",
    );
    for flag in FLAGS {
        let verbs = match flag.verbs {
            verbs if verbs.len() == ALL.len() => "all".to_owned(),
            verbs => verbs.iter().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", "),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| `--{}` | {verbs} | {} | {} |", flag.name, flag.meaning.as_str(), flag.here);
    }
    text
}
