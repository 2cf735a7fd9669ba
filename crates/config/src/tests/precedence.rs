//! Argument, variable, file, default; where the file is; where paths start.

use std::path::Path;

use super::*;
use anchord_identity::Locator;

/// An option, a value of the file, and texts of a variable and a flag: each as `describe` prints it.
const CASES: [(&str, [&str; 4]); 8] = [
    ("log.level", ["\"warn\"", "\"debug\"", "\"trace\"", "\"info\""]),
    ("imds.enabled", ["false", "true", "false", "true"]),
    ("upstream.read_timeout", ["\"20s\"", "\"30s\"", "\"-1\"", "\"10s\""]),
    ("http.listen", ["[\"127.0.0.1:1\"]", "[\"127.0.0.1:2\"]", "[\"127.0.0.1:3\"]", "[\"127.0.0.1:9911\"]"]),
    ("socket.path", ["\"/f/a\"", "\"/v/a\"", "\"/a/a\"", "\"/run/anchord/anchord.sock\""]),
    ("socket.mode", ["\"0640\"", "\"0660\"", "\"0666\"", "\"0600\""]),
    ("session.a.duration", ["\"2h\"", "\"3h\"", "\"4h\"", "\"1h\""]),
    ("session.a.region", ["\"eu-west-1\"", "\"eu-west-2\"", "\"eu-west-3\"", "\"us-east-1\""]),
];

#[test]
fn an_argument_goes_before_a_variable_before_the_file_before_the_default() {
    for (key, [in_file, in_variable, in_argument, default]) in CASES {
        let (table, name) = key.rsplit_once('.').unwrap();
        let spec = options::option(&key.replace("session.a.", "session."));
        let header = if table == "session.a" { String::new() } else { format!("[{table}]\n") };
        let file = format!("{}{header}{name} = {in_file}\n", session("a"));
        let bare = |text: &str| text.replace(['"', '[', ']'], "");
        let argument = format!("--{}={}", spec.flag, bare(in_argument));
        let in_variable_text = bare(in_variable);
        let shown = |file: &str, arguments: &[&str], variables: &[(&str, &str)]| {
            let settings = settle(file, arguments, variables).unwrap_or_else(|problems| panic!("{problems}"));
            let line = describe(&settings)
                .lines()
                .find(|line| line.starts_with(&format!("{key} ")))
                .unwrap()
                .to_owned();
            let (value, origin) = line.split_once(" = ").unwrap().1.split_once("  # ").unwrap();
            (value.trim().to_owned(), origin.to_owned())
        };

        let variables = [(spec.variable, in_variable_text.as_str())];
        let line = file.lines().count();
        assert_eq!(shown(&file, &[&argument], &variables), (in_argument.into(), format!("--{}", spec.flag)));
        assert_eq!(shown(&file, &[], &variables), (in_variable.into(), spec.variable.into()));
        assert_eq!(shown(&file, &[], &[]), (in_file.into(), format!("anchord.toml:{line}")));
        assert_eq!(shown(&session("a"), &[], &[]), (default.into(), "default".into()));
    }
}

#[test]
fn an_empty_variable_leaves_the_file_in_charge() {
    let file = format!("{}duration = \"2h\"", session("a"));

    let settings = settle(&file, &[], &[("ANCHORD_DURATION", "")]).unwrap();

    assert_eq!(settings.sessions[0].duration(), Duration::from_secs(7200));
}

#[test]
fn a_lists_flag_takes_commas_and_repetition() {
    let arguments = ["--listen=127.0.0.1:1, [::1]:2", "--listen", "169.254.1.2:3"];

    let settings = settle(&session("a"), &arguments, &[]).unwrap();

    let shown: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:1", "[::1]:2", "169.254.1.2:3"]);
}

#[test]
fn paths_of_the_file_start_at_its_folder_and_others_at_the_current_one() {
    let settings =
        settle(&session("a"), &["--intermediates=chain.pem"], &[("ANCHORD_CA_FILE", "../ca.pem")]).unwrap();

    let session = &settings.sessions[0];
    let expected = anchord_identity::Source {
        intermediates: Some(Locator::File("/there/chain.pem".into())),
        ..anchord_identity::Source::of_files("/etc/anchord/leaf.pem", "/keys/key.pem")
    };
    assert_eq!(session.identity(), Some(&expected));
    assert_eq!(settings.upstream.ca_file.as_deref(), Some(Path::new("/there/../ca.pem")));
}

#[test]
fn the_file_is_found_by_flag_variable_and_home_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str, session_name: &str| {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, session(session_name)).unwrap();
    };
    place("flag.toml", "flag");
    place("variable.toml", "variable");
    place("xdg/anchord/anchord.toml", "xdg");
    place("home/.config/anchord/anchord.toml", "home");
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let (xdg, home) = (in_folder("xdg"), in_folder("home"));
    let found = |arguments: &[&str], variables: &[(&str, &str)]| {
        let environment = environment(variables).with_current_dir(folder.path());
        load(&matches(arguments), &environment).unwrap().sessions[0].name.clone()
    };

    let all = [("ANCHORD_CONFIG", "variable.toml"), ("XDG_CONFIG_HOME", &xdg), ("HOME", &home)];
    assert_eq!(found(&["--config=flag.toml"], &all), "flag");
    assert_eq!(found(&[], &all), "variable");
    assert_eq!(found(&[], &all[1..]), "xdg");
    assert_eq!(found(&[], &all[2..]), "home");
    assert_eq!(found(&[], &[("XDG_CONFIG_HOME", "xdg"), ("HOME", &home)]), "home");

    let in_a_file = environment(&[("XDG_CONFIG_HOME", &in_folder("flag.toml"))]);
    let passed_over = load(&matches(&[]), &in_a_file).map_err(|problems| problems.to_string());
    assert!(!passed_over.is_err_and(|problems| problems.contains("cannot read")));
}

#[test]
fn a_named_file_must_be_there_and_nothing_is_called_missing_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(&[("ANCHORD_CONFIG", "none.toml")]).with_current_dir(folder.path());

    let problems = load(&matches(&["--log-level=loud"]), &environment).unwrap_err();

    assert_eq!(
        problems.to_string(),
        "--log-level: the value is not one of error, warn, info, debug, trace\n\
         ANCHORD_CONFIG: cannot read `none.toml`: No such file or directory (os error 2); \
         hint: name a file that this user can read"
    );
}

#[test]
fn a_proxy_that_cannot_be_used_is_told_with_its_variable() {
    let settle = |reader, value: &str| {
        let environment = environment(&[("ALL_PROXY", value)]);
        let file = format!("runtime_directory = \"/run/anchord\"\n{}", session("a"));
        settle_as(reader, file.as_bytes(), Default::default(), &environment)
            .map_err(|problems| problems.to_string())
    };

    assert_eq!(
        settle(Consumer::Daemon, "socks5://127.0.0.1:1080").unwrap_err(),
        "ALL_PROXY: names a proxy that is neither http nor https; hint: SOCKS is not supported"
    );
    for bad in ["htp://127.0.0.1:9", "ftp://x:1"] {
        let refused = settle(Consumer::Daemon, bad).unwrap_err();
        let told =
            "ALL_PROXY: names a proxy that is neither http nor https; hint: the form is http://host:port";
        assert_eq!(refused, told, "{bad}");
    }
    for bad in ["http://", "http://:3128", "http://user@/", "http://[::1:9", "http://a b:1"] {
        let refused = settle(Consumer::Daemon, bad).unwrap_err();
        assert_eq!(
            refused, "ALL_PROXY: names a proxy without a valid host; hint: the form is http://host:port",
            "{bad}"
        );
    }
    for bad in ["http://u:p", "u:p", "http://h:99999", "::1", "socks5h:127.0.0.1:9"] {
        let refused = settle(Consumer::Daemon, bad).unwrap_err();
        assert!(!refused.contains(bad) && refused.contains("ALL_PROXY: names "), "{bad}: {refused}");
    }
    for good in [
        "proxy:3128",
        "http://u:p%40@proxy.example:3128/",
        "HTTPS://[::1]:3128",
        "http://u:a/b#c@proxy_1.example",
        "http://proxy.example:/",
        "bücher.example:80",
        " 10.0.0.1:3128 ",
    ] {
        assert!(settle(Consumer::Daemon, good).is_ok(), "{good}");
    }
    assert!(
        settle(Consumer::Client, "socks5://127.0.0.1:1080").is_ok(),
        "whoever asks a daemon needs no proxy"
    );
}

#[test]
fn the_runtime_directory_is_systemds_or_roots_or_the_users() {
    let of = |variables: &[(&str, &str)], uid| {
        let environment = environment(variables).with_uid(uid);
        let settings = settle_as(Consumer::Daemon, session("a").as_bytes(), Default::default(), &environment);
        settings.map(|settings| settings.runtime_directory.display().to_string()).map_err(|p| p.to_string())
    };
    let both = [("RUNTIME_DIRECTORY", "/run/one:/run/two"), ("XDG_RUNTIME_DIR", "/run/user/1000")];

    assert_eq!(of(&both, 1000), Ok("/run/one".into()));
    assert_eq!(of(&both[1..], 0), Ok("/run/anchord".into()));
    assert_eq!(of(&both[1..], 1000), Ok("/run/user/1000/anchord".into()));
    assert!(of(&[], 1000).unwrap_err().starts_with("there is no runtime directory"));
    assert_eq!(
        of(&[("XDG_RUNTIME_DIR", "run")], 1000),
        Err("XDG_RUNTIME_DIR: is not an absolute path".into())
    );
}

#[test]
fn a_client_needs_neither_sessions_nor_a_runtime_directory() {
    let environment = root().with_uid(1000);

    let settings = settle_as(Consumer::Client, b"", Default::default(), &environment).unwrap();

    assert_eq!((settings.sessions.as_slice(), &settings.imds), ([].as_slice(), &None));
    assert_eq!(settings.socket.unwrap().path, Path::new("/run/user/1000/anchord/anchord.sock"));
}

#[test]
fn a_client_may_pick_a_session_that_only_the_daemon_knows() {
    let picked = Arguments::from(&matches(&["--session=bedrock"]));
    let settings = settle_as(Consumer::Client, b"", picked, &root()).unwrap();
    let served = settle_as(Consumer::Client, b"[imds]\nsession = \"b\"", Default::default(), &root());

    assert_eq!((settings.picked.as_deref(), settings.the_session()), (Some("bedrock"), None));
    assert_eq!(
        served.unwrap_err().to_string(),
        "anchord.toml:2: `session` in [imds]: `b` is not the name of a session"
    );
}

#[test]
fn proxies_are_read_as_curl_reads_them_and_their_passwords_are_not_shown() {
    let settings = settle(
        &session("a"),
        &[],
        &[
            ("HTTPS_PROXY", "http://upper"),
            ("https_proxy", "http://anna:hunter2@h@proxy.example:3128"),
            ("all_proxy", "http://all"),
            ("NO_PROXY", "localhost,.internal"),
        ],
    )
    .unwrap();

    let shown = format!("{settings:?}\n{}", describe(&settings));
    let proxy = settings.upstream.proxy.unwrap();
    assert_eq!(proxy.expose(), "http://anna:hunter2@h@proxy.example:3128");
    assert_eq!(settings.upstream.no_proxy.as_deref(), Some("localhost,.internal"));
    assert!(
        shown.contains("\"http://[redacted]@proxy.example:3128\"") && shown.contains("# https_proxy"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2") && !shown.contains("anna") && !shown.contains("@h"), "{shown}");
}

#[test]
fn aws_region_variables_change_nothing() {
    let settings =
        settle(&session("a"), &[], &[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-1")])
            .unwrap();

    assert_eq!(settings.sessions[0].region.as_str(), "us-east-1");
}

#[test]
fn a_description_tells_each_value_and_who_decided_it() {
    let file = format!("[log]\nlevel = \"warn\"\n{}", session("bedrock"));

    let settings = settle(&file, &["--duration=45m"], &[("ANCHORD_LISTEN", "127.0.0.1:0")]).unwrap();

    let expected = r#"
file                                      = "/etc/anchord/anchord.toml"               # default
runtime_directory                         = "/run/anchord"                            # default
access_group                              = (none)                                    # default
sandbox                                   = true                                      # default
log.level                                 = "warn"                                    # anchord.toml:2
log.format                                = "text"                                    # default
http.listen                               = ["127.0.0.1:0"]                           # ANCHORD_LISTEN
imds.enabled                              = true                                      # default
imds.session                              = "bedrock"                                 # default
imds.allow                                = (none)                                    # default
container.enabled                         = true                                      # default
socket.enabled                            = true                                      # default
socket.path                               = "/run/anchord/anchord.sock"               # default
socket.mode                               = "0600"                                    # default
upstream.connect_timeout                  = "5s"                                      # default
upstream.read_timeout                     = "10s"                                     # default
upstream.ca_file                          = (none)                                    # default
upstream.proxy                            = (none)                                    # default
upstream.no_proxy                         = (none)                                    # default
upstream.use_fips_endpoint                = false                                     # default
upstream.use_dualstack_endpoint           = false                                     # default
session.bedrock.source                    = "roles-anywhere"                          # default
session.bedrock.certificate               = "/etc/anchord/leaf.pem"                   # anchord.toml:4
session.bedrock.private_key               = "/keys/key.pem"                           # anchord.toml:5
session.bedrock.intermediates             = (none)                                    # default
session.bedrock.passphrase                = (none)                                    # default
session.bedrock.certificate_fingerprint   = (none)                                    # default
session.bedrock.certificate_subject       = (none)                                    # default
session.bedrock.certificate_issuer        = (none)                                    # default
session.bedrock.certificate_serial        = (none)                                    # default
session.bedrock.pkcs11_module             = (none)                                    # default
session.bedrock.tpm                       = "device:/dev/tpmrm0"                      # default
session.bedrock.spiffe_socket             = (none)                                    # default
session.bedrock.spiffe_hint               = (none)                                    # default
session.bedrock.trust_anchor_arn          = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/41c10bae"  # anchord.toml:6
session.bedrock.profile_arn               = "arn:aws:rolesanywhere:us-east-1:123456789012:profile/9f2d6a70"  # anchord.toml:7
session.bedrock.role_arn                  = "arn:aws:iam::123456789012:role/bedrock"  # anchord.toml:8
session.bedrock.duration                  = "45m"                                     # --duration
session.bedrock.role_session_name         = (none)                                    # default
session.bedrock.region                    = "us-east-1"                               # default
session.bedrock.allow                     = (none)                                    # default
session.bedrock.roles_anywhere_region     = "auto"                                    # default
session.bedrock.endpoint                  = (none)                                    # default
session.bedrock.fallback_trust_anchor_arn = (none)                                    # default
session.bedrock.fallback_profile_arn      = (none)                                    # default
session.bedrock.fallback_endpoint         = (none)                                    # default
session.bedrock.access_keys               = (none)                                    # default
session.bedrock.get_session_token         = true                                      # default
session.bedrock.assume_role               = (none)                                    # default
session.bedrock.sts_region                = "us-east-1"                               # default
session.bedrock.sts_endpoint              = (none)                                    # default
"#;
    assert_eq!(describe(&settings), &expected[1..]);
}
