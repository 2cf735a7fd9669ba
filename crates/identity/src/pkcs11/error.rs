//! What can be wrong with a token: the module, the token, the PIN, the object, and what to do.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::Fault;
use super::protocol::MAX_OBJECTS;
use super::protocol::TokenName;
use super::remote::Remote;
use super::remote::Trouble;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// Why a token gave no certificate, key or signature.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program was built without support for tokens.
    #[error("this build of anchord has no support for PKCS#11 tokens")]
    NotBuilt,
    /// Nothing says which module to load, and there is no p11-kit.
    #[error("no PKCS#11 module is named, and p11-kit-proxy.so is not installed")]
    NoModule,
    /// No file of this name is where modules are.
    #[error("no PKCS#11 module named `{name}` is installed")]
    NoModuleOfName {
        /// What the URI says.
        name: String,
    },
    /// The module's file cannot be found.
    #[error("cannot find the PKCS#11 module `{}`", path.display())]
    ModuleMissing {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The module's file is something else.
    #[error("`{}` is not a PKCS#11 module: {why}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        why: String,
    },
    /// The module was loaded and does not start.
    #[error("the PKCS#11 module `{}` does not start: {why}", path.display())]
    Initialize {
        /// The module.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// The process for the module cannot be started.
    #[error("cannot start the process that holds the PKCS#11 module `{}`", path.display())]
    Start {
        /// The module.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The module took its process down.
    #[error("the PKCS#11 module `{}` has crashed ({how})", path.display())]
    Crashed {
        /// The module.
        path: PathBuf,
        /// How its process ended.
        how: String,
    },
    /// The module hangs, or its token does.
    #[error("the PKCS#11 module `{}` did not answer within {} s", path.display(), patience.as_secs())]
    NoAnswer {
        /// The module.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The module said something unexpected.
    #[error("the PKCS#11 module `{}` failed: {why}", path.display())]
    Failed {
        /// The module.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// No token is the one that is meant.
    #[error("no token fits `{uri}`{}", listed(", only these are there: ", ", there is none at all", found))]
    NoToken {
        /// What is meant.
        uri: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The signature is not by the key that belongs to the certificate.
    #[error("the token {token} has signed with another key than the certificate's")]
    AnotherKey {
        /// Which one.
        token: String,
    },
    /// Several tokens may be meant.
    #[error("`{uri}` fits several tokens: {}", found.join(", "))]
    SeveralTokens {
        /// What is meant.
        uri: String,
        /// Which ones.
        found: Vec<String>,
    },
    /// The token has no such certificate.
    #[error(
        "no certificate fits `{uri}`{}",
        listed(", only these are there: ", ", there is none at all", found)
    )]
    NoCertificate {
        /// What is meant.
        uri: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The token has no such key.
    #[error(
        "no private key fits `{uri}` in the token {token}{}",
        listed(", only these are there: ", ", there is none at all", found)
    )]
    NoKey {
        /// What is meant.
        uri: String,
        /// Where.
        token: String,
        /// What is there.
        found: Vec<String>,
    },
    /// Several keys may be meant.
    #[error("`{uri}` fits several private keys in the token {token}: {}", found.join(", "))]
    SeveralKeys {
        /// What is meant.
        uri: String,
        /// Where.
        token: String,
        /// Which ones.
        found: Vec<String>,
    },
    /// A key that cannot be used.
    #[error("the private key {key} in the token {token} {what}")]
    UnusableKey {
        /// Which.
        key: String,
        /// Where.
        token: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing in the token tells which public key belongs to the key.
    #[error(
        "the token {token} does not show the public key of {key}, and no certificate at hand belongs to it"
    )]
    NoPublicKey {
        /// Which.
        key: String,
        /// Where.
        token: String,
    },
    /// More objects than anybody wants to choose from.
    #[error("more than {MAX_OBJECTS} objects in the token {token} fit")]
    TooMany {
        /// Where.
        token: String,
    },
    /// The file that a URI takes its PIN from cannot be read.
    #[error("the PIN is to be in `{}`", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<crate::PassphraseError>,
    },
    /// What is to be done with a PIN.
    #[error("the token {token} {trouble}")]
    Pin {
        /// Which.
        token: String,
        /// What is wrong.
        trouble: PinTrouble,
    },
    /// The token cannot sign with this key in the way that AWS wants.
    #[error("the token {token} does not sign with this key as AWS wants it: {why}")]
    Mechanism {
        /// Which.
        token: String,
        /// What it said.
        why: String,
    },
    /// The session broke off, and the next one too.
    #[error("the session with the token {token} was lost: {why}")]
    Lost {
        /// Which.
        token: String,
        /// What it said.
        why: String,
    },
    /// The token was taken out.
    #[error("the token {token} is not there any more")]
    Gone {
        /// Which.
        token: String,
    },
    /// A signature that is none.
    #[error("the token {token} answered with something that is no signature")]
    NoSignature {
        /// Which.
        token: String,
    },
}

/// What can be wrong with a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinTrouble {
    /// None was given.
    #[error("wants a PIN")]
    Needed,
    /// It was tried, once.
    #[error("refused the PIN: {0}")]
    Refused(String),
    /// It was tried before and is not tried again.
    #[error("refused this PIN before; it is not tried again, so that the token is not locked")]
    RefusedBefore,
    /// Nothing was tried: no PIN helps.
    #[error("has locked its PIN")]
    Locked,
    /// Nothing was tried: one mistake would lock the token.
    #[error("would lock its PIN at the next wrong one, so it is not tried")]
    FinalTry,
    /// Nothing was tried: it may be the PIN that the token counts as wrong.
    #[error("counts a wrong PIN, which may be this one, so it is not tried again")]
    Uncertain,
}

fn listed(only: &str, nothing: &str, found: &[String]) -> String {
    match found {
        [] => nothing.into(),
        found => format!("{only}{}", found.join(", ")),
    }
}

impl Error {
    /// The error that `trouble` with a module is.
    pub(super) fn of_module(trouble: Trouble, remote: &Remote) -> Self {
        let path = remote.module().to_path_buf();
        match trouble {
            Trouble::Start(source) => Self::Start { path, source },
            Trouble::Crashed(how) => Self::Crashed { path, how },
            Trouble::Silent => Self::NoAnswer { path, patience: remote.launcher().patience() },
            Trouble::Fault(Fault::NotAModule(why)) => Self::NotAModule { path, why },
            Trouble::Fault(Fault::Initialize(why)) => Self::Initialize { path, why },
            Trouble::Fault(Fault::Failed(why) | Fault::Lost(why)) => Self::Failed { path, why },
            other => Self::Failed { path, why: format!("{other:?}") },
        }
    }

    /// The error that `trouble` with a token is.
    pub(super) fn of_token(trouble: Trouble, remote: &Remote, token: &TokenName) -> Self {
        let pin = |trouble| Self::Pin { token: token.to_string(), trouble };
        match trouble {
            Trouble::PinRefusedBefore => pin(PinTrouble::RefusedBefore),
            Trouble::Fault(Fault::PinNeeded) => pin(PinTrouble::Needed),
            Trouble::Fault(Fault::PinRefused(why)) => pin(PinTrouble::Refused(why)),
            Trouble::Fault(Fault::PinLocked) => pin(PinTrouble::Locked),
            Trouble::Fault(Fault::PinFinalTry) => pin(PinTrouble::FinalTry),
            Trouble::Fault(Fault::PinUncertain) => pin(PinTrouble::Uncertain),
            Trouble::Fault(Fault::Mechanism(why)) => Self::Mechanism { token: token.to_string(), why },
            Trouble::Fault(Fault::TooMany) => Self::TooMany { token: token.to_string() },
            Trouble::Fault(Fault::Lost(why)) => Self::Lost { token: token.to_string(), why },
            Trouble::Fault(Fault::TokenGone) => {
                Self::Lost { token: token.to_string(), why: "it is not in its slot any more".into() }
            }
            Trouble::Fault(Fault::KeyGone) => {
                Self::Lost { token: token.to_string(), why: "the key is not in it any more".into() }
            }
            other => Self::of_module(other, remote),
        }
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Crashed { .. }
            | Self::NoAnswer { .. }
            | Self::Failed { .. }
            | Self::Lost { .. }
            | Self::NoSignature { .. } => Reason::KeySourceUnavailable,
            Self::PinFile { .. } => Reason::FileUnreadable,
            Self::Pin { .. } => Reason::SecretRefused,
            _ => Reason::KeySourceUnusable,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::NotBuilt => "use one that was built with the feature `pkcs11`",
            Self::NoModule => {
                let hint = "install p11-kit's proxy, or name the token's own module in ";
                return Some(Text::of(&[Say(hint), Key("pkcs11_module")]));
            }
            Self::NoModuleOfName { .. } => {
                return Some(Text::of(&[Say("name its file in "), Key("pkcs11_module")]));
            }
            Self::ModuleMissing { path, source } => return Some(missing_hint(path, source)),
            Self::NotAModule { .. } => "name the shared library that came with the token's software",
            Self::Initialize { .. } => {
                "check whether its own configuration and service (pcscd, a network HSM) are well; variables that it needs and \
                 README.md does not list are named in `ANCHORD_PKCS11_ENVIRONMENT`"
            }
            Self::Start { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                "leave the token to a daemon, or let the program hold modules (README.md, \"In a Rust program\")"
            }
            Self::Start { .. } => "check whether /proc is mounted and processes may be started",
            Self::Crashed { .. } => "it is started again at the next use; if it goes on, tell its vendor",
            Self::NoAnswer { .. } => "check whether the token, its reader or its network answers",
            Self::Failed { .. } | Self::Lost { .. } => "check whether the token is still plugged in and well",
            Self::Gone { .. } => "plug it in again; it is found then without a restart",
            Self::AnotherKey { .. } => {
                "give each key in the token an id of its own, and its certificate the same"
            }
            Self::NoToken { found, .. } if found.is_empty() => {
                let hint = "plug it in; if it is, p11-kit may not know its module: name that in ";
                return Some(Text::of(&[Say(hint), Key("pkcs11_module")]));
            }
            Self::NoToken { .. } => "plug it in, or set `token`, `serial` or `slot-id` of the URI right",
            Self::SeveralTokens { .. } => "add `serial=` or `token=` to the URI",
            Self::NoCertificate { found, .. } | Self::NoKey { found, .. } if found.is_empty() => {
                "check whether it is the right token, and whether it shows its objects after a PIN only"
            }
            Self::NoCertificate { .. } | Self::NoKey { .. } => "set `object` or `id` of the URI right",
            Self::SeveralKeys { .. } => "add `id=` to the URI",
            Self::UnusableKey { .. } => "use an RSA key, or an EC key on P-256, P-384 or P-521",
            Self::NoPublicKey { .. } => {
                "put the public key or the certificate into the token, with the same id as the private key"
            }
            Self::TooMany { .. } => "add `object=` or `id=` to the URI",
            Self::PinFile { source, .. } => return source.hint(),
            Self::Pin { trouble, .. } => return Some(trouble.hint()),
            Self::Mechanism { .. } => {
                "check whether the key may sign (CKA_SIGN) and which mechanisms the token has"
            }
            Self::NoSignature { .. } => return None,
        };
        Some(hint.into())
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl PinTrouble {
    fn hint(&self) -> Text {
        let hint = match self {
            Self::Needed => {
                let example = ", for example to `file:/etc/anchord/pin`";
                return Text::of(&[Say("set "), Key("passphrase"), Say(example)]);
            }
            Self::Refused(_) => "set the right PIN; this process does not try this one again",
            Self::RefusedBefore => {
                "set the right PIN; if it is right now (changed in the token, or refused while its server was away), restart the daemon"
            }
            Self::Locked => "unlock it with the security officer's PIN (PUK)",
            Self::FinalTry => {
                "log in with the right PIN by other means (`pkcs11-tool --login --test`), which resets the count"
            }
            Self::Uncertain => {
                "if it is right, log in with it by other means (`pkcs11-tool --login --test`), which resets the count"
            }
        };
        hint.into()
    }
}

fn missing_hint(path: &Path, source: &io::Error) -> Text {
    match source.kind() {
        io::ErrorKind::NotFound => {
            Text::of(&[Say("install the token's software, or set "), Key("pkcs11_module"), Say(" right")])
        }
        io::ErrorKind::PermissionDenied => {
            let folder = path.parent().unwrap_or(path).display();
            format!("let the daemon's user read it (and enter {folder})").into()
        }
        _ => "check the path and its file system".into(),
    }
}
