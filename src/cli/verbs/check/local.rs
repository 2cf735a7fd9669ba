//! The steps about the daemon that runs here.

use super::environment::LocalDaemon;
use crate::cli::output;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_runtime::client;
use anchord_runtime::client::running::RunningDaemon;

/// Checks that a daemon runs, has this version, and has the chosen sessions.
pub(super) fn daemon_steps(
    found: &Result<Option<RunningDaemon>, Failure>,
    settings: &Settings,
    chosen: &[&SessionSettings],
) -> Vec<Step> {
    let daemon = Subject::new("daemon", "daemon");
    let running = match found {
        Ok(Some(running)) => running,
        Ok(None) => return vec![daemon.skipped(client::no_daemon(&client::sockets(settings)).message())],
        Err(failure) => return vec![daemon.failed("gives an invalid answer", failure)],
    };
    let place = running.socket.display();
    let names: Vec<_> = running.status.sessions.iter().map(|held| held.name.as_str()).collect();
    let found =
        format!("version {} at `{place}` has the sessions {}", running.status.version, names.join(", "));
    let mut steps = vec![match running.status.version == env!("CARGO_PKG_VERSION") {
        true => daemon.ok(found),
        false => daemon
            .warning(found, format!("this is version {}; restart the daemon", env!("CARGO_PKG_VERSION"))),
    }];
    for session in chosen {
        let name = &session.name;
        let held = running.status.sessions.iter().find(|held| held.name == *name);
        match held.map(|held| held.phase.as_str()) {
            Some("live") => {}
            Some(phase) => steps.push(daemon.warning(
                format!("its session `{name}` is {phase}: clients get no credentials"),
                "check `anchord status` and this session's steps",
            )),
            None => steps.push(daemon.warning(
                format!("it has no session `{name}`"),
                "reload it: SIGHUP or `systemctl reload anchord`",
            )),
        }
    }
    steps
}

/// Changes the hint for files that this user cannot read: with a daemon, only the daemon's user needs to read them.
pub(super) fn leave_files_closed(steps: &mut [Step]) {
    for step in steps {
        if step.reason_code == Some(Reason::FileForbidden) {
            step.hint = Some(output::LEAVE_IT_CLOSED.into());
        }
    }
}

/// How clients would find the daemon that runs, or that would run with these settings.
pub(super) fn local_daemon(
    running: Option<&RunningDaemon>,
    settings: &Settings,
    chosen: &[&SessionSettings],
) -> LocalDaemon {
    let listeners = match running {
        Some(running) => {
            let urls = running.status.listeners.http.iter();
            urls.filter_map(|url| url.strip_prefix("http://")?.parse().ok()).collect()
        }
        None => settings.listen.clone(),
    };
    let sessions = match running {
        Some(running) => running.status.sessions.iter().map(|held| held.name.clone()).collect(),
        None => settings.sessions.iter().map(|session| session.name.clone()).collect(),
    };
    let region = chosen.first().map(|session| session.region.to_string());
    let (has_imds, has_container) = (settings.imds.is_some(), settings.container);
    LocalDaemon { listeners, sessions, has_imds, has_container, region }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::check::report::State;

    #[test]
    fn a_daemon_of_another_version_is_a_warning() {
        let command = clap::Command::new("test").args(anchord_config::arguments::all());
        let environment = anchord_config::Environment::from_iter([("XDG_RUNTIME_DIR", "/run/user/7")]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let matches = command.get_matches_from(["test", "--config", path]);
        let settings = anchord_config::load_for_client(&matches, &environment).unwrap();
        let steps = |version: &str| {
            let status = serde_json::json!({
                "version": version, "sessions": [{ "name": "web", "phase": "live" }],
            });
            let status = serde_json::from_value(status).unwrap();
            let running = RunningDaemon { socket: "/run/anchord/anchord.sock".into(), status };
            daemon_steps(&Ok(Some(running)), &settings, &[])
        };

        assert_eq!(steps(env!("CARGO_PKG_VERSION"))[0].state, State::Ok);
        assert_eq!(steps("0.0.1")[0].state, State::Warning);
        assert_eq!(daemon_steps(&Ok(None), &settings, &[])[0].state, State::Skipped);
    }
}
