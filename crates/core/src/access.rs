//! Who may use a session: users, groups and systemd units, by the names that the settings have for them.

use std::fmt;
use std::net::IpAddr;

/// A user, a group or a unit that a session is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// A user, by name or by number.
    User(String),
    /// The members of a group, by name or by number.
    Group(String),
    /// The processes of a systemd unit: its name (`robot.service`, of the system's manager), or the path of its control
    /// group (`system.slice/robot.service`).
    Unit(String),
}

impl Principal {
    /// Reads `user:NAME`, `group:NAME` or `unit:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        Self::of(kind, name)
    }

    /// The principal of a kind (`user`, `group` or `unit`). `None` if the kind is unknown or the name is not possible.
    pub fn of(kind: &str, name: &str) -> Option<Self> {
        let is_possible =
            !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter == ':');
        let name = is_possible.then(|| name.to_owned())?;
        match kind {
            "user" if !name.contains('/') => Some(Self::User(name)),
            "group" if !name.contains('/') => Some(Self::Group(name)),
            "unit" if !name.split('/').any(|part| part == "..") => Some(Self::Unit(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::User(name) => ("user", name),
            Self::Group(name) => ("group", name),
            Self::Unit(name) => ("unit", name),
        };
        write!(formatter, "{kind}:{name}")
    }
}

/// Who may use a session. Root and the daemon's own user always may: they can read the daemon's memory and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every local process.
    Anybody,
    /// These.
    Only(Vec<Principal>),
}

impl Access {
    /// Whether it admits only root and the daemon's user.
    pub fn is_for_none(&self) -> bool {
        matches!(self, Self::Only(principals) if principals.is_empty())
    }

    /// Those that it names.
    pub fn principals(&self) -> &[Principal] {
        match self {
            Self::Anybody => &[],
            Self::Only(principals) => principals,
        }
    }
}

/// Whether an address belongs to this host or its link alone: a loopback or link-local address, or one of
/// `fd00:ec2::/32`, where EC2 has the IPv6 address of its metadata service.
pub fn is_near(address: IpAddr) -> bool {
    const EC2_PREFIX: [u16; 2] = [0xfd00, 0x0ec2];
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.segments()[..2] == EC2_PREFIX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_written_as_it_is_read() {
        for text in
            ["user:alice", "user:1000", "group:bots", "unit:robot@1.service", "unit:system.slice/a.service"]
        {
            assert_eq!(Principal::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_can_be_no_name_is_no_principal() {
        for text in
            ["alice", "user:", "user:a b", "group:a:b", "host:a", "unit:../a", "user:a/b", "USER:a", ""]
        {
            assert_eq!(Principal::parse(text), None, "{text}");
        }
    }
}
