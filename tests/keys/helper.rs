//! Tokens and TPMs in the command lines of `aws_signing_helper`.

mod tpm;

use std::process::Command;

use crate::softhsm::Kind;
use crate::softhsm::PIN;
use crate::softhsm::SoftHsm;
use crate::softhsm::WRONG_PIN;
use crate::softhsm::leaf;
use crate::tpm::swtpm;
use crate::tpm::swtpm::Swtpm;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process;

fn called(stage: &Stage) -> Command {
    let link = stage.path("aws_signing_helper");
    if !link.exists() {
        fs_err::os::unix::fs::symlink(env!("CARGO_BIN_EXE_anchord"), &link).unwrap();
    }
    let mut command = Command::new(link);
    command.env_clear().current_dir(stage.path("")).stdin(std::process::Stdio::null());
    command.envs(process::home(stage.path("home"))).env("TMPDIR", stage.path(""));
    command.env("AWS_CA_BUNDLE", stage.path("tls-ca.pem"));
    command
}

async fn run(stage: &Stage, hsm: &SoftHsm, arguments: &[&str]) -> Ran {
    let mut command = called(stage);
    hsm.tell(&mut command).args(arguments);
    process::to_the_end(command).await
}

/// The ARNs and the endpoint.
fn flags(stage: &Stage) -> Vec<String> {
    let table = stage.session("x");
    let value = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let keys = ["trust_anchor_arn", "profile_arn", "role_arn", "endpoint"];
    keys.iter().map(|key| format!("--{}={}", key.replace('_', "-"), value(key))).collect()
}

/// Two tokens with a key and its certificate each.
fn tokens(stage: &Stage) -> SoftHsm {
    let hsm = SoftHsm::with(&["robots", "others"]);
    for (token, label, serial) in [("robots", "first one", 0x1a), ("others", "second", 0x2b)] {
        let public_key = hsm.generate(token, label, "01", Kind::P256);
        hsm.put_certificate(token, label, "01", leaf(stage, &public_key, serial).der());
    }
    hsm
}

#[tokio::test]
async fn the_certificates_of_tokens_are_listed_with_uris_that_lead_back_to_them() {
    let stage = Stage::new().await;
    let hsm = tokens(&stage);
    let library = hsm.module().to_str().unwrap();
    let list = ["read-certificate-data", "--pkcs11-lib", library];

    let all = run(&stage, &hsm, &[list.as_slice(), &["--certificate", "pkcs11:"]].concat()).await;
    let one =
        run(&stage, &hsm, &[list.as_slice(), &["--cert-selector", "Key=x509Serial,Value=2B"]].concat()).await;
    let none =
        run(&stage, &hsm, &[list.as_slice(), &["--cert-selector=Key=x509Subject,Value=CN=x"]].concat()).await;

    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    let lines: Vec<_> = all.stdout.lines().collect();
    assert_eq!((lines[0], lines.len()), ("Matching identities", 1 + 2 * 6), "{}", all.stdout);
    for (entry, number) in [(&lines[1..7], "1) "), (&lines[7..13], "2) ")] {
        let fingerprint =
            entry[0].strip_prefix(number).and_then(|line| line.strip_prefix("Hex Fingerprint: "));
        assert_eq!(fingerprint.unwrap().len(), 40, "a SHA-1");
        assert_eq!((entry[1], entry[2], entry[5]), ("Subject: CN=robot-7", "Issuer: CN=Test root", ""));
        assert!(["Serial Number: 1A", "Serial Number: 2B"].contains(&entry[3]), "{}", entry[3]);
    }
    let uris = [lines[5], lines[11]].map(|line| line.strip_prefix("URI: ").unwrap());
    assert!(
        uris.iter().any(|uri| uri.contains("token=robots;") && uri.contains(";object=first%20one;id=%01;"))
    );
    assert_eq!(one.stdout.lines().count(), 7, "{}", one.stdout);
    assert!(one.stdout.contains("\nSerial Number: 2B\n"), "{}", one.stdout);
    assert_eq!(none.stdout, "No matching identities\n");
    for uri in uris {
        let again = run(&stage, &hsm, &[list.as_slice(), &["--certificate", uri]].concat()).await;
        assert!(again.stdout.ends_with(&format!("\nURI: {uri}\n\n")), "{}", again.stdout);
        assert_eq!(again.stdout.lines().count(), 7);
    }
}

#[tokio::test]
async fn a_selector_finds_the_certificate_and_its_key_among_tokens() {
    let stage = Stage::new().await;
    let hsm = tokens(&stage);
    let mut line = vec!["credential-process".to_owned(), "--passphrase".into(), format!("pass:{PIN}")];
    line.extend(["--pkcs11-lib".into(), hsm.module().to_str().unwrap().into()]);
    line.extend([
        "--cert-selector".into(),
        "Key=x509Subject,Value=CN=robot-7 Key=x509Serial,Value=2b".into(),
    ]);
    line.extend(flags(&stage));

    let ran = run(&stage, &hsm, &line.iter().map(String::as_str).collect::<Vec<_>>()).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains(&stage.emulator.issued()[0].access_key_id));
}

#[tokio::test]
async fn a_key_in_a_token_signs_the_string_without_a_certificate() {
    let stage = Stage::new().await;
    let hsm = tokens(&stage);
    let uri = format!("pkcs11:token=robots;object=first%20one;type=private?pin-value={PIN}");
    let library = hsm.module().to_str().unwrap();

    let ran = run(
        &stage,
        &hsm,
        &["sign-string", "--private-key", &uri, "--pkcs11-lib", library, "--reuse-pin", "--format=text"],
    )
    .await;

    assert_eq!((ran.code, ran.stderr.lines().count()), (0, 1), "{}", ran.stderr);
    let warning =
        "anchord: warning: `pkcs11:token=robots;object=first%20one;type=private` has its PIN in `pin-value`";
    assert!(ran.stderr.starts_with(warning) && !ran.stderr.contains(PIN), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("30") && ran.stdout.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Makes `locked.pem` of `key.pem`, as people do.
fn encrypt(stage: &Stage, password: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"]).arg(format!("pass:{password}"));
    openssl.arg("-in").arg(stage.path("key.pem")).arg("-out").arg(stage.path("locked.pem"));
    assert!(openssl.status().unwrap().success());
}

#[tokio::test]
async fn an_encrypted_key_is_unlocked_by_its_password() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&[]);
    encrypt(&stage, "-hunter2");
    let (arns, key) = (flags(&stage), ["--certificate=leaf.pem", "--private-key=locked.pem"]);
    let line: Vec<&str> = key.into_iter().chain(arns.iter().map(String::as_str)).collect();
    let password = ["--pkcs8-password", "-hunter2", "--debug"];

    let right = run(&stage, &hsm, &[&["credential-process"], line.as_slice(), &password].concat()).await;
    // Of another life, for what is in the cache needs no key.
    let other = ["--pkcs8-password=x", "--session-duration=900"];
    let wrong = run(&stage, &hsm, &[&["credential-process"], line.as_slice(), &other].concat()).await;

    assert_eq!(right.code, 0, "{}", right.stderr);
    assert!(right.stdout.contains(&stage.emulator.issued()[0].access_key_id));
    assert!(!right.stderr.contains("hunter2"));
    stage.assert_no_secrets(&format!("debug {}", right.stderr), &[]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (1, ""));
    assert_eq!(wrong.stderr.lines().count(), 1);
}

/// The certificate in one token, in a file, and in the token that its key is not in.
#[tokio::test]
async fn a_key_in_a_token_gives_credentials_to_every_verb_wherever_its_certificate_is() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots", "others"]);
    let public_key = hsm.generate("robots", "first one", "01", Kind::P256);
    let certificate = leaf(&stage, &public_key, 0x1a);
    hsm.put_certificate("robots", "first one", "01", certificate.der());
    hsm.put_certificate("others", "elsewhere", "01", certificate.der());
    stage.write("robot.pem", certificate.pem());
    let key = format!("pkcs11:token=robots;id=%01?pin-value={PIN}");
    let private_key = format!("--private-key={key}");
    for place in [
        vec![format!("--certificate={key}")],
        vec!["--certificate=robot.pem".into(), private_key.clone()],
        vec!["--certificate=pkcs11:token=others;object=elsewhere".into(), private_key],
    ] {
        let line = [place, vec![format!("--pkcs11-lib={}", hsm.module().display()), "--reuse-pin".into()]];
        let line = [line.concat(), flags(&stage)].concat();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let last = || stage.emulator.issued().pop().unwrap().access_key_id;

        let printed = run(&stage, &hsm, &[&["credential-process"], line.as_slice()].concat()).await;
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{line:?}");
        assert!(printed.stdout.contains(&last()));

        // Of another life, so that it is not the cache that gives them.
        let update = ["update", "--once", "--profile=robot", "--session-duration=900"];
        let updated = run(&stage, &hsm, &[update.as_slice(), line.as_slice()].concat()).await;
        assert_eq!(updated.code, 0, "{}", updated.stderr);
        assert!(updated.stderr.contains("has its PIN in `pin-value`"), "{}", updated.stderr);
        let written = fs_err::read_to_string(stage.path("home/.aws/credentials")).unwrap();
        assert!(written.starts_with("[robot]\n") && written.contains(&last()), "{written}");

        let mut command = called(&stage);
        hsm.tell(&mut command).args(["serve", "--port=0", "--log-format=json"]).args(&line);
        let daemon = Daemon::of(command);
        let address = daemon.told("export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://").await;
        assert_eq!(client::imds(&address).await.key_id(), last());
        let output = daemon.stop().await.1;
        assert!(![printed.stderr, updated.stderr, output].concat().contains(PIN));
    }
    assert_eq!(stage.emulator.sessions_created(), 9);
}

#[tokio::test]
async fn a_wrong_pin_is_told_in_one_line_and_tried_once() {
    let stage = Stage::new().await;
    let hsm = tokens(&stage);
    let library = format!("--pkcs11-lib={}", hsm.module().display());
    let key = format!("pkcs11:token=robots;object=first%20one?pin-value={WRONG_PIN}");
    let line = [vec![format!("--certificate={key}"), library], flags(&stage)].concat();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();

    let ran = run(&stage, &hsm, &[&["credential-process"], line.as_slice()].concat()).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("PIN") && !ran.stderr.contains(WRONG_PIN), "{}", ran.stderr);
    assert!(hsm.listed().contains("user PIN count low"), "{}", hsm.listed());
}

const PASSWORD: &str = "pkcs8-83d1-of-tests";
const AUTH: &str = "tpm-55e7-of-tests";
const PROXY: &str = "proxy-09b4-of-tests";
const SECRETS: [&str; 4] = [PASSWORD, AUTH, PROXY, PIN];

/// A key in a file, in a token and in a TPM, each with its secret on the command line.
fn lines_with_secrets(stage: &Stage, hsm: &SoftHsm, tpm: &mut Swtpm) -> [Vec<String>; 3] {
    encrypt(stage, PASSWORD);
    let public_key = hsm.generate("robots", "one", "01", Kind::P256);
    hsm.put_certificate("robots", "one", "01", leaf(stage, &public_key, 0x1a).der());
    tpm::install(stage, tpm, swtpm::Kind::P256, AUTH);
    let in_file =
        ["--certificate=leaf.pem", "--private-key=locked.pem", &format!("--pkcs8-password={PASSWORD}")];
    let in_token = [
        &format!("--certificate=pkcs11:token=robots;object=one?pin-value={PIN}"),
        &format!("--pkcs11-lib={}", hsm.module().display()),
        "--reuse-pin",
    ];
    let in_tpm = [
        "--certificate=robot.pem",
        "--private-key=tpm.pem",
        &format!("--tpm-key-password={AUTH}"),
        &format!("--tpm={}", tpm.address()),
    ];
    [&in_file[..], &in_token, &in_tpm].map(|line| line.iter().map(|flag| (*flag).to_owned()).collect())
}

/// What a verb says, credentials left out where they belong, and whether it was content.
async fn said(verb: &str, command: Command) -> (String, bool) {
    if verb == "serve" {
        let daemon = Daemon::of(command);
        daemon.told("export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://").await;
        let (code, output) = daemon.stop().await;
        return (output, code == 0);
    }
    let Ran { code, stdout, stderr } = process::to_the_end(command).await;
    match verb {
        "credential-process" if code == 0 => (stderr, true),
        // A certificate has the public key, which is in the key's file too, and may look the same there.
        "read-certificate-data" => {
            assert!(!SECRETS.iter().any(|secret| stdout.contains(secret)), "{stdout}");
            (stderr, code == 0)
        }
        _ => (stdout + &stderr, code == 0),
    }
}

/// Nothing that unlocks a key, and nothing that AWS gave, is in what a verb says; `--debug` says the most.
#[tokio::test]
async fn with_debug_no_verb_shows_a_secret() {
    let (stage, hsm, mut tpm) = (Stage::new().await, SoftHsm::with(&["robots"]), Swtpm::start());
    let lines = lines_with_secrets(&stage, &hsm, &mut tpm);
    let arns = flags(&stage);
    let proxy = format!("http://robot:{PROXY}@127.0.0.1:1");

    let (mut all, mut good) = (String::new(), 0);
    for key in &lines {
        let library = key.iter().find(|flag| flag.starts_with("--pkcs11-lib"));
        let of_key = |command: &mut Command, verb: &str| {
            match verb {
                "read-certificate-data" => command.arg(&key[0]).args(library),
                "sign-string" => command.args(key),
                _ => command.args(key).args(&arns),
            };
        };
        for verb in ["sign-string", "read-certificate-data", "credential-process", "update", "serve"] {
            let more: &[&str] = match verb {
                "update" => &["--once", "--session-duration=900"],
                "serve" => &["--port=0"],
                _ => &[],
            };
            // Directly, and by way of a proxy that is not there.
            for with_proxy in [false, true] {
                if with_proxy && ["sign-string", "read-certificate-data"].contains(&verb) {
                    continue;
                }
                let _ = fs_err::remove_dir_all(stage.path("home"));
                let mut command = called(&stage);
                hsm.tell(&mut command).arg(verb).arg("--debug").args(more);
                of_key(&mut command, verb);
                // Loopback is not reached through it.
                let elsewhere = ["--with-proxy", "--endpoint=https://anchord.invalid"];
                command.env("HTTPS_PROXY", &proxy);
                command.args(elsewhere.iter().filter(|_| with_proxy));

                let (said, is_good) = said(verb, command).await;

                all.push_str(&said);
                good += usize::from(is_good);
            }
        }
    }

    // All but credential-process and update through the proxy.
    assert_eq!(good, 18, "{all}");
    assert!(all.contains("DEBUG") && all.contains("tunnel error"), "{all}");
    stage.assert_no_secrets(&all, &SECRETS.map(str::to_owned));
}
