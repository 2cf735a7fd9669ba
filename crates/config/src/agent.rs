//! Checks the options of the SPIFFE agent that provides a session's certificate and key.

use super::check::Check;
use super::layers::SessionLayer;
use super::options::option;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use super::values::Fault;
use anchord_core::notice::Origin;
use anchord_identity::Locator;
use anchord_identity::spiffe::Agent;
use anchord_identity::spiffe::Choice;
use anchord_identity::spiffe::WorkloadEndpoint;

const SOCKET: &str = "session.spiffe_socket";

/// SPIFFE Workload Endpoint, section 4.
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// A session's agent options, whether it uses an agent or not.
pub(super) struct Workload {
    socket: Value<WorkloadEndpoint>,
    hint: Value<String>,
}

impl Check<'_> {
    /// The agent options. They are read even if no agent is used, so that reports show them.
    pub(super) fn workload(&mut self, layer: &SessionLayer<'_>) -> Workload {
        let socket = self.one(SOCKET, Some(layer), endpoint);
        let hint = self.one("session.spiffe_hint", Some(layer), values::text);
        Workload { socket, hint }
    }

    /// The agent that the option `key` names; the option must have a value.
    pub(super) fn agent(
        &mut self,
        key: &str,
        layer: &SessionLayer<'_>,
        workload: &Workload,
    ) -> Value<Locator> {
        let choice =
            self.one(key, Some(layer), |text| Choice::of_uri(text).map_err(|why| Fault::of(text, why)));
        let Setting::There((mut choice, origin)) = choice else { return Setting::Reported };
        choice.hint = match &workload.hint {
            Setting::There((hint, _)) => Some(hint.clone()),
            Setting::Absent => None,
            Setting::Reported => return Setting::Reported,
        };
        match self.endpoint(key, layer, workload) {
            Some(endpoint) => Setting::There((Locator::Agent(Agent { endpoint, choice }), origin)),
            None => Setting::Reported,
        }
    }

    fn endpoint(
        &mut self,
        key: &str,
        layer: &SessionLayer<'_>,
        workload: &Workload,
    ) -> Option<WorkloadEndpoint> {
        match &workload.socket {
            Setting::There((endpoint, _)) => return Some(endpoint.clone()),
            Setting::Reported => return None,
            Setting::Absent => {}
        }
        if let Some(text) = self.layers.environment.get(VARIABLE) {
            let origin = Origin::Variable(VARIABLE.into());
            let endpoint = values::plain(text).and_then(endpoint);
            return match endpoint {
                Ok(endpoint) => {
                    self.note_session_value(SOCKET, layer, text, origin);
                    Some(endpoint)
                }
                Err(fault) => {
                    self.report(origin, fault);
                    None
                }
            };
        }
        let Setting::There(given) = self.layers.find(option(key), Some(layer)) else { return None };
        let fault = Fault::new("names a SPIFFE agent, but no option gives the agent's socket").hint(
            "set `spiffe_socket` or the variable SPIFFE_ENDPOINT_SOCKET, such as to unix:///run/spire/agent/public/api.sock",
        );
        self.report_value(option(key), Some(layer), &given.last()?.origin, fault);
        None
    }
}

fn endpoint(text: &str) -> Result<WorkloadEndpoint, Fault> {
    text.parse()
        .map_err(|why: anchord_identity::spiffe::MalformedEndpoint| Fault::of(text, &why).hint(why.hint()))
}
