//! Checks sessions whose source is a user's own access keys.

use super::AccessKeySource;
use super::CredentialSource;
use super::SessionSettings;
use super::check::Check;
use super::environment::Environment;
use super::identity::no_credential;
use super::identity::no_variable;
use super::layers::SessionLayer;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::option;
use super::setting::Setting;
use super::setting::Value;
use super::step::StepContext;
use super::values;
use super::values::Fault;
use super::values::echo;
use anchord_aws::access_keys::AccessKeys;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

const ACCESS_KEYS: &str = "session.access_keys";
const GET_SESSION_TOKEN: &str = "session.get_session_token";
/// The options of sessions with any source.
const OF_EVERY_SOURCE: &[&str] = &[
    "session.source",
    "session.duration",
    "session.region",
    "session.assume_role",
    "session.sts_region",
    "session.sts_endpoint",
];

impl Check<'_> {
    /// Checks a session with `source = "access-keys"`; `None` after a mistake.
    pub(super) fn session_of_keys(
        &mut self,
        layer: &SessionLayer<'_>,
        variant: Variant,
    ) -> Option<SessionSettings> {
        let scope = Some(layer);
        let keys = self.access_keys(layer);
        let get_session_token = self.one(GET_SESSION_TOKEN, scope, values::switch);
        let duration = self.one("session.duration", scope, values::session_duration);
        let region = self.one("session.region", scope, values::region);
        self.report_missing(layer, &[option(ACCESS_KEYS), option("session.region")]);
        self.warn_of_other_source(layer, |key| {
            !OF_EVERY_SOURCE.contains(&key) && ![ACCESS_KEYS, GET_SESSION_TOKEN].contains(&key)
        });
        let region = region.required()?;
        let sts = self.sts(layer, Some(region.clone()), variant)?;
        let context =
            StepContext { partition: Some(region.partition().as_str()), sts: &sts, begins_with_a_user: true };
        let chain = self.chain(layer, context);
        Some(SessionSettings {
            name: layer.name.into(),
            source: CredentialSource::AccessKeys(AccessKeySource {
                keys: keys.required()?,
                get_session_token: get_session_token.required()?,
                duration: duration.required()?,
            }),
            chain: chain?,
            region,
            sts,
            variant,
        })
    }

    /// Checks the options of access keys in a session with a certificate, and warns that they have no effect.
    pub(super) fn warn_of_keys(&mut self, layer: &SessionLayer<'_>) {
        self.access_keys(layer);
        self.one(GET_SESSION_TOKEN, Some(layer), values::switch);
        self.warn_of_other_source(layer, |key| key == ACCESS_KEYS);
    }

    fn warn_of_other_source(&mut self, layer: &SessionLayer<'_>, is_others: impl Fn(&str) -> bool) {
        let is_given = |spec: &&OptionSpec| match self.layers.find(spec, Some(layer)) {
            Setting::There(given) => given.iter().any(|given| given.origin != Origin::Default),
            Setting::Absent | Setting::Reported => false,
        };
        let of_session = OPTIONS.iter().filter(|spec| spec.table() == "session" && is_others(spec.key));
        let idle: Vec<_> = of_session.filter(is_given).collect();
        if idle.is_empty() {
            return;
        }
        let begin = format!("session {} has ", layer.name);
        let mut what = vec![Say(&begin)];
        for (index, spec) in idle.iter().enumerate() {
            if index > 0 {
                what.push(Say(", "));
            }
            what.push(Key(spec.name()));
        }
        what.extend([Say(", which its "), Key("source"), Say(" does not use")]);
        self.warnings.push(Notice::new(Text::of(&what)));
    }

    fn access_keys(&mut self, layer: &SessionLayer<'_>) -> Value<AccessKeys> {
        let given = match self.layers.find(option(ACCESS_KEYS), Some(layer)) {
            Setting::Absent => return Setting::Absent,
            Setting::Reported => return Setting::Reported,
            Setting::There(given) => given,
        };
        let Some(given) = given.last() else { return Setting::Reported };
        match values::plain(&given.text).and_then(|text| self.access_keys_of(text, &given.origin)) {
            Ok(keys) => {
                self.note_secret(ACCESS_KEYS, layer, &given.text, given.origin.clone());
                Setting::There((keys, given.origin.clone()))
            }
            Err(fault) => {
                self.report_value(option(ACCESS_KEYS), Some(layer), &given.origin, fault);
                Setting::Reported
            }
        }
    }

    fn access_keys_of(&self, text: &str, origin: &Origin) -> Result<AccessKeys, Fault> {
        let environment = self.layers.environment;
        match text.split_once(':') {
            // Somebody wrote the keys themselves after the form, such as `env:ID:SECRET`.
            Some((_, rest)) if AccessKeys::parse(rest).is_ok() => Err(unknown()),
            Some(("env", rest)) if !is_variable(rest) => Err(unknown()),
            Some(("credential", rest)) if !is_credential(rest) => Err(unknown()),
            None if text == "env" => Ok(self.keys_of_the_sdks()),
            Some(("file", path)) if !path.is_empty() => {
                Ok(AccessKeys::file(self.start_of(origin).join(path)))
            }
            Some(("credential", name)) => Ok(match self.credential_path(name)? {
                Some(path) => AccessKeys::file(path),
                None => {
                    let (why, hint) = no_credential(name);
                    AccessKeys::absent(why, hint)
                }
            }),
            Some(("env", variable)) => match environment.get(variable) {
                None => Ok(absent(variable, environment)),
                Some(value) => AccessKeys::parse(value)
                    .map(|keys| AccessKeys::given(keys, format!("the variable {variable}")))
                    .map_err(|fault| {
                        Fault::new(format!("the variable {} {fault}", echo(variable))).hint(fault.hint())
                    }),
            },
            _ => Err(unknown()),
        }
    }

    fn keys_of_the_sdks(&self) -> AccessKeys {
        let [id, secret, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .map(|name| self.layers.environment.get(name));
        match (id, secret) {
            (Some(id), Some(secret)) => {
                let keys = Keys {
                    access_key_id: id.into(),
                    secret_access_key: Secret::new(secret.into()),
                    session_token: token.map(|token| Secret::new(token.into())),
                };
                AccessKeys::given(keys, "the variable AWS_ACCESS_KEY_ID")
            }
            (None, _) => absent("AWS_ACCESS_KEY_ID", self.layers.environment),
            (_, None) => absent("AWS_SECRET_ACCESS_KEY", self.layers.environment),
        }
    }
}

/// A text of no known form may be a key itself, so the message does not repeat it.
fn unknown() -> Fault {
    Fault::new("does not say where the access keys are")
        .hint("give file:PATH, credential:NAME, env:VARIABLE, or env for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn is_credential(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn absent(variable: &str, environment: &Environment) -> AccessKeys {
    let (why, hint) = no_variable(variable, environment, "the keys");
    AccessKeys::absent(why, hint)
}
