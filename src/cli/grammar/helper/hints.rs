//! Hints that name flags instead of settings, for users of the name under which there is no settings file.

use anchord_config::OPTIONS;
use anchord_core::failure::Failure;
use anchord_core::text::Setting;

/// Returns `failure` with a hint that names each setting by its flag: `passphrase` becomes `--passphrase`.
pub(in crate::cli) fn in_flags(failure: &Failure) -> Failure {
    failure.clone().with_hint(failure.hint_text().map(|hint| hint.with_names(flag).into()))
}

/// The flag of a setting, with the value to set if there is one; `None` if the setting has no flag.
pub(super) fn flag(setting: &Setting) -> Option<String> {
    let mut options = OPTIONS.iter();
    let option = options.find(|option| {
        option.key == setting.key || (option.table() == "session" && option.name() == setting.key)
    })?;
    let flag = option.flag;
    Some(match &setting.value {
        None => format!("`--{flag}`"),
        Some(value) => format!("`--{flag} {value}`"),
    })
}

#[cfg(test)]
mod tests {
    use anchord_core::text::Part::Key;
    use anchord_core::text::Part::Say;
    use anchord_core::text::Part::Set;
    use anchord_core::text::Text;

    use super::*;

    #[test]
    fn settings_become_flags_and_all_else_stays() {
        let set = [Say("set "), Key("passphrase"), Say(", such as "), Set("passphrase", "file:/p")];
        let check = [Say("check "), Key("endpoint"), Say(" and "), Key("upstream.ca_file")];
        for (hint, expected) in [
            (Text::of(&set), "set `--passphrase`, such as `--passphrase file:/p`"),
            (Text::of(&check), "check `--endpoint` and `--ca-file`"),
            ("`passphrase` is what somebody wrote".into(), "`passphrase` is what somebody wrote"),
        ] {
            assert_eq!(hint.with_names(flag), expected);
        }
    }
}
