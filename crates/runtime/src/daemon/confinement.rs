//! The daemon's sandbox: what the settings need, entering it, and which new settings it admits.

mod of_settings;

use std::path::Path;
use std::path::PathBuf;

use tracing::info;
use tracing::warn;

use super::runtime_directory::make_runtime_directory;
use anchord_config::Environment;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::event;
use anchord_identity::Reach;
use anchord_identity::pkcs11;
use anchord_sandbox as sandbox;
use anchord_sandbox::InForce;
use anchord_sandbox::Needs;
use of_settings::Demand;
use of_settings::Folder;

/// The sandbox that this process has entered.
#[derive(Debug)]
pub struct Confinement {
    needs: Needs,
    /// The PKCS#11 modules for which hosts can be started.
    modules: Vec<PathBuf>,
    in_force: InForce,
    /// Why no process could be set apart that starts PKCS#11 hosts.
    spawner_error: Option<std::io::Error>,
}

/// Enters the sandbox of a daemon with these settings. `temporary` is a directory that the process removes at its end.
/// `None` if the settings switch the sandbox off.
///
/// Call it before the first thread starts. It makes the directories that the daemon will write to, because the kernel's
/// rules are about directories that exist. Errors are reported later by the code that needs the directory.
pub fn enter_sandbox(
    settings: &Settings,
    environment: &Environment,
    temporary: Option<&Path>,
) -> Option<Confinement> {
    if !settings.sandbox {
        return None;
    }
    let _ = make_runtime_directory(&settings.runtime_directory);
    let demand = Demand::of(settings);
    let has_abstract_sockets = environment.get("NOTIFY_SOCKET").is_some_and(|path| path.starts_with('@'));
    let needs = of_settings::needs(settings, &demand, temporary, has_abstract_sockets);
    let modules = demand.modules();
    let spawned = match demand.has_token() {
        true => pkcs11::set_spawner_apart(&modules),
        false => Ok(()),
    };
    let in_force = sandbox::enter(&needs);
    Some(Confinement { needs, modules, in_force, spawner_error: spawned.err() })
}

/// Logs what is in force; `None` if the settings switch the sandbox off.
pub fn log_sandbox(confinement: Option<&Confinement>) {
    let Some(Confinement { in_force, spawner_error, .. }) = confinement else {
        warn!(
            event = event::SANDBOX_OFF,
            hint = "remove `sandbox = false`, or report the fault that it is for",
            "The sandbox is switched off; a fault of the daemon could do whatever its user can"
        );
        return;
    };
    let (parts, missing) = (in_force.parts.join(", "), in_force.missing.join("; "));
    info!(event = event::SANDBOX_ENTERED, parts, missing, "Entered the sandbox");
    for error in &in_force.failed {
        warn!(event = event::SANDBOX_INCOMPLETE, error, "A part of the sandbox is not in force");
    }
    if let Some(error) = spawner_error {
        let hint = "start the daemon again; without PKCS#11 its sandbox is complete";
        warn!(event = event::SANDBOX_INCOMPLETE, %error, hint, "No PKCS#11 module can be started");
    }
}

impl Confinement {
    /// Keeps the earlier form of a session or credentials file if the sandbox does not admit the new one. Returns the
    /// names of what takes effect only after a restart. May block.
    pub(super) fn keep_what_fits(&self, settings: &mut Settings, before: &Settings) -> Vec<String> {
        let mut waiting = Vec::new();
        let demand = Demand::of(settings);
        for (index, session) in settings.sessions.iter_mut().enumerate() {
            let earlier = before.sessions.iter().find(|earlier| earlier.name == session.name);
            if earlier == Some(session) || self.admits_session(session, demand.session(index)) {
                continue;
            }
            waiting.push(format!("session.{}", session.name));
            if let Some(earlier) = earlier {
                session.clone_from(earlier);
            }
        }
        let mut kept = Vec::new();
        for (index, file) in settings.credentials_files.drain(..).enumerate() {
            let earlier = before.credentials_files.iter().find(|earlier| earlier.name == file.name);
            if earlier == Some(&file) || self.admits_folder(demand.folder(index)) {
                kept.push(file);
                continue;
            }
            waiting.push(format!("credentials_file.{}", file.name));
            kept.extend(earlier.cloned());
        }
        settings.credentials_files = kept;
        waiting
    }

    fn admits_session(&self, session: &SessionSettings, reach: &Reach) -> bool {
        let has_modules = reach.modules.iter().all(|module| self.modules.contains(module));
        has_modules && self.admits(&of_settings::of_session(session, reach))
    }

    fn admits_folder(&self, folder: &Folder) -> bool {
        let is_denied_by_it = *folder == Folder::Denied && self.in_force.limits_writes;
        !is_denied_by_it && self.admits(&of_settings::of_folder(folder))
    }

    fn admits(&self, wanted: &Needs) -> bool {
        self.needs.lacks(wanted, &self.in_force).is_empty()
    }
}
