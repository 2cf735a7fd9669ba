//! Translates a command line of AWS's tool into anchord's own flags.

use clap::ArgMatches;

use super::Name;
use super::collisions;
use super::fit::Fit;
use super::flags::FLAGS;
use super::flags::Meaning;
use super::hints::flag;
use super::selector::Selector;
use super::words::Words;
use anchord_config as config;
use anchord_config::Arguments;
use anchord_config::Environment;
use anchord_config::Problems;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::text::Setting;
use anchord_identity::Locator;
use anchord_identity::Source;

/// A command line in anchord's own flags.
#[derive(Clone)]
pub(in crate::cli) struct Line {
    arguments: Arguments,
    environment: Environment,
    name: Name,
    /// Flags of AWS's tool that set an option of anchord: anchord's flag, and the one that was written.
    renamed: Vec<(&'static str, &'static str)>,
    fit: Fit,
    /// Warnings about the flags, to print before anything else.
    pub(in crate::cli) warnings: Vec<Notice>,
    /// Whether to log at level debug.
    pub(in crate::cli) debug: bool,
    verifies_servers: bool,
}

/// Every mistake in a command line.
pub(in crate::cli) type Mistakes = Vec<Notice>;

/// The warning for `--no-verify-ssl`.
fn unverified() -> Notice {
    Notice::new("--no-verify-ssl lets anyone on the network path to AWS read or replace the credentials")
        .hinting("to trust a proxy's CA, use --ca-file or AWS_CA_BUNDLE instead")
}

/// The variable that names a TPM other than the first for AWS's tool.
const TPM_DEVICE: &str = "TPM_DEVICE";

/// All tokens: the certificate store of Linux.
const ANY_TOKEN: &str = "pkcs11:";

impl Line {
    /// Reads a verb's flags. `more` are anchord's own flags that the verb itself sets.
    pub(in crate::cli) fn read(
        matches: &ArgMatches,
        name: Name,
        environment: &Environment,
        more: Vec<(&str, String)>,
    ) -> Result<Self, Mistakes> {
        let words = Words(matches);
        let mut mistakes = collisions::of(&words, name);
        mistakes.extend(refused(&words));
        let mut own = Own { given: more, renamed: Vec::new() };
        own.take_ours(matches, name);
        own.take_theirs(&words);
        if name == Name::Helper {
            own.take_device(matches, environment);
        }
        if let Some(text) = words.get("cert-selector") {
            match Selector::read(text, environment.current_dir()) {
                Ok(selector) => own.take_selector(selector),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let verifies_servers = !words.has("no-verify-ssl");
        Ok(Self {
            arguments: own.arguments()?,
            environment: surroundings(environment, name),
            name,
            renamed: own.renamed,
            fit: Fit::of(&words),
            warnings: (!verifies_servers).then(unverified).into_iter().collect(),
            debug: words.has("debug"),
            verifies_servers,
        })
    }

    /// Settings for a daemon, from these flags alone.
    pub(in crate::cli) fn settings(&self) -> Result<Settings, Mistakes> {
        self.finish(config::load_flags(self.arguments.clone(), &self.environment))
    }

    /// Settings for a single call, from these flags alone.
    pub(in crate::cli) fn settings_of_one_call(&self) -> Result<Settings, Mistakes> {
        let mut settings =
            self.finish(config::load_flags_for_client(self.arguments.clone(), &self.environment))?;
        let pins = settings.the_session().and_then(SessionSettings::identity).map(pins_in_the_open);
        settings.warnings.extend(pins.unwrap_or_default());
        Ok(settings)
    }

    /// Settings from flags, variables and the file, as all of anchord's own verbs read them.
    pub(in crate::cli) fn settings_for_client(&self) -> Result<Settings, Mistakes> {
        self.finish(config::load_for_asking(self.arguments.clone(), &self.environment))
    }

    /// The certificate and key, and warnings about them; `place` is the certificate if no flag names one.
    pub(in crate::cli) fn source(&self, place: &str) -> Result<(Source, Vec<Notice>), Mistakes> {
        let place = (!self.arguments.has("certificate")).then_some(place);
        let (source, warnings) = config::load_source(self.arguments.clone(), &self.environment, place)
            .map_err(|problems| self.in_their_words(problems.iter()))?;
        let mut warnings = self.in_their_words(&warnings);
        warnings.extend(self.fit.judge(&source)?);
        warnings.extend(pins_in_the_open(&source));
        Ok((source, warnings))
    }

    fn finish(&self, settings: Result<Settings, Problems>) -> Result<Settings, Mistakes> {
        let mut settings = settings.map_err(|problems| self.in_their_words(problems.iter()))?;
        settings.upstream.verifies_servers = self.verifies_servers;
        if self.name == Name::Helper {
            let given = settings.upstream.no_proxy.take();
            settings.upstream.no_proxy =
                Some(given.map_or(LOOPBACK.into(), |list| format!("{list},{LOOPBACK}")));
        }
        let source = settings.the_session().and_then(SessionSettings::identity);
        let idle = source.map(|source| self.fit.judge(source)).transpose()?.unwrap_or_default();
        settings.warnings = self.in_their_words(&settings.warnings);
        settings.warnings.extend(idle);
        Ok(settings)
    }

    /// Notices that name the flags that the user wrote instead of anchord's own.
    fn in_their_words<'a>(&self, notices: impl IntoIterator<Item = &'a Notice>) -> Vec<Notice> {
        let mut told = Vec::new();
        for Notice { origin, what, hint } in notices {
            told.push(Notice {
                origin: self.origin(origin),
                what: what.with_names(|setting| self.name_of(setting)).into(),
                hint: hint.as_ref().map(|hint| hint.with_names(|setting| self.name_of(setting)).into()),
            });
        }
        told
    }

    fn origin(&self, origin: &Origin) -> Origin {
        let Origin::Argument(flag) = origin else { return origin.clone() };
        match self.written(flag) {
            Some(TPM_DEVICE) => Origin::Variable(TPM_DEVICE.into()),
            theirs => Origin::Argument(theirs.unwrap_or(flag)),
        }
    }

    fn name_of(&self, setting: &Setting) -> Option<String> {
        match self.written(&setting.key.replace('_', "-")) {
            Some(TPM_DEVICE) => Some(format!("`{TPM_DEVICE}`")),
            Some(theirs) => Some(format!("`--{theirs}`")),
            None if self.name == Name::Helper => flag(setting),
            None => None,
        }
    }

    /// The flag that the user wrote instead of this one of anchord.
    fn written(&self, ours: &str) -> Option<&'static str> {
        self.renamed.iter().find(|(flag, _)| *flag == ours).map(|(_, theirs)| *theirs)
    }
}

/// Warnings about PINs in URIs. A daemon logs them when it loads an identity; these verbs have no log.
fn pins_in_the_open(source: &Source) -> Vec<Notice> {
    let mut warnings = Vec::new();
    for place in source.private_key.iter().chain([&source.certificate]) {
        if let Locator::Token(uri) = place {
            warnings.extend(uri.warning());
        }
    }
    warnings.dedup();
    warnings
}

/// Collects the values of anchord's own flags.
struct Own<'a> {
    given: Vec<(&'a str, String)>,
    renamed: Vec<(&'static str, &'static str)>,
}

impl<'a> Own<'a> {
    fn add(&mut self, flag: &'a str, value: &str) {
        self.given.push((flag, value.to_owned()));
    }

    fn rename(&mut self, ours: &'static str, theirs: &'static str, value: &str) {
        self.add(ours, value);
        self.renamed.push((ours, theirs));
    }

    /// Takes anchord's own flags. `--region` has another meaning under the name `aws_signing_helper`.
    fn take_ours(&mut self, matches: &ArgMatches, name: Name) {
        for option in config::SELECTORS.iter().chain(config::OPTIONS) {
            let values = match name {
                Name::Anchord => matches.try_get_many::<String>(option.flag).ok().flatten(),
                Name::Helper => None,
            };
            let values: Vec<&str> = match values {
                Some(values) => values.map(String::as_str).collect(),
                None => Words(matches).all(option.flag),
            };
            for value in values {
                match (name, option.flag) {
                    (Name::Helper, "region") => self.rename("roles-anywhere-region", "region", value),
                    (_, flag) => self.add(flag, value),
                }
            }
        }
    }

    fn take_theirs(&mut self, words: &Words<'_>) {
        for (theirs, ours) in [("session-duration", "duration"), ("pkcs11-lib", "pkcs11-module")] {
            if let Some(value) = words.get(theirs) {
                self.rename(ours, theirs, value);
            }
        }
        for theirs in ["tpm-key-password", "pkcs8-password"] {
            if let Some(value) = words.get(theirs) {
                self.rename("passphrase", theirs, &format!("pass:{value}"));
            }
        }
        if words.has("debug") {
            self.rename("log-level", "debug", "debug");
        }
    }

    /// Reads `TPM_DEVICE`, as AWS's tool does on Unix.
    fn take_device(&mut self, matches: &ArgMatches, environment: &Environment) {
        let has_tpm = matches.try_contains_id("tpm").is_ok();
        if let Some(device) = environment.get(TPM_DEVICE).filter(|_| has_tpm && !Words(matches).has("tpm")) {
            self.rename("tpm", TPM_DEVICE, device);
        }
    }

    fn take_selector(&mut self, selector: Selector) {
        const THEIRS: &str = "cert-selector";
        self.rename("certificate", THEIRS, ANY_TOKEN);
        let Selector { subject, issuer, serial } = selector;
        let parts = [
            ("certificate-subject", subject),
            ("certificate-issuer", issuer),
            ("certificate-serial", serial),
        ];
        for (flag, value) in parts {
            if let Some(value) = value {
                self.rename(flag, THEIRS, &value);
            }
        }
    }

    fn arguments(&self) -> Result<Arguments, Mistakes> {
        let given = self.given.iter().map(|(flag, value)| (*flag, value.as_str()));
        // The grammar has checked these values before. The message repeats none, because one may be a password.
        Arguments::given(given).map_err(|_| {
            vec![Notice::new("cannot translate the command line into anchord's own flags; this is a bug")]
        })
    }
}

fn refused(words: &Words<'_>) -> Mistakes {
    let mut refused = Vec::new();
    for flag in FLAGS.iter().filter(|flag| flag.meaning == Meaning::Refused && words.has(flag.name)) {
        let what =
            format!("--{} names a Windows certificate store, which this host does not have", flag.name);
        refused.push(Notice::new(what).hinting("leave it out"));
    }
    refused
}

/// Under the name `aws_signing_helper`, `ANCHORD_` variables do not count, and of the proxy variables only those of AWS's tool.
fn surroundings(environment: &Environment, name: Name) -> Environment {
    if name == Name::Anchord {
        return environment.clone();
    }
    environment.clone().without(|name| name.starts_with("ANCHORD_") || name.eq_ignore_ascii_case("all_proxy"))
}

/// AWS's tool never uses a proxy for these.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// All mistakes in one failure, for callers that print one line.
pub(in crate::cli) fn as_failure(mistakes: &Mistakes) -> Failure {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Failure::of(Reason::InvalidSetting, lines.join("; "), None)
}

/// Names the required flags of AWS's tool that are missing.
pub(in crate::cli) fn missing(matches: &ArgMatches) -> Option<Notice> {
    let words = Words(matches);
    // `--source` is anchord's own, and so are the flags that it requires.
    if words.has("source") {
        return None;
    }
    let is_missing = |flag: &&str| match *flag {
        "certificate" => !words.has("certificate") && !words.has("cert-selector"),
        flag => !words.has(flag),
    };
    let flags = ["certificate", "role-arn", "profile-arn", "trust-anchor-arn"];
    let missing: Vec<_> =
        flags.iter().filter(|flag| is_missing(flag)).map(|flag| format!("--{flag}")).collect();
    let hint = "give all of them, and --private-key if the key is in another file";
    (!missing.is_empty()).then(|| Notice::new(format!("missing: {}", missing.join(", "))).hinting(hint))
}
