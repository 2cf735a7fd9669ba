//! The command lines of AWS's `aws_signing_helper`, under its name and under ours.

use anchord_core::event;
use std::process::Command;

use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

const OTHER_NAME: &str = "aws_signing_helper";
const NAMES: [&str; 2] = [OTHER_NAME, "anchord"];

/// The program called by `name`, where nothing of the machine reaches it.
fn called(stage: &Stage, name: &str) -> Command {
    let link = stage.path(name);
    if !link.exists() {
        fs_err::os::unix::fs::symlink(env!("CARGO_BIN_EXE_anchord"), &link).unwrap();
    }
    let mut command = Command::new(link);
    command.env_clear().current_dir(stage.path("")).stdin(std::process::Stdio::null());
    command.envs(process::home(stage.path(&format!("home-of-{name}")))).env("TMPDIR", stage.path(""));
    command.env("AWS_CA_BUNDLE", stage.path("tls-ca.pem"));
    command
}

/// What every verb that obtains credentials needs.
fn flags(stage: &Stage) -> Vec<String> {
    let table = stage.session("x");
    let value = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let mut flags = vec!["--certificate".into(), "leaf.pem".into(), "--private-key=key.pem".into()];
    for key in ["trust_anchor_arn", "profile_arn", "role_arn", "endpoint"] {
        flags.extend([format!("--{}", key.replace('_', "-")), value(key)]);
    }
    flags
}

async fn run(stage: &Stage, name: &str, verb: &str, more: &[&str]) -> Ran {
    let mut command = called(stage, name);
    command.arg(verb).args(flags(stage)).args(more);
    process::to_the_end(command).await
}

async fn run_alone(stage: &Stage, name: &str, arguments: &[&str]) -> Ran {
    let mut command = called(stage, name);
    command.args(arguments);
    process::to_the_end(command).await
}

fn json(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[tokio::test]
async fn credential_process_gives_the_same_under_both_names() {
    let stage = Stage::new().await;
    let more = [
        "--session-duration=1800",
        "--region",
        "us-east-1",
        "--with-proxy",
        "--use-latest-expiring-certificate=false",
        "--no-tpm-key-password=false",
        "--reuse-pin=F",
        "--debug=0",
        "--intermediates",
        "",
    ];
    for (index, name) in NAMES.into_iter().enumerate() {
        let printed = json(&run(&stage, name, "credential-process", &more[..8 + 2 * (1 - index)]).await);

        let issued = &stage.emulator.issued()[index];
        assert_eq!(printed["Version"], 1);
        assert_eq!(printed["AccessKeyId"], issued.access_key_id);
        assert_eq!(printed["SecretAccessKey"], issued.secret_access_key);
        assert_eq!(printed["SessionToken"], issued.session_token);
        assert!(printed["Expiration"].as_str().unwrap().ends_with('Z'));
    }
    for request in stage.emulator.requests() {
        assert_eq!(request.body.unwrap()["durationSeconds"], 1800);
    }
}

#[tokio::test]
async fn a_proxy_is_passed_by_for_loopback_alone_under_the_other_name() {
    let stage = Stage::new().await;
    let called = |name, more: &'static [&str]| {
        let mut command = called(&stage, name);
        command.arg("credential-process").args(flags(&stage)).args(["--no-cache"]).args(more);
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        process::to_the_end(command)
    };
    const ELSEWHERE: &[&str] = &["--endpoint=https://anchord.invalid"];

    json(&called(OTHER_NAME, &[]).await);
    json(&called(OTHER_NAME, &["--with-proxy"]).await);
    for ran in [called(OTHER_NAME, ELSEWHERE).await, called("anchord", &[]).await] {
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("through the proxy 127.0.0.1:1"), "{ran:?}");
    }
}

/// A second call of the same line comes from the cache.
#[tokio::test]
async fn under_the_other_name_calls_share_a_cache() {
    let stage = Stage::new().await;

    let first = json(&run(&stage, OTHER_NAME, "credential-process", &[]).await);
    let second = json(&run(&stage, OTHER_NAME, "credential-process", &[]).await);
    let other = json(&run(&stage, OTHER_NAME, "credential-process", &["--session-duration", "900"]).await);

    let apart = json(&run(&stage, OTHER_NAME, "credential-process", &["--no-cache"]).await);

    assert_eq!(first, second);
    assert_ne!(first["AccessKeyId"], other["AccessKeyId"]);
    assert_ne!(first["AccessKeyId"], apart["AccessKeyId"]);
    assert_eq!(stage.emulator.sessions_created(), 3);
}

#[tokio::test]
async fn under_the_other_name_no_file_variable_or_daemon_has_a_say() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = called(&stage, OTHER_NAME);
    command.arg("credential-process").args(flags(&stage));
    command.env("ANCHORD_CONFIG", stage.path("anchord.toml")).env("ANCHORD_ROLE_ARN", "nonsense");
    command.env("ANCHORD_SOCKET_PATH", stage.socket()).env("ALL_PROXY", "http://127.0.0.1:1");

    let printed = json(&process::to_the_end(command).await);

    assert_eq!(stage.emulator.sessions_created(), 2, "the daemon's own, and this one");
    assert_eq!(printed["AccessKeyId"], stage.emulator.issued()[1].access_key_id);
}

#[tokio::test]
async fn serve_says_where_sdks_find_it_and_serves_the_role() {
    let stage = Stage::new().await;
    for name in NAMES {
        let mut command = called(&stage, name);
        command.arg("serve").args(flags(&stage)).args([
            "--port",
            "0",
            "--hop-limit",
            "3",
            "--log-format=json",
        ]);
        let daemon = Daemon::of(command);
        let address = daemon.told("export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://").await;
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with('/'), "{address}");
        let issued = stage.emulator.issued();
        assert_eq!(client::imds(&address).await.key_id(), issued.last().unwrap().access_key_id);

        let (code, output) = daemon.stop().await;
        assert_eq!(code, 0, "{output}");
        stage.assert_no_secrets(&output, &[]);
    }
    let left: Vec<_> =
        fs_err::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("anchord-")), "{left:?}");
}

/// As AWS's tool does; who wants it to stay starts it with `nohup`.
#[tokio::test]
async fn serve_ends_with_its_terminal_unless_hangups_are_ignored() {
    let stage = Stage::new().await;
    let serve = |started: &str| {
        let mut command = called(&stage, OTHER_NAME);
        let program = command.get_program().to_owned();
        command = with_the_environment_of(&command, "sh");
        command.args(["-c", &format!("{started} \"$@\""), "sh"]).arg(program);
        command.arg("serve").args(flags(&stage)).args(["--port=0", "--log-format=json"]);
        Daemon::of(command)
    };

    // These tests may have been started by `nohup` themselves.
    let plain = serve("exec env --default-signal=HUP");
    plain.wait_for(event::DAEMON_READY).await;
    plain.signal(Signal::HUP);
    assert_eq!(plain.ended().await.0, 0);

    let stays = serve("trap '' HUP; exec");
    stays.wait_for(event::DAEMON_READY).await;
    stays.signal(Signal::HUP);
    assert_eq!(stays.wait_for(event::CONFIG_RELOADED).await["unchanged"], 1);
    assert_eq!(stays.stop().await.0, 0);
}

/// `program` where and as `command` would run.
fn with_the_environment_of(command: &Command, program: &str) -> Command {
    let mut other = Command::new(program);
    other.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.current_dir(command.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    other
}

#[tokio::test]
async fn serve_keeps_its_key_in_its_folder_and_neither_bearers_nor_a_socket() {
    let stage = Stage::new().await;
    let mut command = called(&stage, OTHER_NAME);
    command.arg("serve").args(flags(&stage)).args(["--port=0", "--runtime-directory", "served"]);
    let daemon = Daemon::of(command);

    daemon.told("export AWS_EC2_METADATA_SERVICE_ENDPOINT=").await;

    let kept = fs_err::read_dir(stage.path("served")).unwrap().map(|entry| entry.unwrap().file_name());
    let kept: Vec<_> = kept.map(|name| name.into_string().unwrap()).collect();
    assert!(kept.iter().any(|name| name == "imds-token.key"), "{kept:?}");
    assert!(!kept.iter().any(|name| name.contains("sock") || name.ends_with(".token")), "{kept:?}");
}

/// As in a container whose root file system is read-only, where AWS's tool works.
#[tokio::test]
async fn serve_needs_no_folder_that_can_be_written_but_shared_memory() {
    let stage = Stage::new().await;
    let mut command = called(&stage, OTHER_NAME);
    command.arg("serve").args(flags(&stage)).arg("--port=0").env("TMPDIR", "/proc/none");
    let daemon = Daemon::of(command);

    let address = daemon.told("export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://").await;

    assert!(client::imds(&address).await.key_id().starts_with("ASIA"));
    assert_eq!(daemon.stop().await.0, 0);
}

/// As in a container whose root file system is read-only and that has no memory to share.
#[tokio::test]
async fn serve_needs_no_folder_that_can_be_written() {
    let stage = Stage::new().await;
    let mounted =
        "mount -t tmpfs -o ro run /run && mount -t tmpfs -o ro shm /dev/shm || exit 99; exec \"$@\"";
    let in_it = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", program]);
        command.current_dir(stage.path("")).env_clear().env("TMPDIR", "/proc/none");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    if !in_it("true").output().is_ok_and(|output| output.status.success()) {
        return not_played("this user may have no mounts of their own");
    }
    let mut command = in_it(env!("CARGO_BIN_EXE_anchord"));
    command.arg("serve").args(flags(&stage)).args(["--port=0", "--log-format=json", "--ca-file=tls-ca.pem"]);
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    daemon.wait_for(event::RUNTIME_DIRECTORY_MISSING).await;
}

/// A taken port ends it before it serves.
#[tokio::test]
async fn serve_warns_where_the_folder_that_outlives_it_cannot_be_had() {
    let stage = Stage::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let serve = |folder: &str| {
        let mut command = called(&stage, OTHER_NAME);
        command.arg("serve").args(flags(&stage)).args(["--port", &port]);
        command.env("RUNTIME_DIRECTORY", stage.path(folder));
        process::to_the_end(command)
    };
    let told = "a restart invalidates the tokens of IMDS clients";

    // Under a file nothing can be made, by root neither.
    let (without, with) = (serve("leaf.pem/run").await, serve("made").await);

    assert!(without.stderr.contains(&format!("run/serve-{port}`; {told}")), "{without:?}");
    assert!(!with.stderr.contains(told), "{with:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_flag_that_names_another() {
    let stage = Stage::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let ran = run(&stage, OTHER_NAME, "serve", &["--port", &port]).await;

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(&format!("anchord: cannot listen on 127.0.0.1:{port}: ")), "{}", ran.stderr);
    assert!(ran.stderr.contains("choose another port with --port"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_taken_with_a_warning_only_where_it_was_asked_for() {
    let stage = Stage::new().await;
    let mut command = called(&stage, OTHER_NAME);
    command.arg("credential-process").args(flags(&stage)).env_remove("AWS_CA_BUNDLE");
    let refused = process::to_the_end(command).await;
    assert_eq!(refused.code, 1);

    let mut command = called(&stage, OTHER_NAME);
    command.arg("credential-process").args(flags(&stage)).arg("--no-verify-ssl").env_remove("AWS_CA_BUNDLE");
    json(&process::to_the_end(command).await);

    let mut command = called(&stage, OTHER_NAME);
    command.arg("serve").args(flags(&stage)).args(["--no-verify-ssl", "--port=0", "--log-format=json"]);
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;
    let output = daemon.output();
    assert!(output.starts_with("anchord: warning: --no-verify-ssl lets anyone"), "{output}");
}

#[tokio::test]
async fn read_certificate_data_says_what_to_do_about_a_negative_serial_number() {
    let stage = Stage::new().await;
    let leaf = stage.root.with_serial(&stage.leaf(), &[0x80]).unwrap();
    stage.install(&leaf);
    let read = ["read-certificate-data", "--certificate", "leaf.pem"];

    let ran = run_alone(&stage, NAMES[0], &read).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: reissue it with a positive serial number"), "{}", ran.stderr);
}

/// AWS's tool goes on to the next one without a word.
#[tokio::test]
async fn read_certificate_data_says_that_it_has_passed_over_a_damaged_certificate() {
    let stage = Stage::new().await;
    let (first, second) = (stage.leaf(), stage.leaf());
    stage.write("leaf.pem", &format!("x{}{}", first.certificate_pem(), second.certificate_pem()));
    let read = ["read-certificate-data", "--certificate", "leaf.pem"];

    let ran = run_alone(&stage, "aws_signing_helper", &read).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let data: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(data["certificateData"], BASE64_STANDARD.encode(second.certificate_der()));
    let told = "leaf.pem` is damaged in line 1: text precedes BEGIN on its line";
    assert!(ran.stderr.starts_with("anchord: warning: `") && ran.stderr.contains(told), "{}", ran.stderr);
}

#[tokio::test]
async fn read_certificate_data_prints_a_file_as_json() {
    let stage = Stage::new().await;
    for (kind, key_type) in [(KeyKind::P256, "EC"), (KeyKind::Rsa2048, "RSA")] {
        let leaf = stage.root.leaf(&LeafRequest::new("robot-7", kind)).unwrap();
        stage.install(&leaf);
        for name in NAMES {
            let ran = run_alone(&stage, name, &["read-certificate-data", "--certificate", "leaf.pem"]).await;

            let printed = json(&ran);
            let der = BASE64_STANDARD.encode(leaf.certificate_der());
            let algorithms = ["SHA256", "SHA384", "SHA512"].map(|digest| format!("{key_type}{digest}"));
            let expected = format!(
                "{{\"keyType\":\"{key_type}\",\"certificateData\":\"{der}\",\"serialNumber\":{},\"supportedAlgorithms\":{}}}",
                printed["serialNumber"],
                serde_json::to_string(&algorithms).unwrap()
            );
            assert_eq!(ran.stdout, expected);
            assert!(printed["serialNumber"].as_str().unwrap().bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
}

/// On secp256k1, which Go's parser does not know, nor Roles Anywhere.
const ODD_CURVE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbzCCARSgAwIBAgIUYKAd4P/jjXZOhf5Py+fIh9t/rrcwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCazEwIBcNMjYxMTMwMTgyNzAwWhgPMjEyNjExMDYxODI3MDBa
MA0xCzAJBgNVBAMMAmsxMFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEyQnuryTgsJnU
KxebqnnsL6G3HTTKsmbsXGG0oxS65hU2P42QyLrAGF8pfSJr8X05kZy7suqFL+dA
24X0m+slOqNTMFEwHQYDVR0OBBYEFMmv0zPNH+FYbaT+R2KTWrrbj3EbMB8GA1Ud
IwQYMBaAFMmv0zPNH+FYbaT+R2KTWrrbj3EbMA8GA1UdEwEB/wQFMAMBAf8wCgYI
KoZIzj0EAwIDSQAwRgIhAM+Bs3Dm4QXMAmHWr70inzdwgDXNJ5baSrXCNWmkch1r
AiEA0XYWgNOFjxy2x7OFirUshzPaS/y41HuSJ0WS6odR5hE=
-----END CERTIFICATE-----
";

#[tokio::test]
async fn a_certificate_on_another_curve_is_not_read_as_one_that_can_be_used() {
    let stage = Stage::new().await;
    stage.write("odd.pem", ODD_CURVE);
    for name in NAMES {
        let ran = run_alone(&stage, name, &["read-certificate-data", "--certificate=odd.pem"]).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: Roles Anywhere accepts P-256, P-384 and P-521"), "{}", ran.stderr);
    }
}

/// Their algorithm is their key's, for they sign without a digest before the signature. The text has no digest of the key
/// at its end either.
#[cfg(feature = "ml-dsa")]
#[tokio::test]
async fn ml_dsa_is_named_and_signed_as_by_aws_tool() {
    use aws_lc_rs::signature;
    let stage = Stage::new().await;
    for (kind, algorithm, verifies) in [
        (KeyKind::MlDsa44, "ML-DSA-44", &signature::ML_DSA_44),
        (KeyKind::MlDsa65, "ML-DSA-65", &signature::ML_DSA_65),
        (KeyKind::MlDsa87, "ML-DSA-87", &signature::ML_DSA_87),
    ] {
        let leaf = stage.root.leaf(&LeafRequest::new("robot-7", kind)).unwrap();
        stage.install(&leaf);
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf.certificate_der()).unwrap();
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        for name in NAMES {
            let read = ["read-certificate-data", "--certificate", "leaf.pem"];
            let printed = json(&run_alone(&stage, name, &read).await);
            let mut command = called(&stage, name);
            command.args(["sign-string", "--private-key", "key.pem", "--format=bin"]);
            let signed = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().stdout;

            assert_eq!(printed["keyType"], algorithm);
            assert_eq!(printed["supportedAlgorithms"], serde_json::json!([algorithm]));
            let text = b"AWS Roles Anywhere Credential Helper Signing Test1";
            signature::UnparsedPublicKey::new(verifies, &public_key).verify(text, &signed).unwrap();
        }
    }
}

/// The signature is verified with a library that anchord does not use.
#[tokio::test]
async fn sign_string_signs_in_each_format() {
    use aws_lc_rs::digest;
    use aws_lc_rs::signature;
    let stage = Stage::new().await;
    let leaf = stage.root.leaf(&LeafRequest::new("robot-7", KeyKind::Rsa2048)).unwrap();
    stage.write("key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf.certificate_der()).unwrap();
    let public_key = parsed.public_key().subject_public_key.data.to_vec();
    let of_key = digest::digest(&digest::SHA256, &[b"IAM RA", public_key.as_slice()].concat());
    let text = [b"AWS Roles Anywhere Credential Helper Signing Test1", of_key.as_ref()].concat();

    for name in NAMES {
        let sign = ["sign-string", "--private-key", "key.pem"];
        let default = run_alone(&stage, name, &sign).await;
        let plain =
            run_alone(&stage, name, &[sign.as_slice(), &["--format", "text", "--digest=SHA256"]].concat())
                .await;
        let mut command = called(&stage, name);
        command.args(sign).args(["--format", "bin"]);
        let binary = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().stdout;

        let hex: String = binary.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((plain.code, plain.stdout.as_str()), (0, hex.as_str()));
        assert_eq!(default.stdout, format!("\"{hex}\""));
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &public_key);
        key.verify(&text, &binary).unwrap();
    }
    for (hash, algorithm) in [
        ("SHA384", &signature::RSA_PKCS1_2048_8192_SHA384),
        ("SHA512", &signature::RSA_PKCS1_2048_8192_SHA512),
    ] {
        let mut command = called(&stage, OTHER_NAME);
        command.args(["sign-string", "--private-key", "key.pem", "--format=bin", "--digest", hash]);
        let binary = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().stdout;
        signature::UnparsedPublicKey::new(algorithm, &public_key).verify(&text, &binary).unwrap();
    }
}

#[tokio::test]
async fn sign_string_hashes_as_it_is_told_to_where_the_key_can() {
    use aws_lc_rs::digest;
    use aws_lc_rs::signature;
    let stage = Stage::new().await;
    let leaf = stage.root.leaf(&LeafRequest::new("robot-7", KeyKind::P384)).unwrap();
    stage.write("p384.pem", &leaf.key_pem(KeyForm::Sec1).unwrap());
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf.certificate_der()).unwrap();
    let public_key = parsed.public_key().subject_public_key.data.to_vec();
    let of_key = digest::digest(&digest::SHA256, &[b"IAM RA", public_key.as_slice()].concat());
    let text = [b"AWS Roles Anywhere Credential Helper Signing Test1", of_key.as_ref()].concat();
    let mut command = called(&stage, OTHER_NAME);
    command.args(["sign-string", "--private-key=p384.pem", "--format=bin", "--digest=SHA384"]);

    let binary = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().stdout;

    let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_ASN1, &public_key);
    key.verify(&text, &binary).unwrap();
    if cfg!(feature = "ml-dsa") {
        let leaf = stage.root.leaf(&LeafRequest::new("robot-7", KeyKind::MlDsa65)).unwrap();
        stage.write("key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
        let refused =
            run_alone(&stage, OTHER_NAME, &["sign-string", "--private-key=key.pem", "--digest=SHA512"]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains("this key signs only with SHA256"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn version_is_a_number_alone_under_the_other_name() {
    let stage = Stage::new().await;

    assert_eq!(
        run_alone(&stage, OTHER_NAME, &["version"]).await.stdout,
        format!("{}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        run_alone(&stage, "anchord", &["version"]).await.stdout,
        format!("anchord {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn without_a_verb_the_other_name_explains_itself() {
    let stage = Stage::new().await;

    let ran = run_alone(&stage, OTHER_NAME, &[]).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(
        ran.stdout.contains("credential-process") && ran.stdout.contains("sign-string"),
        "{}",
        ran.stdout
    );
}

/// No variable of anchord's holds there, nor has a listener a say in verbs that have none.
#[tokio::test]
async fn help_under_the_other_name_tells_of_what_holds_there() {
    let stage = Stage::new().await;
    for verb in ["credential-process", "serve", "update", "read-certificate-data", "sign-string"] {
        let help = run_alone(&stage, OTHER_NAME, &[verb, "--help"]).await.stdout;

        assert!(help.contains("--certificate") && !help.contains("ANCHORD_"), "{verb}: {help}");
        for flag in ["--socket-path", "--container-enabled", "--runtime-directory"] {
            assert_eq!(help.contains(flag), verb == "serve", "{verb} {flag}");
        }
        let obtains = !["read-certificate-data", "sign-string"].contains(&verb);
        assert_eq!(help.contains("[required]"), obtains, "{verb}: {help}");
    }
    assert!(run_alone(&stage, "anchord", &["serve", "--help"]).await.stdout.contains("ANCHORD_CERTIFICATE"));
}

#[tokio::test]
async fn flags_that_collide_are_told_in_a_line_a_pair() {
    let stage = Stage::new().await;
    for name in NAMES {
        for verb in ["credential-process", "serve"] {
            let ran = run(&stage, name, verb, &["--cert-selector", "Key=x509Subject,Value=CN=robot-7"]).await;

            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
            assert!(
                ran.stderr.contains("--certificate and --cert-selector cannot be given together"),
                "{}",
                ran.stderr
            );
            assert!(ran.stderr.contains("--private-key and --cert-selector cannot be given together"));
            assert_eq!(ran.stderr.lines().count(), if verb == "serve" { 2 } else { 1 });
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_of_the_flag_that_was_written() {
    let stage = Stage::new().await;
    for (arguments, expected) in [
        (
            vec!["credential-process"],
            "anchord: missing: --certificate, --role-arn, --profile-arn, --trust-anchor-arn; hint: ",
        ),
        (vec!["serve", "--certificate=leaf.pem"], "anchord: missing: --role-arn, "),
        (vec!["sign-string"], "anchord: --private-key is missing; hint: "),
        (vec!["read-certificate-data", "--certificate=nowhere.pem"], "anchord: cannot read `"),
        (
            vec!["read-certificate-data", "--certificate=a", "--system-store-name=MY"],
            "anchord: --system-store-name names a Windows certificate store",
        ),
    ] {
        let ran = run_alone(&stage, OTHER_NAME, &arguments).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    }
    let ran = run(&stage, OTHER_NAME, "credential-process", &["--region", "eu-west-1"]).await;
    assert!(
        ran.stderr.starts_with(
            "anchord: --region: the value is not the Region of the trust anchor of session `default`"
        ),
        "{}",
        ran.stderr
    );
    let ran = run(&stage, OTHER_NAME, "credential-process", &["--session-duration", "60"]).await;
    assert!(
        ran.stderr.contains("--session-duration") && ran.stderr.contains("from 900 to 43200"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1);
}

/// Who has no file can set nothing in it.
#[tokio::test]
async fn what_to_do_is_told_in_flags_under_the_other_name() {
    let stage = Stage::new().await;
    stage.write("another-ca.pem", stage.root.certificate_pem());
    for (name, setting) in [("anchord", "`upstream.ca_file`"), (OTHER_NAME, "`--ca-file`")] {
        let other = "--ca-file=another-ca.pem";
        for (verb, more) in [("credential-process", &[other][..]), ("update", &[other, "--once"])] {
            let ran = run(&stage, name, verb, more).await;

            assert!(
                ran.stderr
                    .contains(&format!("leave out {setting} and AWS_CA_BUNDLE to use the system's roots\n")),
                "{}",
                ran.stderr
            );
        }
    }
}

/// Two words of a passphrase without their quotes.
#[tokio::test]
async fn what_may_be_a_part_of_a_password_is_not_repeated() {
    let stage = Stage::new().await;
    for name in NAMES {
        for verb in ["credential-process", "serve", "update", "sign-string"] {
            let ran = run_alone(&stage, name, &[verb, "--pkcs8-password", "correct", "hunter2"]).await;

            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
            assert!(ran.stderr.contains("quote values that contain spaces"), "{}", ran.stderr);
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        }
    }
}

/// A key itself where its path belongs, as `--private-key "$(cat key.pem)"` has it.
#[tokio::test]
async fn a_key_that_is_given_as_a_value_is_answered_alike_in_every_spelling_and_never_shown() {
    let stage = Stage::new().await;
    let key = fs_err::read_to_string(stage.path("key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let joined = format!("--private-key={key}");
    let unquoted = || ["--private-key"].into_iter().chain(key.split_whitespace());
    for name in NAMES {
        for verb in ["credential-process", "serve", "update", "sign-string"] {
            let mut told = Vec::new();
            for words in [vec!["--private-key", &key], vec![&joined], unquoted().collect()] {
                let ran = run_alone(&stage, name, &[&[verb], words.as_slice()].concat()).await;

                assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
                assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
                told.push(ran.stderr);
            }
            assert!(told[0].starts_with("anchord: --private-key: holds PEM text"), "{}", told[0]);
            assert!(told.iter().all(|other| *other == told[0]), "{told:?}");
        }
    }
}

/// A password that fits no key is not tried as another's, and nothing is silently left out.
#[tokio::test]
async fn a_flag_that_does_not_fit_the_key_is_refused_or_warned_of() {
    let stage = Stage::new().await;
    for flag in ["--tpm-key-password", "--pkcs8-password"] {
        for verb in ["credential-process", "serve", "update"] {
            let ran = run(&stage, OTHER_NAME, verb, &[flag, "hunter2"]).await;

            let expected = format!(
                "anchord: {flag} does not fit --private-key: the key is in a file that is not encrypted"
            );
            assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (1, "", 1));
            assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
            assert!(!ran.stderr.contains("hunter2"));
        }
    }
    let sign = ["sign-string", "--private-key=key.pem", "--reuse-pin", "--pkcs11-lib=/nowhere.so"];
    let read = ["read-certificate-data", "--certificate=leaf.pem", "--pkcs11-lib=/nowhere.so"];
    for (line, warnings) in [
        (
            &sign[..],
            ["--reuse-pin has no effect", "`--pkcs11-lib` and no token; it has no effect"].as_slice(),
        ),
        (&read, &["`--pkcs11-lib` and no token; it has no effect"]),
    ] {
        let ran = run_alone(&stage, OTHER_NAME, line).await;

        assert_eq!((ran.code, ran.stderr.lines().count()), (0, warnings.len()), "{}", ran.stderr);
        assert!(warnings.iter().all(|warning| ran.stderr.contains(warning)), "{}", ran.stderr);
    }
    assert_eq!(stage.emulator.sessions_created(), 0);
}

#[tokio::test]
async fn debug_makes_each_verb_say_more() {
    let stage = Stage::new().await;
    let certificate = ["read-certificate-data", "--certificate=leaf.pem", "--debug"];
    let sign = ["sign-string", "--private-key=key.pem", "--debug"];
    for (ran, says) in [
        (run(&stage, OTHER_NAME, "credential-process", &["--debug"]).await, event::CERTIFICATE_LOADED),
        (
            run(&stage, OTHER_NAME, "update", &["--once", "--debug", "--session-duration=900"]).await,
            event::CERTIFICATE_LOADED,
        ),
        (run_alone(&stage, OTHER_NAME, &certificate).await, "leaf.pem"),
        (run_alone(&stage, OTHER_NAME, &sign).await, "algorithm="),
    ] {
        assert_eq!(ran.code, 0);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn sign_string_looks_whether_the_key_belongs_to_a_certificate_that_is_named() {
    let stage = Stage::new().await;
    let other = stage.root.leaf(&LeafRequest::new("robot-8", KeyKind::P256)).unwrap();
    stage.write("other.pem", other.certificate_pem());
    let sign = async |certificate: &str| {
        run_alone(&stage, OTHER_NAME, &["sign-string", "--private-key=key.pem", certificate]).await
    };

    assert_eq!(sign("--certificate=leaf.pem").await.code, 0);
    for (certificate, says) in
        [("--certificate=other.pem", "key.pem"), ("--certificate=nowhere.pem", "nowhere.pem")]
    {
        let ran = sign(certificate).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn update_writes_the_same_profile_under_both_names() {
    let stage = Stage::new().await;
    for (index, name) in NAMES.into_iter().enumerate() {
        let file = stage.path(&format!("{name}.ini"));
        fs_err::write(&file, "# mine\n[other]\nregion = eu-west-1\n").unwrap();
        let mut command = called(&stage, name);
        command.arg("update").args(flags(&stage)).args(["--profile", "x", "--once", "--credentials-file="]);
        command.env("AWS_SHARED_CREDENTIALS_FILE", &file);

        let ran = process::to_the_end(command).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        let written = fs_err::read_to_string(&file).unwrap();
        assert!(written.starts_with("# mine\n[other]\nregion = eu-west-1\n\n[x]\n"), "{written}");
        assert!(written.contains(&stage.emulator.issued()[index].access_key_id), "{written}");
    }
    let both = run(&stage, OTHER_NAME, "update", &["--once", "--retry-errors"]).await;
    assert_ne!(both.code, 0);
    assert!(both.stderr.contains("--once and --retry-errors cannot be given together"), "{}", both.stderr);
}
