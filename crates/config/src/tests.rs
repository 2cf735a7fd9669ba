//! What loading promises, through the doors that the daemon and the verbs use.

mod access;
mod access_keys;
mod declaration;
mod facts;
mod identity;
mod mistakes;
mod precedence;
mod sessions;
mod steps;
mod strangers;
mod texts;

use super::*;
use anchord_core::notice::Notice;

const TRUST_ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/41c10bae";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:profile/9f2d6a70";
const ROLE: &str = "arn:aws:iam::123456789012:role/bedrock";

/// As they are printed.
fn texts(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

/// A complete session, to which a test adds lines.
fn session(name: &str) -> String {
    format!(
        "[session.{name}]\n\
         certificate = \"leaf.pem\"\n\
         private_key = \"/keys/key.pem\"\n\
         trust_anchor_arn = \"{TRUST_ANCHOR}\"\n\
         profile_arn = \"{PROFILE}\"\n\
         role_arn = \"{ROLE}\"\n"
    )
}

fn certified(session: &SessionSettings) -> &CertificateSource {
    match &session.source {
        CredentialSource::RolesAnywhere(source) => source,
        CredentialSource::AccessKeys(keys) => panic!("{keys:?}"),
    }
}

fn matches(arguments: &[&str]) -> clap::ArgMatches {
    clap::Command::new("anchord")
        .no_binary_name(true)
        .args(arguments::all())
        .try_get_matches_from(arguments)
        .unwrap()
}

fn root() -> Environment {
    environment(&[])
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::from_iter(variables.iter().copied()).with_current_dir("/there").with_uid(0)
}

/// Settles the text of a file `/etc/anchord/anchord.toml` that was not read from anywhere.
fn settle_as(
    reader: Consumer,
    file: &[u8],
    arguments: Arguments,
    environment: &Environment,
) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let mut file = file::parse("anchord.toml", file, &mut problems);
    file.path = Some("/etc/anchord/anchord.toml".into());
    file.chosen_by = Some(Origin::Default);
    check::settle_layers(
        &layers::Layers { arguments, environment, file, reads_a_file: true },
        reader,
        problems,
    )
}

fn settle(file: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let arguments = Arguments::from(&matches(arguments));
    settle_as(Consumer::Daemon, file.as_bytes(), arguments, &environment(variables))
}

/// Settings of a file alone.
fn settled(file: &str) -> Settings {
    settle(file, &[], &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// All that is wrong with a file alone.
fn refusal(file: &str) -> String {
    settle(file, &[], &[]).unwrap_err().to_string()
}
