//! A SPIFFE agent in place of files: the fake one, which speaks gRPC with another implementation than the daemon.

use anchord_core::event;
use std::time::Duration;

use anchord_emulator::Authority;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::spiffe::Agent;
use anchord_emulator::spiffe::Code;
use anchord_emulator::spiffe::Mood;
use anchord_emulator::spiffe::Svid;

use crate::load::Load;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process;

const ROBOT: &str = "spiffe://example.org/robot-7";
const OTHER: &str = "spiffe://example.org/robot-8";
const ASK: [&str; 3] = ["credential-process", "--session", "bedrock"];

/// What an agent gives for a leaf below the trust anchor, whose serial number is `serial`.
fn svid(authority: &Authority, id: &str, key: KeyKind, serial: u8) -> Svid {
    let mut request = LeafRequest::new("robot", key);
    request.uris = vec![id.into()];
    request.serial = Some(vec![serial]);
    Svid::new(id, &authority.leaf(&request).unwrap(), authority)
}

/// A stage whose session has this for its certificate.
async fn stage(certificate: &str, more: &str) -> Stage {
    let stage = Stage::new().await;
    choose(&stage, certificate, more);
    stage
}

fn choose(stage: &Stage, certificate: &str, more: &str) {
    let socket = stage.path("agent.sock");
    let identity =
        format!("certificate = \"{certificate}\"\nspiffe_socket = \"unix://{}\"\n{more}", socket.display());
    stage.configure(&stage.session_of("bedrock", &identity));
}

async fn agent(stage: &Stage, svids: Vec<Svid>) -> Agent {
    Agent::start(&stage.path("agent.sock"), svids).await.unwrap()
}

/// The serial numbers of the leaves that signed the requests so far.
fn serials(stage: &Stage) -> Vec<String> {
    let requests = stage.emulator.requests();
    let serial = |credential: &String| credential.split('/').next().unwrap().to_owned();
    requests.iter().map(|request| request.credential.as_ref().map(serial).unwrap()).collect()
}

/// Later credentials end later: AWS's dates have whole seconds, and these tests are faster.
fn a_while_passes(stage: &Stage, seconds: i64) {
    stage.emulator.set_clock_offset(time::Duration::seconds(seconds));
}

/// Without waiting for credentials.
fn start(stage: &Stage) -> Daemon {
    let mut command = process::anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    Daemon::of(command)
}

async fn refused(daemon: &Daemon, part: &str) -> serde_json::Value {
    let is_it = |line: &serde_json::Value| {
        line["level"] != "DEBUG" && line["error"].as_str().is_some_and(|error| error.contains(part))
    };
    daemon.wait_for_line(part, 1, is_it).await
}

/// Ends `daemon`, and fails if it has told any agent's key, in whole or in part.
async fn end(stage: &Stage, daemon: Daemon, given: &[Svid]) {
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
    let tail = |svid: &Svid| svid.x509_svid_key[svid.x509_svid_key.len() - 24..].to_vec();
    let secrets: Vec<_> = given.iter().map(tail).flat_map(|key| written(&key)).collect();
    stage.assert_no_secrets(&output, &secrets);
}

/// Bytes as careless logs write them.
fn written(bytes: &[u8]) -> [String; 4] {
    let hexadecimal = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let quoted = format!("{:?}", bytes::Bytes::copy_from_slice(bytes));
    let quoted = quoted.trim_start_matches("b\"").trim_end_matches('"').to_owned();
    [hexadecimal, listed, quoted.replace('\\', "\\\\"), quoted]
}

#[tokio::test]
async fn svids_with_every_kind_of_key_give_credentials() {
    for key in KeyKind::ALL {
        let stage = stage("spiffe:", "").await;
        let intermediate = stage.root.intermediate("Trust domain", KeyKind::P256).unwrap();
        let svid = svid(&intermediate, ROBOT, key, 7).with_intermediate(&intermediate);
        let _agent = agent(&stage, vec![svid.clone()]).await;

        let daemon = stage.daemon().await;

        let using = daemon.wait_for(event::CERTIFICATE_LOADED).await;
        assert_eq!(using["subject"], "CN=robot", "{using}");
        client::imds(&daemon.http().await).await.key_id();
        assert_eq!(serials(&stage), ["7"], "{key}");
        end(&stage, daemon, &[svid]).await;
    }
}

#[tokio::test]
async fn an_svid_is_chosen_by_its_id_or_its_hint() {
    let stage = stage("spiffe:", "").await;
    let svids = vec![
        svid(&stage.root, ROBOT, KeyKind::P256, 1).with_hint("internal"),
        svid(&stage.root, ROBOT, KeyKind::P256, 2).with_hint("external"),
        svid(&stage.root, OTHER, KeyKind::P256, 3),
    ];
    let _agent = agent(&stage, svids).await;
    for (certificate, more) in
        [("spiffe:", ""), ("spiffe:", "spiffe_hint = \"external\"\n"), (OTHER, ""), (ROBOT, "")]
    {
        choose(&stage, certificate, more);
        assert_eq!(stage.run(&ASK).await.code, 0);
    }

    assert_eq!(serials(&stage), ["1", "2", "3", "1"]);
}

#[tokio::test]
async fn an_id_that_is_not_given_is_told_with_those_that_are_and_taken_once_it_is() {
    let stage = stage("spiffe://example.org/robot-9", "").await;
    let given = [
        svid(&stage.root, ROBOT, KeyKind::P256, 1),
        svid(&stage.root, OTHER, KeyKind::P256, 2).with_hint("external"),
    ];
    let agent = agent(&stage, given.to_vec()).await;
    let daemon = start(&stage);

    let line = refused(&daemon, "gives no SVID `spiffe://example.org/robot-9`").await;
    let error = line["error"].as_str().unwrap();
    assert!(error.ends_with(&format!("only `{ROBOT}`, `{OTHER}` (hint `external`)")), "{error}");
    assert!(line["hint"].as_str().unwrap().starts_with("name one of those that are there"), "{line}");
    agent.rotate(vec![svid(&stage.root, "spiffe://example.org/robot-9", KeyKind::P256, 9)]);

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert_eq!(serials(&stage), ["9"]);
    end(&stage, daemon, &given).await;
}

#[tokio::test]
async fn a_daemon_without_an_agent_lives_and_asks_it_when_it_appears() {
    let stage = stage("spiffe:", "").await;
    let daemon = start(&stage);
    let line = refused(&daemon, "is not there: its socket does not exist").await;
    assert!(line["hint"].as_str().unwrap().contains("`spiffe_socket` or SPIFFE_ENDPOINT_SOCKET"), "{line}");
    assert_eq!(
        client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await.status,
        503
    );

    let svid = svid(&stage.root, ROBOT, KeyKind::P256, 7);
    let _agent = agent(&stage, vec![svid.clone()]).await;

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    client::imds(&daemon.http().await).await.key_id();
    end(&stage, daemon, &[svid]).await;
}

#[tokio::test]
async fn what_the_agent_does_not_allow_is_told_and_used_as_soon_as_it_does() {
    let stage = stage("spiffe:", "").await;
    let svid = svid(&stage.root, ROBOT, KeyKind::P256, 7);
    let agent = agent(&stage, vec![svid.clone()]).await;
    agent.feel(Mood::Refuses(Code::PermissionDenied, "no identity issued".into()));
    let daemon = start(&stage);
    let line = refused(&daemon, "has no identity for this process, saying \"no identity issued\"").await;
    assert!(line["hint"].as_str().unwrap().contains("register an entry whose selectors match"), "{line}");

    agent.feel(Mood::Gives);

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert_eq!(serials(&stage), ["7"]);
    end(&stage, daemon, &[svid]).await;
}

/// A key that is not the certificate's, and one that is none.
#[tokio::test]
async fn a_wrong_key_never_takes_the_place_of_the_right_one() {
    let stage = stage("spiffe:", "").await;
    let good = svid(&stage.root, ROBOT, KeyKind::P256, 1);
    let agent = agent(&stage, vec![good.clone()]).await;
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;
    let mut foreign = svid(&stage.root, ROBOT, KeyKind::P256, 2);
    foreign.x509_svid_key.clone_from(&good.x509_svid_key);
    let mut broken = svid(&stage.root, ROBOT, KeyKind::P256, 3);
    broken.x509_svid_key.truncate(30);

    for (nth, (bad, text)) in
        [(foreign, "belongs to the private key"), (broken, "PKCS#8")].into_iter().enumerate()
    {
        agent.rotate(vec![bad]);
        let line = daemon.wait_for_nth(event::CERTIFICATE_REFUSED, nth + 1).await;
        assert!(line["error"].as_str().unwrap().contains(text), "{line}");
        load.answered(50).await;
    }
    a_while_passes(&stage, 2);
    agent.rotate(vec![svid(&stage.root, ROBOT, KeyKind::P256, 4)]);

    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    load.end().await;
    assert_eq!(serials(&stage), ["1", "4"]);
    end(&stage, daemon, &[good]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_restarts_with_another_svid_costs_no_client_anything() {
    let stage = stage("spiffe:", "").await;
    let mut agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 1)]).await;
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;
    // The first attempt, the watcher's first look, and the one after what its own stream has brought: a look at an agent
    // that is down would tell of it.
    agent.wait_for_left(3).await;

    for serial in 2..5 {
        agent.crash().await;
        load.answered(50).await;
        a_while_passes(&stage, i64::from(serial) * 2);
        agent.rotate(vec![svid(&stage.root, ROBOT, KeyKind::P256, serial)]);
        agent.restart().await.unwrap();
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, usize::from(serial)).await;
        load.answered(50).await;
    }

    load.end().await;
    assert_eq!(serials(&stage), ["1", "2", "3", "4"]);
    assert_eq!(daemon.count(event::CERTIFICATE_REFUSED), 0, "{}", daemon.output());
    assert_eq!(daemon.count(event::CERTIFICATE_UNAVAILABLE), 0, "{}", daemon.output());
    end(&stage, daemon, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_every_few_milliseconds_cost_no_client_anything() {
    // Renewals for new certificates are spread over a part of what is left, here of two seconds and a half.
    let stage = stage(ROBOT, "duration = \"15m\"\n").await;
    let kinds = [KeyKind::P256, KeyKind::P384, KeyKind::P256];
    let serial = |number: u8| svid(&stage.root, ROBOT, kinds[usize::from(number) % 3], number);
    let agent = agent(&stage, vec![serial(1)]).await;
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;

    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut number = 1;
    while number < 120 || (serials(&stage).len() <= 3 && number < 250) {
        pace.tick().await;
        number += 1;
        a_while_passes(&stage, i64::from(number));
        agent.rotate(vec![serial(number)]);
        if number % 10 == 0 {
            load.answered(25).await;
        }
    }
    let number = number.to_string();
    let last =
        |line: &serde_json::Value| line["event"] == event::CERTIFICATE_LOADED && line["serial"] == *number;
    daemon.wait_for_line("the last certificate", 1, last).await;
    load.answered(200).await;

    let answers = load.end().await;
    assert!(answers > 500, "{answers}");
    let used = serials(&stage);
    assert!(used.len() > 3, "{used:?}");
    // Each attempt asks the agent anew: what is older than an attempt is not used in it.
    assert!(used.is_sorted_by_key(|serial| serial.parse::<u8>().unwrap()), "{used:?}");
    assert_eq!(daemon.count(event::CERTIFICATE_REFUSED), 0, "{}", daemon.output());
    assert_eq!(daemon.count(event::CERTIFICATE_UNAVAILABLE), 0, "{}", daemon.output());
    end(&stage, daemon, &[]).await;
}

#[tokio::test]
async fn an_svid_is_shown_as_it_is() {
    let stage = stage("spiffe:", "").await;
    let _agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 7)]).await;

    let ran = stage.run(&["certificate", "show"]).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    for part in
        ["the SVID of the agent at `unix://", &format!("URI:{ROBOT}"), "serial      7 (0x7)", "acceptable"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[tokio::test]
async fn without_a_daemon_the_agent_is_asked_by_the_process_itself() {
    let stage = stage("spiffe:", "").await;
    let agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 7)]).await;

    let ran: Ran = stage.run(&ASK).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert_eq!(serials(&stage), ["7"]);
    assert_eq!(agent.streams(), 2, "to see which SVID it gives, and to sign with it");
}

/// The agent gives each workload its own; one that is renewed is still the same workload's.
#[tokio::test]
async fn what_is_cached_of_one_workload_is_not_given_to_another() {
    let stage = stage("spiffe:", "").await;
    let mut agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 7)]).await;
    let ask = async || stage.run(&ASK).await;
    let first = ask().await;

    agent.rotate(vec![svid(&stage.root, ROBOT, KeyKind::P256, 8)]);
    let renewed = ask().await;
    agent.stop().await;
    let without_agent = ask().await;
    agent.restart().await.unwrap();
    agent.rotate(vec![svid(&stage.root, OTHER, KeyKind::P256, 9)]);
    stage.emulator.set_revoked("9", true);
    let others = ask().await;

    assert_eq!((first.code, &first.stdout), (0, &renewed.stdout), "{first:?}");
    assert_eq!(first.stdout, without_agent.stdout, "one that is silent is no news");
    assert_eq!((others.code, others.stdout.as_str()), (1, ""), "{others:?}");
    assert_eq!(serials(&stage), ["7", "9"]);
}

/// Another workload of this user and host has left its set under the same settings.
#[tokio::test]
async fn a_process_that_the_agent_refuses_gets_nothing_that_is_cached() {
    let stage = stage("spiffe:", "").await;
    let agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 7)]).await;
    let first = stage.run(&ASK).await;
    let file = stage.path("credentials");
    let update = ["update", "--once", "--session", "bedrock", "--credentials-file", file.to_str().unwrap()];
    let refuses = |code: Code| Mood::Refuses(code, "no identity issued".into());

    for (mood, told) in [
        (refuses(Code::PermissionDenied), "has no identity for this process"),
        (refuses(Code::InvalidArgument), "refuses the call as malformed"),
        (refuses(Code::Unauthenticated), "UNAUTHENTICATED"),
        (Mood::Gives, "gives no SVID"),
    ] {
        agent.rotate(Vec::new());
        agent.feel(mood);
        for verb in [&ASK[..], &update] {
            let ran = stage.run(verb).await;
            assert_eq!((ran.code == 0, ran.stdout.as_str()), (false, ""), "{verb:?}: {ran:?}");
            assert!(ran.stderr.contains(told), "{verb:?}: {}", ran.stderr);
        }
        assert!(!file.exists(), "{told}");
    }
    for mood in [refuses(Code::Unavailable), refuses(Code::Internal), Mood::Ends] {
        agent.feel(mood);
        assert_eq!(stage.run(&ASK).await.stdout, first.stdout, "one in trouble is no news");
    }
    assert_eq!(serials(&stage), ["7"]);
}

#[tokio::test]
async fn the_socket_is_found_by_the_variable_that_all_tools_know() {
    let stage = Stage::new().await;
    stage.configure(&stage.session_of("bedrock", "certificate = \"spiffe:\"\n"));
    let agent = agent(&stage, vec![svid(&stage.root, ROBOT, KeyKind::P256, 7)]).await;
    let ask = |socket: Option<String>| {
        let mut command = process::anchord();
        command
            .args(ASK)
            .arg("--config")
            .arg(stage.path("anchord.toml"))
            .envs(process::home(stage.path(".")));
        command.envs(socket.map(|socket| ("SPIFFE_ENDPOINT_SOCKET", socket)));
        process::to_the_end(command)
    };

    let without = ask(None).await;
    let ran = ask(Some(agent.uri())).await;

    assert!(without.stderr.contains("names a SPIFFE agent, but no option gives"), "{}", without.stderr);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
}
