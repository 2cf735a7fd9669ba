//! The flags, their spellings and their collisions, through the grammar that the program has.

use super::collisions::COLLISIONS;
use super::flags::ALL;
use super::flags::FLAGS;
use super::flags::Flag;
use super::flags::Meaning;
use super::flags::Takes;
use super::*;
use clap::ArgMatches;

use anchord_config::Environment;
use anchord_core::notice::Notice;

const NAMES: [ProgramName; 2] = [ProgramName::Anchord, ProgramName::Helper];

/// The flags of AWS's tool, by verb, as its sources declare them. `system-store-location` was read in those of
/// `sign-string` alone; the other verbs share its variable.
const THEIRS: &[(&str, &[&str])] = &[
    ("credential-process", VENDING),
    ("serve", VENDING),
    ("serve", &["port", "hop-limit"]),
    ("update", VENDING),
    ("update", &["profile", "once", "retry-errors"]),
    (
        "read-certificate-data",
        &[
            "certificate",
            "cert-selector",
            "system-store-name",
            "system-store-location",
            "pkcs11-lib",
            "debug",
        ],
    ),
    (
        "sign-string",
        &[
            "certificate",
            "private-key",
            "debug",
            "cert-selector",
            "system-store-name",
            "system-store-location",
            "use-latest-expiring-certificate",
            "pkcs11-lib",
            "reuse-pin",
            "tpm-key-password",
            "no-tpm-key-password",
            "format",
            "digest",
            "pkcs8-password",
        ],
    ),
];

const VENDING: &[&str] = &[
    "role-arn",
    "profile-arn",
    "trust-anchor-arn",
    "session-duration",
    "region",
    "endpoint",
    "no-verify-ssl",
    "with-proxy",
    "debug",
    "certificate",
    "private-key",
    "intermediates",
    "cert-selector",
    "system-store-name",
    "system-store-location",
    "use-latest-expiring-certificate",
    "pkcs11-lib",
    "reuse-pin",
    "tpm-key-password",
    "no-tpm-key-password",
    "role-session-name",
    "pkcs8-password",
];

/// The pairs that AWS's tool refuses, where the other flag is not refused here in any case.
const THEIR_PAIRS: &[(&str, &str)] = &[
    ("certificate", "cert-selector"),
    ("private-key", "cert-selector"),
    ("private-key", "use-latest-expiring-certificate"),
    ("use-latest-expiring-certificate", "intermediates"),
    ("use-latest-expiring-certificate", "reuse-pin"),
    ("cert-selector", "intermediates"),
    ("cert-selector", "reuse-pin"),
    ("tpm-key-password", "cert-selector"),
    ("tpm-key-password", "reuse-pin"),
    ("no-tpm-key-password", "cert-selector"),
    ("no-tpm-key-password", "reuse-pin"),
    ("no-tpm-key-password", "tpm-key-password"),
    ("pkcs8-password", "tpm-key-password"),
    ("once", "retry-errors"),
];

fn sample(flag: &str) -> &'static str {
    match flag {
        "certificate" | "private-key" | "intermediates" => "/x.pem",
        "role-arn" => "arn:aws:iam::123456789012:role/r",
        "profile-arn" => "arn:aws:rolesanywhere:us-east-1:123456789012:profile/a",
        "trust-anchor-arn" => "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a",
        "session-duration" => "3600",
        "region" => "us-east-1",
        "endpoint" => "https://rolesanywhere.us-east-1.amazonaws.com",
        "cert-selector" => "Key=x509Subject,Value=CN=robot-7",
        "pkcs11-lib" | "pkcs11-module" => "/lib/p11.so",
        "port" => "9911",
        "hop-limit" => "64",
        "format" => "json",
        "digest" => "SHA256",
        "duration" => "1h",
        "log-level" => "info",
        "passphrase" => "file:/p",
        "ca-file" => "/ca.pem",
        "certificate-serial" => "0x1",
        "certificate-subject" | "certificate-issuer" => "CN=robot-7",
        "role-session-name" => "robot-7",
        "profile" | "tpm-key-password" | "pkcs8-password" => "-text",
        _ => "MY",
    }
}

fn is_switch(flag: &str) -> bool {
    FLAGS.iter().any(|known| known.name == flag && matches!(known.takes, Takes::Switch))
}

/// The ways in which AWS's tool takes a flag.
fn spellings(flag: &str) -> Vec<Vec<String>> {
    if is_switch(flag) {
        return vec![vec![format!("--{flag}")], vec![format!("--{flag}=true")], vec![format!("--{flag}=T")]];
    }
    let value = sample(flag);
    vec![vec![format!("--{flag}={value}")], vec![format!("--{flag}"), value.into()]]
}

fn parse(verb: &'static str, name: ProgramName, arguments: &[String]) -> Result<ArgMatches, clap::Error> {
    let line = std::iter::once(verb.to_owned()).chain(arguments.iter().cloned());
    subcommand(verb, name).try_get_matches_from(line)
}

fn read(verb: &'static str, name: ProgramName, arguments: &[String]) -> Result<HelperArguments, Mistakes> {
    let matches = parse(verb, name, arguments).map_err(|error| vec![Notice::new(error.to_string())])?;
    HelperArguments::read(&matches, name, &Environment::from_iter([("A", "")]), Vec::new())
}

fn verbs_of(flag: &Flag) -> impl Iterator<Item = &'static str> {
    VERBS.iter().filter(|verb| flag.verbs.contains(verb)).copied()
}

#[test]
fn the_table_has_every_flag_of_every_verb_of_aws_and_no_other() {
    for verb in ALL {
        let of_verb = THEIRS.iter().filter(|(own, _)| own == verb);
        let mut theirs: Vec<_> = of_verb.flat_map(|(_, flags)| flags.iter().copied()).collect();
        let mut known: Vec<_> =
            FLAGS.iter().filter(|flag| flag.verbs.contains(verb)).map(|flag| flag.name).collect();
        theirs.sort_unstable();
        known.sort_unstable();

        assert_eq!(known, theirs, "{verb}");
    }
}

#[test]
fn each_flag_is_parsed_in_each_spelling_under_both_names() {
    for flag in FLAGS {
        for (verb, name) in verbs_of(flag).flat_map(|verb| NAMES.map(|name| (verb, name))) {
            for spelling in spellings(flag.name) {
                let read = read(verb, name, &spelling);

                match flag.meaning {
                    Meaning::Refused => {
                        let mistakes = read.err().unwrap();
                        assert_eq!(mistakes.len(), 1);
                        assert!(mistakes[0].what.starts_with(&format!("--{} ", flag.name)), "{mistakes:?}");
                    }
                    Meaning::Same | Meaning::Different => assert!(read.is_ok(), "{verb} {spelling:?}"),
                }
            }
        }
    }
}

#[test]
fn each_flag_that_anchord_has_too_is_one_flag() {
    for (verb, name) in VERBS.iter().flat_map(|verb| NAMES.map(|name| (verb, name))) {
        let arguments = arguments(verb, name);
        let of_verb = FLAGS.iter().filter(|flag| flag.verbs.contains(verb));
        for flag in of_verb {
            let same = arguments.iter().filter(|argument| argument.get_id() == flag.name).count();
            assert_eq!(same, 1, "{verb} --{}", flag.name);
        }
    }
}

#[test]
fn every_pair_that_collides_is_told_in_one_line_that_names_both() {
    for (one, other) in COLLISIONS.iter().map(|pair| (pair.0, pair.1)) {
        let has = |verb: &str, flag: &str| {
            arguments(verb, ProgramName::Helper).iter().any(|own| own.get_id() == flag)
        };
        for verb in VERBS.iter().filter(|verb| has(verb, one) && has(verb, other)) {
            let both = [spellings(one).swap_remove(0), spellings(other).swap_remove(0)].concat();

            let mistakes = read(verb, ProgramName::Helper, &both).err().unwrap();

            let expected = format!("--{one} and --{other} cannot be given together; hint: ");
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            let line = mistakes[0].to_string();
            assert!(line.starts_with(&expected) && !line.contains('\n'), "{line}");
        }
    }
}

#[test]
fn a_flag_of_another_verb_is_refused_and_named() {
    for (verb, name) in VERBS.iter().flat_map(|verb| NAMES.map(|name| (*verb, name))) {
        let own = arguments(verb, name);
        for flag in FLAGS.iter().filter(|flag| own.iter().all(|own| own.get_id() != flag.name)) {
            let error = parse(verb, name, &spellings(flag.name).swap_remove(0)).unwrap_err();

            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("'--{}'", flag.name)), "{verb}: {error}");
        }
    }
}

#[test]
fn a_pin_in_the_uri_and_a_passphrase_are_one_secret_too_many() {
    for (pin, is_refused) in [("?pin-value=hunter2", true), ("?pin-source=/pin", true), ("", false)] {
        let line = line_with(&format!("pkcs11:token=t{pin}"), &["--passphrase=file:/p"]);

        let told = read("serve", ProgramName::Helper, &line).unwrap().settings_of_one_call().err();

        assert_eq!(told.is_some(), is_refused);
        for line in told.unwrap_or_default().iter().map(ToString::to_string) {
            let expected = "--passphrase and the PIN in --private-key cannot be given together; hint: ";
            assert!(line.starts_with(expected) && !line.contains("hunter2"), "{line}");
        }
    }
}

#[test]
fn under_the_other_name_two_regions_to_call_are_one_too_many() {
    let both = line_with("/x.pem", &["--region=us-east-1", "--roles-anywhere-region=us-east-1"]);

    let mistakes = read("serve", ProgramName::Helper, &both).err().unwrap();

    let expected = "--region and --roles-anywhere-region cannot be given together; hint: ";
    assert!(mistakes.len() == 1 && mistakes[0].to_string().starts_with(expected), "{mistakes:?}");
    assert!(read("serve", ProgramName::Anchord, &both).is_ok());
}

#[test]
fn every_pair_that_aws_refuses_is_refused() {
    for (one, other) in THEIR_PAIRS {
        let is_known =
            COLLISIONS.iter().any(|pair| [(pair.0, pair.1), (pair.1, pair.0)].contains(&(one, other)));
        assert!(is_known, "--{one} and --{other}");
    }
}

#[test]
fn a_flag_that_is_given_twice_holds_as_it_was_given_last() {
    let line: Vec<String> = ["--session-duration=900", "--session-duration", "1800"].map(Into::into).into();
    let matches = parse("credential-process", ProgramName::Helper, &line).unwrap();

    assert_eq!(FlagValues(&matches).get("session-duration"), Some("1800"));
}

#[test]
fn a_password_is_warned_of_by_the_flag_that_was_written_and_never_repeated() {
    for flag in ["pkcs8-password", "tpm-key-password"] {
        let mut line: Vec<String> = vec![format!("--{flag}=hunter2")];
        for needed in ["certificate", "private-key", "role-arn", "profile-arn", "trust-anchor-arn"] {
            line.push(format!("--{needed}={}", sample(needed)));
        }

        let settings =
            read("credential-process", ProgramName::Helper, &line).unwrap().settings_of_one_call().unwrap();

        let [warning] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
        let expected = format!("--{flag}: every user of this host can read the passphrase in the list of");
        assert!(warning.message().starts_with(&expected), "{warning}");
        assert!(warning.hint().unwrap().starts_with("name it with --passphrase file:PATH, "), "{warning}");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}

/// A line of `verb` with a key at this place.
fn line_with(key: &str, more: &[&str]) -> Vec<String> {
    let needed = ["certificate", "role-arn", "profile-arn", "trust-anchor-arn"];
    let mut line: Vec<String> = needed.iter().map(|flag| format!("--{flag}={}", sample(flag))).collect();
    line.push(format!("--private-key={key}"));
    line.extend(more.iter().map(|flag| (*flag).to_owned()));
    line
}

/// A directory with a file for each kind of key that files hold.
fn keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, label) in [
        ("plain", "PRIVATE KEY"),
        ("sec1", "EC PRIVATE KEY"),
        ("locked", "ENCRYPTED PRIVATE KEY"),
        ("tpm", "TSS2 PRIVATE KEY"),
    ] {
        let text = format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        fs_err::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_password_of_another_kind_of_key_is_refused_before_it_is_tried() {
    let folder = keys();
    let place = |name: &str| match name {
        "pkcs11:token=t" | "handle:81000001" => name.to_owned(),
        file => folder.path().join(file).display().to_string(),
    };
    for (flag, fits) in [
        ("tpm-key-password", &["tpm", "handle:81000001"][..]),
        ("pkcs8-password", &["locked"]),
        // The code that uses the passphrase reports a wrong one.
        ("passphrase", &["tpm", "handle:81000001", "locked", "plain", "sec1", "pkcs11:token=t"]),
    ] {
        for name in ["plain", "sec1", "locked", "tpm", "handle:81000001", "pkcs11:token=t", "nowhere"] {
            let given = format!("--{flag}=pass:hunter2");
            for verb in ["credential-process", "sign-string"] {
                let line = line_with(&place(name), &[&given]);
                let of_verb = |text: &&String| verb == "credential-process" || !text.contains("-arn");
                let line: Vec<_> = line.iter().filter(of_verb).cloned().collect();
                let line = read(verb, ProgramName::Helper, &line).unwrap();
                let told = match verb {
                    "sign-string" => line.source("/dev/null").err(),
                    _ => line.settings_of_one_call().err(),
                };

                // The code that needs the file reports that it is unreadable.
                let expected = !fits.contains(&name) && name != "nowhere";
                let told = told.unwrap_or_default();
                assert_eq!(told.len(), usize::from(expected), "--{flag} with {name}: {told:?}");
                for line in told.iter().map(ToString::to_string) {
                    let start = format!("--{flag} does not fit --private-key: the key is in ");
                    assert!(line.starts_with(&start) && line.contains("; hint: "), "{line}");
                    assert!(!line.contains("hunter2") && line.lines().count() == 1, "{line}");
                }
            }
        }
    }
}

#[test]
fn a_flag_that_changes_nothing_for_this_kind_of_key_is_warned_of() {
    let folder = keys();
    let (file, tpm) = (folder.path().join("plain").display().to_string(), "handle:81000001");
    for (flag, key, says) in [
        ("--reuse-pin", file.as_str(), Some("--reuse-pin has no effect: the key is in a file")),
        ("--no-tpm-key-password", &file, Some("--no-tpm-key-password has no effect: the key is in a file")),
        ("--reuse-pin", "pkcs11:token=t", None),
        ("--no-tpm-key-password", tpm, None),
        ("--reuse-pin=false", &file, None),
        ("--tpm=device:/dev/tpmrm1", &file, Some("--tpm has no effect: the key is in a file")),
        ("--tpm=device:/dev/tpmrm1", tpm, None),
    ] {
        let line = read("serve", ProgramName::Helper, &line_with(key, &[flag])).unwrap();

        let warnings = line.settings_of_one_call().unwrap().warnings;

        assert_eq!(warnings.len(), usize::from(says.is_some()), "{warnings:?}");
        assert!(
            warnings.iter().zip(says).all(|(warning, says)| warning.to_string().contains(says)),
            "{warnings:?}"
        );
    }
}

#[test]
fn the_tpm_is_the_one_that_tpm_device_names_under_the_other_name() {
    let environment = Environment::from_iter([("TPM_DEVICE", "/dev/tpmrm1")]);
    let tpm = |name, more: &[&str]| {
        let matches = parse("serve", name, &line_with("handle:81000001", more)).unwrap();
        let line = HelperArguments::read(&matches, name, &environment, Vec::new()).unwrap();
        line.settings_of_one_call().unwrap().sessions[0].identity().unwrap().tpm.to_string()
    };

    assert_eq!(tpm(ProgramName::Helper, &[]), "device:/dev/tpmrm1");
    assert_eq!(tpm(ProgramName::Helper, &["--tpm=device:/dev/tpmrm2"]), "device:/dev/tpmrm2");
    assert_eq!(tpm(ProgramName::Anchord, &[]), "device:/dev/tpmrm0");

    let wrong = Environment::from_iter([("TPM_DEVICE", "tpm0")]);
    let told = |key: &str| {
        let matches = parse("serve", ProgramName::Helper, &line_with(key, &[])).unwrap();
        HelperArguments::read(&matches, ProgramName::Helper, &wrong, Vec::new())
            .unwrap()
            .settings_of_one_call()
            .unwrap_err()
    };
    assert!(
        told("handle:81000001")[0].message().starts_with("TPM_DEVICE: "),
        "{:?}",
        told("handle:81000001")
    );
}

#[test]
fn a_selector_becomes_a_search_in_all_tokens() {
    let mut line =
        vec!["--cert-selector=Key=x509Subject,Value=CN=robot 7 Key=x509Serial,Value=1A".to_owned()];
    for needed in ["pkcs11-lib", "role-arn", "profile-arn", "trust-anchor-arn"] {
        line.push(format!("--{needed}={}", sample(needed)));
    }

    let settings = read("serve", ProgramName::Helper, &line).unwrap().settings_of_one_call().unwrap();

    let identity = settings.sessions[0].identity().unwrap();
    assert!(matches!(&identity.certificate, anchord_identity::Locator::Token(_)));
    assert_eq!(identity.pkcs11_module.as_deref(), Some(Path::new("/lib/p11.so")));
    assert_eq!(identity.selection.subject.as_ref().unwrap().to_string(), "CN=robot 7");
    assert_eq!(identity.selection.serial, "0x1A".parse().ok());
}

#[test]
fn the_region_is_the_one_that_is_called_under_the_other_name_and_the_clients_under_ours() {
    let mut line: Vec<String> = vec!["--region=eu-west-1".into()];
    for needed in ["certificate", "private-key", "role-arn", "profile-arn", "trust-anchor-arn"] {
        line.push(format!("--{needed}={}", sample(needed)));
    }
    let settings = |name| read("serve", name, &line).unwrap().settings_of_one_call();

    assert_eq!(settings(ProgramName::Anchord).unwrap().sessions[0].region.as_str(), "eu-west-1");
    let mistakes = settings(ProgramName::Helper).unwrap_err();
    assert!(
        mistakes[0].message().starts_with("--region: ")
            && mistakes[0].what.contains("session `default`, which is in us-east-1")
    );
}

/// The flag changes nothing there either, since version 1.7.
#[test]
fn the_proxys_variables_hold_under_the_other_name_as_in_awss_tool() {
    let upstream = |name, flag: &[&str], variables: &[(&str, &str)]| {
        let environment = Environment::from_iter(variables.iter().copied());
        let mut line: Vec<String> = flag.iter().map(|flag| (*flag).to_owned()).collect();
        for needed in ["certificate", "private-key", "role-arn", "profile-arn", "trust-anchor-arn"] {
            line.push(format!("--{needed}={}", sample(needed)));
        }
        let matches = parse("serve", name, &line).unwrap();
        let line = HelperArguments::read(&matches, name, &environment, Vec::new()).unwrap();
        let upstream = line.settings_of_one_call().unwrap().upstream;
        (upstream.proxy.is_some(), upstream.no_proxy)
    };
    let both = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".corp")];
    let all = [("ALL_PROXY", "http://proxy:3128")];

    for flag in [&[][..], &["--with-proxy"], &["--with-proxy=false"]] {
        let spared = ".corp,localhost,127.0.0.0/8,::1".to_owned();
        assert_eq!(upstream(ProgramName::Helper, flag, &both), (true, Some(spared)));
        assert!(!upstream(ProgramName::Helper, flag, &all).0);
        assert_eq!(upstream(ProgramName::Anchord, flag, &both), (true, Some(".corp".into())));
        assert_eq!(upstream(ProgramName::Anchord, flag, &all), (true, None));
    }
}

#[test]
fn whole_numbers_are_read_as_in_awss_tool() {
    let read =
        |text: &str| parse("serve", ProgramName::Helper, &[format!("--session-duration={text}")]).is_ok();

    for good in ["900", "+900", "0x384", "0X384", "0b1110000100", "0o1604", "01604", "1_800", "0x_384"] {
        assert!(read(good), "{good}");
    }
    for bad in
        ["0x", "0900", "1__800", "_900", "900_", "0b1604", "9e2", "900.0", "-900", "", "+", "++900", "384"]
    {
        assert!(!read(bad), "{bad}");
    }
}

#[test]
fn the_program_knows_its_other_name_by_the_file_it_was_started_as() {
    let of = |path: &str| ProgramName::of(&[OsString::from(path)]);

    assert_eq!(of("/usr/local/bin/aws_signing_helper"), ProgramName::Helper);
    assert_eq!(of("aws_signing_helper"), ProgramName::Helper);
    for ours in ["anchord", "/aws_signing_helper/anchord", "aws_signing_helper2", ""] {
        assert_eq!(of(ours), ProgramName::Anchord, "{ours}");
    }
}

/// How the table begins.
const TABLE: &str = "| flag of `aws_signing_helper` |";

/// `ANCHORD_TEST_BLESS=1` writes it anew.
#[test]
#[allow(clippy::disallowed_methods, reason = "tests read their own environment")]
fn the_table_that_people_read_is_made_from_the_flags() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = || fs_err::read_to_string(root.join("README.md")).unwrap();
    if std::env::var_os("ANCHORD_TEST_BLESS").is_some() {
        let text = readme();
        let (before, rest) = text.split_once(TABLE).unwrap();
        let after = rest.find("\n\n").map(|end| &rest[end + 1..]).unwrap();
        fs_err::write(root.join("README.md"), format!("{before}{}{after}", table::table())).unwrap();
    }
    assert!(readme().contains(&table::table()), "README.md has another table of flags");
}
