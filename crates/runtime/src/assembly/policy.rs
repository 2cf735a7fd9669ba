//! The time limit of one attempt to obtain credentials.

use std::time::Duration;

use anchord_config as config;
use anchord_config::Settings;
use anchord_session::Policy;

/// A session's policy. An attempt may make three calls to each endpoint (a second one with a corrected clock, a third
/// one with the previous certificate after AWS refused the new one) and two calls for each role of a chain. Its limit
/// is the sum of their limits and of the time for files and keys. An attempt has a limit even if the settings give
/// calls none, because a silent server must not block a session for ever.
pub fn policy(settings: &Settings, session: &config::SessionSettings) -> Policy {
    const FILES_AND_KEYS: Duration = Duration::from_secs(15);
    const UNLIMITED_CALL: Duration = Duration::from_secs(120);
    let upstream = &settings.upstream;
    let call = upstream.connect_timeout.zip(upstream.read_timeout).map(|(connect, read)| connect + 2 * read);
    let endpoints = if session.has_second_endpoint() { 2 } else { 1 };
    let roles = u32::try_from(session.chain.len()).unwrap_or(u32::MAX);
    let call = call.unwrap_or(UNLIMITED_CALL);
    let attempt_limit =
        (endpoints * (3 * call + FILES_AND_KEYS)).saturating_add((2 * call).saturating_mul(roles));
    Policy { attempt_limit, ..Policy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "runtime_directory = \"/r\"\n[session.a]\ncertificate = \"c\"\nprivate_key = \"k\"\n\
         trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a\"\n\
         profile_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:profile/a\"\n\
         role_arn = \"arn:aws:iam::123456789012:role/r\"\n";
    const SECOND: &str = "fallback_trust_anchor_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/b\"\n\
         fallback_profile_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:profile/b\"\n";

    #[test]
    fn an_attempt_has_time_for_every_call_it_may_make() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let limit = |lines: &str| {
            fs_err::write(file.path(), format!("{SESSION}{lines}")).unwrap();
            let given = config::Arguments::given([("config", file.path().to_str().unwrap())]).unwrap();
            let settings = config::load(given, &config::Environment::from_iter([("A", "")])).unwrap();
            policy(&settings, &settings.sessions[0]).attempt_limit
        };
        let call = Duration::from_secs(5 + 2 * 10);

        assert!(limit("") > 2 * call);
        assert!(limit(SECOND) > 4 * call);
        let roles =
            "assume_role = [\"arn:aws:iam::123456789012:role/a\", \"arn:aws:iam::123456789012:role/b\"]\n";
        assert!(limit(roles) > 7 * call);
        let unlimited = limit("[upstream]\nread_timeout = \"none\"");
        assert!(
            (limit("")..Duration::from_secs(600)).contains(&unlimited),
            "a silent server holds no session for ever"
        );
    }
}
