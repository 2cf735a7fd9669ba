//! Errors of tokens: module, token, PIN and object, with hints.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::MAX_OBJECTS;
use super::protocol::ModuleFault;
use super::protocol::TokenName;
use super::remote::CallFailure;
use super::remote::RemoteModule;
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
    /// No module is named, and p11-kit is not installed.
    #[error("no PKCS#11 module is named, and p11-kit-proxy.so is not installed")]
    NoModule,
    /// No file of this name is in the folders of modules.
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
    /// The module's file is not a PKCS#11 module.
    #[error("`{}` is not a PKCS#11 module: {why}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// The loader's message.
        why: String,
    },
    /// The module was loaded, but `C_Initialize` failed.
    #[error("the PKCS#11 module `{}` does not start: {why}", path.display())]
    Initialize {
        /// The module.
        path: PathBuf,
        /// Its message.
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
    /// The module crashed its process.
    #[error("the PKCS#11 module `{}` has crashed ({how})", path.display())]
    Crashed {
        /// The module.
        path: PathBuf,
        /// How its process ended.
        how: String,
    },
    /// The module or its token does not answer.
    #[error("the PKCS#11 module `{}` did not answer within {} s", path.display(), patience.as_secs())]
    NoAnswer {
        /// The module.
        path: PathBuf,
        /// How long anchord waited.
        patience: Duration,
    },
    /// The module returned an unexpected error.
    #[error("the PKCS#11 module `{}` failed: {why}", path.display())]
    Failed {
        /// The module.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// No token matches the URI.
    #[error("no token matches `{uri}`{}", listed("; available: ", "; there are none", found))]
    NoToken {
        /// The URI.
        uri: String,
        /// The tokens that exist.
        found: Vec<String>,
    },
    /// Another key than the certificate's made the signature.
    #[error("the token {token} has signed with another key than the certificate's")]
    AnotherKey {
        /// Which one.
        token: String,
    },
    /// Several tokens match the URI.
    #[error("`{uri}` matches several tokens: {}", found.join(", "))]
    SeveralTokens {
        /// What is meant.
        uri: String,
        /// Which ones.
        found: Vec<String>,
    },
    /// The token has no such certificate.
    #[error("no certificate matches `{uri}`{}", listed("; available: ", "; there are none", found))]
    NoCertificate {
        /// What is meant.
        uri: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The token has no such key.
    #[error(
        "no private key matches `{uri}` in the token {token}{}",
        listed("; available: ", "; there are none", found)
    )]
    NoKey {
        /// What is meant.
        uri: String,
        /// Where.
        token: String,
        /// What is there.
        found: Vec<String>,
    },
    /// Several keys match the URI.
    #[error("`{uri}` matches several private keys in the token {token}: {}", found.join(", "))]
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
    /// The token does not show which public key belongs to the key.
    #[error("the token {token} does not show the public key of {key}, and the key matches no certificate")]
    NoPublicKey {
        /// Which.
        key: String,
        /// Where.
        token: String,
    },
    /// More objects than anchord reads.
    #[error("more than {MAX_OBJECTS} objects in the token {token} match")]
    TooMany {
        /// Where.
        token: String,
    },
    /// The file of the URI's `pin-source` cannot be read.
    #[error("the PIN is read from `{}`", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<crate::PassphraseError>,
    },
    /// The PIN is missing, wrong or locked.
    #[error("the token {token} {fault}")]
    Pin {
        /// Which.
        token: String,
        /// The problem.
        fault: PinFault,
    },
    /// The token cannot sign with this key as AWS needs.
    #[error("the token {token} cannot sign with this key as AWS needs: {why}")]
    Mechanism {
        /// Which.
        token: String,
        /// What it said.
        why: String,
    },
    /// The session was lost, and the next one too.
    #[error("the session with the token {token} was lost: {why}")]
    Lost {
        /// Which.
        token: String,
        /// What it said.
        why: String,
    },
    /// The token was removed.
    #[error("the token {token} was removed")]
    Gone {
        /// Which.
        token: String,
    },
    /// The answer is not a signature.
    #[error("the token {token} returned an invalid signature")]
    NoSignature {
        /// Which.
        token: String,
    },
}

/// A problem with a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinFault {
    /// None was given.
    #[error("needs a PIN")]
    Needed,
    /// The token refused it.
    #[error("refused the PIN: {0}")]
    Refused(String),
    /// The token refused it before, so it was not tried again.
    #[error("refused this PIN before; it is not tried again, so that the token is not locked")]
    RefusedBefore,
    /// Not tried: the token has locked its PIN.
    #[error("has locked its PIN")]
    Locked,
    /// Not tried: a wrong PIN would lock the token.
    #[error("would lock its PIN at the next wrong one, so it is not tried")]
    FinalTry,
    /// Not tried: it may be the PIN that the token has counted as wrong.
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
    /// The error for a failure of the module.
    pub(super) fn of_module(failure: CallFailure, remote: &RemoteModule) -> Self {
        let path = remote.module().to_path_buf();
        match failure {
            CallFailure::Start(source) => Self::Start { path, source },
            CallFailure::Crashed(how) => Self::Crashed { path, how },
            CallFailure::Silent => Self::NoAnswer { path, patience: remote.launcher().patience() },
            CallFailure::Fault(ModuleFault::NotAModule(why)) => Self::NotAModule { path, why },
            CallFailure::Fault(ModuleFault::Initialize(why)) => Self::Initialize { path, why },
            CallFailure::Fault(ModuleFault::Failed(why) | ModuleFault::Lost(why)) => {
                Self::Failed { path, why }
            }
            other => Self::Failed { path, why: format!("{other:?}") },
        }
    }

    /// The error for a failure of the token.
    pub(super) fn of_token(failure: CallFailure, remote: &RemoteModule, token: &TokenName) -> Self {
        let pin = |fault| Self::Pin { token: token.to_string(), fault };
        match failure {
            CallFailure::PinRefusedBefore => pin(PinFault::RefusedBefore),
            CallFailure::Fault(ModuleFault::PinNeeded) => pin(PinFault::Needed),
            CallFailure::Fault(ModuleFault::PinRefused(why)) => pin(PinFault::Refused(why)),
            CallFailure::Fault(ModuleFault::PinLocked) => pin(PinFault::Locked),
            CallFailure::Fault(ModuleFault::PinFinalTry) => pin(PinFault::FinalTry),
            CallFailure::Fault(ModuleFault::PinUncertain) => pin(PinFault::Uncertain),
            CallFailure::Fault(ModuleFault::Mechanism(why)) => {
                Self::Mechanism { token: token.to_string(), why }
            }
            CallFailure::Fault(ModuleFault::TooMany) => Self::TooMany { token: token.to_string() },
            CallFailure::Fault(ModuleFault::Lost(why)) => Self::Lost { token: token.to_string(), why },
            CallFailure::Fault(ModuleFault::TokenGone) => {
                Self::Lost { token: token.to_string(), why: "it is not in its slot any more".into() }
            }
            CallFailure::Fault(ModuleFault::KeyGone) => {
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
                "check whether its own configuration and service (pcscd, a network HSM) work; name variables that it needs \
                 beyond README.md's list in `ANCHORD_PKCS11_ENVIRONMENT`"
            }
            Self::Start { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                "leave the token to a daemon, or let the program hold modules (README.md, \"In a Rust program\")"
            }
            Self::Start { .. } => "check whether /proc is mounted and processes may be started",
            Self::Crashed { .. } => {
                "anchord starts it again at the next use; if it keeps crashing, report it to its vendor"
            }
            Self::NoAnswer { .. } => "check whether the token, its reader or its network answers",
            Self::Failed { .. } | Self::Lost { .. } => {
                "check whether the token is still plugged in and works"
            }
            Self::Gone { .. } => "plug it in again; no restart is needed",
            Self::AnotherKey { .. } => {
                "give each key in the token an id of its own, and its certificate the same"
            }
            Self::NoToken { found, .. } if found.is_empty() => {
                let hint =
                    "plug it in; if it is already plugged in, p11-kit may not know its module: name that in ";
                return Some(Text::of(&[Say(hint), Key("pkcs11_module")]));
            }
            Self::NoToken { .. } => "plug it in, or correct `token`, `serial` or `slot-id` in the URI",
            Self::SeveralTokens { .. } => "add `serial=` or `token=` to the URI",
            Self::NoCertificate { found, .. } | Self::NoKey { found, .. } if found.is_empty() => {
                "check whether it is the right token, and whether it shows its objects only after login"
            }
            Self::NoCertificate { .. } | Self::NoKey { .. } => "correct `object` or `id` in the URI",
            Self::SeveralKeys { .. } => "add `id=` to the URI",
            Self::UnusableKey { .. } => "use an RSA key, or an EC key on P-256, P-384 or P-521",
            Self::NoPublicKey { .. } => {
                "put the public key or the certificate into the token, with the same id as the private key"
            }
            Self::TooMany { .. } => "add `object=` or `id=` to the URI",
            Self::PinFile { source, .. } => return source.hint(),
            Self::Pin { fault, .. } => return Some(fault.hint()),
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

impl PinFault {
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
