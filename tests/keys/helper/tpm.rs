//! Keys of a TPM: `--tpm-key-password`, `--no-tpm-key-password`, and what they say when they are wrong.

use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use aws_lc_rs::digest;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::called;
use super::flags;
use crate::tpm::HANDLE;
use crate::tpm::OWNER;
use crate::tpm::swtpm;
use crate::tpm::swtpm::Kind;
use crate::tpm::swtpm::Made;
use crate::tpm::swtpm::Swtpm;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

const PASSWORD: &str = "tpm-2c90-of-tests";

/// A key with this authorization value, in the file `tpm.pem` and at [`HANDLE`], and its certificate in `robot.pem`.
pub(super) fn install(stage: &Stage, tpm: &mut Swtpm, kind: Kind, auth: &str) -> Made {
    let made = tpm.make(kind, auth);
    tpm.persist(&made, HANDLE);
    stage.write("tpm.pem", &tpm.key_file(&made, OWNER));
    let request = LeafRequest::new("robot-7", KeyKind::P256);
    stage.write("robot.pem", stage.root.leaf_for(&made.public_key, &request).unwrap().pem());
    made
}

async fn run(stage: &Stage, tpm: &Swtpm, arguments: &[&str]) -> Ran {
    let mut command = called(stage);
    command.args(arguments).args(["--tpm", &tpm.address()]);
    process::to_the_end(command).await
}

async fn vend(stage: &Stage, tpm: &Swtpm, arguments: &[&str]) -> Ran {
    let arns = flags(stage);
    let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
    // What is in the cache needs no key.
    let _ = fs_err::remove_dir_all(stage.path("home"));
    let line = ["credential-process", "--certificate=robot.pem"];
    run(stage, tpm, &[line.as_slice(), arns.as_slice(), arguments].concat()).await
}

/// What `sign-string` signs with this key.
fn text(made: &Made) -> Vec<u8> {
    let (_, parsed) = SubjectPublicKeyInfo::from_der(&made.public_key).unwrap();
    let of_key = [b"IAM RA", parsed.subject_public_key.data.as_ref()].concat();
    let of_key = digest::digest(&digest::SHA256, &of_key);
    [b"AWS Roles Anywhere Credential Helper Signing Test1", of_key.as_ref()].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[tokio::test]
async fn a_key_of_a_tpm_signs_with_its_password_and_without_one_where_it_has_none() {
    let stage = Stage::new().await;
    let password = format!("--tpm-key-password={PASSWORD}");
    for (kind, auth, flag) in [
        (Kind::P256, "", "--no-tpm-key-password"),
        (Kind::Rsa2048, "", "--no-tpm-key-password=false"),
        (Kind::P256, PASSWORD, password.as_str()),
        (Kind::Rsa2048, PASSWORD, password.as_str()),
    ] {
        let mut tpm = Swtpm::start();
        let made = install(&stage, &mut tpm, kind, auth);
        // AWS's tool takes handles with and without the `0x`.
        let bare = format!("handle:{}", HANDLE.trim_start_matches("0x"));
        for place in ["tpm.pem", &format!("handle:{HANDLE}"), &bare] {
            let key = ["--private-key", place, flag];

            let vended = vend(&stage, &tpm, &key).await;
            let sign = ["sign-string", "--format=text"];
            let signed = run(&stage, &tpm, &[sign.as_slice(), &key].concat()).await;

            assert_eq!((vended.code, vended.stderr.as_str()), (0, ""), "{place}");
            assert!(vended.stdout.contains(&stage.emulator.issued().pop().unwrap().access_key_id));
            assert_eq!(signed.code, 0, "{}", signed.stderr);
            swtpm::verify(&tpm.path(""), &made.public_key, &text(&made), &bytes(&signed.stdout));
            assert_eq!(signed.stderr.lines().count(), usize::from(!auth.is_empty()), "{}", signed.stderr);
            assert!(!signed.stderr.contains(PASSWORD));
        }
        assert_eq!((tpm.lockout_counter(), tpm.loaded()), (0, 0));
    }
    assert_eq!(stage.emulator.sessions_created(), 12);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_told_in_one_line() {
    let stage = Stage::new().await;
    let mut tpm = Swtpm::start();
    install(&stage, &mut tpm, Kind::P256, PASSWORD);
    let wrong = ["--tpm-key-password", "tpm-0000-is-wrong"];
    for (flag, says) in [
        (&wrong[..], "refused the authorization value of the key"),
        (&["--no-tpm-key-password"], "none is set"),
        (&[], "none is set"),
    ] {
        for place in ["tpm.pem", &format!("handle:{HANDLE}")] {
            let key = [&["--private-key", place], flag].concat();

            let vended = vend(&stage, &tpm, &key).await;
            let signed = run(&stage, &tpm, &[&["sign-string"], key.as_slice()].concat()).await;

            // A person gets the hint on a line of its own, an SDK all in one.
            assert_eq!(vended.stderr.lines().count(), 1, "{}", vended.stderr);
            for ran in [&vended, &signed] {
                let line = ran.stderr.lines().find(|line| !line.starts_with("anchord: warning: ")).unwrap();
                assert!(line.contains(says) && !ran.stderr.contains("tpm-0000"), "{}", ran.stderr);
                assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
            }
            // Each refused value is one that the TPM has counted.
            tpm.tool("tpm2_dictionarylockout -c");
        }
    }
    assert_eq!(stage.emulator.sessions_created(), 0);
}
