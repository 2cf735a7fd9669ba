//! A session's certificate and key: where they are, what unlocks them, which leaf may be used.

use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::OnceLock;

use super::check::Check;
use super::check::Value;
use super::layers::Found;
use super::layers::SessionLayer;
use super::options::option;
use super::problem::Origin;
use super::values;
use super::values::Fault;
use super::values::echo;
use crate::identity::Attributes;
use crate::identity::Fingerprint;
use crate::identity::Locator;
use crate::identity::Passphrase;
use crate::identity::Selection;
use crate::identity::Serial;
use crate::identity::Source;
use crate::secret::Secret;

const PASSPHRASE: &str = "session.passphrase";

impl Check<'_> {
    /// `None` when something is wrong with it.
    pub(super) fn identity(&mut self, layer: &SessionLayer<'_>) -> Option<Source> {
        let scope = Some(layer);
        let certificate = self.place("session.certificate", layer);
        let private_key = self.place("session.private_key", layer);
        let intermediates = self.path("session.intermediates", scope);
        let passphrase = self.passphrase(layer);
        let selection = self.selection(layer);
        Some(Source {
            certificate: certificate.required()?,
            private_key: private_key.optional()?,
            intermediates: intermediates.optional()?,
            passphrase: passphrase?,
            selection: selection?,
        })
    }

    /// A path, made absolute, or a URI of a place that has none.
    fn place(&mut self, key: &str, layer: &SessionLayer<'_>) -> Value<Locator> {
        match self.layers.find(option(key), Some(layer)) {
            Found::Values(given) if given.last().is_some_and(|given| Locator::is_uri(&given.text)) => self
                .one(key, Some(layer), |text| {
                    Locator::from_uri(text).map_err(|why| Fault::new(why.to_string()))
                }),
            _ => match self.path(key, Some(layer)) {
                Value::Is(path, origin) => Value::Is(Locator::File(path), origin),
                Value::Absent => Value::Absent,
                Value::Broken => Value::Broken,
            },
        }
    }

    /// `Some(None)` when there is none. Noted without what it may hold.
    fn passphrase(&mut self, layer: &SessionLayer<'_>) -> Option<Option<Passphrase>> {
        let given = match self.layers.find(option(PASSPHRASE), Some(layer)) {
            Found::Absent => return self.one(PASSPHRASE, Some(layer), values::text).optional().map(|_| None),
            Found::Broken => return None,
            Found::Values(mut given) => given.pop()?,
        };
        let spec = option(PASSPHRASE);
        let parsed = values::plain(&given.text).and_then(|text| self.passphrase_of(text, &given.origin));
        match parsed {
            Ok((passphrase, shown)) => {
                self.note_secret(PASSPHRASE, layer, &shown, given.origin.clone());
                if matches!((&passphrase, &given.origin), (Passphrase::Given(_), Origin::Argument(_)))
                    && given.text.starts_with("pass:")
                {
                    self.warnings.push(format!(
                        "the passphrase in --{} can be read by every user of this host in the list of processes; \
                         hint: use file:, credential:, env: or prompt",
                        spec.flag
                    ));
                }
                Some(Some(passphrase))
            }
            Err(fault) => {
                self.report_value(spec, Some(layer), &given.origin, fault);
                None
            }
        }
    }

    /// OpenSSL's forms of a passphrase argument (openssl-passphrase-options(1)), and systemd's credentials.
    fn passphrase_of(&self, text: &str, origin: &Origin) -> Result<(Passphrase, String), Fault> {
        let environment = self.layers.environment;
        let forms = "give file:PATH, credential:NAME, env:VARIABLE, prompt or pass:TEXT";
        // What has no known form may be the passphrase itself, so it is not repeated.
        let (form, rest) = match text.split_once(':') {
            None if text == "prompt" => {
                return Ok((Passphrase::Prompted(Arc::new(OnceLock::new())), text.into()));
            }
            Some(parts) => parts,
            None => return Err(Fault::new("does not say where the passphrase is").hint(forms)),
        };
        match form {
            "file" if !rest.is_empty() => {
                Ok((Passphrase::File(self.start_of(origin).join(rest)), text.into()))
            }
            "credential" => Ok((Passphrase::File(self.credential(rest)?), text.into())),
            "env" => match environment.get(rest) {
                Some(value) => Ok((Passphrase::Given(Secret::new(value.into())), text.into())),
                None => Err(Fault::new(format!("the variable {} is not set", echo(rest)))),
            },
            "pass" if !rest.is_empty() => {
                Ok((Passphrase::Given(Secret::new(rest.into())), "pass:[redacted]".into()))
            }
            _ => Err(Fault::new("does not say where the passphrase is").hint(forms)),
        }
    }

    /// systemd.exec(5), `LoadCredential=`.
    fn credential(&self, name: &str) -> Result<PathBuf, Fault> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Fault::new(format!("{} is not the name of a credential", echo(name))));
        }
        let folder = self.layers.environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            Fault::new("there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set")
                .hint(format!("put `LoadCredential={name}:/path/to/it` into the unit"))
        })?;
        Ok(Path::new(folder).join(name))
    }

    fn selection(&mut self, layer: &SessionLayer<'_>) -> Option<Selection> {
        let scope = Some(layer);
        let fingerprints = self.many("session.certificate_fingerprint", scope, parsed::<Fingerprint>);
        let subject = self.one("session.certificate_subject", scope, parsed::<Attributes>);
        let issuer = self.one("session.certificate_issuer", scope, parsed::<Attributes>);
        let serial = self.one("session.certificate_serial", scope, parsed::<Serial>);
        Some(Selection {
            fingerprints: fingerprints?,
            subject: subject.optional()?,
            issuer: issuer.optional()?,
            serial: serial.optional()?,
        })
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|why| Fault::new(format!("{} {why}", echo(text))))
}
