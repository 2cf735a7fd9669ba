//! What to do, in flags instead of settings, for who has no file to set anything in.

use anchord_config::OPTIONS;
use anchord_config::OptionSpec;
use anchord_core::failure::Failure;

/// `failure` with the settings that its hint names by their flags: `passphrase` is `--passphrase`.
pub(in crate::cli) fn in_flags(failure: &Failure) -> Failure {
    failure.clone().with_hint(failure.hint().map(flags_for_settings))
}

/// Settings stand between backticks, alone or as `key = "value"`; so do commands and paths, which stay.
fn flags_for_settings(hint: &str) -> String {
    let quoted = |(index, part): (usize, &str)| match index % 2 {
        0 => part.to_owned(),
        _ => format!("`{}`", in_flag(part).unwrap_or_else(|| part.to_owned())),
    };
    hint.split('`').enumerate().map(quoted).collect()
}

fn in_flag(setting: &str) -> Option<String> {
    let (key, value) = match setting.split_once(" = ") {
        Some((key, value)) => (key, Some(value.trim_matches('"'))),
        None => (setting, None),
    };
    let is_meant =
        |option: &&OptionSpec| option.key == key || (option.table() == "session" && option.name() == key);
    let flag = OPTIONS.iter().find(is_meant)?.flag;
    Some(value.map_or_else(|| format!("--{flag}"), |value| format!("--{flag} {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_flags_and_all_else_stays() {
        for (hint, expected) in [
            (
                "set `passphrase`, such as `passphrase = \"file:/p\"`",
                "set `--passphrase`, such as `--passphrase file:/p`",
            ),
            (
                "see `endpoint`, the proxy and `upstream.ca_file`",
                "see `--endpoint`, the proxy and `--ca-file`",
            ),
            ("`openssl pkey -in … -noout` tries it", "`openssl pkey -in … -noout` tries it"),
            ("let this user write into `/home/x`", "let this user write into `/home/x`"),
        ] {
            assert_eq!(flags_for_settings(hint), expected);
        }
    }
}
