//! One declaration makes flags, variables, help and the sample file.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn all() -> impl Iterator<Item = &'static OptionSpec> {
    SELECTORS.iter().chain(OPTIONS)
}

/// The sample with every setting switched on.
fn uncommented() -> String {
    let strip = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting.to_owned(),
        _ => line.to_owned(),
    };
    sample().lines().map(|line| strip(line) + "\n").collect()
}

#[test]
fn help_shows_every_flag_with_its_sentence_variable_and_default() {
    let help =
        clap::Command::new("anchord").term_width(0).args(arguments::all()).render_long_help().to_string();

    for spec in all() {
        let line = format!("{} [{}] [variable: {}]", spec.doc, spec.fallback, spec.variable);
        assert!(help.contains(&format!("--{} <", spec.flag)), "{} is missing:\n{help}", spec.flag);
        assert!(help.contains(&line), "{line} is missing:\n{help}");
    }
}

#[test]
fn flags_variables_and_keys_are_unique_and_agree() {
    let mut seen = BTreeSet::new();
    for spec in all() {
        let from_flag = format!("ANCHORD_{}", spec.flag.to_uppercase().replace('-', "_"));
        assert_eq!(spec.variable, from_flag);
        assert!(seen.insert(spec.flag), "{} is declared twice", spec.flag);
        assert!(!spec.doc.ends_with('.') && !spec.doc.contains(". "), "{} needs one sentence", spec.key);
    }
    let keys: BTreeSet<_> = OPTIONS.iter().map(|spec| spec.key).collect();
    assert_eq!(keys.len(), OPTIONS.len());
}

/// The shipped sample holds the names of all others.
#[test]
fn flags_and_variables_follow_from_keys() {
    let names: Vec<_> = all().map(|spec| (spec.key, spec.flag, spec.variable)).collect();
    for expected in [
        ("config", "config", "ANCHORD_CONFIG"),
        ("session", "session", "ANCHORD_SESSION"),
        ("log.level", "log-level", "ANCHORD_LOG_LEVEL"),
        ("http.listen", "listen", "ANCHORD_LISTEN"),
        ("imds.session", "imds-session", "ANCHORD_IMDS_SESSION"),
        ("upstream.read_timeout", "read-timeout", "ANCHORD_READ_TIMEOUT"),
        ("session.pkcs11_module", "pkcs11-module", "ANCHORD_PKCS11_MODULE"),
    ] {
        assert!(names.contains(&expected), "{expected:?}");
    }
}

/// `ANCHORD_TEST_BLESS=1` writes it anew.
#[test]
fn the_shipped_sample_is_the_one_that_the_options_make() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/anchord.toml");

    anchord_testing::assert_made(&shipped, &sample());
}

#[test]
fn the_sample_has_every_option_and_only_lacks_a_session() {
    for spec in OPTIONS {
        assert!(sample().contains(&format!("\n#{} = {}\n", spec.name(), spec.sample)), "{}", spec.key);
        assert!(sample().contains(spec.doc) && sample().contains(spec.variable), "{}", spec.key);
    }
    let refusal = refusal(&sample());
    assert!(refusal.starts_with("anchord.toml: no session is defined"), "{refusal}");
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
}

#[test]
fn the_uncommented_sample_loads_and_gives_every_option() {
    let settings = settled(&uncommented());

    assert_eq!(settings.sessions[0].name, "bedrock");
    for spec in OPTIONS {
        let key =
            spec.key.replace("session.", "session.bedrock.").replace("imds.session.bedrock.", "imds.session");
        let origin = settings.origins.of(&key);
        assert!(matches!(origin, Some(Origin::File { .. })), "{key} came from {origin:?}");
    }
}

#[test]
fn the_sample_writes_the_defaults_where_they_are_fixed() {
    for spec in OPTIONS {
        if let Fallback::Value(default) = spec.fallback {
            assert_eq!(spec.sample.replace(['"', '[', ']'], ""), default, "{}", spec.key);
        }
    }
}

#[test]
fn every_option_works_as_a_flag_and_as_a_variable() {
    let settings = settled(&uncommented());
    let text = |spec: &OptionSpec| match spec.key {
        // A table of the file.
        "session.allow" => "user:robot,group:bots,unit:rpa.service".to_owned(),
        _ => spec.sample.replace(['"', '[', ']'], ""),
    };
    let texts: Vec<_> = OPTIONS.iter().map(|spec| (spec, text(spec))).collect();
    let flags: Vec<_> = texts.iter().map(|(spec, text)| format!("--{}={text}", spec.flag)).collect();
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(["--session=bedrock"]).collect();
    let mut variables: Vec<_> = texts.iter().map(|(spec, text)| (spec.variable, text.as_str())).collect();
    variables.push(("ANCHORD_SESSION", "bedrock"));

    for mut settled in [settle("", &flags, &[]).unwrap(), settle("", &[], &variables).unwrap()] {
        assert_eq!(settled.picked.take().as_deref(), Some("bedrock"));
        settled.origins = settings.origins.clone();
        assert_eq!(settled, settings);
    }
}
