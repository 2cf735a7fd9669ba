//! What a person sees for each mistake, and that nothing that works is lost by it.

use std::process::Command;

use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process;
use anchord_testing::stage::process::anchord;

/// A daemon with a good session beside one whose files are as `spoil` leaves them: the message about the bad
/// one, after the good one has been seen to work.
async fn beside_a_good_session(spoil: impl FnOnce(&Stage)) -> String {
    let stage = Stage::new().await;
    stage.write("bad-leaf.pem", &fs_err::read_to_string(stage.path("leaf.pem")).unwrap());
    stage.write("bad-key.pem", &fs_err::read_to_string(stage.path("key.pem")).unwrap());
    let bad = stage.session("bad").replace("leaf.pem", "bad-leaf.pem").replace("key.pem", "bad-key.pem");
    stage.configure(&format!("[imds]\nsession = \"good\"\n{}{bad}", stage.session("good")));
    spoil(&stage);

    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    assert_eq!(client::container(&http, "good", &stage.bearer("good")).await.status, 200);
    assert_eq!(client::container(&http, "bad", &stage.bearer("bad")).await.status, 503);
    let reply = client::socket(&stage.socket(), "bad").await;
    assert_eq!(reply.status, 503);
    let status = stage.run(&["status"]).await;
    assert_eq!(status.code, 1);
    assert!(
        status.stdout.contains("good: live") && status.stdout.contains("bad: lapsed"),
        "{}",
        status.stdout
    );
    let told = reply.json();
    let (message, hint) = (told["message"].as_str().unwrap(), told["hint"].as_str().unwrap());
    let folder = format!("{}/", stage.path("").display());
    let folder = folder.trim_end_matches('/').to_owned() + "/";
    assert!(daemon.output().contains(&serde_json::to_string(message).unwrap()[1..20]), "{}", daemon.output());
    format!("{message}; hint: {hint}").replace(&folder, "")
}

#[tokio::test]
async fn each_bad_file_has_its_message_and_the_other_session_goes_on() {
    let expired = |stage: &Stage| {
        let mut request = LeafRequest::new("robot-7", KeyKind::P256);
        request.not_after = request.not_before + time::Duration::MINUTE;
        let leaf = stage.root.leaf(&request).unwrap();
        stage.write("bad-leaf.pem", leaf.certificate_pem());
        stage.write("bad-key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
    };
    type Spoil<'a> = &'a dyn Fn(&Stage);
    let cases: [(Spoil<'_>, &str); 6] = [
        (
            &|stage| fs_err::remove_file(stage.path("bad-key.pem")).unwrap(),
            "cannot read `bad-key.pem`: No such file or directory (os error 2); hint: put the file there",
        ),
        (&|stage| fs_err::write(stage.path("bad-leaf.pem"), "").unwrap(), "`bad-leaf.pem` is empty; hint:"),
        (
            &|stage| fs_err::write(stage.path("bad-leaf.pem"), "garbage\n").unwrap(),
            "`bad-leaf.pem` holds no certificate: it has no PEM section at all; hint: PEM is text",
        ),
        (
            &|stage| stage.write("bad-key.pem", &stage.leaf().key_pem(KeyForm::Pkcs8).unwrap()),
            "no certificate in `bad-leaf.pem` belongs to the private key in `bad-key.pem`; hint: the two must",
        ),
        (&expired, "the leaf in `bad-leaf.pem` expired at"),
        (
            &|stage| {
                fs_err::remove_file(stage.path("bad-key.pem")).unwrap();
                fs_err::create_dir(stage.path("bad-key.pem")).unwrap();
            },
            "`bad-key.pem` is a directory, not a regular file; hint:",
        ),
    ];
    for (spoil, expected) in cases {
        let text = beside_a_good_session(spoil).await;
        assert!(text.starts_with(expected), "expected {expected}\n     got {text}");
    }
}

#[tokio::test]
async fn a_bad_certificate_that_is_mended_is_used_without_a_restart() {
    let stage = Stage::new().await;
    stage.write("key.pem", "");
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    assert_eq!(client::imds(&http).await.status, 503);

    stage.install(&stage.leaf());
    stage.emulator.wait_for_requests(1).await;

    assert_eq!(
        client::socket(&stage.socket(), "bedrock").await.key_id(),
        stage.emulator.issued()[0].access_key_id
    );
}

#[tokio::test]
async fn all_mistakes_of_a_configuration_are_reported_in_one_run_with_their_lines() {
    let stage = Stage::new().await;
    let session =
        stage.session("bedrock").replace("certificate =", "certifcate =").replace(":role/", ":user/");
    stage.configure(&format!("{session}duration = \"5m\"\n"));

    for verb in [&["run"][..], &["config", "check"]] {
        let ran = stage.run(verb).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        for expected in ["certifcate", "not a role ARN", "duration", "anchord.toml:"] {
            assert!(ran.stderr.contains(expected), "{expected} is not in {}", ran.stderr);
        }
        assert!(ran.stderr.lines().all(|line| line.starts_with("anchord: ")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn config_check_shows_settings_origins_and_the_certificate() {
    let stage = Stage::new().await;

    let good = stage.run(&["config", "check"]).await;
    stage.write("key.pem", &stage.leaf().key_pem(KeyForm::Pkcs8).unwrap());
    let bad = stage.run(&["config", "check"]).await;

    assert_eq!(good.code, 0, "{}", good.stderr);
    assert!(good.stdout.contains("# session.bedrock: CN=robot-7, valid until "), "{}", good.stdout);
    assert!(good.stdout.contains("anchord.toml:"), "{}", good.stdout);
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("belongs to the private key"), "{}", bad.stderr);
}

#[tokio::test]
async fn config_check_finds_what_run_would_refuse() {
    let stage = Stage::new().await;
    fs_err::remove_file(stage.path("tls-ca.pem")).unwrap();

    let ran = stage.run(&["config", "check"]).await;

    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("tls-ca.pem") && ran.stderr.contains("hint: set `upstream.ca_file`"),
        "{}",
        ran.stderr
    );
}

async fn refuses_to_start(stage: &Stage) -> String {
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let (code, output) = Daemon::of(command).ended().await;
    assert_eq!(code, 1, "{output}");
    output.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_taken_port_is_told_and_leaves_its_owner_alone() {
    let stage = Stage::new().await;
    let owner = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = owner.local_addr().unwrap().to_string();
    let configuration = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &configuration.replace("127.0.0.1:0", &address));

    let text = refuses_to_start(&stage).await;

    assert!(text.contains(&format!("anchord: cannot listen on {address}: Address already in use")), "{text}");
    assert!(text.contains("hint: `ss -ltnp`"), "{text}");
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_serves_on() {
    let stage = Stage::new().await;
    let first = stage.daemon().await;

    let text = refuses_to_start(&stage).await;

    assert!(text.contains("anchord: another daemon listens on `"), "{text}");
    assert!(text.contains("hint: stop it first"), "{text}");
    assert_eq!(client::socket(&stage.socket(), "bedrock").await.status, 200);
    drop(first);
}

#[tokio::test]
async fn a_killed_daemons_socket_is_taken_over() {
    let stage = Stage::new().await;
    let mut first = stage.daemon().await;
    first.kill();
    assert!(stage.socket().exists(), "a killed daemon leaves its socket");

    let _second = stage.daemon().await;

    assert_eq!(client::socket(&stage.socket(), "bedrock").await.status, 200);
}

#[tokio::test]
async fn a_bearer_file_that_others_could_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    drop(stage.daemon().await);
    let token = stage.path("run/bedrock.token");
    fs_err::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();

    let text = refuses_to_start(&stage).await;

    assert!(
        text.contains("bedrock.token")
            && text.contains("is accessible to other users")
            && text.contains("hint:"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_code_two() {
    let stage = Stage::new().await;

    for arguments in [&["rum"][..], &["run", "--sesion", "x"], &[]] {
        let mut command = anchord();
        command.args(arguments);
        let ran = process::to_the_end(command).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
    }
    let help = stage.run(&["run", "--help"]).await;
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("--trust-anchor-arn"), "{}", help.stdout);
}

/// The most common ways in which other programs and people spoil a certificate's file.
#[tokio::test]
async fn what_stands_in_a_pem_files_place_is_named_with_what_converts_it() {
    let stage = Stage::new().await;
    let pem = fs_err::read_to_string(stage.path("leaf.pem")).unwrap();
    let utf16: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16_big: Vec<u8> = pem.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let escaped = pem.replace('\n', "\\n");
    let spaces = pem.replace('\n', " ");
    let renamed = |label: &str| pem.replace(" CERTIFICATE-", &format!(" {label}-")).into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (utf16, "iconv -f UTF-16LE -t UTF-8"),
        (utf16_big, "iconv -f UTF-16BE -t UTF-8"),
        (format!("\u{200b}{pem}{pem}").into_bytes(), "delete the text before them"),
        (b"<!doctype html>\n<title>Sign in</title>\n".to_vec(), "this is a web page"),
        (escaped.into_bytes(), "the two characters `\\n`"),
        (spaces.into_bytes(), "sed -E 's/-----(BEGIN|END)"),
        (renamed("PKCS7"), "openssl pkcs7 -print_certs"),
        (renamed("TRUSTED CERTIFICATE"), "openssl x509 -in"),
        (renamed("X509 CERTIFICATE"), "sed 's/X509 CERTIFICATE/CERTIFICATE/'"),
        (renamed("CERTIFICATE REQUEST"), "the request for a certificate"),
    ];
    for (content, expected) in cases {
        fs_err::write(stage.path("leaf.pem"), content).unwrap();

        let ran = stage.run(&["credential-process", "--session", "bedrock", "--no-cache"]).await;

        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("leaf.pem") && ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn certificate_and_key_with_a_byte_order_mark_are_used() {
    let stage = Stage::new().await;
    for name in ["leaf.pem", "key.pem", "tls-ca.pem", "anchord.toml"] {
        let text = fs_err::read_to_string(stage.path(name)).unwrap();
        stage.write(name, &format!("\u{feff}{text}"));
    }

    let ran = stage.run(&["credential-process", "--session", "bedrock", "--no-cache"]).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[tokio::test]
async fn no_verb_waits_for_a_pipe_or_reads_a_device_to_its_end() {
    let stage = Stage::new().await;
    let pipe = stage.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let pipe = pipe.to_str().unwrap();

    for (place, expected) in
        [(pipe, "it is a pipe, and nothing writes to it"), ("/dev/zero", "is a device, not a regular file")]
    {
        for verb in [&["read-certificate-data", "--certificate"][..], &["certificate", "show"]] {
            let mut command = anchord();
            command.args(verb).arg(place).envs(process::home(stage.path("")));
            let ran = process::to_the_end(command).await;

            assert_ne!(ran.code, 0);
            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert!(told.contains(expected), "{verb:?}: {told}");
        }
    }
    // Beside what it is asked for, the doctor reads the SDKs' files.
    let mut command = anchord();
    command.args(["check", "--config"]).arg(stage.path("anchord.toml")).envs(process::home(stage.path("")));
    command.env("AWS_CONFIG_FILE", pipe).env("AWS_SHARED_CREDENTIALS_FILE", "/dev/zero");
    let ran = process::to_the_end(command).await;
    assert!(ran.stdout.contains("it is a pipe, not a regular file"), "{}", ran.stdout);
}

/// `<(…)` of shells: one reading, by a verb that ends.
#[tokio::test]
async fn certificate_and_key_may_come_from_variables_and_from_pipes() {
    let stage = Stage::new().await;
    let (leaf, key) = (stage.path("leaf.pem"), stage.path("key.pem"));
    let (certificate, private_key) =
        (fs_err::read_to_string(&leaf).unwrap(), fs_err::read_to_string(&key).unwrap());

    for form in ["variables", "pipes"] {
        let mut command = Command::new("sh");
        let script = match form {
            "variables" => "exec \"$0\" \"$@\" --certificate env:LEAF --private-key env:KEY",
            _ => "printf %s \"$KEY\" | exec \"$0\" \"$@\" --private-key /dev/stdin",
        };
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_anchord"));
        command.args(["credential-process", "--no-cache", "--session", "bedrock", "--config"]);
        command.arg(stage.path("anchord.toml")).envs(process::home(stage.path("")));
        command.env("LEAF", &certificate).env("KEY", &private_key);

        let ran = process::to_the_end(command).await;

        assert_eq!(ran.code, 0, "{form}: {}", ran.stderr);
    }
}
