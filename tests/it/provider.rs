//! The credentials provider that Rust programs have in their own process.

use std::error::Error as _;
use std::time::Duration;
use std::time::SystemTime;

use anchord::provider::Builder;
use anchord::provider::Provider;
use anchord_config::Environment;
use anchord_core::clock::Clock;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_runtime::assembly::KeptSession;
use anchord_runtime::assembly::Seams;
use anchord_session::Phase;
use anchord_session::Snapshot;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;

use crate::outage::Inside;
use crate::outage::StillTime;
use crate::outage::settings;
use crate::outage::while_time_passes;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;

/// A program in the stage's folder that has no variables of its own.
fn program(stage: &Stage) -> Builder {
    let environment = Environment::from_iter([("HOME", stage.path("").to_str().unwrap())]);
    Provider::builder().environment(environment.with_current_dir(stage.path("")))
}

/// One that says all in code.
fn in_code(stage: &Stage) -> Builder {
    let table = stage.session("x");
    let value = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    program(stage)
        .certificate("leaf.pem")
        .private_key("key.pem")
        .trust_anchor_arn(&value("trust_anchor_arn"))
        .profile_arn(&value("profile_arn"))
        .role_arn(&value("role_arn"))
        .option("endpoint", &value("endpoint"))
        .ca_file("tls-ca.pem")
}

/// As a client of the SDK asks.
async fn provided(provider: &Provider) -> Result<Credentials, CredentialsError> {
    provider.provide_credentials().await
}

async fn key_id(provider: &Provider) -> String {
    provided(provider).await.unwrap().access_key_id().to_owned()
}

/// On a clock that is ours.
fn kept_inside(stage: &Stage, clock: &Clock) -> KeptSession {
    let settings = settings(stage);
    let seams = Seams { clock: clock.clone(), jitter: Jitter::fixed(0.0), ..Seams::real() };
    KeptSession::start(&settings, &settings.sessions[0], &seams).unwrap()
}

#[tokio::test]
async fn all_clients_of_a_program_share_one_session_without_any_file() {
    let stage = Stage::new().await;
    let provider = in_code(&stage).start().unwrap();

    let clients = (0..20).map(|_| {
        let provider = provider.clone();
        tokio::spawn(async move { provided(&provider).await.unwrap() })
    });
    let mut given = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        given.push(client.await.unwrap());
    }

    assert_eq!(stage.emulator.sessions_created(), 1);
    let issued = &stage.emulator.issued()[0];
    // AWS tells whole seconds.
    let ends_at = issued.expires_at.replace_nanosecond(0).unwrap();
    for credentials in given {
        assert_eq!(credentials.access_key_id(), issued.access_key_id);
        assert_eq!(credentials.secret_access_key(), issued.secret_access_key);
        assert_eq!(credentials.session_token(), Some(issued.session_token.as_str()));
        assert_eq!(credentials.expiry(), Some(SystemTime::from(ends_at)));
        assert_eq!(credentials.account_id().map(|id| id.as_str()), stage.role.split(':').nth(4));
    }
    assert!(!stage.path("run").exists(), "a library writes no files");
}

#[tokio::test]
async fn a_session_may_come_from_the_daemons_file_and_what_code_says_goes_before_it() {
    let stage = Stage::new().await;
    stage.configure(&[stage.session("web"), stage.session("batch")].concat());
    let builder = program(&stage).configuration_file(stage.path("anchord.toml"));

    let undecided = builder.clone().start().unwrap_err();
    let decided = builder.session("batch").role_session_name("nightly").start().unwrap();

    assert_eq!(undecided.hint(), Some("name one with `session`: web, batch"));
    key_id(&decided).await;
    assert_eq!(stage.emulator.issued()[0].role_session_name, "nightly");
    assert_eq!(stage.emulator.sessions_created(), 1, "the other session is nobody's");
}

#[tokio::test]
async fn every_mistake_is_told_at_once_and_nothing_starts() {
    let stage = Stage::new().await;

    let refused = in_code(&stage).role_arn("no role").option("duration", "soon").start().unwrap_err();
    let unknown = in_code(&stage).option("durations", "1h").start().unwrap_err();

    assert_eq!(refused.class(), Class::Misconfigured);
    for part in ["--role-arn: ", "--duration: "] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(unknown.to_string(), "no option is called `durations`; hint: did you mean `duration`?",);
    assert!(stage.emulator.requests().is_empty());
}

#[test]
fn outside_of_a_runtime_it_says_so() {
    let refused = Provider::builder()
        .environment(Environment::from_iter([("HOME", "/nowhere")]))
        .option("session", "bedrock")
        .start_with_daemon()
        .unwrap_err();

    assert_eq!(refused.message(), "there is no tokio runtime to keep the session in");
}

#[tokio::test]
async fn the_sdk_hears_whose_mistake_it_is_and_what_to_do() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let denied = provided(&in_code(&stage).start().unwrap()).await.unwrap_err();
    let missing = in_code(&stage).private_key("none.pem").start().unwrap();
    let missing = provided(&missing).await.unwrap_err();

    assert!(matches!(denied, CredentialsError::ProviderError(_)), "{denied:?}");
    assert!(matches!(missing, CredentialsError::InvalidConfiguration(_)), "{missing:?}");
    for error in [denied, missing] {
        let cause = error.source().unwrap().downcast_ref::<Failure>().unwrap();
        assert!(cause.hint().is_some(), "{cause}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_in_the_background_and_outlives_an_outage() {
    let still = StillTime::hold();
    let clock = Clock::manual(Clock::system().now());
    let emulators = clock.clone();
    let mut stage =
        Stage::with(move |setup| setup.clock = anchord_emulator::Clock::new(move || emulators.now())).await;
    let provider = Provider::from(kept_inside(&stage, &clock));
    let first = key_id(&provider).await;

    // Nobody asks, and with half of the life left there are others.
    tokio::time::advance(Duration::from_secs(30 * 60 + 1)).await;
    let is_other =
        |held: &Snapshot| held.credentials.as_ref().is_some_and(|held| held.access_key_id() != first);
    provider.session().snapshots().wait_for(is_other).await.unwrap();
    let renewed = key_id(&provider).await;
    stage.emulator.stop().await;
    tokio::time::advance(Duration::from_secs(58 * 60)).await;
    let in_the_outage = key_id(&provider).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let at_the_end = while_time_passes(provided(&provider)).await;
    drop(still);

    assert_eq!(renewed, in_the_outage);
    assert!(matches!(at_the_end, Err(CredentialsError::ProviderError(_))), "{at_the_end:?}");
}

#[tokio::test]
async fn the_session_ends_with_its_last_provider() {
    let stage = Stage::new().await;
    let kept = kept_inside(&stage, &Clock::system());
    let handle = kept.handle().clone();
    let provider = Provider::from(kept);
    let clone = provider.clone();
    key_id(&provider).await;

    drop(provider);
    assert!(!handle.has_ended());
    key_id(&clone).await;
    drop(clone);

    let mut snapshots = handle.snapshots();
    let ended = async { while snapshots.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_the_daemon_uses_its_session_without_a_socket() {
    let inside = Inside::start().await;
    let provider = Provider::from(inside.sessions.get("bedrock").unwrap().clone());

    let own = key_id(&provider).await;

    assert!(inside.key_ids().await.iter().all(|id| *id == own));
    assert_eq!(inside.stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn a_daemons_session_needs_no_key_here_and_outlives_the_daemon() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon().await;
    let of = |name: &str| {
        let socket = stage.socket();
        program(&stage).socket_path(&socket).session(name).start_with_daemon()
    };
    let provider = of("bedrock").unwrap();
    let daemons = client::socket(&stage.socket(), "bedrock").await.key_id();

    let first = key_id(&provider).await;
    let contradicted = in_code(&stage).session("bedrock").start_with_daemon().unwrap_err();
    let unknown = provided(&of("none").unwrap()).await.unwrap_err();
    daemon.kill();
    let after = key_id(&provider).await;
    let nobody = provided(&of("bedrock").unwrap()).await.unwrap_err();

    assert_eq!([&first, &after], [&daemons; 2]);
    assert_eq!(stage.emulator.sessions_created(), 1);
    assert_eq!(contradicted.message(), "`certificate` does not change the daemon's session");
    let told = |error: &CredentialsError| error.source().unwrap().to_string();
    assert!(told(&unknown).contains("no session"), "{}", told(&unknown));
    assert!(told(&nobody).starts_with("no daemon listens on `"), "{}", told(&nobody));
}

#[tokio::test]
async fn a_daemons_session_of_another_role_than_the_programs_settings_say_is_refused() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let with = |variables: &[(&str, &str)]| {
        let environment = Environment::from_iter(variables.iter().copied()).with_current_dir(stage.path(""));
        let builder = Provider::builder().environment(environment).configuration_file("anchord.toml");
        builder.session("bedrock").start_with_daemon().unwrap()
    };

    let same = key_id(&with(&[("ANCHORD_DURATION", "60m")])).await;
    let other = with(&[("ANCHORD_ROLE_ARN", "arn:aws:iam::123456789012:role/Other")]);
    let refused = provided(&other).await.unwrap_err();

    assert_eq!(same, stage.emulator.issued()[0].access_key_id);
    let told = refused.source().unwrap().to_string();
    assert!(told.contains("other settings than asked for: `role_arn`"), "{told}");
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn a_daemons_session_is_followed_ahead_of_each_end() {
    // Eight seconds more than those in which nothing is handed out: the daemon renews after two of them.
    let stage = Stage::with(|setup| setup.profiles[0].duration_seconds = 68).await;
    let _daemon = stage.daemon().await;
    let builder = program(&stage).option("socket-path", stage.socket().to_str().unwrap()).session("bedrock");
    let provider = builder.start_with_daemon().unwrap();

    let mut snapshots = provider.session().snapshots();
    let mut given = Vec::new();
    while given.len() < 4 {
        let changed = tokio::time::timeout(PATIENCE, snapshots.changed()).await;
        changed.expect("credentials come and go").unwrap();
        let snapshot = snapshots.borrow_and_update().clone();
        assert!(given.is_empty() || snapshot.phase == Phase::Live, "{snapshot:?}");
        let id = snapshot.credentials.map(|held| held.access_key_id().to_owned());
        given.extend(id.filter(|id| given.last() != Some(id)));
    }

    let issued: Vec<_> = stage.emulator.issued().into_iter().map(|set| set.access_key_id).collect();
    assert!(given.iter().all(|id| issued.contains(id)));
}

#[tokio::test]
async fn nothing_of_a_provider_prints_a_secret() {
    let stage = Stage::new().await;
    let builder = in_code(&stage);
    let provider = builder.start().unwrap();
    let given = provided(&provider).await.unwrap();
    let builder = builder.option("passphrase", "pass:a passphrase of many letters");

    let printed = format!("{provider:?} {:?} {builder:?} {given:?}", provider.credentials(PATIENCE).await);

    stage.assert_no_secrets(&printed, &["a passphrase of many letters".into()]);
    assert!(printed.contains("passphrase") && printed.contains("role-arn"), "{printed}");
}

/// Started once more to hold the token's module, a program that knows nothing of it would do all its work twice.
#[cfg(feature = "pkcs11")]
#[tokio::test]
async fn a_program_that_has_not_said_that_it_holds_modules_is_not_started_for_one() {
    let stage = Stage::new().await;
    // Loaded by nobody, so anything that is there will do.
    let in_token = in_code(&stage).certificate("pkcs11:token=t").private_key("pkcs11:token=t");
    let provider = in_token.option("pkcs11-module", "leaf.pem").start().unwrap();

    let refused = provider.credentials(PATIENCE).await.unwrap_err();

    assert_eq!(refused.class(), Class::Misconfigured);
    assert!(refused.message().contains("cannot start the process that holds"), "{refused}");
    assert!(refused.hint().unwrap().contains("leave the token to a daemon"), "{refused}");
}
