//! Checks the options of a session's certificate and key: their places, the passphrase, the choice of a leaf.

use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::OnceLock;

use super::agent::Workload;
use super::check::Check;
use super::environment::Environment;
use super::file::RawValue;
use super::layers::SessionLayer;
use super::options::option;
use super::setting::Setting;
use super::setting::Value;
use super::values;
use super::values::Fault;
use super::values::echo;
use anchord_core::failure::Classify as _;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_identity::Fingerprint;
use anchord_identity::LeafSelection;
use anchord_identity::Locator;
use anchord_identity::NameAttributes;
use anchord_identity::Passphrase;
use anchord_identity::ProcessInput;
use anchord_identity::Serial;
use anchord_identity::Source;
use anchord_identity::pkcs11;
use anchord_identity::tpm;

const PASSPHRASE: &str = "session.passphrase";

impl Check<'_> {
    /// The source of a session's certificate and key; `None` after a mistake.
    pub(super) fn identity(&mut self, layer: &SessionLayer<'_>) -> Option<Source> {
        let scope = Some(layer);
        let workload = self.workload(layer);
        let certificate = self.place("session.certificate", layer, &workload);
        let private_key = self.place("session.private_key", layer, &workload);
        let intermediates = self.bytes("session.intermediates", layer);
        let passphrase = self.passphrase(layer);
        let selection = self.selection(layer);
        let pkcs11_module = self.path("session.pkcs11_module", scope);
        let tpm = self.one("session.tpm", scope, |text| {
            text.parse::<tpm::Device>().map_err(|why| Fault::quoting(&why).maybe_hint(why.hint()))
        });
        if let Setting::There((Locator::Tpm(_), origin)) = &certificate {
            let fault = Fault::new("`certificate` names a key in a TPM, but a TPM holds no certificates")
                .hint("name the file that has the certificate, and the TPM's handle in `private_key`");
            self.report(origin.clone(), fault);
            return None;
        }
        if let Setting::There((Locator::Agent(_), origin)) = &private_key
            && private_key.get() != certificate.get()
        {
            let fault =
                Fault::new("`private_key` names a SPIFFE agent, but its keys fit only its own certificates")
                    .hint("name the agent in `certificate`, and leave `private_key` out");
            self.report(origin.clone(), fault);
            return None;
        }
        self.warn_of_idle(layer, &[&certificate, &private_key]);
        Some(Source {
            certificate: certificate.required()?,
            private_key: private_key.optional()?,
            intermediates: intermediates.optional()?,
            passphrase: passphrase.settled()?,
            selection: selection?,
            pkcs11_module: pkcs11_module.optional()?,
            tpm: tpm.optional()?.unwrap_or_default(),
        })
    }

    /// Warns of options that have no effect, because they apply to other places.
    fn warn_of_idle(&mut self, layer: &SessionLayer<'_>, places: &[&Value<Locator>]) {
        let is_any = |is: fn(&Locator) -> bool| places.iter().any(|place| place.get().is_some_and(is));
        let token = is_any(|place| matches!(place, Locator::Token(_)));
        let agent = is_any(|place| matches!(place, Locator::Agent(_)));
        for (key, is_used) in [
            ("session.pkcs11_module", token),
            ("session.spiffe_socket", agent),
            ("session.spiffe_hint", agent),
        ] {
            let is_given = matches!(self.layers.find(option(key), Some(layer)), Setting::There(_));
            if is_given && !is_used {
                let what = if key == "session.pkcs11_module" { "token" } else { "SPIFFE agent" };
                let key = option(key).name();
                let begin = format!("session {} has ", layer.name);
                let end = format!(" and no {what}; it has no effect");
                self.warnings.push(Notice::new(Text::of(&[Say(&begin), Key(key), Say(&end)])));
            }
        }
    }

    /// An absolute path, or a place in another form such as a URI.
    fn place(&mut self, key: &str, layer: &SessionLayer<'_>, workload: &Workload) -> Value<Locator> {
        let Setting::There(given) = self.layers.find(option(key), Some(layer)) else {
            return self.bytes(key, layer);
        };
        let text = given.last().map(|given| given.text.as_str()).unwrap_or_default();
        if text.starts_with("spiffe:") {
            return self.agent(key, layer, workload);
        }
        if pkcs11::Uri::has_scheme(text) {
            return self.token(key, layer, &given);
        }
        // AWS's helper writes `handle:`.
        if text.starts_with("tpm:") || text.starts_with("handle:") {
            return self.one(key, Some(layer), |text| {
                let handle = text.split_once(':').map_or(text, |(_, handle)| handle);
                let parsed = tpm::handle(handle);
                parsed.map(Locator::Tpm).map_err(|why| Fault::quoting(&why).maybe_hint(why.hint()))
            });
        }
        self.bytes(key, layer)
    }

    /// An absolute path, or `env:` or `credential:`. To name a file `env:NAME`, write `./env:NAME`.
    fn bytes(&mut self, key: &str, layer: &SessionLayer<'_>) -> Value<Locator> {
        let Setting::There(given) = self.layers.find(option(key), Some(layer)) else {
            return self.file(key, layer);
        };
        let text = given.last().map(|given| given.text.as_str()).unwrap_or_default();
        if text.starts_with("env:") || text.starts_with("credential:") {
            let environment = self.layers.environment;
            return self.one(key, Some(layer), |text| handed(text, environment).map(Locator::Input));
        }
        self.file(key, layer)
    }

    fn file(&mut self, key: &str, layer: &SessionLayer<'_>) -> Value<Locator> {
        match self.path(key, Some(layer)) {
            Setting::There((path, origin)) => Setting::There((Locator::File(path), origin)),
            Setting::Absent => Setting::Absent,
            Setting::Reported => Setting::Reported,
        }
    }

    /// A token's URI may contain its PIN, so no message or report shows it as it was written.
    fn token(&mut self, key: &str, layer: &SessionLayer<'_>, given: &[RawValue]) -> Value<Locator> {
        let Some(given) = given.last() else { return Setting::Reported };
        let parsed = values::plain(&given.text).and_then(|text| {
            text.parse::<pkcs11::Uri>().map_err(|why| Fault::quoting(&why).maybe_hint(why.hint()))
        });
        match parsed {
            Ok(uri) => {
                self.note_secret(key, layer, &uri.to_string(), given.origin.clone());
                Setting::There((Locator::Token(Box::new(uri)), given.origin.clone()))
            }
            Err(fault) => {
                self.report_value(option(key), Some(layer), &given.origin, fault);
                Setting::Reported
            }
        }
    }

    /// The passphrase. Reports show its source and never its text.
    fn passphrase(&mut self, layer: &SessionLayer<'_>) -> Setting<Passphrase> {
        let spec = option(PASSPHRASE);
        let given = match self.layers.find(spec, Some(layer)) {
            Setting::Absent => return self.absent(spec, Some(layer)),
            Setting::Reported => return Setting::Reported,
            Setting::There(mut given) => given.pop(),
        };
        let Some(given) = given else { return Setting::Reported };
        let parsed = values::plain(&given.text).and_then(|text| self.passphrase_of(text, &given.origin));
        match parsed {
            Ok((passphrase, shown)) => {
                self.note_secret(PASSPHRASE, layer, &shown, given.origin.clone());
                if matches!((&passphrase, &given.origin), (Passphrase::Given(_), Origin::Argument(_)))
                    && given.text.starts_with("pass:")
                {
                    let what = "every user of this host can read the passphrase in the list of processes";
                    let hint = format!(
                        "name it with --{} file:PATH, credential:NAME, env:VARIABLE or prompt",
                        spec.flag
                    );
                    self.warnings.push(Notice::new(what).hinting(hint).about(given.origin.clone()));
                }
                Setting::There(passphrase)
            }
            Err(fault) => {
                self.report_value(spec, Some(layer), &given.origin, fault);
                Setting::Reported
            }
        }
    }

    /// Parses OpenSSL's forms of a passphrase argument (openssl-passphrase-options(1)), and systemd's credentials.
    /// Returns the passphrase and the text that reports show.
    fn passphrase_of(&self, text: &str, origin: &Origin) -> Result<(Passphrase, String), Fault> {
        let environment = self.layers.environment;
        let forms = "give file:PATH, credential:NAME, env:VARIABLE, prompt or pass:TEXT";
        // A text of no known form may be the passphrase itself, so the message does not repeat it.
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
            "credential" => Ok((self.credential(rest)?, text.into())),
            "env" if !rest.is_empty() => {
                is_variable(rest)?;
                let passphrase = match environment.get(rest) {
                    Some(value) => Passphrase::Given(Secret::new(value.into())),
                    None => {
                        let (why, hint) = no_variable(rest, environment, "the key");
                        Passphrase::Absent { why, hint: hint.into() }
                    }
                };
                Ok((passphrase, text.into()))
            }
            "pass" if rest.is_empty() => Err(Fault::new("has no passphrase after `pass:`").hint(
                "leave out `passphrase` if the key has none; if a shell variable was meant, it is not set: use env:VARIABLE",
            )),
            "pass" => {
                Ok((Passphrase::Given(Secret::new(rest.into())), "pass:[redacted]".into()))
            }
            _ => Err(Fault::new("does not say where the passphrase is").hint(forms)),
        }
    }

    fn credential(&self, name: &str) -> Result<Passphrase, Fault> {
        Ok(match self.credential_path(name)? {
            Some(path) => Passphrase::File(path),
            None => {
                let (why, hint) = no_credential(name);
                Passphrase::Absent { why, hint: hint.into() }
            }
        })
    }

    /// The path of a credential (systemd.exec(5), `LoadCredential=`). Only processes of the unit have one; a verb that
    /// a user runs with the same settings does not.
    pub(super) fn credential_path(&self, name: &str) -> Result<Option<PathBuf>, Fault> {
        credential_path(name, self.layers.environment)
    }

    /// The certificates that are pinned. An empty list is a mistake: it would pin nothing.
    fn pins(&mut self, layer: &SessionLayer<'_>) -> Option<Vec<Fingerprint>> {
        const KEY: &str = "session.certificate_fingerprint";
        let is_given = matches!(self.layers.find(option(KEY), Some(layer)), Setting::There(_));
        let pins = self.many(KEY, Some(layer), parsed::<Fingerprint>)?;
        if is_given && pins.is_empty() {
            let fault = Fault::new("`certificate_fingerprint` is empty and would pin nothing")
                .hint("name the certificates that may be used, or remove it");
            self.report(self.file_origin(), fault);
            return None;
        }
        Some(pins)
    }

    fn selection(&mut self, layer: &SessionLayer<'_>) -> Option<LeafSelection> {
        let scope = Some(layer);
        let fingerprints = self.pins(layer);
        let subject = self.one("session.certificate_subject", scope, parsed::<NameAttributes>);
        let issuer = self.one("session.certificate_issuer", scope, parsed::<NameAttributes>);
        let serial = self.one("session.certificate_serial", scope, parsed::<Serial>);
        Some(LeafSelection {
            fingerprints: fingerprints?,
            subject: subject.optional()?,
            issuer: issuer.optional()?,
            serial: serial.optional()?,
        })
    }
}

/// The path of a credential (systemd.exec(5), `LoadCredential=`); `None` outside of a unit with credentials.
fn credential_path(name: &str, environment: &Environment) -> Result<Option<PathBuf>, Fault> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Fault::of(name, "is not the name of a credential"));
    }
    let folder = environment.get("CREDENTIALS_DIRECTORY");
    Ok(folder.map(|folder| Path::new(folder).join(name)))
}

/// Why a variable has no value, and a hint; `needed` says what needs it.
pub(super) fn no_variable(name: &str, environment: &Environment, needed: &str) -> (String, String) {
    let why = format!("the variable {} {}", echo(name), environment.lack(name));
    (why, format!("set it for the process that needs {needed}"))
}

/// Why there is no credential of this name, and a hint.
pub(super) fn no_credential(name: &str) -> (String, String) {
    (
        format!("systemd has passed no credential {} to this process", echo(name)),
        format!("only a unit with `LoadCredential={name}:/path/to/it` can read it"),
    )
}

/// Reads `env:VARIABLE` or `credential:NAME`.
fn handed(text: &str, environment: &Environment) -> Result<ProcessInput, Fault> {
    if let Some(name) = text.strip_prefix("credential:") {
        return Ok(match credential_path(name, environment)? {
            Some(path) => ProcessInput::file(text, path),
            None => {
                let (why, hint) = no_credential(name);
                ProcessInput::nothing(text, why, hint)
            }
        });
    }
    let name = text.strip_prefix("env:").unwrap_or_default();
    is_variable(name)?;
    Ok(match environment.get(name) {
        Some(value) => ProcessInput::content(text, Secret::new(value.as_bytes().to_vec())),
        None => {
            let (why, hint) = no_variable(name, environment, "it");
            ProcessInput::nothing(text, why, hint)
        }
    })
}

/// Checks a variable's name. A text that is not a name may be the secret itself, so the message does not repeat it.
fn is_variable(name: &str) -> Result<(), Fault> {
    match !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        true => Ok(()),
        false => {
            Err(Fault::new("has no name of a variable after `env:`").hint("write env:VARIABLE, without `$`"))
        }
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|why| Fault::of(text, why))
}
