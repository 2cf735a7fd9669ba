//! Checks who may use the sessions.

use std::collections::BTreeMap;

use super::Consumer;
use super::check::Check;
use super::check::SessionScope;
use super::check::quoted;
use super::layers::SessionLayer;
use super::options::option;
use super::setting::Setting;
use super::values;
use super::values::Allowed;
use anchord_core::access::Access;
use anchord_core::notice::Notice;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

impl Check<'_> {
    /// Whom an option admits; absent if it is not given.
    pub(super) fn access(&mut self, key: &str, scope: SessionScope<'_, '_>) -> Setting<Access> {
        match self.layers.find(option(key), scope) {
            Setting::Absent => return self.absent(option(key), scope),
            Setting::Reported => return Setting::Reported,
            Setting::There(_) => {}
        }
        let Some(allowed) = self.many(key, scope, values::allowed) else { return Setting::Reported };
        let mut principals = Vec::new();
        for one in allowed {
            match one {
                Allowed::Anybody => return Setting::There(Access::Anybody),
                Allowed::One(principal) => principals.push(principal),
            }
        }
        principals.sort();
        Setting::There(Access::Only(principals))
    }

    /// Who may use each session: whom its `allow` names, else the access group.
    pub(super) fn sessions_access(
        &mut self,
        layers: &[SessionLayer<'_>],
        group: &Access,
    ) -> Option<BTreeMap<String, Access>> {
        let mut sessions = BTreeMap::new();
        for layer in layers {
            let access = match self.access("session.allow", Some(layer)) {
                Setting::There(access) => access,
                Setting::Reported => return None,
                Setting::Absent => {
                    let shown: Vec<_> =
                        group.principals().iter().map(|one| quoted(&one.to_string())).collect();
                    if !shown.is_empty() {
                        self.note_default("session.allow", Some(layer), &format!("[{}]", shown.join(", ")));
                    }
                    group.clone()
                }
            };
            sessions.insert(layer.name.to_owned(), access);
        }
        Some(sessions)
    }

    /// Warns of sessions that every local process can use.
    pub(super) fn warn_of_open_sessions(
        &mut self,
        imds: &Setting<String>,
        imds_access: Option<&Access>,
        access: &BTreeMap<String, Access>,
    ) {
        if self.reader == Consumer::Client {
            return;
        }
        let mut warn = |name: &str, way: &str, key: &'static str| {
            let what = format!("every local process can get the credentials of session {name}{way}");
            let hint = [Say("to name those who may, set "), Key(key)];
            self.warnings.push(Notice::new(what).hinting(Text::of(&hint)));
        };
        for (name, _) in access.iter().filter(|(_, access)| **access == Access::Anybody) {
            warn(name, "", "allow");
        }
        if let (Setting::There(name), Some(Access::Anybody)) = (imds, imds_access)
            && access.get(name) != Some(&Access::Anybody)
        {
            warn(name, " over IMDS", "imds.allow");
        }
    }

    /// Those who may use sessions that do not say who may.
    pub(super) fn access_group(&mut self) -> Option<Access> {
        match self.one("access_group", None, values::group) {
            Setting::There((group, _)) => Some(Access::Only(vec![group])),
            Setting::Absent => Some(Access::Only(Vec::new())),
            Setting::Reported => None,
        }
    }
}
