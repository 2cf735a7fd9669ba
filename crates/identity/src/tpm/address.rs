//! Addresses of a TPM and of a key in it, as settings write them.
//!
//! Addresses have the format of tpm2-tss (TCTI configuration strings).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MalformedAddress {
    /// It is not the address of a TPM.
    #[error("`{text}` is not a TPM address: {why}")]
    Address {
        /// What was set.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is not a persistent handle.
    #[error("`{text}` is not a persistent handle")]
    Handle {
        /// What was set.
        text: String,
    },
}

impl Classify for MalformedAddress {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Address { .. } => {
                "use `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321` or `swtpm:path=/run/swtpm.sock`"
            }
            Self::Handle { .. } => {
                "they are 0x81000000 to 0x81ffffff; `tpm2_getcap handles-persistent` lists them"
            }
        };
        Some(hint.into())
    }
}

/// The kernel's resource manager for the first TPM.
const DEFAULT: &str = "/dev/tpmrm0";

/// The default address of `swtpm socket`.
const SWTPM_HOST: &str = "127.0.0.1";
const SWTPM_PORT: u16 = 2321;

/// The address of a TPM. Displays as it is written in settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A character device: `device:/dev/tpmrm0`.
    Character(PathBuf),
    /// An emulator over TCP: `swtpm:host=127.0.0.1,port=2321`. The connection is not encrypted.
    Tcp {
        /// Name or address.
        host: String,
        /// Port of the data channel.
        port: u16,
    },
    /// An emulator on a Unix socket: `swtpm:path=/run/swtpm.sock`.
    Unix(PathBuf),
}

impl Default for Device {
    fn default() -> Self {
        Self::Character(DEFAULT.into())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(path) => write!(formatter, "device:{}", path.display()),
            Self::Tcp { host, port } => write!(formatter, "swtpm:host={host},port={port}"),
            Self::Unix(path) => write!(formatter, "swtpm:path={}", path.display()),
        }
    }
}

impl FromStr for Device {
    type Err = MalformedAddress;

    fn from_str(text: &str) -> Result<Self, MalformedAddress> {
        let wrong = |why| MalformedAddress::Address { text: text.to_owned(), why };
        if text.starts_with('/') {
            return Ok(Self::Character(text.into()));
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "device" if rest.is_empty() => Ok(Self::default()),
            "device" if rest.starts_with('/') => Ok(Self::Character(rest.into())),
            "device" => Err(wrong("the path is not absolute")),
            "swtpm" => swtpm(rest).map_err(wrong),
            "mssim" => Err(wrong("the protocol of Microsoft's simulator is not supported")),
            "tabrmd" => Err(wrong("tpm2-abrmd is not supported; the kernel has a resource manager")),
            _ => Err(wrong("it begins with neither `device:` nor `swtpm:`")),
        }
    }
}

fn swtpm(options: &str) -> Result<Device, &'static str> {
    let (mut host, mut port, mut path) = (None, None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("host", value)) if !value.is_empty() => host = Some(value.to_owned()),
            Some(("port", value)) => {
                port = Some(value.parse().map_err(|_| "the port is not a number up to 65535")?);
            }
            Some(("path", value)) if value.starts_with('/') => path = Some(PathBuf::from(value)),
            Some(("path", _)) => return Err("the path is not absolute"),
            _ => return Err("after `swtpm:` come `host=…`, `port=…` or `path=…`"),
        }
    }
    match (path, host, port) {
        (Some(path), None, None) => Ok(Device::Unix(path)),
        (Some(_), ..) => Err("it is either a `path` or a `host` and a `port`"),
        (None, host, port) => Ok(Device::Tcp {
            host: host.unwrap_or_else(|| SWTPM_HOST.to_owned()),
            port: port.unwrap_or(SWTPM_PORT),
        }),
    }
}

/// The first byte of persistent handles.
pub(super) const PERSISTENT: u32 = 0x81;

/// A persistent handle written as `0x81000001`.
pub fn handle(text: &str) -> Result<u32, MalformedAddress> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    // `from_str_radix` takes a sign.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u32::from_str_radix(digits, 16) {
        Ok(handle) if is_plain && handle >> 24 == PERSISTENT => Ok(handle),
        _ => Err(MalformedAddress::Handle { text: text.to_owned() }),
    }
}
