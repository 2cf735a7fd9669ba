//! Where a session's certificate and key are said to be, and what unlocks them.

use super::*;
use anchord_core::secret::Secret;
use anchord_identity::Locator;
use anchord_identity::Passphrase;
use anchord_identity::ProcessInput;
use anchord_identity::spiffe::Agent;
use anchord_identity::spiffe::Choice;

fn with(line: &str) -> String {
    format!("{}{line}\n", session("a"))
}

fn passphrase(file: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Passphrase {
    let settings = settle(file, arguments, variables).unwrap();
    settings.sessions[0].identity().unwrap().passphrase.clone().unwrap()
}

fn given(text: &str) -> Passphrase {
    Passphrase::Given(Secret::new(text.into()))
}

#[test]
fn a_session_may_have_its_key_where_its_certificate_is() {
    let text = session("a").replace("private_key = \"/keys/key.pem\"\n", "");

    let source = settle(&text, &[], &[]).unwrap().sessions[0].identity().unwrap().clone();

    assert_eq!(source.certificate, Locator::File("/etc/anchord/leaf.pem".into()));
    assert_eq!(source.private_key, None);
}

#[test]
fn a_passphrase_comes_from_a_file_a_credential_a_variable_or_the_settings() {
    let variables = [("CREDENTIALS_DIRECTORY", "/run/credentials/anchord.service"), ("KEY_PASS", "s3cret")];
    let of = |text: &str| passphrase(&with(&format!("passphrase = \"{text}\"")), &[], &variables);

    assert_eq!(of("file:key.pass"), Passphrase::File("/etc/anchord/key.pass".into()));
    assert_eq!(of("file:/keys/key.pass"), Passphrase::File("/keys/key.pass".into()));
    assert_eq!(
        of("credential:key-pass"),
        Passphrase::File("/run/credentials/anchord.service/key-pass".into())
    );
    assert_eq!(of("env:KEY_PASS"), given("s3cret"));
    assert_eq!(of("pass:with:colon"), given("with:colon"));
    assert!(matches!(of("prompt"), Passphrase::Prompted(_)));
    assert_eq!(passphrase(&with(""), &["--passphrase=file:x"], &[]), Passphrase::File("/there/x".into()));
}

#[test]
fn a_passphrase_on_the_command_line_is_taken_with_a_warning_and_never_shown() {
    let settings = settle(&with(""), &["--passphrase", "pass:s3cret"], &[]).unwrap();

    assert!(
        settings.warnings[0].message().starts_with("--passphrase: every user of this host can read"),
        "{:?}",
        settings.warnings
    );
    let shown = format!("{} {settings:?}", describe(&settings));
    assert!(shown.contains("\"pass:[redacted]\"") && !shown.contains("s3cret"), "{shown}");
    for quiet in [
        settle(&with("passphrase = \"pass:s3cret\""), &[], &[]),
        settle(&with(""), &["--passphrase=file:x"], &[]),
    ] {
        assert_eq!(quiet.unwrap().warnings, []);
    }
}

#[test]
fn a_passphrase_that_is_nowhere_is_explained_without_repeating_it() {
    let refusal = |text: &str| refusal(&with(&format!("passphrase = \"{text}\"")));
    let at = "anchord.toml:7: `passphrase` in [session.a]: ";
    let forms = "does not say where the passphrase is; hint: give file:PATH, credential:NAME, env:VARIABLE, prompt or pass:TEXT";

    for text in ["s3cret", "s3:cret", "file:", "prompt:"] {
        assert_eq!(refusal(text), format!("{at}{forms}"), "{text}");
    }
    assert_eq!(refusal("credential:../key"), format!("{at}`../key` is not the name of a credential"));
}

#[test]
fn pass_without_a_text_is_refused_with_what_to_do() {
    let told = refusal(&with("passphrase = \"pass:\""));

    assert!(told.contains("has no passphrase after `pass:`; hint: leave out `passphrase`"), "{told}");
}

#[test]
fn certificate_key_and_intermediates_may_be_in_a_variable_or_a_credential() {
    let text = session("a")
        .replace("\"leaf.pem\"", "\"credential:leaf\"")
        .replace("\"/keys/key.pem\"", "\"env:KEY\"");
    let text = format!("{text}intermediates = \"env:CHAIN\"\n");
    let source = |variables: &[(&str, &str)]| {
        settle(&text, &[], variables).unwrap().sessions[0].identity().unwrap().clone()
    };

    let handed =
        source(&[("CREDENTIALS_DIRECTORY", "/creds"), ("KEY", "canary-key"), ("CHAIN", "canary-chain")]);

    let file = ProcessInput::file("credential:leaf", "/creds/leaf".into());
    let content =
        |spelled: &str, text: &str| ProcessInput::content(spelled, Secret::new(text.as_bytes().to_vec()));
    assert_eq!(handed.certificate, Locator::Input(file));
    assert_eq!(handed.private_key, Some(Locator::Input(content("env:KEY", "canary-key"))));
    assert_eq!(handed.intermediates, Some(Locator::Input(content("env:CHAIN", "canary-chain"))));
    assert!(!format!("{handed:?}").contains("canary"), "{handed:?}");
    // A client without them means the same session.
    assert_eq!(source(&[]).facts(), handed.facts());
}

#[test]
fn what_is_no_name_of_a_variable_is_not_repeated() {
    for text in ["env:", "env:MIGHAgEAMBMG+canary/", "env:KEY=canary"] {
        let told = refusal(&session("a").replace("\"/keys/key.pem\"", &format!("\"{text}\"")));

        assert!(
            told.contains("has no name of a variable after `env:`") && !told.contains("canary"),
            "{told}"
        );
    }
}

/// The daemon's own file is read by verbs that need no key, in a shell that has neither its credentials nor its
/// variables.
#[test]
fn a_passphrase_that_this_process_cannot_have_is_a_mistake_only_where_it_is_needed() {
    let absent = |text: &str| match passphrase(&with(&format!("passphrase = \"{text}\"")), &[], &[]) {
        Passphrase::Absent { why, hint } => format!("{why}; {hint}"),
        other => panic!("{other:?}"),
    };

    assert_eq!(
        absent("credential:key"),
        "systemd has passed no credential `key` to this process; \
         only a unit with `LoadCredential=key:/path/to/it` can read it"
    );
    assert_eq!(
        absent("env:NOWHERE"),
        "the variable `NOWHERE` is not set; set it for the process that needs the key"
    );
}

/// A shell or a unit that sets it to nothing looks as if it had set it.
#[test]
fn a_variable_that_is_empty_is_not_told_as_one_that_is_not_set() {
    let text =
        session("a").replace("\"leaf.pem\"", "\"env:LEAF\"").replace("\"/keys/key.pem\"", "\"env:LEAF\"");
    let told = |variables: &[(&str, &str)]| {
        let settings = settle(&text, &[], variables).unwrap();
        let loaded = settings.sessions[0].identity().unwrap().load(time::OffsetDateTime::UNIX_EPOCH);
        anchord_core::failure::Failure::from(loaded.unwrap_err()).to_string()
    };

    assert!(told(&[("LEAF", "")]).contains("the variable `LEAF` is empty; hint: set it"), "{}", told(&[]));
    assert!(told(&[]).contains("the variable `LEAF` is not set; hint: set it"), "{}", told(&[]));
    match passphrase(&with("passphrase = \"env:PASS\""), &[], &[("PASS", "")]) {
        Passphrase::Absent { why, .. } => assert_eq!(why, "the variable `PASS` is empty"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_of_places_that_a_session_does_not_have_are_told() {
    let text = with("pkcs11_module = \"/nope.so\"\nspiffe_hint = \"x\"");

    let warnings = settle(&text, &[], &[]).unwrap().warnings;

    assert_eq!(
        texts(&warnings),
        [
            "session a has `pkcs11_module` and no token; it has no effect",
            "session a has `spiffe_hint` and no SPIFFE agent; it has no effect"
        ]
    );
}

#[test]
fn places_that_can_hold_no_certificate_or_no_key_of_it_are_refused() {
    let tpm = session("a").replace("leaf.pem", "tpm:0x81000001");
    assert!(refusal(&tpm).contains("`certificate` names a key in a TPM, but a TPM holds no certificates"));
    let agent = session("a").replace("/keys/key.pem", "spiffe:");
    let refused = refusal(&format!("{agent}spiffe_socket = \"unix:///run/agent.sock\"\n"));
    assert!(
        refused.contains("`private_key` names a SPIFFE agent, but its keys fit only its own"),
        "{refused}"
    );
}

#[test]
fn tokens_and_handles_are_known_by_their_schemes_and_shown_without_a_pin() {
    let with_key = |key: &str| session("a").replace("/keys/key.pem", key);

    let settings = settle(&with_key("pkcs11:token=robots?pin-value=s3cret"), &[], &[]).unwrap();
    assert!(matches!(settings.sessions[0].identity().unwrap().private_key, Some(Locator::Token(_))));
    let shown = format!("{} {settings:?}", describe(&settings));
    assert!(shown.contains("pkcs11:token=robots") && !shown.contains("s3cret"), "{shown}");
    for text in ["tpm:0x81000001", "handle:0x81000001"] {
        let key =
            settle(&with_key(text), &[], &[]).unwrap().sessions[0].identity().unwrap().private_key.clone();
        assert_eq!(key, Some(Locator::Tpm(0x8100_0001)));
    }
    let refused = refusal(&with_key("pkcs11:token=%zz?pin-value=s3cret"));
    assert!(refused.contains("`private_key` in [session.a]") && !refused.contains("s3cret"), "{refused}");
    assert!(refusal(&with_key("tpm:0x1")).contains("`0x1` is not a persistent handle"));
}

#[test]
fn leaves_are_pinned_by_one_fingerprint_or_several() {
    let (one, other) = (format!("sha256:{}", "ab".repeat(32)), format!("SHA256:{}", "CD".repeat(32)));
    let text = with(&format!("certificate_fingerprint = [\"{one}\", \"{other}\"]"));

    let selection = settle(&text, &[], &[]).unwrap().sessions[0].identity().unwrap().selection.clone();

    assert_eq!(
        selection.fingerprints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [one, other.to_lowercase()]
    );
}

#[test]
fn what_selects_no_certificate_is_refused() {
    let refusal = |line: &str| refusal(&with(line));

    assert_eq!(
        refusal("certificate_fingerprint = [\"sha1:00\"]"),
        "anchord.toml:7: `certificate_fingerprint` in [session.a]: `sha1:00` is not a fingerprint: \
         it is `sha256:` and 64 hexadecimal digits"
    );
    assert!(
        refusal("certificate_subject = \"robot-7\"")
            .contains("is not a name: it is attributes such as CN=robot-7")
    );
    assert!(refusal("certificate_issuer = \"CN\"").contains("`CN` is not a name"));
    assert!(refusal("certificate_serial = \"fg\"").contains("hexadecimal after 0x"));
    assert!(refusal("certificate_fingerprint = []").contains("is empty and would pin nothing"));
}

const AGENT: &str = "unix:///run/agent.sock";

fn of_agent(certificate: &str, lines: &str) -> String {
    let files = "certificate = \"leaf.pem\"\nprivate_key = \"/keys/key.pem\"\n";
    session("a").replace(files, &format!("certificate = \"{certificate}\"\n{lines}"))
}

fn agent(settings: &Settings) -> Agent {
    let source = settings.sessions[0].identity().unwrap();
    assert_eq!(source.private_key, None);
    match &source.certificate {
        Locator::Agent(agent) => agent.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_may_come_from_a_spiffe_agent() {
    let robot = "spiffe://example.org/robot-7";
    let lines = format!("spiffe_socket = \"{AGENT}\"\nspiffe_hint = \"internal\"\n");
    let any = Choice::default();
    let one = Choice { id: Some(robot.into()), hint: Some("internal".into()) };
    for (certificate, lines, choice) in
        [("spiffe:", format!("spiffe_socket = \"{AGENT}\"\n"), any), (robot, lines, one)]
    {
        let settings = settle(&of_agent(certificate, &lines), &[], &[]).unwrap();

        assert_eq!(agent(&settings), Agent { endpoint: AGENT.parse().unwrap(), choice });
    }
}

#[test]
fn the_agents_socket_is_also_taken_from_the_variable_that_all_tools_know() {
    let variable = [("SPIFFE_ENDPOINT_SOCKET", AGENT)];
    let settings = settle(&of_agent("spiffe:", ""), &[], &variable).unwrap();

    assert_eq!(agent(&settings).endpoint.to_string(), AGENT);
    assert!(describe(&settings).contains("# SPIFFE_ENDPOINT_SOCKET"), "{}", describe(&settings));
    let own = settle(&of_agent("spiffe:", ""), &["--spiffe-socket=tcp://127.0.0.1:8081"], &variable).unwrap();
    assert_eq!(agent(&own).endpoint.to_string(), "tcp://127.0.0.1:8081");
    assert_eq!(settle(&session("a"), &[], &[("SPIFFE_ENDPOINT_SOCKET", "nonsense")]).unwrap().warnings, []);
}

#[test]
fn what_names_no_svid_or_no_agent_is_refused_with_what_to_write() {
    let at = "`certificate` in [session.a]: ";
    let socket = format!("spiffe_socket = \"{AGENT}\"\n");

    let refused = refusal(&of_agent("spiffe:", ""));
    assert!(
        refused.contains(&format!(
            "{at}names a SPIFFE agent, but no option gives the agent's socket; hint: set"
        )),
        "{refused}"
    );
    let refused = refusal(&of_agent("spiffe://example.org", &socket));
    assert!(refused.contains("`spiffe://example.org` names a trust domain, not a workload"), "{refused}");
    let refused = refusal(&of_agent("spiffe:", "spiffe_socket = \"/run/agent.sock\"\n"));
    assert!(
        refused.contains("`/run/agent.sock` is a path, not a URI; hint: write unix:// in front of the path"),
        "{refused}"
    );
    let variable = [("SPIFFE_ENDPOINT_SOCKET", "unix:agent.sock")];
    let refused = settle(&of_agent("spiffe:", ""), &[], &variable).unwrap_err().to_string();
    assert!(refused.contains("SPIFFE_ENDPOINT_SOCKET: `unix:agent.sock` has a relative path"), "{refused}");
}
