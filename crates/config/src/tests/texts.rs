//! What single values may be.

use super::values::*;
use super::*;

fn refused<T>(parse: fn(&str) -> Result<T, Fault>, texts: &[&str]) {
    for text in texts {
        assert!(parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn durations_have_units_or_are_seconds() {
    let seconds = |text| session_duration(text).map(|duration| duration.as_secs());

    for (text, expected) in
        [("1h", 3600), ("45m", 2700), ("3600", 3600), ("900s", 900), ("1h30m", 5400), ("900000ms", 900)]
    {
        assert_eq!(seconds(text), Ok(expected), "{text}");
    }
    assert_eq!(seconds("12h"), Ok(43200));
    refused(session_duration, &["899", "43201", "12h1s", "900001ms", "0", "none", "-1"]);
    refused(
        session_duration,
        &["", "h", "1", "1 h", "1H", "1h30", "30m ", "1d", "1.5h", "1h-1s", "+3600", "９００", "1ｈ"],
    );
    refused(
        session_duration,
        &["99999999999999999999h", "18446744073709551615h", "18446744073709551615ms1h"],
    );
}

#[test]
fn a_timeout_may_be_none_but_not_nothing() {
    for text in ["none", "-1"] {
        assert_eq!(timeout(text), Ok(None));
    }
    assert_eq!(timeout("500ms"), Ok(Some(Duration::from_millis(500))));
    assert_eq!(timeout("1h"), Ok(Some(Duration::from_secs(3600))));
    refused(timeout, &["0", "0s", "-2", "3601s", "None", "never", ""]);

    let settings =
        settled(&format!("[upstream]\nconnect_timeout = -1\nread_timeout = \"30s\"\n{}", session("a")));
    assert_eq!(settings.upstream.connect_timeout, None);
    assert_eq!(settings.upstream.read_timeout, Some(Duration::from_secs(30)));
}

/// Programs that people come from count milliseconds: 3000 would wait for most of an hour.
#[test]
fn a_timeout_without_a_known_unit_is_refused_with_both_spellings() {
    let hint = |text: &str| timeout(text).unwrap_err().hint.unwrap();

    assert_eq!(timeout("3000").unwrap_err().what, "`3000` has no unit");
    for text in ["3000", "3000 ms", "3000msec", "3000 seconds", "3000S", "3000d"] {
        assert_eq!(hint(text), "write `3000ms` or `3000s`", "{text}");
    }
    for text in ["soon", "1.5s", "-5", "1h-1s", "99999999999999999999"] {
        let hint = hint(text);
        assert!(hint.contains("such as 3000ms, 3000s or 1h30m"), "{text}: {hint}");
    }
    assert!(timeout("0").unwrap_err().what.contains("is not a valid time-out"), "which no unit would mend");

    let file = format!("[upstream]\nread_timeout = 3000\n{}", session("a"));
    let refusals = [
        refusal(&file),
        settle(&session("a"), &["--read-timeout=3000"], &[]).unwrap_err().to_string(),
        settle(&session("a"), &[], &[("ANCHORD_CONNECT_TIMEOUT", "3000")]).unwrap_err().to_string(),
    ];
    let told = [
        "anchord.toml:2: `read_timeout` in [upstream]: `3000`",
        "--read-timeout: the value",
        "ANCHORD_CONNECT_TIMEOUT: `3000`",
    ];
    for (refusal, told) in refusals.iter().zip(told) {
        let told = format!("{told} has no unit; hint: write `3000ms` or `3000s`");
        assert_eq!(*refusal, told);
    }
}

#[test]
fn only_addresses_of_this_host_are_listened_on() {
    for text in ["127.0.0.1:9911", "127.9.9.9:0", "[::1]:80", "169.254.169.254:80", "[fd00:ec2::254]:80"] {
        assert_eq!(listen(text).map(|address| address.to_string()), Ok(text.into()));
    }
    refused(listen, &["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[fd00:ec3::1]:80", "[::ffff:127.0.0.1]:80"]);
    refused(listen, &["localhost:80", "127.0.0.1", "9911", ":9911", "127.0.0.1:65536", "[::1]"]);

    assert!(settle(&session("a"), &["--listen=127.0.0.1:0,127.0.0.1:0"], &[]).is_ok());
    let twice = refusal(&format!("[http]\nlisten = [\"[::1]:1\",\n\"[::1]:1\"]\n{}", session("a")));
    assert_eq!(twice, "anchord.toml:3: `listen` in [http]: `[::1]:1` is given twice");
}

#[test]
fn an_endpoint_is_https_and_a_host() {
    for (text, expected) in [
        (
            "https://vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com/",
            "https://vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com",
        ),
        ("https://localhost:8443", "https://localhost:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[::1]", "https://[::1]"),
        ("https://127.0.0.1", "https://127.0.0.1"),
    ] {
        assert_eq!(endpoint(text), Ok(expected.into()), "{text}");
    }
    refused(
        endpoint,
        &[
            "http://a",
            "a",
            "https://",
            "https:///",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a:+1",
            "https://a..b",
            "https://a b",
            "https://[::1",
            "https://:1",
        ],
    );
    assert_eq!(endpoint("https://anna:hunter2@host").unwrap_err().what, "holds a user name");
}

#[test]
fn a_mode_is_octal() {
    assert_eq!((mode("0600"), mode("660"), mode("0777")), (Ok(0o600), Ok(0o660), Ok(0o777)));
    refused(mode, &["", "6", "0800", "1777", "00600", "rw-", "+600", "0o600"]);
}

#[test]
fn names_keep_to_their_alphabets() {
    let long = "a".repeat(65);

    assert!(["a", "7", "bedrock-eu.prod_2", &long[1..]].iter().all(|name| session_name(name).is_ok()));
    refused(session_name, &["", ".", "-a", "_a", "A", "a/b", "a b", "é", &long]);
    assert!(["ab", "Build_7+=,.@-", &long[1..]].iter().all(|name| role_session_name(name).is_ok()));
    refused(role_session_name, &["a", "a b", "a/b", "é", &long]);
    refused(region, &["", "US-EAST-1", "us east 1", "useast1", "auto"]);
    assert_eq!(region_or_auto("auto"), Ok(None));
}

#[test]
fn what_is_repeated_is_short_and_on_one_line() {
    let shown = echo(&format!("a\nb{}", "é".repeat(500)));

    assert!(shown.starts_with("`a\\nbé") && shown.ends_with("…`") && shown.chars().count() < 110, "{shown}");
}

#[test]
fn a_socket_path_fits_into_the_kernels_address() {
    let longest = format!("/{}", "a".repeat(106));
    let of = |path: &str| settle(&session("a"), &["--socket-path", path], &[]);

    assert!(of(&longest).is_ok());
    assert_eq!(
        of(&format!("{longest}a")).unwrap_err().to_string(),
        "--socket-path: the socket's path is 108 bytes long; \
         hint: the kernel allows at most 107; set a shorter `path` in [socket]"
    );
}

#[test]
fn the_content_of_a_key_in_any_spelling_is_no_path_and_usual_paths_are() {
    let der = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+Fru+AWz7yglWpk7NDUvPp/E0zTy50k6iuAOlW3DQOih";
    let hex = "3081870201003013".repeat(8);
    let url = der.replace('+', "-").replace('/', "_");
    let (spaced, filed) = (format!(" {der}"), format!("file:{der}"));
    let keys = [
        "-----BEGIN PRIVATE KEY-----",
        "PRIVATE KEY----- MIGH",
        "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
        der,
        &hex,
        &url,
        &spaced,
        &filed,
    ];
    for key in keys {
        let refused = place(key).unwrap_err();
        assert!(refused.what.starts_with("holds "), "{key}: {refused:?}");
        assert!(!refused.what.contains("MIGH"), "{refused:?}");
    }
    let long = format!("/var/lib/docker/overlay2/{}/merged/etc/keys/Machine-7/key.pem", "ab12".repeat(16));
    for path in
        ["key.pem", "/etc/ssl/private/anchord", "C1/robot-7/KEY", &long, "/a/B7/cd".repeat(20).as_str()]
    {
        assert_eq!(place(path).map(str::to_owned), Ok(path.to_owned()));
    }
}

#[test]
fn no_mistake_repeats_a_part_of_a_flags_value() {
    let flags = [
        "--tpm=CaNaRy\"77",
        "--private-key=tpm:CaNaRy77",
        "--private-key=handle:CaNaRy77",
        "--certificate=credential:CaNaRy77/",
        "--passphrase=credential:CaNaRy77/",
        "--passphrase=env:$CaNaRy77",
        "--passphrase=env:-CaNaRy77",
        "--assume-role=CaNaRy77",
        "--imds-session=CaNaRy77",
        "--role-arn=CaNaRy77\\",
        "--duration=CaNaRy77'x",
        "--session=-CaNaRy77",
        "--session=CaNaRy77",
        "--session=canary CaNaRy77",
        "--spiffe-socket=/CaNaRy77",
    ];
    for flag in flags {
        let told = settle(&session("a"), &[flag], &[]).map(|_| ()).unwrap_err().to_string();
        assert!(!told.contains("CaNaRy77"), "{flag}: {told}");
    }
}

#[test]
fn no_mistake_of_any_flag_repeats_its_value() {
    let values = [
        "CaNaRy77",
        "-CaNaRy77",
        "CaNaRy77:x",
        "CaNaRy77 x",
        "file:CaNaRy77",
        "env:CaNaRy77-x",
        "/CaNaRy77/ x",
        "https://CaNaRy77:x@",
        "arn:aws:iam::CaNaRy77",
        "1CaNaRy77",
        "credential:CaNaRy77/x",
        "handle:0xCaNaRy77",
        "pkcs11:CaNaRy77=x",
        "spiffe://CaNaRy77",
        "tpm:CaNaRy77",
        "unix:CaNaRy77",
        "CN=CaNaRy77,=",
    ];
    for spec in SELECTORS.iter().skip(1).chain(OPTIONS) {
        for value in values {
            let flag = format!("--{}={value}", spec.flag);
            let told = settle(&session("a"), &[&flag], &[]).map(|_| ()).err();
            let told = told.map(|problems| problems.to_string()).unwrap_or_default();
            assert!(!told.contains("CaNaRy77"), "{flag}: {told}");
        }
    }
}

#[test]
fn a_flags_mistake_says_what_is_allowed_though_the_value_shares_a_word_with_it() {
    for (flag, told) in [
        ("--log-level=trace-all", "--log-level: the value is not one of error, warn, info, debug, trace"),
        ("--source=access", "--source: the value is not a source (roles-anywhere, access-keys)"),
        ("--imds-session=session", "--imds-session: the value is not the name of a session"),
        ("--session=-b", "--session: the value is not a session name; hint: use 1 to 64 of"),
        ("--session=bedrok", "--session: `bedrok` is not the name of a session"),
        (
            "--roles-anywhere-region=us-east1",
            "--roles-anywhere-region: the value is not the Region of the trust anchor of session `a`, which is in \
             us-east-1; hint: leave it out",
        ),
        ("--session=Hunter 2", "--session: the value is not a session name; hint: use 1 to 64 of a-z"),
        ("--certificate=credential:a/b", "--certificate: the value is not the name of a credential"),
    ] {
        let refused = settle(&session("a"), &[flag], &[]).unwrap_err().to_string();
        assert!(refused.starts_with(told), "{refused}");
    }
}

#[test]
fn a_region_in_another_form_is_told_with_the_one_that_is_meant() {
    for (text, meant) in [
        ("eu_west_1", "eu-west-1"),
        ("US-EAST-1", "us-east-1"),
        ("useast1", "us-east-1"),
        ("us-east-1 ", "us-east-1"),
    ] {
        let hint = region(text).unwrap_err().hint.unwrap();
        assert!(hint.starts_with(&format!("did you mean {meant}?")), "{text}: {hint}");
    }
}
