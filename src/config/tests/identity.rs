//! Where a session's certificate and key are said to be, and what unlocks them.

use super::*;
use crate::identity::Locator;
use crate::identity::Passphrase;
use crate::secret::Secret;

fn with(line: &str) -> String {
    format!("{}{line}\n", session("a"))
}

fn passphrase(file: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Passphrase {
    let settings = settle(file, arguments, variables).unwrap();
    settings.sessions[0].identity.passphrase.clone().unwrap()
}

fn given(text: &str) -> Passphrase {
    Passphrase::Given(Secret::new(text.into()))
}

#[test]
fn a_session_may_have_its_key_where_its_certificate_is() {
    let text = session("a").replace("private_key = \"/keys/key.pem\"\n", "");

    let source = settle(&text, &[], &[]).unwrap().sessions[0].identity.clone();

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
        settings.warnings[0].contains("--passphrase can be read by every user"),
        "{:?}",
        settings.warnings
    );
    let shown = format!("{} {settings:?}", describe(&settings));
    assert!(shown.contains("\"pass:[redacted]\"") && !shown.contains("s3cret"), "{shown}");
    for quiet in [
        settle(&with("passphrase = \"pass:s3cret\""), &[], &[]),
        settle(&with(""), &["--passphrase=file:x"], &[]),
    ] {
        assert_eq!(quiet.unwrap().warnings, [""; 0]);
    }
}

#[test]
fn a_passphrase_that_is_nowhere_is_explained_without_repeating_it() {
    let refusal = |text: &str| refusal(&with(&format!("passphrase = \"{text}\"")));
    let at = "anchord.toml:7: `passphrase` in [session.a]: ";
    let forms = "does not say where the passphrase is; hint: give file:PATH, credential:NAME, env:VARIABLE, prompt or pass:TEXT";

    for text in ["s3cret", "s3:cret", "file:", "pass:", "prompt:"] {
        assert_eq!(refusal(text), format!("{at}{forms}"), "{text}");
    }
    assert_eq!(refusal("env:NOWHERE"), format!("{at}the variable `NOWHERE` is not set"));
    assert_eq!(
        refusal("credential:key"),
        format!(
            "{at}there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set; \
             hint: put `LoadCredential=key:/path/to/it` into the unit"
        )
    );
    assert_eq!(refusal("credential:../key"), format!("{at}`../key` is not the name of a credential"));
}

#[test]
fn leaves_are_pinned_by_one_fingerprint_or_several() {
    let (one, other) = (format!("sha256:{}", "ab".repeat(32)), format!("SHA256:{}", "CD".repeat(32)));
    let text = with(&format!("certificate_fingerprint = [\"{one}\", \"{other}\"]"));

    let selection = settle(&text, &[], &[]).unwrap().sessions[0].identity.selection.clone();

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
    assert!(refusal("certificate_serial = \"ff\"").contains("hexadecimal ones after 0x"));
}
