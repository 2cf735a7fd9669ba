//! Keys in files: encrypted PKCS#8 and PKCS#12, of every kind that Roles Anywhere takes.

mod made;

use anchord_core::event;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use serde_json::Value;

use self::made::Form;
use self::made::PASSPHRASE;
use self::made::replace;
use crate::load::Load;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;

const OPENSSL_DEFAULT: Form = Form::Pkcs8(&[]);
const PKCS12: Form = Form::Pkcs12(&[]);

/// In the order of what is found most.
const FORMS: [Form; 8] = [
    Form::Pem,
    OPENSSL_DEFAULT,
    Form::Pkcs8(&["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"]),
    Form::Pkcs8(&["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA224"]),
    Form::Pkcs8(&["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"]),
    PKCS12,
    Form::Pkcs12(&["-legacy"]),
    Form::Pkcs12(&["-keypbe", "aes-128-cbc", "-certpbe", "NONE", "-macalg", "sha512"]),
];

fn leaf_of(stage: &Stage, kind: KeyKind) -> Leaf {
    stage.root.leaf(&LeafRequest::new("robot-7", kind)).unwrap()
}

fn no_imds(tables: &str) -> String {
    format!("[imds]\nenabled = false\n{tables}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_in_every_form_has_a_session() {
    let stage = Stage::new().await;
    replace(&stage, "passphrase", format!("{PASSPHRASE}\n").as_bytes());
    let (mut tables, mut sessions) = (String::new(), 0_u64);
    for kind in KeyKind::ALL {
        let leaf = leaf_of(&stage, kind);
        // OpenSSL's options are nothing to files that are made without it.
        let forms = FORMS
            .iter()
            .filter(|form| !kind.is_ml_dsa() || [Form::Pem, OPENSSL_DEFAULT, PKCS12].contains(form));
        for (number, form) in forms.enumerate() {
            let name = format!("{kind}-{number}");
            form.write(&stage, &name, &leaf);
            tables.push_str(&stage.session_of(&name, &form.table(&name)));
            sessions += 1;
        }
    }
    stage.configure(&no_imds(&tables));

    let daemon = stage.daemon().await;

    let ready = daemon.wait_for(event::DAEMON_READY).await;
    let live = (ready["live"].as_u64(), ready["sessions"].as_u64());
    assert_eq!(live, (Some(sessions), Some(sessions)), "{}", daemon.output());
    assert_eq!(stage.emulator.sessions_created() as u64, sessions);
    let output = daemon.stop().await.1;
    assert!(!output.contains("\"WARN\"") && !output.contains("\"ERROR\""), "{output}");
    stage.assert_no_secrets(&output, &[PASSPHRASE.to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scrypt_at_openssls_cost_is_no_reason_to_be_late() {
    let stage = Stage::new().await;
    replace(&stage, "passphrase", PASSPHRASE.as_bytes());
    let form = Form::Pkcs8(&["-scrypt"]);
    form.write(&stage, "slow", &stage.leaf());
    stage.configure(&stage.session_of("bedrock", &form.table("slow")));

    let daemon = stage.daemon().await;

    assert_eq!(daemon.wait_for(event::DAEMON_READY).await["live"], 1, "{}", daemon.output());
}

async fn complaint(daemon: &Daemon, session: &str, error: &str) -> Value {
    daemon
        .wait_for_line(error, 1, |line| {
            line["session"] == session && line["error"].as_str().is_some_and(|text| text.contains(error))
        })
        .await
}

/// What ails a file, how it is told, and what mends it.
struct Ill {
    name: &'static str,
    form: Form,
    error: &'static str,
    hint: &'static str,
    spoil: fn(&Stage),
    mend: fn(&Stage, &Leaf),
}

fn wrong_passphrase(name: &'static str, form: Form, error: &'static str) -> Ill {
    Ill { name, form, error, hint: "correct what `passphrase` names", spoil: |_| {}, mend: |_, _| {} }
}

fn ills() -> Vec<Ill> {
    vec![
        wrong_passphrase("pkcs8", OPENSSL_DEFAULT, "cannot be decrypted with this passphrase"),
        wrong_passphrase("pkcs12", PKCS12, "cannot be opened with this passphrase"),
        wrong_passphrase("old-pkcs12", Form::Pkcs12(&["-legacy"]), "cannot be opened with this passphrase"),
        Ill {
            name: "pbes1",
            form: Form::Pkcs8(&["-v1", "PBE-SHA1-3DES"]),
            error: "is encrypted with pbeWithSHA1And3-KeyTripleDES-CBC",
            hint: "openssl pkcs8 -topk8 -v2 aes-256-cbc",
            spoil: |_| {},
            mend: |stage, leaf| OPENSSL_DEFAULT.write(stage, "pbes1", leaf),
        },
        Ill {
            name: "another",
            form: OPENSSL_DEFAULT,
            error: "belongs to the private key",
            hint: "must come from the same request",
            spoil: |stage| replace(stage, "another.pem", stage.leaf().certificate_pem().as_bytes()),
            mend: |stage, leaf| replace(stage, "another.pem", leaf.certificate_pem().as_bytes()),
        },
        Ill {
            name: "absent",
            form: PKCS12,
            error: "No such file or directory",
            hint: "put the file there",
            spoil: |stage| fs_err::remove_file(stage.path("absent.p12")).unwrap(),
            mend: |stage, leaf| PKCS12.write(stage, "absent", leaf),
        },
        Ill {
            name: "cut",
            form: PKCS12,
            error: "is damaged",
            hint: "copy the file again, as binary",
            spoil: |stage| {
                let whole = fs_err::read(stage.path("cut.p12")).unwrap();
                replace(stage, "cut.p12", &whole[..whole.len() - 100]);
            },
            mend: |stage, leaf| PKCS12.write(stage, "cut", leaf),
        },
    ]
}

/// Sessions with a wrong passphrase share a file with it, and are mended with it at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_ails_a_file_is_told_with_what_to_do_and_mended_under_the_daemon() {
    let stage = Stage::new().await;
    replace(&stage, "passphrase", PASSPHRASE.as_bytes());
    replace(&stage, "other-passphrase", b"battery staple");
    let leaf = stage.leaf();
    let mut tables = stage.session("well");
    for ill in ills() {
        ill.form.write(&stage, ill.name, &leaf);
        (ill.spoil)(&stage);
        let mut table = ill.form.table(ill.name);
        if ill.hint.contains("`passphrase`") {
            table = table.replace("file:passphrase", "file:other-passphrase");
        }
        tables.push_str(&stage.session_of(ill.name, &table));
    }
    stage.configure(&no_imds(&tables));

    let daemon = stage.daemon().await;

    for ill in ills() {
        let line = complaint(&daemon, ill.name, ill.error).await;
        assert!(line["hint"].as_str().unwrap().contains(ill.hint), "{line}");
    }
    replace(&stage, "other-passphrase", format!("{PASSPHRASE}\r\n").as_bytes());
    for ill in ills() {
        (ill.mend)(&stage, &leaf);
    }
    for ill in ills() {
        daemon
            .wait_for_line(ill.name, 1, |line| {
                line["session"] == ill.name && line["event"] == event::CREDENTIALS_RENEWED
            })
            .await;
    }
    let output = daemon.stop().await.1;
    stage.assert_no_secrets(&output, &[PASSPHRASE.to_owned(), "battery staple".to_owned()]);
}

/// Renews the leaf in this form under load, three times.
async fn renewals_that_nobody_notices(form: Form, kind: KeyKind) {
    let stage = Stage::new().await;
    replace(&stage, "passphrase", PASSPHRASE.as_bytes());
    form.write(&stage, "robot", &leaf_of(&stage, kind));
    stage.configure(&stage.session_of("bedrock", &form.table("robot")));
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;

    for renewal in 2..5_usize {
        load.answered(50).await;
        stage.emulator.set_clock_offset(time::Duration::seconds(2 * i64::try_from(renewal).unwrap()));
        form.write(&stage, "robot", &leaf_of(&stage, kind));
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, renewal).await;
    }
    load.answered(50).await;

    load.end().await;
    let requests = stage.emulator.requests();
    assert!(requests.iter().all(|request| request.status == Some(201)), "{requests:?}");
    assert_eq!(requests.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_encrypted_keys_go_unnoticed_by_clients() {
    renewals_that_nobody_notices(OPENSSL_DEFAULT, KeyKind::P521).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_pkcs12_files_go_unnoticed_by_clients() {
    renewals_that_nobody_notices(PKCS12, KeyKind::P256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_ml_dsa_keys_go_unnoticed_by_clients() {
    renewals_that_nobody_notices(PKCS12, KeyKind::MlDsa65).await;
}
