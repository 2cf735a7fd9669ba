//! Errors of TPMs and of keys in them.

use std::io;
use std::time::Duration;

use super::Device;
use super::code::Code;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// Why a key in a TPM cannot be used, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This build has no TPM support.
    #[error("this build of anchord cannot use TPMs")]
    NotBuilt,
    /// The TPM cannot be reached.
    #[error("cannot open the TPM `{device}`")]
    Unreachable {
        /// The TPM.
        device: Device,
        /// The system's reason.
        source: io::Error,
    },
    /// The path is not a character device.
    #[error("the TPM `{device}` is not a character device")]
    NotADevice {
        /// The TPM.
        device: Device,
    },
    /// The connection failed.
    #[error("the connection to the TPM `{device}` broke")]
    BrokeOff {
        /// The TPM.
        device: Device,
        /// The system's reason.
        source: io::Error,
    },
    /// The TPM is too slow, or busy with other programs.
    #[error("the TPM `{device}` did not answer within {} s", patience.as_secs())]
    Silent {
        /// The TPM.
        device: Device,
        /// How long anchord waited.
        patience: Duration,
    },
    /// The response does not follow the TPM's protocol.
    #[error("the answer of `{device}` to {command} is not a response of a TPM 2.0")]
    Garbled {
        /// The TPM.
        device: Device,
        /// The command's name.
        command: &'static str,
    },
    /// The TPM is too old.
    #[error("the TPM `{device}` is a TPM 1.2")]
    TooOld {
        /// The TPM.
        device: Device,
    },
    /// `TPM2_Startup` was not sent.
    #[error("the TPM `{device}` has not been started")]
    NotStarted {
        /// The TPM.
        device: Device,
    },
    /// Keys and sessions of other programs fill it.
    #[error("the TPM `{device}` has no slot left for another key")]
    Full {
        /// The TPM.
        device: Device,
    },
    /// It accepts no authorization values for now.
    #[error("the TPM `{device}` is in lockout after too many wrong authorization values")]
    Lockout {
        /// The TPM.
        device: Device,
    },
    /// Any other refusal.
    #[error("the TPM `{device}` refused {command}: {}", words(*code))]
    Refused {
        /// The TPM.
        device: Device,
        /// The command's name.
        command: &'static str,
        /// The response code.
        code: u32,
    },
    /// The handle has no key.
    #[error("the TPM `{device}` holds nothing at {handle:#010x}")]
    NoSuchHandle {
        /// The TPM.
        device: Device,
        /// The handle.
        handle: u32,
    },
    /// The handle has another key than before.
    #[error("the TPM `{device}` holds another key at {handle:#010x} than before")]
    Replaced {
        /// The TPM.
        device: Device,
        /// The handle.
        handle: u32,
    },
    /// A key file of another TPM, or of this one before it was cleared.
    #[error(
        "the TPM `{device}` cannot unwrap the key file: it was not made under {parent:#010x} of this TPM"
    )]
    NotLoadable {
        /// The TPM.
        device: Device,
        /// The parent that the file names.
        parent: u32,
    },
    /// The authorization value is wrong.
    #[error("the TPM `{device}` refused the authorization value of the key")]
    WrongAuth {
        /// The TPM.
        device: Device,
        /// Whether the attempt counted towards the TPM's lockout.
        counted: bool,
    },
    /// The parent or its hierarchy has an authorization value.
    #[error("the parent {parent:#010x} of the key needs an authorization value, which is not supported")]
    ParentLocked {
        /// The parent that the file names.
        parent: u32,
        /// Whether the attempt counted towards the TPM's lockout.
        counted: bool,
    },
    /// It was refused before, and another attempt could only cause the lockout.
    #[error(
        "the TPM `{device}` has refused this authorization value before, so anchord does not try it again"
    )]
    RefusedBefore {
        /// The TPM.
        device: Device,
    },
    /// No answer came to this value, and the TPM has counted a wrong value since, which may be this one.
    #[error(
        "the TPM `{device}` may have refused {}: its answer was lost, and it has counted a wrong value since",
        whose(*parent)
    )]
    Lost {
        /// The TPM.
        device: Device,
        /// The parent, if it was sent for a parent.
        parent: Option<u32>,
    },
    /// The empty authorization value is wrong.
    #[error("the key in the TPM `{device}` has an authorization value, and none is set")]
    NoAuth {
        /// The TPM.
        device: Device,
        /// Whether the attempt counted towards the TPM's lockout.
        counted: bool,
    },
    /// It is longer than any that a TPM accepts.
    #[error("the authorization value has {length} bytes; a TPM takes at most {limit}")]
    AuthTooLong {
        /// How many bytes it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A key file that cannot be used.
    #[error("the TPM key file {what}")]
    KeyFile {
        /// What is wrong with it, completing "the TPM key file …".
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A key that cannot sign for Roles Anywhere.
    #[error("the TPM's key {what}")]
    Unusable {
        /// What is wrong with it, completing "the TPM's key …".
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The thread that talks to the TPM did not start, or panicked.
    #[error("anchord failed to talk to the TPM `{device}` (a bug)")]
    Broken {
        /// The TPM.
        device: Device,
    },
}

fn whose(parent: Option<u32>) -> String {
    match parent {
        Some(parent) => format!("to use the parent {parent:#010x} without an authorization value"),
        None => "this authorization value".into(),
    }
}

fn words(code: u32) -> String {
    match Code(code).words() {
        Some(words) => format!("{words} ({code:#05x})"),
        None => format!("response code {code:#05x}"),
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::BrokeOff { .. } | Self::Silent { .. } | Self::Full { .. } => Reason::KeySourceUnavailable,
            Self::Refused { code, .. } if Code(*code).is_warning() => Reason::KeySourceUnavailable,
            Self::WrongAuth { .. }
            | Self::Lockout { .. }
            | Self::RefusedBefore { .. }
            | Self::NoAuth { .. }
            | Self::AuthTooLong { .. } => Reason::SecretRefused,
            Self::KeyFile { .. } => Reason::FileUnusable,
            Self::Broken { .. } => Reason::Bug,
            _ => Reason::KeySourceUnusable,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::NotBuilt => "use a build that has the feature `tpm`",
            Self::Unreachable { device, source } => return Some(unreachable_hint(device, source)),
            Self::NotADevice { .. } => "name the TPM's resource manager, `device:/dev/tpmrm0`",
            Self::BrokeOff { .. } | Self::Broken { .. } => return None,
            Self::Silent { .. } => {
                "check which programs use it; a slow TPM is faster with the key at a persistent handle (`tpm2_evictcontrol`)"
            }
            Self::Garbled { .. } => {
                "name a TPM's device or an emulator's data socket, not its control socket"
            }
            Self::TooOld { .. } => "switch it to TPM 2.0 in the firmware, if it can be",
            Self::NotStarted { .. } => {
                "`tpm2_startup -c` starts it; an emulator does with `--flags startup-clear`"
            }
            Self::Full { .. } => {
                "use /dev/tpmrm0 instead of /dev/tpm0, or flush what other programs left with `tpm2_flushcontext -t`"
            }
            Self::Lockout { .. } => {
                "wait until it ends by itself, or clear it with `tpm2_dictionarylockout --clear-lockout`; then find the program that sends wrong values"
            }
            Self::Refused { code, .. } => return refused_hint(Code(*code)).map(Into::into),
            Self::NoSuchHandle { .. } => {
                "`tpm2_getcap handles-persistent` lists what is there; a TPM that was cleared has lost its keys"
            }
            Self::Replaced { .. } => {
                "install the certificate of the new key, or reload after putting the old key back"
            }
            Self::NotLoadable { .. } => {
                "a key file works only in the TPM that made it, until that TPM is cleared. It also needs the standard storage key as its parent; `tpm2_createprimary` makes another by default. Otherwise keep the key, or its parent, at a persistent handle (`tpm2_evictcontrol`)"
            }
            Self::ParentLocked { .. } | Self::Lost { parent: Some(_), .. } => {
                "store the key at a persistent handle (`tpm2_evictcontrol`) and name that, or make it under a parent without one"
            }
            Self::WrongAuth { .. }
            | Self::RefusedBefore { .. }
            | Self::Lost { parent: None, .. }
            | Self::NoAuth { .. }
            | Self::AuthTooLong { .. } => return Some(self.passphrase_hint()),
            Self::KeyFile { hint, .. } | Self::Unusable { hint, .. } => hint,
        };
        Some(hint.into())
    }
}

impl Error {
    /// The hint of a failure that `passphrase` mends.
    fn passphrase_hint(&self) -> Text {
        let (before, after) = match self {
            Self::NoAuth { .. } => ("set ", ""),
            Self::AuthTooLong { .. } => ("correct ", ": does it name the right file?"),
            Self::WrongAuth { counted: false, .. } => ("correct ", ""),
            Self::Lost { .. } => (
                "check whether ",
                " is right, and restart; or `tpm2_dictionarylockout --clear-lockout` resets the count, after which anchord tries again",
            ),
            _ => (
                "correct ",
                "; the same value is not tried twice, so restart if it was changed in the TPM instead",
            ),
        };
        Text::of(&[Say(before), Key("passphrase"), Say(after)])
    }
}

fn unreachable_hint(device: &Device, source: &io::Error) -> Text {
    match (device, source.kind()) {
        (_, io::ErrorKind::PermissionDenied) => {
            "add the daemon's user to the group that owns it, usually `tss` (systemd: SupplementaryGroups=tss, and DeviceAllow= where PrivateDevices= is set)".into()
        }
        (Device::Character(_), io::ErrorKind::NotFound) => {
            "run `ls /dev/tpm*`; the firmware may have disabled it, and PrivateDevices= of systemd hides it".into()
        }
        (Device::Character(_), io::ErrorKind::ResourceBusy) => {
            "another program holds it; /dev/tpmrm0 can be shared".into()
        }
        (Device::Character(_), _) => "check the kernel's log: `journalctl -k -g tpm`".into(),
        _ => Text::of(&[Say("start the emulator, or correct "), Key("tpm")]),
    }
}

fn refused_hint(code: Code) -> Option<&'static str> {
    match code.0 {
        0x101 => Some("restart the machine; if that does not help, the TPM is broken"),
        _ => None,
    }
}
